package journey

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// gre describes a GRE header (RFC 2784, RFC 2890; version 1 is PPTP's, RFC 2637) and what it carries.
func (t *transport) gre(data []byte, depth int) {
	flags, proto := binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	version := flags & 7
	var b strings.Builder
	if version != 0 {
		fmt.Fprintf(&b, " version %d", version)
	}
	rest := data[4:]
	for _, field := range []struct {
		bit    uint16
		format string
	}{{0x8000, " checksum %#x"}, {0x2000, " key %#x"}, {0x1000, " seq %d"}, {0x0080, " ack %d"}} {
		if flags&field.bit == 0 || field.bit == 0x0080 && version != 1 {
			continue
		}
		if len(rest) < 4 {
			t.text = b.String() + " (truncated)"
			return
		}
		value := binary.BigEndian.Uint32(rest)
		if field.bit == 0x8000 {
			value >>= 16 // the rest of the word is reserved
		}
		fmt.Fprintf(&b, field.format, value)
		rest = rest[4:]
	}
	fmt.Fprintf(&b, " ethertype %s", etherType(proto))
	t.text = b.String()
	if version == 0 && flags&0x4000 == 0 { // a route would follow, which RFC 2784 abolished
		t.tunnel("gre", describeNetwork(proto, rest, -1, depth+1), "")
	}
}

// vxlan describes a VXLAN header (RFC 7348) of at least 8 bytes, and the frame behind it.
func (t *transport) vxlan(data []byte, depth int) {
	name := fmt.Sprintf("vxlan vni %d", binary.BigEndian.Uint32(data[4:])>>8)
	line := name
	if data[0]&0x80 != 0 { // the group policy extension
		line += fmt.Sprintf(" gbp %#x", binary.BigEndian.Uint16(data[2:]))
	}
	t.below = append(t.below, line)
	t.tunnel("vxlan", describeEthernet(data[8:], depth+1), " "+name)
}

// geneve describes a Geneve header (RFC 8926) of at least 8 bytes, and what it carries.
func (t *transport) geneve(data []byte, depth int) {
	name := fmt.Sprintf("geneve vni %d", binary.BigEndian.Uint32(data[4:])>>8)
	proto := binary.BigEndian.Uint16(data[2:])
	line := name + flagNames(data[1]>>6, "critical", "control") + " ethertype " + etherType(proto)
	size := int(data[0]&0x3f) * 4
	options := data[8:min(8+size, len(data))]
	if size > 0 {
		line += " options [" + geneveOptions(options) + "]"
	}
	if len(options) < size {
		t.below = append(t.below, line+" (truncated)")
		return
	}
	t.below = append(t.below, line)
	t.tunnel("geneve", describeNetwork(proto, data[8+size:], -1, depth+1), " "+name)
}

func geneveOptions(data []byte) string {
	var found []string
	for len(data) >= 4 {
		size := int(data[3]&0x1f)*4 + 4
		option := fmt.Sprintf("class %#x type %#x", binary.BigEndian.Uint16(data), data[2])
		if value := data[4:min(size, len(data))]; len(value) > 0 {
			option += fmt.Sprintf(" %x", value)
		}
		found = append(found, option)
		if size > len(data) {
			data = data[:1]
			break
		}
		data = data[size:]
	}
	if len(data) > 0 {
		found = append(found, "…")
	}
	return strings.Join(found, ",")
}
