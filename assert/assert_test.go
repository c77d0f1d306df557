package assert

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-quicktest/qt"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
)

// verdict is what both directions of an assertion must come to.
type verdict int

const (
	holds        verdict = iota // To passes, NotTo fails
	fails                       // To fails, NotTo passes
	inconclusive                // both fail, with journey.ErrInconclusive
	misused                     // both fail, with another error
)

// foreign is a matcher of another package, that never matches.
type foreign struct{}

func (foreign) Match(any) (bool, error)          { return false, nil }
func (foreign) FailureMessage(any) string        { return "Expected something else" }
func (foreign) NegatedFailureMessage(any) string { return "" }

// TestMatchers: a verdict for each, and the text that a user reads in a golden file, of the direction that fails.
func TestMatchers(t *testing.T) {
	unsealed, unsettled := complete(), complete()
	unsealed.Sealed, unsettled.Settled = false, false
	unarmed := complete()
	unarmed.Probes = nil
	fewer := complete()
	fewer.Probes = fewer.Probes[1:3]
	unvouched := complete()
	unvouched.Unvouched = map[uint64]string{server.cookie: "the ruleset changed while it was listed"}
	kept := complete()
	kept.Artifacts = "/home/me/.cache/waybill/artifacts/firewall/drops_metrics"
	var noNode *node

	for _, test := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		want    verdict
	}{
		{"reach", byRule().journey(complete()), Reach("ip_forward", At(fw)), holds},
		{"reach-tracepoint", byRule().journey(complete()), Reach("skb:kfree_skb", At(server), On("to-fw")), holds},
		{"reach-milestone", byRule().journey(complete()), Reach(Forward, At(fw)), holds},
		{"reach-times", byRule().journey(complete()), Reach(IPReceive, Times(2)), holds},
		{"reach-lossy", byRule().journey(lossy()), Reach("ip_forward"), holds},
		{"reach-stopped-early", byPolicy().journey(complete()), Reach("udp_rcv", At(server)), fails},
		{"reach-elsewhere", byRule().journey(complete()), Reach("ip_forward", At(client)), fails},
		{"reach-other-device", byRule().journey(complete()), Reach("ip_forward", On("to-server")), fails},
		{"reach-branches", flooded().journey(complete()), Reach("udp_rcv"), fails},
		{"reach-copy", tapped().journey(complete()), Reach("udp_rcv"), fails},
		{"reach-translated", translated().journey(complete()), Reach("tcp_v4_rcv"), fails},
		{"reach-long", long().journey(complete()), Reach("tcp_v4_rcv"), fails},
		{"reach-loss", byPolicy().journey(lossy()), Reach("udp_rcv", At(server)), inconclusive},
		{"reach-unsealed", byPolicy().journey(unsealed), Reach("udp_rcv"), inconclusive},
		{"reach-unsettled", byPolicy().journey(unsettled), Reach("udp_rcv"), inconclusive},
		{"reach-on-its-way", onItsWay().journey(complete()), Reach("udp_rcv"), inconclusive},
		{"reach-unarmed", byRule().journey(complete()), Reach("ip_forwards"), misused},
		{"reach-milestone-stopped-early", byPolicy().journey(complete()), Reach(UDPReceive, At(server)), fails},
		{"reach-too-often", byRule().journey(lossy()), Reach(IPReceive, Times(1)), fails},
		{"reach-too-seldom", byRule().journey(complete()), Reach(IPReceive, Times(3)), fails},
		{"reach-not-delivered", byRule().journey(complete()), Reach(SocketDeliver), fails},
		{"reach-refused", refused().journey(complete()), Reach(Prerouting), fails},
		{"reach-times-lossy", byRule().journey(lossy()), Reach(IPReceive, Times(2)), inconclusive},
		{"reach-never", byRule().journey(complete()), Reach(IPReceive, Times(0)), misused},
		{"reach-one-way", byRule().journey(bothWays()), Reach("ip_rcv"), misused},
		{"reach-one-way-meant", byRule().journey(bothWays()), Reach("k:ip_rcv"), fails},
		{"reach-return", byRule().journey(complete()), Reach("kr:ip_forward"), misused},
		{"reach-quoted-milestone", byRule().journey(complete()), Reach("forward"), misused},
		{"reach-unwatched", byRule().journey(complete()), Reach(Qdisc), misused},
		{"reach-blind", byPolicy().journey(blind()), Reach(Forward, At(server)), inconclusive},
		{"reach-no-such-device", byRule().journey(complete()), Reach(Forward, On("to-clinet")), misused},
		{"reach-no-such-device-there", byRule().journey(complete()), Reach(Forward, At(fw), On("to-fw")), misused},
		{"reach-unarmed-tracepoint", byRule().journey(complete()), Reach("net:netif_rx"), misused},
		{"reach-nothing-armed", delivered().journey(unarmed), Reach("tcp_v4_rcv"), misused},
		{"reach-unnamed", byRule().journey(complete()), Reach(""), misused},
		{"reach-other-lab", byRule().journey(complete()), Reach("ip_rcv", At(other)), misused},
		{"reach-nil-node", byRule().journey(complete()), Reach("ip_rcv", At(noNode)), misused},
		{"reach-reason", byRule().journey(complete()), Reach("ip_rcv", Reason("NO_SOCKET")), misused},
		{"reach-twice", byRule().journey(complete()), Reach("ip_rcv", At(fw), At(server)), misused},
		{"reach-empty-option", byRule().journey(complete()), Reach("ip_rcv", Option{}), misused},
		{"reach-no-device", byRule().journey(complete()), Reach("ip_rcv", On("")), misused},
		{"reach-nil", (*journey.Journey)(nil), Reach("ip_rcv"), misused},
		{"reach-record", &journey.Record{}, Reach("ip_rcv"), misused},

		{"dropped", byRule().journey(complete()), BeDropped(), holds},
		{"dropped-by-rule-comment", byRule().journey(complete()), BeDropped(At(server), Reason("NETFILTER_DROP"), ByRule("no metrics from outside")), holds},
		{"dropped-by-rule-text", byRule().journey(complete()), BeDropped(ByRule("udp dport 8080")), holds},
		{"dropped-by-policy", byPolicy().journey(complete()), BeDropped(Reason("NETFILTER_DROP"), At(fw), ByPolicy("forward")), holds},
		{"dropped-lossy", byRule().journey(lossy()), BeDropped(ByRule("udp dport 8080")), holds},
		{"dropped-tapped", tapped().journey(complete()), BeDropped(Reason("NETFILTER_DROP")), holds},
		{"dropped-on-port", flooded().journey(complete()), BeDropped(On("port2"), At(fw), ByPolicy("forward")), holds},
		{"dropped-any-branch", flooded().journey(complete()), BeDropped(AnyBranch(), Reason("NO_SOCKET")), holds},
		{"dropped-rule-accepts", accepted().journey(complete()), BeDropped(ByRule("no metrics")), fails},
		{"dropped-delivered", delivered().journey(complete()), BeDropped(At(server), Reason("NETFILTER_DROP"), ByRule("udp dport 8080")), fails},
		{"dropped-elsewhere", byRule().journey(complete()), BeDropped(At(fw)), fails},
		{"dropped-other-reason", noSocket().journey(complete()), BeDropped(Reason("NETFILTER_DROP")), fails},
		{"dropped-other-rule", byRule().journey(complete()), BeDropped(ByRule("tcp dport 22")), fails},
		{"dropped-other-port", byRule().journey(complete()), BeDropped(ByRule("udp dport 808")), fails},
		{"dropped-rule-not-policy", byRule().journey(complete()), BeDropped(ByPolicy("input")), fails},
		{"dropped-policy-not-rule", byPolicy().journey(complete()), BeDropped(ByRule("tcp dport 22")), fails},
		{"dropped-other-chain", byPolicy().journey(complete()), BeDropped(ByPolicy("input")), fails},
		{"dropped-no-verdict", noSocket().journey(complete()), BeDropped(ByRule("udp dport 8080")), fails},
		{"dropped-every-branch", flooded().journey(complete()), BeDropped(), fails},
		{"dropped-other-branch", flooded().journey(complete()), BeDropped(On("port1")), fails},
		{"dropped-no-branch", flooded().journey(complete()), BeDropped(On("to-client")), fails},
		{"dropped-no-such-branch", flooded().journey(complete()), BeDropped(AnyBranch(), Reason("IP_RPFILTER")), fails},
		{"dropped-in", byRule().journey(complete()), BeDropped(In("nft_do_chain")), holds},
		{"dropped-in-other", byRule().journey(complete()), BeDropped(In("ip_rcv_core")), fails},
		{"dropped-another", noSocket().among(complete(), delivered(), byRule().to(9090)), BeDropped(ByRule("no metrics")), fails},
		{"dropped-others", delivered().among(kept, byRule(), byRule().to(9090), noSocket(), noSocket().to(9091), byPolicy()), BeDropped(), fails},
		{"dropped-no-other", delivered().among(complete(), delivered().to(9090)), BeDropped(), fails},
		{"dropped-loss", delivered().journey(lossy()), BeDropped(), inconclusive},
		{"dropped-on-its-way", onItsWay().journey(complete()), BeDropped(At(server)), inconclusive},
		{"dropped-unvouched", byUnknownRule().journey(unvouched), BeDropped(ByRule("udp dport 8080")), inconclusive},
		{"dropped-unvouched-why-unknown", byUnknownRule().journey(complete()), BeDropped(ByRule("udp dport 8080")), inconclusive},
		{"dropped-unknown-reason", byRule().journey(complete()), BeDropped(Reason("NETFILTR_DROP")), misused},
		{"dropped-far-off-reason", byRule().journey(complete()), BeDropped(Reason("blue")), misused},
		{"dropped-unarmed-nft", noSocket().journey(unarmed), BeDropped(ByRule("udp dport 8080")), misused},
		{"dropped-unarmed", delivered().journey(fewer), BeDropped(), misused},
		{"dropped-rule-and-policy", byRule().journey(complete()), BeDropped(ByRule("a"), ByPolicy("b")), misused},

		{"delivered", delivered().journey(complete()), BeDelivered(At(server)), holds},
		{"delivered-lossy", delivered().journey(lossy()), BeDelivered(), holds},
		{"delivered-on-port", flooded().journey(complete()), BeDelivered(On("port1")), holds},
		{"delivered-any-branch", flooded().journey(complete()), BeDelivered(AnyBranch()), holds},
		{"delivered-dropped", byRule().journey(complete()), BeDelivered(At(server)), fails},
		{"delivered-no-socket", noSocket().journey(complete()), BeDelivered(), fails},
		{"delivered-elsewhere", delivered().journey(complete()), BeDelivered(At(client)), fails},
		{"delivered-every-branch", flooded().journey(complete()), BeDelivered(), fails},
		{"delivered-consumed", long().journey(complete()), BeDelivered(), fails},
		{"delivered-on-its-way", onItsWay().journey(complete()), BeDelivered(At(server)), inconclusive},
		{"delivered-loss", byRule().journey(lossy()), BeDelivered(), inconclusive},
		{"delivered-reason", delivered().journey(complete()), BeDelivered(Reason("NO_SOCKET")), misused},
		{"delivered-no-account", &journey.Journey{}, BeDelivered(), inconclusive},

		{"any-of", byRule().journey(complete()), AnyOf(BeDelivered(), BeDropped(ByRule("udp dport 8080"))), holds},
		{"any-of-lossy", byRule().journey(lossy()), AnyOf(BeDelivered(), BeDropped()), holds},
		{"any-of-none", byRule().journey(complete()), AnyOf(BeDelivered(At(server)), Reach("udp_rcv"), BeDropped(At(fw))), fails},
		{"any-of-another", byRule().among(kept, delivered().to(53)), AnyOf(BeDelivered(At(server)), BeDropped(At(fw))), fails},
		{"any-of-others", byRule().journey(complete()), AnyOf(BeDelivered(), foreign{}), fails},
		{"any-of-loss", byRule().journey(lossy()), AnyOf(BeDelivered(), BeDropped(At(fw))), inconclusive},
		{"any-of-misuse", byRule().journey(complete()), AnyOf(BeDropped(), Reach("ip_forwards")), misused},
		{"any-of-nothing", byRule().journey(complete()), AnyOf(), misused},
	} {
		t.Run(test.name, func(t *testing.T) { checkMatcher(t, test.name, test.actual, test.matcher, test.want) })
	}
}

