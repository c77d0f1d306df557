package journey_test

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

// TestTake: a packet is taken once it is over and nothing was observed of it for a while, not while an skb of it lives.
func TestTake(t *testing.T) {
	a := journey.NewAssembler(0)
	add := func(kind journey.ObservationKind, packet, time, skb, peer uint64) {
		o := &journey.Observation{Kind: kind, Peer: peer}
		o.ID, o.Time, o.SKB = journey.ID{FirstSeen: packet, Head: packet}, time, skb
		o.Probe = journey.Probe{Kind: journey.Function, Name: "ip_rcv"}
		a.Add(o)
	}
	taken := func() (ids []uint64) {
		if r := a.Take(journey.Evidence{}); r != nil {
			for _, j := range r.Journeys {
				ids = append(ids, j.ID.Head)
			}
		}
		return ids
	}
	add(journey.Seen, 1, 10, 0xa, 0)
	add(journey.Cloned, 1, 11, 0xa, 0xb)
	add(journey.Seen, 2, 12, 0xc, 0)
	add(journey.Released, 1, 13, 0xa, 0)
	add(journey.Released, 2, 14, 0xc, 0)
	qt.Check(t, qt.HasLen(taken(), 0))
	add(journey.Seen, 3, 14+second, 0xd, 0)
	qt.Check(t, qt.HasLen(taken(), 0)) // a second is not over
	add(journey.Seen, 3, 16+2*second, 0xd, 0)
	qt.Check(t, qt.HasLen(taken(), 0)) // too few observations to look
	add(journey.Seen, 3, 16+2*second, 0xd, 0)
	add(journey.Seen, 3, 16+2*second, 0xd, 0)
	qt.Check(t, qt.DeepEquals(taken(), []uint64{2}))
	add(journey.Seen, 3, 16+4*second, 0xd, 0)
	add(journey.Seen, 3, 16+4*second, 0xd, 0)
	qt.Check(t, qt.HasLen(taken(), 0)) // the clone of the first lives
	add(journey.Released, 1, 17+4*second, 0xb, 0)
	add(journey.Released, 3, 17+6*second, 0xd, 0)
	qt.Check(t, qt.DeepEquals(taken(), []uint64{1}))
	qt.Check(t, qt.HasLen(a.Seal(journey.Evidence{}).Journeys, 1))
}

const second = 1e9

// TestTakeBoundsMemory: of many packets only those are held that are not over, and finding those costs little; a time that is wrong
// by far, as in a file that is damaged, changes nothing about that.
func TestTakeBoundsMemory(t *testing.T) {
	const n, apart, open = 200_000, 100_000, 1000
	a := journey.NewAssembler(0)
	add := func(kind journey.ObservationKind, packet uint64, time uint64) {
		o := &journey.Observation{Kind: kind}
		o.ID, o.Time, o.SKB = journey.ID{FirstSeen: packet, Head: packet}, time, packet
		o.Probe = journey.Probe{Kind: journey.Function, Name: "ip_rcv"}
		a.Add(o)
	}
	for i := range uint64(open) {
		add(journey.Seen, i, i)
	}
	taken, most := 0, 0
	for i := range uint64(n) {
		packet, time := open+i, i*apart
		if i == n/2 {
			time = 1 << 63
		}
		add(journey.Seen, packet, time)
		add(journey.Released, packet, time)
		if r := a.Take(journey.Evidence{}); r != nil {
			taken += len(r.Journeys)
		}
		most = max(most, open+int(i)+1-taken)
	}
	rest := len(a.Seal(journey.Evidence{}).Journeys)
	qt.Check(t, qt.Equals(taken+rest, open+n))
	qt.Check(t, qt.IsTrue(most <= open+3*second/apart), qt.Commentf("%d packets were held", most))
	qt.Check(t, qt.IsTrue(rest >= open))
}
