package filter

// value stands for what a register holds. Registers that hold the same have the same value; the numbers themselves mean
// nothing.
type value int32

// valueKey says how a value comes about: values of the same key are the same.
type valueKey struct {
	opcode
	operation
	size  uint8
	a, x  value
	value uint32
}

type numbering struct {
	values    map[valueKey]value
	constants map[value]uint32
	lengths   map[value]bool // of headers of IPv4
	last      value
}

func newNumbering() *numbering {
	return &numbering{values: make(map[valueKey]value), constants: make(map[value]uint32), lengths: make(map[value]bool)}
}

// fresh is a value that is like no other.
func (n *numbering) fresh() value {
	n.last++
	return n.last
}

func (n *numbering) of(key valueKey) value {
	v, ok := n.values[key]
	if !ok {
		v = n.fresh()
		n.values[key] = v
		if key.opcode == setA {
			n.constants[v] = key.value
		}
	}
	return v
}

func (n *numbering) constant(c uint32) value { return n.of(valueKey{opcode: setA, value: c}) }

// state is what is known at some point of a program.
type state struct {
	a, x   value
	memory [memoryWords]value
	reach  uint64 // the packet is at least so long
	found  []value
	facts  []fact
}

// fact is the outcome of a test of a value against a constant.
type fact struct {
	value
	test
	holds bool
}

// longestHeader4 is what four bits count, in bytes.
const longestHeader4 = 60

// A long program learns more than it is worth to remember.
const mostRemembered = 48

// initial is the state in which programs begin: everything is zero.
func (n *numbering) initial() state {
	zero := n.constant(0)
	s := state{a: zero, x: zero}
	for i := range s.memory {
		s.memory[i] = zero
	}
	return s
}

// agrees tells whether some registers hold the same in both states.
func (s state) agrees(other state, in registers) bool {
	if in&registerA != 0 && s.a != other.a || in&registerX != 0 && s.x != other.x {
		return false
	}
	for i := range s.memory {
		if in&wordRegister(uint32(i)) != 0 && s.memory[i] != other.memory[i] {
			return false
		}
	}
	return true
}

// step changes the state as the instruction does, and returns the instruction with what is known about it.
func (n *numbering) step(s *state, i instruction) instruction {
	key := valueKey{opcode: i.opcode, size: i.size, value: i.value}
	switch i.opcode {
	case load:
		s.a, i.sure = n.find(s, key, uint64(i.value)+uint64(i.size))
	case loadNibbleX:
		s.x, i.sure = n.find(s, key, uint64(i.value)+1)
		n.lengths[s.x] = true
	case loadIndexed:
		if x, ok := n.constants[s.x]; ok && uint64(x)+uint64(i.value) < 1<<32 {
			return n.step(s, instruction{opcode: load, size: i.size, value: x + i.value})
		}
		if n.lengths[s.x] {
			i.most = longestHeader4
		}
		key.x = s.x
		s.a, i.sure = n.find(s, key, 0)
		s.found = remember(s.found, s.a)
	case setA:
		s.a = n.constant(i.value)
	case setX:
		s.x = n.constant(i.value)
	case lengthA, tagA, tagged:
		s.a = n.of(key)
	case lengthX:
		s.x = n.of(valueKey{opcode: lengthA})
	case recallA:
		s.a = s.memory[i.value]
	case recallX:
		s.x = s.memory[i.value]
	case keepA:
		s.memory[i.value] = s.a
	case keepX:
		s.memory[i.value] = s.x
	case copyToX:
		s.x = s.a
	case copyToA:
		s.a = s.x
	case negateA:
		key.a = s.a
		s.a = n.of(key)
		if c, ok := n.constants[key.a]; ok {
			s.a = n.constant(-c)
		}
	case calculate:
		key.operation, key.a, key.x = i.operation, s.a, n.constant(i.value)
		if i.withX {
			key.x = s.x
		}
		key.value = 0
		s.a = n.of(key)
		left, ok := n.constants[key.a]
		right, alsoOK := n.constants[key.x]
		i.sure = alsoOK && right != 0
		if result, defined := i.apply(left, right); ok && alsoOK && defined {
			s.a = n.constant(result)
		}
	}
	return i
}

