package traffic

import (
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a burst", func() {
	// One five-tuple and one payload; only every third packet has another TOS, by which the router refuses it.
	// Catches: a packet taken for another of the burst; a drop counted instead of found.
	It("is as many packets, each of which is found, though nothing but one bit tells them apart", func(ctx SpecContext) {
		const packets = 90
		r := newRow()
		r.lab.LoadNFT(ctx, r.router, `table ip filter {
			chain forward { type filter hook forward priority filter; ip dscp cs1 drop; }
		}`)
		r.lab.Listen(r.server, 8081)

		trace := r.lab.Trace(ctx)
		burst := r.lab.Burst(ctx, r.client, packet.Burst{Rate: 2000, Packets: packet.Series(packets, func(i int) packet.Packet {
			datagram := packet.UDP{To: r.server, SrcPort: 4000, DstPort: 8081, Payload: []byte("same")}
			if i%3 == 0 {
				datagram.Options.TOS = 8 << 2
			}
			return datagram
		})})
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		journeys := record.OfEach(burst)
		Expect(journeys).To(HaveLen(packets))
		Expect(record.Flow(burst[0])).To(HaveLen(packets))
		for i, j := range journeys {
			if i%3 == 0 {
				Expect(j).To(BeDropped(Reason("NETFILTER_DROP"), At(r.router)), "packet %d", i)
			} else {
				Expect(j).To(BeDelivered(At(r.server)), "packet %d", i)
			}
			if i > 0 {
				Expect(j.ID.FirstSeen).To(BeNumerically(">", journeys[i-1].ID.FirstSeen), "packet %d", i)
			}
		}
		took := time.Duration(burst[packets-1].Before - burst[0].Before)
		Expect(took).To(BeNumerically(">=", (packets-1)*time.Second/2000), "2000 in a second are not sent sooner")
	})
})

var _ = Describe("a program in a node", func() {
	It("sends what is found by where it goes, and says how it ended", func(ctx SpecContext) {
		r := newRow()
		r.lab.Listen(r.server, 8081)
		itself, err := os.Executable()
		Expect(err).NotTo(HaveOccurred())

		trace := r.lab.Trace(ctx)
		sender := r.lab.Exec(ctx, r.client, itself, sendArg, r.server.Addr().String()+":8081", "from a program")
		failing := r.lab.Exec(ctx, r.client, itself, sendArg, "nowhere")
		record := trace.Seal(ctx)

		Expect(sender).To(Equal(topology.Output{Stdout: "sent 14 bytes\n"}))
		Expect(failing).To(And(HaveField("Status", 3), HaveField("Stderr", ContainSubstring("missing port in address"))))
		flow := packet.Flow{Proto: unix.IPPROTO_UDP, Local: end(r.client, 0), Remote: end(r.server, 8081)}
		Expect(record.Flow(flow)).To(And(HaveLen(1), HaveEach(And(Reach(Forward, At(r.router)), BeDelivered(At(r.server))))))
		Expect(record.Flow(packet.Flow{Proto: unix.IPPROTO_UDP, Local: end(r.client, 0), Remote: end(r.server, 8082)})).To(BeEmpty())
	})
})
