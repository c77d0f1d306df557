package journey

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// play gives an assembler the observations of one packet, one a line:
//
//	<cpu> see <skb> [<function>]     <cpu> drop <skb> [<reason>]      <cpu> origin <skb>
//	<cpu> clone <skb> <new skb>      <cpu> tap <skb> [shared]         <cpu> untap <skb>
//	<cpu> enqueue|park|resume|release <skb>                           <cpu> return <skb> [<function>]
//	<cpu> fragment|shape|merge <skb>                                  <cpu> move <skb> [<new skb>]
//
// skbs are letters.
func play(tb testing.TB, a *Assembler, script string) {
	tb.Helper()
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" {
			o := observation(tb, line)
			a.Add(&o)
		}
	}
}

func observation(tb testing.TB, line string) Observation {
	tb.Helper()
	var cpu uint32
	var verb, skb, arg string
	if n, err := fmt.Sscan(line, &cpu, &verb, &skb, &arg); n < 2 {
		tb.Fatalf("scan %q: %v", line, err)
	}
	o := Observation{Event: Event{CPU: cpu, ID: ID{FirstSeen: 1000, Head: 1}}}
	if skb != "" {
		o.SKB = uint64(skb[0])
	}
	plain := map[string]ObservationKind{
		"origin": Origin, "untap": TapExit, "enqueue": Enqueued, "park": Parked, "shape": Shaped, "resume": Resumed,
		"merge": Absorbed, "release": Released,
	}
	o.Kind = plain[verb]
	switch verb {
	case "see":
		o.Kind, o.Probe = Seen, Probe{Function, arg}
	case "return":
		o.Kind, o.Probe = Seen, Probe{Return, arg}
	case "steal":
		o.Kind, o.NFT = Seen, &NFT{Verdict: "stolen"}
	case "drop":
		o.Kind, o.Probe, o.Drop = Seen, Probe{Tracepoint, "skb:kfree_skb"}, &Drop{Reason: arg}
	case "clone":
		o.Kind, o.Peer = Cloned, uint64(arg[0])
	case "tap":
		o.Kind, o.Shared = TapEnter, arg == "shared"
	case "fragment":
		o.Kind, o.Place = Parked, FragmentQueue
	case "move":
		o.Kind, o.Peer = Moved, uint64((arg + "\x00")[0])
	}
	if o.Kind == 0 {
		tb.Fatalf("unknown verb in %q", line)
	}
	return o
}

