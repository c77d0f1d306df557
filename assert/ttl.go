package assert

import (
	"fmt"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// HaveTTLDecremented succeeds if the packet's time to live (IPv6: hop limit) became lower by one: between where it was first
// and last seen in the node that At gives, or else in all. Times(n) says by how many. Options: At, Times.
func HaveTTLDecremented(options ...Option) types.GomegaMatcher {
	want, err := parse("HaveTTLDecremented", options, "At", "Times")
	return &ttlMatcher{want: want, misuse: err}
}

type ttlMatcher struct {
	want   expectation
	misuse error
	finding
}

// Match implements gomega's matcher.
func (m *ttlMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject("HaveTTLDecremented", actual)
	if err != nil {
		return false, err
	}
	if err := m.want.check("HaveTTLDecremented", j); err != nil {
		return false, err
	}
	by := max(m.want.times, 1)
	asked := expectation{place: m.want.place}
	m.finding = finding{journey: j, asked: fmt.Sprintf("to have its time to live lowered by %d%s", by, asked.words())}
	first, last := -1, -1
	var before, after journey.Header
	for i := range j.Events {
		e := &j.Events[i]
		if e.Packet == nil || e.Probe.Kind == journey.Return || !m.want.in(e.NetNS) {
			continue
		}
		h, ok := e.Packet.Header()
		switch {
		case !ok || h.TTL == 0:
		case first < 0:
			first, last, before, after = i, i, h, h
		case h.Proto == before.Proto && h.Src.Is4() == before.Src.Is4(): // not the header of a tunnel
			last, after = i, h
		}
	}
	if first < 0 {
		m.but = "no IP header of it was seen" + asked.words()
		return false, m.doubted(doubt(j))
	}
	m.hops = []int{first, last}
	lowered := int(before.TTL) - int(after.TTL)
	m.but = fmt.Sprintf("it was %d at first and %d at last", before.TTL, after.TTL)
	if lowered == by {
		return true, nil
	}
	if lowered > by {
		return false, nil
	}
	if err := observed("HaveTTLDecremented", j.Evidence); err != nil {
		return false, err
	}
	return false, m.doubted(doubt(j))
}

// FailureMessage implements gomega's matcher.
func (m *ttlMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *ttlMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *ttlMatcher) MatchMayChangeInTheFuture(any) bool { return false }