// checkMatcher asks a matcher itself and through gomega, and compares the text of the direction that fails.
func checkMatcher(t *testing.T, name string, actual any, matcher types.GomegaMatcher, want verdict) {
	ok, err := matcher.Match(actual)
	var text string
	got := fails
	switch {
	case errors.Is(err, journey.ErrInconclusive):
		got, text = inconclusive, err.Error()
		qt.Check(t, qt.IsTrue(strings.HasPrefix(text, "INCONCLUSIVE: ")))
	case err != nil:
		got, text = misused, err.Error()
	case ok:
		got, text = holds, matcher.NegatedFailureMessage(actual)
	default:
		text = matcher.FailureMessage(actual)
	}
	qt.Assert(t, qt.Equals(got, want), qt.Commentf("%s", text))
	golden.Check(t, name+".txt", text+"\n")
	if got != misused {
		checkWidth(t, text)
	}
	checkGomega(t, actual, matcher, got, text)
}

func checkWidth(t *testing.T, text string) {
	for line := range strings.Lines(text) {
		qt.Check(t, qt.IsTrue(utf8.RuneCountInString(line) <= columns+1), qt.Commentf("%s", line))
	}
}

// checkGomega asserts through gomega, in both directions.
func checkGomega(t *testing.T, actual any, matcher types.GomegaMatcher, want verdict, text string) {
	message := ""
	g := gomega.NewGomega(func(m string, _ ...int) { message = m })
	g.Expect(actual).To(matcher)
	qt.Check(t, qt.Equals(message == "", want == holds))
	if want != holds {
		qt.Check(t, qt.Equals(message, text))
	}
	message = ""
	g.Expect(actual).NotTo(matcher)
	qt.Check(t, qt.Equals(message == "", want == fails))
	if want != fails {
		qt.Check(t, qt.Equals(message, text))
	}
}

