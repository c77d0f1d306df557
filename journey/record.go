package journey

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Place is a part of the network that a packet can be in: a node, that is a network namespace.
type Place interface {
	// NetNSCookie is the namespace's net_cookie; 0 if it does not exist yet.
	NetNSCookie() uint64
	// String is the name of the node.
	String() string
}

// Sent is a packet that the test sent.
type Sent interface {
	// SocketCookie is the cookie of the socket by which it was sent.
	SocketCookie() uint64
	// String describes the packet.
	String() string
}

// Record is what sealing a trace yields. It does not change.
type Record struct {
	// Journeys are in order of first sight.
	Journeys []*Journey
	Evidence *Evidence

	kin     kin
	earlier map[uint64]bool // cookies of sockets that sent before the mark
}

// Seal makes a record of everything added so far. The evidence is the observer's; Seal completes it with what only
// the assembler knows: branches that are still moving. Namespaces get the names that evidence has for them.
func (a *Assembler) Seal(evidence Evidence) *Record { return a.record(a.order, evidence) }

// quiet is how long, in nanoseconds, nothing must have been observed of a packet that was freed until it is over: another CPU may be
// late with what it reports.
const quiet = 1e9

// Take makes a record of the packets that are over, and forgets them: those of which every skb was released or dropped, and nothing
// was observed for a second before the newest observation. It is for observers without an end, which would remember every packet
// otherwise; call it after each Add. It returns nil where it is too early to look: there were fewer observations since it last did
// than it would look at packets, or they span less than a second. Packets of which no lives are observed, only events, are never over.
func (a *Assembler) Take(evidence Evidence) *Record {
	// The difference of a time that is earlier, in a file that is damaged, is large too.
	if a.added < len(a.order) || a.now-a.taken < quiet {
		return nil
	}
	a.added, a.taken = 0, a.now
	var over, others []*packet
	for _, p := range a.order {
		if p.isOver() && a.now > p.lastTime && a.now-p.lastTime > quiet {
			over = append(over, p)
			delete(a.packets, p.id)
			a.moving -= p.moving
			continue
		}
		others = append(others, p)
	}
	a.order = others
	return a.record(over, evidence)
}

// isOver says that no skb of the packet is left. Where functions cannot be observed, a drop is all that tells the end of one.
func (p *packet) isOver() bool {
	return !slices.ContainsFunc(p.branches, func(b *branch) bool { return !b.closed && b.drop < 0 })
}

func (a *Assembler) record(packets []*packet, evidence Evidence) *Record {
	evidence.Moving = a.moving
	if a.moving > 0 {
		evidence.Settled = false
	}
	evidence.Loss = append([]Loss(nil), evidence.Loss...)
	r := &Record{Evidence: &evidence, earlier: make(map[uint64]bool, len(a.earlier))}
	for cookie := range a.earlier {
		r.earlier[cookie] = true
	}
	for _, p := range packets {
		j := p.journey(evidence.Nodes)
		j.Evidence, j.record = &evidence, r
		if evidence.NoFunctions != "" {
			j.blind()
		}
		r.Journeys = append(r.Journeys, j)
	}
	r.explain()
	r.relate()
	return r
}

// blind takes back what only function probes can tell. If nothing but copies is known, the packet's own way is not.
func (j *Journey) blind() {
	for _, i := range j.Deciding() {
		if b := &j.Branches[i]; b.Auxiliary {
			b.Outcome.Kind, b.Outcome.Place = Undetermined, ""
		}
	}
	for i := range j.Branches {
		switch o := &j.Branches[i].Outcome; {
		case o.Kind == Consumed && o.Place == "":
			o.Kind, o.Blind = Freed, true
		case o.Kind == Undetermined:
			o.Blind = true
		}
	}
}

// explain tells outcomes why the text of the rule that decided them is not known.
func (r *Record) explain() {
	for _, j := range r.Journeys {
		for i := range j.Branches {
			o := &j.Branches[i].Outcome
			if o.Rule != nil && o.Rule.NFT.RuleText == "" && o.Rule.NetNS != nil {
				o.Unvouched = r.Evidence.Unvouched[o.Rule.NetNS.Cookie]
			}
		}
	}
}

