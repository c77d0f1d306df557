package filter

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Verdict is what a filter says about a packet. The numbers are what its function in the kernel returns.
type Verdict uint8

// The verdicts.
const (
	NoMatch Verdict = iota
	Match
	// Unknown is said where the answer depends on bytes that are in the packet but could not be read.
	Unknown
)

func (v Verdict) String() string {
	switch v {
	case NoMatch:
		return "no match"
	case Match:
		return "match"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Link is what a packet begins with.
type Link uint8

// What packets begin with. The numbers are those of enum filter_link (filter.h).
const (
	// Ethernet is a header of Ethernet.
	Ethernet Link = 1
	// IP is a header of IPv4 or IPv6.
	IP Link = 2
)

// View is what is known of a packet.
type View struct {
	// Data are the packet's bytes, or the first of them.
	Data []byte
	// Len is how many bytes the packet has. Zero means those of Data.
	Len int
	// Link is what Data begins with.
	Link Link
	// Tagged says that there is a VLAN tag beside the data, as the kernel keeps the outermost one, and TCI is its tag control
	// information.
	Tagged bool
	TCI    uint16
}

// Packet is a filter of packets by their bytes.
type Packet struct {
	expression string
	programs   [4]*program // by start; nil if there is no answer
	code       asm.Instructions
}

// start numbers the ways in which a packet may begin; for each there is a program.
func start(link Link, tagged bool) int {
	n := 0
	if link == IP {
		n = 2
	}
	if tagged {
		n++
	}
	return n
}

// CompilePacket compiles an expression of pcap-filter(7), or a program that tcpdump -ddd has compiled, which is one for packets
// that begin with Ethernet. It fails with an [*Error].
func CompilePacket(expression string) (*Packet, error) {
	if isClassic(expression) {
		return CompileClassic(expression, Ethernet)
	}
	return compilePacket(expression, optimize)
}

func compilePacket(expression string, optimize func(*program) *program) (*Packet, error) {
	p := &Packet{expression: expression}
	tree, err := parse(expression)
	for _, link := range []Link{Ethernet, IP} {
		var plain, tagged *program
		var mentioned bool
		if err == nil {
			plain, mentioned, err = lowerTree(tree, link, false)
		}
		if err == nil {
			tagged, _, err = lowerTree(tree, link, true)
		}
		if err != nil {
			break
		}
		p.programs[start(link, false)] = optimize(plain)
		p.programs[start(link, true)] = p.programs[start(link, false)]
		if mentioned {
			p.programs[start(link, true)] = optimize(tagged)
		}
	}
	var r *refusal
	if errors.As(err, &r) {
		return nil, r.in(expression)
	}
	return p.emitted()
}

// lowerTree makes the program for one way in which a packet may begin, and tells whether tags of VLANs are mentioned.
func lowerTree(tree node, link Link, tagged bool) (p *program, mentioned bool, err error) {
	if tree == nil {
		return &program{accept}, false, nil
	}
	begin := ethernet
	if link == IP {
		begin = bareIP
	}
	l := layoutOf(begin, tagged)
	c, err := tree.lower(l)
	if err != nil {
		return nil, false, err
	}
	return &program{c.block(accept, reject)}, l.tags > 0, nil
}

// emitted completes a filter by its instructions for the kernel.
func (p *Packet) emitted() (*Packet, error) {
	code, err := emitPacket(p)
	if err != nil {
		return nil, &Error{Expression: p.expression, Length: len(p.expression), Reason: "the filter is too much for the kernel: " + err.Error()}
	}
	p.code = code
	return p, nil
}

// Match decides on a packet, in the same way as the kernel does.
func (p *Packet) Match(v View) Verdict {
	if v.Link != Ethernet && v.Link != IP {
		return Unknown
	}
	program := p.programs[start(v.Link, v.Tagged)]
	if program == nil {
		return Unknown
	}
	return program.run(v)
}

// String is the expression.
func (p *Packet) String() string { return p.expression }
