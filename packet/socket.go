package packet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a non-blocking socket that waits in the Go scheduler. Sockets are made by system calls of the current thread,
// not by package net, because the thread decides the namespace, and package net asks once per process, in whatever
// namespace that happens to be, what IP can do.
type socket struct {
	// fd is for socket options while the socket is being set up.
	fd   int
	file *os.File
	conn syscall.RawConn

	once    sync.Once
	closing error
}

// openSocket opens a socket in the namespace of the calling thread.
func openSocket(family, kind, protocol int) (*socket, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	return newSocket(fd)
}

// newSocket takes over a descriptor that does not block.
func newSocket(fd int) (s *socket, err error) {
	s = &socket{fd: fd, file: os.NewFile(uintptr(fd), "socket")}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket: %w", err), s.close())
	}
	return s, nil
}

func (s *socket) close() error {
	s.once.Do(func() {
		if err := s.file.Close(); err != nil {
			s.closing = fmt.Errorf("close socket: %w", err)
		}
	})
	return s.closing
}

// write sends one packet on a connected socket.
func (s *socket) write(data []byte) error { return s.writeTo(data, nil) }

// writeTo sends one packet to an address; nil for that of a connected socket.
func (s *socket) writeTo(data []byte, to unix.Sockaddr) error {
	var result error
	err := s.conn.Write(func(fd uintptr) bool {
		// Not write(2): without data it would not send an empty datagram.
		result = unix.Sendto(int(fd), data, 0, to)
		return !errors.Is(result, unix.EAGAIN)
	})
	return errors.Join(err, result)
}

// writeAll sends all data on a stream.
func (s *socket) writeAll(ctx context.Context, data []byte) error {
	return s.until(ctx, s.file.SetWriteDeadline, s.conn.Write, func(fd int) error {
		for len(data) > 0 {
			n, err := unix.SendmsgN(fd, data, nil, nil, unix.MSG_NOSIGNAL)
			if err != nil {
				return err
			}
			data = data[n:]
		}
		return nil
	})
}

// connected waits until a connection is made or refused.
func (s *socket) connected(ctx context.Context) error {
	return s.until(ctx, s.file.SetWriteDeadline, s.conn.Write, func(fd int) error {
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = unix.Errno(errno)
		}
		if err != nil {
			return err
		}
		// The poller may remember that the socket could be written to before it was connecting, so it is no proof.
		_, err = unix.Getpeername(fd)
		if errors.Is(err, unix.ENOTCONN) {
			return unix.EAGAIN
		}
		return err
	})
}

// accept waits for a connection.
func (s *socket) accept(ctx context.Context) (accepted int, from unix.Sockaddr, err error) {
	err = s.until(ctx, s.file.SetReadDeadline, s.conn.Read, func(fd int) (err error) {
		accepted, from, err = unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return err
	})
	return accepted, from, err
}

// readStream receives what a stream has.
func (s *socket) readStream(ctx context.Context, buffer []byte) (n int, err error) {
	err = s.until(ctx, s.file.SetReadDeadline, s.conn.Read, func(fd int) (err error) {
		n, _, err = unix.Recvfrom(fd, buffer, 0) // not MSG_TRUNC, which throws a stream's data away
		return err
	})
	return n, err
}

// read receives one packet into the buffer. It returns early when the context ends.
func (s *socket) read(ctx context.Context, buffer []byte) (n int, from unix.Sockaddr, err error) {
	err = s.until(ctx, s.file.SetReadDeadline, s.conn.Read, func(fd int) (err error) {
		n, from, err = unix.Recvfrom(fd, buffer, unix.MSG_TRUNC)
		return err
	})
	return n, from, err
}

// control does something with the descriptor.
func (s *socket) control(do func(fd int) error) error {
	var result error
	if err := s.conn.Control(func(fd uintptr) { result = do(int(fd)) }); err != nil {
		return os.ErrClosed
	}
	return result
}

// until tries until the answer is other than EAGAIN, or the context ends.
func (s *socket) until(ctx context.Context, setDeadline func(time.Time) error, wait func(func(uintptr) bool) error,
	try func(fd int) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Ending the context makes a call that is waiting time out. The deadline is taken back before the next one.
	if err := setDeadline(time.Time{}); err != nil {
		return os.ErrClosed // all that can fail here, though package os has another error for it
	}
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = setDeadline(time.Unix(1, 0))
		close(expired)
	})
	defer func() {
		if !stop() {
			<-expired // or it would cut the next call short
		}
	}()
	var result error
	err := wait(func(fd uintptr) bool {
		result = try(int(fd))
		return !errors.Is(result, unix.EAGAIN)
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return os.ErrClosed
	}
	return result
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func unspecified(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr())}
}

// zone is the interface index of a scoped address, whose zone may be a number or a name in the thread's namespace.
func zone(addr netip.Addr) uint32 {
	if index, err := strconv.ParseUint(addr.Zone(), 10, 32); err == nil {
		return uint32(index)
	}
	if device, err := net.InterfaceByName(addr.Zone()); err == nil {
		return uint32(device.Index)
	}
	return 0
}

// addrPort is the reverse of sockaddr. An IPv4 address that arrived at an IPv6 socket is an IPv4 address.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read the socket's address: %w", err)
	}
	return addrPort(sa), nil
}
