package filter

import (
	"encoding/binary"
	"slices"
)

// optimize leaves out what a program knows already. It answers as before for every packet, the short ones included: no byte is
// looked at earlier than before, and none that may be missing is left out, unless there is no match whatever it is.
//
// Decisions that are known on the way to a block are not taken again: whoever comes from "it is IPv4" skips the question
// whether it is ARP. What a register holds is not loaded again. And where a load has found its byte, another one in front of it
// is sure to find its own.
func optimize(p *program) *program {
	o := optimizer{numbering: newNumbering(), live: make(map[*block]registers), arrivals: make(map[*block][]state)}
	order := p.order()
	for _, b := range slices.Backward(order) {
		o.live[b] = liveBefore(b, o.live[b.yes]|o.live[b.no])
	}
	first := o.pass(p.first, o.initial())
	copies := map[*block]*block{accept: accept, reject: reject}
	for _, b := range order {
		if len(o.arrivals[b]) > 0 {
			copies[b] = o.rewrite(b)
		}
	}
	for _, b := range copies {
		if !b.isEnd() {
			b.yes, b.no = copies[b.yes], copies[b.no]
		}
	}
	return (&program{copies[first]}).tidy()
}

// order lists the blocks, each after those that lead to it, and if possible the one that a test fails to right behind it.
func (p *program) order() []*block {
	var order []*block
	seen := map[*block]bool{accept: true, reject: true}
	type visit struct {
		*block
		done bool
	}
	for stack := []visit{{p.first, false}}; len(stack) > 0; {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		switch {
		case v.done:
			order = append(order, v.block)
		case !seen[v.block]:
			seen[v.block] = true
			stack = append(stack, visit{v.block, true}, visit{v.no, false}, visit{v.yes, false})
		}
	}
	slices.Reverse(order)
	return order
}

// registers are a set of A, X and the words of memory.
type registers uint32

const (
	registerA registers = 1 << iota
	registerX
	firstWord
)

func wordRegister(n uint32) registers { return firstWord << n }

// uses are the registers that an instruction needs, and the one that it sets.
func (i instruction) uses() (needs, sets registers) {
	switch i.opcode {
	case loadIndexed:
		return registerX, registerA
	case loadNibbleX, setX, lengthX:
		return 0, registerX
	case recallA:
		return wordRegister(i.value), registerA
	case recallX:
		return wordRegister(i.value), registerX
	case keepA:
		return registerA, wordRegister(i.value)
	case keepX:
		return registerX, wordRegister(i.value)
	case copyToX:
		return registerA, registerX
	case copyToA:
		return registerX, registerA
	case negateA:
		return registerA, registerA
	case calculate:
		if i.withX {
			return registerA | registerX, registerA
		}
		return registerA, registerA
	}
	return 0, registerA
}

func (t test) uses() registers {
	switch {
	case t.comparison == always:
		return 0
	case t.withX:
		return registerA | registerX
	}
	return registerA
}

// liveBefore are the registers that are needed when a block is entered, given those that are when it is left.
func liveBefore(b *block, after registers) registers {
	if b.isEnd() {
		return 0
	}
	after |= b.test.uses()
	for _, i := range slices.Backward(b.code) {
		needs, sets := i.uses()
		after = after&^sets | needs
	}
	return after
}

// stops tells whether the instruction may end the program.
func (i instruction) stops() bool {
	if i.readsPacket() {
		return !i.sure
	}
	return i.opcode == calculate && i.withX && (i.operation == divide || i.operation == remainder) && !i.sure
}

type optimizer struct {
	*numbering
	live     map[*block]registers
	arrivals map[*block][]state // at blocks, from all that lead to them
}

// pass notes that a block is reached in a state, or one behind it, if what it decides is known. It returns that one.
func (o *optimizer) pass(b *block, s state) *block {
	for !b.isEnd() {
		next, ok := o.skip(b, s)
		if !ok {
			o.arrivals[b] = append(o.arrivals[b], s)
			break
		}
		b = next
	}
	return b
}

