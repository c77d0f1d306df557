package assert

import (
	"errors"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// Reach succeeds if the packet, or a copy of it, was seen at the kernel function or tracepoint of that name ("ip_rcv",
// "skb:kfree_skb"). Options: At, On.
func Reach(function string, options ...Option) types.GomegaMatcher {
	want, err := parse("Reach", options, "At", "On")
	if err == nil && function == "" {
		err = errors.New("Reach: it needs the name of a kernel function")
	}
	return &reachMatcher{function: function, want: want, misuse: err}
}

type reachMatcher struct {
	function string
	want     expectation
	misuse   error
	finding
}

// Match implements gomega's matcher.
func (m *reachMatcher) Match(actual any) (bool, error) {
	j, err := m.begin(actual)
	if err != nil {
		return false, err
	}
	m.finding = finding{journey: j, asked: "to reach " + m.function + m.want.words()}
	var elsewhere []int
	for i := range j.Events {
		e := &j.Events[i]
		switch {
		case e.Probe.Name != m.function:
		case m.want.on(e):
			m.hops = append(m.hops, i)
		default:
			elsewhere = append(elsewhere, i)
		}
	}
	if m.hops != nil {
		return true, nil
	}
	if err := armed("Reach", m.function, j.Evidence); err != nil {
		return false, err
	}
	if m.hops = elsewhere; m.hops != nil {
		m.but = "it did so only" + places(j, elsewhere)
	} else {
		m.but = "it never did; it was " + j.Outcome().Brief()
		m.hops = lastHops(j, j.Deciding())
	}
	if err := doubt(j); err != nil {
		return false, m.inconclusive(err)
	}
	return false, nil
}

func (m *reachMatcher) begin(actual any) (*journey.Journey, error) {
	if m.misuse != nil {
		return nil, m.misuse
	}
	j, err := subject("Reach", actual)
	if err != nil {
		return nil, err
	}
	return j, m.want.check("Reach", j.Evidence)
}

// places lists where events were.
func places(j *journey.Journey, events []int) string {
	var all []string
	for _, i := range events {
		e, where := &j.Events[i], ""
		if e.NetNS != nil {
			where += " in namespace " + e.NetNS.String()
		}
		if e.Device != nil {
			where += " on " + e.Device.String()
		}
		if where == "" {
			where = " in an unknown place"
		}
		if !slices.Contains(all, where) {
			all = append(all, where)
		}
	}
	return strings.Join(all, " and")
}

// lastHops are the last events of branches.
func lastHops(j *journey.Journey, branches []int) []int {
	var hops []int
	for _, i := range branches {
		if events := j.Branches[i].Events; len(events) > 0 {
			hops = append(hops, events[len(events)-1])
		}
	}
	return hops
}

// FailureMessage implements gomega's matcher.
func (m *reachMatcher) FailureMessage(any) string { return m.failure() }

// NegatedFailureMessage implements gomega's matcher.
func (m *reachMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *reachMatcher) MatchMayChangeInTheFuture(any) bool { return false }
