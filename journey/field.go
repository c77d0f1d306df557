package journey

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket/layers"
)

// Field is something of a packet that may change on its way. Headers are the outermost ones that the event shows.
type Field struct {
	Name string
	// bits is how long the number is that the field holds; 0 if it is none.
	bits int
	// canonical is a value in the form in which the event's is read, for what is no number.
	canonical func(string) (string, error)
	read      func(*Event) (string, bool)
}

// Fields lists the fields by the names that texts give them.
func Fields() []Field { return slices.Clone(fields) }

var fields = []Field{
	addressField("src", func(h Header) netip.Addr { return h.Src }),
	addressField("dst", func(h Header) netip.Addr { return h.Dst }),
	headerField("src port", 16, func(h Header) (uint64, bool) { return uint64(h.SrcPort), h.SrcPort != 0 }),
	headerField("dst port", 16, func(h Header) (uint64, bool) { return uint64(h.DstPort), h.DstPort != 0 }),
	headerField("proto", 8, func(h Header) (uint64, bool) { return uint64(h.Proto), true }),
	headerField("ttl", 8, func(h Header) (uint64, bool) { return uint64(h.TTL), h.TTL != 0 }),
	numberField("tos", 8, func(e *Event) (uint64, bool) { return e.class() }),
	numberField("dscp", 6, func(e *Event) (uint64, bool) { class, ok := e.class(); return class >> 2, ok }),
	numberField("ecn", 2, func(e *Event) (uint64, bool) { class, ok := e.class(); return class & 3, ok }),
	numberField("id", 16, func(e *Event) (uint64, bool) { return e.word(layers.EthernetTypeIPv4, 4) }),
	numberField("len", 16, func(e *Event) (uint64, bool) { return e.word(layers.EthernetTypeIPv4, 2) }),
	numberField("vlan", 12, func(e *Event) (uint64, bool) { return e.vlan() }),
	hardwareField("src mac", 6), hardwareField("dst mac", 0),
	numberField("mark", 32, func(e *Event) (uint64, bool) { return e.meta(func(m *Meta) uint32 { return m.Mark }) }),
	numberField("priority", 32, func(e *Event) (uint64, bool) { return e.meta(func(m *Meta) uint32 { return m.Priority }) }),
	numberField("ct mark", 32, func(e *Event) (uint64, bool) { return e.conntrack(func(c *Conntrack) uint64 { return uint64(c.Mark) }) }),
	numberField("ct zone", 16, func(e *Event) (uint64, bool) { return e.conntrack(func(c *Conntrack) uint64 { return uint64(c.Zone) }) }),
	{Name: "ct state", canonical: func(s string) (string, error) { return strings.ToUpper(s), nil }, read: func(e *Event) (string, bool) {
		if e.Conntrack == nil {
			return "", false
		}
		return e.Conntrack.State, true
	}},
}

// IsMeta says that the field is none of the packet's bytes but of what the kernel keeps beside them ([Meta]).
func (f Field) IsMeta() bool { return f.Name == "mark" || f.Name == "priority" }

// isHeader says that the field is of the network header, or of the ports behind it.
func (f Field) isHeader() bool {
	return slices.Contains([]string{"src", "dst", "src port", "dst port", "proto", "tos", "id", "len"}, f.Name)
}

// Read is the field's value at an event; ok is false if the packet had none, or none that was seen. Numbers are decimal, marks hex.
func (f Field) Read(e *Event) (value string, ok bool) { return f.read(e) }

// Canonical is a value in the form in which Read returns it: a number may be given in hex, an address in any form.
func (f Field) Canonical(value string) (string, error) {
	if f.bits == 0 {
		return f.canonical(value)
	}
	n, err := strconv.ParseUint(value, 0, f.bits)
	if err != nil {
		return "", fmt.Errorf("%q is no %s: that is a number from 0 to %d", value, f.Name, uint64(1)<<f.bits-1)
	}
	return f.format(n), nil
}

func (f Field) format(n uint64) string {
	if strings.HasSuffix(f.Name, "mark") || f.Name == "tos" {
		return fmt.Sprintf("%#x", n)
	}
	return strconv.FormatUint(n, 10)
}

func numberField(name string, bits int, read func(*Event) (uint64, bool)) Field {
	f := Field{Name: name, bits: bits}
	format := f.format
	f.read = func(e *Event) (string, bool) {
		n, ok := read(e)
		if !ok {
			return "", false
		}
		return format(n), true
	}
	return f
}

func headerField(name string, bits int, read func(Header) (uint64, bool)) Field {
	return numberField(name, bits, func(e *Event) (uint64, bool) {
		h, ok := e.header()
		if !ok {
			return 0, false
		}
		return read(h)
	})
}

func addressField(name string, read func(Header) netip.Addr) Field {
	return Field{Name: name, read: func(e *Event) (string, bool) {
		h, ok := e.header()
		return read(h).String(), ok
	}, canonical: func(s string) (string, error) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return "", fmt.Errorf("%q is no address: write it as in 10.0.0.1 or fd00::1", s)
		}
		return a.String(), nil
	}}
}

func hardwareField(name string, at int) Field {
	return Field{Name: name, read: func(e *Event) (string, bool) {
		if e.Packet == nil || e.Packet.isUnfinished() {
			return "", false
		}
		if link, _, _ := e.Packet.frame(); link == "" {
			return "", false
		}
		return net.HardwareAddr(e.Packet.Data[at : at+6]).String(), true
	}, canonical: func(s string) (string, error) {
		a, err := net.ParseMAC(s)
		if err != nil || len(a) != 6 {
			return "", fmt.Errorf("%q is no address of a link: write it as in 02:00:00:00:00:01", s)
		}
		return a.String(), nil
	}}
}

