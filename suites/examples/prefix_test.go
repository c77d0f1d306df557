package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("an IPv6-only site", func() {
	It("is known to the world by another prefix, host by host", func(ctx SpecContext) {
		var net topology.Network
		host := net.Add(topology.Node{Name: "host"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true, NFT: `table ip6 translation {
			chain in  { type nat hook prerouting priority dstnat; ip6 daddr 2001:db8:1::/64 dnat prefix to fd00:1::/64; }
			chain out { type nat hook postrouting priority srcnat; ip6 saddr fd00:1::/64 snat prefix to 2001:db8:1::/64; }
		}`})
		world := net.Add(topology.Node{Name: "world"})
		link := func(a, b *topology.Node, first, second string) {
			net.Connect(a, b, topology.LinkOptions{
				First: topology.Device{Addrs: []string{first}}, Second: topology.Device{Addrs: []string{second}}})
		}
		link(host, router, "fd00:1::2/64", "fd00:1::1/64")
		link(router, world, "2001:db8::1/64", "2001:db8::2/64")
		world.Routes = []topology.Route{{To: "2001:db8:1::/64", Via: topology.V6(router)}}
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(world, 53)
		lab.Listen(host, 22)

		query := lab.Follow(ctx, host, packet.UDP{To: topology.V6(world), DstPort: 53})
		Expect(query).To(And(BeSNATedTo("2001:db8:1::2", At(router)), BeDelivered(At(world))))
		visit := lab.Follow(ctx, world, packet.UDP{To: topology.IP("2001:db8:1::2"), DstPort: 22})
		Expect(visit).To(And(BeDNATedTo("fd00:1::2", At(router)), BeDelivered(At(host))))
	})
})
