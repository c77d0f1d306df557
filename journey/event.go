package journey

import (
	"fmt"
	"strconv"
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
func (id ID) String() string {
	return strconv.FormatUint(id.FirstSeen, 16) + strconv.FormatUint(id.Head, 16)
}

// ProbeKind says how a probe is attached.
type ProbeKind uint8

// The kinds of probes.
const (
	Function      ProbeKind = iota + 1 // entry of a kernel function, printed [k]
	Tracepoint                         // a static tracepoint, printed [tp]
	Return                             // return of a kernel function, printed [kr]
	RawTracepoint                      // a static tracepoint attached to without its format, printed [rtp]
)

// String is the kind's short form: k, tp, kr or rtp.
func (k ProbeKind) String() string {
	switch k {
	case Function:
		return "k"
	case Tracepoint:
		return "tp"
	case Return:
		return "kr"
	case RawTracepoint:
		return "rtp"
	}
	return fmt.Sprintf("probe kind %d", uint8(k))
}

// Probe names a place in the kernel where events are made.
type Probe struct {
	Kind ProbeKind
	// Name is the function's name ("ip_rcv") or the tracepoint's group and name ("skb:kfree_skb").
	Name string
}

// Event is one observation of one packet at one probe, on one CPU, at one time. Sections that were not present at the
// probe are nil.
type Event struct {
	Time uint64 // nanoseconds of CLOCK_MONOTONIC
	CPU  uint32
	// PID is the thread group of the task that was running, what user space calls the process, and TID the thread; it is
	// 0 if it was not recorded. Comm is the thread's name. The task need not be the packet's owner.
	PID, TID uint32
	Comm     string
	Probe    Probe
	ID       ID
	SKB      uint64 // address of the sk_buff
	// SocketCookie is the cookie of the socket that owns the skb (skb->sk), or for an [Origin] of the one that sent it;
	// 0 if there is none.
	SocketCookie uint64
	// Return is what the function returned, at a probe of kind [Return], sign-extended from the function's return type.
	Return *int64

	Packet    *Packet
	Meta      *Meta
	GSO       *GSO
	Sharing   *Sharing
	Device    *Device
	NetNS     *NetNS
	Conntrack *Conntrack
	NFT       *NFT
	IPTables  *IPTables
	Drop      *Drop
	// Stack is the call chain that led to the probe, innermost first: it begins with the caller of the probed function, or
	// the function that has the tracepoint in it. Of what is longer than 32 frames, those further out are missing.
	Stack []Frame
}

// Device is the network device in skb->dev.
type Device struct {
	Index uint32 `json:"index"`
	Name  string `json:"name"`
	// RxIndex is skb->skb_iif: the device by which the packet entered this stack; 0 for a packet made here.
	RxIndex uint32 `json:"rx_index"`
}

// NetNS is the network namespace of the packet's device or socket.
type NetNS struct {
	Cookie uint64 // unique since boot, never reused (net->net_cookie)
	Inum   uint32 // inode number, as in /proc/PID/ns/net
	Node   string // the topology's name of it; empty if it belongs to none
}

// Frame is one function of a call chain.
type Frame struct {
	// Symbol is the function's name, or the address in hex if it has none.
	Symbol string `json:"symbol"`
	// Offset is how far into the function the address is, in bytes.
	Offset uint64 `json:"offset"`
	// Module is the kernel module that the function belongs to; empty for the kernel itself.
	Module string `json:"module,omitempty"`
}

// String is the frame as function+0xoffset, followed by the module in brackets if it is of one.
func (f Frame) String() string {
	s := f.Symbol
	if f.Offset != 0 {
		s = fmt.Sprintf("%s+%#x", s, f.Offset)
	}
	if f.Module != "" {
		s += " [" + f.Module + "]"
	}
	return s
}

// ObservationKind says what an observer saw.
type ObservationKind uint8

// The kinds of observations. All but Seen and Looked report the life of an skb, are made by hooks that are always attached, and
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
	// Parked: SKB was put where Place says: on a neighbour entry's queue, to wait for its address to be resolved, or on the
	// queue of an incomplete datagram. The branch may have ended before this is reported; then it says nothing.
	Parked
	// Shaped: SKB is being given to the qdisc of a device. It carries the NetNS and the Device.
	Shaped
	// Resumed: SKB left where it was parked or shaped. It may be reported before Parked is, by another CPU.
	Resumed
	// Absorbed: another packet's skb takes over the data of SKB. The release of SKB follows, unless it was made a part of that
	// skb as it is.
	Absorbed
	// Moved: what is SKB goes on as Peer, and SKB is let go. Peer is 0 if the one that it goes on as is a clone that was made
	// of it just now.
	Moved
	// Released: SKB let go of the packet's data. The skb is gone.
	Released
	// Linked: the packet is to Other what Relation says. SKB is that of the packet.
	Linked
	// Looked tells what the packet looks like, in the sections that change seldom: Packet, Device, NetNS and Conntrack,
	// with the task's name and the socket's cookie. The events that name its Mark had this look. If Comm is empty, it is that of
	// the packet's last look in the same thread.
	Looked
)

// Observation is one record of an observer. Observations must be given to an [Assembler] in the order in which the
// kernel reserved them in its buffer, which respects causality across CPUs; timestamps need not be monotonic.
type Observation struct {
	Kind ObservationKind
	Event
	Peer   uint64 // Cloned, Moved: address of the new sk_buff
	Other  ID     // Linked
	Place  string // Parked: NeighbourQueue if empty, or FragmentQueue
	Shared bool   // TapEnter
	// Relation is what the packet is to Other, of Linked.
	Relation Relation
	Mark     uint64 // Looked: which look this is; Seen: which look it had, 0 if it brings all its sections itself
	Fresh    bool   // Seen: it brings the look that it names
	Len      uint32 // Seen: skb->len, if it names a look
}
