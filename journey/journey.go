package journey

import (
	"fmt"
	"strings"

	"github.com/waybill-dev/waybill/internal/plural"
)

// Journey is what became of one packet. It belongs to a [Record] and does not change.
type Journey struct {
	ID ID
	// Origin is the first sight of the packet; nil if it was not reported.
	Origin *OriginInfo
	// Events are all events of the packet, in the order in which the kernel made them.
	Events []Event
	// Branches are the skbs that carried the packet, in order of first sight.
	Branches []Branch
	// Links are what the packet is to others, in the order in which that came about.
	Links []Link
	// Evidence is the account of the record, shared by its journeys.
	Evidence *Evidence

	record *Record // nil if it is of none
}

// Others are the other journeys of the record, in order of first sight; nil if this one was read without its record.
func (j *Journey) Others() []*Journey {
	if j.record == nil {
		return nil
	}
	var others []*Journey
	for _, o := range j.record.Journeys {
		if o != j {
			others = append(others, o)
		}
	}
	return others
}

// OriginInfo is the first sight of a packet, on its way out of a socket if it was made here.
type OriginInfo struct {
	Time         uint64 // nanoseconds of CLOCK_MONOTONIC
	SocketCookie uint64 // the sending socket's; 0 if there is none
	NetNS        *NetNS // where it was
}

// Branch is one skb of a journey.
type Branch struct {
	SKB uint64 // address of the sk_buff; may be that of an earlier branch, reused
	// Parent is the index of the branch of which this one was cloned, or -1 if it is not known to be a clone.
	Parent int
	Role   Role
	// Auxiliary says that the branch has no part in the packet's own way, so that how it ended is not what became of
	// the packet.
	Auxiliary bool
	Events    []int // indices into Journey.Events
	// Since is how many events the journey had when the branch began. Those of its ancestors before that were on its way.
	Since int
	// Accepted is how it was put on a socket's receive queue; nil if it was not. It may have been dropped from there.
	Accepted *Acceptance
	Outcome  Outcome

	takenAt int // TakenByTap: how many events the journey had by then
}

// Acceptance is that a socket took a packet on its receive queue.
type Acceptance struct {
	// After is how many events the journey had by then.
	After int `json:"after"`
	// NetNS is the socket's; Device is nil unless it was told.
	NetNS  *NetNS  `json:"netns,omitempty"`
	Device *Device `json:"device,omitempty"`
}

// Role says what a branch is to its packet.
type Role string

// The roles of branches. All but Main and Clone are auxiliary.
const (
	// Main is an skb that is not known to be a clone.
	Main Role = "main"
	// Clone is a copy that went a way of its own, as when a bridge floods.
	Clone Role = "clone"
	// TapCopy is a clone made for a packet socket.
	TapCopy Role = "tap copy"
	// TakenByTap is an skb that a packet socket took because nobody else wanted it any more.
	TakenByTap Role = "taken by tap"
	// Held is an skb that shows itself only by being cloned, as in TCP's retransmit queue.
	Held Role = "held"
	// MovedOn is an skb that gave way to another one, a later branch that carries on as the packet: the first fragment of a
	// datagram does when the kernel puts the datagram together in the skb that came last.
	MovedOn Role = "moved on"
	// UnseenCopy is a clone that ended without having done anything that was observed.
	UnseenCopy Role = "unseen copy"
)

func (r Role) auxiliary() bool { return r != Main && r != Clone }