// find notes that a load found its byte, which ends at a constant offset, or 0 if that is not known. It is sure if it could not
// have failed.
func (n *numbering) find(s *state, key valueKey, end uint64) (v value, sure bool) {
	v = n.of(key)
	if end > 0 {
		sure = end <= s.reach
		s.reach = max(s.reach, end)
		return v, sure
	}
	for _, f := range s.found {
		if f == v {
			return v, true
		}
	}
	return v, false
}

func remember[T any](known []T, more T) []T {
	if len(known) >= mostRemembered {
		known = known[1:]
	}
	return append(known[:len(known):len(known)], more)
}

// learn adds the outcome of a test.
func (s state) learn(t test, holds bool) state {
	if !t.withX && t.comparison != always {
		s.facts = remember(s.facts, fact{s.a, t, holds})
	}
	return s
}

// merge is what is known where several ways meet.
func (n *numbering) merge(states []state) state {
	s := states[0]
	for _, other := range states[1:] {
		if s.a != other.a {
			s.a = n.fresh()
		}
		if s.x != other.x {
			s.x = n.fresh()
		}
		for i := range s.memory {
			if s.memory[i] != other.memory[i] {
				s.memory[i] = n.fresh()
			}
		}
		s.reach = min(s.reach, other.reach)
		s.found, s.facts = inBoth(s.found, other.found), inBoth(s.facts, other.facts)
	}
	return s
}

func inBoth[T comparable](these, those []T) []T {
	var both []T
	for _, a := range these {
		for _, b := range those {
			if a == b {
				both = append(both, a)
				break
			}
		}
	}
	return both
}

// decide tells the outcome of a test, if it is known.
func (n *numbering) decide(s state, t test) (holds, known bool) {
	if t.comparison == always {
		return true, true
	}
	if t.withX {
		x, ok := n.constants[s.x]
		if !ok {
			return t.comparison == equal || t.comparison == greaterEqual, s.a == s.x && t.comparison != anyBit
		}
		t.withX, t.value = false, x
	}
	if a, ok := n.constants[s.a]; ok {
		return t.holds(a, t.value), true
	}
	for _, f := range s.facts {
		if f.value != s.a {
			continue
		}
		if holds, known = f.implies(t); known {
			return holds, true
		}
	}
	return false, false
}

// implies tells the outcome of another test of the same value, if the fact decides it.
func (f fact) implies(t test) (holds, known bool) {
	if f.test == t {
		return f.holds, true
	}
	switch {
	case f.comparison == equal && f.holds:
		return t.holds(f.test.value, t.value), true
	case f.comparison == anyBit && !f.holds:
		return false, t.comparison == equal && t.value&f.test.value != 0 || t.comparison == anyBit && t.value&^f.test.value == 0
	}
	low, high, ok := f.bounds()
	if !ok {
		return false, false
	}
	above, below := uint64(t.value), uint64(t.value)
	switch t.comparison {
	case equal:
		return false, above < low || below > high
	case greater:
		return low > above, low > above || high <= below
	case greaterEqual:
		return low >= above, low >= above || high < below
	}
	return false, false
}

// bounds are the least and the greatest that the value can be, of a fact about an order.
func (f fact) bounds() (low, high uint64, ok bool) {
	limit := uint64(f.test.value)
	switch {
	case f.comparison == greater && f.holds:
		return limit + 1, 1<<32 - 1, true
	case f.comparison == greater:
		return 0, limit, true
	case f.comparison == greaterEqual && f.holds:
		return limit, 1<<32 - 1, true
	case f.comparison == greaterEqual && limit > 0:
		return 0, limit - 1, true
	}
	return 0, 0, false
}
