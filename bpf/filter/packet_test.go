package filter

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
)

func mustCompile(tb testing.TB, expression string) *Packet {
	tb.Helper()
	f, err := CompilePacket(expression)
	qt.Assert(tb, qt.IsNil(err))
	return f
}

// TestOptimizer compares what the optimizer makes of a program with the program, on whole packets and on ones of which only the
// beginning can be read. It may know an answer where the program does not, and nothing else.
func TestOptimizer(t *testing.T) {
	m := newPacketMaker(4)
	var views []View
	for n, frame := range m.frames(400) {
		v := View{Data: frame, Link: Ethernet, Tagged: n%5 == 0, TCI: pick(m, vlans...)}
		if n%2 == 0 {
			v.Data = withoutLink([][]byte{frame})[0]
			v.Link = IP
		}
		v.Len = len(v.Data)
		views = append(views, v)
		v.Data = v.Data[:m.IntN(len(v.Data)+1)]
		views = append(views, v)
	}
	same := func(p *program) *program { return p }
	better := 0
	for _, e := range append(expressions(t), newExpressionMaker(4).expressions(300)...) {
		plain, err := compilePacket(e, same)
		if err != nil {
			continue
		}
		optimized := mustCompile(t, e)
		for _, v := range views {
			got, want := optimized.Match(v), plain.Match(v)
			if got == NoMatch && want == Unknown {
				better++
				continue
			}
			qt.Assert(t, qt.Equals(got, want), qt.Commentf("%s\n%+v", e, v))
		}
	}
	t.Logf("%d more answers", better)
}

// TestOptimizerPays: programs become about as short as those of tcpdump, or they would cost more than they need to.
func TestOptimizerPays(t *testing.T) {
	for _, test := range []struct {
		expression   string
		instructions int // of classic BPF, with decisions
	}{
		{"ip", 2},
		{"tcp", 10},
		{"port 80", 22},
		{"host 10.0.0.1 or host 10.0.0.2", 20},
		{"ip and ip6", 0},
		{"tcp port 80 or tcp port 443", 26},
		{"ip[0] = 0x45 and ip[0] = 0x45", 4},
	} {
		n := 0
		for _, b := range mustCompile(t, test.expression).programs[0].order() {
			n += len(b.code)
			if b.test.comparison != always {
				n++
			}
		}
		qt.Check(t, qt.Equals(n, test.instructions), qt.Commentf("%s", test.expression))
	}
}

// TestWithoutLink: what is about the header of a link degrades by itself where there is none.
func TestWithoutLink(t *testing.T) {
	m := newPacketMaker(5)
	packet := m.serialize(m.over4(0))
	for _, test := range []struct {
		expression string
		want       Verdict
	}{
		{"ip", Match},
		{"arp", NoMatch},
		{"not arp", Match},
		{"ether host 02:00:00:00:00:01", NoMatch},
		{"not ether host 02:00:00:00:00:01", Match},
		{"ether host 02:00:00:00:00:01 or ip", Match},
		{"broadcast or multicast", NoMatch},
		{"ether[0] = 0x45", NoMatch}, // the header of IP is none of Ethernet
		{"ether[0] != 0x45", NoMatch},
		{"not ether[0] = 0x45", Match},
		{"ip[0] & 0xf0 = ether[0] & 0xf0", NoMatch},
		{"ether proto 0x800", Match},
		{"ether proto 0x86dd", NoMatch},
		{"vlan", NoMatch},
		{"not vlan and ip", Match},
		{"vlan or ip", Match},
		{"mpls or ip", Match},
		{"pppoes or ip", Match},
		{"llc or stp or iso", NoMatch},
		{"less 10000", Match},
	} {
		got := mustCompile(t, test.expression).Match(View{Data: packet, Link: IP})
		qt.Check(t, qt.Equals(got, test.want), qt.Commentf("%s", test.expression))
	}
	qt.Check(t, qt.Equals(mustCompile(t, "ip").Match(View{Data: packet}), Unknown), qt.Commentf("it begins with nothing known"))
}

// TestTagBesideData: the kernel keeps the outermost tag beside the data, where vlan finds it too, and what is behind is not
// moved.
func TestTagBesideData(t *testing.T) {
	m := newPacketMaker(6)
	frame := m.frameOf(m.over4(0))
	inner := slices.Concat(frame[:12], []byte{0x81, 0x00, 0x00, 200}, frame[12:])
	for _, test := range []struct {
		expression string
		data       []byte
		want       Verdict
	}{
		{"vlan", frame, Match},
		{"vlan 100", frame, Match},
		{"vlan 101", frame, NoMatch},
		{"not vlan 100", frame, NoMatch},
		{"vlan and ip", frame, Match},
		{"vlan 100 and ip", frame, Match},
		{"not vlan 5 and ip", frame, Match},
		{"ip", frame, Match},
		{"ip and vlan 100", frame, Match},
		{"vlan and vlan", frame, NoMatch},
		{"vlan 100 and vlan 200", inner, Match},
		{"vlan 200 and vlan 100", inner, NoMatch},
		{"vlan 100 and vlan 200 and ip", inner, Match},
		{"vlan 100 and ip", inner, NoMatch},
		{"ether proto 0x8100", frame, NoMatch}, // it is not in the data
		{"ether proto 0x8100", inner, Match},
	} {
		f := mustCompile(t, test.expression)
		got := f.Match(View{Data: test.data, Link: Ethernet, Tagged: true, TCI: 100 | 0xe000})
		qt.Check(t, qt.Equals(got, test.want), qt.Commentf("%s", test.expression))
	}
	withoutLink := View{Data: frame[14:], Link: IP, Tagged: true, TCI: 100}
	qt.Check(t, qt.Equals(mustCompile(t, "vlan 100 and ip").Match(withoutLink), Match))
	qt.Check(t, qt.Equals(mustCompile(t, "vlan and vlan").Match(withoutLink), NoMatch))
}

