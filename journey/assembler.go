package journey

// Assembler makes journeys of observations. Give it every observation of one observer, in order, ask Moving while
// waiting for the packets to settle, and take the result with Seal. It is not safe for concurrent use.
type Assembler struct {
	mark    uint64
	packets map[ID]*packet
	order   []*packet // by first observation
	earlier map[uint64]bool
	moving  int
	now     uint64 // the time of the newest observation
	added   int    // observations since Take last looked
	taken   uint64 // when that was
	slab    slab   // where the next events go, so that an event costs no allocation of its own
}

// slab is room for events; one is taken off its front.
type slab []entry

// entry is an event of a packet that is being put together, and the next one of the same packet.
type entry struct {
	event  Event
	branch *branch
	next   *entry
}

// slabSize is how many events are allocated at once.
const slabSize = 128

func (s *slab) entry() *entry {
	if len(*s) == 0 {
		*s = make([]entry, slabSize)
	}
	e := &(*s)[0]
	*s = (*s)[1:]
	return e
}

// NewAssembler returns an assembler for what was first seen at or after mark, in nanoseconds of CLOCK_MONOTONIC. Of
// earlier packets it remembers only the sockets that sent them.
func NewAssembler(mark uint64) *Assembler {
	return &Assembler{mark: mark, packets: map[ID]*packet{}, earlier: map[uint64]bool{}}
}

// Add takes the next observation. It accepts anything, in any order. The observation is the caller's again when Add
// returns, and may have been changed; what it points to is shared.
func (a *Assembler) Add(o *Observation) {
	if o.ID.FirstSeen < a.mark {
		if o.Kind == Origin && o.SocketCookie != 0 {
			a.earlier[o.SocketCookie] = true
		}
		return
	}
	p := a.packets[o.ID]
	if p == nil {
		p = &packet{id: o.ID, slab: &a.slab}
		p.branches = p.few[:0]
		a.packets[o.ID] = p
		a.order = append(a.order, p)
	}
	a.now = o.Time
	a.added++
	if o.Kind == Linked {
		a.link(p, o)
		return
	}
	before := p.moving
	p.add(o)
	p.lastTime = max(p.lastTime, o.Time)
	a.moving += p.moving - before
}

// Moving returns the number of branches that have neither ended nor rest in a known place.
func (a *Assembler) Moving() int { return a.moving }

// MovingJourneys describes the packets of which a branch is still moving, and where they are, one line each, in order of first
// sight. Nodes are the names of the namespaces, by cookie.
func (a *Assembler) MovingJourneys(nodes map[uint64]string) []string {
	var lines []string
	for _, p := range a.order {
		if p.moving > 0 {
			j := p.journey(nodes)
			lines = append(lines, j.Flow()+": "+j.Sentence())
		}
	}
	return lines
}

// packet is a journey that is still being put together.
type packet struct {
	id       ID
	origin   *OriginInfo
	slab     *slab // the assembler's
	first    *entry
	last     *entry
	events   int // how many there are
	looks    []look
	links    []Link
	branches []*branch
	few      [2]*branch      // where branches begin, because most packets have no more
	taps     map[tapKey]*tap // nil until there is one
	moving   int
	lastTime uint64 // of an observation
}

// tapKey finds the packet socket's function that is running: one per CPU and skb, because the kernel calls it with
// softirqs disabled, so that it is not interrupted by another and does not migrate.
type tapKey struct {
	cpu uint32
	skb uint64
}

// tap is a packet socket's function at work, between TapEnter and TapExit.
type tap struct {
	skb    *branch
	shared bool
	// kept are the branches that belong to the socket if they survive the function: the skb itself, or its clones.
	kept []*branch
}

func (p *packet) add(o *Observation) {
	switch o.Kind {
	case Seen:
		p.dress(o)
		p.see(o)
	case Looked:
		p.addLook(o)
	case Origin:
		p.originate(o)
	case Cloned:
		p.clone(o)
	case TapEnter:
		p.enterTap(o)
	case TapExit:
		p.exitTap(o)
	case Enqueued:
		p.enqueue(o)
	case Parked:
		p.park(o)
	case Shaped:
		p.shape(o)
	case Absorbed:
		if b := p.living(o.SKB); b != nil {
			b.merged = true
			p.update(b, o.CPU)
		}
	case Moved:
		p.moveOn(o)
	case Released:
		if b := p.living(o.SKB); b != nil {
			p.close(b, o.CPU)
		}
	case Resumed:
		if b := p.living(o.SKB); b != nil {
			b.parked, b.shaped = false, false
			p.update(b, o.CPU)
		}
	}
}

