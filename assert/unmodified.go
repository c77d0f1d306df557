package assert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeUnmodified succeeds if the packet was the same wherever it was seen: its bytes from the network header on, as far as they were
// captured, and its mark, if the trace recorded metadata (TraceOptions.Metadata). Not compared are the link header and its tags, the
// time to live or hop limit, and the checksums of IPv4, TCP, UDP and SCTP: see [journey.Event.Changes]. The mark is compared within
// each namespace, because the kernel clears it when a packet goes to another one (skb_scrub_packet, net/core/skbuff.c). A tunnel's
// header around the packet is a modification, until it is taken off. Options: At, On.
func BeUnmodified(options ...Option) types.GomegaMatcher {
	want, err := parse("BeUnmodified", options, "At", "On")
	m := &journeyMatcher{name: "BeUnmodified", asked: "to be unmodified" + want.words(), want: want, misuse: err}
	m.judge = func(j *journey.Journey, f *finding) (bool, error) {
		seen := compared(j, &want)
		for n, at := range seen[min(1, len(seen)):] {
			if words := modified(j, seen[:n+1], at); words != "" {
				f.hops, f.but = []int{at}, fmt.Sprintf("at hop %d it was changed: %s", at, words)
				return false, nil
			}
		}
		if len(seen) < 2 {
			return false, fmt.Errorf("%w: what the packet looked like was seen %s%s, so there is nothing to compare",
				journey.ErrInconclusive, []string{"nowhere", "only once"}[len(seen)], want.words())
		}
		f.hops = []int{seen[0], seen[len(seen)-1]}
		if err := observed("BeUnmodified", j.Evidence); err != nil {
			return false, err
		}
		return true, doubt(j)
	}
	return m
}

// compared are the events, in the wanted place, that show the packet on its own way. On its return a function says how the packet
// was when it was called.
func compared(j *journey.Journey, want *expectation) []int {
	var seen []int
	for i := range j.Events {
		e := &j.Events[i]
		if e.Probe.Kind == journey.Return || !want.on(e) || !decides(j, i) {
			continue
		}
		if _, ok := e.Changes(e); ok {
			seen = append(seen, i)
		}
	}
	return seen
}

// decides says whether an event was on the way of a branch that decides what became of the packet.
func decides(j *journey.Journey, event int) bool {
	for _, branch := range j.Deciding() {
		if on(j, visit(j, event), branch) {
			return true
		}
	}
	return false
}

// visit is an event as a visit.
func visit(j *journey.Journey, event int) journey.Visit {
	e := &j.Events[event]
	return journey.Visit{Branch: j.BranchOf(event), Event: event, After: event, NetNS: e.NetNS, Device: e.Device}
}

// modified says how the packet differs at an event from what it was before; empty if it does not.
func modified(j *journey.Journey, before []int, at int) string {
	e := &j.Events[at]
	changes, _ := j.Events[before[0]].Changes(e)
	for i := at - 1; i >= 0; i-- {
		earlier := &j.Events[i]
		if !on(j, visit(j, i), j.BranchOf(at)) || earlier.NetNS == nil {
			continue
		}
		if e.NetNS == nil || earlier.NetNS.Cookie != e.NetNS.Cookie {
			break // it has been elsewhere, and its mark was cleared on the way
		}
		if earlier.Meta == nil || e.Meta == nil || !slices.Contains(before, i) {
			continue
		}
		if was, is := earlier.Meta.Mark, e.Meta.Mark; was != is {
			changes = append(changes, journey.Change{Field: "mark", From: fmt.Sprintf("%#x", was), To: fmt.Sprintf("%#x", is)})
		}
		break
	}
	var words []string
	for _, c := range changes {
		words = append(words, c.String())
	}
	return strings.Join(words, ", ")
}
