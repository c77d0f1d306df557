package filter

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// smallKernel has the types of testdata/kernel.bpf.c, and a module.
type smallKernel struct{ kernel, module *btf.Spec }

func (s smallKernel) Kernel() (*btf.Spec, error) { return s.kernel, nil }
func (s smallKernel) Modules() ([]string, error) { return []string{"gone", "conntrack"}, nil }
func (s smallKernel) Module(name string) (*btf.Spec, error) {
	if name == "gone" {
		return nil, fs.ErrNotExist
	}
	return s.module, nil
}

func newSmallKernel(tb testing.TB) smallKernel {
	spec, err := loadKernel()
	qt.Assert(tb, qt.IsNil(err))
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	builder, err := btf.NewBuilder([]btf.Type{
		&btf.Struct{Name: "elsewhere", Size: 8, Members: []btf.Member{
			{Name: "first", Type: number}, {Name: "second", Type: number, Offset: 32},
		}},
		&btf.Struct{Name: "only_in_module", Size: 4, Members: []btf.Member{{Name: "mark", Type: number}}},
	}, nil)
	qt.Assert(tb, qt.IsNil(err))
	raw, err := builder.Marshal(nil, nil)
	qt.Assert(tb, qt.IsNil(err))
	module, err := btf.LoadSpecFromReader(strings.NewReader(string(raw)))
	qt.Assert(tb, qt.IsNil(err))
	return smallKernel{spec.Types, module}
}

// metaExpressions are decided in C as well, by expected in testdata/kernel.bpf.c, in this order.
var metaExpressions = []string{
	"sk_buff.mark < 0x40000000",
	"sk_buff.cloned",
	"sk_buff.nohdr != 0",
	"sk_buff.fclone == 2",
	"sk_buff.pkt_type >= 0b100",
	"sk_buff.cold < -3",
	"sk_buff.cold >= 7",
	"sk_buff.wide > 300000",
	"sk_buff.wide:0x7 == 5",
	"sk_buff.protocol == 0x0800",
	"sk_buff.delta <= -100",
	"sk_buff.delta > 1000",
	"sk_buff.tstamp < 0",
	"sk_buff.tstamp >= -4611686018427387904",
	"sk_buff.tiny == -1",
	"sk_buff.flag",
	"sk_buff.colour == GREEN",
	"sk_buff.colour == NO_COLOUR",
	"sk_buff.colour == RED",
	"sk_buff.mark:0xff00 >= 0x8000",
	"sk_buff.mark:~0xff != 0x100",
	"sk_buff.head",
	"sk_buff._nfct:7 == 2",
	"sk_buff.mark < 0x40000000 or sk_buff.cloned and sk_buff.nohdr",
	"(sk_buff.mark < 0x40000000 || sk_buff.cloned) && !sk_buff.nohdr",
	"not (sk_buff.cloned or sk_buff.nohdr)",
	"sk_buff.cb == 'ab'",
	"sk_buff.dev_scratch == 0",
	"sk_buff.dev.ifindex < 0",
	`sk_buff.dev.name == "e0"`,
	`sk_buff.dev.name != "e0"`,
	"sk_buff.dev.ifindex:0xf == 3",
	"sk_buff.dev.nd_net.net.ns.inum > 0x80000000",
	"sk_buff.dev.nd_net.net.ns.inum > 0x80000000 and sk_buff.cloned",
	"not sk_buff.dev.nd_net.net.ns.inum > 0x80000000",
	`sk_buff.dev.ifalias == "up"`,
	"sk_buff._nfct:~0x7:nf_conn.mark > 0x80000000",
}

// Where the test puts what the sk_buff points to.
const (
	atDevice = 512
	atNet    = 1024
	atConn   = 1536
	atAlias  = 2048
)

