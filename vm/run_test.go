package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/vm"
)

// machine returns a configuration for a machine that plays a role, or skips the test where none can run.
func machine(t *testing.T, role string) vm.Config {
	t.Helper()
	k, err := testKernel(t.Context())
	if err == nil {
		_, err = exec.LookPath("qemu-system-x86_64")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return vm.Config{Kernel: k, Program: self(), Env: []string{roleVariable + "=" + role}}
}

func TestProgramInGuest(t *testing.T) {
	c := machine(t, "report")
	file := filepath.Join(t.TempDir(), "file")
	qt.Assert(t, qt.IsNil(os.WriteFile(file, []byte("content"), 0o640)))
	var stdout, stderr bytes.Buffer
	c.Args = []string{"-a", "b c", ""}
	c.Env = append(c.Env, "SOME=thing")
	c.Dir = "/not/there/yet"
	c.Files = []vm.File{{Src: file, Dst: "/data/file"}}
	c.Modules = []string{"nft_ct"}
	c.OptionalModules = []string{"veth", "no_such_module"}
	c.OnDemand = []string{"net/vmw_vsock", "no/such/folder"}
	c.Stdout, c.Stderr = &stdout, &stderr

	result, err := vm.Run(t.Context(), c)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(result.ExitCode, 7))
	qt.Check(t, qt.Equals(result.Taint, 0))
	qt.Check(t, qt.IsTrue(result.Boot > 0))
	qt.Check(t, qt.Equals(stderr.Len(), stderrBytes))

	var r report
	qt.Assert(t, qt.IsNil(json.Unmarshal(stdout.Bytes(), &r)))
	qt.Check(t, qt.DeepEquals(r.Args, c.Args))
	qt.Check(t, qt.SliceContains(r.Env, "SOME=thing"))
	qt.Check(t, qt.IsFalse(slices.ContainsFunc(r.Env, func(e string) bool { return strings.HasPrefix(e, "WAYBILL_GUEST") })))
	qt.Check(t, qt.Equals(r.Dir, "/not/there/yet"))
	qt.Check(t, qt.Equals(strings.TrimSpace(r.Release), filepath.Base(c.Kernel.Modules)))
	qt.Check(t, qt.Equals(r.File, "content"))
	qt.Check(t, qt.IsTrue(r.Loopback))
	for _, m := range []string{"/proc", "/sys", "/dev", "/sys/kernel/tracing", "/sys/fs/bpf", "/run"} {
		qt.Check(t, qt.SliceContains(r.Mounts, m))
	}
	for _, m := range []string{"nft_ct ", "nf_conntrack ", "nf_tables ", "veth "} {
		qt.Check(t, qt.StringContains(r.Modules, m))
	}
	qt.Check(t, qt.IsFalse(strings.Contains(r.Modules, "vsock")))
	qt.Check(t, qt.Equals(r.OnDemand, "<nil>"))
	qt.Check(t, qt.StringContains(r.Modprobe, "vsock "))
}

// onReady calls do when the program has said that it is ready, and keeps what it says.
type onReady struct {
	do   func()
	text strings.Builder
}

func (w *onReady) Write(p []byte) (int, error) {
	was := strings.Contains(w.text.String(), "ready")
	w.text.Write(p)
	if !was && strings.Contains(w.text.String(), "ready") {
		w.do()
	}
	return len(p), nil
}

func TestSignalReachesProgram(t *testing.T) {
	c := machine(t, "signal")
	signals := make(chan os.Signal, 1)
	out := &onReady{do: func() { signals <- syscall.SIGUSR1 }}
	c.Signals, c.Stdout = signals, out
	result, err := vm.Run(t.Context(), c)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(out.text.String(), "ready\nuser defined signal 1\n"))
	qt.Check(t, qt.Equals(result.ExitCode, 128+int(syscall.SIGTERM)))
}

