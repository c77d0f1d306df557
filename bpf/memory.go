package bpf

import (
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/waybill-dev/waybill/journey"
)

// Memory is what the kernel's part of a tracker remembers at a moment: of packets, until their data's memory is freed, and of
// calls, until they return.
type Memory struct {
	// Packets are the identities that have not ended, by the address of the data (skb->head) that has them.
	Packets map[uint64]journey.ID
	// Calls are functions at work on packets, the returns of which are awaited.
	Calls int
	// Moves are packets whose data is being copied to another place.
	Moves int
	// Waits are packets on their way into a queue, or in a qdisc.
	Waits int
}

// Memory reads what is remembered of all scopes. Its parts are of one moment only if no packet moves meanwhile; a part that
// changes too quickly is an error.
func (t *Tracker) Memory() (Memory, error) {
	m := Memory{Packets: make(map[uint64]journey.ID)}
	var head uint64
	var id trackerIdentity
	entries := t.collection.Maps[trackerMapIdentities].Iterate()
	for entries.Next(&head, &id) {
		m.Packets[head] = journey.ID{FirstSeen: id.FirstSeen, Head: id.FirstHead}
	}
	if err := entries.Err(); err != nil {
		return Memory{}, fmt.Errorf("read the packets that are known: %w", err)
	}
	for _, part := range []struct {
		into *int
		maps []string
	}{
		{&m.Calls, []string{trackerMapWorks}},
		{&m.Moves, []string{trackerMapMoving}},
		{&m.Waits, []string{trackerMapWaiting}},
	} {
		for _, name := range part.maps {
			m := t.collection.Maps[name]
			if m == nil { // the tier of tracepoints does not have all
				continue
			}
			n, err := count(m)
			if err != nil {
				return Memory{}, fmt.Errorf("count the entries of %s: %w", name, err)
			}
			*part.into += n
		}
	}
	for _, table := range []string{trackerVarPending, trackerVarInHand} {
		calls := t.collection.Variables[table]
		if calls == nil {
			continue
		}
		now := make([]trackerCall, calls.Size()/uint32(unsafe.Sizeof(trackerCall{})))
		if err := calls.Get(now); err != nil {
			return Memory{}, fmt.Errorf("read the calls under way: %w", err)
		}
		for _, call := range now {
			if call.Frame != 0 {
				m.Calls++
			}
		}
	}
	return m, nil
}

// count counts the entries of a map.
func count(m *ebpf.Map) (n int, _ error) {
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		n++
	}
	return n, entries.Err()
}
