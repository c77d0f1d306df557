package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeJudgedBy succeeds if an nftables rule matched the packet. The rule is given by its comment, by a part of its text that
// begins and ends with a word, or by its handle: "handle 4". Options: At, On, Verdict.
func BeJudgedBy(rule string, options ...Option) types.GomegaMatcher {
	want, err := parse("BeJudgedBy", options, "At", "On", "Verdict")
	if err == nil && rule == "" {
		err = errors.New("BeJudgedBy: it needs a part of the rule, its comment or its handle")
	}
	m := &eventMatcher{name: "BeJudgedBy", verb: "be judged by rule '" + rule + "'", want: want, needs: verdicts, misuse: err,
		expected: rule}
	m.shows = func(j *journey.Journey, event int) (bool, error) {
		n := j.Events[event].NFT
		if n == nil || n.Rule == 0 || want.verdict != "" && n.Verdict != want.verdict {
			return false, nil
		}
		switch {
		case rule == fmt.Sprintf("handle %d", n.Rule):
			return true, nil
		case strings.HasPrefix(rule, "handle "):
			return false, nil
		case n.RuleText == "" && n.Comment == "":
			return false, fmt.Errorf("%w: the text of the rule with handle %d (table %s, chain %s), which judged the packet, "+
				"is not known", journey.ErrInconclusive, n.Rule, n.Table, n.Chain)
		}
		return containsWords(n.RuleText, rule) || containsWords(n.Comment, rule), nil
	}
	m.instead = judgedBy
	return m
}

// Verdict says what the rule decided: accept, drop, continue, jump, goto, return, queue. A rule that decides nothing about the
// packet's way, such as one that counts, says continue.
func Verdict(verdict string) Option {
	return Option{"Verdict", func(e *expectation) error {
		known := []string{"accept", "drop", "continue", "break", "jump", "goto", "return", "queue", "stolen", "repeat"}
		if !slices.Contains(known, verdict) {
			return fmt.Errorf("there is no verdict %q: it is one of %s", verdict, strings.Join(known, ", "))
		}
		e.verdict = verdict
		return nil
	}}
}

// judgedBy says which rules judged the packet in the wanted place.
func judgedBy(j *journey.Journey, want *expectation) (but string, hops []int) {
	var who []string
	for i := range j.Events {
		e := &j.Events[i]
		if e.NFT == nil || !want.on(e) {
			continue
		}
		who = append(who, verdictNote(e.NFT))
		hops = append(hops, i)
	}
	switch len(who) {
	case 0:
		return "no rule and no policy of nftables judged it there", nil
	case 1:
		return "what judged it was " + who[0], hops
	}
	return "it was judged by others:\n    " + strings.Join(who, "\n    "), hops
}

// Traverse succeeds if the packet came through these nftables chains, in this order, perhaps through others in between. A
// chain is told by a rule of it that matched, by its policy, or by a jump to it: what came through a chain without a policy in
// which no rule matched is known only if a rule led to it. Beside names of chains it takes the option At.
//
//	Expect(journey).To(Traverse("prerouting", "forward", "dns", At(fw)))
func Traverse(chains ...any) types.GomegaMatcher {
	var names []string
	var options []Option
	var err error
	for _, c := range chains {
		switch c := c.(type) {
		case string:
			names = append(names, c)
		case Option:
			options = append(options, c)
		default:
			err = fmt.Errorf("Traverse: it takes names of chains and options, not a %T", c)
		}
	}
	if err == nil && (len(names) == 0 || slices.Contains(names, "")) {
		err = errors.New("Traverse: it needs the name of a chain")
	}
	want, wrong := parse("Traverse", options, "At")
	if err == nil {
		err = wrong
	}
	m := &orderMatcher{name: "Traverse", verb: "in this order", misuse: err}
	for _, name := range names {
		m.stops = append(m.stops, &eventMatcher{
			name: "Traverse", verb: "come through chain " + name, want: want, needs: verdicts,
			shows: func(j *journey.Journey, event int) (bool, error) {
				n := j.Events[event].NFT
				if n == nil || n.Chain == name || n.Target == name {
					return n != nil, nil
				}
				if n.Target == "" && (n.Verdict == "jump" || n.Verdict == "goto") {
					return false, fmt.Errorf("%w: a rule of chain %s (handle %d) led to a chain whose name is not known",
						journey.ErrInconclusive, n.Chain, n.Rule)
				}
				return false, nil
			},
			known: func(j *journey.Journey, want *expectation) error { return knownChain(name, j, want) },
		})
	}
	return m
}

// knownChain finds out whether there is such a chain: in the node, or in any if none is named.
func knownChain(name string, j *journey.Journey, want *expectation) error {
	if len(j.Evidence.Chains) == 0 {
		return nil
	}
	where, all := "this network", []string(nil)
	for cookie, chains := range j.Evidence.Chains {
		if want.place != nil && cookie != want.place.NetNSCookie() {
			continue
		}
		if slices.Contains(chains, name) {
			return nil
		}
		all = append(all, chains...)
	}
	if want.place != nil {
		where = "node " + want.place.String()
	}
	slices.Sort(all)
	all = slices.Compact(all)
	there := "there are none"
	if len(all) > 0 {
		there = "there are " + strings.Join(all, ", ")
	}
	return errors.New(wrap(fmt.Sprintf("Traverse: no ruleset that the harness loaded into %s has a chain %q%s; %s",
		where, name, suggest(name, all), there), "  "))
}
