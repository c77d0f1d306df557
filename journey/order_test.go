package journey

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestOrder gives the same observations in every order that causality allows, or in many of them, and expects the same
// outcomes. What one CPU does is in order; after gives the causes on other CPUs, as pairs of lines (effect, cause).
// A function's return is reported late: what it did may have had effects elsewhere before the report, so the cause is
// then the line before it.
func TestOrder(t *testing.T) {
	for _, test := range []struct {
		name   string
		script []string
		after  [][2]int
		want   string
	}{{
		name: "a reader on another CPU",
		script: []string{
			0: "0 origin a", 1: "0 see a udp_queue_rcv_one_skb", 2: "0 enqueue a",
			3: "1 see a skb_copy_datagram_iter", 4: "1 release a",
		},
		after: [][2]int{{3, 1}},
		want:  "a main delivered (socket) => delivered",
	}, {
		name: "a neighbour that answers on another CPU",
		script: []string{
			0: "0 origin a", 1: "0 see a ip_output", 2: "0 clone a b", 3: "0 release b", 4: "0 park a",
			5: "1 resume a", 6: "1 see a ip_rcv", 7: "1 see a udp_queue_rcv_one_skb", 8: "1 enqueue a", 9: "2 release a",
		},
		after: [][2]int{{5, 2}, {9, 7}}, // neigh_probe clones under the lock under which the answer takes the packet out
		want:  "a main delivered (socket), b unseen copy consumed => delivered",
	}, {
		name: "a neighbour that answers on another CPU, and a rule that drops",
		script: []string{
			0: "0 origin a", 1: "0 see a ip_output", 2: "0 park a",
			3: "1 see a ip_rcv", 4: "1 drop a NETFILTER_DROP", 5: "1 release a",
		},
		after: [][2]int{{3, 1}},
		want:  "a main dropped (NETFILTER_DROP) => dropped",
	}, {
		name: "a tap on each side, their readers on other CPUs, and the datagram's reader",
		script: []string{
			0: "0 origin a", 1: "0 clone a t", 2: "0 tap t", 3: "0 untap t", 4: "0 see a veth_xmit",
			5: "1 see a netif_receive_skb", 6: "1 tap a shared", 7: "1 clone a u", 8: "1 untap a",
			9: "1 see a udp_queue_rcv_one_skb", 10: "1 enqueue a",
			11: "2 release t", 12: "3 release u", 13: "3 release a",
		},
		after: [][2]int{{5, 4}, {11, 2}, {12, 7}, {13, 9}},
		want: "a main delivered (socket), t tap copy delivered (packet socket), " +
			"u tap copy delivered (packet socket) => delivered",
	}, {
		name: "the original is the tap's, read while ip_rcv's clone is on its way to another socket",
		script: []string{
			0: "0 see a netif_receive_skb", 1: "0 clone a b", 2: "0 see b udp_queue_rcv_one_skb", 3: "0 enqueue b",
			4: "0 tap a", 5: "0 untap a",
			6: "1 release a", 7: "2 release b", 8: "2 see b kfree_skbmem",
		},
		after: [][2]int{{6, 4}, {7, 2}},
		want:  "a taken by tap delivered (packet socket), b clone delivered (socket) => delivered",
	}, {
		name: "a flood to ports on several CPUs, one copy dropped, one read, one tapped",
		script: []string{
			0: "0 see a br_handle_frame", 1: "0 clone a b", 2: "0 clone a c", 3: "0 see a veth_xmit",
			4: "1 see b ip_rcv", 5: "1 drop b X", 6: "1 release b",
			7: "2 see c ip_rcv", 8: "2 enqueue c", 9: "1 release c",
			10: "3 tap a", 11: "3 untap a", 12: "0 release a",
		},
		after: [][2]int{{4, 1}, {7, 2}, {9, 7}, {10, 3}, {12, 10}},
		want: "a taken by tap delivered (packet socket), b clone dropped (X), c clone delivered (socket) " +
			"=> divided",
	}, {
		name: "an address that is reused by a clone as soon as it was read",
		script: []string{
			0: "0 see a f", 1: "0 clone a b", 2: "0 see b udp_queue_rcv_one_skb", 3: "0 enqueue b",
			4: "1 release b", 5: "1 see a g", 6: "1 clone a b", 7: "1 drop b X", 8: "1 release b", 9: "1 drop a Y",
		},
		after: [][2]int{{4, 2}},
		want:  "a main dropped (Y), b clone delivered (socket), b clone dropped (X) => divided",
	}} {
		t.Run(test.name, func(t *testing.T) {
			orders := 0
			for order := range linearOrders(test.script, test.after) {
				orders++
				a := NewAssembler(0)
				for _, i := range order {
					play(t, a, test.script[i])
				}
				if got := sorted(fates(a)); got != sorted(test.want) || a.Moving() != 0 {
					t.Fatalf("in order %v\ngot  %s, %d moving\nwant %s", order, got, a.Moving(), sorted(test.want))
				}
			}
			qt.Assert(t, qt.IsTrue(orders > 1), qt.Commentf("one order proves nothing"))
		})
	}
}

