package assert

import (
	"errors"
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeAnsweredBy succeeds if the kernel sent a packet while it handled this one ([journey.Answer]) whose journey the matcher holds of.
// What somebody else sends is no answer, whatever it says.
func BeAnsweredBy(matcher types.GomegaMatcher) types.GomegaMatcher {
	m := &lineageMatcher{name: "BeAnsweredBy", asked: "to be answered by the packet that is expected"}
	if matcher == nil {
		m.misuse = errors.New("BeAnsweredBy: it needs a matcher for the answer")
	}
	m.judge = func(j *journey.Journey) (bool, string, error) {
		for _, answer := range j.Answers() {
			ok, err := matcher.Match(answer)
			if f, ours := matcher.(interface{ found() *finding }); ours && f.found().asked != "" {
				m.finding.asked = "to be answered by a packet that is expected " + f.found().asked
			}
			if ok || err != nil {
				return ok, "", err
			}
		}
		return false, answered(j), nil
	}
	return m
}

// BeRejected succeeds if the kernel answered the packet with an ICMP error or a TCP reset: of the kind that With says, if that is
// given.
func BeRejected(options ...Option) types.GomegaMatcher {
	want, err := parse("BeRejected", options, "With")
	m := &lineageMatcher{name: "BeRejected", asked: "to be rejected", misuse: err}
	if want.with != "" {
		m.asked += " with " + want.with
	}
	m.judge = func(j *journey.Journey) (bool, string, error) {
		for _, answer := range j.Answers() {
			if r := answer.Rejection(); r != "" && (want.with == "" || r == want.with) {
				return true, "", nil
			}
		}
		return false, answered(j), nil
	}
	return m
}

// With says by what a packet is rejected, in the words of nft: "tcp reset", "icmp port-unreachable", "icmpv6 no-route"; or by type
// and code, "icmp 11/0", where there is no such word.
func With(what string) Option {
	return text("With", what, "a kind of rejection, such as \"tcp reset\" or \"icmp port-unreachable\"",
		func(e *expectation) *string { return &e.with })
}

// answered says by what a packet was answered.
func answered(j *journey.Journey) string {
	answers := j.Answers()
	if len(answers) == 0 {
		return "nothing was sent in answer to it"
	}
	var lines []string
	for _, answer := range answers {
		line := answer.Flow()
		if r := answer.Rejection(); r != "" {
			line += " (" + r + ")"
		}
		lines = append(lines, line)
	}
	return "the answer was " + strings.Join(lines, ", and ")
}

// BeFragmentedInto succeeds if IP made n fragments of the packet. If the first of them is the packet itself, cut short, as where
// IP fragments what it has in parts already, it counts as one.
func BeFragmentedInto(n int) types.GomegaMatcher {
	return dividedInto("BeFragmentedInto", n, journey.Fragment, "fragments")
}

// BeSegmentedInto succeeds if segmentation offload, in software, made n segments of the packet.
func BeSegmentedInto(n int) types.GomegaMatcher {
	return dividedInto("BeSegmentedInto", n, journey.Segment, "segments")
}

func dividedInto(name string, n int, relation journey.Relation, what string) types.GomegaMatcher {
	m := &lineageMatcher{name: name, asked: fmt.Sprintf("to be divided into %d %s", n, what), exact: true}
	if n < 2 {
		m.misuse = fmt.Errorf("%s: it needs a number from 2 on, not %d; that a packet stays whole is said with NotTo", name, n)
	}
	m.judge = func(j *journey.Journey) (bool, string, error) {
		pieces := 0
		for _, d := range j.Descendants() {
			if of, how := d.Cause(); how == relation && of == j {
				pieces++
			}
		}
		if pieces > 0 && j.Outcome().WentOn == "" {
			pieces++ // itself
		}
		if pieces == 0 {
			return false, "it was not divided", nil
		}
		return pieces == n, fmt.Sprintf("it was divided into %d", pieces), nil
	}
	return m
}

// BeMergedInto succeeds if the packet's data went on as part of another one: by reassembly of fragments, by GRO, or in a queue of
// TCP.
func BeMergedInto(whole *journey.Journey) types.GomegaMatcher {
	m := &lineageMatcher{name: "BeMergedInto"}
	if whole == nil {
		m.misuse = errors.New("BeMergedInto: the journey is nil")
		return m
	}
	m.asked = "to be merged into " + whole.Flow()
	m.judge = func(j *journey.Journey) (bool, string, error) {
		but := "it was " + j.Outcome().Brief()
		for _, l := range j.Links {
			if l.Relation != journey.MergedInto {
				continue
			}
			if l.To == whole.ID {
				return true, "", nil
			}
			but = "it was merged into another packet, #" + l.To.String()
		}
		return false, but, nil
	}
	return m
}

// lineageMatcher asks what a packet has to do with others.
type lineageMatcher struct {
	name   string
	asked  string
	exact  bool // what was not seen may make it false
	misuse error
	// judge returns whether it holds, and what is the case instead.
	judge func(*journey.Journey) (ok bool, but string, err error)
	finding
}

// Match implements gomega's matcher.
func (m *lineageMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject(m.name, actual)
	if err != nil {
		return false, err
	}
	if j.Evidence != nil && j.Evidence.NoFunctions != "" {
		return false, errors.New(wrap(fmt.Sprintf("%s: what packets have to do with each other cannot be observed here: %s. Call "+
			"harness.NeedFunctions to skip the test on such kernels.", m.name, j.Evidence.NoFunctions), ""))
	}
	m.finding = finding{journey: j, asked: m.asked, hops: lastHops(j, j.Deciding())}
	var ok bool
	if ok, m.but, err = m.judge(j); err != nil {
		return false, err
	}
	if ok && !m.exact {
		return true, nil
	}
	err = doubt(j)
	if err == nil && j.Evidence != nil && len(j.Evidence.Unlinked) > 0 {
		err = fmt.Errorf("%w: at %s nothing could be observed on this kernel, by which links between packets are told",
			journey.ErrInconclusive, strings.Join(j.Evidence.Unlinked, ", "))
	}
	return ok, m.doubted(err)
}

// FailureMessage implements gomega's matcher.
func (m *lineageMatcher) FailureMessage(any) string {
	other := *m
	return m.failure(other.Match)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *lineageMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *lineageMatcher) MatchMayChangeInTheFuture(any) bool { return false }
