package shape

import (
	"slices"

	"github.com/waybill-dev/waybill/journey"
)

// Op says on which side of a comparison a hop is.
type Op string

// The kinds of steps.
const (
	Same    Op = "same"
	Changed Op = "changed" // at the same place, or one end instead of another
	OnlyA   Op = "only a"
	OnlyB   Op = "only b"
)

// Step is a pair of hops that belong together, or one hop that the other side does not have.
type Step struct {
	Op Op   `json:"op"`
	A  *Hop `json:"a,omitempty"`
	B  *Hop `json:"b,omitempty"`
	// Moved says of a hop on one side only that the other has the same elsewhere on the way.
	Moved bool `json:"moved,omitempty"`
	// Untold says why the side that lacks the hop may have passed it unseen, or why the two cannot be told apart; empty if the
	// step is a difference.
	Untold string `json:"untold,omitempty"`
}

func (h *Hop) same(o *Hop) bool {
	return h.Node == o.Node && h.Device == o.Device && h.Place == o.Place && sameNote(h.Place, h.Note, o.Note)
}

// What it costs to have a hop on one side only, and to pair hops that are not the same: less than to leave both alone if they are
// alike, and more if they are not, so that they are not paired.
const (
	alone     = 2
	otherNote = 1
	elsewhere = 3
	unlike    = 5
)

func distance(a, b *Hop) int {
	switch {
	case a.same(b):
		return 0
	case a.Place != b.Place:
		return unlike
	case a.Node == b.Node && a.Device == b.Device:
		return otherNote
	}
	return elsewhere
}

// align pairs the hops of two ways so that as little as possible differs. Ends are paired with each other.
func align(a, b Way) []Step {
	if len(a) == 0 || len(b) == 0 { // nothing that Of makes is; what was read may be
		return alignHops(a, b)
	}
	hopsA, hopsB := a[:len(a)-1], b[:len(b)-1]
	end := Step{Op: Changed, A: &a[len(a)-1], B: &b[len(b)-1]}
	if end.A.same(end.B) {
		end.Op = Same
	}
	return append(alignHops(hopsA, hopsB), end)
}

// alignHops finds the cheapest alignment by the table of the costs of all pairs of remainders. What both begin and end with needs no
// table: of ways that are long, because a packet went in circles, most is the same.
func alignHops(a, b Way) []Step {
	var head, tail []Step
	for len(a) > 0 && len(b) > 0 && a[0].same(&b[0]) {
		head = append(head, Step{Op: Same, A: &a[0], B: &b[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1].same(&b[len(b)-1]) {
		tail = append(tail, Step{Op: Same, A: &a[len(a)-1], B: &b[len(b)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	middle := alignAll(a, b)
	for i := range middle {
		for k := range middle {
			x, y := &middle[i], &middle[k]
			if x.Op == OnlyA && y.Op == OnlyB && !x.Moved && !y.Moved && x.A.same(y.B) {
				x.Moved, y.Moved = true, true
			}
		}
	}
	return slices.Concat(head, middle, tail)
}

func alignAll(a, b Way) []Step {
	width := len(b) + 1
	cost := make([]int, (len(a)+1)*width) // of a[i:] and b[k:]
	for i := len(a); i >= 0; i-- {
		for k := len(b); k >= 0; k-- {
			switch {
			case i == len(a):
				cost[i*width+k] = alone * (len(b) - k)
			case k == len(b):
				cost[i*width+k] = alone * (len(a) - i)
			default:
				cost[i*width+k] = min(alone+cost[(i+1)*width+k], alone+cost[i*width+k+1],
					distance(&a[i], &b[k])+cost[(i+1)*width+k+1])
			}
		}
	}
	var steps []Step
	for i, k := 0, 0; i < len(a) || k < len(b); {
		switch {
		case i < len(a) && k < len(b) && cost[i*width+k] == distance(&a[i], &b[k])+cost[(i+1)*width+k+1]:
			op := Changed
			if a[i].same(&b[k]) {
				op = Same
			}
			steps = append(steps, Step{Op: op, A: &a[i], B: &b[k]})
			i, k = i+1, k+1
		case i < len(a) && cost[i*width+k] == alone+cost[(i+1)*width+k]:
			steps = append(steps, Step{Op: OnlyA, A: &a[i]})
			i++
		default:
			steps = append(steps, Step{Op: OnlyB, B: &b[k]})
			k++
		}
	}
	return steps
}

// untold says why a side that lacks a hop may have passed it unseen; empty if it would have been seen.
func untold(h *Hop, by *journey.Evidence) string {
	if by == nil || len(by.Probes) == 0 {
		return "" // a text, or a file of events, which does not list them
	}
	m := journey.Milestone(h.Place)
	if watch, ok := by.Milestones[m]; ok {
		return watch.Blind
	}
	for _, p := range by.Probes {
		if p.Name == verdicts && isChain(h.Place) || placeOfProbe(p) == h.Place || isTable(h.Place) && slices.Contains(tables, p.Name) {
			return ""
		}
	}
	return "it was not observed"
}

// verdicts is the function by which nftables tells its verdicts, and tables those by whose returns iptables' are known.
const verdicts = "__nft_trace_packet"

var tables = []string{"ipt_do_table", "ip6t_do_table"}

func isChain(place string) bool { return len(place) > 4 && place[:4] == "nft " }
func isTable(place string) bool { return len(place) > 9 && place[:9] == "iptables " }