// TestCompose: the matchers work inside gomega's, over all journeys of a record too.
func TestCompose(t *testing.T) {
	g := gomega.NewWithT(t)
	journeys := []*journey.Journey{byRule().journey(complete()), delivered().journey(complete())}
	g.Expect(journeys).To(gomega.ContainElement(BeDropped(ByRule("no metrics"))))
	g.Expect(journeys).To(gomega.HaveEach(Reach("ip_forward", At(fw))))
	g.Expect(journeys).NotTo(gomega.ContainElement(Reach("tcp_v4_rcv")))
	g.Expect(journeys[0]).To(gomega.And(BeDropped(), gomega.Not(BeDelivered())))
	// Once is enough: a journey does not change.
	g.Eventually(journeys[1]).Should(BeDelivered())
}

func TestContainsWords(t *testing.T) {
	for _, test := range []struct {
		text, part string
		want       bool
	}{
		{"udp dport 8080 drop", "udp dport 8080", true},
		{"udp dport 8080 drop", "8080", true},
		{"udp dport 8080 drop", "808", false},
		{"udp dport 8080 drop", "080", false},
		{"udp dport 8080 drop", "port", false},
		{"dport 80800, 8080", "8080", true},
		{"ip saddr 10.0.0.0/8 drop", "10.0.0.0/8", true},
		{"ip saddr 10.0.0.0/8 drop", "saddr 10.", true},
		{`comment "no metrics"`, `"no metrics"`, true},
		{"größe", "gr", false},
		{"", "x", false},
	} {
		qt.Check(t, qt.Equals(containsWords(test.text, test.part), test.want), qt.Commentf("%q in %q", test.part, test.text))
	}
}

