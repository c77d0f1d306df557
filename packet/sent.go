package packet

import (
	"errors"
	"fmt"
	"net/netip"
)

// Sent is a packet that was sent, or that the kernel refused to send. It holds the sending socket open until Close, so
// that a reply finds it and causes no ICMP error.
type Sent struct {
	// Packet is the description.
	Packet Packet
	// Cookie is the SO_COOKIE of the sending socket: unique since boot, never 0, and known to the kernel before the packet
	// was made.
	Cookie uint64
	// Proto is the IP protocol number.
	Proto uint8
	// Local and Remote are the addresses and ports. Local has no address if the kernel found no way to Remote.
	Local, Remote netip.AddrPort
	// Len is the number of payload bytes.
	Len int
	// Before and After are the times just before and after the system call that sent, in nanoseconds of CLOCK_MONOTONIC;
	// both 0 if it did not come to that.
	Before, After uint64
	// Err is what the kernel answered; it wraps a [syscall.Errno]. It is nil if the packet was accepted, EPERM if an output
	// rule dropped it, and ENETUNREACH without a route, in which case no packet was made. Such answers are part of what
	// tests provoke, so they are kept here and not returned by Send.
	Err error

	name   string
	socket *socket
	port   *socket // that reserves the source port
	text   string  // the description, where there are no addresses
	data   []byte  // what is to be sent, where that is known only inside the namespace
}

// transmit sends the packet, from whatever namespace, and notes when and with what answer.
func (s *Sent) transmit() (err error) {
	if s.Before, err = monotonic(); err != nil {
		return err
	}
	s.Err = s.Packet.send(s)
	s.After, err = monotonic()
	return err
}

// String prints the packet as UDP 172.16.42.1.39677 > 172.16.42.2.8080 len 3.
func (s *Sent) String() string {
	if s.text != "" {
		return s.text
	}
	return fmt.Sprintf("%s %s > %s len %d", s.name, endpoint(s.Local), endpoint(s.Remote), s.Len)
}

// endpoint prints address and port with a dot between them, as tcpdump does.
func endpoint(a netip.AddrPort) string {
	switch {
	case !a.Addr().IsValid():
		return "?"
	case a.Port() == 0:
		return a.Addr().String() // the protocol has no ports
	}
	return fmt.Sprintf("%s.%d", a.Addr(), a.Port())
}

// Close closes the sending socket. Calling it again does nothing.
func (s *Sent) Close() error {
	var errs []error
	for _, socket := range []*socket{s.socket, s.port} {
		if socket != nil {
			errs = append(errs, socket.close())
		}
	}
	return errors.Join(errs...)
}

// Endpoints are the ends of the flow that the packet belongs to, as the sender sees them, and the IP protocol.
func (s *Sent) Endpoints() (proto uint8, local, remote netip.AddrPort) {
	return s.Proto, s.Local, s.Remote
}

// SocketCookie is [Sent.Cookie]: what a record finds the packet's journey by.
func (s *Sent) SocketCookie() uint64 { return s.Cookie }

// Flow is the two ends between which packets go, and their IP protocol, where no socket of the test is known that sent them: such
// as those of a program. A port of 0 is any.
type Flow struct {
	Proto         uint8
	Local, Remote netip.AddrPort
}

// Endpoints are the flow's ends and its protocol.
func (f Flow) Endpoints() (proto uint8, local, remote netip.AddrPort) {
	return f.Proto, f.Local, f.Remote
}
