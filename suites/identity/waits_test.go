package identity

import (
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a packet that waits", func() {
	// Catches: an end told of a packet that has none yet, or denied of it, because nothing more was seen in time.
	It("for an hour in a queueing discipline has no end that could be told", func(ctx SpecContext) {
		f := newFork(topology.Node{})
		f.lab.Impair(f.host, "eth1", topology.Impairment{Delay: time.Hour})
		datagram := packet.Frame{Device: "eth1", Layers: frame(f.host, f.monitor)} // no address needs to be resolved

		waiting := f.lab.Follow(ctx, f.host, datagram, harness.TraceOptions{Patience: 200 * time.Millisecond})

		GinkgoWriter.Println(waiting)
		Expect(waiting.Outcome().Kind).To(BeElementOf(journey.Queued, journey.Undetermined))
		expectDoubt(waiting)
	})

	// The first takes all that the bucket holds, and goes. The second is the same in every bit but its identity.
	// Catches: the first one's end told of the second; and the doubt about the second that hides what is known of the first.
	It("behind another one does not take over its end", func(ctx SpecContext) {
		// What the kernel sends by itself, for IPv6, must not take what the bucket holds.
		f := newFork(topology.Node{TC: `qdisc add dev eth1 root handle 1: prio
qdisc add dev eth1 parent 1:3 handle 30: tbf rate 8bit burst 100 limit 10000
filter add dev eth1 parent 1: protocol all prio 1 u32 match u8 0x45 0xff at 0 flowid 1:3`})
		f.lab.Listen(f.monitor, 8081)
		datagram := packet.Frame{Device: "eth1", Layers: frame(f.host, f.monitor)} // of 52 bytes: two are too many

		trace := f.lab.Trace(ctx, harness.TraceOptions{Patience: 200 * time.Millisecond})
		first := f.lab.Send(ctx, f.host, datagram)
		second := f.lab.Send(ctx, f.host, datagram)
		record := trace.Seal(ctx)

		GinkgoWriter.Println(record.Of(first))
		GinkgoWriter.Println(record.Of(second))
		Expect(record.Of(first)).To(BeDelivered(At(f.monitor)))
		Expect(record.Of(second).Outcome().Kind).To(BeElementOf(journey.Queued, journey.Undetermined))
		expectDoubt(record.Of(second))
	})

	// The server has the address on its loopback device, and says nothing when asked for it; the reply comes when the test
	// says so. Catches: a packet that has left the queue told as waiting; what comes out taken for another packet; the clones
	// that neigh_probe makes taken for branches.
	It("until an address is resolved goes on as the same", Label("smoke"), func(ctx SpecContext) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		server := net.Add(topology.Node{Name: "server",
			Devices: []topology.Device{{Name: "quiet", Kind: topology.Dummy{}, Addrs: []string{"172.16.42.99/32"}}},
			Sysctls: map[string]string{"net.ipv4.conf.all.arp_ignore": "1"}})
		net.Connect(client, server)
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(server, 8081)
		quiet := host("172.16.42.99")

		trace := lab.Trace(ctx)
		sent := lab.Send(ctx, client, packet.UDP{To: quiet, DstPort: 8081, Payload: []byte(parcel)})
		waiting := trace.Seal(ctx).Of(sent)
		Expect(endings(waiting)).To(Equal([]string{"queued, last seen in client"}))
		Expect(waiting.Outcome().Place).To(Equal(journey.NeighbourQueue))

		trace = lab.Trace(ctx)
		sent = lab.Send(ctx, client, packet.UDP{To: quiet, DstPort: 8081, Payload: []byte("another parcel")})
		lab.Send(ctx, server, packet.ARP{Device: "eth0", To: client, Reply: true, Src: quiet})
		record := trace.Seal(ctx)

		resolved := record.Of(sent)
		GinkgoWriter.Println(resolved)
		Expect(carriers(record, "another parcel")).To(Equal([]journey.ID{resolved.ID}))
		Expect(endings(resolved)).To(Equal([]string{"delivered in server"}))
	})

	// Catches: an unread datagram waited for until patience ends, or told as undetermined; a datagram that was read, and so
	// freed like any that the kernel took for itself, told as consumed.
	It("in a socket was delivered, read or not", func(ctx SpecContext) {
		f := newFork(topology.Node{})
		listener := f.lab.Listen(f.host, 8081)

		trace := f.lab.Trace(ctx)
		read := f.lab.Send(ctx, f.client, packet.UDP{To: f.host, DstPort: 8081, Payload: []byte("read")})
		payload, _, err := listener.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(payload)).To(Equal("read"))
		unread := f.lab.Send(ctx, f.client, packet.UDP{To: f.host, DstPort: 8081, Payload: []byte("unread")})
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		for _, sent := range []*packet.Sent{read, unread} {
			Expect(endings(record.Of(sent))).To(Equal([]string{"delivered in host"}))
		}
		Expect(record.Of(read).ID).NotTo(Equal(record.Of(unread).ID))
	})
})

// frame is the parcel as it leaves eth1 of the host to the monitor.
func frame(from, to *topology.Node) []gopacket.SerializableLayer {
	near, far := from.Interfaces()[1], to.Interfaces()[0]
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: near.Addr.Addr().AsSlice(),
		DstIP: far.Addr.Addr().AsSlice()}
	udp := &layers.UDP{SrcPort: 40000, DstPort: 8081}
	Expect(udp.SetNetworkLayerForChecksum(ip)).To(Succeed())
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: near.MAC[:], DstMAC: far.MAC[:], EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload(parcel),
	}
}

// expectDoubt claims this and that about a packet's end, and the contrary, and expects that neither is granted.
func expectDoubt(j *journey.Journey) {
	GinkgoHelper()
	for what, claim := range map[string]func(g Gomega){
		"dropped":     func(g Gomega) { g.Expect(j).To(BeDropped()) },
		"not dropped": func(g Gomega) { g.Expect(j).NotTo(BeDropped()) },
		"delivered":   func(g Gomega) { g.Expect(j).To(BeDelivered()) },
		"kept":        func(g Gomega) { g.Expect(j).NotTo(BeDelivered()) },
		"elsewhere":   func(g Gomega) { g.Expect(j).NotTo(Reach(IPReceive)) },
	} {
		failure := ""
		claim(NewGomega(func(message string, _ ...int) { failure = message }))
		Expect(failure).To(ContainSubstring("INCONCLUSIVE: the packets had not settled when the record was sealed"), what)
	}
}
