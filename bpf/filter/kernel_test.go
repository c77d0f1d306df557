package filter

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/go-quicktest/qt"
)

// kernelTest holds the programs of testdata/kernel.bpf.c, one for each filter, and the map that they look at.
type kernelTest struct {
	testing.TB
	spec     *ebpf.CollectionSpec
	subjects *ebpf.Map
}

// needRoot skips the test without root, except in CI, which must have it.
func needRoot(tb testing.TB) {
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		tb.Fatal("needs root, and CI must run this test")
	}
	tb.Skip("needs root")
}

func newKernelTest(tb testing.TB) *kernelTest {
	needRoot(tb)
	spec, err := loadKernel()
	qt.Assert(tb, qt.IsNil(err))
	subjects, err := ebpf.NewMap(spec.Maps["subjects"])
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { _ = subjects.Close() })
	return &kernelTest{TB: tb, spec: spec, subjects: subjects}
}

type injector interface {
	Inject(program *ebpf.ProgramSpec) bool
}

// load loads one of the programs with filters in it.
func (k *kernelTest) load(name string, filters ...injector) (*ebpf.Program, error) {
	spec := k.spec.Copy()
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	for _, f := range filters {
		qt.Assert(k, qt.IsTrue(f.Inject(spec.Programs[name])))
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{"subjects": k.subjects},
	})
	if err != nil {
		return nil, err
	}
	program := collection.DetachProgram(name)
	collection.Close()
	k.Cleanup(func() { _ = program.Close() })
	return program, nil
}

func (k *kernelTest) mustLoad(name string, filters ...injector) *ebpf.Program {
	program, err := k.load(name, filters...)
	qt.Assert(k, qt.IsNil(err), qt.Commentf("%v\n%+v", filters, err))
	return program
}

// show puts a packet where programs look for it.
func (k *kernelTest) show(v View) {
	s := kernelSubject{Linear: uint32(len(v.Data)), Len: uint32(max(v.Len, len(v.Data))), VlanTci: v.TCI, Link: uint8(v.Link)}
	if v.Tagged {
		s.Vlan = 1
	}
	copy(s.Data[:], v.Data)
	for i := len(v.Data); i < len(s.Data); i++ {
		s.Data[i] = 0xa5 // what is behind the packet must not be looked at
	}
	k.put(s)
}

func (k *kernelTest) put(s kernelSubject) { qt.Assert(k, qt.IsNil(k.subjects.Put(uint32(0), s))) }

// noPacket is what test runs need at least.
var noPacket = make([]byte, 14)

func (k *kernelTest) ask(program *ebpf.Program) Verdict {
	result, err := program.Run(&ebpf.RunOptions{Data: noPacket})
	qt.Assert(k, qt.IsNil(err))
	return Verdict(result)
}

// TestKernelAgrees runs the instructions that are injected, on packets that are read as the tracker reads them, and compares
// with the evaluator: on whole packets and on ones of which only the beginning is in one piece, with and without a tag beside
// the data.
func TestKernelAgrees(t *testing.T) {
	k := newKernelTest(t)
	var filters []*Packet
	var programs []*ebpf.Program
	written := expressions(t)
	var chosen []string
	for i := 0; i < len(written); i += 5 {
		chosen = append(chosen, written[i])
	}
	for _, e := range append(chosen, newExpressionMaker(2).expressions(40)...) {
		f, err := CompilePacket(e)
		if err != nil {
			continue // what is refused is compared with tcpdump
		}
		filters = append(filters, f)
		programs = append(programs, k.mustLoad("ask_packet", f))
	}
	maker := newExpressionMaker(6)
	for range 100 {
		f, err := CompileClassic(maker.classic(), Ethernet)
		qt.Assert(t, qt.IsNil(err))
		filters = append(filters, f)
		programs = append(programs, k.mustLoad("ask_packet", f))
	}
	t.Logf("%d filters", len(filters))
	qt.Assert(t, qt.IsTrue(len(filters) > 200))

	m := newPacketMaker(2)
	count := map[Verdict]int{}
	for n, frame := range m.frames(500) {
		v := View{Data: frame, Link: Ethernet}
		if n%3 == 0 {
			v = View{Data: withoutLink([][]byte{frame})[0], Link: IP}
		}
		if n%5 == 0 {
			v.Len, v.Data = len(v.Data), v.Data[:m.IntN(len(v.Data)+1)]
		}
		if n%7 == 0 {
			v.Tagged, v.TCI = true, pick(m, vlans...)|0x6000
		}
		k.show(v)
		for i, f := range filters {
			want := f.Match(v)
			count[want]++
			if got := k.ask(programs[i]); got != want {
				t.Errorf("%s\nthe kernel says %v, the evaluator %v of %+v", f, got, want, v)
			}
		}
	}
	t.Log(count)
	for _, v := range []Verdict{NoMatch, Match, Unknown} {
		qt.Check(t, qt.IsTrue(count[v] > 1000), qt.Commentf("%v: %d", v, count[v]))
	}
}

