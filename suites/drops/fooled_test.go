package drops

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// Each of these specs is built to have one packet taken for another. Without function probes, identity rests on what the
// allocator's tracepoints tell.
var _ = Describe("two packets, or one", func() {
	// Two sockets take turns, with the same five-tuple; what one sends is refused for its TOS, what the other sends is read at
	// once, so that each buffer comes back for the next packet, of the other flow, within microseconds.
	// Catches: an identity, an origin, a look or an end that the next packet inherits with the buffer.
	It("are two, though one gets the buffer of the other and has the same five-tuple", Label("smoke"), func(ctx SpecContext) {
		suite.Needs("deliveries", harness.Deliveries(ctx))
		const packets = 200
		r := newRow(topology.Node{}, topology.Node{NFT: `table inet filter {
			chain input { type filter hook input priority filter; ip dscp cs1 drop; }
		}`})
		listener := r.lab.Listen(r.server, 8081)

		trace := r.lab.Trace(ctx, devices)
		var sent []*packet.Sent
		for n := range packets {
			refused := n%2 == 0
			datagram := packet.UDP{To: r.server, SrcPort: 40000, DstPort: 8081, Payload: fmt.Appendf(nil, "parcel %03d", n)}
			if refused {
				datagram.Options.TOS = 8 << 2
			}
			sent = append(sent, r.lab.Send(ctx, r.client, datagram))
			if !refused {
				payload, _, err := listener.Receive(ctx)
				Expect(err).NotTo(HaveOccurred())
				Expect(payload).To(Equal(datagram.Payload))
			}
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		heirs := 0 // that got the buffer of the other flow's last packet
		for n, s := range sent {
			j := record.Of(s)
			Expect(carriers(record, fmt.Sprintf("parcel %03d", n))).To(Equal([]journey.ID{j.ID}))
			if n%2 == 0 {
				Expect(endings(j)).To(Equal([]string{"dropped in server (NETFILTER_DROP)"}))
			} else {
				Expect(endings(j)).To(Equal([]string{"delivered in server"}))
			}
			for _, e := range j.Events {
				if e.Packet != nil {
					Expect(string(e.Packet.Data)).To(HaveSuffix("parcel %03d", n), "%s shows another packet", j)
				}
			}
			if n > 0 && record.Of(sent[n-1]).ID.Head == j.ID.Head {
				heirs++
			}
		}
		GinkgoWriter.Printf("%d of %d packets had the buffer of the one before\n", heirs, packets)
		Expect(heirs).To(BeNumerically(">", 0), "or the spec shows nothing")
	})

	// The router needs more room for the outer headers than the client left, so it exchanges the buffer (pskb_expand_head).
	// Catches: the packet in its new buffer taken for another one.
	It("is one in a tunnel, though its buffer is exchanged there", func(ctx SpecContext) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true})
		server := net.Add(topology.Node{Name: "server", NFT: refusing})
		net.Connect(client, router)
		net.Connect(router, server)
		router.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: server}, Addrs: []string{"10.0.0.1/24"}}}
		server.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: router}, Addrs: []string{"10.0.0.2/24"}}}
		client.Routes = []topology.Route{{To: "10.0.0.0/24", Via: router}}
		// The devices' own first packets may have asked for this address in vain, and the next question is asked in a second.
		router.Neighbours = []topology.Neighbour{{Addr: server}}
		lab := newLab(&net)

		trace := lab.Trace(ctx, devices)
		sent := lab.Send(ctx, client, packet.UDP{To: host("10.0.0.2"), DstPort: 8081, Payload: []byte(parcel)})
		record := trace.Seal(ctx)

		tunnelled := record.Of(sent)
		GinkgoWriter.Println(tunnelled)
		Expect(record.Evidence().Incomplete()).To(Succeed())
		Expect(carriers(record, parcel)).To(Equal([]journey.ID{tunnelled.ID}))
		Expect(tunnelled).To(Reach("net:net_dev_queue", At(router), On("vx0")))
		Expect(tunnelled).To(Reach("net:net_dev_queue", At(router), On("eth1")), "with its outer headers")
		Expect(tunnelled).To(Reach(arrival, At(server), On("vx0")), "without them")
		Expect(endings(tunnelled)).To(Equal([]string{"dropped in server (NETFILTER_DROP)"}))
	})

	// A bridge floods: b reads its copy, c refuses it.
	// Catches: one copy's end told as that of another, or of all.
	It("is one with two fates, where a bridge copies it", func(ctx SpecContext) {
		suite.Needs("deliveries", harness.Deliveries(ctx))
		var net topology.Network
		bridge := net.Add(topology.Node{Name: "bridge", Bridge: &topology.Bridge{}})
		a, b := net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"})
		c := net.Add(topology.Node{Name: "c", NFT: refusing})
		for _, node := range []*topology.Node{a, b, c} {
			net.Connect(node, bridge)
		}
		a.Routes = []topology.Route{{To: "239.0.0.0/8", Device: "eth0"}}
		lab := newLab(&net)
		listener := lab.Listen(b, 8081)

		trace := lab.Trace(ctx, devices)
		sent := lab.Send(ctx, a, packet.UDP{To: host("172.16.42.255"), DstPort: 8081, Payload: []byte(parcel)})
		_, _, err := listener.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		record := trace.Seal(ctx)

		flooded := record.Of(sent)
		GinkgoWriter.Println(flooded)
		Expect(record.Evidence().Incomplete()).To(Succeed())
		Expect(carriers(record, parcel)).To(Equal([]journey.ID{flooded.ID}))
		Expect(endings(flooded)).To(ConsistOf("delivered in b", "dropped in c (NETFILTER_DROP)",
			HavePrefix("dropped in a ("), HavePrefix("dropped in bridge (")))
		Expect(flooded).To(BeDropped(AnyBranch(), At(c), Reason("NETFILTER_DROP")))
		Expect(flooded).NotTo(BeDelivered())
		Expect(flooded).NotTo(BeDropped())
	})

	// Catches: a sniffer's copy taken for the packet, whether it is read or dropped for want of room.
	DescribeTable("are one packet and a sniffer's copy", func(ctx SpecContext, options packet.TapOptions, copies bool) {
		r := newRow(topology.Node{}, topology.Node{NFT: refusing})
		suite.Needs("deliveries", harness.Deliveries(ctx))
		tap := r.lab.Tap(r.server, "eth0", options)

		trace := r.lab.Trace(ctx, devices)
		sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)})
		if copies {
			_, err := tap.Receive(ctx)
			Expect(err).NotTo(HaveOccurred())
		}
		record := trace.Seal(ctx)

		j := record.Of(sent)
		GinkgoWriter.Println(j)
		Expect(endings(j)).To(Equal([]string{"dropped in server (NETFILTER_DROP)"}))
		Expect(j).NotTo(BeDelivered())
	},
		Entry("which it reads", packet.TapOptions{Protocol: unix.ETH_P_ALL}, true),
		Entry("which is the original, while the stack goes on with a clone", packet.TapOptions{Protocol: unix.ETH_P_IP}, true),
		Entry("which is dropped for want of room", packet.TapOptions{Protocol: unix.ETH_P_ALL, ReceiveBuffer: 1}, false),
		Entry("which is the original, dropped for want of room", packet.TapOptions{Protocol: unix.ETH_P_IP, ReceiveBuffer: 1}, false),
	)

	// A sniffer holds a clone, so that the server cannot rewrite the packet where it is and exchanges its buffer; and the skb
	// in which it does was never seen before. Without function probes nothing ties the two together, and the record must say so.
	// Catches: a guess, and an absence that is none.
	It("are two that may be one, where nobody could see", func(ctx SpecContext) {
		r := newRow(topology.Node{}, topology.Node{NFT: `table inet filter {
			chain mangle { type filter hook input priority mangle; ip dscp set cs1; }
			chain input { type filter hook input priority filter; udp dport 8081 drop; }
		}`})
		tap := r.lab.Tap(r.server, "eth0", packet.TapOptions{Protocol: unix.ETH_P_IP})

		trace := r.lab.Trace(ctx, devices)
		sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)})
		_, err := tap.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		record := trace.Seal(ctx)

		j := record.Of(sent)
		GinkgoWriter.Println(j)
		if harness.Functions(ctx) == nil {
			Expect(record.Evidence().Incomplete()).To(Succeed())
			Expect(j).To(BeDropped(Reason("NETFILTER_DROP"), At(r.server)))
			return
		}
		doubt := record.Evidence().Incomplete()
		Expect(doubt).To(MatchError(journey.ErrInconclusive))
		Expect(doubt).To(MatchError(ContainSubstring("first seen after their buffer was exchanged")))
		for _, claim := range []types.GomegaMatcher{BeDropped(), BeDelivered()} {
			_, err := claim.Match(j)
			Expect(err).To(MatchError(journey.ErrInconclusive), "neither granted nor denied")
		}
	})
})
