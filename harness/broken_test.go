package harness

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// These tests break the chain from the kernel to an assertion, one link at a time. Each time the answer must be that the record
// cannot tell, and why: not that nothing happened.

// trial is a lab on an observatory of which something is to be broken.
type trial struct {
	*observatory
	lab            *Lab
	client, server *topology.Node
}

// onObservatory makes a lab on an observatory. It skips where functions cannot be observed.
func onObservatory(t *testing.T, o *observatory) *trial {
	t.Helper()
	x := &trial{observatory: o}
	var net topology.Network
	x.client, x.server = net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
	net.Connect(x.client, x.server)
	x.lab = newOn(t, &net, o)
	return x
}

// onShared is that of the process, which is to be whole again when the test ends.
func onShared(t *testing.T) *trial {
	t.Helper()
	if err := Functions(t.Context()); errors.Is(err, bpf.ErrNoFunctionProbes) || errors.Is(err, bpf.ErrNoBTF) {
		if os.Getenv(StrictEnv) == "1" {
			t.Fatal(err)
		}
		t.Skipf("make test-suites runs it in a VM: %v", err)
	}
	o, err := openShared(t.Context())
	qt.Assert(t, qt.IsNil(err))
	return onObservatory(t, o)
}

// failure is what a test ends with that does something with the lab.
func (x *trial) failure(f func()) error {
	return Run(func(t T) {
		defer func(its T) { x.lab.t = its }(x.lab.t)
		x.lab.t = t
		f()
	})
}

func (x *trial) send(t *testing.T) *packet.Sent {
	t.Helper()
	return x.lab.Send(t.Context(), x.client, packet.UDP{To: x.server, DstPort: 7})
}

// inconclusiveBecause checks that a matcher cannot tell, whichever way it is asked.
func inconclusiveBecause(t *testing.T, j *journey.Journey, cause string) {
	t.Helper()
	ok, err := assert.Reach(journey.Forward).Match(j)
	qt.Check(t, qt.IsFalse(ok))
	qt.Assert(t, qt.ErrorIs(err, journey.ErrInconclusive))
	text := strings.Join(strings.Fields(err.Error()), " ") // lines are broken
	qt.Check(t, qt.Matches(text, "INCONCLUSIVE: .*"+cause+".*"))
}

// TestCanaryUnjudged: the rule that judges the canary is gone, and with it perhaps the switch for all verdicts.
func TestCanaryUnjudged(t *testing.T) {
	x := onShared(t)
	nft := func(text string) {
		qt.Check(t, qt.IsNil(x.canary.running.LoadNFT(context.Background(), x.node, text)))
	}
	nft("flush ruleset")
	t.Cleanup(func() { nft(canaryRules) })
	err := x.failure(func() { x.lab.Trace(t.Context()) })
	qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive))
	qt.Check(t, qt.ErrorMatches(err, "INCONCLUSIVE: begin a trace: the tracker does not see its own canary packet as it should on "+
		`this kernel: it was to be seen at \[ip_local_deliver __nft_trace_packet skb:kfree_skb\] and dropped, and was seen at `+
		`\[ip_local_deliver skb:kfree_skb\] and dropped in namespace canary on lo, .*`))
}

// TestCanaryUnseen: the canary's namespace is not observed any more, as if nothing was.
func TestCanaryUnseen(t *testing.T) {
	x := onShared(t)
	nobody, err := x.tracker.Watch(nil)
	qt.Assert(t, qt.IsNil(err))
	its := x.canary.scope
	x.canary.scope = nobody
	t.Cleanup(func() {
		x.canary.scope = its
		qt.Check(t, qt.IsNil(nobody.Close()))
	})
	err = x.failure(func() { x.lab.Trace(t.Context()) })
	qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive))
	qt.Check(t, qt.ErrorMatches(err, "INCONCLUSIVE: begin a trace: the tracker does not see its own canary packet: find the journey of "+
		"UDP .*: no packet at all was seen since the mark"))
}

// TestRingAndReader has a small ring that overflows, and then nobody who reads it.
func TestRingAndReader(t *testing.T) {
	onShared(t)
	o := &observatory{ringBytes: 16 * os.Getpagesize()}
	qt.Assert(t, qt.IsNil(o.open(t.Context())))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(o.close())) })
	x := onObservatory(t, o)

	trace := x.lab.Trace(t.Context())
	first := x.send(t)
	trace.collector.mu.Lock() // the reader stops at the next record
	for range 100 {
		x.send(t)
	}
	trace.collector.mu.Unlock()
	trace.patience = 0 // a packet whose end was lost does not come to rest
	err := x.failure(func() { x.lab.Settle(t.Context()) })
	qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive))
	qt.Check(t, qt.ErrorMatches(err, `INCONCLUSIVE: settle the lab: .*records lost: the ring buffer was full \(\d+ times?\).*`))
	j := trace.Seal(t.Context()).Of(first)
	inconclusiveBecause(t, j, `records lost: the ring buffer was full \(\d+ times?\)`)

	trace = x.lab.Trace(t.Context())
	x.send(t)
	qt.Assert(t, qt.IsNil(o.tracker.Close()))
	err = x.failure(func() { trace.Seal(t.Context()) })
	qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive))
	qt.Check(t, qt.ErrorMatches(err, "INCONCLUSIVE: seal the trace: wait for the tracker's records: the tracker is closed"))
	err = x.failure(func() { x.lab.Trace(t.Context()) })
	qt.Check(t, qt.ErrorMatches(err, "begin a trace: observe packets: the scope is closed"))
}

// TestProbesGone: in the middle of a trace, the kernel stops running programs at functions.
func TestProbesGone(t *testing.T) {
	if os.Getenv(StrictEnv) != "1" {
		t.Skip("function tracing of the whole kernel is switched off, which is for a VM (make test-suites)")
	}
	x := onShared(t)
	trace := x.lab.Trace(t.Context())
	sent := x.send(t)
	switchTracing := func(to string) error { return os.WriteFile("/proc/sys/kernel/ftrace_enabled", []byte(to), 0) }
	err := switchTracing("0")
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Logf("this kernel does not let it be switched off: %v", err) // 7.3
		return
	}
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(switchTracing("1"))) })
	const off = `the kernel ran no programs at functions: function tracing is switched off \(kernel.ftrace_enabled = 0\)`
	inconclusiveBecause(t, trace.Seal(t.Context()).Of(sent), off)
	err = x.failure(func() { x.lab.Trace(t.Context()) })
	qt.Check(t, qt.ErrorMatches(err, "INCONCLUSIVE: begin a trace: the tracker does not see its own canary packet.*"))
}

// TestAskedTooSoon: a journey without a seal vouches for nothing.
func TestAskedTooSoon(t *testing.T) {
	x := onShared(t)
	trace := x.lab.Trace(t.Context())
	sent := x.send(t)
	_, err := x.tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	probes := trace.observer.Probes()
	j, err := trace.collector.seal(journey.Evidence{Probes: probes, Milestones: x.watched(probes)}).Of(sent)
	qt.Assert(t, qt.IsNil(err))
	inconclusiveBecause(t, j, "the record was not sealed")
}
