package journey

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket/layers"
)

// unknownLength is the length of a payload whose network header does not tell.
const unknownLength = -1

// transport is what a transport header adds to the description of a packet.
type transport struct {
	ports    bool
	src, dst uint16
	text     string   // continues the line of the network header
	below    []string // lines below that
	inner    string   // continues the flow
	tunnels  []string // outermost first
}

func (t *transport) addresses(src, dst netip.Addr) string {
	if !t.ports {
		return fmt.Sprintf("%s > %s", src, dst)
	}
	return fmt.Sprintf("%s.%d > %s.%d", src, t.src, dst, t.dst)
}

// describe adds the transport to the line and the flow of the network header.
func (t *transport) describe(line, flow string) description {
	return description{lines: append([]string{line + t.text}, indented(t.below)...), flow: flow + t.inner, tunnels: t.tunnels}
}

// tunnel adds a packet inside that makes this one a tunnel's.
func (t *transport) tunnel(name string, d description, flow string) {
	t.carry(d, flow)
	t.tunnels = append([]string{name}, d.tunnels...)
}

// carry adds a packet inside; flow is what introduces it in the flow.
func (t *transport) carry(d description, flow string) {
	t.below = append(t.below, d.lines...)
	t.inner = fmt.Sprintf("%s (%s)", flow, d.flow)
}

// describeTransport describes what follows a network header. length is that of the whole datagram.
func describeTransport(proto layers.IPProtocol, data []byte, length, depth int) transport {
	var t transport
	switch proto {
	case layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolSCTP, layers.IPProtocolUDPLite, ipProtocolDCCP:
		if len(data) >= 4 {
			t.ports, t.src, t.dst = true, binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
		}
	}
	size, known := map[layers.IPProtocol]int{
		layers.IPProtocolTCP: 20, layers.IPProtocolUDP: 8, layers.IPProtocolUDPLite: 8, layers.IPProtocolSCTP: 12,
		ipProtocolDCCP: 12, layers.IPProtocolICMPv4: 4, layers.IPProtocolICMPv6: 4, layers.IPProtocolGRE: 4,
		layers.IPProtocolESP: 8, layers.IPProtocolAH: 12, layers.IPProtocolEtherIP: 2,
	}[proto]
	if known && len(data) < size {
		t.text = " (truncated)"
		return t
	}
	switch proto {
	case layers.IPProtocolUDP:
		t.udp(data, length, depth)
	case layers.IPProtocolTCP:
		t.tcp(data, length)
	case layers.IPProtocolSCTP:
		t.sctp(data)
	case layers.IPProtocolICMPv4:
		t.icmp4(data, depth)
	case layers.IPProtocolICMPv6:
		t.icmp6(data, depth)
	case layers.IPProtocolGRE:
		t.tunnels = []string{"gre"}
		t.gre(data, depth)
	case layers.IPProtocolIPv4:
		t.tunnel("ipip", describeNetwork(uint16(layers.EthernetTypeIPv4), data, -1, depth+1), "")
	case layers.IPProtocolIPv6:
		t.tunnel("sit", describeNetwork(uint16(layers.EthernetTypeIPv6), data, -1, depth+1), "")
	case layers.IPProtocolMPLSInIP:
		t.tunnel("mpls", describeNetwork(uint16(layers.EthernetTypeMPLSUnicast), data, -1, depth+1), "")
	case layers.IPProtocolEtherIP:
		t.tunnel("etherip", describeNetwork(uint16(layers.EthernetTypeTransparentEthernetBridging), data[2:], -1, depth+1), "")
	case layers.IPProtocolESP:
		t.text, t.tunnels = esp(data), []string{"esp"}
	case layers.IPProtocolAH:
		t.ah(data, length, depth)
	}
	return t
}

const ipProtocolDCCP layers.IPProtocol = 33

