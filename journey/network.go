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

// describeNetwork describes what follows a link header. length is skb->len, or negative for a packet inside another.
func describeNetwork(proto uint16, data []byte, length, depth int) description {
	if depth > maxDepth {
		return description{lines: []string{"… (further packets inside are not shown)"}, flow: "…"}
	}
	switch layers.EthernetType(proto) {
	case layers.EthernetTypeIPv4:
		return describeIPv4(data, depth)
	case layers.EthernetTypeIPv6:
		return describeIPv6(data, depth)
	case layers.EthernetTypeARP:
		return describeARP(data)
	case layers.EthernetTypeMPLSUnicast, layers.EthernetTypeMPLSMulticast:
		return describeMPLS(data, depth)
	case layers.EthernetTypeTransparentEthernetBridging:
		return describeEthernet(data, depth)
	}
	if isVLAN(proto) && len(data) >= vlanTag {
		tags, inner, rest := vlanTags(proto, data)
		d := describeNetwork(inner, rest, -1, depth)
		d.lines = append([]string{strings.TrimPrefix(tags, " ")}, d.lines...)
		return d
	}
	if proto == etherType8022 && len(data) >= 3 {
		return describeLLC(data)
	}
	d := description{flow: "ethertype " + etherType(proto)}
	d.lines = []string{d.flow}
	if length >= 0 {
		d.lines[0] += fmt.Sprintf(" len %d", length)
	}
	return d
}

// describeEthernet describes a frame inside a packet.
func describeEthernet(data []byte, depth int) description {
	if len(data) < ethernetHeader {
		return truncated("Ethernet", data)
	}
	proto := binary.BigEndian.Uint16(data[12:])
	tags, inner, rest := vlanTags(proto, data[ethernetHeader:])
	d := describeNetwork(frameType(inner), rest, -1, depth)
	d.lines = append([]string{ethernetAddresses(data) + " " + linkType(proto) + tags}, d.lines...)
	return d
}

// describeLLC describes the header that IEEE 802.2 puts where Ethernet has no type. Bridges speak STP this way.
func describeLLC(data []byte) description {
	flow := fmt.Sprintf("LLC dsap %#x ssap %#x", data[0], data[1])
	if data[0] == 0x42 && data[1] == 0x42 {
		flow = "STP"
	}
	return description{lines: []string{flow + fmt.Sprintf(" control %#x", data[2])}, flow: flow}
}

func describeMPLS(data []byte, depth int) description {
	var line strings.Builder
	for {
		if len(data) < 4 {
			if line.Len() == 0 {
				return truncated("MPLS", data)
			}
			return description{lines: []string{line.String() + " (truncated)"}, flow: "MPLS"}
		}
		entry := binary.BigEndian.Uint32(data)
		data = data[4:]
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		fmt.Fprintf(&line, "mpls label %d tc %d ttl %d", entry>>12, entry>>9&7, entry&0xff)
		if entry&0x100 != 0 { // the bottom of the stack
			break
		}
	}
	d := description{lines: []string{line.String()}, flow: "MPLS"}
	// Nothing says what is behind the stack. IP can be told by its version; an Ethernet frame could not be told for sure.
	if inner := versionType(data); inner != 0 {
		below := describeNetwork(inner, data, -1, depth+1)
		d.lines = append(d.lines, indented(below.lines)...)
		d.flow += " (" + below.flow + ")"
	}
	return d
}

func describeARP(data []byte) description {
	var arp layers.ARP
	if arp.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d := truncated("ARP", data)
		d.flow = d.lines[0]
		return d
	}
	sender, _ := netip.AddrFromSlice(arp.SourceProtAddress)
	target, _ := netip.AddrFromSlice(arp.DstProtAddress)
	line := fmt.Sprintf("ARP operation %d from %s to %s", arp.Operation, address(sender), address(target))
	switch arp.Operation {
	case layers.ARPRequest:
		line = fmt.Sprintf("ARP request who-has %s tell %s", address(target), address(sender))
		if known := net.HardwareAddr(arp.DstHwAddress); strings.Trim(known.String(), "0:") != "" {
			line = fmt.Sprintf("ARP request who-has %s (%s) tell %s", address(target), known, address(sender))
		}
	case layers.ARPReply:
		line = fmt.Sprintf("ARP reply %s is-at %s", address(sender), net.HardwareAddr(arp.SourceHwAddress))
	}
	return description{lines: []string{line}, flow: line}
}

func describeIPv4(data []byte, depth int) description {
	if len(data) < 20 {
		return truncated("IPv4", data)
	}
	frag := binary.BigEndian.Uint16(data[6:])
	flags := ""
	if frag&0x8000 != 0 {
		flags += " [rsvd]"
	}
	if frag&0x4000 != 0 {
		flags += " [DF]"
	}
	if frag&0x2000 != 0 {
		flags += " [MF]"
	}
	offset := int(frag&0x1fff) * 8
	header := int(data[0]&0xf) * 4
	proto := layers.IPProtocol(data[9])
	options, length := "", ""
	if header >= 20 {
		options = ipOptions(data[20:min(header, len(data))])
	}
	payload := unknownLength // a header that is not finished, or a large GSO packet
	if total := int(binary.BigEndian.Uint16(data[2:])); total != 0 {
		length = fmt.Sprintf(" len %d", total)
		payload = max(total-header, 0)
	}
	var t transport
	switch {
	case offset != 0:
	case header < 20:
		t.text = " (header length is impossible)"
	default:
		t = describeTransport(proto, data[min(header, len(data)):], payload, depth)
	}
	src, dst := netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	line := fmt.Sprintf("%s tos %#x%s ttl %d id %d off %d%s%s%s proto %s", t.addresses(src, dst), data[1], ecn(data[1]),
		data[8], binary.BigEndian.Uint16(data[4:]), offset, flags, length, options, protocol(proto))
	return t.describe(line, t.addresses(src, dst)+" "+protocolName(proto))
}