// Deciding returns the indices of the branches whose outcomes are the packet's: all that are not auxiliary. If there
// are none, because only packet sockets wanted the packet, it is theirs; and failing that, all.
func (j *Journey) Deciding() []int {
	for _, counts := range []func(*Branch) bool{
		func(b *Branch) bool { return !b.Auxiliary },
		func(b *Branch) bool { return b.Role == TapCopy || b.Role == TakenByTap },
		func(*Branch) bool { return true },
	} {
		var found []int
		for i := range j.Branches {
			if counts(&j.Branches[i]) {
				found = append(found, i)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// BranchOf returns the index of the branch to which an event, given by its index, belongs; -1 if there is no such event.
func (j *Journey) BranchOf(event int) int {
	for i := range j.Branches {
		for _, e := range j.Branches[i].Events {
			if e == event {
				return i
			}
		}
	}
	return -1
}

// Outcome is what became of the packet: the outcome of its deciding branch. If several branches decide and ended in
// the same way, it is that of the first of them; if they ended in different ways, its Kind is Divided. See Sentence
// for all of them in words.
func (j *Journey) Outcome() Outcome {
	branches := j.Deciding()
	if len(branches) == 0 {
		return Outcome{Kind: Undetermined}
	}
	first := j.Branches[branches[0]].Outcome
	for _, i := range branches[1:] {
		if j.Branches[i].Outcome.Kind != first.Kind {
			return Outcome{Kind: Divided}
		}
	}
	return first
}

// Sentence says in one sentence what became of the packet.
func (j *Journey) Sentence() string {
	branches := j.Deciding()
	switch len(branches) {
	case 0:
		return Outcome{Kind: Undetermined}.String()
	case 1:
		return j.Branches[branches[0]].Outcome.String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "in %d branches: ", len(branches))
	for n, i := range branches {
		if n > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "(%d) skb %x %s", n+1, j.Branches[i].SKB, j.Branches[i].Outcome)
	}
	return b.String()
}

// Flow is the packet as it first was, in short: "172.16.42.1.39677 > 172.16.42.2.8080 UDP".
func (j *Journey) Flow() string {
	if p := j.first(); p != nil {
		return p.Flow()
	}
	return "a packet of unknown content"
}

// first is the packet as it first was, with its network header; nil if it was not seen so.
func (j *Journey) first() *Packet {
	for i := range j.Events {
		if p := j.Events[i].Packet; p != nil && !p.isUnfinished() {
			return p
		}
	}
	return nil
}

// Summary is the journey in one short line: packet, number of events, outcome, identity.
func (j *Journey) Summary() string {
	return fmt.Sprintf("%s, %s, %s #%s", j.Flow(), plural.Of(len(j.Events), "event"), j.Outcome().Brief(), j.ID)
}

// journey makes a Journey of what is known so far. nodes gives names to namespaces, by cookie.
func (p *packet) journey(nodes map[uint64]string) *Journey {
	j := &Journey{ID: p.id, Links: p.links, Events: make([]Event, 0, p.events), Branches: make([]Branch, len(p.branches))}
	indices := make([]int, 0, p.events)
	branches := make([][]int, len(p.branches)) // the events of each, by index; parts of indices
	for i, b := range p.branches {
		if b.events == 0 {
			continue
		}
		at := len(indices)
		indices = indices[:at+b.events]
		branches[i] = indices[at:at:len(indices)]
	}
	for entry := p.first; entry != nil; entry = entry.next {
		b := entry.branch.index
		branches[b] = append(branches[b], len(j.Events))
		// The record may be annotated; what the observer shares between events and assemblers must not change by that.
		e := entry.event
		e.NetNS = e.NetNS.named(nodes)
		if e.NFT != nil {
			nft := *e.NFT
			e.NFT = &nft
		}
		j.Events = append(j.Events, e)
	}
	if p.origin != nil {
		origin := *p.origin
		origin.NetNS = origin.NetNS.named(nodes)
		j.Origin = &origin
	}
	for i, b := range p.branches {
		role := b.role()
		branch := Branch{
			SKB: b.skb, Parent: -1, Role: role, Auxiliary: role.auxiliary(), Events: branches[i], Since: b.eventsBefore,
			takenAt: b.tappedAt,
		}
		if b.enqueued {
			branch.Accepted = &Acceptance{After: b.enqueuedAt, NetNS: b.restNS.named(nodes), Device: b.restDev}
		}
		if b.parent != nil {
			branch.Parent = b.parent.index
		}
		branch.Outcome = b.outcome(j.Events, branches)
		branch.Outcome.NetNS = branch.Outcome.NetNS.named(nodes)
		if branch.Outcome.LastNetNS == nil && j.Origin != nil {
			branch.Outcome.LastNetNS = j.Origin.NetNS
		}
		j.Branches[i] = branch
	}
	return j
}

// named returns a copy with the node's name filled in.
func (n *NetNS) named(nodes map[uint64]string) *NetNS {
	if n == nil {
		return nil
	}
	c := *n
	if c.Node == "" {
		c.Node = nodes[c.Cookie]
	}
	return &c
}

// String names the namespace: the node, or "0x<cookie>/<inode>" if it belongs to none.
func (n *NetNS) String() string {
	if n.Node != "" {
		return n.Node
	}
	return fmt.Sprintf("%#x/%d", n.Cookie, n.Inum)
}
