package words

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("the way of a translated packet", func() {
	var r row

	BeforeEach(func() { r = newRow(ruleset) })

	It("is told in order, each end of it, and nothing that it did not do", func(ctx SpecContext) {
		r.lab.Listen(r.server, 8053)

		j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.fw, SrcPort: 40000, DstPort: 53, Payload: []byte("abc")})
		keep("translated", j)

		Expect(j).To(BeDelivered(At(r.server)))
		Expect(j).To(BeDNATedTo("172.16.43.2:8053", At(r.fw)))
		Expect(j).To(BeDNATedTo(r.server))
		Expect(j).To(BeSNATedTo("172.16.43.1", At(r.fw)))
		Expect(j).NotTo(BeDNATedTo("172.16.43.2:53"))
		Expect(j).NotTo(BeSNATedTo(r.client))
		Expect(j).NotTo(BeSNATedTo("172.16.43.1", At(r.server)), "it came with this source")

		Expect(j).To(InOrder(Reach(Prerouting, At(r.fw)), BeDNATedTo(r.server), Reach(Forward, At(r.fw)), BeJudgedBy("jump dns"),
			BeJudgedBy("ask the resolver"), BeSNATedTo("172.16.43.1"), Reach(DeviceTransmit, At(r.fw)), Reach(SocketDeliver, At(r.server))))
		Expect(j).NotTo(InOrder(Reach(Forward, At(r.fw)), Reach(Prerouting, At(r.fw))))
		Expect(j).NotTo(InOrder(Reach(Forward), Reach(Forward)), "it was forwarded once")
		Expect(j).NotTo(InOrder(Reach(SocketDeliver), Reach(UDPReceive)))
		Expect(j).To(InOrder(Reach(IPReceive, At(r.fw)), Reach(Prerouting, At(r.fw)), Reach(Forward, At(r.fw))))

		Expect(j).To(FollowExactly(Reach(DeviceTransmit, At(r.client)), Reach(Forward, At(r.fw)), Reach(DeviceTransmit, At(r.fw)),
			Reach(SocketDeliver, At(r.server))))
		Expect(j).NotTo(FollowExactly(Reach(DeviceTransmit, At(r.client)), Reach(Forward, At(r.fw))), "it was transmitted again")
		Expect(j).NotTo(FollowExactly(Reach(Forward, At(r.fw)), Reach(DeviceTransmit, At(r.fw))), "the client transmitted it before")
		Expect(j).NotTo(FollowExactly(Reach(Forward, At(r.fw)), Reach(Forward, At(r.server))))

		Expect(j).To(Traverse("prerouting", "forward", "dns", "postrouting"))
		Expect(j).To(Traverse("forward", "dns", At(r.fw)))
		Expect(j).NotTo(Traverse("dns", "forward"))

		Expect(j).To(BeJudgedBy("ask the resolver", At(r.fw), Verdict("accept")))
		Expect(j).NotTo(BeJudgedBy("ask the resolver", At(r.server)))
		Expect(j).NotTo(BeJudgedBy("ask the resolver", Verdict("drop")))
		Expect(j).NotTo(BeJudgedBy("go on"))

		Expect(j).To(HaveConntrack("NEW", At(r.fw)))
		Expect(j).To(HaveConntrack("NEW", Which(HaveField("Mark", uint32(7)))))
		Expect(j).NotTo(HaveConntrack("NEW", Which(HaveField("Mark", uint32(8)))))
		Expect(j).NotTo(HaveConntrack("ESTABLISHED"))

		Expect(j).To(HaveTTLDecremented())
		Expect(j).To(HaveTTLDecremented(At(r.fw)))
		Expect(j).NotTo(HaveTTLDecremented(At(r.server)))
		Expect(j).NotTo(HaveTTLDecremented(Times(2)))

		Expect(j).To(BeTransmitted(At(r.fw), On("eth1")))
		Expect(j).NotTo(BeTransmitted(At(r.fw), On("eth0")))
		Expect(j).NotTo(BeTransmitted(At(r.server)))
		Expect(j).NotTo(BeConsumed())
		Expect(j).NotTo(BeUndetermined())
	})

	It("is told of the answer, in the other direction", func(ctx SpecContext) {
		trace := r.lab.Trace(ctx)
		r.lab.Send(ctx, r.client, packet.UDP{To: r.fw, SrcPort: 40000, DstPort: 53})
		answer := r.lab.Send(ctx, r.server, packet.UDP{To: address("172.16.43.1"), SrcPort: 8053, DstPort: 40000})
		j := trace.Seal(ctx).Of(answer)

		Expect(j).To(HaveConntrack("REPLY", At(r.fw)))
		Expect(j).To(BeDNATedTo(r.client, At(r.fw)))
		Expect(j).To(BeSNATedTo("172.16.42.2:53", At(r.fw)))
		Expect(j).NotTo(BeSNATedTo("172.16.43.1"))
		Expect(j).To(BeJudgedBy("go on", At(r.fw)))
		Expect(j).To(Reach(LocalIn, At(r.client)))
	})

	It("is not told of what conntrack would have done to it", func(ctx SpecContext) {
		r.lab.Listen(r.server, 8053)
		datagram := packet.UDP{To: r.fw, SrcPort: 40000, DstPort: 53}

		trace := r.lab.Trace(ctx)
		first := r.lab.Send(ctx, r.client, datagram)
		r.lab.LoadNFT(ctx, r.fw, `insert rule inet filter forward drop comment "no more"`)
		second := r.lab.Send(ctx, r.client, datagram)
		record := trace.Seal(ctx)
		keep("stopped", record.Of(second))

		Expect(record.Of(first)).To(BeSNATedTo("172.16.43.1"))
		Expect(record.Of(second)).To(AnyOf(
			BeDropped(At(r.fw), ByRule("no more"), In("nft_do_chain")), BeDropped(At(r.fw), ByRule("no more"), In("nf_hook_slow"))),
			"the latter is on Linux 6.1")
		Expect(record.Of(second)).To(BeDNATedTo(r.server))
		Expect(record.Of(second)).NotTo(BeSNATedTo("172.16.43.1"), "its connection is, but the packet did not come so far")
		Expect(record.Of(second)).NotTo(BeTransmitted(At(r.fw)))
		Expect(record.Of(second)).NotTo(InOrder(Reach(Forward), Reach(Postrouting, At(r.fw))))
	})
})

