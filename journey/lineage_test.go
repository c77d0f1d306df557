package journey

import (
	"encoding/json"
	"testing"

	"github.com/go-quicktest/qt"
)

// packets makes a record of packets with IDs from 1 on, each seen once, and of what they are to each other. The first is seen before
// anything is made of it.
func packets(n int, links ...Observation) *Record {
	a := NewAssembler(0)
	live := func(packet int) {
		event := Event{ID: ID{uint64(packet), 1}, SKB: 1, Probe: Probe{Function, "ip_rcv"}}
		a.Add(&Observation{Kind: Seen, Event: event})
		event.SocketCookie = 7
		a.Add(&Observation{Kind: Origin, Event: event})
		a.Add(&Observation{Kind: Released, Event: event})
	}
	live(1)
	for _, l := range links {
		a.Add(&l)
	}
	for i := range n - 1 {
		live(i + 2)
	}
	return a.Seal(complete())
}

func linkOf(packet uint64, relation Relation, other uint64) Observation {
	return Observation{Kind: Linked, Event: Event{ID: ID{packet, 1}, SKB: 1}, Relation: relation, Other: ID{other, 1}}
}

// socket is what was sent by the socket 7.
type socket struct{}

func (socket) SocketCookie() uint64 { return 7 }
func (socket) String() string       { return "a packet" }

func numbers(journeys []*Journey) []uint64 {
	var all []uint64
	for _, j := range journeys {
		all = append(all, j.ID.FirstSeen)
	}
	return all
}

func TestDescendants(t *testing.T) {
	// 1 is cut into 2 and 3, of which 3 is cut again into 4; 5 is an answer to 1, and 6 a copy of that.
	r := packets(6, linkOf(2, Segment, 1), linkOf(3, Segment, 1), linkOf(4, Fragment, 3), linkOf(5, Answer, 1), linkOf(6, Copy, 5))
	first := r.Journeys[0]
	qt.Check(t, qt.DeepEquals(numbers(first.Descendants()), []uint64{2, 3, 4}))
	qt.Check(t, qt.DeepEquals(numbers(first.Answers()), []uint64{5}))
	qt.Check(t, qt.DeepEquals(numbers(r.Journeys[4].Descendants()), []uint64{6}))
	qt.Check(t, qt.Equals(first.Sentence(), "consumed: it went on as 2 segments, last seen at ip_rcv"))
	cause, relation := r.Journeys[3].Cause()
	qt.Check(t, qt.Equals(cause, r.Journeys[2]))
	qt.Check(t, qt.Equals(relation, Fragment))

	// What was made of a packet is not what the test sent, but what was made of an answer is not made of what it sent.
	_, err := r.Of(socket{})
	qt.Check(t, qt.ErrorMatches(err, `(?s)find the journey of a packet: its socket sent 2 packets since the mark.*`))
}

// TestChainOfFragments: IP names the fragment before, while it goes through a list, and means the datagram.
func TestChainOfFragments(t *testing.T) {
	r := packets(3, linkOf(2, Fragment, 1), linkOf(3, Fragment, 2))
	qt.Check(t, qt.DeepEquals(r.Journeys[2].Links, []Link{{Fragment, ID{1, 1}}}))
	j, err := r.Of(socket{})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(j, r.Journeys[0]))
	// A fragment that was sent, and is cut again by a router, is another matter.
	a := NewAssembler(0)
	for _, o := range []Observation{
		linkOf(2, Fragment, 1), {Kind: Seen, Event: Event{ID: ID{2, 1}, SKB: 1}}, linkOf(3, Fragment, 2),
	} {
		a.Add(&o)
	}
	qt.Check(t, qt.DeepEquals(a.Seal(complete()).Journeys[1].Links, []Link{{Fragment, ID{2, 1}}}))
}

