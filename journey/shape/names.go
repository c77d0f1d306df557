package shape

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// Ports that kernels choose from unless they are told otherwise (net.ipv4.ip_local_port_range).
const (
	lowestChosen  = 32768
	highestChosen = 60999
)

// names gives what differs from run to run names that do not, and knows the packet as it was last seen.
type names struct {
	options    Options
	nodes      map[string]string
	ports      map[uint16]string
	addresses  map[netip.Addr]string
	last       looks
	deliberate uint16 // a port that the test chose, 0 for none
}

// looks is what can be changed in a packet.
type looks struct {
	flow   string
	header journey.Header
	known  bool
	class  string // type of service or traffic class
	vlans  string
}

func newNames(j *journey.Journey, options Options) *names {
	n := &names{
		options: options, nodes: make(map[string]string), ports: make(map[uint16]string), addresses: make(map[netip.Addr]string),
	}
	if p := first(j); p != nil && j.Origin != nil && j.Evidence != nil {
		for _, cookie := range j.Evidence.Sockets {
			if h, ok := p.Header(); ok && cookie == j.Origin.SocketCookie {
				n.deliberate = h.DstPort
			}
		}
	}
	return n
}

// fork is for another way of the same packet.
func (n *names) fork() *names {
	c := *n
	c.nodes, c.ports, c.addresses = maps.Clone(n.nodes), maps.Clone(n.ports), maps.Clone(n.addresses)
	return &c
}

// node is the name of a namespace.
func (n *names) node(ns *journey.NetNS) string {
	switch {
	case ns == nil:
		return "-"
	case ns.Node != "":
		return ns.Node
	}
	key := ns.String()
	if _, ok := n.nodes[key]; !ok {
		n.nodes[key] = fmt.Sprintf("netns%d", len(n.nodes)+1)
	}
	return n.nodes[key]
}

func (n *names) port(port uint16) string {
	if port < lowestChosen || port > highestChosen || port == n.deliberate {
		return strconv.Itoa(int(port))
	}
	if _, ok := n.ports[port]; !ok {
		n.ports[port] = "*"
		if more := len(n.ports); more > 1 {
			n.ports[port] = fmt.Sprintf("*%d", more)
		}
	}
	return n.ports[port]
}

func (n *names) address(a netip.Addr) string {
	if !n.options.AnyAddress {
		return a.String()
	}
	if _, ok := n.addresses[a]; !ok {
		name := fmt.Sprintf("address %d", len(n.addresses)+1)
		if len(n.addresses) < 26 {
			name = string(rune('A' + len(n.addresses)))
		}
		n.addresses[a] = name
	}
	return n.addresses[a]
}

// endpoint is an address, with a port if the packet has any.
func (n *names) endpoint(a netip.Addr, port uint16) string {
	if port == 0 {
		return n.address(a)
	}
	return n.address(a) + "." + n.port(port)
}

// flow is the packet in short, in words that are the same in every run: [journey.Packet.Flow] has no other.
func (n *names) flow(p *journey.Packet) string {
	words := strings.Split(p.Flow(), " ")
	for i, word := range words {
		core := strings.Trim(word, "(),")
		if named := n.word(core); named != core {
			words[i] = strings.Replace(word, core, named, 1)
		}
	}
	return strings.Join(words, " ")
}

func (n *names) word(word string) string {
	if a, err := netip.ParseAddr(word); err == nil {
		return n.address(a)
	}
	if dot := strings.LastIndexByte(word, '.'); dot > 0 {
		a, err := netip.ParseAddr(word[:dot])
		port, wrong := strconv.ParseUint(word[dot+1:], 10, 16)
		if err == nil && wrong == nil {
			return n.address(a) + "." + n.port(uint16(port))
		}
	}
	if _, err := net.ParseMAC(word); err == nil {
		return "*"
	}
	if n.options.AnyAddress && word == "ICMPv6" {
		return "ICMP"
	}
	return word
}