// skip tells where a block leads, if it need not be gone through.
func (o *optimizer) skip(b *block, s state) (*block, bool) {
	after := s
	for _, i := range b.code {
		if i = o.step(&after, i); i.stops() {
			return nil, false
		}
	}
	yes, known := o.decide(after, b.test)
	if !known {
		return nil, false
	}
	next := b.no
	if yes {
		next = b.yes
	}
	return next, s.agrees(after, o.live[next])
}

// rewrite makes a block anew, knowing how it is reached, and passes on what is known behind it.
func (o *optimizer) rewrite(b *block) *block {
	s := o.merge(o.arrivals[b])
	n := &block{test: b.test}
	n.code = o.withoutRepeated(&s, b.code)
	if yes, known := o.decide(s, b.test); known {
		n.test = test{}
		next := b.no
		if yes {
			next = b.yes
		}
		n.yes = o.pass(next, s)
		n.no = n.yes
		return n
	}
	n.yes = o.pass(b.yes, s.learn(b.test, true))
	n.no = o.pass(b.no, s.learn(b.test, false))
	return n
}

// withoutRepeated leaves out instructions behind which the registers hold what they held before.
func (o *optimizer) withoutRepeated(s *state, code []instruction) []instruction {
	var rest []instruction
	begin, stops := *s, false
	for _, i := range code {
		before := *s
		i = o.step(s, i)
		stops = stops || i.stops()
		switch {
		case !stops && begin.agrees(*s, ^registers(0)):
			rest = nil
		case i.stops() || !before.agrees(*s, ^registers(0)):
			rest = append(rest, i)
		}
	}
	return rest
}

// tidy leaves out what nothing depends on any more, and keeps one of blocks that are the same.
func (p *program) tidy() *program {
	kept := map[*block]*block{accept: accept, reject: reject}
	live := make(map[*block]registers)
	same := make(map[string]*block)
	numbers := map[*block]uint32{accept: 0, reject: 1}
	for _, b := range slices.Backward(p.order()) {
		b.yes, b.no = kept[b.yes], kept[b.no]
		after := live[b.yes] | live[b.no]
		if b.yes == b.no {
			b.test = test{}
		}
		b.code = withoutDead(b.code, after|b.test.uses())
		// Where nothing matches any more, a byte that is missing makes no difference.
		if b.yes == b.no && (len(b.code) == 0 || b.yes == reject) {
			kept[b] = b.yes
			continue
		}
		key := b.key(numbers)
		if other := same[key]; other != nil {
			kept[b] = other
			continue
		}
		same[key], kept[b] = b, b
		numbers[b] = uint32(len(numbers))
		live[b] = liveBefore(b, after)
	}
	return &program{kept[p.first]}
}

// withoutDead leaves out instructions whose results are not needed, but not those that may end the program.
func withoutDead(code []instruction, after registers) []instruction {
	var needed []instruction
	for _, i := range slices.Backward(code) {
		needs, sets := i.uses()
		if after&sets == 0 && !i.stops() {
			continue
		}
		after = after&^sets | needs
		needed = append(needed, i)
	}
	slices.Reverse(needed)
	return needed
}

// key is equal for blocks that do the same; numbers are those of the blocks that they lead to.
func (b *block) key(numbers map[*block]uint32) string {
	flag := func(f bool) byte {
		if f {
			return 1
		}
		return 0
	}
	var key []byte
	for _, i := range b.code {
		key = append(key, byte(i.opcode), byte(i.operation), i.size, flag(i.withX)|flag(i.sure)<<1, byte(i.most))
		key = binary.LittleEndian.AppendUint32(key, i.value)
	}
	key = append(key, byte(b.test.comparison), flag(b.test.withX))
	for _, n := range []uint32{b.test.value, numbers[b.yes], numbers[b.no]} {
		key = binary.LittleEndian.AppendUint32(key, n)
	}
	return string(key)
}
