package filter

import (
	"math"

	"github.com/cilium/ebpf/asm"
)

// instruction writes one instruction of the intermediate form.
func (e *emitter) instruction(i instruction) {
	word := int32(i.value)
	switch i.opcode {
	case load, loadIndexed, loadNibbleX:
		e.load(i)
	case setA:
		e.emit(asm.Mov.Imm32(regA, word))
	case setX:
		e.emit(asm.Mov.Imm32(regX, word))
	case lengthA:
		e.emit(asm.LoadMem(regA, input, inputLen, asm.Word))
	case lengthX:
		e.emit(asm.LoadMem(regX, input, inputLen, asm.Word))
	case tagA:
		e.emit(asm.LoadMem(regA, input, inputTCI, asm.Half))
	case tagged:
		e.emit(asm.LoadMem(regA, input, inputVLAN, asm.Byte))
	case recallA:
		e.emit(asm.LoadMem(regA, asm.RFP, e.memory[i.value], asm.DWord))
	case recallX:
		e.emit(asm.LoadMem(regX, asm.RFP, e.memory[i.value], asm.DWord))
	case keepA:
		e.emit(asm.StoreMem(asm.RFP, e.memory[i.value], regA, asm.DWord))
	case keepX:
		e.emit(asm.StoreMem(asm.RFP, e.memory[i.value], regX, asm.DWord))
	case copyToX:
		e.emit(asm.Mov.Reg(regX, regA))
	case copyToA:
		e.emit(asm.Mov.Reg(regA, regX))
	case negateA:
		e.emit(asm.Neg.Imm32(regA, 0))
	case calculate:
		e.calculate(i)
	}
}

var aluOps = map[operation]asm.ALUOp{
	add: asm.Add, subtract: asm.Sub, multiply: asm.Mul, divide: asm.Div, remainder: asm.Mod,
	bitAnd: asm.And, bitOr: asm.Or, bitXor: asm.Xor, shiftLeft: asm.LSh, shiftRight: asm.RSh,
}

// calculate is careful where eBPF and classic BPF differ: in a division by zero, and in shifting by more than there is.
func (e *emitter) calculate(i instruction) {
	op := aluOps[i.operation]
	if !i.withX {
		e.emit(op.Imm32(regA, int32(i.value)))
		return
	}
	switch i.operation {
	case divide, remainder:
		if !i.sure {
			e.jump(asm.JEq.Imm32(regX, 0, ""), e.rejected)
		}
	case shiftLeft, shiftRight:
		inside, done := e.label(), e.label()
		e.jump(asm.JLT.Imm32(regX, 32, ""), inside)
		e.emit(asm.Mov.Imm32(regA, 0))
		e.jumpAlways(done)
		e.place(inside)
		e.emit(op.Reg32(regA, regX))
		e.place(done)
		return
	}
	e.emit(op.Reg32(regA, regX))
}

// load writes a load of bytes of the packet.
func (e *emitter) load(i instruction) {
	last, bounded := i.last()
	switch {
	case bounded && last <= snapshotBytes && i.opcode == loadIndexed:
		e.loadBounded(i)
	case i.opcode == loadIndexed:
		e.loadAnywhere(i)
	case last <= snapshotBytes:
		if !i.sure {
			e.jump(asm.JLT.Imm(have, int32(last), ""), e.tooShort(uint32(last)))
		}
		e.fetch(i, input, inputSnapshot+int16(i.value))
	default:
		e.emit(asm.LoadImm(asm.R2, int64(i.value), asm.DWord))
		e.read(i)
	}
}

// sum adds a constant, which is the first summand: if it were the second, the verifier of 6.12 would remember how the registers
// are related, conclude too much from later comparisons, and then refuse what it is sure cannot be.
func (e *emitter) sum(to, of asm.Register, constant uint32) {
	if constant > math.MaxInt32 {
		e.emit(asm.LoadImm(to, int64(constant), asm.DWord))
	} else {
		e.emit(asm.Mov.Imm(to, int32(constant)))
	}
	e.emit(asm.Add.Reg(to, of))
}

// loadBounded is for an index that is known to be small: the load is inside of the snapshot.
func (e *emitter) loadBounded(i instruction) {
	if !i.sure {
		e.sum(asm.R2, regX, i.value+uint32(i.size))
		e.jump(asm.JGT.Reg(asm.R2, have, ""), e.end)
	}
	e.emit(asm.Mov.Reg(asm.R1, input), asm.Add.Reg(asm.R1, regX))
	e.fetch(i, asm.R1, inputSnapshot+int16(i.value))
}

// loadAnywhere looks at run time whether the load is inside of the snapshot.
func (e *emitter) loadAnywhere(i instruction) {
	elsewhere, back := e.label(), e.label()
	e.sum(asm.R1, regX, i.value)
	// The first comparison is for the verifier, which does not know what have is at most.
	e.jump(asm.JGT.Imm(asm.R1, snapshotBytes-int32(i.size), ""), elsewhere)
	e.sum(asm.R2, asm.R1, uint32(i.size))
	e.jump(asm.JGT.Reg(asm.R2, have, ""), e.end)
	e.emit(asm.Add.Reg(asm.R1, input))
	e.fetch(i, asm.R1, inputSnapshot)
	e.place(back)
	e.later = append(e.later, func() {
		e.place(elsewhere)
		e.emit(asm.Mov.Reg(asm.R2, asm.R1))
		e.read(i)
		e.jumpAlways(back)
	})
}

// callRead calls filter_read, with the offset in R2 and the size in R3.
var callRead = asm.Instruction{
	OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoCall, Constant: -1,
}.WithReference(readFunction)

// noBytes is the upper half of what filter_read returns if the packet ends before (FILTER_NO_BYTES).
const noBytes = 1

// read reads from the packet what is not in the snapshot. Its offset is in R2.
func (e *emitter) read(i instruction) {
	e.emit(asm.Mov.Reg(asm.R1, input), asm.Mov.Imm(asm.R3, int32(max(1, i.size))), callRead, asm.Mov.Reg(asm.R1, asm.R0))
	e.emit(asm.RSh.Imm(asm.R0, 32))
	e.jump(asm.JNE.Imm(asm.R0, 0, ""), e.noBytes)
	if i.opcode == loadNibbleX {
		e.emit(asm.Mov.Reg(regX, asm.R1), asm.And.Imm32(regX, 0x0f), asm.LSh.Imm32(regX, 2))
		return
	}
	e.emit(asm.Mov.Reg32(regA, asm.R1))
}

// fetch moves bytes from memory into the register that they are for, in the order of the host.
func (e *emitter) fetch(i instruction, from asm.Register, offset int16) {
	if i.opcode == loadNibbleX {
		e.emit(asm.LoadMem(regX, from, offset, asm.Byte), asm.And.Imm32(regX, 0x0f), asm.LSh.Imm32(regX, 2))
		return
	}
	size := map[uint8]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word}[i.size]
	e.emit(asm.LoadMem(regA, from, offset, size))
	if i.size > 1 {
		e.emit(asm.HostTo(asm.BE, regA, size))
	}
}

// tooShort is where a load leads that ends at a constant offset, behind what there is of the packet.
func (e *emitter) tooShort(last uint32) int {
	label, ok := e.ends[last]
	if !ok {
		label = e.label()
		e.ends[last] = label
	}
	return label
}
