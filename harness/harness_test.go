package harness_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/leak"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

func TestMain(m *testing.M) { harness.Main(m) }

// needProbes skips where the kernel cannot be observed; make test-suites runs these tests in a VM.
func needProbes(t *testing.T) {
	t.Helper()
	err := harness.Functions(t.Context())
	if errors.Is(err, bpf.ErrNoFunctionProbes) {
		if os.Getenv(harness.StrictEnv) == "1" {
			t.Fatal(err)
		}
		t.Skipf("make test-suites runs it in a VM: %v", err)
	}
	qt.Assert(t, qt.IsNil(err))
}

type pair struct {
	net            topology.Network
	client, server *topology.Node
}

func newPair() *pair {
	p := &pair{}
	p.client = p.net.Add(topology.Node{Name: "client"})
	p.server = p.net.Add(topology.Node{Name: "server"})
	p.net.Connect(p.client, p.server)
	return p
}

// TestPlainGoTest is the shape of a test without Ginkgo.
func TestPlainGoTest(t *testing.T) {
	needProbes(t)
	g := NewWithT(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	lab.Listen(p.server, 7)

	journey := lab.Follow(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 7})

	g.Expect(journey.Sentence()).To(Equal("delivered to a socket in namespace server"))
}

func TestMisuse(t *testing.T) {
	needProbes(t)
	for _, tc := range []struct {
		name string
		do   func(t harness.T, lab *harness.Lab, p *pair)
		want string
	}{
		{
			"sealed twice",
			func(_ harness.T, lab *harness.Lab, _ *pair) {
				trace := lab.Trace(t.Context())
				trace.Seal(t.Context())
				trace.Seal(t.Context())
			},
			"seal the trace: it was sealed already, or its lab was reset",
		},
		{
			"sealed after a reset",
			func(_ harness.T, lab *harness.Lab, _ *pair) {
				trace := lab.Trace(t.Context())
				lab.Reset()
				trace.Seal(t.Context())
			},
			"seal the trace: it was sealed already, or its lab was reset",
		},
		{
			"a misspelt function",
			func(_ harness.T, lab *harness.Lab, _ *pair) {
				lab.Trace(t.Context(), harness.TraceOptions{Functions: []string{"ip_fowrard"}})
			},
			"begin a trace: observe ip_fowrard: this kernel has no such function, or the compiler made it part of its callers; " +
				"there is ip_forward",
		},
		{
			"Of without a packet",
			func(_ harness.T, lab *harness.Lab, _ *pair) { lab.Trace(t.Context()).Seal(t.Context()).Of(nil) },
			"find the journey of a packet: nil was given instead of what Send returned",
		},
		{
			"a node of another network",
			func(_ harness.T, lab *harness.Lab, p *pair) {
				lab.Send(t.Context(), newPair().client, packet.UDP{To: p.server, DstPort: 7})
			},
			"send a packet from client: node client is not part of the running network: add it before Up",
		},
		{
			"no port",
			func(_ harness.T, lab *harness.Lab, p *pair) {
				lab.Send(t.Context(), p.client, packet.UDP{To: p.server})
			},
			`send a packet from client: .*DstPort.*`,
		},
		{
			"the same network twice",
			func(t harness.T, _ *harness.Lab, p *pair) { harness.New(t, &p.net) },
			"bring up network: it is up already: close the running one first",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair()
			err := harness.Run(func(t harness.T) { tc.do(t, harness.New(t, &p.net), p) })
			qt.Assert(t, qt.ErrorMatches(err, tc.want+"(?s:.*)"))
		})
	}
}

// TestInvalidNetwork needs no kernel: all faults are told before anything is touched.
func TestInvalidNetwork(t *testing.T) {
	var net topology.Network
	a := net.Add(topology.Node{Name: "a"})
	net.Add(topology.Node{Name: "a"})
	net.Connect(a, a)
	err := harness.Run(func(t harness.T) { harness.New(t, &net) })
	qt.Assert(t, qt.IsNotNil(err))
	qt.Check(t, qt.Equals(len(strings.Split(err.Error(), "\n")), 2), qt.Commentf("%v", err))
}

func TestRunCleansUpLastFirst(t *testing.T) {
	var order []string
	note := func(s string) func() { return func() { order = append(order, s) } }
	boom := errors.New("boom")
	err := harness.Run(func(t harness.T) {
		t.Cleanup(note("first"))
		t.Cleanup(note("second"))
		fail := func() { t.Fatalf("%v", boom) }
		fail()
		note("not reached")()
	})
	qt.Check(t, qt.ErrorIs(err, boom))
	qt.Check(t, qt.DeepEquals(order, []string{"second", "first"}))

	err = harness.Run(func(t harness.T) { t.Skipf("no %s here", "kernel") })
	qt.Check(t, qt.ErrorIs(err, harness.ErrSkipped))
	qt.Check(t, qt.ErrorMatches(err, "skipped: no kernel here"))
	qt.Check(t, qt.IsNil(harness.Run(func(harness.T) {})))
}

