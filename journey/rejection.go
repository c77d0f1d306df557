package journey

import (
	"fmt"

	"github.com/gopacket/gopacket/layers"
)

// Codes of "destination unreachable" that have a name in nft(8), REJECT STATEMENT.
var (
	unreachable = map[uint8]string{
		0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 9: "net-prohibited",
		10: "host-prohibited", 13: "admin-prohibited",
	}
	unreachable6 = map[uint8]string{
		0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail", 6: "reject-route",
	}
)

const resetFlag = 4

// Rejection says by what a packet rejects another one: "tcp reset", or an ICMP error as nft writes it, "icmp port-unreachable" and
// "icmpv6 no-route", or where that has no name by type and code, "icmp 11/0". It is empty for any other packet.
func (p *Packet) Rejection() string {
	h, rest, ok := p.header()
	if !ok || len(rest) < 2 {
		return ""
	}
	kind, code := rest[0], rest[1]
	switch layers.IPProtocol(h.Proto) {
	case layers.IPProtocolTCP:
		if len(rest) > 13 && rest[13]&resetFlag != 0 {
			return "tcp reset"
		}
	case layers.IPProtocolICMPv4:
		// RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem. A redirect rejects nothing.
		switch kind {
		case layers.ICMPv4TypeDestinationUnreachable:
			return icmpError("icmp", kind, code, unreachable)
		case layers.ICMPv4TypeSourceQuench, layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
			return icmpError("icmp", kind, code, nil)
		}
	case layers.IPProtocolICMPv6:
		switch {
		case kind == layers.ICMPv6TypeDestinationUnreachable:
			return icmpError("icmpv6", kind, code, unreachable6)
		case kind < 128: // RFC 4443, 2.1: errors
			return icmpError("icmpv6", kind, code, nil)
		}
	}
	return ""
}

func icmpError(proto string, kind, code uint8, names map[uint8]string) string {
	if name := names[code]; name != "" {
		return proto + " " + name
	}
	return fmt.Sprintf("%s %d/%d", proto, kind, code)
}

// Rejection is by what the packet rejects another one, as it first was: see [Packet.Rejection].
func (j *Journey) Rejection() string {
	if p := j.first(); p != nil {
		return p.Rejection()
	}
	return ""
}
