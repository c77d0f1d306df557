package identity

import (
	_ "embed"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a packet that is packed anew", func() {
	// The router needs more room for the outer headers than the client left, so it exchanges the buffer.
	// Catches: the packet with outer headers taken for another one; the packet inside taken for another one, in the other
	// namespace; the outer datagram, which a tunnel consumes, taken for the end.
	It("is the same in a tunnel, and where it comes out", Label("smoke"), func(ctx SpecContext) {
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true})
		net.Connect(client, router)
		net.Connect(router, server)
		router.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: server}, Addrs: []string{"10.0.0.1/24"}}}
		server.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: router}, Addrs: []string{"10.0.0.2/24"}}}
		client.Routes = []topology.Route{{To: "10.0.0.0/24", Via: router}}
		// The devices' own first packets may have asked for this address in vain, and the next question is asked in a second.
		router.Neighbours = []topology.Neighbour{{Addr: server}}
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(server, 8081)

		tunnelled := follow(ctx, lab, client, host("10.0.0.2"), "pskb_expand_head", "vxlan_rcv")

		Expect(tunnelled).To(Reach("pskb_expand_head", At(router)), "the buffer was exchanged")
		Expect(tunnelled).To(Reach("vxlan_rcv", At(server)))
		Expect(tunnelled).To(Reach("ip_local_deliver", At(server), On("eth0")), "with its outer headers")
		Expect(tunnelled).To(Reach("ip_local_deliver", At(server), On("vx0")), "without them")
		Expect(endings(tunnelled)).To(Equal([]string{"delivered in server"}))
	})

	// Catches: what a loopback device sends and receives, both at once, taken for two packets or for two branches.
	It("is the same when it comes back from the loopback device", func(ctx SpecContext) {
		f := newFork(topology.Node{})
		f.lab.Listen(f.host, 8081)

		looped := follow(ctx, f.lab, f.host, f.host)

		Expect(looped).To(Reach("ip_output", At(f.host)))
		Expect(looped).To(Reach(IPReceive, At(f.host), On("lo")))
		Expect(endings(looped)).To(Equal([]string{"delivered in host"}))
		Expect(looped.Deciding()).To(HaveLen(1))
	})

	// Catches: the device's clearing of what the skb carried (skb_scrub_packet) taken for its end, and the clone that asks for
	// the neighbour's address taken for the packet.
	It("is the same when it crosses a veth without a program", func(ctx SpecContext) {
		f := newFork(topology.Node{})
		f.lab.Listen(f.host, 8081)

		crossed := follow(ctx, f.lab, f.client, f.host)

		Expect(endings(crossed)).To(Equal([]string{"delivered in host"}))
		Expect(crossed.Deciding()).To(HaveLen(1))
	})

	// For an XDP program, veth copies the packet into a buffer with more room, frees the first, and builds another skb.
	// Catches: the freed one told as dropped or delivered, or the built one as sent by our socket; and the built one must not
	// inherit the identity with the memory.
	It("is another one after a veth has built it anew for an XDP program, a copy of the first", func(ctx SpecContext) {
		f := newXDP("pass")
		f.lab.Listen(f.host, 8081)

		trace := f.lab.Trace(ctx)
		sent := f.lab.Send(ctx, f.client, packet.UDP{To: f.host, DstPort: 8081, Payload: []byte(parcel)})
		record := trace.Seal(ctx)

		original := record.Of(sent)
		for _, j := range record.All() {
			GinkgoWriter.Println(j)
		}
		Expect(original).NotTo(BeDelivered())
		Expect(original).NotTo(BeDropped())
		Expect(original.Outcome().Kind).To(Equal(journey.Consumed))
		Expect(original).NotTo(Reach("ip_local_deliver"))
		Expect(carriers(record, parcel)).To(HaveLen(2))
		for _, j := range record.All() {
			if carries(j, parcel) && j.ID != original.ID {
				Expect(j.Origin).To(BeNil())
				Expect(j).To(BeDelivered(At(f.host)))
				Expect(j.Links).To(Equal([]journey.Link{{Relation: journey.Copy, To: original.ID}}))
			}
		}
	})

	// Catches: the same guess the other way round, and the drop told of a packet that did not suffer it.
	It("has not arrived if an XDP program drops it", func(ctx SpecContext) {
		f := newXDP("drop")
		f.lab.Listen(f.host, 8081)

		trace := f.lab.Trace(ctx)
		sent := f.lab.Send(ctx, f.client, packet.UDP{To: f.host, DstPort: 8081, Payload: []byte(parcel)})
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		Expect(record.Of(sent).Outcome().Kind).To(Equal(journey.Consumed))
		for _, j := range record.All() {
			GinkgoWriter.Println(j)
			if carries(j, parcel) {
				Expect(j).NotTo(BeDelivered())
				Expect(j).NotTo(Reach("ip_local_deliver"))
			}
		}
	})
})

//go:generate clang -O2 -target bpf -c testdata/xdp.bpf.c -o testdata/xdp.o

//go:embed testdata/xdp.o
var xdp []byte

// newXDP is a fork without a monitor, with one of the XDP programs at the host.
func newXDP(program string) fork {
	GinkgoHelper()
	file := filepath.Join(GinkgoT().TempDir(), "xdp.o")
	Expect(os.WriteFile(file, xdp, 0o600)).To(Succeed())
	var net topology.Network
	f := fork{client: net.Add(topology.Node{Name: "client"}), host: net.Add(topology.Node{Name: "host"})}
	net.Connect(f.client, f.host, topology.LinkOptions{Second: topology.Device{XDP: topology.Program{File: file, Name: program}}})
	f.client.Neighbours = []topology.Neighbour{{Addr: f.host}} // the reply to an ARP request would be one more packet
	f.lab = harness.New(GinkgoTB(), &net)
	return f
}
