package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a WireGuard hub", func() {
	It("joins spokes that know nobody but the hub", func(ctx SpecContext) {
		var net topology.Network
		hub := net.Add(topology.Node{Name: "hub", Forwarding: true})
		spoke := func(name, addr string) topology.Peer {
			node := net.Add(topology.Node{Name: name})
			net.Connect(node, hub)
			node.Devices = []topology.Device{{Name: "wg0", Addrs: []string{addr}, Kind: topology.WireGuard{
				Peers: []topology.Peer{{Node: hub, Allowed: []string{"10.9.0.0/24"}}}}}}
			return topology.Peer{Node: node}
		}
		a, b := spoke("a", "10.9.0.1/24"), spoke("b", "10.9.0.2/24")
		hub.Devices = []topology.Device{{Name: "wg0", Addrs: []string{"10.9.0.3/24"}, Kind: topology.WireGuard{
			Peers: []topology.Peer{a, b}}}}
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(b.Node, 7)

		j := lab.Follow(ctx, a.Node, packet.UDP{To: topology.IP("10.9.0.2"), DstPort: 7})

		Expect(j).To(InOrder(Reach(DeviceTransmit, At(a.Node), On("wg0")), Reach(DeviceTransmit, At(a.Node), On("eth0"))))
		Expect(j).To(And(Reach(UDPReceive, At(hub), On("eth0")), Reach(Forward, At(hub)), Reach(UDPReceive, At(b.Node), On("eth0"))))
		Expect(j).To(BeDelivered(At(b.Node)))
	})
})
