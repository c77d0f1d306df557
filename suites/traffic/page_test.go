package traffic

import (
	"net/netip"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// The code of docs/packets.md, word for word: a test of package packet sees to it.
var _ = Describe("the page about packets", func() {
	var lab *harness.Lab
	var client, router, server *topology.Node
	BeforeEach(func() {
		r := newRow()
		lab, client, router, server = r.lab, r.client, r.router, r.server
		lab.Listen(server, 8081)
	})

	It("has a frame that is spoilt", func(ctx SpecContext) {
		frame := packet.Frame{Device: "eth0", To: router, Layers: []gopacket.SerializableLayer{
			&layers.IPv4{DstIP: server.Addr().AsSlice()}, &layers.UDP{SrcPort: 4000, DstPort: 53}, gopacket.Payload("a query"),
		}, Spoil: func(frame []byte) []byte { frame[40] ^= 1; return frame }} // in the checksum of UDP
		Expect(lab.Follow(ctx, client, frame)).To(BeDropped(Reason("UDP_CSUM"), At(server)))
	})

	It("has a burst", func(ctx SpecContext) {
		trace := lab.Trace(ctx)
		burst := lab.Burst(ctx, client, packet.Burst{Rate: 1000, Packets: packet.Series(50, func(i int) packet.Packet {
			return packet.UDP{To: server, DstPort: 8081, Payload: []byte{byte(i)}}
		})})
		Expect(trace.Seal(ctx).OfEach(burst)).To(HaveEach(BeDelivered(At(server))))
	})

	It("has a capture", func(ctx SpecContext) {
		queries, err := packet.ReadCapture("testdata/queries.pcap", packet.Frame{Device: "eth0", To: router})
		Expect(err).NotTo(HaveOccurred())
		trace := lab.Trace(ctx)
		burst := lab.Burst(ctx, client, packet.Burst{Packets: queries})
		Expect(trace.Seal(ctx).OfEach(burst)).To(And(HaveLen(3), HaveEach(BeDelivered(At(server)))))
	})

	It("has a program", func(ctx SpecContext) {
		program, err := os.Executable()
		Expect(err).NotTo(HaveOccurred())
		trace := lab.Trace(ctx)
		output := lab.Exec(ctx, client, program, "send", "172.16.43.2:8081", "from a program")
		record := trace.Seal(ctx)
		Expect(output).To(Equal(topology.Output{Stdout: "sent 14 bytes\n", Status: 0}))
		sent := packet.Flow{Proto: unix.IPPROTO_UDP,
			Local: netip.AddrPortFrom(client.Addr(), 0), Remote: netip.MustParseAddrPort("172.16.43.2:8081")}
		Expect(record.Flow(sent)).To(And(HaveLen(1), HaveEach(BeDelivered(At(server)))))
	})

	It("has a change in the middle", func(ctx SpecContext) {
		query := packet.UDP{To: server, DstPort: 8081}
		trace := lab.Trace(ctx)
		before := lab.Send(ctx, client, query)
		lab.Settle(ctx)
		lab.LoadNFT(ctx, server, refusing) // judges none of the packets before
		after := lab.Send(ctx, client, query)
		record := trace.Seal(ctx)
		Expect(record.Of(before)).To(BeDelivered(At(server)))
		Expect(record.Of(after)).To(BeDropped(Reason("NETFILTER_DROP"), At(server)))
	})
})
