package assert

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// TakeAtMost succeeds if the packet came from one place to another within a time, on every way on which it came to both: from where
// the first matcher first holds to where the second does next. Matchers are Reach, BeJudgedBy and others that look at an event.
//
//	Expect(journey).To(TakeAtMost(time.Millisecond, Reach(IPReceive, At(fw)), Reach(DeviceTransmit, At(fw))))
//
// The limit is for a machine without emulation. On one that is slower, it is longer by the factor that the tracker's own packet was
// slower there, and a failure says so: under emulation, times are a measure of nothing else. The time that the tracker itself takes
// is in it, a microsecond or so an event.
func TakeAtMost(limit time.Duration, from, to types.GomegaMatcher) types.GomegaMatcher {
	stops, err := locators("TakeAtMost", false, []types.GomegaMatcher{from, to})
	if err == nil && limit <= 0 {
		err = fmt.Errorf("TakeAtMost: within %v nothing can be done: give a time, such as time.Millisecond", limit)
	}
	return &latencyMatcher{limit: limit, stops: stops, misuse: err}
}

type latencyMatcher struct {
	limit  time.Duration
	stops  []locator
	misuse error
	finding
}

// Match implements gomega's matcher.
func (m *latencyMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject("TakeAtMost", actual)
	if err != nil {
		return false, err
	}
	var ends [2][]moment
	var missing error
	for i, stop := range m.stops {
		if ends[i], _, err = stop.locate("TakeAtMost", j); err != nil {
			return false, err
		}
		if slices.ContainsFunc(ends[i], func(at moment) bool { return at.Event < 0 }) {
			return false, errors.New(wrap(fmt.Sprintf("TakeAtMost: no event says when the packet was to %s, only that it was: ask for a "+
				"place before it, such as Reach(UDPReceive)", stop.words()), ""))
		}
		if len(ends[i]) == 0 && missing == nil {
			missing = stop.unlocated()
		}
	}
	limit := m.limit
	if j.Evidence != nil && j.Evidence.Slowness > 1 {
		limit = time.Duration(float64(limit) * j.Evidence.Slowness)
	}
	m.finding = finding{journey: j, asked: fmt.Sprintf("to take at most %v\n    from (1) to %s\n    to   (2) to %s",
		m.limit, m.stops[0].words(), m.stops[1].words())}
	if missing == nil {
		missing = doubt(j)
	}

	var slowest time.Duration
	found := false
	for _, way := range j.Deciding() {
		first, second, ok := interval(j, ends, way)
		if !ok {
			continue
		}
		took := since(j, first.Event, second.Event)
		if !found || took > slowest {
			slowest, m.hops, m.but = took, []int{first.Event, second.Event}, m.told(took, limit, first, second, way)
		}
		found = true
	}
	switch {
	case !found && len(ends[0]) == 0:
		m.but = "it never did (1); it was " + j.Outcome().Brief()
		m.hops = lastHops(j, j.Deciding())
	case !found:
		m.but = "after (1) it never did (2); it was " + j.Outcome().Brief()
		m.hops = append(hopsOf(ends[0][:1]), hopsOf(ends[1])...)
	case slowest <= limit:
		return true, nil
	}
	return false, m.doubted(missing)
}

// interval finds, on one way, where the packet first did the one, and where it next did the other.
func interval(j *journey.Journey, ends [2][]moment, way int) (first, second moment, ok bool) {
	i := slices.IndexFunc(ends[0], func(at moment) bool { return on(j, at.Visit, way) })
	if i < 0 {
		return first, second, false
	}
	first = ends[0][i]
	k := slices.IndexFunc(ends[1], func(at moment) bool { return at.key > first.key && on(j, at.Visit, way) })
	if k < 0 {
		return first, second, false
	}
	return first, ends[1][k], true
}

// since is the time between two events.
func since(j *journey.Journey, first, second int) time.Duration {
	return time.Duration(j.Events[second].Time - j.Events[first].Time)
}

// told says how long it took, where most of it went, and what the machine has to do with it.
func (m *latencyMatcher) told(took, limit time.Duration, first, second moment, way int) string {
	text := fmt.Sprintf("it took %s", rounded(took))
	before, worst, at := first.Event, time.Duration(0), 0
	for i := first.Event + 1; i <= second.Event; i++ {
		if !on(m.journey, journey.Visit{Branch: m.journey.BranchOf(i), Event: i, After: i}, way) {
			continue
		}
		if gap := since(m.journey, before, i); gap > worst {
			worst, at = gap, i
		}
		before = i
	}
	if worst < took {
		text += fmt.Sprintf(", of which %s before hop %d", rounded(worst), at)
	}
	if limit > m.limit {
		text += fmt.Sprintf(" (this machine is %.1f times slower than one without emulation, so that %s were allowed)",
			m.journey.Evidence.Slowness, rounded(limit))
	}
	return text
}

// rounded is a time with three digits or so.
func rounded(d time.Duration) time.Duration {
	for unit := time.Second; unit >= time.Microsecond; unit /= 1000 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}

// FailureMessage implements gomega's matcher.
func (m *latencyMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *latencyMatcher) NegatedFailureMessage(any) string {
	return m.text("Expected the packet", "not "+m.asked+",\nbut "+m.but+".", "→ marks it", "")
}

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *latencyMatcher) MatchMayChangeInTheFuture(any) bool { return false }
