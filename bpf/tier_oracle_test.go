package bpf

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

// TestSameIdentities has two trackers observe the same packets, one by functions and one by tracepoints only: each packet of the
// one must be one packet of the other. Buffers are used again all the time, by several tasks at once, and TCP's have clones.
func TestSameIdentities(t *testing.T) {
	judge := sharedTracker(t)
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
		count int
	}
	var sides [2]side
	for i, tracker := range []*Tracker{judge, tracker} {
		s := &sides[i]
		s.Tracker, s.seen = tracker, make(map[place][]journey.ID)
		s.scope, err = watch(tracker, func(o *journey.Observation) {
			if o.Kind == journey.Seen {
				at := place{o.Probe.Name, o.SKB}
				s.seen[at] = append(s.seen[at], o.ID)
				s.count++
			}
		}, h.Cookie())
		qt.Assert(t, qt.IsNil(err))
		defer func() { qt.Check(t, qt.IsNil(s.scope.Close())) }()
		qt.Assert(t, qt.IsNil(s.scope.Arm([]string{
			"tp:net:net_dev_queue", "tp:net:net_dev_start_xmit", "tp:net:netif_rx", "tp:net:netif_receive_skb",
		})))
	}
	before, err := sides[1].scope.Begin()
	qt.Assert(t, qt.IsNil(err))

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

	after, err := sides[1].scope.Account()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(after.Since(before), 0))
	t.Logf("%d events", sides[1].count)
	qt.Assert(t, qt.Equals(sides[1].count, sides[0].count))
	one, other := make(map[journey.ID]journey.ID), make(map[journey.ID]journey.ID)
	for at, ids := range sides[0].seen {
		qt.Assert(t, qt.HasLen(sides[1].seen[at], len(ids)), qt.Commentf("%v", at))
		for i, id := range ids {
			twin := sides[1].seen[at][i]
			for _, pair := range []struct {
				known    map[journey.ID]journey.ID
				from, to journey.ID
			}{{one, id, twin}, {other, twin, id}} {
				if known, ok := pair.known[pair.from]; ok && known != pair.to {
					t.Errorf("at %s, skb %x: %s is %s, and was %s before", at.probe, at.skb, pair.from, pair.to, known)
				}
				pair.known[pair.from] = pair.to
			}
		}
	}
	t.Logf("%d packets", len(one))
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
