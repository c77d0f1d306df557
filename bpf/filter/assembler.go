package filter

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf/asm"
)

// assembler writes instructions of eBPF whose jumps are to labels, and resolves those when all are written.
type assembler struct {
	code   []asm.Instruction
	slots  int         // that code takes
	jumps  map[int]int // by position in code: to which label
	labels []int       // by label: in which slot; -1 if not known yet
}

func newAssembler() *assembler { return &assembler{jumps: make(map[int]int)} }

func (a *assembler) emit(code ...asm.Instruction) {
	for _, i := range code {
		a.code = append(a.code, i)
		a.slots += int(i.Width())
	}
}

// label is one that is not placed yet.
func (a *assembler) label() int {
	a.labels = append(a.labels, -1)
	return len(a.labels) - 1
}

// place lets a label be what is written next.
func (a *assembler) place(label int) { a.labels[label] = a.slots }

// wanted tells whether anything jumps to a label. What nothing leads to, the verifier does not accept.
func (a *assembler) wanted(label int) bool {
	for _, l := range a.jumps {
		if l == label {
			return true
		}
	}
	return false
}

// jump writes a jump to a label.
func (a *assembler) jump(i asm.Instruction, label int) {
	a.jumps[len(a.code)] = label
	a.emit(i.WithReference(""))
}

func (a *assembler) jumpAlways(label int) { a.jump(asm.Ja.Label(""), label) }

// finish returns the instructions. It fails if a jump is too long.
func (a *assembler) finish() (asm.Instructions, error) {
	slot := 0
	for n := range a.code {
		slot += int(a.code[n].Width())
		if label, ok := a.jumps[n]; ok {
			distance := a.labels[label] - slot
			if distance < math.MinInt16 || distance > math.MaxInt16 {
				return nil, fmt.Errorf("this makes %d instructions, and from one to another may be no more than %d", a.slots, math.MaxInt16)
			}
			a.code[n].Offset = int16(distance)
		}
	}
	return a.code, nil
}