// header is the packet's, once it has been written.
func (e *Event) header() (h Header, ok bool) {
	if e.Packet == nil || e.Packet.isUnfinished() {
		return h, false
	}
	return e.Packet.Header()
}

// class is IPv4's type of service or IPv6's traffic class.
func (e *Event) class() (uint64, bool) {
	if n, ok := e.word(layers.EthernetTypeIPv4, 0); ok {
		return n & 0xff, true
	}
	n, ok := e.word(layers.EthernetTypeIPv6, 0)
	return n >> 4 & 0xff, ok
}

// word is two bytes of the network header, if it is of that type and was seen whole.
func (e *Event) word(of layers.EthernetType, at int) (uint64, bool) {
	if _, ok := e.header(); !ok {
		return 0, false
	}
	proto, data := e.Packet.network()
	if layers.EthernetType(proto) != of {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint16(data[at:])), true
}

// vlan is the number in the outermost tag, be it beside the data or in the frame.
func (e *Event) vlan() (uint64, bool) {
	p := e.Packet
	if p == nil || p.isUnfinished() {
		return 0, false
	}
	if p.VLAN != nil {
		return uint64(p.VLAN.ID()), true
	}
	if link, _, _ := p.frame(); link == "" || !isVLAN(binary.BigEndian.Uint16(p.Data[12:])) || len(p.Data) < ethernetHeader+vlanTag {
		return 0, false
	}
	return uint64(binary.BigEndian.Uint16(p.Data[ethernetHeader:]) & 0xfff), true
}

func (e *Event) meta(read func(*Meta) uint32) (uint64, bool) {
	if e.Meta == nil {
		return 0, false
	}
	return uint64(read(e.Meta)), true
}

func (e *Event) conntrack(read func(*Conntrack) uint64) (uint64, bool) {
	if e.Conntrack == nil {
		return 0, false
	}
	return read(e.Conntrack), true
}

// Change is that a field has another value.
type Change struct {
	Field, From, To string
}

// String is the change in words: "dscp from 0 to 46".
func (c Change) String() string { return fmt.Sprintf("%s from %s to %s", c.Field, c.From, c.To) }

// Changes lists how the packet at the later event differs from what it was at the earlier one, above the link header and its tags,
// as far as both were captured. What every router rewrites is no change: time to live and hop limit, and IPv4's checksum. Nor are
// the checksums of TCP, UDP and SCTP, which the kernel may leave to the device (CHECKSUM_PARTIAL, include/linux/skbuff.h), and a
// length that was not written yet. ok is false if one of the packets was not seen.
func (e *Event) Changes(later *Event) (changes []Change, ok bool) {
	from, to := e.Packet, later.Packet
	if from == nil || to == nil || from.isUnfinished() || to.isUnfinished() {
		return nil, false
	}
	proto, old := from.network()
	other, now := to.network()
	size := min(len(old), len(now))
	if size == 0 {
		return nil, false
	}
	if a, b := from.Tunnels(), to.Tunnels(); !slices.Equal(a, b) {
		return []Change{{"the tunnels around it", orNone(a), orNone(b)}}, true
	}
	if proto != other {
		return []Change{{"ethertype", etherType(proto), etherType(other)}}, true
	}
	old, now = slices.Clone(old[:size]), slices.Clone(now[:size])
	for _, ignored := range slices.Concat(from.volatile(), to.volatile()) {
		for i := ignored[0]; i < min(ignored[1], size); i++ {
			old[i], now[i] = 0, 0
		}
	}
	if bytes.Equal(old, now) {
		return nil, true
	}
	for _, f := range fields {
		a, hadA := f.Read(e)
		b, hadB := f.Read(later)
		unwritten := f.Name == "len" && (a == "0" || b == "0")
		if f.isHeader() && hadA && hadB && a != b && !unwritten {
			changes = append(changes, Change{f.Name, a, b})
		}
	}
	if changes == nil {
		at := 0
		for old[at] == now[at] {
			at++
		}
		name := fmt.Sprintf("byte %d, counted from the network header on,", at)
		changes = append(changes, Change{name, fmt.Sprintf("%#02x", old[at]), fmt.Sprintf("%#02x", now[at])})
	}
	return changes, true
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// volatile are the bytes, from the network header on, that Changes does not look at: from and until.
func (p *Packet) volatile() (ranges [][2]int) {
	proto, data := p.network()
	h, rest, ok := p.header()
	if !ok {
		return nil
	}
	length := 4
	if layers.EthernetType(proto) == layers.EthernetTypeIPv4 {
		ranges = append(ranges, [2]int{8, 9}, [2]int{10, 12})
		length = 2
	} else {
		ranges = append(ranges, [2]int{7, 8})
	}
	if binary.BigEndian.Uint16(data[length:]) == 0 {
		ranges = append(ranges, [2]int{length, length + 2})
	}
	at := len(data) - len(rest)
	switch layers.IPProtocol(h.Proto) {
	case layers.IPProtocolTCP:
		ranges = append(ranges, [2]int{at + 16, at + 18})
	case layers.IPProtocolUDP:
		ranges = append(ranges, [2]int{at + 6, at + 8})
	case layers.IPProtocolSCTP:
		ranges = append(ranges, [2]int{at + 8, at + 12})
	}
	return ranges
}