// TestKernelCannotRead: what cannot be read is unknown, and not a packet of zeros.
func TestKernelCannotRead(t *testing.T) {
	k := newKernelTest(t)
	for _, e := range []string{"tcp port 80", "not tcp", "ip[300] = 0", "not ip[300] = 0"} {
		f, err := CompilePacket(e)
		qt.Assert(t, qt.IsNil(err))
		program := k.mustLoad("ask_packet", f)
		k.put(kernelSubject{Start: 1, Linear: 1000, Len: 1000, Link: uint8(Ethernet)})
		qt.Check(t, qt.Equals(k.ask(program), Unknown), qt.Commentf("%s", e))
	}
	f, err := CompilePacket("less 100")
	qt.Assert(t, qt.IsNil(err))
	program := k.mustLoad("ask_packet", f)
	k.put(kernelSubject{Start: 1, Linear: 10, Len: 10, Link: uint8(Ethernet)})
	qt.Check(t, qt.Equals(k.ask(program), Match), qt.Commentf("what need not be read decides"))
	k.put(kernelSubject{Linear: 10, Len: 10, Link: 0})
	qt.Check(t, qt.Equals(k.ask(program), Unknown), qt.Commentf("a packet that begins with nothing known"))
}

// benchmarked are filters from the shortest to long ones.
var benchmarked = []string{
	"", "arp", "udp port 53", "tcp port 80", "port 80", "host 10.0.0.1", "host 10.0.0.1 and tcp port 80", "ip6 and udp port 53",
	"tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn and dst port 22",
	"tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
	"vlan 100 and tcp port 80", "geneve 77 and tcp", "ip[130] >= 0",
	"(tcp port 80 or 443 or 8080 or udp port 53 or icmp or icmp6) and not host 10.0.0.9 and not net 172.16.0.0/12",
	"host 192.168.0.1 or 192.168.0.2 or 192.168.0.3 or 192.168.0.4 or 192.168.0.5 or 192.168.0.6 or 192.168.0.7 or 10.0.0.1",
}

// BenchmarkKernel measures what a filter costs the kernel for one packet, by the kernel's own clock: what asking it about a
// packet that matches takes longer than asking nothing. The figure is the median of many rounds.
func BenchmarkKernel(b *testing.B) {
	k := newKernelTest(b)
	nothing := k.mustLoad("ask_nothing")
	frames := newPacketMaker(3).frames(20_000)
	for _, e := range benchmarked {
		f := mustCompile(b, e)
		match := slices.IndexFunc(frames, func(frame []byte) bool { return f.Match(View{Data: frame, Link: Ethernet}) == Match })
		qt.Assert(b, qt.IsTrue(match >= 0), qt.Commentf("%s", e))
		b.Run(fmt.Sprintf("%q", e), func(b *testing.B) {
			k.benchmark(b, k.mustLoad("ask_packet", f), nothing, func() { k.show(View{Data: frames[match], Link: Ethernet}) })
		})
	}
	f, err := CompileMeta(`sk_buff.dev.name == "lo" and sk_buff.mark:0xff == 7`, newSmallKernel(b))
	qt.Assert(b, qt.IsNil(err))
	b.Run(f.String(), func(b *testing.B) {
		image := newImage(b, newSmallKernel(b).kernel, 0)
		k.benchmark(b, k.mustLoad("ask_meta", f), nothing, func() {
			var s kernelSubject
			k.put(s)
			k.ask(nothing)
			qt.Assert(b, qt.IsNil(k.subjects.Lookup(uint32(0), &s)))
			binary.LittleEndian.PutUint64(s.Data[image.at(image.sk, "dev"):], s.Itself+atDevice)
			copy(s.Data[atDevice:], "lo")
			s.Data[image.at(image.sk, "mark")] = 7
			k.put(s)
		})
	})
}

// benchmark compares two programs. Rounds of both take turns.
func (k *kernelTest) benchmark(b *testing.B, program, nothing *ebpf.Program, prepare func()) {
	prepare()
	qt.Assert(b, qt.Equals(k.ask(program), Match))
	const repeat = 100_000
	var costs []float64
	for b.Loop() {
		_, base, err := nothing.Benchmark(noPacket, repeat, func() {})
		qt.Assert(b, qt.IsNil(err))
		_, cost, err := program.Benchmark(noPacket, repeat, func() {})
		qt.Assert(b, qt.IsNil(err))
		costs = append(costs, float64(cost-base))
	}
	slices.Sort(costs)
	b.ReportMetric(costs[len(costs)/2], "ns/packet")
	b.ReportMetric(0, "ns/op") // of a round, which means nothing
}
