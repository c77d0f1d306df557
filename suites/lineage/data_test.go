package lineage

import (
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a datagram that is too long for a link", Label("smoke"), func() {
	It("goes on as fragments, which are put together in the first", func(ctx SpecContext) {
		r := newRow(nothing, nothing, topology.LinkOptions{MTU: 600})
		r.lab.Listen(r.server, 8081)

		long := r.follow(ctx, packet.UDP{To: r.server, DstPort: 8081, Payload: make([]byte, 1400)})

		fragments := long.Descendants()
		Expect(fragments).To(HaveLen(3))
		Expect(long).To(BeFragmentedInto(3))
		Expect(fragments[1]).To(BeMergedInto(fragments[0]))
		Expect(long.Sentence()).To(HavePrefix("consumed: it went on as 3 fragments"))
		Expect(fragments[0]).To(BeDelivered(At(r.server)))
		Expect(fragments[0].MadeOf()).To(Equal(fragments[1:]))
		for _, fragment := range fragments {
			cause, relation := fragment.Cause()
			Expect(cause).To(BeIdenticalTo(long))
			Expect(relation).To(Equal(journey.Fragment))
			Expect(fragment).To(Reach(IPReceive, At(r.server)))
		}
	})

	It("goes on as fragments if IPv6 has cut it where it was sent", func(ctx SpecContext) {
		r := newRow(nothing, nothing)
		r.lab.Listen(r.server, 8081)

		long := r.follow(ctx, packet.UDP{To: packet.IP6(r.server), DstPort: 8081, Payload: make([]byte, 4000)})

		// The first is in the skb that was cut.
		Expect(long.Descendants()).To(HaveLen(2))
		Expect(long).To(BeFragmentedInto(3))
		Expect(long).To(BeDelivered(At(r.server)))
		Expect(long.MadeOf()).To(Equal(long.Descendants()))
	})

	// Catches: fragments told as parts of each other by what they look like, or by who was received last.
	It("is not put together with the fragments of another one that come in between, with the same identification", func(ctx SpecContext) {
		r := newRow(nothing, nothing)
		r.lab.Listen(r.server, 8081)
		trace := r.lab.Trace(ctx)
		var sent []*packet.Sent
		for _, offset := range []uint16{0, 2} {
			for _, source := range []byte{7, 8} {
				sent = append(sent, r.lab.Send(ctx, r.client, fragment(r, source, offset)))
			}
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		for i := range 2 {
			first, last := record.Of(sent[i]), record.Of(sent[i+2])
			GinkgoWriter.Println(first, last)
			Expect(first).To(BeDelivered(At(r.server)))
			Expect(first.MadeOf()).To(Equal([]*journey.Journey{last}))
			Expect(first.Descendants()).To(BeEmpty())
		}
	})
})

// fragment is half of a datagram of 24 bytes to the server's port 8081, from an address of the client's network, with an offset in
// units of eight bytes.
func fragment(r row, source byte, offset uint16) packet.Frame {
	GinkgoHelper()
	near, far := r.client.Interfaces()[0], r.router.Interfaces()[0]
	src := net.IP{172, 16, 42, source}
	ip := layers.IPv4{Version: 4, Id: 77, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: r.server.Addr().AsSlice()}
	datagram := layers.UDP{SrcPort: 4000, DstPort: 8081}
	Expect(datagram.SetNetworkLayerForChecksum(&ip)).To(Succeed())
	b := gopacket.NewSerializeBuffer()
	Expect(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&datagram, gopacket.Payload(make([]byte, 16)))).To(Succeed())
	half := b.Bytes()[:16]
	if ip.FragOffset = offset; offset == 0 {
		ip.Flags = layers.IPv4MoreFragments
	} else {
		half = b.Bytes()[16:]
	}
	return packet.Frame{Device: "eth0", Layers: []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: near.MAC[:], DstMAC: far.MAC[:], EthernetType: layers.EthernetTypeIPv4}, &ip, gopacket.Payload(half),
	}}
}

var _ = Describe("a packet that is cut by segmentation offload", Label("smoke"), func() {
	It("goes on as segments of UDP", func(ctx SpecContext) {
		r := newRow(nothing, nothing, topology.LinkOptions{First: topology.Device{Features: map[string]bool{"tx-udp-segmentation": false}}})
		r.lab.Listen(r.server, 8081)

		whole := r.follow(ctx, packet.UDP{To: r.server, DstPort: 8081, Segment: 500, Payload: make([]byte, 1500)})

		Expect(whole.Descendants()).To(HaveLen(3))
		Expect(whole).To(BeSegmentedInto(3))
		Expect(whole.Sentence()).To(HavePrefix("consumed: it went on as 3 segments"))
		Expect(whole.Descendants()).To(HaveEach(BeDelivered(At(r.server))))
	})

	// Catches: one segment's end told as that of all, or of what they were cut from.
	It("loses one of its segments of TCP, and another arrives", func(ctx SpecContext) {
		r := newRow(nothing, topology.Node{NFT: `table ip filter {
	chain input {
		type filter hook input priority filter
		ip length 1500 limit rate over 1/hour burst 1 packets drop comment "but the first"
	}
}`}, topology.LinkOptions{First: topology.Device{Features: map[string]bool{"tx-tcp-segmentation": false}}})
		listener := r.lab.ListenTCP(r.server, 80)
		conn := r.lab.Dial(ctx, r.client, packet.TCP{To: r.server, DstPort: 80})
		accepted, err := listener.Accept(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(accepted.Close)

		trace := r.lab.Trace(ctx)
		Expect(conn.Send(ctx, make([]byte, 2*1448))).To(Succeed())
		Expect(accepted.Receive(ctx)).NotTo(BeEmpty())
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		sent := record.AllOf(conn)
		for _, j := range record.All() {
			GinkgoWriter.Println(j)
		}
		segments := sent[0].Descendants()
		Expect(segments).To(HaveLen(2))
		Expect(segments[0]).To(BeDelivered(At(r.server)))
		Expect(segments[1]).To(BeDropped(At(r.server), ByRule("but the first")))
		Expect(sent[0]).NotTo(BeDropped(AnyBranch()))
		Expect(sent[0]).NotTo(Reach("ip_local_deliver", At(r.server)))
	})
})

var _ = Describe("a packet that is copied", Label("smoke"), func() {
	It("is the cause of the copy that a rule sends elsewhere", func(ctx SpecContext) {
		r := newRow(nothing, nothing)
		r.lab.LoadNFT(ctx, r.router, `table ip twice {
	chain forward {
		type filter hook forward priority filter
		udp dport 8081 dup to 172.16.42.1 device eth0
	}
}`)
		r.lab.Listen(r.server, 8081)

		original := r.follow(ctx, udp(r))

		Expect(original).To(BeDelivered(At(r.server)))
		Expect(original.Descendants()).To(HaveLen(1))
		copied := original.Descendants()[0]
		Expect(copied).NotTo(BeDelivered())
		Expect(copied).To(Reach(IPReceive, At(r.client)))
		cause, relation := copied.Cause()
		Expect(cause).To(BeIdenticalTo(original))
		Expect(relation).To(Equal(journey.Copy))
	})
})
