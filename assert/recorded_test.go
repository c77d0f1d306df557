package assert

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"
	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// recorded reads a journey that suites/words recorded on a kernel, run with WAYBILL_JOURNEYS=1.
func recorded(tb testing.TB, name string) *journey.Journey {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "journeys", name+".json"))
	qt.Assert(tb, qt.IsNil(err))
	j := new(journey.Journey)
	qt.Assert(tb, qt.IsNil(json.Unmarshal(text, j)))
	return j
}

// in is a node of the network in which a journey was recorded.
func in(tb testing.TB, j *journey.Journey, name string) *node {
	tb.Helper()
	for cookie, n := range j.Evidence.Nodes {
		if n == name {
			return &node{name, cookie}
		}
	}
	tb.Fatalf("there is no node %s", name)
	return nil
}

// incomplete is a journey of which something may have been missed.
func incomplete(j *journey.Journey) *journey.Journey {
	evidence := *j.Evidence
	evidence.Loss = []journey.Loss{{Cause: "records lost: the ring buffer was full", Count: 3}}
	changed := *j
	changed.Evidence = &evidence
	return &changed
}

// TestRecorded: the wider vocabulary, on journeys that a kernel made.
func TestRecorded(t *testing.T) {
	translated, stopped, flooded := recorded(t, "translated"), recorded(t, "stopped"), recorded(t, "flooded")
	closed, arp := recorded(t, "closed"), recorded(t, "arp")
	router, server, client := in(t, translated, "fw"), in(t, translated, "server"), in(t, translated, "client")
	gate, hub, right := in(t, stopped, "fw"), in(t, flooded, "hub"), in(t, flooded, "right")

	for _, test := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		want    verdict
	}{
		{"order", translated, InOrder(Reach(Prerouting, At(router)), BeDNATedTo("172.16.43.2"), Reach(Forward)), holds},
		{"order-lossy", incomplete(translated), InOrder(Reach(Forward), Reach(SocketDeliver, At(server))), holds},
		{"order-stopped", stopped, InOrder(Reach(Forward, At(gate)), Reach(Postrouting, At(gate))), fails},
		{"order-reversed", translated, InOrder(Reach(Forward), Reach(Prerouting, At(router))), fails},
		{"order-twice", translated, InOrder(Reach(Forward), Reach(Forward)), fails},
		{"order-never", translated, InOrder(Reach(TCPReceive), Reach(Forward)), fails},
		{"order-other-branch", flooded, InOrder(Reach(DeviceTransmit, At(hub), On("eth2")), Reach(SocketDeliver, At(right))), fails},
		{"order-loss", incomplete(stopped), InOrder(Reach(Forward), Reach(Postrouting, At(gate))), inconclusive},
		{"order-outcome", translated, InOrder(Reach(Forward), BeDelivered()), misused},
		{"order-nothing", translated, InOrder(), misused},
		{"order-times", translated, InOrder(Reach(Forward, Times(1))), misused},

		{"exactly", translated, FollowExactly(Reach(Forward, At(router)), Reach(SocketDeliver, At(server))), holds},
		{"exactly-more", translated, FollowExactly(Reach(DeviceTransmit, At(client)), Reach(Forward)), fails},
		{"exactly-other", translated, FollowExactly(Reach(Forward, At(server)), Reach(SocketDeliver)), fails},
		{"exactly-stopped", stopped, FollowExactly(Reach(Forward), Reach(SocketDeliver)), fails},
		{"exactly-more-lossy", incomplete(translated), FollowExactly(Reach(DeviceTransmit, At(client)), Reach(Forward)), fails},
		{"exactly-loss", incomplete(translated), FollowExactly(Reach(Forward, At(router)), Reach(SocketDeliver, At(server))), inconclusive},
		{"exactly-state", translated, FollowExactly(HaveConntrack("NEW")), misused},

		{"traverse", translated, Traverse("prerouting", "forward", "dns", At(router)), holds},
		{"traverse-reversed", translated, Traverse("dns", "forward"), fails},
		{"traverse-not", stopped, Traverse("postrouting", At(gate)), fails},
		{"traverse-loss", incomplete(stopped), Traverse("postrouting"), inconclusive},
		{"traverse-unknown", translated, Traverse("forwrad"), misused},
		{"traverse-unknown-there", translated, Traverse("forward", At(server)), misused},
		{"traverse-number", translated, Traverse("forward", 1), misused},

		{"judged", translated, BeJudgedBy("ask the resolver", At(router), Verdict("accept")), holds},
		{"judged-handle", translated, BeJudgedBy("handle 3"), holds},
		{"judged-other", translated, BeJudgedBy("go on", At(router)), fails},
		{"judged-nowhere", translated, BeJudgedBy("go on", At(server)), fails},
		{"judged-elsewhere", translated, BeJudgedBy("ask the resolver", At(server)), fails},
		{"judged-loss", incomplete(translated), BeJudgedBy("go on"), inconclusive},
		{"judged-verdict", translated, BeJudgedBy("go on", Verdict("acept")), misused},

		{"snat", translated, BeSNATedTo("172.16.43.1", At(router)), holds},
		{"snat-other", translated, BeSNATedTo("172.16.43.9"), fails},
		{"snat-not-yet", stopped, BeSNATedTo("172.16.43.1"), fails},
		{"snat-loss", incomplete(stopped), BeSNATedTo("172.16.43.1"), inconclusive},
		{"snat-no-address", stopped, BeSNATedTo("fw"), misused},
		{"dnat", translated, BeDNATedTo("172.16.43.2:8053"), holds},
		{"dnat-other-port", translated, BeDNATedTo("172.16.43.2:53"), fails},
		{"dnat-none", closed, BeDNATedTo("172.16.43.2"), fails},

		{"conntrack", translated, HaveConntrack("NEW", At(router), Which(gomega.HaveField("Mark", uint32(7)))), holds},
		{"conntrack-other", translated, HaveConntrack("REPLY"), fails},
		{"conntrack-which", translated, HaveConntrack("NEW", Which(gomega.HaveField("Mark", uint32(8)))), fails},
		{"conntrack-none", closed, HaveConntrack("NEW"), fails},
		{"conntrack-loss", incomplete(closed), HaveConntrack("NEW"), inconclusive},
		{"conntrack-unknown", translated, HaveConntrack("established"), misused},

		{"ttl", translated, HaveTTLDecremented(At(router)), holds},
		{"ttl-not", translated, HaveTTLDecremented(At(server)), fails},
		{"ttl-twice", translated, HaveTTLDecremented(Times(2)), fails},
		{"ttl-arp", arp, HaveTTLDecremented(), fails},
		{"ttl-loss", incomplete(closed), HaveTTLDecremented(Times(2)), inconclusive},

		{"transmitted", translated, BeTransmitted(At(router), On("eth1")), holds},
		{"transmitted-stopped", stopped, BeTransmitted(At(gate)), fails},
		{"transmitted-loss", incomplete(stopped), BeTransmitted(At(gate)), inconclusive},
		{"consumed", arp, BeConsumed(), holds},
		{"consumed-delivered", translated, BeConsumed(), fails},
		{"consumed-loss", incomplete(translated), BeConsumed(), inconclusive},
		{"undetermined", onItsWay().journey(complete()), BeUndetermined(), holds},
		{"undetermined-delivered", translated, BeUndetermined(), fails},
		{"undetermined-loss", onItsWay().journey(lossy()), BeUndetermined(), inconclusive},

		{"drops-none", []*journey.Journey{translated}, HaveNoUnexpectedDrops(), holds},
		{"drops-expected", []*journey.Journey{translated, closed}, HaveNoUnexpectedDrops(BeDropped(Reason("NO_SOCKET"))), holds},
		{"drops", []*journey.Journey{translated, closed, stopped}, HaveNoUnexpectedDrops(BeDropped(Reason("NO_SOCKET"))), fails},
		{"drops-lossy", []*journey.Journey{incomplete(closed)}, HaveNoUnexpectedDrops(), fails},
		{"drops-loss", []*journey.Journey{incomplete(translated)}, HaveNoUnexpectedDrops(), inconclusive},
		{"drops-of-nothing", []*journey.Journey{}, HaveNoUnexpectedDrops(), misused},
	} {
		t.Run(test.name, func(t *testing.T) { checkMatcher(t, test.name, test.actual, test.matcher, test.want) })
	}
}

