package packet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Host is where a packet goes to or comes from. A *topology.Node is one; [IP] makes one of an address.
type Host interface {
	// Addr is the host's primary address.
	Addr() netip.Addr
}

// IP is a Host that is just an address.
type IP netip.Addr

// Addr returns the address.
func (ip IP) Addr() netip.Addr { return netip.Addr(ip) }

// IP6 is a node by its IPv6 address: IP6(server).
func IP6(node interface{ Addr6() netip.Addr }) IP { return IP(node.Addr6()) }

// String prints the address.
func (ip IP) String() string { return netip.Addr(ip).String() }

// ParseIP makes a Host of an address in text form.
func ParseIP(text string) (IP, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return IP{}, fmt.Errorf("%q is not an IP address: write one such as 172.16.42.1 or fd42:0:0:42::1", text)
	}
	return IP(addr), nil
}

// ParsePort reads a port number from text.
func ParsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port: give a number from 1 to 65535", text)
	}
	return uint16(port), nil
}

// In runs a function inside a network namespace, on a thread that is there, and returns its error. It is how this
// package opens sockets: topology's Running.Do for one node fits.
type In func(f func() error) error

// Packet is a description of something to send: [UDP], [TCP], [Echo], [IPPacket], [Frame] or [ARP]. It prints itself in one line.
type Packet interface {
	fmt.Stringer
	// validate reports what is wrong with the description.
	validate() error
	// open makes the socket, inside the namespace, up to the point where it can send.
	open(sent *Sent) error
	// send sends, and reports what the kernel said.
	send(sent *Sent) error
}

// Send sends a packet from inside a namespace. A description that is wrong, or a socket that cannot be made, is an error.
// That the kernel refuses to send is not: see [Sent.Err]. The caller must Close what is returned.
func Send(ctx context.Context, in In, p Packet) (*Sent, error) {
	if p == nil {
		return nil, errors.New("send: the packet is nil: describe one, such as packet.UDP{…}")
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	sent := &Sent{Packet: p}
	if err := in(func() error { return p.open(sent) }); err != nil {
		return nil, errors.Join(err, sent.Close())
	}
	if sent.Err == nil { // otherwise the kernel refused before there was anything to send
		if err := sent.transmit(); err != nil {
			return nil, errors.Join(err, sent.Close())
		}
	}
	return sent, nil
}

// monotonic is the time in nanoseconds of CLOCK_MONOTONIC, the clock that probes use.
func monotonic() (uint64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return uint64(now.Nano()), nil
}
