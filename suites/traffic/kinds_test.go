package traffic

import (
	"io"
	"net"
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

// Each of these is found by the cookie of its socket, whatever else was sent meanwhile.
var _ = Describe("a packet", func() {
	It("is followed if it is a TCP segment made by hand, among others of the same five-tuple", func(ctx SpecContext) {
		r := newRow()
		r.lab.ListenTCP(r.server, 80)
		for _, to := range []packet.Host{r.server, packet.IP6(r.server)} {
			trace := r.lab.Trace(ctx)
			syn := packet.TCP{To: to, SrcPort: 4000, DstPort: 80, Flags: packet.SYN}
			first := r.lab.Send(ctx, r.client, syn)
			second := r.lab.Send(ctx, r.client, syn)
			record := trace.Seal(ctx)

			Expect(record.Of(first).ID).NotTo(Equal(record.Of(second).ID))
			if to == packet.Host(r.server) {
				Expect(record.Of(first)).To(Reach("ip_forward", At(r.router)))
				Expect(record.Of(first)).To(Reach("tcp_v4_rcv", At(r.server)))
			}
		}
	})

	It("is followed if it is an echo request", func(ctx SpecContext) {
		r := newRow()
		ping := r.lab.Follow(ctx, r.client, packet.Echo{To: r.server})
		Expect(ping).To(Reach("ip_forward", At(r.router)))
		ping6 := r.lab.Follow(ctx, r.client, packet.Echo{To: packet.IP6(r.server)})
		Expect(ping6.Outcome().Kind).NotTo(Equal(journey.Undetermined))
	})

	It("is followed if it is of a protocol that nobody speaks, and dropped for that", func(ctx SpecContext) {
		r := newRow()
		Expect(r.lab.Follow(ctx, r.client, packet.IPPacket{To: r.server, Proto: 253})).To(
			BeDropped(Reason("IP_NOPROTO"), At(r.server)))
	})

	It("is followed if it is a frame, whoever it claims to be from", func(ctx SpecContext) {
		r := newRow()
		near, far := r.client.Interfaces()[0], r.router.Interfaces()[0]
		frame := packet.Frame{Device: "eth0", Layers: []gopacket.SerializableLayer{
			&layers.Ethernet{SrcMAC: near.MAC[:], DstMAC: far.MAC[:], EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{127, 0, 0, 1},
				DstIP: r.server.Addr().AsSlice()},
			&layers.UDP{SrcPort: 1, DstPort: 2},
		}}
		Expect(r.lab.Follow(ctx, r.client, frame)).To(BeDropped(At(r.router)))
	})

	It("is followed if it is an ARP request", func(ctx SpecContext) {
		r := newRow()
		arp := r.lab.Follow(ctx, r.client, packet.ARP{Device: "eth0", To: r.router})
		Expect(arp.Outcome().Kind).NotTo(Equal(journey.Undetermined))
	})

	It("is one, though it will become several datagrams", func(ctx SpecContext) {
		r := newRow()
		r.lab.Listen(r.server, 8081)
		trace := r.lab.Trace(ctx)
		sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Segment: 500, Payload: make([]byte, 1500)})
		record := trace.Seal(ctx)
		Expect(record.AllOf(sent)).NotTo(BeEmpty())
		Expect(record.AllOf(sent)[0]).To(Reach("ip_output", At(r.client)))
	})

	It("is forgotten by nobody while it waits in a queue for an hour", func(ctx SpecContext) {
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		net.Connect(client, server, topology.LinkOptions{First: topology.Device{Impair: topology.Impairment{Delay: time.Hour}}})
		client.Neighbours = []topology.Neighbour{{Addr: server}} // or it is the ARP request that waits
		lab := harness.New(GinkgoTB(), &net)

		waiting := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 8081},
			harness.TraceOptions{Patience: 200 * time.Millisecond})

		Expect(waiting).To(Reach("ip_output", At(client)))
		Expect(waiting.Outcome().Kind).To(Equal(journey.Queued))
	})
})

var _ = Describe("a TCP connection", Label("smoke"), func() {
	It("has all its segments by one cookie", func(ctx SpecContext) {
		r := newRow()
		listener := r.lab.ListenTCP(r.server, 80)

		trace := r.lab.Trace(ctx)
		conn := r.lab.Dial(ctx, r.client, packet.TCP{To: r.server, DstPort: 80})
		Expect(conn.Err).NotTo(HaveOccurred())
		accepted, err := listener.Accept(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(conn.Send(ctx, []byte("hello"))).To(Succeed())
		Expect(accepted.Receive(ctx)).To(Equal([]byte("hello")))
		Expect(conn.CloseWrite()).To(Succeed())
		Expect(accepted.Close()).To(Succeed())
		_, err = conn.Receive(ctx)
		Expect(err).To(MatchError(io.EOF))
		Expect(conn.Close()).To(Succeed())
		record := trace.Seal(ctx)

		// SYN, ACK, data, FIN.
		Expect(len(record.AllOf(conn))).To(BeNumerically(">=", 4))
		for _, segment := range record.AllOf(conn) {
			Expect(segment).To(Reach("ip_forward", At(r.router)))
		}
	})
})

var _ = Describe("a cable", func() {
	It("can be pulled and put back", func(ctx SpecContext) {
		r := newRow()
		r.lab.Listen(r.server, 8081)
		r.lab.Down(r.router, "eth1")
		Expect(r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081})).NotTo(BeDelivered())
		r.lab.Up(ctx, r.router, "eth1")
		Expect(r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081})).To(BeDelivered(At(r.server)))
	})

	It("may lead to a bridge, where a broadcast becomes several branches", func(ctx SpecContext) {
		var net topology.Network
		hosts := []*topology.Node{net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"}), net.Add(topology.Node{Name: "c"})}
		bridge := net.Add(topology.Node{Name: "bridge", Bridge: &topology.Bridge{}})
		for _, host := range hosts {
			net.Connect(host, bridge)
		}
		lab := harness.New(GinkgoTB(), &net)
		for _, host := range hosts[1:] {
			lab.Listen(host, 8081)
		}
		broadcast, err := packet.ParseIP("172.16.42.255")
		Expect(err).NotTo(HaveOccurred())

		flooded := lab.Follow(ctx, hosts[0], packet.UDP{To: broadcast, DstPort: 8081})

		Expect(flooded).To(BeDelivered(AnyBranch(), At(hosts[1])))
		Expect(flooded).To(BeDelivered(AnyBranch(), At(hosts[2])))
	})
})
