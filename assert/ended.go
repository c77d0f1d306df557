package assert

import (
	"fmt"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeConsumed succeeds if every branch of the packet was freed by the kernel without a drop and without having been delivered:
// the kernel took it for itself, as it does with ARP and with the segments that carry no data. Options: At, On, AnyBranch.
func BeConsumed(options ...Option) types.GomegaMatcher {
	want, err := parse("BeConsumed", options, "At", "On", "AnyBranch")
	return &outcomeMatcher{name: "BeConsumed", verb: "to be consumed", want: want, misuse: err, judge: judgeKind(journey.Consumed)}
}

// BeUndetermined succeeds if every branch of the packet was still on its way when the record was sealed, though nothing was
// lost: it is stuck where the tracker knows no place to rest. Options: At, On, AnyBranch.
func BeUndetermined(options ...Option) types.GomegaMatcher {
	want, err := parse("BeUndetermined", options, "At", "On", "AnyBranch")
	m := &outcomeMatcher{name: "BeUndetermined", verb: "to be undetermined", want: want, misuse: err}
	m.judge = judgeKind(journey.Undetermined)
	return &stuckMatcher{m}
}

// stuckMatcher differs from the others in what evidence it needs: that a packet was still on its way is shown by nothing but
// that its end was not seen.
type stuckMatcher struct{ *outcomeMatcher }

// Match implements gomega's matcher.
func (m *stuckMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject(m.name, actual)
	if err != nil {
		return false, err
	}
	if err := m.want.check(m.name, j); err != nil {
		return false, err
	}
	m.finding = finding{journey: j, asked: m.verb + m.want.words()}
	found, _ := m.judgeAll(j, m.want.selected(j))
	if !found {
		// It came to an end: that was seen.
		return false, nil
	}
	whole := journey.Evidence{Settled: true}
	if j.Evidence != nil {
		whole = *j.Evidence
		whole.Settled, whole.Moving = true, 0
	}
	err = whole.Incomplete()
	return err == nil, m.doubted(err)
}

// judgeKind compares nothing but how a branch ended, and where.
func judgeKind(kind journey.OutcomeKind) func(*expectation, *journey.Outcome) (departure, error) {
	return func(e *expectation, o *journey.Outcome) (departure, error) {
		if o.Kind == kind {
			return e.endedIn(o), nil
		}
		return departure{how: ended(o)}, nil
	}
}

// BeTransmitted succeeds if every branch of the packet was given to a device's driver, and not dropped by that: by the device
// that On names, in the node that At gives. Packets on their way through a lab are transmitted at each hop. Options: At, On,
// AnyBranch.
func BeTransmitted(options ...Option) types.GomegaMatcher {
	want, err := parse("BeTransmitted", options, "At", "On", "AnyBranch")
	return &sentMatcher{want: want, misuse: err}
}

type sentMatcher struct {
	want   expectation
	misuse error
	finding
}

// Match implements gomega's matcher.
func (m *sentMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject("BeTransmitted", actual)
	if err != nil {
		return false, err
	}
	if err := m.want.check("BeTransmitted", j); err != nil {
		return false, err
	}
	m.finding = finding{journey: j, asked: "to be transmitted" + m.want.words()}
	sent, failed := 0, []int(nil)
	branches := j.Deciding()
	for _, b := range branches {
		ok, event := m.transmitted(j, b)
		if event >= 0 {
			m.hops = append(m.hops, event)
		}
		if ok {
			sent++
		} else {
			failed = append(failed, b)
		}
	}
	if sent > 0 && (len(failed) == 0 || m.want.anyBranch) {
		return true, nil
	}
	o := j.Outcome()
	m.but = "it was " + o.Brief()
	if len(branches) > 1 {
		m.but = fmt.Sprintf("of its %d branches, %d were not", len(branches), len(failed))
	}
	m.hops = lastHops(j, failed)
	s := station{milestone: journey.DeviceTransmit, text: string(journey.DeviceTransmit)}
	err = s.blind("BeTransmitted", j, &m.want)
	if err == nil {
		err = doubt(j)
	}
	return false, m.doubted(err)
}

// transmitted says whether a driver was given a branch and kept it, and which event shows that.
func (m *sentMatcher) transmitted(j *journey.Journey, branch int) (ok bool, event int) {
	for _, v := range j.Visits(journey.DeviceTransmit) {
		if !m.want.at(v) || !on(j, v, branch) {
			continue
		}
		dropped := false
		for i := v.Event + 1; i < len(j.Events); i++ {
			if j.BranchOf(i) == v.Branch {
				e := &j.Events[i]
				dropped = e.Drop != nil && e.NetNS != nil && v.NetNS != nil && e.NetNS.Cookie == v.NetNS.Cookie
				break
			}
		}
		if !dropped {
			return true, v.Event
		}
	}
	return false, -1
}

// FailureMessage implements gomega's matcher.
func (m *sentMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *sentMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *sentMatcher) MatchMayChangeInTheFuture(any) bool { return false }
