package firewall

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a default-deny forward chain", Label("smoke"), func() {
	const ruleset = `table inet filter {
		chain forward {
			type filter hook forward priority filter; policy drop;
			ct state established,related accept
			udp dport vmap { 53 : jump dns, 123 : accept }
		}
		chain dns {
			ip saddr 172.16.42.1 drop comment "ask the resolver"
			accept
		}
	}`
	var (
		lab                *harness.Lab
		client, fw, server *topology.Node
	)
	BeforeEach(func() {
		var net topology.Network
		client = net.Add(topology.Node{Name: "client"})
		fw = net.Add(topology.Node{Name: "fw", Forwarding: true, NFT: ruleset})
		server = net.Add(topology.Node{Name: "server"})
		net.Connect(client, fw)
		net.Connect(fw, server)
		lab = harness.New(GinkgoTB(), &net)
	})

	It("drops what no rule names at the policy", func(ctx SpecContext) {
		journey := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 22})

		Expect(journey).To(Reach("ip_forward", At(fw)))
		Expect(journey).To(BeDropped(Reason("NETFILTER_DROP"), At(fw), ByPolicy("forward")))
		Expect(journey).NotTo(Reach(IPReceive, At(server)))
	})

	It("names the rule of a chain that was jumped to", func(ctx SpecContext) {
		followed := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 53})

		Expect(followed).To(BeDropped(At(fw), ByRule("ask the resolver")))
		Expect(followed.Outcome().Rule.NFT.Chain).To(Equal("dns"))
		Expect(followed).NotTo(Reach(IPReceive, At(server)))
	})

	It("lets through what is accepted, as one packet from end to end", func(ctx SpecContext) {
		lab.Listen(server, 123)

		followed := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 123, Payload: []byte("time")})

		Expect(followed).To(Reach("ip_output", At(client)))
		Expect(followed).To(Reach("ip_forward", At(fw)))
		Expect(followed).To(BeDelivered(At(server)))
		Expect(followed.Events).To(HaveEach(HaveField("ID", followed.ID)))
		var verdicts []string
		for _, e := range followed.Events {
			if e.NFT != nil {
				verdicts = append(verdicts, e.NFT.Verdict)
			}
		}
		Expect(verdicts).To(Equal([]string{"accept"}))
	})

	It("lets the reply through as the connection's", func(ctx SpecContext) {
		trace := lab.Trace(ctx)
		lab.Send(ctx, client, packet.UDP{To: server, SrcPort: 40000, DstPort: 123})
		reply := lab.Send(ctx, server, packet.UDP{To: client, SrcPort: 123, DstPort: 40000})

		returned := trace.Seal(ctx).Of(reply)

		Expect(returned).To(BeDelivered(At(client)))
		Expect(returned.Events).To(ContainElement(SatisfyAll(
			HaveField("NetNS.Node", "fw"), HaveField("NFT", Not(BeNil())), HaveField("NFT.RuleText", ContainSubstring("ct state")),
			HaveField("Conntrack.State", "REPLY"))))
	})

	It("says where a packet rests for which nobody answers", func(ctx SpecContext) {
		nobody, err := packet.ParseIP("172.16.42.99")
		Expect(err).NotTo(HaveOccurred())

		followed := lab.Follow(ctx, client, packet.UDP{To: nobody, DstPort: 22})

		Expect(followed.Outcome()).To(SatisfyAll(
			HaveField("Kind", journey.Queued), HaveField("Place", journey.NeighbourQueue)))
		Expect(followed).NotTo(BeDropped())
		Expect(followed).NotTo(BeDelivered())
	})
})

var _ = Describe("an output chain", func() {
	It("drops before the packet leaves, and the sender is told", func(ctx SpecContext) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client", NFT: `table ip filter {
			chain output { type filter hook output priority filter; udp dport 8080 drop; }
		}`})
		server := net.Add(topology.Node{Name: "server"})
		net.Connect(client, server)
		lab := harness.New(GinkgoTB(), &net)

		trace := lab.Trace(ctx)
		sent := lab.Send(ctx, client, packet.UDP{To: server, DstPort: 8080})
		followed := trace.Seal(ctx).Of(sent)

		Expect(sent.Err).To(MatchError(ContainSubstring("operation not permitted")))
		Expect(followed).To(BeDropped(Reason("NETFILTER_DROP"), At(client), ByRule("udp dport 8080 drop")))
		Expect(followed).NotTo(Reach(IPReceive))
	})
})
