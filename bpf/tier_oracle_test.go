package bpf

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// TestSameIdentities has two trackers observe the same packets, one by functions and one by tracepoints only: each packet of the
// one must be one packet of the other. Buffers are used again all the time, by several tasks at once, and TCP's have clones.
func TestSameIdentities(t *testing.T) {
	judge := openTracker(t, Options{})
	tracker, err := Open(Options{Tier: Tracepoints})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(tracker.Close())) })
	h := newHost(t)
	type place struct {
		probe string
		skb   uint64
	}
	type side struct {
		*Tracker
		scope watched
		seen  map[place][]journey.ID
		all   []journey.Event
	}
	var sides [2]side
	for i, tracker := range []*Tracker{judge, tracker} {
		s := &sides[i]
		s.Tracker, s.seen = tracker, make(map[place][]journey.ID)
		s.scope, err = watch(tracker, func(o *journey.Observation) {
			if o.Kind == journey.Seen {
				at := place{o.Probe.Name, o.SKB}
				s.seen[at] = append(s.seen[at], o.ID)
				s.all = append(s.all, o.Event)
			}
		}, h.Cookie())
		qt.Assert(t, qt.IsNil(err))
		defer func() { qt.Check(t, qt.IsNil(s.scope.Close())) }()
		qt.Assert(t, qt.IsNil(s.scope.Arm([]string{
			"tp:net:net_dev_queue", "tp:net:net_dev_start_xmit", "tp:net:netif_rx", "tp:net:netif_receive_skb",
		})))
	}
	var before [2]Account
	for i := range sides {
		before[i], err = sides[i].scope.Begin()
		qt.Assert(t, qt.IsNil(err))
	}

	var traffic sync.WaitGroup
	for range 3 {
		traffic.Go(func() { h.send(t, 200) })
	}
	traffic.Go(func() { qt.Check(t, qt.IsNil(stream(h))) })
	traffic.Wait()
	for i := range sides {
		_, err := sides[i].Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
	}

	// What TCP sends again while its clone is still queued goes on in another buffer. By tracepoints it is a new packet, and counted.
	lost := losses(t, sides[1].scope, before[1])
	exchanged := lost[lossCauses[trackerLossCauseLOSS_EXCHANGED]]
	delete(lost, lossCauses[trackerLossCauseLOSS_EXCHANGED])
	qt.Assert(t, qt.HasLen(lost, 0))
	wrong := losses(t, sides[0].scope, before[0])
	if !preempts(t) {
		qt.Assert(t, qt.HasLen(wrong, 0))
	}
	t.Logf("%d events", len(sides[1].all))
	qt.Assert(t, qt.Equals(len(sides[1].all), len(sides[0].all)))
	twins, of := make(map[journey.ID]map[journey.ID]bool), make(map[journey.ID]journey.ID)
	more := 0 // than one for each
	for at, ids := range sides[0].seen {
		qt.Assert(t, qt.HasLen(sides[1].seen[at], len(ids)), qt.Commentf("%v", at))
		for i, id := range ids {
			twin := sides[1].seen[at][i]
			if known, ok := of[twin]; ok && known != id {
				t.Errorf("at %s, skb %x: %s is %s, and was %s before", at.probe, at.skb, twin, id, known)
			}
			of[twin] = id
			if twins[id] == nil {
				twins[id] = make(map[journey.ID]bool)
			} else if !twins[id][twin] {
				more++
			}
			twins[id][twin] = true
		}
	}
	if !qt.Check(t, qt.Equals(more, int(exchanged)), qt.Commentf("the judge lost %v", wrong)) {
		for id, twins := range twins {
			if len(twins) == 1 {
				continue
			}
			for i := range sides {
				for _, e := range sides[i].all {
					if e.ID == id || twins[e.ID] {
						t.Logf("side %d at %d, CPU %d: %s, skb %x, %s, %s", i, e.Time, e.CPU, e.Probe.Name, e.SKB, e.ID, flowOf(&e))
					}
				}
			}
		}
	}
	t.Logf("%d packets, of which %d were exchanged", len(twins), exchanged)
}

// TestExchangedBesideAnotherTracker: where kmalloc_reserve returns to is how an exchanged buffer is known on the tier of tracepoints.
// Another tracker's program that waits for its return stands in between. The packets' buffers are exchanged as they are rewritten
// while a sniffer holds them.
func TestExchangedBesideAnotherTracker(t *testing.T) {
	openTracker(t, Options{})
	tracker, err := Open(Options{Tier: Tracepoints})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(tracker.Close())) })
	h := newHost(t)
	h.loadNFT(t, rewriting)
	sniffer := 0
	qt.Assert(t, qt.IsNil(h.Do(func() (err error) {
		sniffer, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(binary.BigEndian.Uint16([]byte{unix.ETH_P_ALL, 0})))
		return err
	})))
	defer func() { qt.Check(t, qt.IsNil(unix.Close(sniffer))) }()
	scope := h.watch(t, tracker)
	before := begin(t, scope)
	h.sendTo(t, 80, 3)
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
	packets := make(map[journey.ID]bool)
	for _, o := range h.observations() {
		packets[o.ID] = true
	}
	qt.Check(t, qt.HasLen(packets, 2*3)) // and the errors that answer them
}

func flowOf(e *journey.Event) string {
	if e.Packet == nil {
		return "unknown"
	}
	return fmt.Sprintf("%s, %d bytes", e.Packet.Flow(), e.Packet.Len)
}

// stream sends a megabyte over TCP within a host.
func stream(h *host) error {
	return h.Do(func() error {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = listener.Close() }()
		sent := make(chan error, 1)
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			return err
		}
		go func() {
			_, err := conn.Write(make([]byte, 1<<20))
			sent <- err
			_ = conn.Close()
		}()
		accepted, err := listener.Accept()
		if err != nil {
			return err
		}
		defer func() { _ = accepted.Close() }()
		n, err := io.Copy(io.Discard, accepted)
		if err == nil && n != 1<<20 {
			err = fmt.Errorf("read %d bytes", n)
		}
		if sending := <-sent; err == nil {
			err = sending
		}
		return err
	})
}
