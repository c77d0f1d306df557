package shape

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// twins are functions that are the only way of their protocol to a milestone. Those that are one of several are known to package
// journey; and what a trace observes is told by its evidence, which files of events do not have.
var twins = map[string]journey.Milestone{
	"ip_local_deliver": journey.LocalIn, "ip6_input": journey.LocalIn,
	"icmp_rcv": journey.ICMPReceive, "icmpv6_rcv": journey.ICMPReceive,
	"tcp_v4_rcv": journey.TCPReceive, "tcp_v6_rcv": journey.TCPReceive,
	"udp_rcv": journey.UDPReceive, "udpv6_rcv": journey.UDPReceive,
	"ip_forward": journey.Forward, "ip6_forward": journey.Forward,
	"__ip_local_out": journey.LocalOut, "ip6_output": journey.Postrouting,
	"arp_rcv": journey.ARPReceive,
}

// frees are functions that end a packet. Its end is told by its outcome.
var frees = []string{"kfree_skb_reason", "sk_skb_reason_drop", "skb:kfree_skb"}

// placeOf names the place of an event, and says what happened there; the place is empty if the event is no hop.
func placeOf(e *journey.Event, options Options) (place, note string) {
	switch {
	case e.Drop != nil:
		return "", ""
	case e.NFT != nil && e.Probe.Kind == journey.Return: // the verdict has been told
		return "", ""
	case (e.NFT != nil || e.IPTables != nil) && options.AnyRule:
		return "", ""
	case e.NFT != nil:
		return "nft " + chain(e.NFT, options), verdict(e.NFT, options)
	case e.IPTables != nil:
		return "iptables " + e.IPTables.Table + " " + e.IPTables.Hook, e.IPTables.Verdict
	case e.Return != nil:
		returned := e.Returned()
		if strings.HasPrefix(returned, "0x") {
			returned = "an address"
		}
		return "return of " + e.Probe.Name, returned
	}
	return placeOfProbe(e.Probe), ""
}

// placeOfProbe is the milestone or the function that an event at a probe means; empty if it is no hop.
func placeOfProbe(p journey.Probe) string {
	if slices.Contains(frees, p.Name) {
		return ""
	}
	if p.Kind == journey.Return {
		return "return of " + p.Name
	}
	if m, ok := twins[p.Name]; ok {
		return string(m)
	}
	// Neither has a probe of its own: one is concluded, the other is an outcome.
	if m, ok := journey.MilestoneOf(p.Name); ok && m != journey.Prerouting && m != journey.SocketDeliver {
		return string(m)
	}
	return p.Name
}

// chain names an nftables chain.
func chain(n *journey.NFT, options Options) string {
	if n.Family == "" || options.AnyAddress {
		return n.Table + " " + n.Chain
	}
	return n.Family + " " + n.Table + " " + n.Chain
}

func verdict(n *journey.NFT, options Options) string {
	v := n.Verdict
	if n.Target != "" {
		v += " " + n.Target
	}
	return v + ": " + rule(n, options)
}

// rule says who judged: a rule by its text, a policy, or the chain's end.
func rule(n *journey.NFT, options Options) string {
	switch {
	case n.Policy:
		return "policy"
	case n.Rule == 0:
		return "end of the chain"
	case options.AnyAddress && n.Comment != "":
		return fmt.Sprintf("comment %q", n.Comment)
	case n.RuleText == "":
		return fmt.Sprintf("rule with handle %d, its text is not known", n.Rule)
	}
	return n.RuleText
}

// endOf is an outcome as the last hop of a way.
func endOf(o *journey.Outcome, n *names, options Options) Hop {
	ns, dev := o.NetNS, o.Device
	if ns == nil {
		ns, dev = o.LastNetNS, o.LastDevice
	}
	end := Hop{Node: n.node(ns), Device: device(dev), Place: string(o.Kind)}
	switch o.Kind {
	case journey.Delivered:
		end.Note, end.Device = "to a "+o.Place, "-"
	case journey.Queued:
		end.Note = "in the " + o.Place
	case journey.Consumed:
		if o.Place != "" {
			end.Note = "by a " + o.Place
		}
	case journey.Dropped:
		end.Note = reasonOf(o.Event.Drop)
		if o.Rule != nil && !options.AnyRule {
			end.Note += " by nft " + chain(o.Rule.NFT, options) // the rule has been told by the hop before
		}
	}
	return end
}

// reasonOf is the reason by its stable name.
func reasonOf(d *journey.Drop) string {
	reason := journey.StableReason(d.Reason)
	if d.Subsystem != "" && d.Subsystem != "qdisc" { // those of queueing disciplines were the core's once
		return d.Subsystem + "/" + reason
	}
	return reason
}

// sameNote says that two notes of the same place say the same. A reason that older kernels used for several of today's is each
// of them.
func sameNote(place, a, b string) bool {
	if a == b || place != string(journey.Dropped) {
		return a == b
	}
	reasonA, moreA := cutReason(a)
	reasonB, moreB := cutReason(b)
	return moreA == moreB &&
		(journey.Drop{Reason: reasonA}.Is(reasonB) || journey.Drop{Reason: reasonB}.Is(reasonA))
}

func cutReason(note string) (reason, more string) {
	if i := strings.IndexAny(note, " ,"); i >= 0 {
		return note[:i], note[i:]
	}
	return note, ""
}
