package journey

import (
	"fmt"
	"net/netip"
)

// ID is the identity of a packet. It is given at first sight and stays with the packet's data through clones, header
// rewrites and reallocations; a buffer that is freed and reused gets a new one.
type ID struct {
	// FirstSeen is the time of the first observation, in nanoseconds of CLOCK_MONOTONIC.
	FirstSeen uint64
	// Head is skb->head at that time.
	Head uint64
}

// String prints the ID as Retis does: hex time, hex head, no separator.
func (id ID) String() string { return fmt.Sprintf("%x%x", id.FirstSeen, id.Head) }

// ProbeKind says how a probe is attached.
type ProbeKind uint8

// The kinds of probes.
const (
	Function   ProbeKind = iota + 1 // entry of a kernel function, printed [k]
	Tracepoint                      // a static tracepoint, printed [tp]
)

// Probe names a place in the kernel where events are made.
type Probe struct {
	Kind ProbeKind
	// Name is the function's name ("ip_rcv") or the tracepoint's group and name ("skb:kfree_skb").
	Name string
}

// Event is one observation of one packet at one probe, on one CPU, at one time. Sections that were not present at the
// probe are nil.
type Event struct {
	Time  uint64 // nanoseconds of CLOCK_MONOTONIC
	CPU   uint32
	PID   uint32 // thread group of the task that was running; need not be the packet's owner
	Comm  string // name of that task
	Probe Probe
	ID    ID
	SKB   uint64 // address of the sk_buff

	Packet    *Packet
	Device    *Device
	NetNS     *NetNS
	Conntrack *Conntrack
	NFT       *NFT
	Drop      *Drop
}

// Packet holds the packet's first bytes, beginning at the network header, as they were at the probe.
type Packet struct {
	// Proto is skb->protocol in host byte order: an EtherType.
	Proto uint16
	// Len is skb->len: the bytes from skb->data on, which may start at the MAC, network or transport header.
	Len uint32
	// Data is what was captured, at most 128 bytes.
	Data []byte
}

// Device is the network device in skb->dev.
type Device struct {
	Index uint32
	Name  string
	// RxIndex is skb->skb_iif: the device by which the packet entered this stack; 0 for a packet made here.
	RxIndex uint32
}

// NetNS is the network namespace of the packet's device or socket.
type NetNS struct {
	Cookie uint64 // unique since boot, never reused (net->net_cookie)
	Inum   uint32 // inode number, as in /proc/PID/ns/net
	Node   string // the topology's name of it; empty if it belongs to none
}

// Tuple is one direction of a conntrack entry.
type Tuple struct {
	Src, Dst netip.Addr
	// SrcPort and DstPort are ports; for ICMP and ICMPv6, SrcPort is the identifier and DstPort is type<<8 | code.
	SrcPort, DstPort uint16
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
}

// NFT is what nftables reported about a rule that matched, or about a policy.
type NFT struct {
	Table       string
	TableHandle uint64
	Chain       string
	ChainHandle uint64
	// Rule is the handle of the matching rule; 0 when the chain's policy or its end decided.
	Rule uint64
	// Verdict is accept, drop, continue, break, jump, goto, return, queue or stolen.
	Verdict string
	// Policy is true when the verdict is that of the chain's policy.
	Policy bool
	// RuleText is the rule as nft lists it ("udp dport 8080 drop comment \"…\""), and Comment its comment. Both are
	// empty until the ruleset that was in force has been looked up.
	RuleText string
	Comment  string
	// Family is the table's family ("inet", "ip", …); empty until looked up.
	Family string
}

// Drop is the end of an skb by kfree_skb.
type Drop struct {
	// Reason is the name the running kernel's BTF gives the reason, without its SKB_DROP_REASON_ prefix.
	Reason string
	// Location is the caller of the drop function, as function+0xoffset.
	Location string
}

// ObservationKind says what an observer saw.
type ObservationKind uint8

// The kinds of observations. All but Seen report the life of an skb, are made by hooks that are always attached, and
// carry only Time, CPU, ID, SKB and what is named below.
const (
	// Seen is an event at a probe that the user asked for, with its sections.
	Seen ObservationKind = iota + 1
	// Origin is the first sight of a packet on its way out of a socket; it carries SocketCookie and NetNS.
	Origin
	// Cloned: skb_clone made Peer, which shares the data of SKB.
	Cloned
	// TapEnter: SKB was handed to a packet socket. Shared says that others hold it too, so that what the socket
	// keeps will be a clone, made before TapExit.
	TapEnter
	// TapExit: the packet socket's function returned.
	TapExit
	// Enqueued: SKB was accepted on a socket's receive queue. It carries the socket's NetNS.
	Enqueued
	// Parked: SKB was put on a neighbour entry's queue, to wait for its address to be resolved. The branch may have
	// ended before this is reported; then it says nothing.
	Parked
	// Resumed: SKB left that queue to be sent. It may be reported before Parked is, by another CPU.
	Resumed
	// Released: SKB let go of the packet's data. The skb is gone.
	Released
)

// Observation is one record of an observer. Observations must be given to an [Assembler] in the order in which the
// kernel reserved them in its buffer, which respects causality across CPUs; timestamps need not be monotonic.
type Observation struct {
	Kind ObservationKind
	Event
	Peer         uint64 // Cloned: address of the new sk_buff
	SocketCookie uint64 // Origin: cookie of the sending socket, 0 if there is none
	Shared       bool   // TapEnter
}
