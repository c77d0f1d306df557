package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// AnyOf succeeds if one of the matchers does. Where gomega's Or stops at the first error, AnyOf asks all: what one
// matcher saw stands, though the record cannot vouch for what another did not see. If none succeeds and one could not
// tell, neither can AnyOf. A matcher that is misused is an error always.
func AnyOf(matchers ...types.GomegaMatcher) types.GomegaMatcher {
	return &anyOfMatcher{matchers: matchers}
}

type anyOfMatcher struct {
	matchers []types.GomegaMatcher
	matched  types.GomegaMatcher
}

// Match implements gomega's matcher.
func (m *anyOfMatcher) Match(actual any) (bool, error) {
	m.matched = nil
	if len(m.matchers) == 0 {
		return false, errors.New("AnyOf: it needs at least one matcher")
	}
	var inconclusive error
	for _, matcher := range m.matchers {
		ok, err := matcher.Match(actual)
		switch {
		case err != nil && !errors.Is(err, journey.ErrInconclusive):
			return false, err
		case err != nil && inconclusive == nil:
			inconclusive = err
		case ok && m.matched == nil:
			m.matched = matcher
		}
	}
	if m.matched != nil {
		return true, nil
	}
	return false, inconclusive
}

// FailureMessage implements gomega's matcher. The matchers of this package share one picture of the journey; others
// say what they say.
func (m *anyOfMatcher) FailureMessage(actual any) string {
	var predicate strings.Builder
	predicate.WriteString("to do one of these:")
	joint := finding{}
	for i, matcher := range m.matchers {
		ours, ok := matcher.(interface{ found() *finding })
		if !ok {
			return m.messages(actual)
		}
		f := ours.found()
		predicate.WriteString("\n" + wrap(fmt.Sprintf("(%d) %s: but %s", i+1, f.asked, f.but), "    "))
		joint.journey = f.journey
		joint.hops = append(joint.hops, f.hops...)
	}
	another := joint.closer(func(other any) (bool, error) { return slices.ContainsFunc(m.matchers, holdsFor(other)), nil })
	return joint.text("Expected the packet", predicate.String(), "→ marks where it departed", another)
}

// holdsFor says whether a matcher has no doubt that it holds.
func holdsFor(actual any) func(types.GomegaMatcher) bool {
	return func(m types.GomegaMatcher) bool {
		ok, err := m.Match(actual)
		return ok && err == nil
	}
}

func (m *anyOfMatcher) messages(actual any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Expected one of %d, but none came true.\n", len(m.matchers))
	for i, matcher := range m.matchers {
		fmt.Fprintf(&b, "\n(%d) %s\n", i+1, matcher.FailureMessage(actual))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// NegatedFailureMessage implements gomega's matcher.
func (m *anyOfMatcher) NegatedFailureMessage(actual any) string {
	return m.matched.NegatedFailureMessage(actual)
}

// MatchMayChangeInTheFuture asks the matchers.
func (m *anyOfMatcher) MatchMayChangeInTheFuture(actual any) bool {
	for _, matcher := range m.matchers {
		if types.MatchMayChangeInTheFuture(matcher, actual) {
			return true
		}
	}
	return false
}
