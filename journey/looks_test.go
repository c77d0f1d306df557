package journey

import (
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestLooks: events have the sections of the look that they name, told before them or with one of them, and their own length.
func TestLooks(t *testing.T) {
	id := ID{FirstSeen: 1000, Head: 1}
	before, after := &Device{Name: "eth0"}, &Device{Name: "eth1"}
	look := func(mark uint64, d *Device) Event {
		return Event{ID: id, SKB: 1, Comm: d.Name, Device: d, Packet: &Packet{Data: []byte{byte(mark)}}}
	}
	seen := func(mark uint64, length uint32) Observation {
		return Observation{Kind: Seen, Mark: mark, Len: length, Event: Event{ID: id, SKB: 1, Probe: Probe{Function, "f"}}}
	}
	fresh := seen(2, 20)
	fresh.Event = look(2, after)
	fresh.Fresh, fresh.Probe = true, Probe{Function, "f"}

	a := NewAssembler(0)
	for _, o := range []Observation{
		{Kind: Looked, Mark: 1, Event: look(1, before)}, seen(1, 30), seen(1, 31), fresh, seen(2, 20), seen(1, 30), seen(3, 9),
	} {
		a.Add(&o)
	}
	journeys := a.Seal(Evidence{}).Journeys
	qt.Assert(t, qt.HasLen(journeys, 1))
	var got []string
	for _, e := range journeys[0].Events {
		if e.Packet == nil {
			got = append(got, "nothing")
			continue
		}
		got = append(got, fmt.Sprintf("%s%s%d %d", e.Comm, e.Device.Name, e.Packet.Data, e.Packet.Len))
	}
	qt.Check(t, qt.DeepEquals(got, []string{
		"eth0eth0[1] 30", "eth0eth0[1] 31", "eth1eth1[2] 20", "eth1eth1[2] 20", "eth0eth0[1] 30", "nothing",
	}))
}
