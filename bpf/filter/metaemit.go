package filter

import (
	"encoding/binary"

	"github.com/cilium/ebpf/asm"
)

// Registers of the function filter_meta.
const (
	sk    = asm.R6 // address of the sk_buff
	base  = asm.R7 // address of what a term has come to
	found = asm.R8 // what was read
)

// Where the stack has what was read: a number, or a text.
const (
	stackNumber = -8
	stackText   = -72
)

// metaEmitter translates terms to eBPF.
type metaEmitter struct {
	*assembler
	unknown int
}

// emitMeta returns the function filter_meta.
func emitMeta(tree metaNode) (asm.Instructions, error) {
	e := &metaEmitter{assembler: newAssembler()}
	yes, no := e.label(), e.label()
	e.unknown = e.label()
	e.jump(asm.JEq.Imm(asm.R1, 0, ""), e.unknown)
	e.emit(asm.LoadMem(sk, asm.R1, inputSkb, asm.DWord))
	e.node(tree, yes, no)
	for _, v := range []struct {
		label   int
		verdict Verdict
	}{{yes, Match}, {no, NoMatch}, {e.unknown, Unknown}} {
		e.place(v.label)
		e.emit(asm.Mov.Imm(asm.R0, int32(v.verdict)), asm.Return())
	}
	code, err := e.finish()
	if err != nil {
		return nil, refuse(span{}, "the filter is too much for the kernel: %v", err)
	}
	return code, nil
}

// node leads to yes or to no.
func (e *metaEmitter) node(n metaNode, yes, no int) {
	switch n := n.(type) {
	case metaAnd:
		next := e.label()
		e.node(n.left, next, no)
		e.place(next)
		e.node(n.right, yes, no)
	case metaOr:
		next := e.label()
		e.node(n.left, yes, next)
		e.place(next)
		e.node(n.right, yes, no)
	case metaNot:
		e.node(n.operand, no, yes)
	case *metaTerm:
		e.term(n, yes, no)
	}
}

// term follows the addresses, and compares what is at the end. Where an address is zero there is nothing to compare: the term
// does not hold.
func (e *metaEmitter) term(t *metaTerm, yes, no int) {
	e.emit(asm.Mov.Reg(base, sk))
	for _, h := range t.hops {
		e.address(h, no)
	}
	if t.text != nil {
		e.text(t, yes, no)
		return
	}
	e.emit(asm.Mov.Imm(found, 0), asm.StoreMem(asm.RFP, stackNumber, found, asm.DWord))
	e.read(asm.FnProbeReadKernel, stackNumber, t.size, t.offset)
	e.emit(asm.LoadMem(found, asm.RFP, stackNumber, asm.DWord))
	// Bytes are in the order of x86-64, so the field is at the lower end of what was read.
	switch above := 64 - t.bits - t.shift; {
	case t.signed:
		e.emit(asm.LSh.Imm(found, int32(above)), asm.ArSh.Imm(found, int32(64-t.bits)))
	default:
		e.emit(asm.LSh.Imm(found, int32(above)), asm.RSh.Imm(found, int32(64-t.bits)))
	}
	if t.mask != ^uint64(0)>>(64-t.bits) {
		e.emit(asm.LoadImm(asm.R1, int64(t.mask), asm.DWord), asm.And.Reg(found, asm.R1))
	}
	e.emit(asm.LoadImm(asm.R1, int64(t.number), asm.DWord))
	e.jump(t.jump.Reg(found, asm.R1, ""), yes)
	e.jumpAlways(no)
}

// address follows one that is in memory.
func (e *metaEmitter) address(h hop, null int) {
	e.read(asm.FnProbeReadKernel, stackNumber, 8, h.offset)
	e.emit(asm.LoadMem(base, asm.RFP, stackNumber, asm.DWord))
	if h.mask != ^uint64(0) {
		e.emit(asm.LoadImm(asm.R1, int64(h.mask), asm.DWord), asm.And.Reg(base, asm.R1))
	}
	e.jump(asm.JEq.Imm(base, 0, ""), null)
}

// text compares eight bytes at a time. What is behind the text that was read is zero.
func (e *metaEmitter) text(t *metaTerm, yes, no int) {
	if t.indirect {
		e.address(hop{t.offset, ^uint64(0)}, no)
	}
	size := uint32(len(t.text))
	if t.indirect {
		size++ // or a longer text would look the same
	}
	words := (int(size) + 7) / 8
	e.emit(asm.Mov.Imm(found, 0))
	for i := range words {
		e.emit(asm.StoreMem(asm.RFP, int16(stackText+8*i), found, asm.DWord))
	}
	if t.indirect {
		e.read(asm.FnProbeReadKernelStr, stackText, size, 0)
	} else {
		e.read(asm.FnProbeReadKernel, stackText, size, t.offset)
	}
	same, other := yes, no
	if t.jump == asm.JNE {
		same, other = no, yes
	}
	text := append(make([]byte, 0, 8*words), t.text...)[:8*words]
	for i := range words {
		e.emit(
			asm.LoadMem(found, asm.RFP, int16(stackText+8*i), asm.DWord),
			asm.LoadImm(asm.R1, int64(binary.LittleEndian.Uint64(text[8*i:])), asm.DWord),
		)
		e.jump(asm.JNE.Reg(found, asm.R1, ""), other)
	}
	e.jumpAlways(same)
}

// read copies from memory at an offset from base to the stack. What cannot be read is unknown.
func (e *metaEmitter) read(helper asm.BuiltinFunc, to int32, size, offset uint32) {
	e.emit(
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, to),
		asm.Mov.Imm(asm.R2, int32(size)),
		asm.Mov.Reg(asm.R3, base),
		asm.Add.Imm(asm.R3, int32(offset)),
		helper.Call(),
	)
	// A text's length is what one of the helpers returns; errors are negative.
	e.jump(asm.JSLT.Imm(asm.R0, 0, ""), e.unknown)
}
