package journey

import (
	"encoding/binary"
	"net/netip"
)

// The scenario of the demo: a datagram from 172.16.42.1 to port 8080 of 172.16.42.2, dropped there by a rule.

const (
	demoCookie        = 0x1f3
	clientNS          = 0x1001
	serverNS          = 0x1002
	demoSKB    uint64 = 0xffff888003a5c300
)

var demoID = ID{FirstSeen: 184467440737, Head: 0xffff888004c1e000}

// udpDatagram is the packet of the demo, with 3 bytes of payload.
func udpDatagram() []byte {
	b := make([]byte, 31)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], 31)
	binary.BigEndian.PutUint16(b[4:], 17803)
	binary.BigEndian.PutUint16(b[6:], 0x4000)
	b[8], b[9] = 64, 17
	copy(b[12:], []byte{172, 16, 42, 1, 172, 16, 42, 2})
	binary.BigEndian.PutUint16(b[20:], 39677)
	binary.BigEndian.PutUint16(b[22:], 8080)
	binary.BigEndian.PutUint16(b[24:], 11)
	return b
}

func demoEvent(time uint64, kind ProbeKind, probe string) Event {
	src, dst := netip.MustParseAddr("172.16.42.1"), netip.MustParseAddr("172.16.42.2")
	return Event{
		Time: time, CPU: 0, PID: 1234, Comm: "waybill", Probe: Probe{kind, probe}, ID: demoID, SKB: demoSKB,
		Packet: &Packet{Proto: 0x0800, Len: 31, Data: udpDatagram()},
		Device: &Device{Index: 2, Name: "eth0", RxIndex: 2},
		NetNS:  &NetNS{Cookie: serverNS, Inum: 4026532290},
		Conntrack: &Conntrack{
			State: "NEW", Status: 0x100, Proto: 17,
			Orig:  Tuple{src, 39677, dst, 8080},
			Reply: Tuple{dst, 8080, src, 39677},
		},
	}
}

func demoNFT() Event {
	e := demoEvent(184467460190, Function, "__nft_trace_packet")
	e.NFT = &NFT{Table: "filter", TableHandle: 1, Chain: "input", ChainHandle: 1, Rule: 4, Verdict: "drop"}
	return e
}

func demoDrop() Event {
	e := demoEvent(184467471022, Tracepoint, "skb:kfree_skb")
	e.Drop = &Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain+0x2a1"}
	return e
}

func demoObservations() []Observation {
	return []Observation{
		{
			Kind:  Origin,
			Event: Event{Time: demoID.FirstSeen, ID: demoID, SKB: demoSKB, SocketCookie: demoCookie, NetNS: &NetNS{Cookie: clientNS, Inum: 4026532189}},
		},
		{Kind: Seen, Event: demoEvent(184467452001, Function, "ip_local_deliver")},
		{Kind: Seen, Event: demoNFT()},
		{Kind: Seen, Event: demoDrop()},
		{Kind: Released, Event: Event{Time: 184467471100, ID: demoID, SKB: demoSKB}},
	}
}

// complete is evidence from which absence can be concluded.
func complete() Evidence {
	return Evidence{
		Sealed: true, Settled: true, Nodes: map[uint64]string{clientNS: "client", serverNS: "server"},
		Loss: []Loss{{Cause: "ring full"}},
	}
}

func sealed(observations []Observation, evidence Evidence) *Record {
	a := NewAssembler(0)
	for _, o := range observations {
		a.Add(&o)
	}
	return a.Seal(evidence)
}

// annotate does what a harness does when it has looked up the ruleset.
func annotate(e *Event) {
	e.NFT.Family = "inet"
	e.NFT.RuleText = `udp dport 8080 drop comment "no metrics from outside"`
	e.NFT.Comment = "no metrics from outside"
}
