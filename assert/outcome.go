package assert

import (
	"fmt"

	"github.com/waybill-dev/waybill/journey"
)

// outcomeMatcher holds the outcomes of a journey's branches against an expectation.
type outcomeMatcher struct {
	name string
	verb string // "to be dropped"
	// needs is the probe without which the outcome would not be seen; zero if the tracker always sees it.
	needs journey.Probe
	want  expectation
	// judge says how a branch departs from the expectation: in words, or not at all. An error says that it is not
	// known whether it does.
	judge  func(*expectation, *journey.Outcome) (departure, error)
	misuse error
	finding
}

// departure is how an outcome differs from what was expected; the zero value says that it does not.
type departure struct {
	how string         // "it was delivered"
	hop *journey.Event // the event that shows it, if that is not the outcome's own
}

// Match implements gomega's matcher.
func (m *outcomeMatcher) Match(actual any) (bool, error) {
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
	selected := m.want.selected(j)
	found, unknown := m.judgeAll(j, selected)
	if found {
		return true, nil
	}
	if m.want.rule != "" {
		m.rule = m.want.rule
		m.place = m.want.place
	}
	if m.needs != (journey.Probe{}) {
		if err := armed(m.name, m.needs, j.Evidence); err != nil {
			return false, err
		}
	}
	if unknown == nil {
		unknown = doubt(j)
	}
	if unknown == nil {
		unknown = merged(j, selected)
	}
	return false, m.doubted(unknown)
}

// merged returns an error if one of the branches became a part of another packet: what happened to its data is known of that
// packet only. TCP may do this to any segment that comes while the socket is busy.
func merged(j *journey.Journey, selected []int) error {
	for _, i := range selected {
		if j.Branches[i].Outcome.Kind == journey.Merged {
			return fmt.Errorf("%w: the packet was merged into another one, which has its data from then on (skb %x)",
				journey.ErrInconclusive, j.Branches[i].SKB)
		}
	}
	return nil
}

// judgeAll says whether the selected branches, or one of them if that is enough, ended as expected. If not, it notes
// how they departed, and returns an error if one that matters could not be judged.
func (m *outcomeMatcher) judgeAll(j *journey.Journey, selected []int) (found bool, unknown error) {
	var agreed, departed []int // events that show it, by branch
	for _, i := range selected {
		o := &j.Branches[i].Outcome
		d, err := m.judge(&m.want, o)
		if d.hop == nil {
			d.hop = o.Event
		}
		switch {
		case err != nil:
			unknown = err
			departed = append(departed, indexOf(j, d.hop))
		case d.how == "":
			agreed = append(agreed, indexOf(j, d.hop))
		default:
			if m.but == "" {
				m.but = d.how
				if len(selected) > 1 {
					m.but = fmt.Sprintf("in branch %d %s", i, d.how)
				}
			}
			departed = append(departed, indexOf(j, d.hop))
		}
	}
	switch {
	case len(selected) == 0:
		m.but = "no branch of it was seen there"
		m.hops = lastHops(j, j.Deciding())
		return false, nil
	case len(departed) == 0, m.want.anyBranch && len(agreed) > 0:
		m.hops = agreed
		return true, nil
	case len(departed) > 1:
		m.but = fmt.Sprintf("of its %d branches, %d did not: %s, for one", len(selected), len(departed), m.but)
	}
	m.hops = departed
	return false, unknown
}

// indexOf returns the index of one of the journey's events, or -1.
func indexOf(j *journey.Journey, e *journey.Event) int {
	for i := range j.Events {
		if &j.Events[i] == e {
			return i
		}
	}
	return -1
}

// selected are the branches of which the expectation speaks: those that decide, and of these, those that were on the
// device if one is named.
func (e *expectation) selected(j *journey.Journey) []int {
	deciding := j.Deciding()
	if e.device == "" {
		return deciding
	}
	var selected []int
	for _, i := range deciding {
		for _, event := range j.Branches[i].Events {
			if e.on(&j.Events[event]) {
				selected = append(selected, i)
				break
			}
		}
	}
	return selected
}

// endedIn says how the place of an outcome departs from the expected one.
func (e *expectation) endedIn(o *journey.Outcome) departure {
	ns := o.NetNS
	if ns == nil {
		ns = o.LastNetNS
	}
	switch {
	case e.in(ns):
		return departure{}
	case ns == nil:
		return departure{how: fmt.Sprintf("it was %s in an unknown place", o.Kind)}
	}
	return departure{how: fmt.Sprintf("it was %s in namespace %s", o.Kind, ns)}
}

// FailureMessage implements gomega's matcher.
func (m *outcomeMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *outcomeMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *outcomeMatcher) MatchMayChangeInTheFuture(any) bool { return false }
