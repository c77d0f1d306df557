package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// conntrackStates are what a packet can be to a connection.
var conntrackStates = []string{"NEW", "ESTABLISHED", "RELATED", "REPLY", "RELATED_REPLY", "UNTRACKED"}

// HaveConntrack succeeds if conntrack said this of the packet: NEW, ESTABLISHED, RELATED, REPLY, RELATED_REPLY or UNTRACKED.
// REPLY is a packet in the direction of the replies, for which rules say established too. Options: At, On, Which.
func HaveConntrack(state string, options ...Option) types.GomegaMatcher {
	want, err := parse("HaveConntrack", options, "At", "On", "Which")
	if !slices.Contains(conntrackStates, state) && err == nil {
		err = errors.New(wrap(fmt.Sprintf("HaveConntrack: there is no state %q%s: it is one of %s",
			state, suggest(strings.ToUpper(state), conntrackStates), strings.Join(conntrackStates, ", ")), "  "))
	}
	return &eventMatcher{
		name: "HaveConntrack", verb: "have conntrack's state " + state, want: want, state: true, misuse: err,
		shows: func(j *journey.Journey, event int) (bool, error) {
			c := j.Events[event].Conntrack
			if c == nil || c.State != state || want.which == nil {
				return c != nil && c.State == state, nil
			}
			return want.which.Match(c)
		},
		instead: func(j *journey.Journey, want *expectation) (but string, hops []int) {
			var said []string // states, or if one of them is the wanted one, entries
			wanted := func(e *journey.Event) bool { return e.Conntrack != nil && want.on(e) && e.Conntrack.State == state }
			entries := slices.ContainsFunc(j.Events, func(e journey.Event) bool { return wanted(&e) })
			for i := range j.Events {
				e := &j.Events[i]
				if e.Conntrack == nil || !want.on(e) {
					continue
				}
				s := e.Conntrack.State
				if entries {
					s = e.Conntrack.String()
				}
				if !slices.Contains(said, s) {
					said, hops = append(said, s), append(hops, i)
				}
			}
			if said == nil {
				return "conntrack had nothing to say of it there: no rule of the node asks for it, or the packet did not come so far",
					lastHops(j, j.Deciding())
			}
			if entries {
				return "no entry was as Which wants it:\n    " + strings.Join(said, "\n    "), hops
			}
			return "the state was " + strings.Join(said, ", then "), hops
		},
	}
}

// Which narrows conntrack down by a matcher of the *[journey.Conntrack]: Which(HaveField("Mark", uint32(7))).
func Which(matcher types.GomegaMatcher) Option {
	return Option{"Which", func(e *expectation) error {
		if matcher == nil {
			return fmt.Errorf("it needs a matcher")
		}
		e.which = matcher
		return nil
	}}
}