func TestDeadlineShowsGoroutines(t *testing.T) {
	c := machine(t, "hang")
	var stderr bytes.Buffer
	c.Timeout, c.Stderr = time.Second, &stderr
	c.Artifacts = t.TempDir()
	_, err := vm.Run(t.Context(), c)
	deadline, ok := errors.AsType[*vm.DeadlineError](err)
	qt.Assert(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(deadline.Timeout, time.Second))
	qt.Check(t, qt.StringContains(stderr.String(), "goroutine 1"))
	qt.Check(t, qt.Equals(read(filepath.Join(c.Artifacts, "result")), "content"))
}

func TestKernelPanic(t *testing.T) {
	c := machine(t, "panic")
	c.Artifacts = t.TempDir()
	_, err := vm.Run(t.Context(), c)
	kernelPanic, ok := errors.AsType[*vm.PanicError](err)
	qt.Assert(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(kernelPanic.Message, "sysrq triggered crash"))
	qt.Check(t, qt.StringContains(strings.Join(kernelPanic.Console, "\n"), "sysrq_handle_crash"))
	qt.Check(t, qt.Matches(err.Error(), `(?s)kernel 6\.12 panicked: sysrq triggered crash; the files that the program had `+
		`written are lost\nlast lines.*`))
}

// TestCountInstructions times a loop in a guest whose clock counts: a turn takes a few nanoseconds, as many as it has
// instructions, and the same again, whatever else the host does. What interrupts the loop, the timer above all, adds a little.
func TestCountInstructions(t *testing.T) {
	c := machine(t, "count")
	c.CountInstructions = true
	var stdout bytes.Buffer
	c.Stdout = &stdout
	result, err := vm.Run(t.Context(), c)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(result.Accel, vm.TCG))
	var cpus int
	var turns [3]float64
	_, err = fmt.Sscan(stdout.String(), &cpus, &turns[0], &turns[1], &turns[2])
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", stdout.String()))
	qt.Check(t, qt.Equals(cpus, 1))
	for _, turn := range turns {
		qt.Check(t, qt.IsTrue(turn >= 2 && turn < 20), qt.Commentf("%f ns a turn", turn))
		qt.Check(t, qt.IsTrue(turn < 1.15*slices.Min(turns[:])), qt.Commentf("%v ns a turn", turns))
	}
}

func TestArtifactsAndInput(t *testing.T) {
	c := machine(t, "artifacts")
	c.Artifacts = filepath.Join(t.TempDir(), "made", "artifacts")
	r, w, err := os.Pipe()
	qt.Assert(t, qt.IsNil(err))
	defer r.Close()
	text := strings.Repeat("some input\n", 10_000) // more than a pipe holds
	go func() {
		_, _ = io.WriteString(w, text)
		_ = w.Close()
	}()
	var stdout bytes.Buffer
	c.Stdin, c.Stdout = r, &stdout
	result, err := vm.Run(t.Context(), c)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(result.ExitCode, 128+int(syscall.SIGKILL)))
	qt.Check(t, qt.IsTrue(stdout.String() == text), qt.Commentf("%d bytes", stdout.Len()))
	qt.Check(t, qt.Equals(read(filepath.Join(c.Artifacts, "result")), "content"))
}

func TestTaint(t *testing.T) {
	c := machine(t, "taint")
	result, err := vm.Run(t.Context(), c)
	qt.Check(t, qt.ErrorMatches(err, "kernel 6.12 was in trouble while the program ran, whose exit status was 4: "+
		"it is tainted: W, a warning"))
	qt.Check(t, qt.Equals(result.ExitCode, 4))
	qt.Check(t, qt.Equals(result.Taint, 512))
}

// TestStubbornProgram: the third Ctrl-C ends the machine without the program.
func TestStubbornProgram(t *testing.T) {
	c := machine(t, "stubborn")
	c.Artifacts = t.TempDir()
	signals := make(chan os.Signal, 3)
	c.Signals = signals
	c.Stdout = &onReady{do: func() {
		for range 3 {
			signals <- syscall.SIGINT
		}
	}}
	result, err := vm.Run(t.Context(), c)
	interrupted, ok := errors.AsType[*vm.InterruptedError](err)
	qt.Assert(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(interrupted.ExitCode(), 130))
	qt.Check(t, qt.IsTrue(result.Interrupted))
	qt.Check(t, qt.HasLen(children(t, os.Getpid()), 0))
}

