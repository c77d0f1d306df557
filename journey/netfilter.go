package journey

import (
	"net/netip"
	"strings"
)

// Tuple is one direction of a conntrack entry.
type Tuple struct {
	Src netip.Addr `json:"src"`
	// SrcPort and DstPort are ports; for ICMP and ICMPv6, SrcPort is the identifier and DstPort is type<<8 | code.
	SrcPort uint16     `json:"src_port"`
	Dst     netip.Addr `json:"dst"`
	DstPort uint16     `json:"dst_port"`
}

// Conntrack is the connection tracking entry in skb->_nfct.
type Conntrack struct {
	// State is the packet's relation to the connection: NEW, ESTABLISHED, RELATED, REPLY, RELATED_REPLY or UNTRACKED.
	State       string
	Status      uint32 // nf_conn->status, IPS_* bits
	Proto       uint8  // IP protocol number
	Orig, Reply Tuple
	Zone        uint16
	Mark        uint32
	// Labels are the 128 bits that rules can set (struct nf_conn_labels), in the kernel's order of bytes; zero if there
	// are none.
	Labels [16]byte
	// ProtoState is the state of the connection's own protocol; empty if it has none. See [TCPState], [SCTPState] and
	// [DCCPState].
	ProtoState string
}

// NFT is what nftables reported about a rule that matched, or about a policy.
type NFT struct {
	// Family is the table's family ("inet", "ip", …); empty until looked up.
	Family      string `json:"family,omitempty"`
	Table       string `json:"table"`
	TableHandle uint64 `json:"table_handle"`
	Chain       string `json:"chain"`
	ChainHandle uint64 `json:"chain_handle"`
	// Rule is the handle of the matching rule; 0 when the chain's policy or its end decided.
	Rule uint64 `json:"rule_handle,omitempty"`
	// RuleText is the rule as nft lists it ("udp dport 8080 drop comment \"…\""), and Comment its comment. Both are
	// empty until the ruleset that was in force has been looked up.
	RuleText string `json:"rule_text,omitempty"`
	Comment  string `json:"comment,omitempty"`
	// Verdict is accept, drop, continue, break, jump, goto, return, queue, stolen or repeat.
	Verdict string `json:"verdict"`
	// Target is the chain to which a jump or a goto leads; empty with any other verdict, or if it is not known.
	Target string `json:"target,omitempty"`
	// Policy is true when the verdict is that of the chain's policy.
	Policy bool `json:"policy"`
}

// IPTables is a table's verdict on a packet: what ipt_do_table or ip6t_do_table returned.
type IPTables struct {
	Family  string `json:"family"`  // ip or ip6
	Table   string `json:"table"`   // filter, nat, mangle, raw, security
	Hook    string `json:"hook"`    // see HookName
	Verdict string `json:"verdict"` // accept, drop, stolen, queue, repeat, stop
}

// Drop is the end of an skb by kfree_skb.
type Drop struct {
	// Reason is the name the running kernel's BTF gives the reason, without its SKB_DROP_REASON_ prefix.
	Reason string `json:"reason"`
	// Subsystem is the part of the kernel whose reason it is, as enum skb_drop_reason_subsys of include/net/dropreason.h
	// names it, in lower case ("qdisc", "openvswitch", "mac80211_unusable"); empty for the core.
	Subsystem string `json:"subsystem,omitempty"`
	// Location is the caller of the drop function, as function+0xoffset.
	Location string `json:"location,omitempty"`
}

// Reversed says that the packet goes in the direction of the connection's replies.
func (c *Conntrack) Reversed() bool { return c.State == "REPLY" || c.State == "RELATED_REPLY" }

// byTap says whether a packet socket dropped its copy, for want of room: packet_rcv and tpacket_rcv (net/packet/af_packet.c).
func (d *Drop) byTap() bool {
	function, _, _ := strings.Cut(d.Location, "+")
	return function == "packet_rcv" || function == "tpacket_rcv"
}
