package filter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// qualifiers say what a name or number is. Those of one hold for the next, if it has none: "tcp port 80 or 443".
type qualifiers struct {
	span
	proto string // empty: any that fits
	dir   direction
	class string // empty: there are none
}

// fitting are the protocols that a type of name or number goes with.
var fitting = map[string][]string{
	"host": {"ip", "ip6", "arp", "rarp", "ether"}, "net": {"ip", "ip6", "arp", "rarp"},
	"port": {"tcp", "udp", "sctp"}, "portrange": {"tcp", "udp", "sctp"},
	"proto": {"ip", "ip6", "ether", "iso", "isis"},
}

// check refuses qualifiers that do not go together.
func (q qualifiers) check() error {
	switch q.class {
	case "gateway":
		return refuse(q.span, "gateway needs names of hosts, which are not looked up: "+
			"write ether host with the gateway's address, and not host with its IP address")
	case "protochain":
		return refuse(q.span, "protochain would have to follow any number of headers, and a filter has no loops: "+
			"write what there is, as in ip6 proto 0 and ip6[40] = 6")
	}
	proto, fits := q.within(), fitting[q.class]
	if proto == "" || slices.Contains(fits, proto) {
		return nil
	}
	all := strings.Join(fits[:len(fits)-1], ", ") + " or " + fits[len(fits)-1]
	switch {
	case q.class == "proto":
		return refuse(q.span, "the number of a protocol is in a header of %s, and not in one of %s", all, q.proto)
	case proto == "ether":
		return refuse(q.span, "a %s is one of %s, and not of %s", q.class, all, q.proto)
	}
	return refuse(q.span, "a %s is one of %s, and not of %s: write %[3]s and %[1]s", q.class, all, q.proto)
}

// link is the protocol, with one name for all that mean the link layer.
func (q qualifiers) link() string {
	if protocols[q.proto].isLink() {
		return "ether"
	}
	return q.proto
}

// number is what a plain number means.
func (q qualifiers) number(n number32) (node, error) {
	c, ok := n.(constantNumber)
	switch {
	case !ok || c.computed:
		return nil, refuse(n.place(), "this is a number, and not a condition: compare it with another, as in len > 100")
	case q.class == "":
		return nil, refuse(c.span, "%d of what? Write port %[1]d, ip proto %[1]d or the like, or compare it", c.value)
	case q.class == "proto":
		greatest := uint32(0xff)
		if q.link() == "ether" {
			greatest = 0xffff
		}
		if c.value > greatest {
			return nil, refuse(c.span, "a protocol's number is %d at most here", greatest)
		}
		return numberNode{c.span, q.within(), c.value}, nil
	case q.class == "port", q.class == "portrange":
		if c.value > 0xffff {
			return nil, refuse(c.span, "a port's number is 65535 at most")
		}
		return q.ports(uint16(c.value), uint16(c.value), q.transports()), nil
	}
	address, mask := c.value, ^uint32(0)
	for q.class == "net" && address != 0 && address>>24 == 0 { // net 10 is 10.0.0.0/8, and host 10 is 0.0.0.10
		address, mask = address<<8, mask<<8
	}
	return q.address4(c.span, address, mask)
}

// within is the protocol whose header holds another's number.
func (q qualifiers) within() string {
	if q.proto == "is-is" {
		return "isis"
	}
	return q.link()
}

func (q qualifiers) address4(where span, address, mask uint32) (node, error) {
	switch q.link() {
	case "ether":
		return nil, refuse(where, "Ethernet's addresses have six parts, as in 02:00:00:00:00:01")
	case "ip6":
		return nil, refuse(where, "this is an address of IPv4, and ip6 has others")
	}
	return address4Node{where, q.proto, q.dir, address, mask}, nil
}

// transports are the protocols in which ports are looked for, in libpcap's order.
func (q qualifiers) transports() []uint32 {
	if q.proto == "" {
		return []uint32{ipSCTP, ipTCP, ipUDP}
	}
	return []uint32{protocols[q.proto].number}
}

func (q qualifiers) ports(low, high uint16, protocols []uint32) node {
	return portNode{q.dir, protocols, uint32(min(low, high)), uint32(max(low, high)), q.class == "portrange"}
}

// wanted is what the qualifiers are for, in words.
var wanted = map[string]string{
	"host": "an address", "net": "the address of a net", "port": "a port", "portrange": "two ports, as in 6000-6008",
	"proto": "a protocol",
}

// checkUnqualified refuses what may be a name or an address of many things.
func (q qualifiers) checkUnqualified(t token) error {
	switch {
	case q.class != "":
		return nil
	case t.kind == hardware:
		return refuse(t.span, "say whose address this is: write ether host, ether src or ether dst before it")
	case t.kind == address4, t.kind == address6:
		return refuse(t.span, "say whose address this is: write host, src, dst or net before it")
	case t.kind != name:
		return nil
	}
	if s := didYouMean(t); s != "" {
		return refuse(t.span, "%s is no word of the language%s", t.shown(), s)
	}
	return refuse(t.span, "what is %s? Write port, proto or the like before it", t.shown())
}

