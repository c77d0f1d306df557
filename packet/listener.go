package packet

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	l.socket, l.port, l.cookie, err = bindAny(unix.SOCK_DGRAM, port)
	return err
}

// bindAny opens a socket that is bound to a port of every address, IPv4 and IPv6. The socket is returned also with an
// error, if there is one to be closed.
func bindAny(kind int, port uint16) (s *socket, bound uint16, cookie uint64, err error) {
	if s, err = openSocket(unix.AF_INET6, kind, 0); err != nil {
		return nil, 0, 0, err
	}
	// Whatever net.ipv6.bindv6only says, IPv4 arrives here too.
	if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
		return s, 0, 0, fmt.Errorf("accept IPv4 too: %w", err)
	}
	if err := unix.Bind(s.fd, &unix.SockaddrInet6{Port: int(port)}); err != nil {
		return s, 0, 0, fmt.Errorf("bind: %w", err)
	}
	local, err := localAddr(s.fd)
	if err != nil {
		return s, 0, 0, err
	}
	if cookie, err = unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return s, 0, 0, fmt.Errorf("read socket cookie: %w", err)
	}
	return s, local.Port(), cookie, nil
}

// Join makes the listener receive what is sent to a multicast group and arrives at a device.
func (l *Listener) Join(in In, group Host, device string) error {
	err := in(func() error {
		at, err := net.InterfaceByName(device)
		if err != nil {
			return fmt.Errorf("find device: %w", err)
		}
		addr := group.Addr().Unmap()
		if addr.Is4() {
			return unix.SetsockoptIPMreqn(l.socket.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
				&unix.IPMreqn{Multiaddr: addr.As4(), Ifindex: int32(at.Index)})
		}
		return unix.SetsockoptIPv6Mreq(l.socket.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: addr.As16(), Interface: uint32(at.Index)})
	})
	if err != nil {
		return fmt.Errorf("join group %v on %s: %w", group, device, err)
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