func (t *transport) udp(data []byte, length, depth int) {
	if udp := int(binary.BigEndian.Uint16(data[4:])); udp >= 8 {
		length = udp
	}
	if length != unknownLength {
		t.text = fmt.Sprintf(" len %d", max(length-8, 0))
	}
	payload := data[8:]
	switch {
	case (t.dst == 4789 || t.dst == 8472) && len(payload) >= 8 && payload[0]&0x08 != 0: // IANA's port, and Linux's own
		t.vxlan(payload, depth)
	case t.dst == 6081 && len(payload) >= 8 && payload[0]>>6 == 0:
		t.geneve(payload, depth)
	case (t.dst == 4500 || t.src == 4500) && len(payload) >= 8 && binary.BigEndian.Uint32(payload) != 0: // RFC 3948
		t.text += " esp" + esp(payload)
		t.tunnels = []string{"esp"}
	}
}

func esp(data []byte) string {
	return fmt.Sprintf(" spi %#x seq %d", binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]))
}

// ah describes an authentication header and what it protects, which is not encrypted.
func (t *transport) ah(data []byte, length, depth int) {
	size := int(data[1])*4 + 8
	next := layers.IPProtocol(data[0])
	header := fmt.Sprintf("%s proto %s", esp(data[4:]), protocol(next))
	if length != unknownLength {
		length = max(length-size, 0)
	}
	if depth < maxDepth {
		*t = describeTransport(next, data[min(size, len(data)):], length, depth+1)
	}
	t.text = header + t.text
	t.inner = " " + protocolName(next) + t.inner
	t.tunnels = append([]string{"ah"}, t.tunnels...)
}

func (t *transport) tcp(data []byte, length int) {
	header := int(data[12]>>4) * 4
	var flags strings.Builder
	for i, name := range "FSRP.UEW" {
		if data[13]&(1<<i) != 0 {
			flags.WriteRune(name)
		}
	}
	if data[12]&1 != 0 { // accurate ECN
		flags.WriteByte('e')
	}
	var b strings.Builder
	fmt.Fprintf(&b, " flags [%s] seq %d", flags.String(), binary.BigEndian.Uint32(data[4:]))
	if data[13]&0x10 != 0 {
		fmt.Fprintf(&b, " ack %d", binary.BigEndian.Uint32(data[8:]))
	}
	fmt.Fprintf(&b, " win %d", binary.BigEndian.Uint16(data[14:]))
	if data[13]&0x20 != 0 {
		fmt.Fprintf(&b, " urg %d", binary.BigEndian.Uint16(data[18:]))
	}
	if length != unknownLength {
		fmt.Fprintf(&b, " len %d", max(length-header, 0))
	}
	if header < 20 {
		b.WriteString(" (header length is impossible)")
	} else if header > 20 {
		t.below = []string{"options [" + tcpOptions(data[20:min(header, len(data))], header-20) + "]"}
	}
	t.text = b.String()
}

// tcpOptions lists the options by the names that tcpdump gives them. size is how long they are, of which data is what
// was captured.
func tcpOptions(data []byte, size int) string {
	var found []string
	for cut := len(data) < size; ; {
		if len(data) == 0 {
			if cut {
				found = append(found, "…")
			}
			return strings.Join(found, ",")
		}
		kind := layers.TCPOptionKind(data[0])
		if kind == layers.TCPOptionKindEndList {
			return strings.Join(append(found, "eol"), ",")
		}
		if kind == layers.TCPOptionKindNop {
			found, data = append(found, "nop"), data[1:]
			continue
		}
		if len(data) < 2 || data[1] < 2 || int(data[1]) > len(data) {
			return strings.Join(append(found, tcpOption(kind, nil), "…"), ",")
		}
		found, data = append(found, tcpOption(kind, data[2:data[1]])), data[data[1]:]
	}
}

