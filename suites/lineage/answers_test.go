package lineage

import (
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("what is sent because of a packet", Label("smoke"), func() {
	DescribeTable("is its answer, and the packet is the cause",
		func(ctx SpecContext, question func(r row) packet.Packet, router, server topology.Node, answer string) {
			r := newRow(router, server)

			asked := r.follow(ctx, question(r))

			Expect(asked.Answers()).To(HaveLen(1))
			if answer == reply {
				Expect(asked.Answers()[0].Text()).To(ContainSubstring("EchoReply"))
				Expect(asked).NotTo(BeRejected())
			} else {
				Expect(asked).To(BeRejected(With(answer)))
			}
			cause, relation := asked.Answers()[0].Cause()
			Expect(cause).To(BeIdenticalTo(asked))
			Expect(relation).To(Equal(journey.Answer))
			Expect(asked.Descendants()).To(BeEmpty())
		},
		Entry("if nobody listens on a port of UDP", udp, nothing, nothing, "icmp port-unreachable"),
		Entry("if nobody listens on a port of UDP over IPv6", udp6, nothing, nothing, "icmpv6 port-unreachable"),
		Entry("if nobody listens on a port of TCP", tcp, nothing, nothing, "tcp reset"),
		Entry("if nobody listens on a port of TCP over IPv6", tcp6, nothing, nothing, "tcp reset"),
		Entry("if it is an echo request", func(r row) packet.Packet { return packet.Echo{To: r.server} }, nothing, nothing, reply),
		Entry("if it is an echo request over IPv6", func(r row) packet.Packet { return packet.Echo{To: packet.IP6(r.server)} },
			nothing, nothing, reply),
		Entry("if its time to live is over", func(r row) packet.Packet {
			return packet.UDP{To: r.server, DstPort: 8081, Options: packet.Options{TTL: 1}}
		},
			nothing, nothing, "icmp 11/0"),
		Entry("if a rule rejects it with an error", udp, rejecting("udp", "reject"), nothing, "icmp port-unreachable"),
		Entry("if a rule rejects it with an error over IPv6", udp6, rejecting("udp", "reject"), nothing, "icmpv6 port-unreachable"),
		Entry("if a rule rejects it with a reset", tcp, rejecting("tcp", "reject with tcp reset"), nothing, "tcp reset"),
		Entry("if a rule rejects it with a reset over IPv6", tcp6, rejecting("tcp", "reject with tcp reset"), nothing, "tcp reset"),
		Entry("if iptables rejects it", tcp, topology.Node{IPTables: "*filter\n-A FORWARD -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n"},
			nothing, "tcp reset"),
	)
})

var _ = Describe("what is sent because of a packet", Label("smoke"), func() {
	It("includes the way to find out where it has to go, and that is answered in turn", func(ctx SpecContext) {
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		net.Connect(client, server)
		r := row{lab: harness.New(GinkgoTB(), &net), client: client, server: server}
		r.lab.Listen(server, 8081)
		for _, p := range []packet.Packet{udp(r), udp6(r)} {
			waiting := r.follow(ctx, p)

			Expect(waiting.Solicitations()).To(HaveLen(1))
			Expect(waiting.Answers()).To(BeEmpty())
			Expect(waiting.Solicitations()[0].Answers()).To(HaveLen(1))
			Expect(waiting).To(BeDelivered(At(server)))
		}
	})

	It("is a SYN-ACK, also if it is a cookie, and the acknowledgement of that", func(ctx SpecContext) {
		for _, cookies := range []string{"0", "2"} { // 2 is always (Documentation/networking/ip-sysctl.rst)
			r := newRow(nothing, topology.Node{Sysctls: map[string]string{"net.ipv4.tcp_syncookies": cookies}})

			sent := r.handshake(ctx)

			Expect(sent[0].Answers()).To(ConsistOf(HaveField("Text()", ContainSubstring("flags [S.]"))))
			Expect(sent[0].Answers()[0].Answers()).To(Equal(sent[1:]))
		}
	})

	// The router answers for the server, and asks it only when the client has acknowledged that.
	// Catches: the proxy's packets taken for the client's or the server's own, which have the same addresses; and a packet that is looked at
	// after the rule that took it has freed it, as the kernel tells of the rule only then.
	It("is what a SYN proxy says in the server's name, and what it asks the server", func(ctx SpecContext) {
		r := newRow(topology.Node{NFT: `table ip proxy {
			chain prerouting {
				type filter hook prerouting priority raw
				tcp dport 80 tcp flags syn notrack
			}
			chain forward {
				type filter hook forward priority filter
				tcp dport 80 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
				ct state invalid drop
			}
		}`}, nothing)
		r.lab.Do(r.router, func() error { // an acknowledgement begins no connection that conntrack knows
			return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", []byte("0"), 0)
		})

		sent := r.handshake(ctx)

		for _, j := range sent {
			Expect(j).To(And(BeConsumed(At(r.router)), BeJudgedBy("synproxy", Verdict("stolen"), At(r.router)), Not(Reach(IPReceive, At(r.server)))))
		}
		Expect(sent[0].Answers()).To(ConsistOf(HaveField("Text()", ContainSubstring("flags [S.]"))))
		Expect(sent[0].Answers()[0].Answers()).To(Equal(sent[1:]))
		Expect(sent[1].Answers()).To(ConsistOf(And(HaveField("Text()", ContainSubstring("flags [S]")), Reach(TCPReceive, At(r.server)))))
		Expect(sent[1].Answers()[0].Answers()).To(ConsistOf(BeConsumed(At(r.router))))
		Expect(sent[1].Answers()[0].Answers()[0].Answers()).To(ConsistOf(Reach(TCPReceive, At(r.server)), Reach(TCPReceive, At(r.client))))
	})

	// Catches: a link that is made of what packets say, and not of what the kernel does.
	It("is not what somebody else has sent who says that it is an answer", func(ctx SpecContext) {
		one, other := newRow(nothing, nothing), newRow(nothing, nothing) // of equal addresses
		listener := one.lab.Listen(one.server, 8081)
		question := packet.UDP{To: one.server, SrcPort: 4000, DstPort: 8081, Payload: []byte("?")}
		trace := one.lab.Trace(ctx)
		asked := one.lab.Send(ctx, one.client, question)
		_, _, err := listener.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		question.To = other.server
		refused := other.follow(ctx, question)
		forged := one.lab.Send(ctx, one.server, packet.IPPacket{To: one.client, Proto: 1, Payload: portUnreachable(one)})
		record := trace.Seal(ctx)

		Expect(refused.Answers()).To(HaveLen(1))
		Expect(record.Of(asked).Answers()).To(BeEmpty())
		Expect(record.Of(forged)).To(Reach("icmp_rcv", At(one.client)))
		Expect(record.Of(forged).Links).To(BeEmpty())
	})
})

// portUnreachable is an ICMP error about a datagram from the client's port 4000 to the server's 8081.
func portUnreachable(r row) []byte {
	GinkgoHelper()
	ip := layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP,
		SrcIP: r.lab.Addr(r.client).AsSlice(), DstIP: r.lab.Addr(r.server).AsSlice()}
	quoted := layers.UDP{SrcPort: 4000, DstPort: 8081}
	Expect(quoted.SetNetworkLayerForChecksum(&ip)).To(Succeed())
	b := gopacket.NewSerializeBuffer()
	Expect(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)},
		&ip, &quoted)).To(Succeed())
	return b.Bytes()
}

var nothing topology.Node

const reply = "echo reply"

func udp(r row) packet.Packet  { return packet.UDP{To: r.server, DstPort: 8081} }
func udp6(r row) packet.Packet { return packet.UDP{To: packet.IP6(r.server), DstPort: 8081} }
func tcp(r row) packet.Packet {
	return packet.TCP{To: r.server, SrcPort: 4000, DstPort: 80, Flags: packet.SYN}
}
func tcp6(r row) packet.Packet {
	return packet.TCP{To: packet.IP6(r.server), SrcPort: 4000, DstPort: 80, Flags: packet.SYN}
}

// rejecting is a node that does so with all that it forwards of a protocol.
func rejecting(protocol, how string) topology.Node {
	return topology.Node{NFT: `table inet filter {
	chain forward {
		type filter hook forward priority filter
		meta l4proto ` + protocol + " " + how + `
	}
}`}
}