// sorted puts the branches of what fates returned in an order that does not depend on which was seen first.
func sorted(fates string) string {
	branches, outcome, _ := strings.Cut(fates, " => ")
	parts := strings.Split(branches, ", ")
	slices.Sort(parts)
	return strings.Join(parts, ", ") + " => " + outcome
}

// linearOrders yields 3000 orders that respect the order of each CPU and the given causes, repeatably.
func linearOrders(script []string, after [][2]int) func(func([]int) bool) {
	cpu := make([]int, len(script))
	for i, line := range script {
		if _, err := fmt.Sscan(line, &cpu[i]); err != nil {
			panic(err)
		}
	}
	ready := func(i int, done []bool) bool {
		if done[i] {
			return false
		}
		for j := range i {
			if cpu[j] == cpu[i] && !done[j] {
				return false
			}
		}
		for _, pair := range after {
			if pair[0] == i && !done[pair[1]] {
				return false
			}
		}
		return true
	}
	return func(yield func([]int) bool) {
		random := rand.New(rand.NewPCG(1, 2))
		for range 3000 {
			done, order := make([]bool, len(script)), make([]int, 0, len(script))
			for len(order) < len(script) {
				var candidates []int
				for i := range script {
					if ready(i, done) {
						candidates = append(candidates, i)
					}
				}
				next := candidates[random.IntN(len(candidates))]
				done[next] = true
				order = append(order, next)
			}
			if !yield(order) {
				return
			}
		}
	}
}

// FuzzAssembler: no sequence of observations makes the assembler panic or break its promises.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{2, 0, 1, 0, 1, 0, 1, 0, 3, 0, 1, 2})
	f.Add([]byte("a sequence of observations is any sequence of bytes, four bytes an observation"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := NewAssembler(1)
		for len(data) >= 4 {
			o := fuzzed([4]byte(data))
			a.Add(&o)
			data = data[4:]
		}
		moving := 0
		for _, p := range a.order {
			for _, b := range p.branches {
				if b.isMoving() {
					moving++
				}
			}
		}
		qt.Assert(t, qt.Equals(a.Moving(), moving))
		r := a.Seal(Evidence{Sealed: true, Settled: true})
		qt.Assert(t, qt.Equals(r.Evidence.Settled, moving == 0))
		for _, j := range r.Journeys {
			checkJourney(t, j)
		}
	})
}

func fuzzed(b [4]byte) Observation {
	o := Observation{
		Kind: ObservationKind(b[0] % 11), Shared: b[1]&1 != 0, Peer: uint64(b[3] >> 4),
		Event: Event{SocketCookie: uint64(b[1] >> 6), ID: ID{FirstSeen: uint64(b[2] % 3)}, SKB: uint64(b[3] & 15), CPU: uint32(b[1] >> 1 & 3)},
	}
	switch b[1] >> 3 & 7 {
	case 0:
		o.Drop = &Drop{Reason: "NETFILTER_DROP"}
	case 1:
		o.NFT = &NFT{Verdict: "drop"}
	case 2:
		o.Probe = Probe{Function, "kfree_skbmem"}
	case 3:
		o.NetNS = &NetNS{Cookie: 1}
	}
	return o
}

// checkJourney holds a journey against what every journey promises.
func checkJourney(t *testing.T, j *Journey) {
	kinds := []OutcomeKind{Delivered, Dropped, Consumed, Queued, Undetermined}
	events := make([]int, len(j.Events))
	for i, b := range j.Branches {
		qt.Assert(t, qt.IsTrue(slices.Contains(kinds, b.Outcome.Kind)))
		qt.Assert(t, qt.IsTrue(b.Parent >= -1 && b.Parent < i))
		qt.Assert(t, qt.Equals(b.Outcome.Kind == Dropped, b.Outcome.Event != nil && b.Outcome.Event.Drop != nil))
		for _, e := range b.Events {
			events[e]++
			qt.Assert(t, qt.Equals(j.BranchOf(e), i))
		}
	}
	for _, n := range events {
		qt.Assert(t, qt.Equals(n, 1))
	}
	qt.Assert(t, qt.IsTrue(len(j.Branches) == 0 || len(j.Deciding()) > 0))
	_ = j.String()
	_, err := j.MarshalJSON()
	qt.Assert(t, qt.IsNil(err))
}
