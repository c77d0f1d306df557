package shape

import (
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// Comparison is how the packets of two records, called a and b, fared.
type Comparison struct {
	// Same is how many packets fared the same in both.
	Same int `json:"same"`
	// Different are those that did not.
	Different []Pair `json:"different"`
	// OnlyA and OnlyB are those that only one record has, as they were at first sight, in order.
	OnlyA []string `json:"only_a"`
	OnlyB []string `json:"only_b"`
	// LeftOut is how many packets of each were not compared because kernels send them by themselves, when they see fit.
	LeftOut [2]int `json:"left_out"`
	// Doubts are why the records cannot be compared whole, each a sentence without its end; empty if they can.
	Doubts []string `json:"doubts"`
}

// Pair is a packet that fared differently in two records.
type Pair struct {
	// Packet is what it was in a at first sight, and Number which of the packets that looked like that, from 1.
	Packet string `json:"packet"`
	Number int    `json:"number"`
	*Difference
	// Inconclusive says why it is not known whether the packet fared differently; empty if it is.
	Inconclusive string `json:"inconclusive,omitempty"`
	// Words say how it first departed.
	Words string `json:"words"`
}

// Verdict is what a comparison comes to: same, different or inconclusive. Where something may be missing, that is so of the
// difference too.
func (c *Comparison) Verdict() string {
	certain := len(c.OnlyA) > 0 || len(c.OnlyB) > 0 ||
		slices.ContainsFunc(c.Different, func(p Pair) bool { return p.Inconclusive == "" })
	switch {
	case len(c.Doubts) > 0, !certain && len(c.Different) > 0:
		return "inconclusive"
	case certain:
		return "different"
	}
	return "same"
}

// Records compares the packets of two records. Packets belong together if they look the same at first sight, in the order in
// which they were seen. With all, those that kernels send by themselves (ARP, neighbour and router discovery, MLD, IGMP) are
// compared, too, though a test did not send them.
func Records(a, b *journey.Record, all bool, options Options) *Comparison {
	c := &Comparison{Different: []Pair{}, OnlyA: []string{}, OnlyB: []string{}, Doubts: []string{}}
	for _, r := range []*journey.Record{a, b} {
		side := "A"
		if r == b {
			side = "B"
		}
		if err := r.Evidence.Incomplete(); err != nil {
			c.Doubts = append(c.Doubts, side+": "+strings.TrimPrefix(err.Error(), journey.ErrInconclusive.Error()+": "))
		}
	}
	packetsA, orderA, outA := shapes(a, all, options)
	packetsB, orderB, outB := shapes(b, all, options)
	c.LeftOut = [2]int{outA, outB}
	seen := make(map[string]int)
	for _, packet := range orderA {
		n := seen[packet]
		seen[packet]++
		if n >= len(packetsB[packet]) {
			c.OnlyA = append(c.OnlyA, packet)
			continue
		}
		d := Compare(packetsA[packet][n], packetsB[packet][n])
		if d == nil {
			c.Same++
			continue
		}
		pair := Pair{Packet: packet, Number: n + 1, Difference: d, Words: d.Words("in A")}
		if err := d.Inconclusive(); err != nil {
			pair.Inconclusive = strings.TrimPrefix(err.Error(), journey.ErrInconclusive.Error()+": ")
		}
		c.Different = append(c.Different, pair)
	}
	clear(seen)
	for _, packet := range orderB {
		n := seen[packet]
		seen[packet]++
		if n >= len(packetsA[packet]) {
			c.OnlyB = append(c.OnlyB, packet)
		}
	}
	return c
}

// shapes are the journeys of a record by what the packet was, and what the packets were, in order of first sight.
func shapes(r *journey.Record, all bool, options Options) (byPacket map[string][]*Shape, order []string, leftOut int) {
	byPacket = make(map[string][]*Shape)
	for _, j := range r.Journeys {
		switch {
		case len(j.Events) == 0 && !slices.ContainsFunc(j.Branches, func(b journey.Branch) bool { return b.Accepted != nil }):
			continue
		case !all && housekeeping(j):
			leftOut++
			continue
		}
		s := Of(j, options)
		byPacket[s.Packet] = append(byPacket[s.Packet], s)
		order = append(order, s.Packet)
	}
	return byPacket, order, leftOut
}

// housekeeping says that a packet is one that kernels send when they see fit, and that no test sent it.
func housekeeping(j *journey.Journey) bool {
	if j.Origin != nil && j.Evidence != nil && slices.Contains(j.Evidence.Sockets, j.Origin.SocketCookie) {
		return false
	}
	p := first(j)
	if p == nil {
		return false
	}
	if strings.HasPrefix(p.Flow(), "ARP ") {
		return true
	}
	h, ok := p.Header()
	t, known := p.ICMPType()
	const igmp, icmp6, mld, redirect, mld2 = 2, 58, 130, 137, 143 // from mld to redirect are MLD and discovery
	return ok && (h.Proto == igmp || h.Proto == icmp6 && known && (t >= mld && t <= redirect || t == mld2))
}