// look is what a packet looked like at some of its events.
type look struct {
	mark         uint64
	tid          uint32
	comm         string
	socketCookie uint64
	device       *Device
	netns        *NetNS
	conntrack    *Conntrack
	packet       *Packet
}

func (p *packet) addLook(o *Observation) *look {
	for i := len(p.looks) - 1; i >= 0 && o.Comm == ""; i-- {
		if p.looks[i].tid == o.TID {
			o.Comm = p.looks[i].comm
		}
	}
	p.looks = append(p.looks, look{o.Mark, o.TID, o.Comm, o.SocketCookie, o.Device, o.NetNS, o.Conntrack, o.Packet})
	return &p.looks[len(p.looks)-1]
}

// dress gives an event the sections of the look that it names. If that was lost, the event goes without: the record is
// incomplete then, and says so.
func (p *packet) dress(o *Observation) {
	var l *look
	if o.Fresh {
		l = p.addLook(o)
	}
	for i := len(p.looks) - 1; i >= 0 && o.Mark != 0 && l == nil; i-- {
		if p.looks[i].mark == o.Mark {
			l = &p.looks[i]
		}
	}
	if l == nil {
		return
	}
	if l.packet != nil && l.packet.Len != o.Len {
		// Headers come off and go on without a change to the bytes.
		packet := *l.packet
		packet.Len = o.Len
		l.packet = &packet
	}
	o.Comm, o.SocketCookie = l.comm, l.socketCookie
	o.Device, o.NetNS, o.Conntrack, o.Packet = l.device, l.netns, l.conntrack, l.packet
}

// see records an event at a probe.
func (p *packet) see(o *Observation) {
	if o.Probe.Kind == Return || o.NFT != nil && o.NFT.Verdict == "stolen" {
		p.seeAfterwards(o)
		return
	}
	b := p.living(o.SKB)
	if b == nil {
		last := p.latest(o.SKB)
		switch {
		case last != nil && frees(o.Probe) && (last.parent != nil || !last.unseen()):
			b = last
		default:
			b = p.open(o.SKB, nil)
			if o.Probe.Name == "skb:consume_skb" {
				// It ends here. If there are other branches, it is a clone that did nothing: not all trackers report clones.
				p.append(o.Event, b)
				b.cloned = true
				p.close(b, o.CPU)
				return
			}
		}
	} else if b.drop >= 0 && o.Drop != nil {
		// An skb is dropped once. Its release was missed, and the address is in use again.
		p.close(b, o.CPU)
		b = p.open(o.SKB, nil)
	}
	if o.Drop != nil {
		b.drop = p.events
		b.tapped = b.tapped || o.Drop.byTap()
	}
	p.append(o.Event, b)
	// That a clone is freed is nothing that it does.
	b.seen = b.seen || !b.cloned || o.Drop != nil || !frees(o.Probe)
	b.parked, b.shaped = false, false
	p.update(b, o.CPU)
}

// seeAfterwards records the return of a function, or that a rule took the packet away. It says what was done, and nothing of where
// the skb is: by then it may have been queued, sent by another CPU or freed. So it moves no branch, and begins one only for an skb of which
// nothing is known.
func (p *packet) seeAfterwards(o *Observation) {
	b := p.latest(o.SKB)
	if b == nil {
		b = p.open(o.SKB, nil)
		b.seen = true
		p.update(b, o.CPU)
	}
	p.append(o.Event, b)
}

// append adds an event of a branch.
func (p *packet) append(event Event, b *branch) {
	e := p.slab.entry()
	e.event, e.branch = event, b
	if p.last == nil {
		p.first = e
	} else {
		p.last.next = e
	}
	p.last = e
	p.events++
	b.events++
}

