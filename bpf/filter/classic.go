package filter

import (
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A program of classic BPF as text, as tcpdump -ddd prints it: how many instructions there are, and in each line the four
// numbers of one. Instead of line breaks there may be commas, as for iptables and tc.
var classicText = regexp.MustCompile(`\A\s*[0-9]+\s*[\n,]\s*[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+\s*([\n,]|\z)`)

func isClassic(text string) bool { return classicText.MatchString(text) }

// The most instructions that the kernel takes (BPF_MAXINSNS), and the offsets from which loads are of something else than the
// packet's bytes (SKF_LL_OFF, SKF_AD_OFF, include/uapi/linux/filter.h).
const (
	mostClassic   = 4096
	beyondPackets = 0xffe00000
	loadTag       = 0xfffff000 + 44
	loadTagged    = 0xfffff000 + 48
)

// CompileClassic takes a program of classic BPF as tcpdump -ddd prints it, for packets that begin in one way. For those that
// begin otherwise its verdict is [Unknown]. It fails with an [*Error].
func CompileClassic(text string, link Link) (*Packet, error) {
	program, err := readClassic(text)
	if err != nil {
		return nil, err.in(text)
	}
	p := &Packet{expression: text}
	program = optimize(program)
	p.programs[start(link, false)], p.programs[start(link, true)] = program, program
	return p.emitted()
}

// classic is an instruction as it is encoded, and where it stands.
type classic struct {
	span
	op, yes, no, k uint32
}

func readClassic(text string) (*program, *refusal) {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' })
	at := 0 // of what is read next
	place := func(line string) span {
		begin := at + strings.Index(text[at:], line)
		at = begin + len(line)
		trimmed := strings.TrimSpace(line)
		begin += strings.Index(line, trimmed)
		return span{begin, begin + len(trimmed)}
	}
	if len(lines) == 0 {
		return nil, refuse(span{}, "there is no program")
	}
	first := place(lines[0])
	announced, err := strconv.ParseUint(strings.TrimSpace(lines[0]), 10, 32)
	if err != nil {
		return nil, refuse(first, "expected how many instructions there are, as tcpdump -ddd prints it")
	}
	var code []classic
	for _, line := range lines[1:] {
		where := place(line)
		if where.at == where.end {
			continue
		}
		i := classic{span: where}
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, refuse(where, "expected the four numbers of an instruction")
		}
		for n, to := range []*uint32{&i.op, &i.yes, &i.no, &i.k} {
			bits := []int{8, 8, 8, 32}[n]
			value, err := strconv.ParseUint(fields[n], 10, bits)
			if err != nil {
				return nil, refuse(where, "%s is no number of %d bits", fields[n], bits)
			}
			*to = uint32(value)
		}
		code = append(code, i)
	}
	switch {
	case uint64(len(code)) != announced:
		return nil, refuse(first, "%d instructions are announced, and there are %d", announced, len(code))
	case len(code) == 0 || len(code) > mostClassic:
		return nil, refuse(first, "a program has 1 to %d instructions", mostClassic)
	}
	return blocksOf(code)
}

// blocksOf divides a program where it jumps. All jumps are forward, so whatever one leads to has been made before it.
func blocksOf(code []classic) (*program, *refusal) {
	begins := map[int]bool{0: true}
	for n, i := range code {
		if err := i.check(); err != nil {
			return nil, err
		}
		for _, target := range i.targets() {
			if n+1+target >= len(code) {
				return nil, refuse(i.span, "it goes on behind the end of the program")
			}
			begins[n+1+target] = true
		}
	}
	end := len(code)
	if last := code[end-1]; last.op&7 != unix.BPF_RET {
		return nil, refuse(last.span, "the program must end with a return")
	}
	blocks := make(map[int]*block)
	for n := end - 1; n >= 0; n-- {
		if !begins[n] {
			continue
		}
		blocks[n], end = blockOf(code, n, end, blocks), n
	}
	return &program{blocks[0]}, nil
}

// check refuses an instruction that has no meaning, whether it is reached or not.
func (i classic) check() *refusal {
	switch i.op & 7 {
	case unix.BPF_RET:
		if i.op != unix.BPF_RET|unix.BPF_K && i.op != unix.BPF_RET|unix.BPF_A {
			return refuse(i.span, "there is no return of that code")
		}
	case unix.BPF_JMP:
		if _, ok := i.test(); !ok {
			return refuse(i.span, "there is no jump of that code")
		}
	default:
		_, err := i.instruction()
		return err
	}
	return nil
}

// targets are how many instructions may be skipped behind a jump.
func (i classic) targets() []int {
	switch {
	case i.op&7 != unix.BPF_JMP:
		return nil
	case i.op == unix.BPF_JMP|unix.BPF_JA:
		return []int{int(i.k)}
	}
	return []int{int(i.yes), int(i.no)}
}

