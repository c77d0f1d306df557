package journey

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// String is the packet in one line, as far as the captured bytes tell. It accepts any bytes.
func (p *Packet) String() string {
	line, _ := p.describe()
	return line
}

// Flow is the packet in short, without what changes from hop to hop: "172.16.42.1.39677 > 172.16.42.2.8080 UDP".
func (p *Packet) Flow() string {
	_, flow := p.describe()
	return flow
}

func (p *Packet) describe() (line, flow string) {
	switch p.etherType() {
	case layers.EthernetTypeIPv4:
		return describeIPv4(p.Data)
	case layers.EthernetTypeIPv6:
		return describeIPv6(p.Data)
	case layers.EthernetTypeARP:
		line = describeARP(p.Data)
		return line, line
	}
	flow = etherType(p.Proto)
	return fmt.Sprintf("%s len %d", flow, p.Len), flow
}

// etherType is the packet's protocol. IP writes it into the skb only when it has built the packet (__ip_local_out in
// net/ipv4/ip_output.c), so at the first probes it is still 0 and the header's version tells.
func (p *Packet) etherType() layers.EthernetType {
	if p.Proto == 0 && len(p.Data) > 0 {
		switch p.Data[0] >> 4 {
		case 4:
			return layers.EthernetTypeIPv4
		case 6:
			return layers.EthernetTypeIPv6
		}
	}
	return layers.EthernetType(p.Proto)
}

func etherType(proto uint16) string {
	if name := layers.EthernetType(proto).String(); !strings.HasPrefix(name, "Unknown") {
		return fmt.Sprintf("ethertype %s (%#04x)", name, proto)
	}
	return fmt.Sprintf("ethertype %#04x", proto)
}

func truncated(what string, data []byte) string {
	return fmt.Sprintf("%s, truncated: %d bytes were captured", what, len(data))
}

// describeIPv4 reads the fixed header by itself: gopacket gives up on headers that are odd further on (bad options, a
// total length of 0 as in a large GSO packet), and an odd packet is what its reader is after.
func describeIPv4(data []byte) (line, flow string) {
	if len(data) < 20 {
		line = truncated("IPv4", data)
		return line, "IPv4"
	}
	length := binary.BigEndian.Uint16(data[2:])
	frag := binary.BigEndian.Uint16(data[6:])
	flags := ""
	if frag&0x4000 != 0 {
		flags += " [DF]"
	}
	if frag&0x2000 != 0 {
		flags += " [MF]"
	}
	offset := int(frag&0x1fff) * 8
	header := int(data[0]&0xf) * 4
	proto := layers.IPProtocol(data[9])
	t := transport{}
	if offset == 0 && header >= 20 && header <= len(data) {
		t = describeTransport(proto, data[header:], int(length)-header)
	}
	src, dst := netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	line = fmt.Sprintf("%s tos %#x ttl %d id %d off %d%s len %d proto %s%s", t.addresses(src, dst), data[1], data[8],
		binary.BigEndian.Uint16(data[4:]), offset, flags, length, protocol(proto), t.text)
	return line, t.addresses(src, dst) + " " + protocolName(proto)
}

func describeIPv6(data []byte) (line, flow string) {
	if len(data) < 40 {
		line = truncated("IPv6", data)
		return line, "IPv6"
	}
	length := int(binary.BigEndian.Uint16(data[4:]))
	proto, rest, fragment := skipExtensions(layers.IPProtocol(data[6]), data[40:])
	t := transport{}
	if rest != nil {
		t = describeTransport(proto, rest, length-(len(data)-40-len(rest)))
	}
	src, dst := netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
	line = fmt.Sprintf("%s ttl %d label %#x len %d%s proto %s%s", t.addresses(src, dst), data[7],
		binary.BigEndian.Uint32(data)&0xfffff, length, fragment, protocol(proto), t.text)
	return line, t.addresses(src, dst) + " " + protocolName(proto)
}

// skipExtensions walks the extension headers. rest is nil where no transport header is within reach: in a fragment
// that is not the first, or past the captured bytes.
func skipExtensions(proto layers.IPProtocol, data []byte) (last layers.IPProtocol, rest []byte, fragment string) {
	for {
		length := 0
		switch proto {
		case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination:
			if len(data) >= 2 {
				length = int(data[1])*8 + 8
			}
		case layers.IPProtocolAH:
			if len(data) >= 2 {
				length = int(data[1])*4 + 8
			}
		case layers.IPProtocolIPv6Fragment:
			length = 8
			if len(data) < length {
				return proto, nil, fragment
			}
			offset := binary.BigEndian.Uint16(data[2:])
			fragment = fmt.Sprintf(" frag id %d off %d", binary.BigEndian.Uint32(data[4:]), offset&^7)
			if offset&1 != 0 {
				fragment += " [MF]"
			}
			if offset&^7 != 0 {
				return layers.IPProtocol(data[0]), nil, fragment
			}
		default:
			return proto, data, fragment
		}
		if length == 0 || length > len(data) {
			return proto, nil, fragment
		}
		proto, data = layers.IPProtocol(data[0]), data[length:]
	}
}

