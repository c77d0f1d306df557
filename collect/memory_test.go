package collect

import (
	"runtime"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

// TestMemory: a collection remembers the packets that are not over, and counts all. A packet that it remembers takes more than a
// kilobyte, so that to remember all would take more than is allowed here.
func TestMemory(t *testing.T) {
	const n, apart, allowed = 400_000, 100_000, 150 << 20 // ns between packets: those of some seconds are not forgotten yet
	opts := &Options{}
	qt.Assert(t, qt.IsNil(opts.complete()))
	c := &collection{
		opts: opts, sink: func(*journey.Observation) error { return nil }, assembler: journey.NewAssembler(0), running: true,
		done: make(chan struct{}),
	}
	for i := range uint64(n) {
		o := &journey.Observation{Kind: journey.Seen}
		o.ID, o.Time, o.SKB = journey.ID{FirstSeen: i + 1, Head: i}, i*apart, i
		o.Packet = &journey.Packet{Data: make([]byte, 128)}
		c.take(o)
		released := &journey.Observation{Kind: journey.Released}
		released.ID, released.Time, released.SKB = o.ID, o.Time, o.SKB
		c.take(released)
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	qt.Check(t, qt.IsTrue(memory.HeapAlloc < allowed), qt.Commentf("%d bytes", memory.HeapAlloc))
	c.count(c.assembler.Seal(journey.Evidence{}))
	qt.Check(t, qt.DeepEquals(c.result, Result{Events: n, Journeys: n}))
}