// TestMeta compares filters with what C makes of the same conditions, on an sk_buff and what it leads to of random bytes, with
// addresses that are right, zero, or wrong.
func TestMeta(t *testing.T) {
	k := newKernelTest(t)
	types := newSmallKernel(t)
	var programs, references []*ebpf.Program
	for i, e := range metaExpressions {
		f, err := CompileMeta(e, types)
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", e))
		programs = append(programs, k.mustLoad("ask_meta", f))
		qt.Assert(t, qt.IsNil(k.spec.Variables["question"].Set(uint32(i))))
		references = append(references, k.mustLoad("expect"))
	}
	var s kernelSubject
	k.put(s)
	k.ask(programs[0])
	qt.Assert(t, qt.IsNil(k.subjects.Lookup(uint32(0), &s)))
	image := newImage(t, types.kernel, s.Itself)
	count := make([]map[Verdict]int, len(programs))
	for range 400 {
		image.fill(s.Data[:])
		k.put(s)
		for i, e := range metaExpressions {
			got, want := k.ask(programs[i]), k.ask(references[i])
			if count[i] == nil {
				count[i] = make(map[Verdict]int)
			}
			count[i][want]++
			qt.Assert(t, qt.Equals(got, want), qt.Commentf("%s of\n%x", e, s.Data[:256]))
		}
	}
	for i, e := range metaExpressions {
		qt.Check(t, qt.IsTrue(count[i][Match] > 3 && count[i][NoMatch] > 3), qt.Commentf("%s: %v", e, count[i]))
		if i >= 28 {
			qt.Check(t, qt.IsTrue(count[i][Unknown] > 3), qt.Commentf("%s: %v", e, count[i]))
		}
	}
}

// image makes bytes that may be an sk_buff, with fields that take few values now and then.
type image struct {
	*rand.Rand
	testing.TB
	sk, dev, net *btf.Struct
	base         uint64
}

func newImage(tb testing.TB, types *btf.Spec, base uint64) *image {
	m := &image{Rand: rand.New(rand.NewPCG(1, 2)), TB: tb, base: base}
	qt.Assert(tb, qt.IsNil(types.TypeByName("sk_buff", &m.sk)))
	qt.Assert(tb, qt.IsNil(types.TypeByName("net_device", &m.dev)))
	qt.Assert(tb, qt.IsNil(types.TypeByName("net", &m.net)))
	return m
}

// at is where a field is.
func (m *image) at(of btf.Type, name string) int {
	f, err := findField(of, metaStep{name: name})
	qt.Assert(m, qt.IsNil(err))
	return int(f.offset.Bytes())
}

func (m *image) fill(data []byte) {
	for i := range data[:4096] {
		data[i] = byte(m.Uint32())
	}
	field := func(name string) []byte { return data[m.at(m.sk, name):] }
	m.address(field("dev"), atDevice)
	m.address(field("_nfct"), atConn|uint64(m.IntN(8)))
	m.address(field("head"), 0)
	if m.IntN(2) == 0 {
		copy(field("cb"), pickString(m, "ab\x00", "ab", "abc\x00", "a\x00", "\x00"))
		binary.LittleEndian.PutUint32(field("colour"), []uint32{0, 5, 0xfffffffd}[m.IntN(3)])
		binary.LittleEndian.PutUint16(field("protocol"), []uint16{0x0800, 0x0008, 0x86dd}[m.IntN(3)])
		binary.LittleEndian.PutUint32(field("mark"), []uint32{0x100, 0x1ff, 0x200, 0x80ff}[m.IntN(4)])
		field("tiny")[0] = 0xff
	}
	field("flag")[0] = byte(m.IntN(2)) // what else is in a bool means nothing
	copy(data[atDevice+m.at(m.dev, "name"):], pickString(m, "e0\x00", "e0x\x00", "e\x00", "e1\x00"))
	m.address(data[atDevice+m.at(m.dev, "nd_net"):], atNet)
	m.address(data[atDevice+m.at(m.dev, "ifalias"):], atAlias)
	copy(data[atAlias:], pickString(m, "up\x00", "up\x00", "upper\x00", "u\x00", "\x00"))
}

