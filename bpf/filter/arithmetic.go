package filter

import (
	"maps"
	"strings"
)

// The precedence of operators, closest last. The remainder and the exclusive or have none in libpcap's grammar: whatever stands
// before them, they take the number next to them, and all that follows to the right.
var precedences = map[string]int{"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5}

const closest = 6 // of a minus sign before a number

var operations = map[string]operation{
	"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder, "&": bitAnd, "|": bitOr, "^": bitXor,
	"<<": shiftLeft, ">>": shiftRight,
}

// arithmetic reads a number up to what cannot belong to one.
func (p *parser) arithmetic() (number32, error) { return p.arithmeticAbove(0) }

// arithmeticAbove reads a number whose operators all bind at least as close as that.
func (p *parser) arithmeticAbove(precedence int) (number32, error) {
	first, err := p.factor()
	if err != nil {
		return nil, err
	}
	return p.arithmeticFrom(first, precedence)
}

// arithmeticFrom goes on behind a first number.
func (p *parser) arithmeticFrom(left number32, precedence int) (number32, error) {
	for {
		t := p.peek()
		operation, ok := operations[t.text]
		if t.kind != operator || !ok {
			return left, nil
		}
		binds, ranked := precedences[t.text]
		if ranked && binds < precedence {
			return left, nil
		}
		p.next()
		above := 0
		if ranked {
			above = binds + 1
		}
		right, err := p.arithmeticAbove(above)
		if err != nil {
			return nil, err
		}
		if left, err = combine(operation, left, right); err != nil {
			return nil, err
		}
	}
}

func (p *parser) factor() (number32, error) {
	leave, err := p.nest()
	if err != nil {
		return nil, err
	}
	defer leave()
	t := p.next()
	switch {
	case t.kind == number:
		return constantNumber{span: t.span, value: t.value}, nil
	case t.is("len", "length"):
		return lengthNumber{t.span}, nil
	case t.is("-"):
		n, err := p.arithmeticAbove(closest)
		if err != nil {
			return nil, err
		}
		if c, ok := n.(constantNumber); ok {
			return constantNumber{t.to(c.span), -c.value, true}, nil
		}
		return negativeNumber{t.to(n.place()), n}, nil
	case t.is("("):
		n, err := p.arithmetic()
		if err != nil {
			return nil, err
		}
		return n, p.close(t)
	case t.kind == word && p.peek().is("["):
		return p.access(t)
	case t.kind == name:
		return nil, refuse(t.span, "%s is no number%s", t.shown(), inName(t.text))
	}
	return nil, refuse(t.span, "expected a number, found %s", t.shown())
}

// inName names what a name may have meant, or explains that a minus sign may be part of it.
func inName(text string) string {
	if s := suggestion(text, maps.Keys(namedNumbers)); s != "" || !strings.Contains(text, "-") {
		return s
	}
	return ": before and after a minus sign there must be spaces"
}

// access reads the part in brackets.
func (p *parser) access(t token) (number32, error) {
	open := p.next()
	if err := t.checkElsewhere(); err != nil {
		return nil, err
	}
	proto, ok := protocols[t.text]
	if !ok || proto.level == noLevel {
		return nil, refuse(t.span, "bytes of %s cannot be addressed: those of ether, ip, ip6, tcp and others can", t.shown())
	}
	index, err := p.arithmetic()
	if err != nil {
		return nil, err
	}
	a := accessNumber{name: t.text, index: index, size: 1}
	if _, ok := p.accept(":"); ok {
		size := p.next()
		if size.kind != number || size.value != 1 && size.value != 2 && size.value != 4 {
			return nil, refuse(size.span, "the size must be 1, 2 or 4 bytes")
		}
		a.size = uint8(size.value)
	}
	if !p.peek().is("]") {
		if p.peek().kind == end {
			return nil, refuse(open.span, "this bracket is not closed")
		}
		return nil, refuse(p.peek().span, "expected \"]\", found %s", p.peek().shown())
	}
	a.span = t.to(p.next().span)
	if c, ok := index.(constantNumber); ok && c.value > longestPacket {
		return nil, refuse(c.span, "no packet has this byte: offsets count from the beginning of the header")
	}
	return a, nil
}

// longestPacket is more than any packet has.
const longestPacket = 1 << 20

// combine calculates what is known.
func combine(op operation, left, right number32) (number32, error) {
	b := binaryNumber{left.place().to(right.place()), op, left, right}
	r, ok := right.(constantNumber)
	if !ok {
		return b, nil
	}
	switch {
	case (op == divide || op == remainder) && r.value == 0:
		return nil, refuse(r.span, "nothing can be divided by zero")
	case (op == shiftLeft || op == shiftRight) && r.value > 31:
		return nil, refuse(r.span, "numbers have 32 bits: shift by 31 at most")
	}
	l, ok := left.(constantNumber)
	if !ok {
		return b, nil
	}
	value, _ := op.apply(l.value, r.value)
	return constantNumber{b.span, value, true}, nil
}