// transport is what a transport header adds to the line.
type transport struct {
	ports    bool
	src, dst uint16
	text     string
}

func (t transport) addresses(src, dst netip.Addr) string {
	if !t.ports {
		return fmt.Sprintf("%s > %s", src, dst)
	}
	return fmt.Sprintf("%s.%d > %s.%d", src, t.src, dst, t.dst)
}

// describeTransport describes a transport header. length is that of the whole datagram, as the network header tells.
func describeTransport(proto layers.IPProtocol, data []byte, length int) transport {
	t := transport{}
	switch proto {
	case layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolSCTP, layers.IPProtocolUDPLite:
		if len(data) < 4 {
			return t
		}
		t.ports, t.src, t.dst = true, binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	}
	switch proto {
	case layers.IPProtocolUDP:
		if len(data) >= 8 {
			if udp := int(binary.BigEndian.Uint16(data[4:])); udp >= 8 {
				length = udp
			}
			t.text = fmt.Sprintf(" len %d", max(length-8, 0))
		}
	case layers.IPProtocolTCP:
		t.text = describeTCP(data, length)
	case layers.IPProtocolICMPv4, layers.IPProtocolICMPv6:
		if len(data) >= 2 {
			t.text = fmt.Sprintf(" type %d code %d", data[0], data[1])
		}
		if len(data) >= 8 && isEcho(proto, data[0]) {
			t.text += fmt.Sprintf(" id %d seq %d", binary.BigEndian.Uint16(data[4:]), binary.BigEndian.Uint16(data[6:]))
		}
	}
	return t
}

func isEcho(proto layers.IPProtocol, icmpType uint8) bool {
	if proto == layers.IPProtocolICMPv4 {
		return icmpType == layers.ICMPv4TypeEchoRequest || icmpType == layers.ICMPv4TypeEchoReply
	}
	return icmpType == layers.ICMPv6TypeEchoRequest || icmpType == layers.ICMPv6TypeEchoReply
}

func describeTCP(data []byte, length int) string {
	if len(data) < 20 {
		return ""
	}
	var tcp layers.TCP
	// What fails here are options that are odd or cut off; the fixed header has been read by then.
	_ = tcp.DecodeFromBytes(data, gopacket.NilDecodeFeedback)
	var flags strings.Builder
	for _, f := range []struct {
		set  bool
		name byte
	}{
		{tcp.FIN, 'F'}, {tcp.SYN, 'S'}, {tcp.RST, 'R'}, {tcp.PSH, 'P'}, {tcp.ACK, '.'}, {tcp.URG, 'U'}, {tcp.ECE, 'E'},
		{tcp.CWR, 'W'},
	} {
		if f.set {
			flags.WriteByte(f.name)
		}
	}
	text := fmt.Sprintf(" flags [%s] seq %d", flags.String(), tcp.Seq)
	if tcp.ACK {
		text += fmt.Sprintf(" ack %d", tcp.Ack)
	}
	return text + fmt.Sprintf(" win %d len %d", tcp.Window, max(length-int(tcp.DataOffset)*4, 0))
}

func describeARP(data []byte) string {
	var arp layers.ARP
	if arp.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		return truncated("ARP", data)
	}
	sender, _ := netip.AddrFromSlice(arp.SourceProtAddress)
	target, _ := netip.AddrFromSlice(arp.DstProtAddress)
	switch arp.Operation {
	case layers.ARPRequest:
		return fmt.Sprintf("ARP request who-has %s tell %s", target, sender)
	case layers.ARPReply:
		return fmt.Sprintf("ARP reply %s is-at %s", sender, net.HardwareAddr(arp.SourceHwAddress))
	}
	return fmt.Sprintf("ARP operation %d from %s to %s", arp.Operation, sender, target)
}

// protocolName is the protocol as users write it.
func protocolName(proto layers.IPProtocol) string {
	if proto == layers.IPProtocolICMPv4 {
		return "ICMP"
	}
	if name := proto.String(); !strings.HasPrefix(name, "Unknown") {
		return name
	}
	return fmt.Sprintf("protocol %d", uint8(proto))
}

func protocol(proto layers.IPProtocol) string {
	name := protocolName(proto)
	if strings.HasPrefix(name, "protocol ") {
		return fmt.Sprint(uint8(proto))
	}
	return fmt.Sprintf("%s (%d)", name, uint8(proto))
}