func pickString(m *image, from ...string) string { return from[m.IntN(len(from))] }

// address writes one that is right, zero or wrong.
func (m *image) address(to []byte, offset uint64) {
	address := m.base + offset
	switch m.IntN(8) {
	case 0:
		address = 0
	case 1:
		address = 0x1000 + offset // nothing of the kernel's is there
	}
	binary.LittleEndian.PutUint64(to, address)
}

// refusedMeta are wrong in all the ways that the texts are for.
var refusedMeta = []string{
	"", "sk_buff", "skb.mark", "mark == 1", "sk_buff.", "sk_buff.5", "sk_buff.mark =", "sk_buff.mark = 5", "sk_buff.mark ==",
	"sk_buff.mark == == 5", "sk_buff.mark 5", "sk_buff.mark == 5 sk_buff.mark", "sk_buff.mark and", "(sk_buff.mark",
	"sk_buff.mark)",
	"sk_buff.mark == 'x", "sk_buff.mark == $5", "sk_buff.mark == 0xg", "sk_buff.mark == 0b2",
	"sk_buff.mark == 18446744073709551616",
	"sk_buff.marc == 5", "sk_buff.dev.nam == 'x'", "sk_buff.dev.nd_net.net.ns.in == 5", "sk_buff.wrong",
	"sk_buff.mark.x", "sk_buff.head.x", "sk_buff.numbers", "sk_buff.numbers.x", "sk_buff.ratio", "sk_buff.dev.nd_net",
	"sk_buff.dev.nd_net.net.ns", "sk_buff.destructor.x", "sk_buff._nfct.mark", "sk_buff._nfct:~7:nf_con.mark",
	"sk_buff._nfct:~7:nf_conn",
	"sk_buff.mark:nf_conn.mark", "sk_buff.cloned:nf_conn.mark", "sk_buff.dev:~1:nf_conn.marc", "sk_buff._nfct:~",
	"sk_buff._nfct:1:2",
	"sk_buff._nfct:nf_conn:7", "sk_buff.mark == 'x'", "sk_buff.dev == 'eth0'", "sk_buff.dev.name == 5", "sk_buff.dev.name",
	"sk_buff.dev.name > 'eth0'", "sk_buff.dev.name == 'more than sixteen'", "sk_buff.dev.name == eth0", "sk_buff.cloned == 'x'",
	"sk_buff.protocol == 65536", "sk_buff.cloned == 2", "sk_buff.mark == -1", "sk_buff.delta == 40000",
	"sk_buff.delta == -40000",
	"sk_buff.cold > 16", "sk_buff.colour == BLUE", "sk_buff.mark == GREEN", "sk_buff.mark:0", "sk_buff.protocol:0x10000",
	"sk_buff.mark:0xf0 == 1", "sk_buff.mark:~0xffffffff", "sk_buff.dev.name:5 == 'x'", "sk_buff.dev.nd_net:5.net",
	"sk_buff.owner.third",
	strings.Repeat("(", 300) + "sk_buff.mark",
}

// TestMetaRefusals keeps the texts that users read.
func TestMetaRefusals(t *testing.T) {
	types := newSmallKernel(t)
	var b strings.Builder
	for _, e := range refusedMeta {
		_, err := CompileMeta(e, types)
		var refused *Error
		if !errors.As(err, &refused) {
			t.Errorf("%q: %v", e, err)
			continue
		}
		b.WriteString(err.Error() + "\n\n")
	}
	golden.Check(t, "meta-refusals.txt", b.String())
	for _, e := range []string{"sk_buff.owner.second == 5", "sk_buff.head:only_in_module.mark"} {
		_, err := CompileMeta(e, types)
		qt.Check(t, qt.IsNil(err), qt.Commentf("%s: a module knows the type", e))
	}
}