// TestComposeInconclusive: what a record cannot tell fails the assertion in both directions, whatever the matcher is part of.
func TestComposeInconclusive(t *testing.T) {
	j := incomplete(recorded(t, "stopped"))
	list := []*journey.Journey{j}
	not := gomega.Not
	holding := func() types.GomegaMatcher { return Reach(Forward) }
	same := func(j *journey.Journey) *journey.Journey { return j }
	for name, unclear := range map[string]func() types.GomegaMatcher{
		"reach":       func() types.GomegaMatcher { return Reach(SocketDeliver) },
		"times":       func() types.GomegaMatcher { return Reach(Forward, Times(1)) },
		"order":       func() types.GomegaMatcher { return InOrder(Reach(Forward), Reach(SocketDeliver)) },
		"exactly":     func() types.GomegaMatcher { return FollowExactly(Reach(Forward)) },
		"traverse":    func() types.GomegaMatcher { return Traverse("postrouting") },
		"judged":      func() types.GomegaMatcher { return BeJudgedBy("ask the resolver") },
		"snat":        func() types.GomegaMatcher { return BeSNATedTo("172.16.43.1") },
		"dnat":        func() types.GomegaMatcher { return BeDNATedTo("172.16.43.9") },
		"conntrack":   func() types.GomegaMatcher { return HaveConntrack("REPLY") },
		"ttl":         func() types.GomegaMatcher { return HaveTTLDecremented(Times(9)) },
		"transmitted": func() types.GomegaMatcher { return BeTransmitted(On("eth1")) },
		"consumed":    func() types.GomegaMatcher { return BeConsumed() },
		"delivered":   func() types.GomegaMatcher { return BeDelivered() },
		"dropped":     func() types.GomegaMatcher { return BeDropped(ByRule("go on")) },
	} {
		for composition, c := range map[string]struct {
			actual  any
			matcher types.GomegaMatcher
		}{
			"alone":          {j, unclear()},
			"not":            {j, not(unclear())},
			"double not":     {j, not(not(unclear()))},
			"and":            {j, gomega.And(holding(), unclear())},
			"or":             {j, gomega.Or(not(holding()), unclear())},
			"any of":         {j, AnyOf(not(holding()), unclear())},
			"transformed":    {j, gomega.WithTransform(same, unclear())},
			"contained":      {list, gomega.ContainElement(unclear())},
			"each":           {list, gomega.HaveEach(unclear())},
			"satisfying all": {j, gomega.SatisfyAll(unclear(), holding())},
			"none":           {list, gomega.Not(gomega.ContainElement(unclear()))},
		} {
			ok, err := c.matcher.Match(c.actual)
			qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive), qt.Commentf("%s, %s", name, composition))
			qt.Check(t, qt.IsFalse(ok))
		}
		// What is asked first and settles the question needs no answer of the other.
		ok, err := gomega.And(not(holding()), unclear()).Match(j)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.IsFalse(ok))
	}
	// gstruct makes an error a mismatch. The package's documentation says what to do about it.
	fields := gstruct.PointTo(gstruct.MatchFields(gstruct.IgnoreExtras, gstruct.Fields{"ID": gomega.Equal(j.ID)}))
	ok, err := fields.Match(j)
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(ok))
	elements := gstruct.MatchAllElements(func(any) string { return "stopped" }, gstruct.Elements{"stopped": Reach(SocketDeliver)})
	ok, err = elements.Match(list)
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.IsFalse(ok))
	qt.Check(t, qt.StringContains(elements.FailureMessage(list), "INCONCLUSIVE: "))
}
