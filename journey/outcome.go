package journey

import (
	"fmt"
	"strings"
)

// OutcomeKind says how a branch ended.
type OutcomeKind string

// The kinds of outcomes.
const (
	// Delivered: accepted on a socket's receive queue. Whether a process has read it is a race that a test does not
	// control, so it makes no difference, unless the packet was dropped unread.
	Delivered OutcomeKind = "delivered"
	// Dropped: freed by kfree_skb, with a reason.
	Dropped OutcomeKind = "dropped"
	// Consumed: freed without a drop and without having reached a socket. The kernel took the packet for itself, as it
	// does with ARP.
	Consumed OutcomeKind = "consumed"
	// Freed: without a drop, where it is not known whether it was delivered, merged or consumed before. Only without function
	// probes ([Evidence.NoFunctions]) is an outcome of this kind.
	Freed OutcomeKind = "freed"
	// Merged: another packet took over its data, by reassembly of fragments or by coalescing, and it is no packet of its own
	// any more. What became of the data is that packet's outcome.
	Merged OutcomeKind = "merged"
	// Queued: in a known place when the record was sealed. In most it was at rest; a qdisc, though, lets go of its packets by
	// itself, so a record that has one in a qdisc is not settled.
	Queued OutcomeKind = "queued"
	// Undetermined: still on its way when the record was sealed.
	Undetermined OutcomeKind = "undetermined"
	// Divided is never the outcome of a branch. It is that of a journey whose branches ended in different ways.
	Divided OutcomeKind = "divided"
)

// Place names where a packet was delivered to or where it rests.
const (
	Socket         = "socket"
	PacketSocket   = "packet socket"
	NeighbourQueue = "neighbour queue"
	// FragmentQueue is where a fragment waits for the others of its datagram.
	FragmentQueue = "fragment queue"
	// QdiscQueue is the queueing discipline of a device.
	QdiscQueue = "qdisc"
	// HolderQueue is where a Held skb rests: with the sender, which may send another clone of it.
	HolderQueue = "sender's queue"
)

// Outcome is how a branch ended.
type Outcome struct {
	Kind OutcomeKind
	// Event is the drop of a dropped branch, and the last event of any other; nil if it had none.
	Event *Event
	// Rule is the nftables event that decided a drop, of a rule or of a policy; nil if none is known.
	Rule *Event
	// Place is where a delivered packet went, where a queued one rests, or PacketSocket if one consumed it; else empty.
	Place string
	// NetNS and Device are where the branch ended, nil if that is not known for certain.
	NetNS  *NetNS
	Device *Device
	// WentOn is what was made of a consumed packet, "3 segments" or "a copy"; empty if nothing was.
	WentOn string
	// LastNetNS and LastDevice are where the branch was last seen.
	LastNetNS  *NetNS
	LastDevice *Device
	// Blind says that without function probes no more is known: see [Freed], and [Undetermined], which is then not to say that the
	// packet moved.
	Blind bool
	// Unvouched is why the text of the deciding rule is not known; empty if it is, or if the cause is not known either.
	Unvouched string
}

// String is the outcome in words, to be read after "the packet was".
func (o Outcome) String() string {
	switch o.Kind {
	case Dropped:
		return "dropped" + o.where() + o.judge() + ", reason " + o.Event.Drop.Reason + at(o.Event.Drop.Location)
	case Delivered:
		return "delivered to a " + o.Place + o.where()
	case Consumed:
		if o.Place == PacketSocket {
			// Both look the same from outside: tpacket_rcv frees what it copied, and what its filter refused.
			return "consumed by a packet socket: copied to its ring, or refused by its filter" + o.lastSeen()
		}
		if o.WentOn != "" {
			return "consumed: it went on as " + o.WentOn + o.lastSeen()
		}
		return "consumed: freed by the kernel, neither dropped nor delivered" + o.lastSeen()
	case Freed:
		return "freed without a drop: whether a socket had it before, or the kernel took it for itself, is not known without " +
			"function probes" + o.lastSeen()
	case Merged:
		return "merged: its data went on as part of another packet" + o.lastSeen()
	case Queued:
		return "queued in the " + o.Place + o.where()
	case Divided:
		return "divided: its branches ended in different ways"
	}
	if o.Blind {
		return "undetermined: neither freed nor dropped when the record was sealed, and whether it rested somewhere is not " +
			"known without function probes" + o.lastSeen()
	}
	return "undetermined: still on its way when the record was sealed" + o.lastSeen()
}

// Brief is the outcome in a few words: kind, node, drop reason.
func (o Outcome) Brief() string {
	brief := string(o.Kind)
	if ns := o.NetNS; ns != nil {
		brief += " in " + ns.String()
	} else if ns := o.LastNetNS; ns != nil {
		brief += ", last seen in " + ns.String()
	}
	if o.Kind == Dropped {
		brief += " (" + o.Event.Drop.Reason + ")"
	}
	return brief
}

func at(location string) string {
	if location == "" {
		return ""
	}
	return ", at " + location
}

// judge says who decided a drop by netfilter.
func (o Outcome) judge() string {
	if o.Rule == nil {
		if o.Event.Drop.Reason == "NETFILTER_DROP" {
			return " by netfilter (no nftables verdict was reported right before it)"
		}
		return ""
	}
	return " by " + o.Judge()
}

// Judge names the nftables rule or policy that decided a drop; empty if none is known.
func (o Outcome) Judge() string {
	if o.Rule == nil {
		return ""
	}
	return o.Rule.NFT.describe(o.Unvouched)
}

// String names the rule or policy: its text, if that is known, and where it stands.
func (n *NFT) String() string { return n.describe("") }

func (n *NFT) describe(unvouched string) string {
	table := n.Table
	if n.Family != "" {
		table = n.Family + " " + n.Table
	}
	if n.Policy {
		return fmt.Sprintf("the policy of chain %s (table %s)", n.Chain, table)
	}
	if n.Rule == 0 {
		return fmt.Sprintf("the end of chain %s (table %s)", n.Chain, table)
	}
	if n.RuleText == "" {
		why := "its text is not known"
		if unvouched != "" {
			why += ": " + unvouched
		}
		return fmt.Sprintf("the rule with handle %d (table %s, chain %s; %s)", n.Rule, table, n.Chain, why)
	}
	return fmt.Sprintf("rule '%s' (table %s, chain %s, handle %d)", n.RuleText, table, n.Chain, n.Rule)
}

// where says where the branch ended, or if that is not certain, where it was last seen.
func (o Outcome) where() string {
	if o.NetNS == nil {
		return o.lastSeen()
	}
	return " in " + place(o.NetNS, o.Device)
}

func (o Outcome) lastSeen() string {
	var b strings.Builder
	if o.LastNetNS != nil {
		b.WriteString(" in " + place(o.LastNetNS, o.LastDevice))
	}
	if o.Event != nil {
		b.WriteString(" at " + o.Event.Probe.Name)
	}
	if b.Len() == 0 {
		return ""
	}
	return ", last seen" + b.String()
}

func place(ns *NetNS, dev *Device) string {
	s := "namespace " + ns.String()
	if dev != nil {
		s += " on " + dev.String()
	}
	return s
}

// String is the device's name, or its index if it has none.
func (d *Device) String() string {
	if d.Name == "" {
		return fmt.Sprintf("device %d", d.Index)
	}
	return d.Name
}
