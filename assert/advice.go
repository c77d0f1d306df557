package assert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// advice says what to look at first, where an outcome has a cause that is common; empty if there is nothing to say. It begins a
// line of its own.
func advice(j *journey.Journey) string {
	var all []string
	for _, i := range j.Deciding() {
		if a := adviceFor(&j.Branches[i].Outcome); a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if all == nil {
		return ""
	}
	return "\n" + wrap("Look at: "+strings.Join(all, "; "), "  ") + "."
}

// order says to look at the order of rules, if the one that was expected may not have been asked, or at that rule, if it was.
func (f *finding) order() string {
	if f.rule == "" {
		return ""
	}
	place := expectation{place: f.place}
	var deciders []string
	where := ""
	for i := range f.journey.Events {
		e := &f.journey.Events[i]
		if e.NFT == nil || e.NetNS == nil || !place.on(e) {
			continue
		}
		n := e.NFT
		if containsWords(n.RuleText, f.rule) || containsWords(n.Comment, f.rule) {
			return "\n" + wrap(fmt.Sprintf("Look at: that rule itself, handle %d of chain %s in %s. It judged the packet: %s.",
				n.Rule, n.Chain, e.NetNS, n.Verdict), "  ")
		}
		if n.Rule != 0 && (n.Verdict == "accept" || n.Verdict == "drop") {
			deciders = append(deciders, fmt.Sprintf("in chain %s %s that is handle %d (%s)", n.Table, n.Chain, n.Rule, n.Verdict))
			where = e.NetNS.String()
		}
	}
	if deciders == nil {
		return ""
	}
	return "\n" + wrap(fmt.Sprintf("Look at: the order of the rules in %s (nft -a list ruleset): what comes behind the one that "+
		"decides is not asked; %s.", where, strings.Join(deciders, ", ")), "  ")
}

func adviceFor(o *journey.Outcome) string {
	where, device := "the node", ""
	if o.LastNetNS != nil {
		where = o.LastNetNS.String()
	}
	if o.LastDevice != nil {
		device = " of " + o.LastDevice.String()
	}
	var header journey.Header
	if o.Event != nil && o.Event.Packet != nil {
		header, _ = o.Event.Packet.Header()
	}
	switch {
	case o.Kind == journey.Queued && o.Place == journey.NeighbourQueue:
		return fmt.Sprintf("whether anybody on the link has the next hop's address, and, for IPv6, whether duplicate address "+
			"detection is over there; %s has asked for it", where)
	case o.Kind == journey.Queued && o.Place == journey.FragmentQueue:
		return "where the other fragments are; the datagram is not complete"
	case o.Kind != journey.Dropped:
		return ""
	}
	function := droppedIn(o.Event.Drop)
	is := o.Event.Drop.Is
	switch {
	case is("IP_RPFILTER"):
		return fmt.Sprintf("the way back: %s has no route to %s by the device that the packet came in by, and rp_filter is on there "+
			"(sysctl net.ipv4.conf.*.rp_filter)", where, header.Src)
	case is("IP_OUTNOROUTES"), is("IP_INNOROUTES"), function == "ip_error", function == "ip6_pkt_drop":
		return fmt.Sprintf("routes: %s has none to %s (ip route get)", where, header.Dst)
	case is("NO_SOCKET") && header.DstPort != 0:
		return fmt.Sprintf("sockets: none in %s is open for %s port %d", where, protocolName(header.Proto), header.DstPort)
	case is("IP_CSUM"), is("TCP_CSUM"), is("UDP_CSUM"), is("ICMP_CSUM"), is("SKB_CSUM"):
		return "the checksum, which is wrong: who wrote it, and whether an offload was to do that (ethtool -k)"
	case is("OTHERHOST"):
		return fmt.Sprintf("the frame's destination: it is not the Ethernet address%s", device)
	case is("NEIGH_FAILED"), is("NEIGH_QUEUEFULL"), is("NEIGH_DEAD"):
		return "the next hop: nobody on the link answered for its address. Perhaps it is not assigned, the link is down or, for " +
			"IPv6, duplicate address detection is not over"
	case is("SOCKET_RCVBUFF"):
		return "the socket's receive buffer, which is full: nobody reads it"
	case is("SOCKET_FILTER"):
		return "the filter that is attached to the socket"
	case is("IP_INHDR") && header.TTL <= 1, function == "ip_forward" && header.TTL <= 1, function == "ip6_forward" && header.TTL <= 1:
		return "the time to live, which was used up"
	case is("PKT_TOO_BIG"):
		return "the MTU of the device by which it was to leave"
	case is("NETFILTER_DROP") && o.Rule == nil:
		return fmt.Sprintf("what else filters in %s: iptables, conntrack, or an nftables chain whose verdicts are not reported", where)
	}
	return ""
}

func protocolName(proto uint8) string {
	switch proto {
	case 6:
		return "TCP"
	case 17:
		return "UDP"
	}
	return fmt.Sprintf("protocol %d", proto)
}