var _ = Describe("the ways of a packet that became several", func() {
	It("are not mixed up", func(ctx SpecContext) {
		lab, left, hub, right := newHub()
		lab.Listen(right, 8081)

		j := lab.Follow(ctx, left, packet.UDP{To: address("172.16.42.255"), DstPort: 8081})
		keep("flooded", j)

		Expect(j).To(BeDelivered(On("eth0"), At(right), AnyBranch()))
		Expect(j).To(InOrder(Reach(Bridge, At(hub)), Reach(DeviceTransmit, At(hub), On("eth1")), Reach(SocketDeliver, At(right))))
		Expect(j).NotTo(InOrder(Reach(DeviceTransmit, At(hub), On("eth2")), Reach(SocketDeliver, At(right))), "that is the third's")
		Expect(j).NotTo(FollowExactly(Reach(DeviceTransmit, At(hub), On("eth1")), Reach(SocketDeliver, At(right))))
		Expect(j).To(Reach(DeviceTransmit, At(hub), Times(2)))
	})
})

var _ = Describe("drops", func() {
	It("are unexpected if no matcher expects them", func(ctx SpecContext) {
		r := newRow("")
		r.lab.Listen(r.server, 8081)

		trace := r.lab.Trace(ctx)
		r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081})
		good := trace.Seal(ctx)
		trace = r.lab.Trace(ctx)
		closed := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8082})
		bad := trace.Seal(ctx)
		keep("closed", bad.Of(closed))

		Expect(good).To(HaveNoUnexpectedDrops())
		Expect(bad).NotTo(HaveNoUnexpectedDrops())
		Expect(bad).To(HaveNoUnexpectedDrops(BeDropped(Reason("NO_SOCKET"), At(r.server))))
		Expect(bad).NotTo(HaveNoUnexpectedDrops(BeDropped(Reason("NO_SOCKET"), At(r.client))))
	})

	It("of neighbour discovery are noise, unless the test sent it", func(ctx SpecContext) {
		r := newRow(`table ip6 filter {
			chain input { type filter hook input priority filter; icmpv6 type nd-neighbor-solicit drop; }
		}`)
		trace := r.lab.Trace(ctx)
		r.lab.Send(ctx, r.client, packet.UDP{To: topology.V6(r.fw), DstPort: 8081})
		record := trace.Seal(ctx)

		Expect(record.All()).To(ContainElement(BeDropped(ByRule("nd-neighbor-solicit drop"))), "otherwise the spec would show nothing")
		Expect(record).To(HaveNoUnexpectedDrops())
	})

	It("are none of a packet that the kernel takes for itself", func(ctx SpecContext) {
		r := newRow("")

		j := r.lab.Follow(ctx, r.client, packet.ARP{Device: "eth0", To: r.fw})
		keep("arp", j)

		Expect(j).To(BeConsumed(At(r.fw)))
		Expect(j).NotTo(BeConsumed(At(r.client)))
		Expect(j).NotTo(BeDelivered())
	})
})
