package shape

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// Difference is how two journeys differ, called a and b.
type Difference struct {
	// PacketA and PacketB are what the packets were, if that differs.
	PacketA string `json:"packet_a,omitempty"`
	PacketB string `json:"packet_b,omitempty"`
	// Ways are those that differ.
	Ways []WayDifference `json:"ways,omitempty"`
}

// WayDifference is how one way of a packet differs.
type WayDifference struct {
	// Steps are the hops of both, aligned. If only one has the way, all are on one side.
	Steps []Step `json:"steps"`
	// Lacking says that one side has no such way at all.
	Lacking bool `json:"lacking,omitempty"`
}

// Compare compares two journeys. It returns nil if the same happened in both.
func Compare(a, b *Shape) *Difference {
	var d Difference
	if a.Packet != b.Packet {
		d.PacketA, d.PacketB = a.Packet, b.Packet
	}
	for _, pair := range pairWays(a.Ways, b.Ways) {
		w := WayDifference{Lacking: pair[0] == nil || pair[1] == nil}
		w.Steps = align(pair[0], pair[1])
		if w.Lacking {
			w.Steps = alignHops(pair[0], pair[1])
		}
		if !w.Lacking {
			w.doubt(a, b)
		}
		if slices.ContainsFunc(w.Steps, func(s Step) bool { return s.Op != Same }) {
			d.Ways = append(d.Ways, w)
		}
	}
	if d.PacketA == "" && d.Ways == nil {
		return nil
	}
	return &d
}

// doubt notes which steps may be due to what was observed.
func (w *WayDifference) doubt(a, b *Shape) {
	for i := range w.Steps {
		s := &w.Steps[i]
		switch {
		case s.Op == OnlyA && !s.Moved:
			s.Untold = untold(s.A, b.evidence)
		case s.Op == OnlyB && !s.Moved:
			s.Untold = untold(s.B, a.evidence)
		case s.Op == Changed:
			s.Untold = vague(s.A, s.B)
		}
	}
	if i := slices.IndexFunc(w.Steps, func(s Step) bool { return s.B != nil }); b.late && i > 0 {
		unseen(w.Steps[:i], w.Steps[i].B.Node)
	}
	if i := slices.IndexFunc(w.Steps, func(s Step) bool { return s.A != nil }); a.late && i > 0 {
		unseen(w.Steps[:i], w.Steps[i].A.Node)
	}
}

// unseen is what one side has before the other begins, in the node where it does: the kernel makes some packets, as TCP's resets by
// IPv6, that have neither a socket nor a device by which their namespace is told until they are transmitted.
func unseen(steps []Step, node string) {
	for i := range steps {
		h := steps[i].A
		if h == nil {
			h = steps[i].B
		}
		if h.Node == node && h.Device == "-" && steps[i].Untold == "" {
			steps[i].Untold = "it was not known before it had a device"
		}
	}
}

// vague says why two ends that are not called the same may be the same: without function probes less is known.
func vague(a, b *Hop) string {
	freed, other := journey.OutcomeKind(a.Place), journey.OutcomeKind(b.Place)
	if other == journey.Freed {
		freed, other = other, freed
	}
	switch {
	case freed == journey.Freed && slices.Contains([]journey.OutcomeKind{journey.Delivered, journey.Consumed, journey.Merged}, other):
		return "without function probes it is not known how the packet ended"
	case a.Place == string(journey.Undetermined), b.Place == string(journey.Undetermined):
		return "the packet was still on its way when the record was sealed"
	}
	return ""
}

// pairWays pairs the ways of two journeys: those that are the same, then those that differ least, and last those that are over on
// one side.
func pairWays(a, b []Way) [][2]Way {
	var pairs [][2]Way
	takenB := make([]bool, len(b))
	var restA []int
	for i := range a {
		k := slices.IndexFunc(b, func(w Way) bool { return w.key() == a[i].key() })
		for k >= 0 && takenB[k] {
			next := slices.IndexFunc(b[k+1:], func(w Way) bool { return w.key() == a[i].key() })
			if k += next + 1; next < 0 {
				k = -1
			}
		}
		if k < 0 {
			restA = append(restA, i)
			continue
		}
		takenB[k] = true
		pairs = append(pairs, [2]Way{a[i], b[k]})
	}
	for len(restA) > 0 && slices.Contains(takenB, false) {
		bestI, bestK, least := -1, -1, 0
		for n, i := range restA {
			for k := range b {
				if takenB[k] {
					continue
				}
				if c := total(align(a[i], b[k])); bestI < 0 || c < least {
					bestI, bestK, least = n, k, c
				}
			}
		}
		pairs = append(pairs, [2]Way{a[restA[bestI]], b[bestK]})
		takenB[bestK] = true
		restA = slices.Delete(restA, bestI, bestI+1)
	}
	for _, i := range restA {
		pairs = append(pairs, [2]Way{a[i], nil})
	}
	for k := range b {
		if !takenB[k] {
			pairs = append(pairs, [2]Way{nil, b[k]})
		}
	}
	return pairs
}

// total is how much an alignment differs.
func total(steps []Step) (cost int) {
	for _, s := range steps {
		switch s.Op {
		case OnlyA, OnlyB:
			cost += alone
		case Changed:
			cost += distance(s.A, s.B)
		}
	}
	return cost
}

// Inconclusive says why the two cannot be told apart, if everything that differs may be due to what was observed; nil if there is a
// difference that is none of that. It wraps [journey.ErrInconclusive].
func (d *Difference) Inconclusive() error {
	if d.PacketA != "" {
		return nil
	}
	var why []string
	for _, w := range d.Ways {
		for _, s := range w.Steps {
			if s.Op == Same {
				continue
			}
			if s.Untold == "" {
				return nil
			}
			h := s.A
			if h == nil {
				h = s.B
			}
			text := fmt.Sprintf("%s: %s", h, s.Untold)
			if s.Op != Changed {
				text = fmt.Sprintf("only one of the two has %s, and of the other it is not known: %s", h, s.Untold)
			}
			if !slices.Contains(why, text) {
				why = append(why, text)
			}
		}
	}
	return fmt.Errorf("%w: %s", journey.ErrInconclusive, strings.Join(why, "; "))
}

// Events are the events of journey b by which it first departs from a; empty if none shows it.
func (d *Difference) Events() []int {
	if s, _, _ := d.first(); s != nil && s.B != nil && s.B.event >= 0 {
		return []int{s.B.event}
	} else if s != nil && s.B == nil {
		if next := d.next(s); next != nil && next.event >= 0 {
			return []int{next.event}
		}
	}
	return nil
}

// first is the first step that differs, the hop before it that both have, and its way. One that may only not have been observed
// comes after all others.
func (d *Difference) first() (step *Step, before *Hop, way *WayDifference) {
	for _, passUntold := range []bool{false, true} {
		for i := range d.Ways {
			w := &d.Ways[i]
			before = nil
			for k := range w.Steps {
				s := &w.Steps[k]
				if s.Op == Same {
					before = s.B
					continue
				}
				if (s.Untold != "") == passUntold {
					return s, before, w
				}
			}
		}
	}
	return nil, nil, nil
}

// next is the hop of b that follows a step that only a has.
func (d *Difference) next(step *Step) *Hop {
	found := false
	for i := range d.Ways {
		for k := range d.Ways[i].Steps {
			s := &d.Ways[i].Steps[k]
			if found && s.B != nil {
				return s.B
			}
			found = found || s == step
		}
	}
	return nil
}
