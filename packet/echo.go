package packet

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Echo is an ICMP or ICMPv6 echo request, as ping sends it, by IPv4 or IPv6, as To is. The reply is received by the
// sending socket.
type Echo struct {
	// To is the destination.
	To Host
	// Src is the source address, which the sending namespace must own; nil for the one the kernel chooses.
	Src Host
	// ID tells one ping from another; 0 for one made of the socket's cookie. Seq is the number of the request.
	ID, Seq uint16
	// Payload is the data, which the reply repeats.
	Payload []byte
	// Options are about the packet's IP header and how it leaves.
	Options Options
}

func (e Echo) validate() error {
	const limit = 65507 // as for UDP: the ICMP header has as many bytes
	if len(e.Payload) > limit {
		return fmt.Errorf("send echo request: the payload has %d bytes: at most %d fit into one packet", len(e.Payload), limit)
	}
	return validateRaw("echo request", e.To, e.Src)
}

func (e Echo) open(sent *Sent) (err error) {
	to := e.To.Addr().Unmap()
	sent.name, sent.Len, sent.Remote = "ICMP echo request", len(e.Payload), netip.AddrPortFrom(to, 0)
	sent.Proto = unix.IPPROTO_ICMP
	if to.Is6() {
		sent.name, sent.Proto = "ICMPv6 echo request", unix.IPPROTO_ICMPV6
	}
	if sent.socket, err = openSocket(family(to), unix.SOCK_RAW, int(sent.Proto)); err != nil {
		return fmt.Errorf("send echo request: %w", err)
	}
	fd := sent.socket.fd
	if sent.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("send echo request: read socket cookie: %w", err)
	}
	if err := onlyReplies(fd, to.Is6()); err != nil {
		return fmt.Errorf("send echo request: receive replies only: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return fmt.Errorf("send echo request: allow broadcast: %w", err)
	}
	if err := e.Options.apply(fd, family(to)); err != nil {
		return fmt.Errorf("send echo request: %w", err)
	}
	if e.Src != nil {
		from := netip.AddrPortFrom(e.Src.Addr().Unmap(), 0)
		if err := unix.Bind(fd, sockaddr(from)); err != nil {
			return fmt.Errorf("send echo request: bind to source %s: %w", from.Addr(), err)
		}
	}
	if err := unix.Connect(fd, sockaddr(sent.Remote)); err != nil {
		sent.Err = fmt.Errorf("connect to %s: %w", to, err)
		return nil
	}
	local, err := localAddr(fd)
	if err != nil {
		return fmt.Errorf("send echo request: %w", err)
	}
	sent.Local = netip.AddrPortFrom(local.Addr(), 0)
	return nil
}

// onlyReplies keeps every other message from a raw ICMP socket (ICMP_FILTER, ICMP6_FILTER).
func onlyReplies(fd int, six bool) error {
	const reply, reply6 = 0, 129
	if !six {
		filter := uint32(math.MaxUint32) &^ (1 << reply)
		return unix.SetsockoptString(fd, unix.SOL_RAW, 1, string(binary.NativeEndian.AppendUint32(nil, filter)))
	}
	filter := unix.ICMPv6Filter{}
	for i := range filter.Data {
		filter.Data[i] = math.MaxUint32
	}
	filter.Data[reply6/32] &^= 1 << (reply6 % 32)
	return unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
}

func (e Echo) send(sent *Sent) error {
	id := e.ID
	if id == 0 {
		id = uint16(sent.Cookie)
	}
	kind := byte(8)
	if sent.Proto == unix.IPPROTO_ICMPV6 {
		kind = 128
	}
	message := binary.BigEndian.AppendUint16([]byte{kind, 0, 0, 0}, id)
	message = append(binary.BigEndian.AppendUint16(message, e.Seq), e.Payload...)
	if kind == 8 { // for ICMPv6 the kernel computes it
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	if err := sent.socket.write(message); err != nil {
		return fmt.Errorf("send to %s: %w", sent.Remote.Addr(), err)
	}
	return nil
}

// checksum is that of the internet protocols (RFC 1071).
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(data[i]) << 8
		if i+1 < len(data) {
			sum += uint32(data[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
