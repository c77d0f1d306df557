package journey

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"

	"github.com/gopacket/gopacket/layers"
)

// Packet holds the packet's first bytes, as they were at the probe.
type Packet struct {
	// Proto is skb->protocol in host byte order: an EtherType.
	Proto uint16
	// Len is skb->len: the bytes from skb->data on, which may start at the MAC, network or transport header.
	Len uint32
	// Network is the offset of the network header in Data. Data begins at the MAC header if the skb has one, and else at
	// the network header; then Network is 0.
	Network int
	// VLAN is the tag that the skb carries beside its data (skb->vlan_tci); nil if there is none.
	VLAN *VLAN
	// Data is what was captured: up to 128 bytes, or somewhat fewer if they are in pages, as TCP's payload and all that is
	// sent without copying it. Of a packet that is in several skbs, as a reassembled datagram is, it is from the first.
	Data []byte
}

// VLAN is a tag of IEEE 802.1Q or 802.1ad.
type VLAN struct {
	Proto uint16 // 0x8100 or 0x88a8
	TCI   uint16 // priority, drop eligibility and identifier as they are in the tag
}

// ID is the VLAN's number, 0 to 4095; 0 is a tag that carries a priority only.
func (v VLAN) ID() uint16 { return v.TCI & 0xfff }

// Priority is the priority code point, 0 to 7.
func (v VLAN) Priority() uint8 { return uint8(v.TCI >> 13) }

// DropEligible says that the packet may be dropped first.
func (v VLAN) DropEligible() bool { return v.TCI&0x1000 != 0 }

// equal says that two packets are the same in all respects.
func (p *Packet) equal(o *Packet) bool {
	if p == o {
		return true
	}
	if p.Proto != o.Proto || p.Len != o.Len || p.Network != o.Network || !bytes.Equal(p.Data, o.Data) {
		return false
	}
	return p.VLAN == o.VLAN || p.VLAN != nil && o.VLAN != nil && *p.VLAN == *o.VLAN
}

// String is the packet in one line, as far as the captured bytes tell. It accepts any bytes. See Lines for a form that
// is easier to read where a packet carries others.
func (p *Packet) String() string {
	lines := p.describe().lines
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, " ")
}

// Lines is the packet in several lines: the link header, the network header with the transport's, long lists of
// options, and what the packet carries or quotes, each level indented by two spaces.
func (p *Packet) Lines() []string { return p.describe().lines }

// Flow is the packet in short, without what changes from hop to hop: "172.16.42.1.39677 > 172.16.42.2.8080 UDP". What
// a tunnel carries follows in parentheses.
func (p *Packet) Flow() string { return p.describe().flow }

// Tunnels are the protocols of the tunnels that the packet is in, outermost first: "vxlan", "geneve", "gre", "ipip" (IPv4 in IP),
// "sit" (IPv6 in IP), "mpls" (in IP), "etherip", "esp" and "ah", these also without a second IP header. What is behind ESP is not
// known, nor what was not captured. What an ICMP error quotes is in no tunnel.
func (p *Packet) Tunnels() []string { return p.describe().tunnels }

// description is a packet in words. Decoders fill it by reading headers at their fixed offsets, each as far as it was
// captured. Whole packets are not given to gopacket, which reads nothing of a header that is odd further on (options cut
// off, a total length of 0 as in a large GSO packet), and an odd packet is what its reader is after; it serves with
// names, and with headers that have nothing odd behind them.
type description struct {
	lines   []string
	flow    string
	tunnels []string
}

// maxDepth is how many packets inside each other are described.
const maxDepth = 6

// isUnfinished says that the network header is still to be written: TCP gives IP what has neither that nor skb->protocol
// (ip6_xmit, net/ipv6/ip6_output.c).
func (p *Packet) isUnfinished() bool {
	_, proto, _ := p.frame()
	return p.Proto == 0 && proto == 0 && p.Network < ethernetHeader
}

func (p *Packet) describe() description {
	if p.isUnfinished() {
		return description{lines: []string{"no network header yet"}, flow: "a packet without a network header yet"}
	}
	link, proto, data := p.frame()
	if !p.isFrame(proto, data) {
		link = ""
	}
	if p.VLAN != nil {
		accel := fmt.Sprintf("vlan_accel (ethertype %s %s)", etherType(p.VLAN.Proto), p.VLAN)
		link = strings.TrimPrefix(link+" "+accel, " ")
	}
	d := describeNetwork(proto, data, int(p.Len), 0)
	if link != "" {
		d.lines = append([]string{link}, d.lines...)
	}
	return d
}

// isFrame says that skb->data is at the link header, so that it is part of the packet here and not one that was taken off:
// skb->len counts from there. What does not tell its own length counts as a frame.
func (p *Packet) isFrame(proto uint16, network []byte) bool {
	length := 0
	switch {
	case proto == uint16(layers.EthernetTypeIPv4) && len(network) >= 4:
		length = int(binary.BigEndian.Uint16(network[2:]))
	case proto == uint16(layers.EthernetTypeIPv6) && len(network) >= 6:
		length = ipv6Header + int(binary.BigEndian.Uint16(network[4:]))
	}
	return length == 0 || int(p.Len) >= len(p.Data)-len(network)+length
}

