package assert

import (
	"errors"
	"fmt"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// A locator is a matcher that knows when the packet did what it looks for, so that it can be one of a sequence.
type locator interface {
	types.GomegaMatcher
	// locate lists when: where it is wanted, and elsewhere. The error tells of misuse.
	locate(matcher string, actual any) (here, elsewhere []moment, err error)
	// unlocated says why that nothing was found proves nothing; nil if it proves that there was nothing.
	unlocated() error
	// what is the same for locators that look for the same, wherever that is.
	what() string
	// words are what is looked for, to follow "to".
	words() string
}

// moment is when and where a packet did something.
type moment struct {
	journey.Visit
	// key orders the moments of a journey.
	key int
}

func (m *reachMatcher) locate(matcher string, actual any) (here, elsewhere []moment, err error) {
	if m.misuse == nil && m.want.times > 0 {
		return nil, nil, fmt.Errorf("%s: Times says nothing to it; name the place as many times as it is to be reached", matcher)
	}
	near, far, err := m.sight("Reach", actual)
	return m.moments(near), m.moments(far), err
}

// moments orders visits. A delivery happens between two events, and so does prerouting, of which the event before tells.
func (m *reachMatcher) moments(visits []journey.Visit) []moment {
	var all []moment
	for _, v := range visits {
		key := 2 * v.After
		switch m.station.milestone {
		case journey.SocketDeliver:
			key--
		case journey.Prerouting:
			key++
		}
		all = append(all, moment{v, key})
	}
	return all
}

func (m *reachMatcher) unlocated() error { return m.station.unseen("Reach", m.journey, &m.want) }
func (m *reachMatcher) what() string     { return "reach " + m.station.String() }
func (m *reachMatcher) words() string    { return "reach " + m.station.String() + m.want.words() }

// eventMatcher looks for an event that shows something.
type eventMatcher struct {
	name string
	verb string // "be judged by rule 'x'"
	want expectation
	// needs is the probe without which it could not be seen; zero if any event shows it.
	needs journey.Probe
	// shows says whether an event shows it. An error says that it is not known.
	shows func(j *journey.Journey, event int) (bool, error)
	// instead says in words what was seen instead; empty if nothing is to be said. May be nil.
	instead func(j *journey.Journey, want *expectation) (but string, hops []int)
	// known is asked for what the record can tell to be a mistake, when nothing was found. May be nil.
	known func(j *journey.Journey, want *expectation) error
	// state says that it is no event but how the packet was at it, and at those after it.
	state bool
	// expected is a rule that was to judge the packet; empty if none was.
	expected string
	// before says that what an event shows happened before it.
	before  bool
	misuse  error
	unclear error
	finding
}

// locate implements locator.
func (m *eventMatcher) locate(_ string, actual any) (here, elsewhere []moment, err error) {
	if m.misuse != nil {
		return nil, nil, m.misuse
	}
	j, err := subject(m.name, actual)
	if err != nil {
		return nil, nil, err
	}
	m.unclear = nil
	m.finding = finding{journey: j, asked: "to " + m.words()}
	if err := m.want.check(m.name, j); err != nil {
		return nil, nil, err
	}
	for i := range j.Events {
		e := &j.Events[i]
		ok, err := m.shows(j, i)
		at := moment{journey.Visit{Branch: j.BranchOf(i), Event: i, After: i, NetNS: e.NetNS, Device: e.Device}, 2 * i}
		if m.before {
			at.key--
		}
		switch {
		case err != nil && m.want.on(e):
			m.unclear = err
		case ok && m.want.on(e):
			here = append(here, at)
		case ok:
			elsewhere = append(elsewhere, at)
		}
	}
	return here, elsewhere, nil
}

func (m *eventMatcher) what() string  { return m.verb }
func (m *eventMatcher) words() string { return m.verb + m.want.words() }

func (m *eventMatcher) unlocated() error {
	if m.needs != (journey.Probe{}) {
		if err := armed(m.name, m.needs, m.journey.Evidence); err != nil {
			return err
		}
	}
	if m.state {
		if err := observed(m.name, m.journey.Evidence); err != nil {
			return err
		}
	}
	if m.known != nil && m.journey.Evidence != nil {
		if err := m.known(m.journey, &m.want); err != nil {
			return err
		}
	}
	return m.unclear
}

// Match implements gomega's matcher.
func (m *eventMatcher) Match(actual any) (bool, error) {
	here, elsewhere, err := m.locate(m.name, actual)
	if err != nil {
		return false, err
	}
	if m.hops = hopsOf(here); len(here) > 0 {
		return true, nil
	}
	j := m.journey
	if len(elsewhere) > 0 {
		m.but, m.hops = "it was so only"+places(visitsOf(elsewhere)), hopsOf(elsewhere)
	} else if m.instead != nil {
		m.but, m.hops = m.instead(j, &m.want)
	}
	if len(elsewhere) == 0 && len(here) == 0 {
		m.rule, m.place = m.expected, m.want.place
	}
	if m.but == "" {
		m.but, m.hops = "it never was; it was "+j.Outcome().Brief(), lastHops(j, j.Deciding())
	}
	if err := m.unlocated(); err != nil {
		return false, m.doubted(err)
	}
	return false, m.doubted(doubt(j))
}

// observed returns an error if the packet's way was not observed at every milestone: what it looked like between those that
// were is not known.
func observed(matcher string, evidence *journey.Evidence) error {
	if evidence == nil {
		return nil
	}
	for _, milestone := range journey.Milestones() {
		if _, ok := evidence.Milestones[milestone]; !ok {
			return errors.New(wrap(fmt.Sprintf("%s: the milestone %s was not observed, so the record cannot tell how the packet was "+
				"there: this kernel does not allow it, or the trace was begun with TraceOptions.WithoutMilestones.", matcher, milestone), ""))
		}
	}
	return nil
}

func visitsOf(moments []moment) []journey.Visit {
	var visits []journey.Visit
	for _, m := range moments {
		visits = append(visits, m.Visit)
	}
	return visits
}

func hopsOf(moments []moment) []int { return eventsOf(visitsOf(moments)) }

// FailureMessage implements gomega's matcher.
func (m *eventMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *eventMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *eventMatcher) MatchMayChangeInTheFuture(any) bool { return false }

// locators are the matchers of a sequence; in an exact one, states have no place.
func locators(matcher string, exact bool, matchers []types.GomegaMatcher) ([]locator, error) {
	if len(matchers) == 0 {
		return nil, fmt.Errorf("%s: it needs at least one matcher, such as Reach(Forward, At(fw))", matcher)
	}
	var all []locator
	for i, m := range matchers {
		l, ok := m.(locator)
		if !ok {
			return nil, errors.New(wrap(fmt.Sprintf("%s: matcher %d does not say when something happened, only that it did: give "+
				"Reach, BeJudgedBy, HaveConntrack or another that looks at a place", matcher, i+1), ""))
		}
		if e, isEvent := m.(*eventMatcher); isEvent && e.state && exact {
			return nil, fmt.Errorf("%s: %s tells how the packet was, not what it did: use it with InOrder", matcher, e.name)
		}
		all = append(all, l)
	}
	return all, nil
}
