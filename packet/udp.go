package packet

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// UDP is a datagram, sent from an ordinary socket that is connected to the destination. It goes by IPv4 or IPv6, as To
// is.
type UDP struct {
	// To is the destination.
	To Host
	// DstPort is the destination port; it must be given.
	DstPort uint16
	// Src is the source address, which the sending namespace must own; nil for the one the kernel chooses.
	Src Host
	// SrcPort is the source port; 0 for a free one. One that is given can be used by several sockets of this package at
	// once, so the same five-tuple can be sent twice from different sockets.
	SrcPort uint16
	// Payload is the data, at most 65507 bytes by IPv4 and 65527 by IPv6. It may be empty.
	Payload []byte
	// Segment makes the kernel cut the payload into datagrams of so many bytes (UDP_SEGMENT); 0 for one datagram. They
	// travel as one packet until something has to cut it, at the latest a device without that feature.
	Segment uint16
	// Options are about the packet's IP header and how it leaves.
	Options Options
}

// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.10 (include/linux/udp.h).
const maxSegments = 64

func (u UDP) validate() error {
	to, err := address("To", u.To)
	if err != nil {
		return fmt.Errorf("send UDP: %w", err)
	}
	limit := 65527 // 65535 less the UDP header: the IPv6 payload length does not count the IPv6 header
	if to.Is4() {
		limit = 65507 // the IPv4 total length counts the IPv4 header
	}
	switch {
	case u.DstPort == 0:
		return errors.New("send UDP: DstPort is 0: give the destination port, 1 to 65535")
	case len(u.Payload) > limit:
		return fmt.Errorf("send UDP: the payload has %d bytes: at most %d fit into one datagram", len(u.Payload), limit)
	case u.Segment != 0 && len(u.Payload) > maxSegments*int(u.Segment):
		return fmt.Errorf("send UDP: the payload of %d bytes in segments of %d is more than %d segments: send less, or larger ones",
			len(u.Payload), u.Segment, maxSegments)
	case u.Src == nil:
		return nil
	}
	src, err := address("Src", u.Src)
	if err != nil {
		return fmt.Errorf("send UDP: %w", err)
	}
	if src.Is4() != to.Is4() {
		return fmt.Errorf("send UDP: Src is %s and To is %s: both must be IPv4 or both IPv6", src, to)
	}
	return nil
}

func (u UDP) open(sent *Sent) (err error) {
	to := u.To.Addr().Unmap()
	sent.name, sent.Proto, sent.Len = "UDP", unix.IPPROTO_UDP, len(u.Payload)
	sent.Remote = netip.AddrPortFrom(to, u.DstPort)

	if sent.socket, err = openSocket(family(to), unix.SOCK_DGRAM, 0); err != nil {
		return fmt.Errorf("send UDP: %w", err)
	}
	fd := sent.socket.fd
	// The cookie is made when it is first asked for; ask before there is a packet.
	if sent.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("send UDP: read socket cookie: %w", err)
	}
	// A test that sends to a broadcast address means it.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fmt.Errorf("send UDP: allow broadcast: %w", err)
	}
	if err := u.Options.apply(fd, family(to)); err != nil {
		return fmt.Errorf("send UDP: %w", err)
	}
	if u.Segment != 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, int(u.Segment)); err != nil {
			return fmt.Errorf("send UDP: set segment size: %w", err)
		}
	}
	if u.Src != nil || u.SrcPort != 0 {
		src := unspecified(to)
		if u.Src != nil {
			src = u.Src.Addr().Unmap()
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("send UDP: allow the source port to be reused: %w", err)
		}
		from := netip.AddrPortFrom(src, u.SrcPort)
		if err := unix.Bind(fd, sockaddr(from)); err != nil {
			return fmt.Errorf("send UDP: bind to source %s: %w", from, err)
		}
	}
	// Connected, for the source address to be known, and errors to come back to this socket.
	if err := unix.Connect(fd, sockaddr(sent.Remote)); err != nil {
		sent.Err = fmt.Errorf("connect to %s: %w", sent.Remote, err)
		return nil
	}
	if sent.Local, err = localAddr(fd); err != nil {
		return fmt.Errorf("send UDP: %w", err)
	}
	return nil
}

func (u UDP) send(sent *Sent) error {
	if err := sent.socket.write(u.Payload); err != nil {
		return fmt.Errorf("send to %s: %w", sent.Remote, u.Options.tooLong(err))
	}
	return nil
}

// address checks a host and returns its address.
func address(field string, host Host) (netip.Addr, error) {
	if host == nil {
		return netip.Addr{}, fmt.Errorf("%s is nil: give a node, or packet.IP of an address", field)
	}
	addr := host.Addr().Unmap()
	if !addr.IsValid() {
		return netip.Addr{}, fmt.Errorf("%s (%v) has no address: connect the node with a link first", field, host)
	}
	return addr, nil
}
