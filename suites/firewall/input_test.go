package firewall

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("an input chain that drops one port", func() {
	It("drops a datagram to that port, by that rule", func(ctx SpecContext) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		server := net.Add(topology.Node{Name: "server", NFT: rules})
		net.Connect(client, server)
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(server, 8080)

		journey := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 8080, Payload: []byte("abc")})

		Expect(journey).To(Reach("ip_local_deliver", At(server)))
		Expect(journey).To(BeDropped(Reason("NETFILTER_DROP"), At(server), ByRule("no metrics from outside")))
		Expect(journey).NotTo(Reach(UDPReceive))
	})

	It("delivers a datagram to the next port to its socket", func(ctx SpecContext) {
		p := newPair(rules)
		listener := p.lab.Listen(p.server, 8081)

		journey := p.lab.Follow(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081, Payload: []byte("abc")})

		Expect(journey).To(BeDelivered(At(p.server)))
		Expect(journey).NotTo(BeDropped())
		payload, _, err := listener.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(payload)).To(Equal("abc"))
	})

	It("drops a datagram to a port without a socket, but not by a rule", func(ctx SpecContext) {
		p := newPair(rules)

		journey := p.lab.Follow(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081})

		Expect(journey).To(BeDropped(Reason("NO_SOCKET"), At(p.server)))
		Expect(journey).NotTo(BeDropped(ByRule("no metrics")))
	})

	It("drops by policy what no rule accepts", func(ctx SpecContext) {
		p := newPair(`table inet filter {
			chain input {
				type filter hook input priority filter; policy drop;
				icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
			}
		}`)

		journey := p.lab.Follow(ctx, p.client, packet.UDP{To: p.server, DstPort: 8080})

		Expect(journey).To(BeDropped(Reason("NETFILTER_DROP"), At(p.server), ByPolicy("input")))
		Expect(journey).NotTo(BeDropped(ByRule("accept")))
	})
})
