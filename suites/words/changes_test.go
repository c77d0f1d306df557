package words

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("what happens to a packet itself", func() {
	// The first is changed and changed back, the second gets a mark that another rule replaces, the third is left alone. All are equal
	// but for the port.
	// Catches: the first and the last sight compared, and not each with the next; the change of one told of another; a mark that was
	// there for a moment; the time to live, which the router counts down, taken for a change.
	It("is told by field and place", func(ctx SpecContext) {
		r := newRow(`table ip mangle {
			chain prerouting {
				type filter hook prerouting priority mangle
				udp dport 1001 ip dscp set ef
				udp dport 1002 meta mark set 0x10
			}
			chain forward {
				type filter hook forward priority mangle
				udp dport 1001 ip dscp set cs0
				meta mark 0x10 meta mark set 0x20
			}
		}`)
		trace := r.lab.Trace(ctx, harness.TraceOptions{Metadata: true})
		there := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 1001})
		marked := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 1002})
		alone := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 1003})
		record := trace.Seal(ctx)

		Expect(record.Of(there)).To(HaveFieldChanged("dscp", 0, 46, At(r.fw)))
		Expect(record.Of(there)).To(HaveFieldChanged("dscp", 46, 0, At(r.fw)))
		Expect(record.Of(there)).NotTo(HaveFieldChanged("dscp", 0, 46, At(r.server)))
		Expect(record.Of(there)).NotTo(HaveFieldChanged("dscp", 0, 48))
		Expect(record.Of(there)).NotTo(BeUnmodified())
		Expect(record.Of(there)).To(BeUnmodified(At(r.server)))

		Expect(record.Of(marked)).To(BeMarked(0x10, At(r.fw)))
		Expect(record.Of(marked)).To(BeMarked(0x20, At(r.fw)))
		Expect(record.Of(marked)).To(HaveFieldChanged("mark", 0x10, 0x20))
		Expect(record.Of(marked)).NotTo(BeMarked(0x20, At(r.server)), "the kernel clears it on the way")
		Expect(record.Of(marked)).NotTo(HaveFieldChanged("dscp", 0, 46))
		Expect(record.Of(marked)).NotTo(BeUnmodified())

		Expect(record.Of(alone)).To(BeUnmodified())
		Expect(record.Of(alone)).To(HaveFieldChanged("ttl", 64, 63, At(r.fw)))
		Expect(record.Of(alone)).NotTo(BeMarked(0x20))
	})

	// Catches: a port that the bridge left out, because the frame came by it, taken for one of those that it was sent by; and a frame to
	// an address that the bridge knows taken for one that is flooded.
	It("is how often, and by which ports, a bridge sent it", func(ctx SpecContext) {
		lab, left, hub, right := newHub()

		trace := lab.Trace(ctx)
		flooded := lab.Send(ctx, left, packet.UDP{To: address("172.16.42.255"), DstPort: 8081})
		lab.Send(ctx, right, packet.UDP{To: left, DstPort: 8081}) // from which the bridge learns where right is
		known := lab.Send(ctx, left, packet.UDP{To: right, DstPort: 8081})
		record := trace.Seal(ctx)

		Expect(record.Of(flooded)).To(BeFlooded("eth1", "eth2", At(hub)))
		Expect(record.Of(flooded)).NotTo(BeFlooded("eth0", "eth1", "eth2", At(hub)))
		Expect(record.Of(flooded)).NotTo(BeFlooded("eth1", At(hub)))
		Expect(record.Of(flooded)).To(BeCloned(3), "for both ports, as the bridge itself takes the original, and for the sender, who is one of all")
		Expect(record.Of(flooded)).To(BeUnmodified())
		Expect(record.Of(known)).NotTo(BeFlooded("eth1", "eth2", At(hub)))
		Expect(record.Of(known)).NotTo(BeCloned(1))
	})

	// Catches: the tunnel's header taken for the packet's own, by which its addresses would seem to change.
	It("is a tunnel's header around it", func(ctx SpecContext) {
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true})
		net.Connect(client, router)
		net.Connect(router, server)
		router.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: server}, Addrs: []string{"10.0.0.1/24"}}}
		server.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: router}, Addrs: []string{"10.0.0.2/24"}}}
		client.Routes = []topology.Route{{To: "10.0.0.0/24", Via: router}}
		router.Neighbours = []topology.Neighbour{{Addr: server}}
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(server, 8081)

		tunnelled := lab.Follow(ctx, client, packet.UDP{To: address("10.0.0.2"), DstPort: 8081})

		Expect(tunnelled).To(BeDelivered(At(server)))
		Expect(tunnelled).To(BeEncapsulated("vxlan", At(router)))
		Expect(tunnelled).NotTo(BeEncapsulated("vxlan", At(server)), "it came so")
		Expect(tunnelled).NotTo(BeEncapsulated("geneve"))
		Expect(tunnelled).NotTo(BeUnmodified())
		Expect(tunnelled).NotTo(HaveFieldChanged("dst", "10.0.0.2", "172.16.43.2"))
		Expect(tunnelled).To(HaveFieldChanged("ttl", 64, 63, At(router)))
	})
})