// frees says that a probe sees skbs on their way out of existence. There, an event of a released skb belongs to the
// branch that was released and begins no new one: some of these functions run after the data was let go
// (kfree_skbmem), some are where it is let go, so that the event and the release come in either order
// (skb_release_data), and some see an skb for a second time, freed by a softirq long after skb_attempt_defer_free
// counted as its release (napi_consume_skb). All are in net/core/skbuff.c.
func frees(p Probe) bool {
	switch p.Name {
	case "skb_attempt_defer_free", "napi_consume_skb", "consume_skb", "__consume_stateless_skb", "skb:consume_skb",
		"__kfree_skb", "skb_release_all", "skb_release_head_state", "skb_release_data", "skb_free_head", "kfree_skbmem",
		"napi_skb_cache_put":
		return true
	}
	return false
}

func (p *packet) originate(o *Observation) {
	if p.origin == nil {
		p.origin = &OriginInfo{Time: o.Time, SocketCookie: o.SocketCookie, NetNS: o.NetNS}
	}
	b := p.livingOrNew(o.SKB)
	b.seen, b.parked, b.shaped = true, false, false
	p.update(b, o.CPU)
}

// clone opens a branch for the new skb. That the parent was cloned says nothing about where the parent is: a parked
// skb, for one, is cloned by neigh_probe at every attempt to resolve its address, and stays parked.
func (p *packet) clone(o *Observation) {
	parent := p.living(o.SKB)
	if parent == nil {
		// The data is known, but this skb was not seen anywhere. TCP does this: what travels is a clone, and what
		// stays in the retransmit queue shows itself only when it is cloned again.
		parent = p.open(o.SKB, nil)
		parent.holder = true
	}
	p.update(parent, o.CPU)
	if stale := p.living(o.Peer); stale != nil {
		p.close(stale, o.CPU) // its release was missed: the address has been allocated anew
	}
	child := p.open(o.Peer, parent)
	child.cloned = true
	if t := p.taps[tapKey{o.CPU, o.SKB}]; t != nil && t.skb == parent && t.shared {
		child.tapped = true
		t.kept = append(t.kept, child)
	}
	if parent.tapped {
		child.tapped = true // whatever comes from a tap's copy is no part of the packet's own way
	}
	p.update(child, o.CPU)
}

// enterTap decides which skb is the tap's.
//
// The kernel hands an skb to a packet socket (packet_rcv, tpacket_rcv in net/packet/af_packet.c) with a reference of
// the socket's own.
//
//   - If others hold it too (users > 1), the socket must not keep it: it clones, keeps the clone and drops its
//     reference. So the clones made of this skb by this CPU until the function returns are the tap's; the skb itself
//     goes on to the protocol handlers.
//   - If nobody else holds it, the socket keeps the skb itself. Then nothing of the packet's own way can be in it any
//     more, even if it is the very skb that came from the driver: when the handlers before the tap wanted the packet,
//     they were handed a shared skb and went on with a clone of their own (ip_rcv does, in skb_share_check), before
//     this call and not during it. That clone is the real branch and this skb is auxiliary from now on.
//
// On transmit, dev_queue_xmit_nit clones once and hands the clone to all taps, the last of them unshared: the clone
// comes out as auxiliary by the same rule, and so does the clone that each tap but the last makes of the clone.
func (p *packet) enterTap(o *Observation) {
	b := p.livingOrNew(o.SKB)
	b.parked = false
	t := &tap{skb: b, shared: o.Shared}
	if !o.Shared {
		b.tapped, b.tappedAt = true, p.events
		t.kept = append(t.kept, b)
	}
	if p.taps == nil {
		p.taps = map[tapKey]*tap{}
	}
	p.taps[tapKey{o.CPU, o.SKB}] = t
	p.update(b, o.CPU)
}

// exitTap finds out whether the tap kept what was its. A copy that the socket's filter refused, or for which the
// socket had no room, was released by this CPU before the function returned. One that was released meanwhile by
// another CPU was read there by the socket's owner, so it had been kept.
func (p *packet) exitTap(o *Observation) {
	key := tapKey{o.CPU, o.SKB}
	t := p.taps[key]
	if t == nil {
		return
	}
	delete(p.taps, key)
	for _, b := range t.kept {
		if !b.closed || b.closedBy != o.CPU {
			b.kept = true
			p.update(b, o.CPU)
		}
	}
}

