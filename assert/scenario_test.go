package assert

import (
	"encoding/binary"

	"github.com/waybill-dev/waybill/journey"
)

// node is a place as the topology gives it.
type node struct {
	name   string
	cookie uint64
}

func (n *node) NetNSCookie() uint64 { return n.cookie }
func (n *node) String() string      { return n.name }

var (
	client = &node{"client", 0x1001}
	fw     = &node{"fw", 0x1002}
	server = &node{"server", 0x1003}
	other  = &node{"printer", 0x2001} // of another lab
)

// datagram is a UDP datagram from 172.16.42.1 to 172.16.42.2 with the given port.
func datagram(port uint16) *journey.Packet {
	b := make([]byte, 31)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], 31)
	copy(b[12:], []byte{172, 16, 42, 1, 172, 16, 42, 2})
	binary.BigEndian.PutUint16(b[20:], 39677)
	binary.BigEndian.PutUint16(b[22:], port)
	binary.BigEndian.PutUint16(b[24:], 11)
	return &journey.Packet{Proto: 0x0800, Len: 31, Data: b}
}

// path writes the observations of one packet.
type path struct {
	observations []journey.Observation
	packet       *journey.Packet
}

func newPath() *path { return &path{packet: datagram(8080)} }

func (p *path) add(kind journey.ObservationKind, skb uint64) *journey.Observation {
	p.observations = append(p.observations, journey.Observation{
		Kind: kind, Event: journey.Event{ID: journey.ID{FirstSeen: 0x2af31dc461, Head: 0xffff888004c1e000}, SKB: skb},
	})
	return &p.observations[len(p.observations)-1]
}

func (p *path) life(kind journey.ObservationKind, skb uint64) *path {
	p.add(kind, skb)
	return p
}

func (p *path) clone(skb, peer uint64) *path {
	p.add(journey.Cloned, skb).Peer = peer
	return p
}

func (p *path) see(skb uint64, at *node, device, function string) *path {
	o := p.add(journey.Seen, skb)
	o.Probe = journey.Probe{Kind: journey.Function, Name: function}
	o.NetNS = &journey.NetNS{Cookie: at.cookie, Inum: 4026532000 + uint32(at.cookie)}
	o.Device = &journey.Device{Index: 2, Name: device}
	o.Packet = p.packet
	return p
}

func (p *path) nft(skb uint64, at *node, device string, n journey.NFT) *path {
	p.see(skb, at, device, "__nft_trace_packet")
	p.observations[len(p.observations)-1].NFT = &n
	return p
}

func (p *path) drop(skb uint64, at *node, device, reason, location string) *path {
	p.see(skb, at, device, "skb:kfree_skb")
	o := &p.observations[len(p.observations)-1]
	o.Probe.Kind = journey.Tracepoint
	o.Drop = &journey.Drop{Reason: reason, Location: location}
	return p.life(journey.Released, skb)
}

func (p *path) journey(evidence journey.Evidence) *journey.Journey {
	a := journey.NewAssembler(0)
	for _, o := range p.observations {
		a.Add(&o)
	}
	return a.Seal(evidence).Journeys[0]
}

// among is a packet's journey, in a record with others.
func (p *path) among(evidence journey.Evidence, others ...*path) *journey.Journey {
	a := journey.NewAssembler(0)
	for n, path := range append([]*path{p}, others...) {
		for _, o := range path.observations {
			o.ID.FirstSeen += uint64(n)
			a.Add(&o)
		}
	}
	return a.Seal(evidence).Journeys[0]
}

// to is another datagram on the same way.
func (p *path) to(port uint16) *path {
	for i := range p.observations {
		if p.observations[i].Packet != nil {
			p.observations[i].Packet = datagram(port)
		}
	}
	return p
}

func complete() journey.Evidence {
	e := journey.Evidence{
		Sealed: true, Settled: true,
		Nodes:   map[uint64]string{client.cookie: client.name, fw.cookie: fw.name, server.cookie: server.name},
		Reasons: []string{"NOT_SPECIFIED", "NO_SOCKET", "NETFILTER_DROP", "NETFILTER_INGRESS", "IP_RPFILTER"},
		Probes:  []journey.Probe{{Kind: journey.Tracepoint, Name: "skb:kfree_skb"}},
	}
	e.Devices = map[uint64][]string{
		client.cookie: {"lo", "to-fw"},
		fw.cookie:     {"lo", "br0", "port1", "port2", "port3", "to-client", "to-server"},
		server.cookie: {"lo", "to-fw"},
	}
	function := func(names ...string) (w journey.Watch) {
		for _, name := range names {
			w.Probes = append(w.Probes, journey.Probe{Kind: journey.Function, Name: name})
		}
		return w
	}
	e.Milestones = map[journey.Milestone]journey.Watch{
		journey.IPReceive: function("ip_rcv_core"), journey.Prerouting: function("ip_rcv_core"),
		journey.Forward: function("ip_forward"), journey.LocalIn: function("ip_local_deliver"),
		journey.TCPReceive: function("tcp_v4_rcv"), journey.UDPReceive: function("udp_rcv"), journey.SocketDeliver: {},
	}
	for _, f := range []string{"__nft_trace_packet", "ip_rcv_core", "ip_forward", "ip_local_deliver", "tcp_v4_rcv", "udp_rcv"} {
		e.Probes = append(e.Probes, journey.Probe{Kind: journey.Function, Name: f})
	}
	return e
}