var (
	icmpWord   = regexp.MustCompile(`^(\S+ > \S+ ICMP(?:v6)?)\b`)
	tcpFlags   = regexp.MustCompile(` flags \[([^\]]*)\]`)
	classWord  = regexp.MustCompile(` (?:tos|class) (0x[0-9a-f]+)`)
	vlanNumber = regexp.MustCompile(`\bvlan (\d+) p \d`)
)

// packet is what a packet is at first sight: its flow, and the flags or type that tell it from others of the flow.
func (n *names) packet(p *journey.Packet) string {
	title := n.flow(p)
	n.last = n.looksOf(p)
	h, ok := p.Header()
	if !ok {
		return title
	}
	if t, known := p.ICMPType(); known {
		// What an error is about follows its name.
		return icmpWord.ReplaceAllString(title, "$1 "+icmpName(h.Proto, t))
	}
	if m := tcpFlags.FindStringSubmatch(p.String()); m != nil && h.Proto == 6 {
		title += " [" + strings.ReplaceAll(m[1], "P", "") + "]" // when to push is up to timing
	}
	return title
}

// icmpName names a type; those that ICMP and ICMPv6 have in common by the same name.
func icmpName(proto, t uint8) string {
	known := map[uint8]string{0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded", 12: "parameter problem"}
	if proto == 58 {
		known = map[uint8]string{
			1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request", 129: "echo reply",
			133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement",
			143: "MLD report",
		}
	}
	if name, ok := known[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", t)
}

func (n *names) looksOf(p *journey.Packet) looks {
	l := looks{flow: n.flow(p)}
	l.header, l.known = p.Header()
	lines := p.Lines()
	for _, line := range lines {
		if strings.Contains(line, " > ") && strings.Contains(line, " proto ") {
			if m := classWord.FindStringSubmatch(line); m != nil {
				l.class = m[1]
			}
			break
		}
		for _, m := range vlanNumber.FindAllStringSubmatch(line, -1) {
			l.vlans += " " + m[1]
		}
	}
	if l.class == "" {
		l.class = "0x0"
	}
	return l
}

// changes says what was changed in a packet since it was last seen.
func (n *names) changes(p *journey.Packet) []string {
	if p == nil {
		return nil
	}
	before, now := n.last, n.looksOf(p)
	n.last = now
	var all []string
	// A tag shows only where there is a link header, so that its absence says nothing.
	if now.vlans != "" && now.vlans != before.vlans {
		all = append(all, "VLAN"+now.vlans)
	} else if now.vlans == "" {
		n.last.vlans = before.vlans
	}
	a, b := before.header, now.header
	switch {
	case before.flow == "":
		return nil
	case !before.known || !now.known || layers(before.flow) != layers(now.flow):
		if before.flow != now.flow {
			all = append(all, "now "+now.flow)
		}
		return all
	case a.Src != b.Src || a.SrcPort != b.SrcPort && a.SrcPort != 0 && b.SrcPort != 0:
		all = append(all, "source now "+n.endpoint(b.Src, b.SrcPort))
	}
	if a.Dst != b.Dst || a.DstPort != b.DstPort && a.DstPort != 0 && b.DstPort != 0 {
		all = append(all, "destination now "+n.endpoint(b.Dst, b.DstPort))
	}
	if len(all) == 0 && before.flow != now.flow && inner(before.flow) != inner(now.flow) {
		all = append(all, "now "+now.flow)
	}
	switch {
	case a.TTL == b.TTL+1:
		all = append(all, "ttl -1")
	case a.TTL != b.TTL:
		all = append(all, fmt.Sprintf("ttl now %d", b.TTL))
	}
	if before.class != now.class {
		all = append(all, "class now "+now.class)
	}
	return all
}

var endpoints = regexp.MustCompile(`\S+ > \S+`)

// layers is the flow without its ends: which protocols carry which.
func layers(flow string) string { return endpoints.ReplaceAllString(flow, ">") }

// inner is what a tunnel carries; empty if the packet is none of a tunnel's.
func inner(flow string) string {
	_, inside, _ := strings.Cut(flow, "(")
	return inside
}
