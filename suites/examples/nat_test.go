package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a NAT router with a port forward", func() {
	It("hides the house, and leads one port into it", func(ctx SpecContext) {
		var net topology.Network
		house := net.Add(topology.Node{Name: "house"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true, NFT: `table ip nat {
			chain in  { type nat hook prerouting priority dstnat; iif wan udp dport 8080 dnat to 172.16.42.1:80; }
			chain out { type nat hook postrouting priority srcnat; oif wan masquerade; }
		}`})
		world := net.Add(topology.Node{Name: "world"})
		net.Connect(house, router)
		wan := net.Connect(router, world, topology.LinkOptions{First: topology.Device{Name: "wan"}}).Ends()[0].Addr.Addr()
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(house, 80)
		lab.Listen(world, 53)

		trace := lab.Trace(ctx)
		query := lab.Send(ctx, house, packet.UDP{To: world, DstPort: 53})
		visit := lab.Send(ctx, world, packet.UDP{To: packet.IP(wan), DstPort: 8080})
		stray := lab.Send(ctx, world, packet.UDP{To: packet.IP(wan), DstPort: 8081})
		record := trace.Seal(ctx)

		Expect(record.Of(query)).To(And(BeSNATedTo(wan, At(router)), BeDelivered(At(world))))
		Expect(record.Of(visit)).To(And(BeDNATedTo("172.16.42.1:80", At(router)), BeDelivered(At(house))))
		Expect(record.Of(stray)).To(BeDropped(Reason("NO_SOCKET"), At(router)))
	})
})
