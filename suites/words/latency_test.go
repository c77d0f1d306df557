package words

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("how long a packet took", func() {
	// The line after the router holds one packet back, and not the next.
	// Catches: the time of the whole journey told as that of each part; the time of another packet; a limit that a slow machine makes so
	// long that it holds for everything.
	It("is told between any two places", func(ctx SpecContext) {
		const held, line = 2 * time.Second, "eth1"
		r := newRow("")
		trace := r.lab.Trace(ctx)
		r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 1000})
		r.lab.Settle(ctx) // and neighbours know each other
		r.lab.Impair(r.fw, line, topology.Impairment{Delay: held})
		late := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 1001})
		r.lab.Settle(ctx)
		r.lab.Impair(r.fw, line, topology.Impairment{})
		prompt := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 1002})
		record := trace.Seal(ctx)

		// What is allowed on this machine is half of the delay: nothing else takes so long, however busy it is.
		limit := time.Duration(float64(held/2) / record.Evidence().Slowness)
		waiting := func(limit time.Duration) OmegaMatcher {
			return TakeAtMost(limit, Reach(Forward, At(r.fw)), Reach(DeviceTransmit, At(r.fw), On(line)))
		}
		Expect(record.Of(late)).NotTo(waiting(limit))
		Expect(record.Of(late)).To(waiting(2 * held))
		Expect(record.Of(late)).To(TakeAtMost(limit, Reach(IPReceive, At(r.fw)), Reach(Forward, At(r.fw))))
		Expect(record.Of(late)).To(TakeAtMost(limit, Reach(IPReceive, At(r.server)), Reach(UDPReceive, At(r.server))))
		Expect(record.Of(late)).NotTo(TakeAtMost(limit, Reach(LocalOut), Reach(UDPReceive, At(r.server))))
		Expect(record.Of(prompt)).To(waiting(limit))
	})
})
