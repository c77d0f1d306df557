package filter

// The intermediate form is the machine of classic BPF, to which pcap filters have been compiled since 1992: an accumulator A,
// an index X, sixteen words of memory, and loads from the packet that end the program if there is no such byte. What differs
// is only how it is written down: as blocks that end in one decision, so that no jump is too long, and each block is entered
// after those that lead to it.

// program decides on packets that begin in the same way.
type program struct {
	first *block
}

// block is code, and a test that decides how to go on. accept and reject are blocks without either.
type block struct {
	code    []instruction
	test    test
	yes, no *block
}

var (
	accept = &block{}
	reject = &block{}
)

func (b *block) isEnd() bool { return b == accept || b == reject }

// test compares A with X or with a constant, without signs.
type test struct {
	comparison
	withX bool
	value uint32
}

type comparison uint8

const (
	always comparison = iota
	equal
	greater
	greaterEqual
	anyBit // of A is set that is set in the other
)

func (c comparison) holds(a, b uint32) bool {
	switch c {
	case equal:
		return a == b
	case greater:
		return a > b
	case greaterEqual:
		return a >= b
	case anyBit:
		return a&b != 0
	}
	return true
}

type instruction struct {
	opcode
	operation       // of calculate
	size      uint8 // of a load, in bytes
	withX     bool  // calculate with X and not with the value
	value     uint32
	// What the optimizer has found out: that the load cannot fail, since another one has looked there; and what X is at most, if
	// that is not 0.
	sure bool
	most uint32
}

type opcode uint8

const (
	load        opcode = iota // A = size bytes at value, in network order
	loadIndexed               // A = size bytes at X + value; the sum does not wrap around
	loadNibbleX               // X = 4 times the lower half of the byte at value: the length of an IPv4 header
	setA                      // A = value
	setX                      // X = value
	lengthA                   // A = length of the packet
	lengthX                   // X = length of the packet
	tagA                      // A = the tag control information beside the data, 0 if there is none
	tagged                    // A = 1 if there is such a tag, otherwise 0
	recallA                   // A = memory[value]
	recallX                   // X = memory[value]
	keepA                     // memory[value] = A
	keepX                     // memory[value] = X
	copyToX                   // X = A
	copyToA                   // A = X
	negateA                   // A = -A
	calculate                 // A = A operation (X or value)
)

// readsPacket tells whether the instruction may end the program, because there is no such byte.
func (i instruction) readsPacket() bool { return i.opcode <= loadNibbleX }

type operation uint8

const (
	add operation = iota
	subtract
	multiply
	divide
	remainder
	bitAnd
	bitOr
	bitXor
	shiftLeft
	shiftRight
)

// apply calculates; ok is false for a division by zero, which ends a program without a match.
func (o operation) apply(a, b uint32) (result uint32, ok bool) {
	switch o {
	case add:
		return a + b, true
	case subtract:
		return a - b, true
	case multiply:
		return a * b, true
	case bitAnd:
		return a & b, true
	case bitOr:
		return a | b, true
	case bitXor:
		return a ^ b, true
	case shiftLeft:
		return a << b, true // 0 if b is more than 31, as for libpcap
	case shiftRight:
		return a >> b, true
	}
	if b == 0 {
		return 0, false
	}
	if o == divide {
		return a / b, true
	}
	return a % b, true
}

// words is how many words of memory there are.
const memoryWords = 16

// cond is a condition on its way from the syntax tree to blocks.
type cond interface {
	// block returns where the condition is decided: it leads to yes or to no.
	block(yes, no *block) *block
}

type (
	leaf struct {
		code []instruction
		test test
	}
	allOf   []cond
	anyOf   []cond
	inverse struct{ cond }
	// known is a condition that holds for all packets, or for none.
	known bool
)

func (l leaf) block(yes, no *block) *block { return &block{l.code, l.test, yes, no} }

func (a allOf) block(yes, no *block) *block {
	for i := range a {
		yes = a[len(a)-1-i].block(yes, no)
	}
	return yes
}

func (a anyOf) block(yes, no *block) *block {
	for i := range a {
		no = a[len(a)-1-i].block(yes, no)
	}
	return no
}

func (i inverse) block(yes, no *block) *block { return i.cond.block(no, yes) }

func (k known) block(yes, no *block) *block {
	if k {
		return yes
	}
	return no
}
