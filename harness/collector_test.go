package harness

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

// TestFreeze: a packet that sets out after everything had settled is not in the record, and does not unsettle it; one that
// sets out before is waited for.
func TestFreeze(t *testing.T) {
	first, second := journey.ID{FirstSeen: 10, Head: 1}, journey.ID{FirstSeen: 20, Head: 2}
	note := func(kind journey.ObservationKind, id journey.ID) *journey.Observation {
		return &journey.Observation{Kind: kind, Event: journey.Event{ID: id, SKB: id.Head}}
	}
	c := &collector{changed: make(chan struct{}, 1)}
	c.begin(5)
	c.add(note(journey.Origin, first))
	qt.Check(t, qt.IsFalse(c.freeze()), qt.Commentf("the first packet is on its way"))
	c.add(note(journey.Released, first))
	qt.Check(t, qt.IsTrue(c.freeze()))
	c.add(note(journey.Origin, second))
	record := c.seal(journey.Evidence{Sealed: true, Settled: true})
	qt.Check(t, qt.HasLen(record.Journeys, 1))
	qt.Check(t, qt.IsNil(record.Evidence.Incomplete()))
}
