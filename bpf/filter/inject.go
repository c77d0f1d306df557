package filter

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// The functions of filter.h that filters take the place of.
const (
	packetFunction = "filter_packet"
	metaFunction   = "filter_meta"
)

// readFunction is the one that filter_packet calls.
const readFunction = "filter_read"

// Inject puts the filter in the place of the function filter_packet (filter.h) of a program that is not loaded yet, and tells
// whether the program has that function.
func (p *Packet) Inject(program *ebpf.ProgramSpec) bool {
	return inject(program, packetFunction, p.code)
}

// inject replaces a function. What the loader knows of it, its name and its type above all, stays with the first instruction.
func inject(program *ebpf.ProgramSpec, function string, code asm.Instructions) bool {
	old := program.Instructions
	begin := slices.IndexFunc(old, func(i asm.Instruction) bool { return i.Symbol() == function })
	if begin < 0 {
		return false
	}
	end := len(old)
	if next := slices.IndexFunc(old[begin+1:], func(i asm.Instruction) bool { return i.Symbol() != "" }); next >= 0 {
		end = begin + 1 + next
	}
	code = slices.Clone(code)
	code[0].Metadata = old[begin].Metadata
	program.Instructions = slices.Concat(old[:begin], code, old[end:])
	return true
}
