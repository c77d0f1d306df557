package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// Reach succeeds if the packet, or a copy of it, came by a place in the kernel. The place is a milestone (Forward), or a
// probe as traces take them: the call of a function ("ip_forward"), its return ("kr:ip_forward"), a tracepoint
// ("tp:skb:kfree_skb"). A function must have been armed; milestones are by every trace. Options: At, On, Times. On speaks of the device that the packet has there, and up to
// postrouting that is the one by which it came.
//
// Of a function that is one of several ways to a milestone, such as ip_rcv, by which packets that arrive in a list do not
// come, Reach says so if the packet came another way. "k:ip_rcv" means this function and no other.
func Reach[P string | journey.Milestone](place P, options ...Option) types.GomegaMatcher {
	want, err := parse("Reach", options, "At", "On", "Times")
	s, wrong := stationOf(place)
	if err == nil && wrong != nil {
		err = fmt.Errorf("Reach: %w", wrong)
	}
	return &reachMatcher{station: s, want: want, misuse: err}
}

type reachMatcher struct {
	station station
	want    expectation
	misuse  error
	finding
}

// Match implements gomega's matcher.
func (m *reachMatcher) Match(actual any) (bool, error) {
	here, elsewhere, err := m.sight("Reach", actual)
	if err != nil {
		return false, err
	}
	j := m.journey
	m.hops = eventsOf(here)
	enough := len(here) > 0
	if m.want.times > 0 {
		enough = len(here) == m.want.times
	}
	if enough && m.want.times == 0 {
		return true, nil
	}
	if m.want.times > 0 && len(here) > m.want.times {
		m.but = "it did so " + times(len(here))
		return false, nil
	}
	switch {
	case len(here) > 0:
		m.but = "it did so " + times(len(here))
	case len(elsewhere) > 0:
		m.but = "it did so only" + places(elsewhere)
		m.hops = eventsOf(elsewhere)
	default:
		m.but = "it never did; it was " + j.Outcome().Brief()
		m.hops = lastHops(j, j.Deciding())
	}
	if err := m.doubt(here); err != nil {
		return false, err
	}
	return enough, nil
}

// sight finds the packet at the station: in the wanted place, and in others.
func (m *reachMatcher) sight(matcher string, actual any) (here, elsewhere []journey.Visit, err error) {
	if m.misuse != nil {
		return nil, nil, m.misuse
	}
	j, err := subject(matcher, actual)
	if err != nil {
		return nil, nil, err
	}
	if m.want.device != "" && (m.station.milestone == journey.LocalOut || m.station.milestone == journey.Postrouting) {
		return nil, nil, errors.New(wrap(fmt.Sprintf("%s: at %s the packet is not on the device yet by which it is "+
			"to leave; ask for that later: Reach(DeviceTransmit, On(%q))", matcher, m.station, m.want.device), ""))
	}
	m.finding = finding{journey: j, asked: "to reach " + m.station.String() + m.want.words()}
	if err := m.want.check(matcher, j); err != nil {
		return nil, nil, err
	}
	for _, v := range m.station.visits(j) {
		if m.want.at(v) {
			here = append(here, v)
		} else {
			elsewhere = append(elsewhere, v)
		}
	}
	return here, elsewhere, nil
}

// doubt says why that nothing more was seen at the station proves nothing.
func (m *reachMatcher) doubt(here []journey.Visit) error {
	var err error
	if len(here) == 0 {
		err = m.station.unseen("Reach", m.journey, &m.want)
	} else if e := m.journey.Evidence; e != nil && e.Milestones[m.station.milestone].Blind != "" {
		err = m.station.blind("Reach", m.journey, &m.want)
	}
	if err == nil {
		err = doubt(m.journey)
	}
	return m.doubted(err)
}

// eventsOf are the events that show visits.
func eventsOf(visits []journey.Visit) []int {
	var events []int
	for _, v := range visits {
		if v.Event >= 0 {
			events = append(events, v.Event)
		}
	}
	return events
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// places lists where visits were.
func places(visits []journey.Visit) string {
	var all []string
	for _, v := range visits {
		where := ""
		if v.NetNS != nil {
			where += " in namespace " + v.NetNS.String()
		}
		if v.Device != nil {
			where += " on " + v.Device.String()
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
func (m *reachMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *reachMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *reachMatcher) MatchMayChangeInTheFuture(any) bool { return false }
