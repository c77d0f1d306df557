package vm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// GuestMain must be the first call in the main function of an executable that calls [Run]. In the first process of a
// guest it does the guest's work and does not return; anywhere else it returns at once.
func GuestMain() {
	if os.Getpid() != 1 || os.Getenv(guestMarker) == "" {
		maybeModprobe()
		return
	}
	if err := guest(); err != nil {
		// The console is all there is; the host shows its last lines.
		fmt.Fprintln(os.Stderr, consoleWord+err.Error())
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// Only a kernel without power management comes here. The end of process 1 is a panic, which ends QEMU as well.
	os.Exit(1)
}

// maybeModprobe acts as the guest's modprobe if this process was started as such, and does not return then.
func maybeModprobe() {
	if filepath.Base(os.Args[0]) != filepath.Base(modprobePath) {
		return
	}
	if _, err := os.Stat(specPath); err != nil {
		return // no guest
	}
	if err := modprobe(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "modprobe: "+err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// guest is the life of the first process. An error it returns could not be told to the host by other means.
func guest() error {
	var s spec
	text, err := os.ReadFile(specPath)
	if err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read spec: %w", err)
	}
	if err := mountAll(); err != nil {
		return err
	}
	tree, err := readModules(guestModules)
	if err != nil {
		return err
	}
	if err := tree.load(s.Transport); err != nil {
		return err
	}
	if err := checkTransport(); err != nil {
		return err
	}
	control, err := openPort(portControl)
	if err != nil {
		return err
	}
	link := &guestLink{enc: json.NewEncoder(control)}
	// The first write waits until the host is connected; a read before that would look like the end of the channel.
	if err := link.send(message{Kind: msgHello}); err != nil {
		return err
	}
	if s.Probe {
		return link.waitForBye(control)
	}
	return link.run(s, tree, control)
}

// checkTransport sees whether the kernel has the drivers of the channels. Without them the guest would wait for ever.
func checkTransport() error {
	for _, dir := range []string{"/sys/bus/pci/drivers/virtio-pci", "/sys/class/virtio-ports"} {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return errors.New("the kernel lacks virtio_pci or virtio_console: build it with CONFIG_VIRTIO_PCI and " +
				"CONFIG_VIRTIO_CONSOLE, or give the folder of its modules")
		}
	}
	return nil
}

// guestLink is the guest's end of the control channel.
type guestLink struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (l *guestLink) send(m message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enc.Encode(m); err != nil {
		return fmt.Errorf("write to host: %w", err)
	}
	return nil
}

// fail tells the host why the program was not started, and waits until it has heard.
func (l *guestLink) fail(control io.Reader, err error) error {
	if err := l.send(message{Kind: msgFailed, Error: err.Error()}); err != nil {
		return err
	}
	return l.waitForBye(control)
}

func (l *guestLink) waitForBye(control io.Reader) error {
	for m := range messages(control) {
		if m.Kind == msgBye {
			return nil
		}
	}
	return nil // the host is gone, which is as good
}

// longestMessage is more than any message needs: one with the kernel's log has some 20 KiB.
const longestMessage = 1 << 20

// messages yields what arrives on the control channel until it closes.
func messages(r io.Reader) func(yield func(message) bool) {
	return func(yield func(message) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, longestMessage)
		for lines.Scan() {
			var m message
			if json.Unmarshal(lines.Bytes(), &m) != nil {
				return
			}
			if !yield(m) {
				return
			}
		}
	}
}

// run loads the modules, runs the program, and reports its end.
func (l *guestLink) run(s spec, tree *moduleTree, control *os.File) error {
	if err := tree.load(s.Modules); err != nil {
		return l.fail(control, err)
	}
	if err := errors.Join(setUpNetwork(), enableModprobe(), makeNodes()); err != nil {
		return l.fail(control, err)
	}
	for _, dir := range s.OutputDirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return l.fail(control, fmt.Errorf("make folder for what is sent back: %w", err))
		}
	}
	outputs, err := newGuestOutputs(s.Outputs, s.OutputLimit)
	if err != nil {
		return l.fail(control, err)
	}
	health := newGuestHealth()
	p, err := startProgram(s)
	if err != nil {
		return l.fail(control, err)
	}
	if err := l.send(message{Kind: msgStarted}); err != nil {
		return err
	}
	bye := make(chan struct{})
	go func() {
		for m := range messages(control) {
			switch m.Kind {
			case msgSignal:
				_ = unix.Kill(p.pid, syscall.Signal(m.Signal)) // it may have ended just now
			case msgResize:
				p.resize(m.Size)
			case msgInputEnd:
				p.input.total <- m.Input
			case msgBye:
				close(bye)
				return
			}
		}
		// The host is gone: so must this machine be, even if QEMU survived.
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}()
	end, err := p.wait()
	if err != nil {
		return err
	}
	end.Kind = msgExited
	health.report(&end)
	if err := l.send(end); err != nil {
		return err
	}
	if err := l.send(sendOutputs(outputs)); err != nil {
		return err
	}
	<-bye
	return nil
}

// sendOutputs sends what the program wrote, and returns the word about it.
func sendOutputs(outputs *guestOutputs) message {
	m := message{Kind: msgSent}
	if len(outputs.paths) == 0 {
		return m
	}
	port, err := openPort(portOutputs)
	if err == nil {
		m.Left, m.LeftSize, err = outputs.send(port)
	}
	if err != nil {
		m.Error = err.Error()
	}
	return m
}