// named reads an address or a name.
func (p *parser) named(q qualifiers) (node, error) {
	t := p.next()
	if err := q.checkUnqualified(t); err != nil {
		return nil, err
	}
	isAddress := q.class == "host" || q.class == "net"
	switch t.kind {
	case address4:
		if !isAddress {
			return nil, refuse(q.to(t.span), "%s is an address, and no %s", t.shown(), q.class)
		}
		return p.net4(q, t)
	case address6:
		if !isAddress {
			return nil, refuse(q.to(t.span), "%s is an address, and no %s", t.shown(), q.class)
		}
		return p.net6(q, t)
	case hardware:
		if q.class != "host" || q.link() != "ether" {
			return nil, refuse(q.to(t.span), "%s is an address of Ethernet: write ether host before it", t.shown())
		}
		return hardwareNode{t.span, q.dir, parseHardware(t.text)}, nil
	case name:
		return q.resolve(t)
	case word:
		if _, err := q.resolve(t); err == nil {
			return nil, refuse(t.span, `%s is a word of the language: write \%s for the %s of that name`, t.shown(), t.text,
				strings.TrimPrefix(wanted[q.class], "a "))
		} else if q.class == "proto" && protocols[t.text].pdus != nil {
			return nil, err
		}
	}
	return nil, refuse(t.span, "expected %s, found %s", wanted[q.class], t.shown())
}

// net4 reads what may follow an address of IPv4: the length of a prefix, or a mask.
func (p *parser) net4(q qualifiers, t token) (node, error) {
	address, bits, err := parse4(t)
	if err != nil {
		return nil, err
	}
	mask := ^uint32(0) << (32 - bits)
	where := t.span
	if _, ok := p.accept("/"); ok {
		length := p.next()
		if length.kind != number || length.value > 32 {
			return nil, refuse(length.span, "expected the length of a prefix, 0 to 32, found %s", length.shown())
		}
		mask = uint32(^uint64(0) << (32 - length.value))
		where = t.to(length.span)
	} else if _, ok := p.accept("mask"); ok {
		m := p.next()
		if m.kind != address4 {
			return nil, refuse(m.span, "expected a mask, as in 255.255.255.0, found %s", m.shown())
		}
		if mask, _, err = parse4(m); err != nil {
			return nil, err
		}
		where = t.to(m.span)
	}
	if where != t.span && q.class != "net" {
		return nil, refuse(where, "a host has no mask: write net")
	}
	if address&^mask != 0 {
		return nil, refuse(where, "the address has bits outside of its mask: the net is %s", dotted(address&mask))
	}
	return q.address4(where, address, mask)
}

func dotted(address uint32) string {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, address))).String()
}

// parse4 reads two to four numbers with dots; bits is how many of the address's they give, from the left.
func parse4(t token) (address uint32, bits int, err error) {
	for part := range strings.SplitSeq(t.text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return 0, 0, refuse(t.span, "%s is no address: %s is more than 255", t.shown(), part)
		}
		address |= uint32(n) << (24 - bits)
		bits += 8
	}
	return address, bits, nil
}

// net6 reads what may follow an address of IPv6.
func (p *parser) net6(q qualifiers, t token) (node, error) {
	if q.proto != "" && q.proto != "ip6" {
		return nil, refuse(q.to(t.span), "%s is an address of IPv6, and %s has others", t.shown(), q.proto)
	}
	prefix := netip.PrefixFrom(netip.MustParseAddr(t.text), 128)
	where := t.span
	if _, ok := p.accept("/"); ok {
		length := p.next()
		if length.kind != number || length.value > 128 {
			return nil, refuse(length.span, "expected the length of a prefix, 0 to 128, found %s", length.shown())
		}
		prefix = netip.PrefixFrom(prefix.Addr(), int(length.value))
		where = t.to(length.span)
	}
	switch masked := prefix.Masked().Addr(); {
	case q.class == "host" && prefix.Bits() != 128:
		return nil, refuse(where, "a host has no mask: write net")
	case masked != prefix.Addr():
		return nil, refuse(where, "the address has bits outside of its prefix: the net is %s", masked)
	}
	n := address6Node{dir: q.dir}
	bytes := prefix.Addr().As16()
	for i := range n.address {
		n.address[i] = binary.BigEndian.Uint32(bytes[4*i:])
		n.mask[i] = uint32(^uint64(0) << (32 - min(32, max(0, prefix.Bits()-32*i))))
	}
	return n, nil
}

// parseHardware reads an Ethernet address in any of the forms of [forms].
func parseHardware(text string) (address [6]byte) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(":-.", r) })
	i := 0
	for _, part := range parts {
		for len(part) > 0 {
			digits := min(2, len(part))
			n, _ := strconv.ParseUint(part[:digits], 16, 8)
			address[i], part = byte(n), part[digits:]
			i++
		}
	}
	return address
}