// blockOf makes a block of the instructions from one on up to, and without, another.
func blockOf(code []classic, from, to int, blocks map[int]*block) *block {
	b := &block{yes: blocks[to], no: blocks[to]}
	for n := from; n < to; n++ {
		switch i := code[n]; i.op & 7 {
		case unix.BPF_RET:
			b.ret(i)
			return b
		case unix.BPF_JMP:
			targets := i.targets()
			b.test, _ = i.test()
			b.yes, b.no = blocks[n+1+targets[0]], blocks[n+1+targets[len(targets)-1]]
			return b
		default:
			instruction, _ := i.instruction()
			b.code = append(b.code, instruction)
		}
	}
	return b
}

// ret ends a block: the packet matches if the number that is returned is not zero.
func (b *block) ret(i classic) {
	switch {
	case i.op == unix.BPF_RET|unix.BPF_A:
		b.test, b.yes, b.no = test{comparison: equal}, reject, accept
	case i.k != 0:
		b.yes, b.no = accept, accept
	default:
		b.yes, b.no = reject, reject
	}
}

func (i classic) test() (test, bool) {
	t := test{withX: i.op&unix.BPF_X != 0, value: i.k}
	switch i.op &^ unix.BPF_X {
	case unix.BPF_JMP | unix.BPF_JA:
		return test{}, !t.withX
	case unix.BPF_JMP | unix.BPF_JEQ:
		t.comparison = equal
	case unix.BPF_JMP | unix.BPF_JGT:
		t.comparison = greater
	case unix.BPF_JMP | unix.BPF_JGE:
		t.comparison = greaterEqual
	case unix.BPF_JMP | unix.BPF_JSET:
		t.comparison = anyBit
	default:
		return t, false
	}
	return t, true
}

var classicCalculations = map[uint32]operation{
	unix.BPF_ADD: add, unix.BPF_SUB: subtract, unix.BPF_MUL: multiply, unix.BPF_DIV: divide, unix.BPF_MOD: remainder,
	unix.BPF_AND: bitAnd, unix.BPF_OR: bitOr, unix.BPF_XOR: bitXor, unix.BPF_LSH: shiftLeft, unix.BPF_RSH: shiftRight,
}

var classicCodes = map[uint32]opcode{
	unix.BPF_LD | unix.BPF_IMM: setA, unix.BPF_LDX | unix.BPF_IMM: setX,
	unix.BPF_LD | unix.BPF_LEN: lengthA, unix.BPF_LDX | unix.BPF_LEN: lengthX,
	unix.BPF_LD | unix.BPF_MEM: recallA, unix.BPF_LDX | unix.BPF_MEM: recallX,
	unix.BPF_ST: keepA, unix.BPF_STX: keepX,
	unix.BPF_MISC | unix.BPF_TAX: copyToX, unix.BPF_MISC | unix.BPF_TXA: copyToA,
	unix.BPF_ALU | unix.BPF_NEG:              negateA,
	unix.BPF_LDX | unix.BPF_MSH | unix.BPF_B: loadNibbleX,
}

func (i classic) instruction() (instruction, *refusal) {
	if code, ok := classicCodes[i.op]; ok {
		switch code {
		case recallA, recallX, keepA, keepX:
			if i.k >= memoryWords {
				return instruction{}, refuse(i.span, "memory has %d words", memoryWords)
			}
		}
		return instruction{opcode: code, value: i.k}, nil
	}
	switch i.op & 7 {
	case unix.BPF_LD:
		return i.load()
	case unix.BPF_ALU:
		return i.calculation()
	}
	return instruction{}, refuse(i.span, "there is no instruction of that code")
}

func (i classic) load() (instruction, *refusal) {
	l := instruction{opcode: load, value: i.k}
	switch i.op & 0x18 {
	case unix.BPF_W:
		l.size = 4
	case unix.BPF_H:
		l.size = 2
	case unix.BPF_B:
		l.size = 1
	}
	switch mode := i.op & 0xe0; {
	case l.size == 0 || mode != unix.BPF_ABS && mode != unix.BPF_IND:
		return l, refuse(i.span, "there is no load of that code")
	case mode == unix.BPF_IND:
		l.opcode = loadIndexed
	case i.k == loadTag:
		return instruction{opcode: tagA}, nil
	case i.k == loadTagged:
		return instruction{opcode: tagged}, nil
	case i.k >= beyondPackets:
		return l, refuse(i.span, "it asks the kernel for what is not in the packet's bytes; only its VLAN tag is known here")
	}
	return l, nil
}

func (i classic) calculation() (instruction, *refusal) {
	o, ok := classicCalculations[i.op&0xf0]
	c := instruction{opcode: calculate, operation: o, withX: i.op&unix.BPF_X != 0, value: i.k}
	switch {
	case !ok:
		return c, refuse(i.span, "there is no calculation of that code")
	case !c.withX && (o == divide || o == remainder) && i.k == 0:
		return c, refuse(i.span, "nothing can be divided by zero")
	case !c.withX && (o == shiftLeft || o == shiftRight) && i.k > 31:
		return c, refuse(i.span, "numbers have 32 bits: shift by 31 at most")
	}
	if c.withX {
		c.value = 0
	}
	return c, nil
}