// TestUnknown: a byte that is in the packet and not here is not one that is missing.
func TestUnknown(t *testing.T) {
	m := newPacketMaker(7)
	frame := m.frameOf(m.over4(0))
	for _, test := range []struct {
		expression string
		linear     int
		want       Verdict
	}{
		{"ip", 14, Match},
		{"ip", 13, Unknown},
		{"not ip", 13, Unknown},
		{"ip and ip[8] = 1 and arp", 14, NoMatch}, // whatever it is
		{"arp and arp[6:2] = 1", 14, NoMatch},
		{"ip or arp[6:2] = 1", 14, Match},
		{"len > 10", 0, Match},
		{"ip[2000] = 0", 14, NoMatch}, // no such byte
	} {
		got := mustCompile(t, test.expression).Match(View{Data: frame[:test.linear], Len: len(frame), Link: Ethernet})
		qt.Check(t, qt.Equals(got, test.want), qt.Commentf("%s of %d bytes", test.expression, test.linear))
	}
}

// TestInject: what the kernel and the loader need to know of the function stays, and the functions around it are as they were.
func TestInject(t *testing.T) {
	spec, err := loadKernel()
	qt.Assert(t, qt.IsNil(err))
	f := mustCompile(t, "tcp port 80")
	program := spec.Programs["trace"]
	before := slices.Clone(program.Instructions)
	begin := slices.IndexFunc(before, func(i asm.Instruction) bool { return i.Symbol() == packetFunction })
	length := 1 + slices.IndexFunc(before[begin+1:], func(i asm.Instruction) bool { return i.Symbol() != "" })
	qt.Assert(t, qt.IsTrue(f.Inject(program)))

	functions := func(code asm.Instructions) (names []string) {
		for _, i := range code {
			if f := btf.FuncMetadata(&i); f != nil {
				qt.Check(t, qt.Equals(i.Symbol(), f.Name))
				qt.Check(t, qt.IsNotNil(i.Source()))
				names = append(names, f.Name)
			}
		}
		return names
	}
	qt.Check(t, qt.DeepEquals(functions(program.Instructions), functions(before)))
	qt.Check(t, qt.Equals(len(program.Instructions), len(before)-length+len(f.code)))
	qt.Check(t, qt.Equals(before[0].OpCode, program.Instructions[0].OpCode))

	without := &ebpf.ProgramSpec{Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol("other"), asm.Return()}}
	qt.Check(t, qt.IsFalse(f.Inject(without)))
	qt.Check(t, qt.Equals(len(without.Instructions), 2))
}

// TestInputLayout holds the offsets that instructions are made with to the definition in filter.h.
func TestInputLayout(t *testing.T) {
	spec, err := loadKernel()
	qt.Assert(t, qt.IsNil(err))
	var input *btf.Struct
	qt.Assert(t, qt.IsNil(spec.Types.TypeByName("filter_input", &input)))
	offsets := map[string]uint32{}
	for _, m := range input.Members {
		offsets[m.Name] = m.Offset.Bytes()
	}
	qt.Check(t, qt.DeepEquals(offsets, map[string]uint32{
		"skb": inputSkb, "start": 8, "shared": 16, "linear": 24, "skip": 28, "len": inputLen, "vlan_tci": inputTCI,
		"vlan": inputVLAN, "link": inputLink, "have": inputHave, "pad": inputHave + 4, "walk": 48, "snapshot": inputSnapshot,
	}))
	qt.Check(t, qt.Equals(int(input.Size), inputSnapshot+snapshotBytes))
	qt.Check(t, qt.Equals(kernelFilterVerdictFILTER_MATCH, kernelFilterVerdict(Match)))
	qt.Check(t, qt.Equals(kernelFilterVerdictFILTER_NO_MATCH, kernelFilterVerdict(NoMatch)))
	qt.Check(t, qt.Equals(kernelFilterVerdictFILTER_UNKNOWN, kernelFilterVerdict(Unknown)))
	qt.Check(t, qt.Equals(kernelFilterLinkFILTER_ETHERNET, kernelFilterLink(Ethernet)))
	qt.Check(t, qt.Equals(kernelFilterLinkFILTER_IP, kernelFilterLink(IP)))
}
