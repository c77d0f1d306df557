package traffic

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// refusing is a ruleset that takes none of the packets that specs send.
const refusing = `table inet filter {
	chain input { type filter hook input priority filter; udp dport 8081 drop; }
}`

var _ = Describe("a lab that is settled by hand", func() {
	// The line holds each packet for a tenth of a second, in which the rules are replaced.
	// Catches: a return while the packet is in the qdisc, or on the cable.
	It("has what was sent at its end, before what comes next", func(ctx SpecContext) {
		lab, client, server := delayed(100 * time.Millisecond)
		lab.Listen(server, 8081)
		datagram := packet.UDP{To: server, DstPort: 8081}

		trace := lab.Trace(ctx)
		before := lab.Send(ctx, client, datagram)
		lab.Settle(ctx)
		lab.LoadNFT(ctx, server, refusing)
		after := lab.Send(ctx, client, datagram)
		lab.Settle(ctx)
		lab.LoadNFT(ctx, server, "flush ruleset")
		lab.Impair(client, "eth0", topology.Impairment{Delay: time.Second})
		overtaken := lab.Send(ctx, client, datagram)
		lab.LoadNFT(ctx, server, refusing) // without waiting
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		Expect(record.Of(before)).To(BeDelivered(At(server)))
		Expect(record.Of(after)).To(BeDropped(Reason("NETFILTER_DROP"), At(server)))
		Expect(record.Of(overtaken)).To(BeDropped(Reason("NETFILTER_DROP"), At(server)), "or the spec shows nothing")
	})

	// Catches: a younger trace asked, whose mark leaves out what still moves.
	It("waits for the packets of every trace that is under way", func(ctx SpecContext) {
		lab, client, server := delayed(100 * time.Millisecond)
		lab.Listen(server, 8081)

		first := lab.Trace(ctx)
		sent := lab.Send(ctx, client, packet.UDP{To: server, DstPort: 8081})
		second := lab.Trace(ctx)
		lab.Settle(ctx)
		lab.LoadNFT(ctx, server, refusing)

		Expect(first.Seal(ctx).Of(sent)).To(BeDelivered(At(server)))
		Expect(second.Seal(ctx).Evidence().Incomplete()).To(Succeed())
	})

	It("is not, while a packet moves that patience does not wait for, and it says which and where", func(ctx SpecContext) {
		err := harness.Run(func(t harness.T) {
			lab, client, server := delayedOn(t, time.Hour)
			lab.Trace(ctx, harness.TraceOptions{Patience: 50 * time.Millisecond})
			lab.Send(ctx, client, packet.UDP{To: server, SrcPort: 4000, DstPort: 8081})
			lab.Settle(ctx)
		})
		// The kernel may have queued a report of its own behind it, which is no less on its way.
		Expect(err).To(MatchError(And(
			HavePrefix("settle the lab: these packets have not come to rest in 50ms; give the trace more Patience, or send them after it is settled:\n"),
			ContainSubstring("\n    172.16.42.1.4000 > 172.16.42.2.8081 UDP: queued in the qdisc in namespace client on eth0"),
		)))
	})

	It("is not, if nobody watches", func(ctx SpecContext) {
		err := harness.Run(func(t harness.T) {
			lab, _, _ := delayedOn(t, 0)
			lab.Settle(ctx)
		})
		Expect(err).To(MatchError("settle the lab: no trace is under way, so nobody sees packets end: begin one before they are sent"))
	})
})