// TestMetadata: it is told while a trace wants it.
func TestMetadata(t *testing.T) {
	needProbes(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	for _, wanted := range []bool{true, false} {
		trace := lab.Trace(t.Context(), harness.TraceOptions{Metadata: wanted})
		sent := lab.Send(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 7, Payload: []byte("abc")})
		told := 0
		for _, e := range trace.Seal(t.Context()).Of(sent).Events {
			if e.Meta == nil {
				continue
			}
			told++
			qt.Check(t, qt.IsNotNil(e.Sharing))
			if e.Probe.Name == "ip_local_deliver" {
				qt.Check(t, qt.Equals(e.Meta.Len, uint32(20+8+3)))
			}
		}
		qt.Check(t, qt.Equals(told > 0, wanted), qt.Commentf("%d events with metadata", told))
	}
}

// TestLooksToldElsewhere: what a packet looks like may have been told at functions that another trace observes.
func TestLooksToldElsewhere(t *testing.T) {
	needProbes(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	trace := lab.Trace(t.Context(), harness.TraceOptions{WithoutMilestones: true, Functions: []string{"ip_local_deliver"}})
	sent := lab.Send(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 7, Payload: []byte("abc")})
	for _, e := range trace.Seal(t.Context()).Of(sent).Events {
		qt.Check(t, qt.Not(qt.Equals(e.Comm, "")), qt.Commentf("%s", e.Probe.Name))
		qt.Check(t, qt.IsNotNil(e.Packet), qt.Commentf("%s", e.Probe.Name))
	}
}

// TestTwoTraces: traces overlap, and each has what was sent since its own mark, at its own probes.
func TestTwoTraces(t *testing.T) {
	needProbes(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	send := func() *packet.Sent { return lab.Send(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 7}) }
	probes := func(j *journey.Journey) (names []string) {
		for _, e := range j.Events {
			names = append(names, e.Probe.Name)
		}
		return names
	}

	first := lab.Trace(t.Context(), harness.TraceOptions{Functions: []string{"ip_send_skb"}})
	before := send()
	second := lab.Trace(t.Context(), harness.TraceOptions{WithoutMilestones: true, Functions: []string{"ip_send_skb"}, Metadata: true})
	between := send()
	one := first.Seal(t.Context())
	after := send()
	other := second.Seal(t.Context())

	qt.Check(t, qt.IsNil(one.Evidence().Incomplete()))
	qt.Check(t, qt.IsNil(other.Evidence().Incomplete()))
	for _, sent := range []*packet.Sent{before, between} {
		qt.Check(t, qt.SliceContains(probes(one.Of(sent)), "ip_local_deliver"))
	}
	for _, sent := range []*packet.Sent{between, after} {
		qt.Check(t, qt.DeepEquals(probes(other.Of(sent)), []string{"ip_send_skb", "skb:kfree_skb"}))
	}
	qt.Check(t, qt.IsTrue(other.Of(between).ID == one.Of(between).ID))
	sockets := func(r *harness.Record) (cookies []uint64) {
		for _, j := range r.All() {
			if j.Origin != nil {
				cookies = append(cookies, j.Origin.SocketCookie)
			}
		}
		return cookies
	}
	qt.Check(t, qt.IsFalse(slices.Contains(sockets(one), after.Cookie)))
	qt.Check(t, qt.IsFalse(slices.Contains(sockets(other), before.Cookie)))
}

// TestLabsLeaveNothing: neither a lab that ends well nor one that ends in the middle of a trace.
func TestLabsLeaveNothing(t *testing.T) {
	needProbes(t)
	before, err := leak.Take()
	qt.Assert(t, qt.IsNil(err))
	for _, end := range []func(t harness.T){func(harness.T) {}, func(t harness.T) { t.Fatalf("in the middle") }} {
		_ = harness.Run(func(ht harness.T) {
			p := newPair()
			lab := harness.New(ht, &p.net)
			trace := lab.Trace(t.Context(), harness.TraceOptions{Functions: []string{"packet_rcv"}})
			sent := lab.Send(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 7})
			end(ht)
			trace.Seal(t.Context()).Of(sent)
		})
	}
	left, err := before.Left()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(left, 0), qt.Commentf("%s", strings.Join(left, "\n")))
}
