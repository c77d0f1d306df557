package filter

// lower translates a comparison. Bytes of a protocol are compared only in packets of that protocol, which is looked for first.
func (n relationNode) lower(l *layout) (cond, error) {
	if l.link == bareIP && (usesLink(n.left) || usesLink(n.right)) {
		return known(false), nil
	}
	before, err := l.checks(n.left)
	if err != nil {
		return nil, err
	}
	others, err := l.checks(n.right)
	if err != nil {
		return nil, err
	}
	c := calculator{layout: l}
	if err := c.calculate(n.left, 0); err != nil {
		return nil, err
	}
	t := test{comparison: n.comparison}
	if constant, ok := n.right.(constantNumber); ok {
		t.value = constant.value
	} else {
		if err := c.second(n.left, n.right, 0); err != nil {
			return nil, err
		}
		t.withX = true
	}
	var relation cond = leaf{c.code, t}
	if n.opposite {
		relation = inverse{relation}
	}
	return append(append(before, others...), relation), nil
}

// usesLink tells whether bytes of the link's header are addressed.
func usesLink(n number32) bool {
	switch n := n.(type) {
	case accessNumber:
		return protocols[n.name].isLink() || usesLink(n.index)
	case negativeNumber:
		return usesLink(n.operand)
	case binaryNumber:
		return usesLink(n.left) || usesLink(n.right)
	}
	return false
}

// checks are what must hold before a number is calculated. As in libpcap, of two numbers that are joined by an operator only
// the first one's count; the second one's must make sense.
func (l *layout) checks(n number32) (allOf, error) {
	switch n := n.(type) {
	case negativeNumber:
		return l.checks(n.operand)
	case binaryNumber:
		if _, err := l.checks(n.right); err != nil {
			return nil, err
		}
		return l.checks(n.left)
	case accessNumber:
		return l.checkAccess(n)
	}
	return nil, nil
}

func (l *layout) checkAccess(n accessNumber) (allOf, error) {
	checks, err := l.checks(n.index)
	proto := protocols[n.name]
	if err != nil || proto.isLink() {
		return checks, err
	}
	is, err := l.isProtocol(n.span, proto)
	if err != nil {
		return nil, err
	}
	switch proto.level {
	case transportLevel:
		is4, err := l.isType(n.span, typeIP)
		return append(append(allOf{is4}, checks...), is, l.isFirstFragment()), err
	case icmp6Level:
		is6, err := l.isType(n.span, typeIPv6)
		return append(checks, is6, compare(l.ip().plus(ip6Next), 1, equal, ipICMPv6)), err
	}
	return append(checks, is), nil
}

// calculator writes the code that calculates a number into A.
type calculator struct {
	*layout
	code []instruction
}

func (c *calculator) emit(code ...instruction) { c.code = append(c.code, code...) }

// calculate uses words of memory from the given one on.
func (c *calculator) calculate(n number32, word uint32) error {
	switch n := n.(type) {
	case constantNumber:
		c.emit(instruction{opcode: setA, value: n.value})
	case lengthNumber:
		c.emit(instruction{opcode: lengthA})
	case negativeNumber:
		if err := c.calculate(n.operand, word); err != nil {
			return err
		}
		c.emit(instruction{opcode: negateA})
	case binaryNumber:
		if err := c.calculate(n.left, word); err != nil {
			return err
		}
		i := instruction{opcode: calculate, operation: n.operation}
		if constant, ok := n.right.(constantNumber); ok {
			i.value = constant.value
		} else {
			if err := c.second(n.left, n.right, word); err != nil {
				return err
			}
			i.withX = true
		}
		c.emit(i)
	case accessNumber:
		return c.access(n, word)
	}
	return nil
}

// second calculates the second of two numbers into X, and leaves the first in A, where it is.
func (c *calculator) second(left, right number32, word uint32) error {
	if int(word)+c.kept >= memoryWords {
		return refuse(left.place().to(right.place()), "too many intermediate results: write this in two comparisons")
	}
	c.emit(instruction{opcode: keepA, value: word})
	if err := c.calculate(right, word+1); err != nil {
		return err
	}
	c.emit(instruction{opcode: copyToX}, instruction{opcode: recallA, value: word})
	return nil
}

func (c *calculator) access(n accessNumber, word uint32) error {
	base := c.ip()
	switch protocols[n.name].level {
	case linkLevel:
		base = c.header
	case icmp6Level:
		base = base.plus(ip6Header)
	case transportLevel:
		return c.accessTransport(n, word)
	}
	if constant, ok := n.index.(constantNumber); ok {
		c.emit(at(base.plus(constant.value), n.size)...)
		return nil
	}
	if err := c.calculate(n.index, word); err != nil {
		return err
	}
	if base.memory >= 0 {
		c.emit(instruction{opcode: recallX, value: uint32(base.memory)},
			instruction{opcode: calculate, operation: add, withX: true})
	}
	c.emit(instruction{opcode: copyToX}, instruction{opcode: loadIndexed, size: n.size, value: base.offset})
	return nil
}

func (c *calculator) accessTransport(n accessNumber, word uint32) error {
	begin, rest := c.behindIPv4()
	if constant, ok := n.index.(constantNumber); ok {
		c.emit(begin...)
		c.emit(instruction{opcode: loadIndexed, size: n.size, value: rest + constant.value})
		return nil
	}
	if err := c.calculate(n.index, word); err != nil {
		return err
	}
	if int(word)+c.kept >= memoryWords {
		return refuse(n.span, "too many intermediate results: write this in two comparisons")
	}
	c.emit(instruction{opcode: keepA, value: word})
	c.emit(begin...)
	c.emit(instruction{opcode: recallA, value: word}, instruction{opcode: calculate, operation: add, withX: true},
		instruction{opcode: copyToX}, instruction{opcode: loadIndexed, size: n.size, value: rest})
	return nil
}
