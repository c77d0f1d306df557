package assert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// InOrder succeeds if the packet did what the matchers say, one after the other, on one way: where it was cloned, one of the
// clones' ways is enough. Between them it may have done anything else. Matchers are those that look at a place: Reach,
// BeJudgedBy, HaveConntrack, BeSNATedTo, BeDNATedTo, HaveFieldChanged, BeMarked, BeEncapsulated.
//
//	Expect(journey).To(InOrder(Reach(Forward, At(fw)), BeSNATedTo("10.0.0.1"), Reach(TCPReceive, At(server))))
func InOrder(matchers ...types.GomegaMatcher) types.GomegaMatcher {
	stops, err := locators("InOrder", false, matchers)
	return &orderMatcher{name: "InOrder", verb: "in this order", stops: stops, misuse: err}
}

// FollowExactly succeeds if, of everything that the matchers look for, the packet did exactly this, in this order, on every
// way that it took: FollowExactly(Reach(Forward, At(a)), Reach(Forward, At(b))) says that a and b forwarded it, and nobody
// else. What no matcher looks for does not matter. Matchers are Reach and BeJudgedBy.
func FollowExactly(matchers ...types.GomegaMatcher) types.GomegaMatcher {
	stops, err := locators("FollowExactly", true, matchers)
	return &orderMatcher{name: "FollowExactly", verb: "exactly this", exact: true, stops: stops, misuse: err}
}

type orderMatcher struct {
	name, verb string
	exact      bool
	stops      []locator
	misuse     error
	finding
}

// Match implements gomega's matcher.
func (m *orderMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject(m.name, actual)
	if err != nil {
		return false, err
	}
	here, all := make([][]moment, len(m.stops)), make([][]moment, len(m.stops))
	var missing error // why something may have been missed
	var lines []string
	for i, stop := range m.stops {
		near, far, err := stop.locate(m.name, j)
		if err != nil {
			return false, err
		}
		here[i], all[i] = near, append(slices.Clone(near), far...)
		if err := stop.unlocated(); err != nil && missing == nil && (len(near) == 0 || m.exact) {
			missing = err
		}
		lines = append(lines, fmt.Sprintf("    (%d) %s", i+1, stop.words()))
	}
	m.finding = finding{journey: j, asked: "to do " + m.verb + ":\n" + strings.Join(lines, "\n")}
	if len(m.stops) == 1 && !m.exact {
		m.asked = "to " + m.stops[0].words()
	}
	if missing == nil {
		missing = doubt(j)
	}
	if m.exact {
		return m.matchExactly(here, all, missing)
	}
	return m.matchInOrder(here, missing)
}

// matchInOrder looks for one way with all stops.
func (m *orderMatcher) matchInOrder(here [][]moment, missing error) (bool, error) {
	best := -1
	for _, way := range m.journey.Deciding() {
		last, hops, n := -2, []int(nil), 0
		for n < len(here) {
			i := slices.IndexFunc(here[n], func(at moment) bool { return at.key > last && on(m.journey, at.Visit, way) })
			if i < 0 {
				break
			}
			last = here[n][i].key
			hops = append(hops, hopsOf(here[n][i:i+1])...)
			n++
		}
		if n == len(here) {
			m.hops = hops
			return true, nil
		}
		if n > best {
			best, m.hops = n, hops
			m.but = m.broken(here[n], n, way)
			m.hops = append(m.hops, hopsOf(here[n])...)
		}
	}
	if best < 0 {
		m.but = "nothing of it was seen"
	}
	return false, m.doubted(missing)
}

// broken says where a sequence ends too early.
func (m *orderMatcher) broken(candidates []moment, n, way int) string {
	elsewhere := func(at moment) bool { return !on(m.journey, at.Visit, way) }
	switch {
	case len(candidates) == 0 && len(m.stops) == 1:
		return "it never did; it was " + m.journey.Outcome().Brief()
	case n == 0 && len(candidates) == 0:
		return fmt.Sprintf("it never did (1); it was %s", m.journey.Outcome().Brief())
	case len(candidates) == 0:
		return fmt.Sprintf("after (%d) it never did (%d); it was %s", n, n+1, m.journey.Outcome().Brief())
	}
	if i := slices.IndexFunc(candidates, elsewhere); i >= 0 {
		return fmt.Sprintf("it did (%d) only as another clone, branch %d", n+1, candidates[i].Branch)
	}
	return fmt.Sprintf("it did (%d) only before (%d)", n+1, n)
}

// matchExactly compares every way with the stops.
func (m *orderMatcher) matchExactly(here, all [][]moment, missing error) (bool, error) {
	for _, way := range m.journey.Deciding() {
		// What happened on this way, of all that is looked for. Stops that look for the same find the same.
		type seen struct {
			moment
			what string
		}
		var path []seen
		for i, stop := range m.stops {
			for _, at := range all[i] {
				s := seen{at, stop.what()}
				same := func(o seen) bool { return o.key == s.key && o.what == s.what }
				if on(m.journey, at.Visit, way) && !slices.ContainsFunc(path, same) {
					path = append(path, s)
				}
			}
		}
		slices.SortStableFunc(path, func(a, b seen) int { return a.key - b.key })
		fits := func(s seen, n int) bool {
			return slices.ContainsFunc(here[n], func(at moment) bool { return at.key == s.key && m.stops[n].what() == s.what })
		}
		n, bad := 0, -1
		for i, s := range path {
			if n < len(m.stops) && fits(s, n) {
				n++
				m.hops = append(m.hops, hopsOf([]moment{s.moment})...)
				continue
			}
			bad = i
			break
		}
		if bad >= 0 {
			s := path[bad]
			m.hops = hopsOf([]moment{s.moment})
			m.but = fmt.Sprintf("it went on to %s%s", s.what, places([]journey.Visit{s.Visit}))
			if n < len(m.stops) {
				m.but = fmt.Sprintf("instead of (%d) it did %s%s", n+1, s.what, places([]journey.Visit{s.Visit}))
			}
			// What was missed could only be in front of it. If it fits later on, that may be so.
			later := slices.ContainsFunc(m.stops[min(n, len(m.stops)):], func(l locator) bool { return l.what() == s.what })
			if later && n < len(m.stops) {
				return false, m.doubted(missing)
			}
			return false, nil
		}
		if n < len(m.stops) {
			m.but = m.broken(nil, n, way)
			return false, m.doubted(missing)
		}
	}
	if len(m.journey.Deciding()) == 0 {
		m.but = "nothing of it was seen"
		return false, m.doubted(missing)
	}
	return missing == nil, m.doubted(missing)
}

// on says whether a visit was on the way of a branch: its own, or of one that it was cloned of, before that.
func on(j *journey.Journey, v journey.Visit, branch int) bool {
	until := len(j.Events) + 1
	for branch >= 0 {
		b := &j.Branches[branch]
		if v.Branch == branch {
			return v.After < until || v.Event < 0 && v.After <= until
		}
		if b.Parent >= branch {
			return false
		}
		until, branch = min(until, b.Since), b.Parent
	}
	return false
}

// FailureMessage implements gomega's matcher.
func (m *orderMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *orderMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *orderMatcher) MatchMayChangeInTheFuture(any) bool { return false }
