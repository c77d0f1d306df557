package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a VXLAN overlay", func() {
	It("carries what hosts say to each other across a router that knows neither", func(ctx SpecContext) {
		var net topology.Network
		a, b := net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"})
		underlay := net.Add(topology.Node{Name: "underlay", Forwarding: true})
		net.Connect(a, underlay)
		net.Connect(underlay, b)
		a.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: b}, Addrs: []string{"10.0.0.1/24"}}}
		b.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: a}, Addrs: []string{"10.0.0.2/24"}}}
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(b, 7)

		j := lab.Follow(ctx, a, packet.UDP{To: topology.IP("10.0.0.2"), DstPort: 7})

		Expect(j).To(InOrder(
			Reach(DeviceTransmit, At(a), On("vx0")), Reach(DeviceTransmit, At(a), On("eth0")), Reach(Forward, At(underlay)),
			Reach(UDPReceive, At(b), On("eth0")), Reach(UDPReceive, At(b), On("vx0"))))
		Expect(j).To(BeDelivered(At(b)))
	})
})