// fates describes every branch: skb, role, outcome, place or reason; then what the journey's outcome is.
func fates(a *Assembler) string {
	j := a.Seal(Evidence{}).Journeys[0]
	var parts []string
	for _, b := range j.Branches {
		part := fmt.Sprintf("%c %s %s", rune(b.SKB), b.Role, b.Outcome.Kind)
		switch {
		case b.Outcome.Place != "":
			part += " (" + b.Outcome.Place + ")"
		case b.Outcome.Kind == Dropped && b.Outcome.Event.Drop.Reason != "":
			part += " (" + b.Outcome.Event.Drop.Reason + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ") + " => " + string(j.Outcome().Kind)
}

func TestOutcomes(t *testing.T) {
	for _, test := range []struct {
		name   string
		script string
		want   string
		moving int
	}{{
		name:   "on its way",
		script: "0 origin a\n 0 see a ip_rcv",
		want:   "a main undetermined => undetermined", moving: 1,
	}, {
		name:   "dropped",
		script: "0 origin a\n 0 see a ip_rcv\n 0 drop a NO_SOCKET\n 0 release a",
		want:   "a main dropped (NO_SOCKET) => dropped",
	}, {
		name:   "the drop is the end, whether or not the release was reported yet",
		script: "0 see a ip_rcv\n 0 drop a NO_SOCKET",
		want:   "a main dropped (NO_SOCKET) => dropped",
	}, {
		name:   "functions that run while a dropped skb is freed",
		script: "0 drop a X\n 0 see a skb_release_data\n 0 release a\n 0 see a kfree_skbmem",
		want:   "a main dropped (X) => dropped",
	}, {
		name:   "a rule took the skb, and it was freed before that was told",
		script: "0 see a ip_forward\n 0 release a\n 0 steal a",
		want:   "a main consumed => consumed",
	}, {
		name:   "functions return after the skb was freed",
		script: "0 see a ip_rcv\n 0 drop a X\n 0 release a\n 0 return a nft_do_chain\n 0 return a ip_rcv",
		want:   "a main dropped (X) => dropped",
	}, {
		name:   "a function returns after it parked the skb",
		script: "0 origin a\n 0 see a neigh_resolve_output\n 0 park a\n 0 return a neigh_resolve_output",
		want:   "a main queued (neighbour queue) => queued",
	}, {
		name:   "a function returns while another CPU has the skb, before the parking was reported",
		script: "0 origin a\n 1 see a ip_rcv\n 0 return a __neigh_event_send\n 0 park a",
		want:   "a main undetermined => undetermined", moving: 1,
	}, {
		name:   "an skb of which nothing is known but a return",
		script: "0 return a skb_clone",
		want:   "a main undetermined => undetermined", moving: 1,
	}, {
		name:   "delivered, not read",
		script: "0 see a ip_rcv\n 0 enqueue a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name:   "delivered and read",
		script: "0 see a ip_rcv\n 0 enqueue a\n 1 see a skb_copy_datagram_iter\n 1 release a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name:   "read on another CPU before the enqueueing was reported",
		script: "0 see a ip_rcv\n 1 release a\n 0 enqueue a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name: "read on another CPU, its address reused by a clone, before the enqueueing was reported",
		script: `0 see a ip_rcv
			0 clone a b
			0 see b udp_queue_rcv_one_skb
			1 release b
			1 clone a b
			0 enqueue b
			1 drop b X
			1 release b
			1 drop a Y`,
		want: "a main dropped (Y), b clone delivered (socket), b clone dropped (X) => divided",
	}, {
		name: "a clone at a reused address is enqueued itself",
		script: `0 see a ip_rcv
			0 clone a b
			0 release b
			0 clone a b
			0 enqueue b
			0 enqueue a`,
		want: "a main delivered (socket), b unseen copy consumed, b clone delivered (socket) => delivered",
	}, {
		name: "a clone at a reused address comes to the CPU of its predecessor unnoticed",
		script: `0 see a ip_rcv
			0 clone a b
			0 release b
			1 clone a b
			0 enqueue b
			0 enqueue a`,
		want: "a main delivered (socket), b unseen copy consumed, b clone delivered (socket) => delivered",
	}, {
		name:   "dropped unread when the socket was closed",
		script: "0 see a ip_rcv\n 0 enqueue a\n 1 drop a SOCKET_CLOSE\n 1 release a",
		want:   "a main dropped (SOCKET_CLOSE) => dropped",
	}, {
		name:   "freed on the deferred list, long after it was read",
		script: "0 see a ip_rcv\n 0 enqueue a\n 1 release a\n 0 see a napi_consume_skb\n 0 release a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name:   "consumed",
		script: "0 see a arp_rcv\n 0 see a consume_skb\n 0 release a",
		want:   "a main consumed => consumed",
	}, {
		name:   "waits for a neighbour",
		script: "0 origin a\n 0 clone a b\n 0 park a\n 0 release b",
		want:   "a main queued (neighbour queue), b unseen copy consumed => queued",
	}, {
		name:   "waits for a neighbour, and a timer probes for it",
		script: "0 origin a\n 0 park a\n 1 clone a b\n 1 release b",
		want:   "a main queued (neighbour queue), b unseen copy consumed => queued",
	}, {
		name:   "waited for a neighbour, then went on and was delivered",
		script: "0 origin a\n 0 clone a b\n 0 park a\n 0 release b\n 1 see a ip_rcv\n 1 enqueue a",
		want:   "a main delivered (socket), b unseen copy consumed => delivered",
	}, {
		name:   "waited for a neighbour, and has left for the device",
		script: "0 origin a\n 0 park a\n 1 resume a",
		want:   "a main undetermined => undetermined",
		moving: 1,
	}, {
		name:   "had left the neighbour's queue, by another CPU, when it was reported to be there",
		script: "0 origin a\n 1 resume a\n 0 park a",
		want:   "a main undetermined => undetermined",
		moving: 1,
	}, {
		name:   "waited for a neighbour, then went on",
		script: "0 origin a\n 0 park a\n 1 see a ip_rcv",
		want:   "a main undetermined => undetermined", moving: 1,
	}, {
		name:   "no neighbour answered",
		script: "0 origin a\n 0 park a\n 1 drop a NEIGH_FAILED\n 1 release a",
		want:   "a main dropped (NEIGH_FAILED) => dropped",
	}, {
		name:   "the neighbour is known to fail: dropped before the parking was reported",
		script: "0 origin a\n 0 drop a NEIGH_FAILED\n 0 release a\n 0 park a",
		want:   "a main dropped (NEIGH_FAILED) => dropped",
	}, {
		name:   "the neighbour answered, and the packet went on, before the parking was reported",
		script: "0 origin a\n 1 see a ip_rcv\n 0 park a",
		want:   "a main undetermined => undetermined", moving: 1,
	}, {
		name:   "the sender moved to another CPU before its packet was parked",
		script: "0 origin a\n 1 park a",
		want:   "a main queued (neighbour queue) => queued",
	}, {
		name: "a receiving tap: the tap keeps a clone, the packet is dropped",
		script: `0 see a netif_receive_skb
			0 tap a shared
			0 clone a t
			0 untap a
			0 see a ip_rcv
			0 drop a NO_SOCKET
			0 release a`,
		want: "a main dropped (NO_SOCKET), t tap copy delivered (packet socket) => dropped",
	}, {
		name: "a receiving tap whose reader was quick",
		script: `0 see a netif_receive_skb
			0 tap a shared
			0 clone a t
			1 release t
			0 untap a
			0 enqueue a`,
		want: "a main delivered (socket), t tap copy delivered (packet socket) => delivered",
	}, {
		name: "the tap's copy is freed with a drop: not the packet's end",
		script: `0 see a netif_receive_skb
			0 tap a shared
			0 clone a t
			0 untap a
			0 see a ip_rcv
			0 enqueue a
			1 drop t SOCKET_CLOSE
			1 release t`,
		want: "a main delivered (socket), t tap copy dropped (SOCKET_CLOSE) => delivered",
	}, {
		name: "a tap without room for its clone",
		script: `0 see a netif_receive_skb
			0 tap a shared
			0 clone a t
			0 drop t PACKET_SOCK_ERROR
			0 release t
			0 untap a
			0 enqueue a`,
		want: "a main delivered (socket), t tap copy dropped (PACKET_SOCK_ERROR) => delivered",
	}, {
		name: "a shared tap that wanted nothing, and a clone made of the skb afterwards",
		script: `0 see a netif_receive_skb
			0 tap a shared
			0 untap a
			0 clone a b
			0 drop b X
			0 release b
			0 release a`,
		want: "a main consumed, b clone dropped (X) => divided",
	}, {
		name: "a clone that another CPU makes while the tap is at work",
		script: `0 see a netif_receive_skb
			0 tap a shared
			1 clone a b
			1 see b ip_rcv
			0 clone a t
			0 untap a
			0 drop a X
			1 drop b Y`,
		want: "a main dropped (X), b clone dropped (Y), t tap copy delivered (packet socket) => dropped",
	}, {
		name: "the tap is last: ip_rcv went on with a clone, the original is the tap's",
		script: `0 see a netif_receive_skb
			0 see a ip_rcv
			0 clone a b
			0 see b ip_local_deliver
			0 drop b NETFILTER_DROP
			0 release b
			0 tap a
			0 untap a
			1 release a
			`,
		want: "a taken by tap delivered (packet socket), b clone dropped (NETFILTER_DROP) => dropped",
	}, {
		name: "the tap is last and refuses: its drop is not the packet's",
		script: `0 see a ip_rcv
			0 clone a b
			0 enqueue b
			0 tap a
			0 drop a PACKET_SOCK_ERROR
			0 release a
			0 untap a`,
		want: "a taken by tap dropped (PACKET_SOCK_ERROR), b clone delivered (socket) => delivered",
	}, {
		name: "only the tap wanted the packet",
		script: `0 see a netif_receive_skb
			0 tap a
			0 untap a`,
		want: "a taken by tap delivered (packet socket) => delivered",
	}, {
		name: "only taps wanted the packet, and none kept it",
		script: `0 see a netif_receive_skb
			0 tap a shared
			0 untap a
			0 tap a
			0 release a
			0 untap a`,
		want: "a taken by tap consumed (packet socket) => consumed",
	}, {
		name: "only the tap wanted the packet, and has not decided",
		script: `0 see a netif_receive_skb
			0 tap a`,
		want: "a taken by tap undetermined => undetermined", moving: 1,
	}, {
		name: "two taps on transmit: a clone for both, and a clone of it",
		script: `0 origin a
			0 clone a t
			0 tap t shared
			0 clone t u
			0 untap t
			0 tap t
			0 untap t
			0 see a ip_rcv
			0 drop a X
			0 release a`,
		want: "a main dropped (X), t tap copy delivered (packet socket), u tap copy delivered (packet socket) => dropped",
	}, {
		name: "a tap on transmit whose filter refused",
		script: `0 origin a
			0 clone a t
			0 tap t
			0 release t
			0 untap t
			0 see a ip_rcv`,
		want: "a main undetermined, t tap copy consumed (packet socket) => undetermined", moving: 1,
	}, {
		name: "a bridge floods: every port is a branch",
		script: `0 see a br_handle_frame
			0 clone a b
			0 see b ip_rcv
			0 enqueue b
			0 clone a c
			0 see c ip_rcv
			0 drop c X
			0 release c
			0 see a ip_rcv
			0 enqueue a`,
		want: "a main delivered (socket), b clone delivered (socket), c clone dropped (X) => divided",
	}, {
		name: "a clone of which nothing is known but that it was released",
		script: `0 see a ip_rcv
			0 clone a b
			0 release b
			0 drop a X
			0 release a`,
		want: "a main dropped (X), b unseen copy consumed => dropped",
	}, {
		name: "a clone of which nothing is known at all may still do something",
		script: `0 see a ip_rcv
			0 clone a b
			0 drop a X
			0 release a`,
		want: "a main dropped (X), b clone undetermined => divided", moving: 1,
	}, {
		name: "TCP retransmits: the skb in the retransmit queue is known by its clones only",
		script: `0 origin b
			0 drop b X
			0 release b
			0 clone a b
			0 drop b X
			0 release b`,
		want: "b main dropped (X), a held queued (sender's queue), b clone dropped (X) => dropped",
	}, {
		name:   "the source of a clone shows itself later",
		script: "0 see b f\n 0 enqueue b\n 0 clone a c\n 0 release c\n 0 see a ip_rcv",
		want:   "b main delivered (socket), a main undetermined, c unseen copy consumed => divided", moving: 1,
	}, {
		name:   "an address that comes back without an edge",
		script: "0 see a f\n 0 drop a X\n 0 release a\n 0 see a f",
		want:   "a main dropped (X), a main undetermined => divided", moving: 1,
	}, {
		name:   "two drops at an address are two skbs",
		script: "0 drop a X\n 0 drop a Y",
		want:   "a main dropped (X), a main dropped (Y) => dropped",
	}, {
		name:   "an address that is cloned to is free, even if its release was missed",
		script: "0 see a f\n 0 see b f\n 0 clone a b\n 0 enqueue a\n 0 enqueue b",
		want:   "a main delivered (socket), b main consumed, b clone delivered (socket) => divided",
	}} {
		t.Run(test.name, func(t *testing.T) {
			a := NewAssembler(0)
			play(t, a, test.script)
			qt.Check(t, qt.Equals(a.Moving(), test.moving))
			qt.Check(t, qt.HasLen(a.MovingJourneys(nil), min(test.moving, 1)))
			qt.Check(t, qt.Equals(fates(a), test.want))
		})
	}
}

func TestMark(t *testing.T) {
	a := NewAssembler(1001)
	play(t, a, "0 origin a\n 0 see a ip_rcv")
	qt.Check(t, qt.Equals(a.Moving(), 0))
	qt.Check(t, qt.HasLen(a.Seal(Evidence{}).Journeys, 0))

	a = NewAssembler(1000)
	play(t, a, "0 origin a\n 0 see a ip_rcv")
	qt.Check(t, qt.Equals(a.Moving(), 1))
}

// TestSealIsACopy: what is added later does not change a record.
func TestSealIsACopy(t *testing.T) {
	a := NewAssembler(0)
	play(t, a, "0 see a f")
	r := a.Seal(Evidence{})
	play(t, a, "0 drop a X\n 0 release a")
	qt.Check(t, qt.HasLen(r.Journeys[0].Events, 1))
	qt.Check(t, qt.HasLen(r.Journeys[0].Branches[0].Events, 1))
	qt.Check(t, qt.Equals(r.Journeys[0].Outcome().Kind, Undetermined))
}

// flight is the observations of a datagram that crosses three namespaces, with the sections of every event.
func flight(tb testing.TB, events int) []Observation {
	observations := []Observation{observation(tb, "0 origin a")}
	for range events {
		observations = append(observations, Observation{Kind: Seen, Event: demoEvent(1, Function, "ip_rcv")})
	}
	observations = append(observations, observation(tb, "0 enqueue a"), observation(tb, "1 release a"))
	for i := range observations {
		observations[i].SKB = demoSKB
	}
	return observations
}

// TestAllocations: an event costs no allocation of its own. The observer has allocated its sections; a packet and a
// branch are allocated once each, and events many at a time.
func TestAllocations(t *testing.T) {
	perPacket := func(events int) float64 {
		observations := flight(t, events)
		a := NewAssembler(0)
		head := uint64(0)
		return testing.AllocsPerRun(500, func() {
			head++
			for _, o := range observations {
				o.ID.Head = head
				a.Add(&o)
			}
		})
	}
	few, many := perPacket(10), perPacket(10+slabSize)
	qt.Check(t, qt.IsTrue(many-few <= 1), qt.Commentf("%v allocations for 10 events, %v for %d more", few, many-few, slabSize))
}

// BenchmarkAssembler puts together packets of 13 events; the figures are for an observation.
func BenchmarkAssembler(b *testing.B) {
	observations := flight(b, 13)
	b.ReportAllocs()
	a := NewAssembler(0)
	for i := 0; b.Loop(); i++ {
		if i%(1000*len(observations)) == 0 {
			a = NewAssembler(0)
		}
		o := observations[i%len(observations)]
		o.ID.Head = uint64(i / len(observations))
		a.Add(&o)
	}
}

// BenchmarkSeal makes a record of a thousand such packets.
func BenchmarkSeal(b *testing.B) {
	observations := flight(b, 13)
	a := NewAssembler(0)
	for i := range 1000 {
		for _, o := range observations {
			o.ID.Head = uint64(i)
			a.Add(&o)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Seal(Evidence{})
	}
}
