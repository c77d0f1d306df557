package packet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Listener receives UDP datagrams on a port, sent by IPv4 or IPv6 to any address of its namespace.
type Listener struct {
	socket *socket
	port   uint16
	cookie uint64
}

// ListenUDP opens a listener inside a namespace. Port 0 takes a free one. The caller must Close it.
func ListenUDP(in In, port uint16) (*Listener, error) {
	l := &Listener{}
	if err := in(func() error { return l.open(port) }); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on UDP port %d: %w", port, err), l.Close())
	}
	return l, nil
}

func (l *Listener) open(port uint16) (err error) {
	if l.socket, err = openSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0); err != nil {
		return err
	}
	fd := l.socket.fd
	// Whatever net.ipv6.bindv6only says, IPv4 arrives here too.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
		return fmt.Errorf("accept IPv4 too: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	local, err := localAddr(fd)
	if err != nil {
		return err
	}
	l.port = local.Port()
	if l.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("read socket cookie: %w", err)
	}
	return nil
}

// Port is the port that the listener is on.
func (l *Listener) Port() uint16 { return l.port }

// Cookie is the SO_COOKIE of the listening socket.
func (l *Listener) Cookie() uint64 { return l.cookie }

// Receive waits for a datagram and returns its payload and sender. It ends early with the context's error. One goroutine
// at a time may call it.
func (l *Listener) Receive(ctx context.Context) (payload []byte, from netip.AddrPort, err error) {
	buffer := make([]byte, 1<<16)
	n, sender, err := l.socket.read(ctx, buffer)
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("receive on UDP port %d: %w", l.port, err)
	}
	return buffer[:n:n], addrPort(sender), nil
}

// Close closes the listener; what it has not received is lost. Calling it again does nothing.
func (l *Listener) Close() error {
	if l.socket == nil {
		return nil
	}
	return l.socket.close()
}
