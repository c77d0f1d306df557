package bpf

import (
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// pins hold links in a BPF file system of the process's own, which is mounted nowhere: nobody else sees it, and it goes with
// the process, however that ends. Without them, a process that ends waits until the last of its links is gone. Taking the
// last program off a function takes a tenth of a second (the interval at which RCU tasks look for the end of their grace
// period, for which unregister_ftrace_direct in kernel/trace/ftrace.c waits holding its lock), on fast machines too, and a
// tracker has sixty. A link whose last holder was a file system is freed by a worker of the kernel instead, after the
// process has gone (bpf_link_put in kernel/bpf/syscall.c, since 6.5; 6.1 waits all the same).
type pins struct {
	mount *os.File // nil: not possible here, and processes end later

	mu    sync.Mutex
	last  int
	names map[link.Link]string
}

func newPins() *pins {
	p := &pins{names: make(map[link.Link]string)}
	context, err := unix.Fsopen("bpf", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return p
	}
	defer func() { _ = unix.Close(context) }()
	if unix.FsconfigCreate(context) != nil {
		return p
	}
	if mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0); err == nil {
		p.mount = os.NewFile(uintptr(mount), "bpf")
	}
	return p
}

// add pins a link.
func (p *pins) add(l link.Link) error {
	if p.mount == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	name := fmt.Sprintf("/proc/self/fd/%d/%d", p.mount.Fd(), p.last)
	if err := l.Pin(name); err != nil {
		return fmt.Errorf("pin a link: %w", err)
	}
	p.names[l] = name
	return nil
}

// remove ends what add began, if it did.
func (p *pins) remove(l link.Link) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, ok := p.names[l]
	if !ok {
		return nil
	}
	delete(p.names, l)
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("unpin a link: %w", err)
	}
	return nil
}

// close unpins all.
func (p *pins) close() error {
	if p.mount == nil {
		return nil
	}
	clear(p.names)
	return p.mount.Close()
}