func (p *packet) enqueue(o *Observation) {
	b := p.reported(o)
	if b == nil {
		b = p.open(o.SKB, nil)
	}
	b.parked = false
	b.enqueued, b.enqueuedAt = true, p.events
	b.restNS, b.restDev = o.NetNS, o.Device
	p.update(b, o.CPU)
}

// shape notes that an skb is given to a qdisc. That is reported before it is in there, so nothing that the qdisc does with it
// is observed earlier, and if the qdisc refuses it, its end is observed later.
func (p *packet) shape(o *Observation) {
	b := p.livingOrNew(o.SKB)
	b.parked, b.shaped = false, true
	b.restNS, b.restDev = o.NetNS, o.Device
	p.update(b, o.CPU)
}

// moveOn notes that an skb gives way to another. The kernel does this (skb_morph in inet_frag_reasm_prepare,
// net/ipv4/inet_fragment.c) to put a datagram together in the skb of the fragment that came last: what that was goes on as a
// clone of it, and the first fragment goes on as that skb.
func (p *packet) moveOn(o *Observation) {
	b := p.living(o.SKB)
	if b == nil {
		return
	}
	if o.Peer != 0 {
		if stale := p.living(o.Peer); stale != nil {
			p.close(stale, o.CPU)
		}
		p.update(p.open(o.Peer, b), o.CPU) // first, so that the packet does not seem to be at rest
	}
	b.parked, b.moved = false, true
	p.update(b, o.CPU)
}

// park notes that an skb waits for a neighbour, or for the other fragments of its datagram. The report is made when the kernel's function returns, and by then
// another CPU may have resolved the address and sent the skb on, even to its end. Then the report says nothing: if
// the branch has ended, or if it was observed on another CPU after it was last observed on the reporting one.
func (p *packet) park(o *Observation) {
	b := p.reported(o)
	if b == nil {
		b = p.open(o.SKB, nil)
	}
	if b.closed || b.drop >= 0 || b.enqueued || b.merged || b.moved || b.on(o.CPU) && b.lastCPU != o.CPU {
		return
	}
	b.parked, b.place = true, NeighbourQueue
	if o.Place != "" {
		b.place = o.Place
	}
	p.update(b, o.CPU)
}

// reported finds the branch that Enqueued and Parked speak of. Both are reported when a function returns, and by then
// the skb may have been released on another CPU, and its address reused by clones of the same packet. It is the newest
// branch at the address that was observed on the reporting CPU and, if it has ended, was ended elsewhere and in no way
// that is known yet: on the reporting CPU itself, nothing of this packet can have happened since. If there is none,
// the skb came from another CPU unnoticed, and it is the newest.
func (p *packet) reported(o *Observation) *branch {
	newest := p.latest(o.SKB)
	for b := newest; b != nil; b = b.prev {
		if b.on(o.CPU) && (!b.closed || b.closedBy != o.CPU && !b.enqueued && b.drop < 0) {
			return b
		}
	}
	return newest
}

// latest returns the newest branch at an address, open or closed.
func (p *packet) latest(skb uint64) *branch {
	for i := len(p.branches) - 1; i >= 0; i-- {
		if p.branches[i].skb == skb {
			return p.branches[i]
		}
	}
	return nil
}

func (p *packet) living(skb uint64) *branch {
	if b := p.latest(skb); b != nil && !b.closed {
		return b
	}
	return nil
}

func (p *packet) livingOrNew(skb uint64) *branch {
	if b := p.living(skb); b != nil {
		return b
	}
	return p.open(skb, nil)
}

func (p *packet) open(skb uint64, parent *branch) *branch {
	b := &branch{
		skb: skb, index: len(p.branches), parent: parent, prev: p.latest(skb),
		eventsBefore: p.events, drop: -1,
	}
	p.branches = append(p.branches, b)
	return b
}

func (p *packet) close(b *branch, cpu uint32) {
	b.closed, b.closedBy = true, cpu
	p.update(b, cpu)
}

// update notes on which CPU a branch was observed, and keeps the count of moving branches.
func (p *packet) update(b *branch, cpu uint32) {
	b.touch(cpu)
	if now := b.isMoving(); now != b.moving {
		b.moving = now
		if now {
			p.moving++
		} else {
			p.moving--
		}
	}
}
