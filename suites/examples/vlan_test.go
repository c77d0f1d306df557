package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a bridge with VLANs", func() {
	It("keeps guests apart from the office", func(ctx SpecContext) {
		var net topology.Network
		sw := net.Add(topology.Node{Name: "sw", Bridge: &topology.Bridge{VLANFiltering: true}})
		port := func(name string, vlan uint16) *topology.Node {
			node := net.Add(topology.Node{Name: name})
			net.Connect(node, sw, topology.LinkOptions{Second: topology.Device{Port: topology.Port{VLAN: vlan}}})
			return node
		}
		office, printer, guest := port("office", 10), port("printer", 10), port("guest", 20)
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(printer, 631)
		lab.Listen(guest, 631)

		trace := lab.Trace(ctx)
		page := lab.Send(ctx, office, packet.UDP{To: printer, DstPort: 631})
		search := lab.Send(ctx, office, packet.UDP{To: topology.IP("172.16.42.255"), DstPort: 631})
		record := trace.Seal(ctx)

		Expect(record.Of(page)).To(And(Reach(Bridge, At(sw)), BeDelivered(At(printer))))
		Expect(record.Of(search)).To(BeDelivered(AnyBranch(), At(printer)))
		Expect(record.Of(search)).NotTo(Reach(DeviceReceive, At(guest)))
	})
})