// tcpOption is one option; value is nil if it was not captured whole, and any length otherwise.
func tcpOption(kind layers.TCPOptionKind, value []byte) string {
	switch {
	case kind == layers.TCPOptionKindMSS && len(value) == 2:
		return fmt.Sprintf("mss %d", binary.BigEndian.Uint16(value))
	case kind == layers.TCPOptionKindWindowScale && len(value) == 1:
		return fmt.Sprintf("wscale %d", value[0])
	case kind == layers.TCPOptionKindTimestamps && len(value) == 8:
		return fmt.Sprintf("TS val %d ecr %d", binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[4:]))
	case kind == layers.TCPOptionKindSACK && len(value) > 0 && len(value)%8 == 0:
		var b strings.Builder
		b.WriteString("sack")
		for ; len(value) > 0; value = value[8:] {
			fmt.Fprintf(&b, " %d:%d", binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[4:]))
		}
		return b.String()
	case kind == 34 && value != nil && len(value) == 0: // RFC 7413
		return "tfo request"
	case kind == 34 && len(value) > 0:
		return fmt.Sprintf("tfo %x", value)
	}
	name := map[layers.TCPOptionKind]string{
		layers.TCPOptionKindMSS: "mss", layers.TCPOptionKindWindowScale: "wscale",
		layers.TCPOptionKindSACKPermitted: "sackOK", layers.TCPOptionKindSACK: "sack",
		layers.TCPOptionKindTimestamps: "TS", 19: "md5", 29: "tcp-ao", 30: "mptcp", 34: "tfo",
	}[kind]
	if name == "" {
		name = fmt.Sprintf("option %d", uint8(kind))
	}
	if len(value) > 0 && kind != 19 && kind != 29 {
		return fmt.Sprintf("%s %x", name, value)
	}
	return name
}

// sctp describes the header and the chunks.
func (t *transport) sctp(data []byte) {
	t.text = fmt.Sprintf(" vtag %#x", binary.BigEndian.Uint32(data[4:]))
	var chunks []string
	for data = data[12:]; len(data) > 0; {
		if len(data) < 4 {
			chunks = append(chunks, "…")
			break
		}
		size := int(binary.BigEndian.Uint16(data[2:]))
		body := data[4:min(max(size, 4), len(data))]
		chunks = append(chunks, "["+sctpChunk(layers.SCTPChunkType(data[0]), data[1], body)+"]")
		if size < 4 || size > len(data) {
			chunks = append(chunks, "…")
			break
		}
		data = data[min(size+(4-size%4)%4, len(data)):] // padded to four bytes
	}
	if chunks != nil {
		t.below = []string{strings.Join(chunks, " ")}
	}
}

func sctpChunk(kind layers.SCTPChunkType, flags uint8, body []byte) string {
	name := kind.String()
	if strings.HasPrefix(name, "Unknown") {
		name = fmt.Sprintf("chunk %d", uint8(kind))
	}
	u32 := func(at int) uint32 { return binary.BigEndian.Uint32(body[at:]) }
	u16 := func(at int) uint16 { return binary.BigEndian.Uint16(body[at:]) }
	switch kind {
	case layers.SCTPChunkTypeData:
		if len(body) >= 12 {
			return fmt.Sprintf("%s tsn %d stream %d seq %d ppid %d%s", name, u32(0), u16(4), u16(6), u32(8),
				flagNames(flags&7, "end", "begin", "unordered"))
		}
	case layers.SCTPChunkTypeInit, layers.SCTPChunkTypeInitAck:
		if len(body) >= 16 {
			return fmt.Sprintf("%s tag %#x rwnd %d out %d in %d tsn %d", name, u32(0), u32(4), u16(8), u16(10), u32(12))
		}
	case layers.SCTPChunkTypeSack:
		if len(body) >= 12 {
			return fmt.Sprintf("%s tsn %d rwnd %d gaps %d duplicates %d", name, u32(0), u32(4), u16(8), u16(10))
		}
	case layers.SCTPChunkTypeShutdown:
		if len(body) >= 4 {
			return fmt.Sprintf("%s tsn %d", name, u32(0))
		}
	}
	return name
}
