package journey

import "slices"

// branch is the life of one skb, as far as it is known.
type branch struct {
	skb    uint64
	index  int
	parent *branch
	prev   *branch // the one before it at the same address
	events int     // how many of the packet's are its own
	// eventsBefore is the number of events that the packet had when the branch was opened.
	eventsBefore int

	cpus    cpuSet // where it was observed
	lastCPU uint32

	cloned   bool // opened by a clone
	holder   bool // known only because it was cloned
	seen     bool // at a probe, or as it left its socket
	tapped   bool // a packet socket's
	tappedAt int  // number of the packet's events at that time
	kept     bool // by the packet socket, in its queue
	enqueued bool // on a socket's receive queue
	// enqueuedAt is the number of the packet's events at that time.
	enqueuedAt int
	parked     bool // where place says, and nothing since
	shaped     bool // in a qdisc, and nothing since
	merged     bool // into another packet
	moved      bool // into another skb of the packet, a later branch
	closed     bool // released
	closedBy   uint32
	drop       int // index of the drop among the packet's events, or -1

	place string // while parked
	// Where it was enqueued or shaped.
	restNS  *NetNS
	restDev *Device

	moving bool // as counted
}

// cpuSet is a set of CPUs: the first 64 as bits, because most machines have no more, and the others as a list.
type cpuSet struct {
	bits uint64
	more []uint32
}

func (s *cpuSet) add(cpu uint32) {
	if cpu < 64 {
		s.bits |= 1 << cpu
	} else if !slices.Contains(s.more, cpu) {
		s.more = append(s.more, cpu)
	}
}

func (s *cpuSet) has(cpu uint32) bool {
	if cpu < 64 {
		return s.bits&(1<<cpu) != 0
	}
	return slices.Contains(s.more, cpu)
}

func (b *branch) touch(cpu uint32) {
	b.lastCPU = cpu
	b.cpus.add(cpu)
}

func (b *branch) on(cpu uint32) bool { return b.cpus.has(cpu) }

// held says that the skb is known only as the source of clones. It rests with whoever made them.
func (b *branch) held() bool {
	return b.holder && !b.seen && !b.tapped && !b.enqueued && !b.parked && !b.shaped && !b.moved
}

// unseen says that the skb was a clone that lived and ended without doing anything that was observed: the kernel
// makes such clones for its own ends (neigh_probe clones a waiting skb to look at its addresses), and what became of
// the packet shows in the other branches. While it lives it counts, because it may still do something.
func (b *branch) unseen() bool {
	return b.cloned && b.closed && !b.seen && !b.tapped && !b.enqueued && !b.kept && !b.merged
}

// isMoving says that the branch has neither ended nor rests. A drop is an end: kfree_skb reports it when the last
// reference is gone, and the release follows on the same CPU. What is in a qdisc moves: it leaves by itself, mostly within
// microseconds, and what follows is to be seen.
func (b *branch) isMoving() bool {
	return !b.closed && b.drop < 0 && !b.enqueued && !b.kept && !b.parked && !b.merged && !b.moved && !b.held()
}

func (b *branch) role() Role {
	switch {
	case b.tapped && b.cloned:
		return TapCopy
	case b.tapped:
		return TakenByTap
	case b.moved:
		return MovedOn
	case b.held():
		return Held
	case b.unseen():
		return UnseenCopy
	case b.cloned:
		return Clone
	}
	return Main
}

// outcome says how the branch ended, in terms of the events of its packet and of those of its
// branches, by index. A drop comes first,
// because a packet that waits unread in a socket when the socket is closed is dropped after it was enqueued. That it
// was accepted by a socket outweighs that it was freed later: then it was read.
func (b *branch) outcome(events []Event, branches [][]int) Outcome {
	o := Outcome{Kind: Undetermined}
	for _, i := range branches[b.index] {
		if o.Event == nil || o.Event.Probe.Kind == Return || events[i].Probe.Kind != Return {
			o.Event = &events[i]
		}
	}
	switch {
	case b.drop >= 0:
		o.Kind = Dropped
		o.Event = &events[b.drop]
		o.Rule = b.rule(events, branches[b.index])
		o.NetNS, o.Device = o.Event.NetNS, o.Event.Device
	case b.enqueued:
		o.Kind, o.Place = Delivered, Socket
		o.NetNS, o.Device = b.restNS, b.restDev
	case b.kept:
		o.Kind, o.Place = Delivered, PacketSocket
	case b.merged:
		o.Kind = Merged
	case b.closed && b.tapped:
		o.Kind, o.Place = Consumed, PacketSocket
	case b.closed:
		o.Kind = Consumed
	case b.parked:
		o.Kind, o.Place = Queued, b.place
	case b.shaped:
		o.Kind, o.Place = Queued, QdiscQueue
		o.NetNS, o.Device = b.restNS, b.restDev
	case b.held():
		o.Kind, o.Place = Queued, HolderQueue
	}
	o.LastNetNS, o.LastDevice = b.lastSections(events, branches)
	return o
}

// rule finds the nftables event that decided a drop: the one right before it, if that was a verdict to drop. With
// any other event in between, something else judged the packet last. The functions that free it are no such thing, and no
// function judges when it returns.
func (b *branch) rule(events []Event, own []int) *Event {
	drop := &events[b.drop]
	if drop.Drop.Reason != "NETFILTER_DROP" {
		return nil
	}
	for i := slices.Index(own, b.drop) - 1; i >= 0; i-- {
		e := &events[own[i]]
		switch {
		case e.NFT != nil && e.NFT.Verdict == "drop":
			return e
		case e.NFT == nil && e.Probe.Kind == Function && slices.Contains(dropFunctions, e.Probe.Name),
			e.Probe.Kind == Return: // of __nft_trace_packet, for one
			continue
		}
		return nil
	}
	return nil
}

// dropFunctions are what nf_hook_slow and nft_do_chain call to free what was judged: kfree_skb_reason on 6.1,
// sk_skb_reason_drop on 6.12 and later.
var dropFunctions = []string{"kfree_skb_reason", "sk_skb_reason_drop"}

// lastSections returns the namespace and device in which the branch was last seen; those of its parent at the time
// of cloning, if it never was.
func (b *branch) lastSections(events []Event, branches [][]int) (ns *NetNS, dev *Device) {
	until := len(events)
	for b != nil {
		for _, i := range slices.Backward(branches[b.index]) {
			e := &events[i]
			if i >= until || e.Probe.Kind == Return { // on its return a function says where the skb was
				continue
			}
			if ns == nil {
				ns, dev = e.NetNS, e.Device
			}
			if ns != nil {
				return ns, dev
			}
		}
		until = min(until, b.eventsBefore)
		b = b.parent
	}
	return ns, dev
}
