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
	taken := func(before uint64) (ids []uint64) {
		for _, j := range a.Take(before, journey.Evidence{}).Journeys {
			ids = append(ids, j.ID.Head)
		}
		return ids
	}
	add(journey.Seen, 1, 10, 0xa, 0)
	add(journey.Cloned, 1, 11, 0xa, 0xb)
	add(journey.Seen, 2, 12, 0xc, 0)
	add(journey.Released, 1, 13, 0xa, 0)
	add(journey.Released, 2, 14, 0xc, 0)
	qt.Check(t, qt.HasLen(taken(14), 0))
	qt.Check(t, qt.DeepEquals(taken(15), []uint64{2}))
	qt.Check(t, qt.HasLen(taken(100), 0)) // the clone of the first lives
	add(journey.Released, 1, 20, 0xb, 0)
	qt.Check(t, qt.DeepEquals(taken(100), []uint64{1}))
	qt.Check(t, qt.HasLen(a.Seal(journey.Evidence{}).Journeys, 0))
}