// TestKinIsOlder: what a packet comes from may be from before the mark.
func TestKinIsOlder(t *testing.T) {
	a := NewAssembler(2)
	for _, o := range []Observation{
		{Kind: Origin, Event: Event{ID: ID{1, 1}, SKB: 1, SocketCookie: 7}},
		linkOf(2, Segment, 1), {Kind: Origin, Event: Event{ID: ID{2, 1}, SKB: 2, SocketCookie: 7}}, linkOf(2, MergedInto, 1),
	} {
		a.Add(&o)
	}
	r := a.Seal(complete())
	cause, relation := r.Journeys[0].Cause()
	qt.Check(t, qt.IsNil(cause))
	qt.Check(t, qt.Equals(relation, Segment))
	qt.Check(t, qt.DeepEquals(r.Journeys[0].Lineage(), []string{"a segment of #11", "went on in #11"}))
	_, err := r.Of(socket{})
	qt.Check(t, qt.ErrorMatches(err, ".*it was sent before the mark.*"))
}

// TestTwoLinks: a fragment is made of a datagram, and becomes part of it again.
func TestTwoLinks(t *testing.T) {
	r := packets(2, linkOf(2, Fragment, 1), linkOf(2, MergedInto, 1), linkOf(2, Fragment, 1))
	written, err := json.Marshal(r)
	qt.Assert(t, qt.IsNil(err))
	read := new(Record)
	qt.Assert(t, qt.IsNil(json.Unmarshal(written, read)))
	alone := new(Journey)
	written, err = json.Marshal(r.Journeys[0])
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal(written, alone)))
	qt.Check(t, qt.Equals(alone.Sentence(), "consumed: it went on as a fragment, last seen at ip_rcv"))
	for _, r := range []*Record{r, read} {
		first := r.Journeys[0]
		qt.Check(t, qt.Equals(first.Sentence(), alone.Sentence()))
		qt.Check(t, qt.DeepEquals(numbers(first.Descendants()), []uint64{2}))
		qt.Check(t, qt.DeepEquals(numbers(first.MadeOf()), []uint64{2}))
		qt.Check(t, qt.HasLen(first.Lineage(), 2))
	}
}

func TestRejection(t *testing.T) {
	ip := func(proto byte, rest ...byte) *Packet {
		return &Packet{Proto: 0x0800, Data: append([]byte{0x45, 0, 0, 60, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, rest...)}
	}
	ip6 := func(proto byte, rest ...byte) *Packet {
		return &Packet{Proto: 0x86dd, Data: append(append([]byte{0x60, 0, 0, 0, 0, 20, proto, 64}, make([]byte, 32)...), rest...)}
	}
	for want, p := range map[string]*Packet{
		"tcp reset":               ip(6, 0, 80, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x14, 0, 0, 0, 0, 0, 0),
		"icmp port-unreachable":   ip(1, 3, 3),
		"icmp 3/7":                ip(1, 3, 7),
		"icmp 11/0":               ip(1, 11, 0),
		"icmpv6 no-route":         ip6(58, 1, 0),
		"icmpv6 port-unreachable": ip6(58, 1, 4),
		"icmpv6 2/0":              ip6(58, 2, 0),
	} {
		qt.Check(t, qt.Equals(p.Rejection(), want))
	}
	for name, p := range map[string]*Packet{
		"echo reply": ip(1, 0, 0), "redirect": ip(1, 5, 1), "SYN-ACK": ip(6, 0, 80, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0),
		"neighbour advertisement": ip6(58, 136, 0), "UDP": ip(17, 0, 4, 0, 4), "cut": ip(1, 3), "later fragment": fragmentOf(ip(1, 3, 3)),
		"nothing": {},
	} {
		qt.Check(t, qt.Equals(p.Rejection(), ""), qt.Commentf("%s", name))
	}
}

// fragmentOf makes a packet one whose data are the middle of something.
func fragmentOf(p *Packet) *Packet {
	p.Data[7] = 4
	return p
}
