package filter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// Where the members of struct filter_input are (filter.h).
const (
	inputSkb      = 0
	inputLen      = 32
	inputTCI      = 36
	inputVLAN     = 38
	inputLink     = 39
	inputHave     = 40
	inputSnapshot = 88

	snapshotBytes = 128
)

// Registers of eBPF, which calls leave alone.
const (
	input = asm.R6
	regA  = asm.R7
	regX  = asm.R8
	have  = asm.R9 // bytes of the packet that are in the snapshot
)

// Where on the stack is the memory of a program, as much as it uses. Each word takes eight bytes, so that the verifier remembers
// what is in it. There may be no more of them because the kernel has 512 bytes of stack for a program and all that it calls.
const (
	stackMemory  = -8
	stackedWords = 8
)

// emitter translates programs to eBPF. The packet's beginning is in the snapshot. A load of what may be missing there compares
// with how much there is, and one that may lie behind it has it read.
type emitter struct {
	*assembler
	accepted, rejected, unknown int // labels
	end                         int // likewise: what there would have to be up to R2 is not in the snapshot
	noBytes                     int // likewise: R0 is why filter_read has read nothing
	ends                        map[uint32]int
	memory                      map[uint32]int16 // where on the stack the program's words are
	later                       []func()         // writes what is seldom gone through
}

// emitPacket returns the function filter_packet.
func emitPacket(p *Packet) (asm.Instructions, error) {
	e := &emitter{assembler: newAssembler(), ends: make(map[uint32]int), memory: make(map[uint32]int16)}
	e.accepted, e.rejected, e.unknown, e.end, e.noBytes = e.label(), e.label(), e.label(), e.label(), e.label()
	var programs []*program
	for _, program := range p.programs {
		if program != nil && !slices.Contains(programs, program) {
			programs = append(programs, program)
		}
	}
	e.begin()
	labels := make(map[*program]int)
	for _, program := range programs {
		labels[program] = e.label()
	}
	e.choose(p, labels)
	for _, program := range programs {
		e.place(labels[program])
		e.program(program)
		if len(e.memory) > stackedWords {
			return nil, fmt.Errorf("it keeps %d intermediate results, and the kernel's stack has room for %d", len(e.memory), stackedWords)
		}
	}
	for _, write := range e.later {
		write()
	}
	e.verdicts()
	return e.finish()
}

// last is where the bytes of a load end at most; ok is false if that is not known.
func (i instruction) last() (last uint64, ok bool) {
	switch i.opcode {
	case load:
		return uint64(i.value) + uint64(i.size), true
	case loadNibbleX:
		return uint64(i.value) + 1, true
	}
	return uint64(i.most) + uint64(i.value) + uint64(i.size), i.most > 0
}

// begin clears the registers. Without an input, it reads nothing: the verifier does not accept programs with a function that
// nothing calls.
func (e *emitter) begin() {
	given := e.label()
	e.emit(asm.Mov.Reg(input, asm.R1))
	e.jump(asm.JNE.Imm(input, 0, ""), given)
	e.emit(asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R3, 1), callRead)
	e.jumpAlways(e.unknown)
	e.place(given)
	e.emit(asm.LoadMem(have, input, inputHave, asm.Word), asm.Mov.Imm(regA, 0), asm.Mov.Imm(regX, 0))
}

// registers are those that a program uses.
func (p *program) registers() (all registers) {
	for _, b := range p.order() {
		for _, i := range b.code {
			needs, sets := i.uses()
			all |= needs | sets
		}
	}
	return all
}

// choose jumps to the program for how the packet begins.
func (e *emitter) choose(p *Packet, labels map[*program]int) {
	e.emit(asm.LoadMem(asm.R1, input, inputLink, asm.Byte), asm.LoadMem(asm.R2, input, inputVLAN, asm.Byte))
	for _, link := range []Link{Ethernet, IP} {
		plain, tagged := p.programs[start(link, false)], p.programs[start(link, true)]
		if plain == nil {
			continue
		}
		other := e.label()
		e.jump(asm.JNE.Imm(asm.R1, int32(link), ""), other)
		if tagged != plain {
			e.jump(asm.JNE.Imm(asm.R2, 0, ""), labels[tagged])
		}
		e.jumpAlways(labels[plain])
		e.place(other)
	}
	e.jumpAlways(e.unknown)
}

// verdicts writes the ends of the function.
func (e *emitter) verdicts() {
	for _, last := range slices.Sorted(maps.Keys(e.ends)) {
		e.place(e.ends[last])
		e.emit(asm.Mov.Imm(asm.R2, int32(last)))
		e.jumpAlways(e.end)
	}
	if e.wanted(e.noBytes) {
		e.place(e.noBytes)
		e.jump(asm.JEq.Imm(asm.R0, noBytes, ""), e.rejected)
		e.jumpAlways(e.unknown)
	}
	if e.wanted(e.end) {
		e.place(e.end)
		e.emit(asm.LoadMem(asm.R3, input, inputLen, asm.Word))
		e.jump(asm.JGT.Reg(asm.R2, asm.R3, ""), e.rejected)
	}
	for _, v := range []struct {
		label   int
		verdict Verdict
	}{{e.unknown, Unknown}, {e.rejected, NoMatch}, {e.accepted, Match}} {
		if e.wanted(v.label) {
			e.place(v.label)
			e.emit(asm.Mov.Imm(asm.R0, int32(v.verdict)), asm.Return())
		}
	}
}

// program writes the blocks in their order.
func (e *emitter) program(p *program) {
	clear(e.memory)
	used := p.registers()
	for word := range uint32(memoryWords) {
		if used&wordRegister(word) != 0 {
			e.memory[word] = int16(stackMemory - 8*len(e.memory))
			e.emit(asm.StoreMem(asm.RFP, e.memory[word], regA, asm.DWord))
		}
	}
	order := p.order()
	labels := map[*block]int{accept: e.accepted, reject: e.rejected}
	for _, b := range order {
		labels[b] = e.label()
	}
	if p.first.isEnd() {
		e.jumpAlways(labels[p.first])
		return
	}
	for n, b := range order {
		var next *block
		if n+1 < len(order) {
			next = order[n+1]
		}
		e.place(labels[b])
		for _, i := range b.code {
			e.instruction(i)
		}
		jump, yes, no := jumps[b.test.comparison], b.yes, b.no
		if opposite, ok := opposites[jump]; ok && yes == next {
			jump, yes, no = opposite, no, yes
		}
		if b.test.comparison != always {
			e.test(jump, b.test, labels[yes])
		}
		if no != next {
			e.jumpAlways(labels[no])
		}
	}
}

var (
	jumps     = map[comparison]asm.JumpOp{equal: asm.JEq, greater: asm.JGT, greaterEqual: asm.JGE, anyBit: asm.JSet}
	opposites = map[asm.JumpOp]asm.JumpOp{asm.JEq: asm.JNE, asm.JGT: asm.JLE, asm.JGE: asm.JLT}
)

func (e *emitter) test(jump asm.JumpOp, t test, to int) {
	if t.withX {
		e.jump(jump.Reg32(regA, regX, ""), to)
	} else {
		e.jump(jump.Imm32(regA, int32(t.value), ""), to)
	}
}
