package filter

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// checkRefusal: whatever is wrong, it is told where and why.
func checkRefusal(t *testing.T, expression string, err error) {
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatalf("%q: %v", expression, err)
	}
	if refused.At < 0 || refused.Length < 0 || refused.At+refused.Length > len(expression) || refused.Reason == "" {
		t.Fatalf("%q: %+v", expression, refused)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 {
		t.Fatalf("%q: %d lines: %v", expression, len(lines), err)
	}
}

// FuzzCompile looks for expressions that the compiler does not survive.
func FuzzCompile(f *testing.F) {
	for _, e := range append(expressions(f), refusedExpressions...) {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		if _, err := CompilePacket(expression); err != nil {
			checkRefusal(t, expression, err)
		}
	})
}

// FuzzMeta looks for expressions that the other compiler does not survive.
func FuzzMeta(f *testing.F) {
	types := newSmallKernel(f)
	for _, e := range append(metaExpressions, refusedMeta...) {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		if _, err := CompileMeta(expression, types); err != nil {
			checkRefusal(t, expression, err)
		}
	})
}

// FuzzAgainstTcpdump looks for expressions and packets about which tcpdump says something else. Without tcpdump it compares the
// optimizer's programs with what they are made of.
func FuzzAgainstTcpdump(f *testing.F) {
	path, err := exec.LookPath("tcpdump")
	missing := err != nil
	reference := tcpdump{path}
	packets := newPacketMaker(8).frames(50)
	for i, e := range expressions(f) {
		if i%8 == 3 { // each is a call of tcpdump
			f.Add(e, packets[i%len(packets)], i%3 == 0, uint16(i))
		}
	}
	f.Fuzz(func(t *testing.T, expression string, packet []byte, ip bool, linear uint16) {
		link := Ethernet
		if ip {
			link = IP
		}
		ours, err := CompilePacket(expression)
		if err != nil || isClassic(expression) || len(packet) > 1<<16 {
			return
		}
		v := View{Data: packet[:min(len(packet), int(linear))], Len: len(packet), Link: link}
		plain, err := compilePacket(expression, func(p *program) *program { return p })
		if err != nil {
			t.Fatal(err)
		}
		if got, want := ours.Match(v), plain.Match(v); got != want && (got != NoMatch || want != Unknown) {
			t.Fatalf("%q: %v, without the optimizer %v", expression, got, want)
		}
		if missing || ip && aboutLink(expression) {
			return
		}
		v = View{Data: packet, Link: link}
		if err := reference.disagrees(expression, v, ours.Match(v)); err != nil {
			t.Fatal(err)
		}
	})
}

// disagrees is nil if tcpdump refuses the expression, or says the same, with its optimizer or without.
func (t tcpdump) disagrees(expression string, v View, got Verdict) error {
	var wants []Verdict
	for _, more := range [][]string{nil, {"-O"}} {
		text, err := t.compile(v.Link, expression, more...)
		var r refused
		switch {
		case errors.As(err, &r) && r == neverTrue:
			wants = append(wants, NoMatch)
		case errors.As(err, &r):
			return nil
		case err != nil:
			return err
		default:
			vm, err := machineOf(text)
			if err != nil {
				return err
			}
			want, err := answer(vm, v.Data)
			if err != nil {
				return err
			}
			wants = append(wants, want)
		}
		if wants[len(wants)-1] == got {
			return nil
		}
	}
	return fmt.Errorf("%q: %v, tcpdump says %v of %x", expression, got, wants, v.Data)
}

// FuzzClassic compares programs of classic BPF with golang.org/x/net/bpf: what it refuses, and what it says of a packet.
func FuzzClassic(f *testing.F) {
	packet := newPacketMaker(9).frame()
	f.Add([]byte{0x28, 0, 0, 12, 0x15, 0, 1, 8, 0x06, 0, 0, 1, 0x06, 0, 0, 0}, packet)
	f.Add([]byte{0xb1, 0, 0, 14, 0x48, 0, 0, 16, 0x02, 0, 0, 3, 0x16, 0, 0, 0}, packet)
	f.Add([]byte{0x80, 0, 0, 0, 0x74, 0, 0, 3, 0x07, 0, 0, 0, 0x3c, 0, 0, 0, 0x16, 0, 0, 0}, packet)
	f.Fuzz(func(t *testing.T, code, packet []byte) {
		var raw []bpf.RawInstruction
		text := &strings.Builder{}
		fmt.Fprintf(text, "%d\n", len(code)/4)
		for i := 0; i+4 <= len(code); i += 4 {
			if code[i] == 0x81 {
				return // X = length, which golang.org/x/net/bpf takes for A = length
			}
			raw = append(raw, bpf.RawInstruction{Op: uint16(code[i]), Jt: code[i+1], Jf: code[i+2], K: uint32(code[i+3])})
			fmt.Fprintf(text, "%d %d %d %d\n", code[i], code[i+1], code[i+2], code[i+3])
		}
		ours, err := CompileClassic(text.String(), Ethernet)
		if err != nil {
			checkRefusal(t, text.String(), err)
			return
		}
		program, all := bpf.Disassemble(withoutNegation(raw))
		if !all {
			t.Fatalf("an instruction that has no meaning is accepted:\n%s", text)
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			return // it is stricter about the end of the program
		}
		want, err := answer(vm, packet)
		if err != nil {
			return // it has no negation
		}
		if got := ours.Match(View{Data: packet, Link: Ethernet}); got != want {
			t.Fatalf("%v, golang.org/x/net/bpf says %v of %x by\n%s", got, want, packet, text)
		}
	})
}