// TestRenamedReason: a test may name a reason as another kernel does; one that no kernel has is still a mistake.
func TestRenamedReason(t *testing.T) {
	evidence := complete()
	evidence.Reasons = append(evidence.Reasons, "QDISC_DROP_FLOW_LIMIT")
	j := arrival().drop(1, server, "to-fw", "QDISC_DROP_FLOW_LIMIT", "fq_enqueue+0x11").journey(evidence)
	for name, want := range map[string]bool{
		"QDISC_DROP_FLOW_LIMIT": true, "FQ_FLOW_LIMIT": true, "QDISC_DROP": true, "NO_SOCKET": false,
	} {
		dropped, err := BeDropped(Reason(name)).Match(j)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(dropped, want), qt.Commentf("%s", name))
	}
	_, err := BeDropped(Reason("QDISC_DROP_BAND_LIMIT")).Match(j)
	qt.Check(t, qt.ErrorMatches(err, `BeDropped: this kernel has no drop reason "QDISC_DROP_BAND_LIMIT".*`))
}

// TestHopNotes: a hop shows what a function returned and what iptables said.
func TestHopNotes(t *testing.T) {
	p := arrival().see(1, server, "to-fw", "nf_hook_slow").see(1, server, "to-fw", "ipt_do_table")
	hops := p.observations[len(p.observations)-2:]
	returned := int64(-1)
	hops[0].Probe.Kind, hops[0].Return = journey.Return, &returned
	hops[1].IPTables = &journey.IPTables{Family: "ip", Table: "filter", Hook: "input", Verdict: "drop"}
	lines := hopLines(p.journey(complete()), nil)
	qt.Check(t, qt.StringContains(lines, "nf_hook_slow      returned -1\n"))
	qt.Check(t, qt.StringContains(lines, "ipt_do_table      iptables table filter hook input drop\n"))
}

// TestMerged: what became of a packet that is a part of another one now is neither known nor denied.
func TestMerged(t *testing.T) {
	j := arrival().life(journey.Absorbed, 1).life(journey.Released, 1).journey(complete())
	for _, matcher := range []interface{ Match(any) (bool, error) }{BeDelivered(), BeDropped()} {
		_, err := matcher.Match(j)
		qt.Check(t, qt.ErrorMatches(err, `(?s)INCONCLUSIVE: the packet was merged into another one.*`))
		qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive))
	}
	found, err := Reach("ip_local_deliver").Match(j)
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(found))
}
