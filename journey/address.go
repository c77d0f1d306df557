package journey

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// Header is what routers and NAT look at in a packet.
type Header struct {
	Src, Dst netip.Addr
	// SrcPort and DstPort are zero if the packet has none, or not in what was captured.
	SrcPort, DstPort uint16
	// Proto is the IP protocol's number, of IPv6 that behind the extensions.
	Proto uint8
	// TTL is the time to live, or IPv6's hop limit.
	TTL uint8
}

// Header reads the packet's outermost IP header; ok is false if it is no IP packet.
func (p *Packet) Header() (h Header, ok bool) {
	h, _, ok = p.header()
	return h, ok
}

// header is Header, and what follows the header and its extensions: nothing if that is not the beginning of the transport's header.
func (p *Packet) header() (h Header, rest []byte, ok bool) {
	proto, data := p.network()
	switch {
	case layers.EthernetType(proto) == layers.EthernetTypeIPv4 && len(data) >= 20:
		h.Src, _ = netip.AddrFromSlice(data[12:16])
		h.Dst, _ = netip.AddrFromSlice(data[16:20])
		h.Proto, h.TTL = data[9], data[8]
		size := int(data[0]&0xf) * 4
		if first := binary.BigEndian.Uint16(data[6:])&0x1fff == 0; first && size >= 20 && len(data) >= size {
			rest = data[size:]
		}
	case layers.EthernetType(proto) == layers.EthernetTypeIPv6 && len(data) >= ipv6Header:
		h.Src, h.Dst = netip.AddrFrom16([16]byte(data[8:24])), netip.AddrFrom16([16]byte(data[24:40]))
		x := skipExtensions(layers.IPProtocol(data[6]), data[ipv6Header:])
		h.Proto, h.TTL = uint8(x.last), data[7]
		if !x.fragment && !x.cut {
			rest = x.rest
		}
	default:
		return Header{}, nil, false
	}
	if t := describeTransport(layers.IPProtocol(h.Proto), rest, unknownLength, maxDepth); t.ports {
		h.SrcPort, h.DstPort = t.src, t.dst
	}
	return h, rest, true
}

// network is the type of what follows the link header and its tags, and that.
func (p *Packet) network() (proto uint16, data []byte) {
	_, proto, data = p.frame()
	if isVLAN(proto) {
		_, proto, data = vlanTags(proto, data)
	}
	return proto, data
}

// ICMPType is the type of an ICMP or ICMPv6 message; ok is false if the packet is none, or its type was not captured.
func (p *Packet) ICMPType() (t uint8, ok bool) {
	h, rest, _ := p.header()
	if proto := layers.IPProtocol(h.Proto); proto != layers.IPProtocolICMPv4 && proto != layers.IPProtocolICMPv6 || len(rest) == 0 {
		return 0, false
	}
	return rest[0], true
}

// GratuitousARP says that the packet is ARP by which a host tells its own address, or asks whether somebody else has it.
func (p *Packet) GratuitousARP() bool {
	proto, data := p.network()
	if layers.EthernetType(proto) != layers.EthernetTypeARP || len(data) < 28 {
		return false
	}
	sender, target := [4]byte(data[14:18]), [4]byte(data[24:28])
	return sender == target || sender == [4]byte{}
}