// Annotate calls f with every event that has an NFT section, in order, so that it can fill in the rule's text, its
// comment and the table's family, or note in Evidence.Unvouched why it cannot. Whoever makes the record calls it before
// handing the record out.
func (r *Record) Annotate(f func(*Event)) {
	for _, j := range r.Journeys {
		for i := range j.Events {
			if j.Events[i].NFT != nil {
				f(&j.Events[i])
			}
		}
	}
	r.explain()
}

// All returns every journey of the record, those of background noise included, in order of first sight.
func (r *Record) All() []*Journey { return r.Journeys }

// Flow returns the journeys of the packets of a flow, both ways, in order of first sight: of those that had, at some place where
// they were seen, this protocol and these ends; a port of 0 is any. So a flow is found by the ends that one side sees, whatever
// NAT makes of them on the way.
func (r *Record) Flow(proto uint8, local, remote netip.AddrPort) []*Journey {
	var found []*Journey
	for _, j := range r.Journeys {
		if slices.ContainsFunc(j.Events, func(e Event) bool { return e.Packet.between(proto, local, remote) }) {
			found = append(found, j)
		}
	}
	return found
}

// end is an address and a port where a packet comes from or goes to.
type end netip.AddrPort

// is says whether it is the one that is meant, with any port if that is 0.
func (e end) is(meant netip.AddrPort) bool {
	is := netip.AddrPort(e)
	return is == meant || meant.Port() == 0 && is.Addr() == meant.Addr()
}

// between says whether a packet went from one of these ends to the other.
func (p *Packet) between(proto uint8, a, b netip.AddrPort) bool {
	if p == nil {
		return false
	}
	h, ok := p.Header()
	if !ok || h.Proto != proto {
		return false
	}
	src, dst := end(netip.AddrPortFrom(h.Src, h.SrcPort)), end(netip.AddrPortFrom(h.Dst, h.DstPort))
	return src.is(a) && dst.is(b) || src.is(b) && dst.is(a)
}

// Of returns the journey of a packet that the test sent. If the kernel made several of it, fragments or segments, it is that of
// what they were made of: see [Journey.Descendants]. That none belongs to it, or more than one, is an error that
// lists the candidates; it wraps [ErrInconclusive] if none was found and the record may have missed it.
func (r *Record) Of(sent Sent) (*Journey, error) {
	cookie := sent.SocketCookie()
	if cookie == 0 {
		return nil, fmt.Errorf("find the journey of %s: its socket has no cookie, so its packets cannot be told from others", sent)
	}
	var found []*Journey
	for _, j := range r.Journeys {
		if j.Origin != nil && j.Origin.SocketCookie == cookie && !j.isMade(cookie) {
			found = append(found, j)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("find the journey of %s: its socket sent %d packets since the mark:%s",
			sent, len(found), listing(found))
	case r.earlier[cookie]:
		return nil, fmt.Errorf("find the journey of %s: it was sent before the mark, and what was sent before is left "+
			"out: begin the trace first, then send", sent)
	}
	if err := r.Evidence.Incomplete(); err != nil {
		return nil, fmt.Errorf("%w; so it cannot be said what became of %s, of which nothing was seen", err, sent)
	}
	if len(r.Journeys) == 0 {
		return nil, fmt.Errorf("find the journey of %s: no packet at all was seen since the mark", sent)
	}
	return nil, errors.New("find the journey of " + sent.String() + ": its socket sent nothing since the mark; what was seen:" +
		listing(r.Journeys))
}

// listed is how many journeys an error lists.
const listed = 20

func listing(journeys []*Journey) string {
	var b strings.Builder
	for i, j := range journeys {
		if i == listed {
			fmt.Fprintf(&b, "\n  and %d more", len(journeys)-listed)
			break
		}
		b.WriteString("\n  " + j.Summary())
	}
	return b.String()
}