// frame splits the packet into its link header, in words, and the rest with its EtherType. The header is Ethernet's
// only if its type agrees with skb->protocol: tunnel devices have others, such as ipgre an IP and a GRE header.
func (p *Packet) frame() (link string, proto uint16, data []byte) {
	if at := min(max(p.Network, 0), len(p.Data)); at != p.Network || at < ethernetHeader {
		return "", networkType(p.Proto, p.Data[at:]), p.Data[at:]
	}
	proto = binary.BigEndian.Uint16(p.Data[12:])
	agrees := p.Proto == 0 || p.Proto == proto || proto < minEtherType
	link = ethernetAddresses(p.Data)
	tags, inner, rest := vlanTags(proto, p.Data[ethernetHeader:])
	agrees = agrees || p.Proto == inner
	// The network header comes after some of the tags: after all, or where they were not read yet (eth_type_trans).
	distance := p.Network - ethernetHeader
	if !agrees || distance%vlanTag != 0 || p.Network > len(p.Data)-len(rest) {
		return "", networkType(p.Proto, p.Data[p.Network:]), p.Data[p.Network:]
	}
	return link + " " + linkType(proto) + tags, frameType(inner), rest
}

const (
	ethernetHeader = 14
	vlanTag        = 4
	minEtherType   = 0x600 // what is less is a length (IEEE 802.3)
	ipv6Header     = 40    // without extensions
	etherType8022  = 4     // ETH_P_802_2: what skb->protocol says then
)

func ethernetAddresses(data []byte) string {
	return fmt.Sprintf("%s > %s", net.HardwareAddr(data[6:12]), net.HardwareAddr(data[:6]))
}

// frameType is the protocol behind a type field, by the kernel's number for what has none.
func frameType(proto uint16) uint16 {
	if proto < minEtherType {
		return etherType8022
	}
	return proto
}

// linkType is what the type field of an Ethernet header says.
func linkType(proto uint16) string {
	if proto < minEtherType {
		return fmt.Sprintf("802.3 length %d", proto)
	}
	return "ethertype " + etherType(proto)
}

// vlanTags reads the tags that follow an Ethernet type. It returns them in words, the type of what is behind them, and
// that.
func vlanTags(proto uint16, data []byte) (text string, inner uint16, rest []byte) {
	var b strings.Builder
	for isVLAN(proto) && len(data) >= vlanTag {
		tag := VLAN{proto, binary.BigEndian.Uint16(data)}
		proto, data = binary.BigEndian.Uint16(data[2:]), data[vlanTag:]
		fmt.Fprintf(&b, " %s %s", tag, linkType(proto))
	}
	return b.String(), proto, data
}

func isVLAN(proto uint16) bool {
	switch layers.EthernetType(proto) {
	case layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ, 0x9100:
		return true
	}
	return false
}

// String is the tag as "vlan 5 p 3 DEI".
func (v VLAN) String() string {
	s := fmt.Sprintf("vlan %d p %d", v.ID(), v.Priority())
	if v.DropEligible() {
		s += " DEI"
	}
	return s
}

// networkType is the type of a packet without a link header. IP writes skb->protocol only when it has built the packet
// (__ip_local_out in net/ipv4/ip_output.c), so at the first probes it is still 0 and the header's version tells.
func networkType(proto uint16, data []byte) uint16 {
	if proto == 0 {
		return versionType(data)
	}
	return proto
}

// versionType guesses an EtherType by the version of an IP header; it is 0 if that is neither 4 nor 6.
func versionType(data []byte) uint16 {
	if len(data) > 0 {
		switch data[0] >> 4 {
		case 4:
			return uint16(layers.EthernetTypeIPv4)
		case 6:
			return uint16(layers.EthernetTypeIPv6)
		}
	}
	return 0
}

// etherTypes are names that differ from gopacket's.
var etherTypes = map[layers.EthernetType]string{
	layers.EthernetTypeDot1Q: "802.1Q", layers.EthernetTypeQinQ: "802.1ad", layers.EthernetTypeMPLSUnicast: "MPLS",
	layers.EthernetTypeMPLSMulticast: "MPLS multicast", layers.EthernetTypeTransparentEthernetBridging: "TEB",
}

// etherType is a type's name and number.
func etherType(proto uint16) string {
	name := etherTypes[layers.EthernetType(proto)]
	if name == "" {
		name = layers.EthernetType(proto).String()
	}
	if strings.HasPrefix(name, "Unknown") {
		return fmt.Sprintf("%#04x", proto)
	}
	return fmt.Sprintf("%s (%#04x)", name, proto)
}

func truncated(what string, data []byte) description {
	return description{
		lines: []string{fmt.Sprintf("%s, truncated: %d bytes were captured", what, len(data))}, flow: what,
	}
}

// indented is lines one level further in.
func indented(lines []string) []string {
	for i, line := range lines {
		lines[i] = "  " + line
	}
	return lines
}
