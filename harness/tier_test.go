package harness_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/leak"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// onTracepoints has the test's labs do without function probes, as on a kernel that allows none.
func onTracepoints(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	qt.Assert(t, qt.IsNil(harness.Shutdown()))
	t.Setenv(harness.TierEnv, "tracepoints")
	t.Cleanup(func() { qt.Check(t, qt.IsNil(harness.Shutdown())) })
	err := harness.Open(t.Context())
	if errors.Is(err, bpf.ErrNoBTF) {
		t.Skip(err)
	}
	qt.Assert(t, qt.IsNil(err))
}

// TestWithoutFunctions: a lab is there, and drops are told.
func TestWithoutFunctions(t *testing.T) {
	onTracepoints(t)
	p := newPair()
	lab := harness.New(t, &p.net)

	j := lab.Follow(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 9})

	qt.Check(t, qt.ErrorIs(harness.Functions(t.Context()), bpf.ErrNoFunctionProbes))
	qt.Check(t, qt.IsNil(j.Evidence.Incomplete()))
	qt.Check(t, qt.Matches(j.Sentence(), `dropped in namespace server on eth0, reason NO_SOCKET, at (__udp4_lib_rcv|udp_rcv)\+0x.*`))
}

func TestFunctionsWhereThereAreNone(t *testing.T) {
	onTracepoints(t)
	name := func(functions ...string) error {
		return harness.Run(func(t harness.T) {
			p := newPair()
			lab := harness.New(t, &p.net)
			lab.Follow(context.Background(), p.client, packet.UDP{To: p.server, DstPort: 9}, harness.TraceOptions{Functions: functions})
		})
	}
	const because = "function probes are not available: the tracker was told to do without"
	for _, function := range []string{"ip_rcv", "kr:ip_rcv", "tcp_v4_*", "__nft_trace_packet"} {
		t.Setenv(harness.StrictEnv, "")
		err := name(function)
		qt.Check(t, qt.ErrorIs(err, harness.ErrSkipped), qt.Commentf("%s", function))
		qt.Check(t, qt.ErrorMatches(err, "skipped: (observe .*: )?"+because))

		t.Setenv(harness.StrictEnv, "1")
		err = name(function)
		qt.Check(t, qt.ErrorIs(err, bpf.ErrNoFunctionProbes), qt.Commentf("%s", function))
		qt.Check(t, qt.IsFalse(errors.Is(err, harness.ErrSkipped)))
	}
	qt.Check(t, qt.IsNil(name("tp:net:net_dev_xmit")))
	qt.Check(t, qt.ErrorIs(harness.Run(func(t harness.T) { harness.NeedFunctions(t) }), bpf.ErrNoFunctionProbes))
}

// TestUnread: what rests in a socket is delivered, where that can be told; and otherwise nobody claims anything.
func TestUnread(t *testing.T) {
	onTracepoints(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	lab.Listen(p.server, 7)

	j := lab.Follow(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 7}, harness.TraceOptions{Patience: 3 * time.Second})

	if harness.Deliveries(t.Context()) == nil {
		qt.Check(t, qt.Equals(j.Sentence(), "delivered to a socket in namespace server"))
		return
	}
	qt.Check(t, qt.Equals(j.Outcome().Kind, journey.Undetermined))
	qt.Check(t, qt.IsTrue(j.Outcome().Blind))
	qt.Check(t, qt.ErrorIs(j.Evidence.Incomplete(), journey.ErrInconclusive))
}

func TestUnknownTier(t *testing.T) {
	qt.Assert(t, qt.IsNil(harness.Shutdown()))
	t.Setenv(harness.TierEnv, "most")
	qt.Check(t, qt.ErrorMatches(harness.Open(t.Context()), `WAYBILL_TIER is "most": it must be functions or tracepoints`))
}

// BenchmarkOpen is what the first lab of a process waits for, and what it leaves.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		qt.Assert(b, qt.IsNil(harness.Shutdown()))
		qt.Assert(b, qt.IsNil(harness.Open(b.Context())))
	}
}

// TestSkipsWhatTheKernelLacks: a network that needs what the kernel does not have skips its test and says what that is, or fails it
// where nothing may be skipped; nothing is left either way.
func TestSkipsWhatTheKernelLacks(t *testing.T) {
	onTracepoints(t)
	before, err := leak.Take()
	qt.Assert(t, qt.IsNil(err))
	run := func() error {
		return harness.Run(func(t harness.T) {
			p := newPair()
			p.server.Sysctls = map[string]string{"net.ipv4.no_such_setting": "1"}
			harness.New(t, &p.net)
		})
	}
	const because = "this test needs a feature of the kernel: bring up network: node server: this kernel has no " +
		`setting net.ipv4.no_such_setting \(module unknown\): no such file or directory`
	t.Setenv(harness.StrictEnv, "0")
	skipped := run()
	qt.Check(t, qt.ErrorIs(skipped, harness.ErrSkipped))
	qt.Check(t, qt.ErrorMatches(skipped, "skipped: "+because))
	t.Setenv(harness.StrictEnv, "1")
	failed := run()
	qt.Check(t, qt.IsFalse(errors.Is(failed, harness.ErrSkipped)))
	qt.Check(t, qt.ErrorMatches(failed, because))
	missing, ok := errors.AsType[*topology.UnsupportedError](failed)
	qt.Assert(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(missing.Feature, "setting net.ipv4.no_such_setting"))
	left, err := before.Left()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(left, 0), qt.Commentf("%v", left))
}
