package assert

import (
	"github.com/waybill-dev/waybill/journey"
)

// journeyMatcher asks something of a journey as a whole.
type journeyMatcher struct {
	name   string
	asked  string
	want   expectation
	misuse error
	// judge returns whether it holds, and notes what is the case instead. An error says that it is not known.
	judge func(*journey.Journey, *finding) (bool, error)
	finding
}

// Match implements gomega's matcher.
func (m *journeyMatcher) Match(actual any) (bool, error) {
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
	m.finding = finding{journey: j, asked: m.asked, hops: lastHops(j, j.Deciding())}
	ok, err := m.judge(j, &m.finding)
	if err != nil {
		return false, m.doubted(err)
	}
	return ok, nil
}

// FailureMessage implements gomega's matcher.
func (m *journeyMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *journeyMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *journeyMatcher) MatchMayChangeInTheFuture(any) bool { return false }
