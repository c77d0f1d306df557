package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

const qemuProgram = "qemu-system-x86_64"

// The files that QEMU inherits, by number.
const (
	fdInitramfs = iota + 3
	fdImage
	fdControl
	fdStdout
	fdStderr
	fdOutputs
	fdConsole
)

// findQEMU returns QEMU's path.
func findQEMU() (string, error) {
	p, err := exec.LookPath(qemuProgram)
	if err != nil {
		return "", fmt.Errorf("%w: run ci/setup, or install your distribution's package with it (qemu-system-x86)", ErrNoQEMU)
	}
	return p, nil
}

// qemuArgs returns QEMU's command line after its name.
func qemuArgs(c Config, accel Accel) []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-m", strconv.Itoa(c.MemoryMiB), "-smp", strconv.Itoa(c.CPUs),
	}
	switch accel {
	case KVM:
		args = append(args, "-M", "q35", "-accel", "kvm", "-cpu", "host")
	default:
		// One thread for all CPUs: with a thread each, a CPU of QEMU 7.2 now and then runs a breakpoint that another had
		// already taken out of the kernel's code again, while it attached or detached probes, and the guest dies of "int3".
		// With cx16, QEMU 7.2 translates cmpxchg16b wrongly, and a guest with two CPUs dies in __kmalloc. With erms and fsrm, the
		// kernel copies and clears by "rep movsb", which is emulated byte by byte: loading programs takes a seventh longer.
		args = append(args, "-M", "q35", "-accel", "tcg,thread=single,tb-size=1024", "-cpu", "max,-cx16,-erms,-fsrm")
		if c.CountInstructions {
			args = append(args, "-icount", "shift=0") // 2^0 ns an instruction
		}
	}
	args = append(args,
		"-kernel", fmt.Sprintf("/proc/self/fd/%d", fdImage), "-initrd", fmt.Sprintf("/proc/self/fd/%d", fdInitramfs),
		"-append", kernelArgs(c),
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", fdConsole), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
	)
	for _, p := range []struct {
		name       string
		number, fd int
	}{
		{"control", portControl, fdControl}, {"stdout", portStdout, fdStdout}, {"stderr", portStderr, fdStderr},
		{"outputs", portOutputs, fdOutputs},
	} {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=%s,fd=%d", p.name, p.fd),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,nr=%d,name=waybill.%s", p.name, p.number, p.name))
	}
	return args
}

func kernelArgs(c Config) string {
	// An oops leaves a kernel that cannot be trusted: it is made a panic, and a panic ends QEMU (-no-reboot).
	words := []string{"console=ttyS0", "panic=-1", "oops=panic", "mitigations=off", guestMarker + "=1"}
	if c.Console == nil {
		words = append(words, "quiet")
	}
	if c.Append != "" {
		words = append(words, c.Append)
	}
	return strings.Join(words, " ")
}

// machine is a running QEMU and the host's ends of its channels.
type machine struct {
	cmd                                       *exec.Cmd
	log                                       bytes.Buffer // QEMU's own words; read after done
	control, stdout, stderr, outputs, console *os.File
	done                                      chan struct{} // closed when QEMU has ended and was reaped
}

// startMachine starts QEMU. The machine ends with this process, however this process ends.
func startMachine(qemu string, args []string, initramfs, image *os.File) (*machine, error) {
	m := &machine{cmd: exec.Command(qemu, args...), done: make(chan struct{})}
	inherited := []*os.File{initramfs, image}
	defer func() {
		for _, f := range inherited[2:] {
			_ = f.Close()
		}
	}()
	for _, end := range []**os.File{&m.control, &m.stdout, &m.stderr, &m.outputs, &m.console} {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			m.closeChannels()
			return nil, fmt.Errorf("make channel to guest: %w", err)
		}
		// Nonblocking, so that Close ends a Read under way.
		_ = syscall.SetNonblock(pair[0], true)
		*end = os.NewFile(uintptr(pair[0]), "channel to guest")
		inherited = append(inherited, os.NewFile(uintptr(pair[1]), "channel to host"))
	}
	m.cmd.ExtraFiles = inherited
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	// A group of its own: Ctrl-C in the terminal goes to this process only, which passes it on to the program.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends, not the process (prctl(2)): so that thread
		// must stay until QEMU is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err == nil {
			_ = m.cmd.Wait() // the status says nothing: QEMU ends with 0 after a panic too
			close(m.done)
		}
	}()
	if err := <-started; err != nil {
		m.closeChannels()
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	return m, nil
}

// kill ends QEMU and waits until it is gone.
func (m *machine) kill() {
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-m.done
}

func (m *machine) closeChannels() {
	for _, f := range []*os.File{m.control, m.stdout, m.stderr, m.outputs, m.console} {
		if f != nil {
			_ = f.Close()
		}
	}
}
