package packet

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// IPPacket is a packet of any IP protocol, whose payload is given and whose IP header the kernel makes. It is sent by a
// raw socket and needs CAP_NET_RAW.
type IPPacket struct {
	// To is the destination.
	To Host
	// Proto is the IP protocol number, such as unix.IPPROTO_SCTP.
	Proto uint8
	// Src is the source address, which the sending namespace must own; nil for the one the kernel chooses.
	Src Host
	// Payload is what follows the IP header. Checksums in it are the caller's.
	Payload []byte
	// Options are about the packet's IP header and how it leaves.
	Options Options
}

func (p IPPacket) validate() error {
	switch p.Proto {
	case 0:
		return errors.New("send IP packet: Proto is 0: give the protocol's number, such as 132 for SCTP")
	case unix.IPPROTO_RAW:
		return errors.New("send IP packet: Proto is 255: the kernel would expect an IP header; send a Frame instead")
	}
	return validateRaw("IP packet", p.To, p.Src)
}

func (p IPPacket) open(sent *Sent) error {
	sent.name, sent.Len = fmt.Sprintf("IP proto %d", p.Proto), len(p.Payload)
	return openRaw(sent, p.To, p.Src, p.Proto, p.Options)
}

func (p IPPacket) send(sent *Sent) error { return sendRaw(sent, p.Payload) }

func validateRaw(name string, to, src Host) error {
	dst, err := address("To", to)
	if err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	if src == nil {
		return nil
	}
	from, err := address("Src", src)
	if err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	if from.Is4() != dst.Is4() {
		return fmt.Errorf("send %s: Src is %s and To is %s: both must be IPv4 or both IPv6", name, from, dst)
	}
	return nil
}

// openRaw opens a raw socket that sends to a host and receives nothing.
//
// A raw socket would get a copy of every packet of its protocol that arrives, and that copy would be a branch of the
// packet's journey that the test did not ask for. A connected one gets those of its peer only (raw_v4_match,
// net/ipv4/raw.c); so it is connected to its own address, and the destination is given with each packet.
func openRaw(sent *Sent, host, src Host, proto uint8, options Options) error {
	to := host.Addr().Unmap()
	sent.Proto, sent.Remote = proto, netip.AddrPortFrom(to, 0)
	from, noWay, err := source(to, src, options)
	if err != nil {
		return fmt.Errorf("send %s: %w", sent.name, err)
	}
	if noWay != nil {
		sent.Err = fmt.Errorf("find a way to %s: %w", to, noWay)
	}
	if sent.socket, err = openSocket(family(to), unix.SOCK_RAW, int(proto)); err != nil {
		return fmt.Errorf("send %s: %w", sent.name, err)
	}
	fd := sent.socket.fd
	if sent.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("send %s: read socket cookie: %w", sent.name, err)
	}
	if sent.Err == nil {
		return bindRaw(sent, from, options)
	}
	return nil
}

// bindRaw gives the socket its source, and keeps answers away from it.
func bindRaw(sent *Sent, from netip.Addr, options Options) error {
	fd := sent.socket.fd
	sent.Local = netip.AddrPortFrom(from, 0)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fmt.Errorf("send %s: allow broadcast: %w", sent.name, err)
	}
	if err := unix.Bind(fd, sockaddr(sent.Local)); err != nil {
		return fmt.Errorf("send %s: bind to source %s: %w", sent.name, from, err)
	}
	if err := unix.Connect(fd, sockaddr(sent.Local)); err != nil {
		return fmt.Errorf("send %s: keep replies away: %w", sent.name, err)
	}
	// Last: bound to a device, the socket could not be connected to an address of another.
	if err := options.apply(fd, family(from)); err != nil {
		return fmt.Errorf("send %s: %w", sent.name, err)
	}
	return nil
}

func sendRaw(sent *Sent, data []byte) error {
	to := netip.AddrPortFrom(sent.Remote.Addr(), 0) // IPv6 takes a port for a protocol
	if err := sent.socket.writeTo(data, sockaddr(to)); err != nil {
		return fmt.Errorf("send to %s: %w", sent.Remote.Addr(), err)
	}
	return nil
}

// source is the address that the kernel would send from, by asking a UDP socket, which sends nothing. That there is no way
// to the destination is the kernel's answer, and not a failure.
func source(to netip.Addr, src Host, options Options) (from netip.Addr, noWay, err error) {
	if src != nil {
		return src.Addr().Unmap(), nil, nil
	}
	fd, err := unix.Socket(family(to), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, nil, fmt.Errorf("open socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return netip.Addr{}, nil, fmt.Errorf("allow broadcast: %w", err)
	}
	if err := options.apply(fd, family(to)); err != nil {
		return netip.Addr{}, nil, err
	}
	if noWay := unix.Connect(fd, sockaddr(netip.AddrPortFrom(to, 9))); noWay != nil {
		return netip.Addr{}, noWay, nil
	}
	local, err := localAddr(fd)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	from = local.Addr()
	if from.Is6() && from.IsLinkLocalUnicast() {
		// The kernel's answer is without the device that such an address belongs to.
		from = from.WithZone(cmp.Or(to.Zone(), options.Device))
	}
	return from, nil, nil
}