func lossy() journey.Evidence {
	e := complete()
	e.Loss = []journey.Loss{{Cause: "records lost: the ring buffer was full", Count: 3}}
	return e
}

var (
	metricsRule = journey.NFT{
		Family: "inet", Table: "filter", TableHandle: 1, Chain: "input", ChainHandle: 1, Rule: 4, Verdict: "drop",
		RuleText: `udp dport 8080 drop comment "no metrics from outside"`, Comment: "no metrics from outside",
	}
	unknownRule = journey.NFT{Table: "filter", TableHandle: 1, Chain: "input", ChainHandle: 1, Rule: 4, Verdict: "drop"}
	policyDrop  = journey.NFT{Family: "inet", Table: "filter", TableHandle: 1, Chain: "forward", ChainHandle: 2, Verdict: "drop", Policy: true}
)

func arrival() *path {
	return newPath().see(1, fw, "to-client", "ip_rcv_core").see(1, fw, "to-client", "ip_forward").see(1, server, "to-fw", "ip_rcv_core").
		see(1, server, "to-fw", "ip_local_deliver")
}

func byRule() *path {
	return arrival().nft(1, server, "to-fw", metricsRule).drop(1, server, "to-fw", "NETFILTER_DROP", "nft_do_chain+0x2a1")
}

func byUnknownRule() *path {
	return arrival().nft(1, server, "to-fw", unknownRule).drop(1, server, "to-fw", "NETFILTER_DROP", "nft_do_chain+0x2a1")
}

func byPolicy() *path {
	return newPath().see(1, fw, "to-client", "ip_rcv_core").see(1, fw, "to-client", "ip_forward").nft(1, fw, "to-client", policyDrop).
		drop(1, fw, "to-client", "NETFILTER_DROP", "nft_do_chain+0x2a1")
}

func noSocket() *path {
	return arrival().drop(1, server, "to-fw", "NO_SOCKET", "__udp4_lib_rcv+0x11")
}

func delivered() *path {
	p := arrival().see(1, server, "to-fw", "udp_rcv")
	p.add(journey.Enqueued, 1).NetNS = &journey.NetNS{Cookie: server.cookie, Inum: 1}
	return p.life(journey.Released, 1)
}

func onItsWay() *path { return arrival() }

// flooded comes out of a bridge at three ports: delivered, dropped by a rule, dropped for want of a socket.
func flooded() *path {
	p := newPath().see(1, fw, "br0", "ip_rcv_core").clone(1, 0xb).see(0xb, fw, "port1", "ip_forward").
		clone(1, 0xc).see(0xc, fw, "port2", "ip_forward").see(1, fw, "port3", "ip_forward")
	p.add(journey.Enqueued, 0xb)
	return p.nft(0xc, fw, "port2", policyDrop).drop(0xc, fw, "port2", "NETFILTER_DROP", "nft_do_chain+0x2a1").
		drop(1, fw, "port3", "NO_SOCKET", "__udp4_lib_rcv+0x11")
}

// tapped is dropped by a rule while a packet socket keeps a copy.
func tapped() *path {
	p := newPath().see(1, server, "to-fw", "ip_rcv_core")
	p.add(journey.TapEnter, 1).Shared = true
	return p.clone(1, 0xd).life(journey.TapExit, 1).nft(1, server, "to-fw", metricsRule).
		drop(1, server, "to-fw", "NETFILTER_DROP", "nft_do_chain+0x2a1").
		drop(0xd, server, "to-fw", "NOT_SPECIFIED", "packet_release+0x1")
}

// translated has its port rewritten on the way.
func translated() *path {
	p := arrival()
	p.packet = datagram(9090)
	return p.see(1, server, "to-fw", "udp_rcv").drop(1, server, "to-fw", "NO_SOCKET", "__udp4_lib_rcv+0x11")
}

// long is more than a terminal holds.
func long() *path {
	p := newPath()
	for range 60 {
		p.see(1, fw, "to-client", "ip_forward")
	}
	return p.life(journey.Released, 1)
}

// refused is dropped where IP takes packets, as one whose checksum is wrong.
func refused() *path {
	return newPath().see(1, fw, "to-client", "ip_rcv_core").see(1, fw, "to-client", "sk_skb_reason_drop").
		drop(1, fw, "to-client", "IP_CSUM", "ip_rcv_core.cold+0x11")
}

// bothWays has a function armed that packets pass by that come in lists.
func bothWays() journey.Evidence {
	e := complete()
	e.Probes = append(e.Probes, journey.Probe{Kind: journey.Function, Name: "ip_rcv"})
	return e
}

// blind does not see all ways to a milestone.
func blind() journey.Evidence {
	e := complete()
	w := e.Milestones[journey.Forward]
	w.Blind = "observe ip6_forward: this kernel lets no program attach to it"
	e.Milestones[journey.Forward] = w
	return e
}

// accepted is let through by the rule that was to drop it.
func accepted() *path {
	rule := metricsRule
	rule.Verdict, rule.RuleText = "accept", `udp dport 8080 accept comment "no metrics from outside"`
	p := arrival().nft(1, server, "to-fw", rule).see(1, server, "to-fw", "udp_rcv")
	p.add(journey.Enqueued, 1).NetNS = &journey.NetNS{Cookie: server.cookie, Inum: 1}
	return p.life(journey.Released, 1)
}
