package identity

import (
	"context"
	"encoding/binary"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a segment of a TCP connection", func() {
	// The router drops the first segment with data, and no other. What TCP sends, both times, is a clone of what it holds, with
	// the same data: so it is one packet in two branches.
	// Catches: the second try taken for another packet, which would make the loss look final; the first branch's end told of
	// the second, or of what TCP holds; what TCP holds taken for a branch on its way.
	It("is the same when it is sent again, in another branch", Label("smoke"), func(ctx SpecContext) {
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true, NFT: `table ip filter {
			chain forward {
				type filter hook forward priority filter;
				tcp dport 80 tcp flags & psh == psh numgen inc mod 1000 == 0 drop comment "the first"
			}
		}`})
		net.Connect(client, router)
		net.Connect(router, server)
		lab := harness.New(GinkgoTB(), &net)
		conn, accepted := connect(ctx, lab, client, server)

		trace := lab.Trace(ctx)
		Expect(conn.Send(ctx, []byte(parcel))).To(Succeed())
		Expect(accepted.Receive(ctx)).To(Equal([]byte(parcel)))
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		segments := record.AllOf(conn)
		GinkgoWriter.Println(segments)
		Expect(segments).To(HaveLen(1), "it was the only one")
		segment := segments[0]
		// What the second branch came to is not known better: that TCP took it for its socket is not observed.
		Expect(endings(segment)).To(HaveExactElements(Equal("dropped in router (NETFILTER_DROP)"), HaveSuffix(" in server")))
		Expect(segment).To(BeDropped(AnyBranch(), ByRule("the first")))
		Expect(segment).NotTo(BeDropped())
		Expect(segment).To(Reach("tcp_v4_rcv", At(server)))
		Expect(roles(segment)[journey.Held]).To(Equal(1))
	})
})

var _ = Describe("segments that GRO merges", Label("smoke"), func() {
	// Only the first of the merged ones goes on; the others become parts of it, and keep their buffers, or give them up as
	// page fragments.
	// Catches: the identity of one told of another, of which the sequence numbers are the witness; a buffer that was handed over
	// and is still known when it is used again, which the record would confess; a merged segment told as dropped or as lost.
	It("are as many packets as before, each with its own end", func(ctx SpecContext) {
		const bytes = 64 << 10
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		net.Connect(client, server, topology.LinkOptions{
			// A veth leaves packets of a device that could cut segments itself as they are (veth_skb_is_eligible_for_gro).
			First: topology.Device{Features: map[string]bool{"tx-tcp-segmentation": false, "tx-tcp6-segmentation": false,
				"tx-tcp-ecn-segmentation": false, "tx-tcp-mangleid-segmentation": false}},
			Second: topology.Device{Features: map[string]bool{"rx-gro": true}},
		})
		lab := harness.New(GinkgoTB(), &net)
		conn, accepted := connect(ctx, lab, client, server)

		trace := lab.Trace(ctx, harness.TraceOptions{Functions: []string{"skb_gro_receive"}})
		Expect(conn.Send(ctx, make([]byte, bytes))).To(Succeed())
		for received := 0; received < bytes; {
			data, err := accepted.Receive(ctx)
			Expect(err).NotTo(HaveOccurred())
			received += len(data)
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		merges, segments := 0, make(map[uint32]journey.ID)
		for _, j := range record.All() {
			GinkgoWriter.Println(j.Summary())
			for _, e := range j.Events {
				// What the client's TCP made is cut before it reaches the device.
				if e.NetNS == nil || e.NetNS.Node != "server" && e.Probe.Name != "net:net_dev_start_xmit" || !fromPort(e.Packet, conn.Local.Port()) {
					continue
				}
				seq := sequence(e.Packet)
				if _, known := segments[seq]; !known {
					Expect(segments).NotTo(ContainElement(j.ID), "%s has shown another segment before", j)
					segments[seq] = j.ID
				}
				Expect(segments[seq]).To(Equal(j.ID), "the segment %d is of one journey", seq)
				Expect(j.Outcome().Kind).NotTo(BeElementOf(journey.Dropped, journey.Undetermined, journey.Divided))
				if j.Outcome().Kind == journey.Merged {
					Expect(j.Links).To(ContainElement(HaveField("Relation", journey.MergedInto)), "%s", j)
				}
				if e.Probe.Name == "skb_gro_receive" {
					merges++
				}
			}
		}
		GinkgoWriter.Printf("%d segments, %d merges\n", len(segments), merges)
		Expect(len(segments)).To(BeNumerically(">=", bytes/1448), "each was seen as it left")
		Expect(merges).To(BeNumerically(">", 0), "or the spec shows nothing")
	})
})

// connect makes a TCP connection and returns both ends.
func connect(ctx context.Context, lab *harness.Lab, client, server *topology.Node) (conn, accepted *packet.Conn) {
	GinkgoHelper()
	listener := lab.ListenTCP(server, 80)
	conn = lab.Dial(ctx, client, packet.TCP{To: server, DstPort: 80})
	Expect(conn.Err).NotTo(HaveOccurred())
	accepted, err := listener.Accept(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(accepted.Close)
	return conn, accepted
}

// tcpHeader is the part of an IPv4 packet without options that begins with the TCP header.
func tcpHeader(p *journey.Packet) []byte {
	if p == nil || len(p.Data) < p.Network+40 || p.Data[p.Network] != 0x45 || p.Data[p.Network+9] != 6 {
		return nil
	}
	return p.Data[p.Network+20:]
}

func fromPort(p *journey.Packet, port uint16) bool {
	tcp := tcpHeader(p)
	return tcp != nil && binary.BigEndian.Uint16(tcp) == port
}

func sequence(p *journey.Packet) uint32 { return binary.BigEndian.Uint32(tcpHeader(p)[4:]) }