// ecn names the congestion bits of a type of service or traffic class.
func ecn(tos uint8) string {
	return [4]string{"", " ECT(1)", " ECT(0)", " CE"}[tos&3] //nolint:misspell // ECN-capable transport
}

// ipOptions lists the options of an IPv4 header by name.
func ipOptions(data []byte) string {
	names := map[uint8]string{7: "RR", 68: "timestamp", 130: "security", 131: "LSRR", 137: "SSRR", 148: "router-alert"}
	var found []string
	for len(data) > 0 && data[0] != 0 {
		if data[0] == 1 { // no operation, padding
			data = data[1:]
			continue
		}
		name := names[data[0]]
		if name == "" {
			name = fmt.Sprint(data[0])
		}
		found = append(found, name)
		if len(data) < 2 || data[1] < 2 || int(data[1]) > len(data) {
			found = append(found, "…")
			break
		}
		data = data[data[1]:]
	}
	if found == nil {
		return ""
	}
	return " opts [" + strings.Join(found, ",") + "]"
}

func describeIPv6(data []byte, depth int) description {
	if len(data) < 40 {
		return truncated("IPv6", data)
	}
	word := binary.BigEndian.Uint32(data)
	length, payload := "", unknownLength
	if total := int(binary.BigEndian.Uint16(data[4:])); total != 0 {
		length, payload = fmt.Sprintf(" len %d", total), total
	}
	class := ""
	if tos := uint8(word >> 20); tos != 0 {
		class = fmt.Sprintf(" class %#x%s", tos, ecn(tos))
	}
	x := skipExtensions(layers.IPProtocol(data[6]), data[40:])
	if payload != unknownLength {
		payload = max(payload-x.length, 0)
	}
	var t transport
	switch {
	case x.fragment, x.last == layers.IPProtocolNoNextHeader:
	case x.cut:
		t.text = " (truncated)"
	default:
		t = describeTransport(x.last, x.rest, payload, depth)
	}
	src, dst := netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
	line := fmt.Sprintf("%s%s ttl %d label %#x%s%s proto %s", t.addresses(src, dst), class, data[7], word&0xfffff, length,
		x.text(), protocol(x.last))
	return t.describe(line, t.addresses(src, dst)+" "+protocolName(x.last))
}

// extensions is what lies between an IPv6 header and the transport's.
type extensions struct {
	names    []string
	frag     string
	last     layers.IPProtocol
	length   int    // of the extension headers, in bytes
	rest     []byte // what follows them
	cut      bool   // the last header found was not captured whole
	fragment bool   // the packet is a fragment other than the first, without a transport header
}

func (x *extensions) text() string {
	s := ""
	if x.names != nil {
		s = " exts [" + strings.Join(x.names, ",") + "]"
	}
	return s + x.frag
}

// skipExtensions walks the extension headers. Authentication headers are left to describeTransport, as in IPv4.
func skipExtensions(proto layers.IPProtocol, data []byte) extensions {
	x := extensions{last: proto, rest: data}
	for {
		name, size := "", 8
		switch x.last {
		case layers.IPProtocolIPv6HopByHop:
			name = "hop-by-hop"
		case layers.IPProtocolIPv6Routing:
			name = "routing"
		case layers.IPProtocolIPv6Destination:
			name = "destination"
		case layers.IPProtocolIPv6Fragment:
		default:
			return x
		}
		if len(x.rest) < 8 {
			x.cut = true
			return x
		}
		if name == "" {
			offset := binary.BigEndian.Uint16(x.rest[2:])
			x.frag = fmt.Sprintf(" frag id %d off %d", binary.BigEndian.Uint32(x.rest[4:]), offset&^7)
			if offset&1 != 0 {
				x.frag += " [MF]"
			}
			x.fragment = offset&^7 != 0
		} else {
			size += int(x.rest[1]) * 8
			if name == "routing" {
				name += fmt.Sprintf(" type %d left %d", x.rest[2], x.rest[3])
			}
			x.names = append(x.names, name)
		}
		if size > len(x.rest) {
			x.cut = true
			return x
		}
		x.last, x.rest, x.length = layers.IPProtocol(x.rest[0]), x.rest[size:], x.length+size
		if x.fragment {
			return x
		}
	}
}

// protocolName is the protocol as users write it.
func protocolName(proto layers.IPProtocol) string {
	switch proto {
	case layers.IPProtocolICMPv4:
		return "ICMP"
	case layers.IPProtocolIPv4:
		return "IPIP"
	case layers.IPProtocolESP:
		return "ESP"
	case layers.IPProtocolAH:
		return "AH"
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
