package netns

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrClosed is wrapped by the error of every method called on a namespace after Close.
var ErrClosed = errors.New("network namespace is closed")

// NS is an anonymous network namespace, held by a file descriptor. Its methods may be called from any goroutine.
type NS struct {
	cookie uint64
	inum   uint32

	// mu is held for reading while the descriptor is being used, so that Close cannot hand its number to somebody else
	// in between.
	mu     sync.RWMutex
	handle netns.NsHandle
}

// New makes an empty network namespace: one loopback device, which is down. It needs CAP_SYS_ADMIN.
func New() (*NS, error) {
	ns := &NS{handle: netns.None()}
	// Unshare by itself, not netns.New: that can also fail after it has moved the thread.
	unshare := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	err := onOwnThread(unshare, ns.identify, netns.Set)
	if err != nil {
		err = errors.Join(err, ns.Close())
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("create network namespace: %w: run as root, or with CAP_SYS_ADMIN", err)
		}
		return nil, fmt.Errorf("create network namespace: %w", err)
	}
	return ns, nil
}

// Open takes hold of a namespace that exists already, by a file that stands for it, such as /run/netns/NAME or
// /proc/PID/ns/net. It needs CAP_SYS_ADMIN.
func Open(path string) (*NS, error) {
	handle, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	ns := &NS{handle: handle}
	if err := onOwnThread(ns.enter, ns.identify, netns.Set); err != nil {
		return nil, errors.Join(fmt.Errorf("open network namespace %s: %w", path, err), ns.Close())
	}
	return ns, nil
}

// identify opens the namespace of the calling thread, if it is not open yet, and reads its cookie and inode number.
func (ns *NS) identify() (err error) {
	if !ns.handle.IsOpen() {
		if ns.handle, err = netns.Get(); err != nil {
			return fmt.Errorf("open namespace: %w", err)
		}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(ns.handle), &stat); err != nil {
		return fmt.Errorf("stat namespace: %w", err)
	}
	ns.inum = uint32(stat.Ino)

	// The cookie of a socket is that of the namespace it was opened in. AF_UNIX is there even where nothing of the
	// network is configured.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket to read the namespace cookie: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	ns.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return fmt.Errorf("read namespace cookie (requires at least Linux 5.14): %w", err)
	}
	return nil
}

// Cookie is the kernel's net->net_cookie: unique since boot and never reused. It stays known after Close.
func (ns *NS) Cookie() uint64 { return ns.cookie }

// Inum is the namespace's inode number, as in /proc/PID/ns/net. The kernel may reuse it after Close.
func (ns *NS) Inum() uint32 { return ns.inum }

// Handle is the descriptor that holds the namespace, for netlink attributes that name a namespace. It is valid until
// Close and must not be closed by the caller; -1 means closed.
func (ns *NS) Handle() netns.NsHandle {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return ns.handle
}

// Close lets go of the namespace. The kernel removes it, and its devices, soon after the last socket that was opened
// inside is closed. Calling Close again does nothing.
func (ns *NS) Close() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if !ns.handle.IsOpen() {
		return nil
	}
	handle := ns.handle
	ns.handle = netns.None()
	// Not handle.Close: it keeps the number on failure, and after close(2) fails the number is gone all the same.
	if err := unix.Close(int(handle)); err != nil {
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}

// Do runs f inside the namespace, on a goroutine and thread of its own, and returns f's error as it is. Processes that f
// starts, and sockets and /proc/sys/net files that it opens, belong to the namespace; goroutines that it starts do not
// run there. A panic in f is raised again in the caller, with the same value, and so is [runtime.Goexit] (as in
// t.FailNow).
func (ns *NS) Do(f func() error) error {
	return onOwnThread(ns.enter, f, netns.Set)
}

// enter moves the calling thread into the namespace.
func (ns *NS) enter() error {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if !ns.handle.IsOpen() {
		return fmt.Errorf("enter network namespace: %w", ErrClosed)
	}
	if err := netns.Set(ns.handle); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}
