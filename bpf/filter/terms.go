package filter

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/internal/nearest"
)

// term reads a condition that begins with a word.
func (p *parser) term() (operand, error) {
	t := p.peek()
	if t.kind != word {
		return operand{}, refuse(t.span, "expected a condition, found %s", t.shown())
	}
	if proto, ok := protocols[t.text]; ok {
		p.next()
		if kind, ok := p.accept("broadcast", "multicast"); ok {
			n, err := cast(t, kind)
			return operand{node: n}, err
		}
		if p.peek().is(qualifierWords...) {
			return p.qualified(t)
		}
		if err := p.peek().checkElsewhere(); err != nil {
			return operand{}, err
		}
		if proto.isLink() {
			return operand{}, refuse(t.span, "%s alone says nothing: write %[1]s host, %[1]s proto or %[1]s[0]", t.text)
		}
		return operand{node: protocolNode{t.span, proto}}, nil
	}
	if t.is(qualifierWords...) {
		return p.qualified(token{kind: end, span: span{t.at, t.at}})
	}
	n, err := p.special(p.next())
	return operand{node: n}, err
}

// qualifierWords may follow a protocol or begin a condition, and a name or number follows them.
var qualifierWords = []string{"src", "dst", "host", "net", "port", "portrange", "proto", "protochain", "gateway"}

// qualified reads the qualifiers behind a protocol, if there is one, and what they are for.
func (p *parser) qualified(proto token) (operand, error) {
	q := qualifiers{proto: proto.text, class: "host"}
	if t, ok := p.accept("src", "dst"); ok {
		q.dir = p.direction(t)
	}
	t, ok := p.accept(qualifierWords[2:]...)
	q.span = proto.to(p.last)
	if ok {
		q.class = t.text
		if q.dir != either && !t.is("host", "net", "port", "portrange") {
			return operand{}, refuse(t.span, "%s has no source and no destination", t.text)
		}
	}
	if err := q.check(); err != nil {
		return operand{}, err
	}
	n, err := p.id(q)
	return operand{node: n, q: q}, err
}

// direction reads "src", "dst", and both of them joined by "and" or "or"; the first has been read.
func (p *parser) direction(first token) direction {
	dir, other := source, "dst"
	if first.is("dst") {
		dir, other = destination, "src"
	}
	if !p.tokens[0].is("and", "or", "&&", "||") || !p.tokens[1].is(other) {
		return dir
	}
	dir = either
	if p.next().is("and", "&&") {
		dir = both
	}
	p.next()
	return dir
}

// cast is "broadcast" or "multicast" behind a protocol.
func cast(proto, kind token) (node, error) {
	of := proto.text
	if protocols[of].isLink() {
		of = "ether"
	}
	where := proto.to(kind.span)
	switch {
	case kind.is("broadcast") && of == "ip6":
		return nil, refuse(where, "IPv6 has no broadcast: there is ip6 multicast")
	case kind.is("broadcast") && of != "ether" && of != "ip":
		return nil, refuse(where, "%s has no broadcast: there is ether broadcast and ip broadcast", of)
	case kind.is("broadcast"):
		return broadcastNode{where, of}, nil
	case of != "ether" && of != "ip" && of != "ip6":
		return nil, refuse(where, "%s has no multicast: there is ether multicast, ip multicast and ip6 multicast", of)
	}
	return multicastNode{where, of}, nil
}