// TestSignalWhileBooting sends it when the kernel has said its first word.
func TestSignalWhileBooting(t *testing.T) {
	c := machine(t, "hang")
	signals := make(chan os.Signal, 1)
	c.Signals = signals
	c.Console = writerFunc(func([]byte) {
		select {
		case signals <- syscall.SIGTERM:
		default:
		}
	})
	_, err := vm.Run(t.Context(), c)
	interrupted, ok := errors.AsType[*vm.InterruptedError](err)
	qt.Assert(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(interrupted.ExitCode(), 143))
	qt.Check(t, qt.HasLen(children(t, os.Getpid()), 0))
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// TestKernelWithoutDrivers: Debian's 6.1 has the drivers of the channels as modules.
func TestKernelWithoutDrivers(t *testing.T) {
	c := machine(t, "hang")
	image := filepath.Join(filepath.Dir(filepath.Dir(c.Kernel.Image)), "6.1", "vmlinuz")
	if _, err := os.Stat(image); err != nil {
		t.Skip("kernel 6.1 is not in the cache: run waybill kernel fetch 6.1")
	}
	c.Kernel = vm.Kernel{Name: "6.1", Image: image}
	_, err := vm.Run(t.Context(), c)
	boot, ok := errors.AsType[*vm.BootError](err)
	qt.Assert(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(boot.Reason, "the kernel lacks virtio_pci or virtio_console: build it with CONFIG_VIRTIO_PCI and "+
		"CONFIG_VIRTIO_CONSOLE, or give the folder of its modules"))
}

func TestContextEndsMachine(t *testing.T) {
	c := machine(t, "hang")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	c.Stdout = &onReady{do: func() { cancel(why) }}
	_, err := vm.Run(ctx, c)
	qt.Check(t, qt.ErrorIs(err, why))
	qt.Check(t, qt.HasLen(children(t, os.Getpid()), 0))
}

func TestSignalBeforeProgram(t *testing.T) {
	c := machine(t, "hang")
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	c.Signals = signals
	_, err := vm.Run(t.Context(), c)
	interrupted, ok := errors.AsType[*vm.InterruptedError](err)
	qt.Assert(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	qt.Check(t, qt.Equals(interrupted.ExitCode(), 130))
	qt.Check(t, qt.Equals(err.Error(), "interrupted (interrupt)"))
}

func TestMachineDiesWithItsParent(t *testing.T) {
	machine(t, "hang")
	parent := exec.Command(self())
	parent.Env = append(os.Environ(), roleVariable+"=parent")
	out, err := parent.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	parent.Stderr = os.Stderr
	qt.Assert(t, qt.IsNil(parent.Start()))
	line := make([]byte, len("ready\n"))
	_, err = io.ReadFull(out, line)
	qt.Assert(t, qt.IsNil(err))

	machines := children(t, parent.Process.Pid)
	qt.Assert(t, qt.HasLen(machines, 1))
	qemu, err := unix.PidfdOpen(machines[0], 0)
	qt.Assert(t, qt.IsNil(err))
	defer unix.Close(qemu)
	qt.Assert(t, qt.IsNil(parent.Process.Kill()))
	_ = parent.Wait()
	// A pidfd becomes readable when its process ends.
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(qemu), Events: unix.POLLIN}}, 10_000)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(ready, 1), qt.Commentf("QEMU %d outlived its parent by 10 s", machines[0]))
}

// children returns the processes that a process has started.
func children(t *testing.T, pid int) []int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	qt.Assert(t, qt.IsNil(err))
	var out []int
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			var child int
			_, err := fmt.Sscan(word, &child)
			qt.Assert(t, qt.IsNil(err))
			out = append(out, child)
		}
	}
	return out
}
