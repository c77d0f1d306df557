package bpf

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

func TestFrameOf(t *testing.T) {
	for symbol, want := range map[string]journey.Frame{
		"ip_rcv+0x0/0x110":                      {Symbol: "ip_rcv"},
		"veth_xmit+0x2a1/0x5f0 [veth]":          {Symbol: "veth_xmit", Offset: 0x2a1, Module: "veth"},
		"0xffffffffc0a01000":                    {Symbol: "0xffffffffc0a01000"},
		"bpf_prog_6deef7357e7b4530_x+0x10/0x20": {Symbol: "bpf_prog_6deef7357e7b4530_x", Offset: 0x10},
	} {
		qt.Check(t, qt.Equals(frameOf(symbol), want))
	}
}

// TestFrames gives stacks as kernels do: first there are the programs at the probe, named or not.
func TestFrames(t *testing.T) {
	function := journey.Probe{Kind: journey.Function, Name: "ip_rcv"}
	tracepoint := journey.Probe{Kind: journey.Tracepoint, Name: "net:netif_receive_skb"}
	for _, tc := range []struct {
		probe       journey.Probe
		stack, want []string
	}{
		{function, []string{"ip_rcv+0x0", "caller"}, []string{"caller"}},
		{function, []string{"0xffffffffc0a01000", "0xffffffffc0a02000", "ip_rcv+0x9", "caller", "ip_rcv+0x80", "outer"},
			[]string{"caller", "ip_rcv", "outer"}},
		{function, []string{"bpf_prog_0_x", "bpf_trampoline_1", "caller"}, []string{"caller"}},
		{function, []string{"bpf_prog_0_x", "bpf_trampoline_1", "ip_rcv+0x80"}, []string{"ip_rcv"}}, // it calls itself
		{tracepoint, []string{"0xffffffffc0a01000", "bpf_trace_run1", "__traceiter_x", "core", "ip_rcv"},
			[]string{"core", "ip_rcv"}},
		{tracepoint, []string{"bpf_trace_run1", "drop+0x5", "ip_rcv+0x70", "bpf_trampoline_1", "ip_rcv+0x9", "caller"},
			[]string{"drop", "ip_rcv", "caller"}},
		{tracepoint, []string{"drop", "bpf_trampoline_1", "ip_rcv+0xa"}, []string{"drop", "ip_rcv"}}, // by Linux 7.3
		{function, nil, nil},
	} {
		asked := 0
		s := stacks{ask: func(address uint64, called bool) (string, error) {
			asked++
			qt.Check(t, qt.Equals(called, address > 0))
			symbol := tc.stack[address]
			if !strings.Contains(symbol, "+") && !strings.HasPrefix(symbol, "0x") {
				symbol += "+0x20"
			}
			return symbol + "/0x100", nil
		}}
		stack := &trackerStack{Frames: uint32(len(tc.stack))}
		for i := range tc.stack {
			stack.Address[i] = uint64(i)
		}
		for range 2 {
			frames, err := s.frames(stack, tc.probe)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.DeepEquals(symbols(frames), tc.want))
		}
		named := len(slices.DeleteFunc(slices.Clone(tc.stack), func(n string) bool { return strings.HasPrefix(n, "0x") }))
		qt.Check(t, qt.Equals(asked, 2*len(tc.stack)-named)) // what has a name in the kernel itself is asked for once
	}
}

func symbols(frames []journey.Frame) (names []string) {
	for _, f := range frames {
		names = append(names, f.Symbol)
	}
	return names
}

// TestStacks sends a datagram to a closed port of the loopback device, where all happens below the system call.
func TestStacks(t *testing.T) {
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		scope := h.watch(t, tracker)
		const received = "tp:net:netif_receive_skb"
		qt.Assert(t, qt.IsNil(scope.Arm([]string{
			"ip_rcv/stack", "kr:ip_rcv/stack", received + "/stack", "tp:skb:kfree_skb/stack", "ip_local_deliver",
		})))
		qt.Check(t, qt.HasLen(scope.Probes(), 5))
		h.send(t, 1)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		found := make(map[string][]journey.Frame)
		for _, o := range h.observations() {
			name := request{kind: o.Probe.Kind, name: o.Probe.Name}.String()
			if _, known := found[name]; o.Kind == journey.Seen && !known { // the datagram's; its answer comes later
				found[name] = o.Stack
			}
		}
		t.Log(found)
		chain := func(probe string, functions ...string) {
			t.Helper()
			stack := symbols(found[probe])
			next := 0
			for _, function := range functions {
				i := slices.IndexFunc(stack[next:], func(s string) bool { return strings.HasPrefix(s, function) })
				qt.Assert(t, qt.IsTrue(i >= 0), qt.Commentf("%s: no %s below %v in %v", probe, function, stack[:next], stack))
				next += i + 1
			}
			for _, frame := range found[probe] {
				qt.Check(t, qt.IsFalse(strings.HasPrefix(frame.Symbol, "bpf_")), qt.Commentf("%s: %v", probe, stack))
			}
		}
		below := []string{"__netif_receive_skb", "process_backlog", "__dev_queue_xmit", "udp_sendmsg"}
		for _, probe := range []string{"ip_rcv", "kr:ip_rcv"} {
			qt.Assert(t, qt.IsTrue(len(found[probe]) > 1), qt.Commentf(probe))
			qt.Check(t, qt.StringContains(found[probe][0].Symbol, "__netif_receive_skb"))
			chain(probe, below...)
		}
		chain(received, "__netif_receive_skb", "process_backlog", "udp_sendmsg")
		chain("tp:skb:kfree_skb", append([]string{"ip_protocol_deliver_rcu", "ip_local_deliver"}, below...)...)
		qt.Check(t, qt.StringContains(found["tp:skb:kfree_skb"][0].Symbol, "skb"))
		qt.Check(t, qt.HasLen(found["ip_local_deliver"], 0))

		// What nobody wants any more is not told.
		qt.Assert(t, qt.IsNil(scope.Disarm()))
		h.forget()
		h.send(t, 1)
		_, err = tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		drops := 0
		for _, o := range h.observations() {
			if o.Drop != nil {
				drops++
			}
			qt.Check(t, qt.HasLen(o.Stack, 0))
		}
		qt.Check(t, qt.IsTrue(drops > 0))
	})
}

// TestStacksOfDropsAreOnesOwn: two scopes of which one wants them.
func TestStacksOfDropsAreOnesOwn(t *testing.T) {
	tracker := sharedTracker(t)
	with, without := newHost(t), newHost(t)
	qt.Assert(t, qt.IsNil(with.watch(t, tracker).Arm([]string{"tp:skb:*/stack"})))
	qt.Assert(t, qt.IsNil(without.watch(t, tracker).Arm([]string{"tp:skb:kfree_skb"})))
	for _, h := range []*host{with, without} {
		h.send(t, 1)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		drops := 0
		for _, o := range h.observations() {
			if o.Drop != nil {
				drops++
				qt.Check(t, qt.Equals(len(o.Stack) > 0, h == with))
			}
		}
		qt.Check(t, qt.IsTrue(drops > 0))
	}
}