// special reads what follows a word that is neither a protocol nor a qualifier.
func (p *parser) special(t token) (node, error) {
	switch t.text {
	case "broadcast":
		return broadcastNode{t.span, "ether"}, nil
	case "multicast":
		return multicastNode{t.span, "ether"}, nil
	case "less", "greater":
		length := p.next()
		if length.kind != number {
			return nil, refuse(length.span, "expected a number of bytes, found %s", length.shown())
		}
		return lengthNode{t.is("greater"), length.value}, nil
	case "vlan":
		id, where, err := p.optional(t, "a VLAN's number", 0xfff)
		return vlanNode{where, id}, err
	case "mpls":
		label, where, err := p.optional(t, "a label", 0xfffff)
		return mplsNode{where, label}, err
	case "pppoed":
		return pppoeDiscoveryNode{t.span}, nil
	case "pppoes":
		session, where, err := p.optional(t, "a session's number", 0xffff)
		return pppoeNode{where, session}, err
	case "geneve":
		vni, where, err := p.optional(t, "a network's number", 0xffffff)
		return geneveNode{where, vni}, err
	case "llc":
		return p.llc(t)
	case "byte":
		return nil, refuse(t.span, "write ether[0] = 1 for byte 0 = 1")
	case "inbound", "outbound":
		return nil, refuse(t.span, "the bytes of a packet do not tell its direction: "+
			"ask its metadata, where sk_buff.skb_iif is 0 if no device received it")
	case "ifindex":
		return nil, refuse(t.span, "the bytes of a packet do not tell its interface: ask its metadata, sk_buff.dev.ifindex == 2")
	}
	if err := t.checkElsewhere(); err != nil {
		return nil, err
	}
	return nil, refuse(t.span, "expected a condition, found %s", t.shown())
}

// checkElsewhere refuses words that make sense on other links.
func (t token) checkElsewhere() error {
	if other, ok := elsewhere[t.text]; ok && t.kind == word {
		return refuse(t.span, "%s is about %s: here packets are of Ethernet or of IP", t.shown(), other)
	}
	return nil
}

// optional reads the number that may follow a word, in parentheses or not; -1 if there is none.
func (p *parser) optional(t token, what string, greatest uint32) (int64, span, error) {
	closing := 0
	for p.tokens[closing].is("(") {
		closing++
	}
	value := p.tokens[closing]
	if value.kind != number {
		if closing > 0 {
			return 0, t.span, refuse(value.span, "expected %s, found %s", what, value.shown())
		}
		return -1, t.span, nil
	}
	open := p.tokens[:closing]
	p.tokens = p.tokens[closing+1:]
	for i := range open {
		if err := p.close(open[len(open)-1-i]); err != nil {
			return 0, t.span, err
		}
	}
	if value.value > greatest {
		return 0, t.span, refuse(value.span, "%s is %d at most", what, greatest)
	}
	return int64(value.value), t.to(value.span), nil
}

// Values of 802.2's control byte, and the mask under which they are looked for.
var llcTypes = map[string]struct{ mask, value uint32 }{
	"i": {0x01, 0}, "s": {0x03, 1}, "u": {0x03, 3},
	"rr": {0x0f, 1}, "rnr": {0x0f, 5}, "rej": {0x0f, 9},
	"ui": {0xef, 0x03}, "ua": {0xef, 0x63}, "disc": {0xef, 0x43}, "dm": {0xef, 0x0f}, "sabme": {0xef, 0x6f},
	"test": {0xef, 0xe3}, "xid": {0xef, 0xaf}, "frmr": {0xef, 0x87},
}

func (p *parser) llc(llc token) (node, error) {
	t := p.peek()
	if t.kind != name && !t.is("rnr") {
		return llcNode{span: llc.span}, nil
	}
	p.next()
	typ, ok := llcTypes[strings.ToLower(t.text)]
	if !ok {
		return nil, refuse(t.span, "802.2 has no type %s: there is %s", t.shown(),
			strings.Join(slices.Sorted(maps.Keys(llcTypes)), ", "))
	}
	return llcNode{llc.to(t.span), typ.mask, typ.value}, nil
}

// didYouMean names words of the language that a name may have meant; empty if there are none.
func didYouMean(t token) string {
	lower := strings.ToLower(t.text)
	switch {
	case t.kind != name:
		return ""
	case words[lower]:
		return ": did you mean " + lower + "?"
	}
	return suggestion(lower, func(yield func(string) bool) {
		for w := range words {
			if _, ok := elsewhere[w]; !ok && !yield(w) {
				return
			}
		}
	})
}

// suggestion is the end of an error text: names that resemble one.
func suggestion(name string, candidates iter.Seq[string]) string {
	names := nearest.Names(name, candidates)
	if len(names) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(names, " or ") + "?"
}
