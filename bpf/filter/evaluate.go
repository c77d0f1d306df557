package filter

import "encoding/binary"

// run decides on a packet.
func (p *program) run(v View) Verdict {
	var m machine
	m.View = v
	if m.Len < len(m.Data) {
		m.Len = len(m.Data)
	}
	b := p.first
	for !b.isEnd() {
		for _, i := range b.code {
			if verdict, ok := m.step(i); !ok {
				return verdict
			}
		}
		other := b.test.value
		if b.test.withX {
			other = m.x
		}
		if b.test.holds(m.a, other) {
			b = b.yes
		} else {
			b = b.no
		}
	}
	if b == accept {
		return Match
	}
	return NoMatch
}

type machine struct {
	View
	a, x   uint32
	memory [memoryWords]uint32
}

// step runs one instruction; if it ends the program, ok is false.
func (m *machine) step(i instruction) (end Verdict, ok bool) {
	switch i.opcode {
	case load:
		return m.load(&m.a, uint64(i.value), i.size)
	case loadIndexed:
		return m.load(&m.a, uint64(m.x)+uint64(i.value), i.size)
	case loadNibbleX:
		end, ok = m.load(&m.x, uint64(i.value), 1)
		m.x = m.x & 0x0f * 4
		return end, ok
	case setA:
		m.a = i.value
	case setX:
		m.x = i.value
	case lengthA:
		m.a = uint32(m.Len)
	case lengthX:
		m.x = uint32(m.Len)
	case tagA:
		m.a = uint32(m.TCI)
	case tagged:
		m.a = 0
		if m.Tagged {
			m.a = 1
		}
	case recallA:
		m.a = m.memory[i.value]
	case recallX:
		m.x = m.memory[i.value]
	case keepA:
		m.memory[i.value] = m.a
	case keepX:
		m.memory[i.value] = m.x
	case copyToX:
		m.x = m.a
	case copyToA:
		m.a = m.x
	case negateA:
		m.a = -m.a
	case calculate:
		other := i.value
		if i.withX {
			other = m.x
		}
		m.a, ok = i.apply(m.a, other)
		return NoMatch, ok
	}
	return NoMatch, true
}

// load reads bytes in network order. What is not in the packet does not match; what is in the packet, but not here, is unknown.
func (m *machine) load(to *uint32, offset uint64, size uint8) (end Verdict, ok bool) {
	last := offset + uint64(size)
	if last > uint64(len(m.Data)) {
		if last > uint64(m.Len) {
			return NoMatch, false
		}
		return Unknown, false
	}
	switch bytes := m.Data[offset:last]; size {
	case 1:
		*to = uint32(bytes[0])
	case 2:
		*to = uint32(binary.BigEndian.Uint16(bytes))
	default:
		*to = binary.BigEndian.Uint32(bytes)
	}
	return NoMatch, true
}
