package lab

import (
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("two labs that differ in one rule only", func() {
	// Names, addresses, ports and payloads are the same, and packets are under way in both at once.
	// Catches: a packet taken for its twin, by whatever both have in common; the rule of one lab told of the other's packet.
	It("are not mixed up, though both send at once", func(ctx SpecContext) {
		const packets = 50
		type lab struct {
			*harness.Lab
			client, server *topology.Node
			sent           []*packet.Sent
			record         *harness.Record
		}
		build := func(verdict string) *lab {
			var net topology.Network
			l := &lab{client: net.Add(topology.Node{Name: "client"})}
			l.server = net.Add(topology.Node{Name: "server", NFT: `table inet filter {
				chain input { type filter hook input priority filter; udp dport 8080 ` + verdict + ` comment "the rule"; }
			}`})
			net.Connect(l.client, l.server)
			l.Lab = harness.New(GinkgoTB(), &net)
			l.Listen(l.server, 8080)
			return l
		}
		open, shut := build("accept"), build("drop")

		both := func(f func(*lab)) {
			var wait sync.WaitGroup
			for _, l := range []*lab{open, shut} {
				wait.Go(func() {
					defer GinkgoRecover()
					f(l)
				})
			}
			wait.Wait()
		}
		traces := map[*lab]*harness.Trace{open: open.Trace(ctx), shut: shut.Trace(ctx)}
		both(func(l *lab) {
			for range packets {
				l.sent = append(l.sent, l.Send(ctx, l.client, packet.UDP{To: l.server, SrcPort: 40000, DstPort: 8080, Payload: []byte("same")}))
			}
		})
		both(func(l *lab) { l.record = traces[l].Seal(ctx) })

		Expect(open.sent).To(HaveLen(packets))
		Expect(shut.sent).To(HaveLen(packets))
		seen := make(map[any]bool)
		for i := range packets {
			Expect(open.sent[i].String()).To(Equal(shut.sent[i].String()), "otherwise the spec would show nothing")
			passed, stopped := open.record.Of(open.sent[i]), shut.record.Of(shut.sent[i])
			Expect(passed).To(And(BeJudgedBy("the rule", Verdict("accept")), BeDelivered(At(open.server))))
			Expect(stopped).To(And(BeDropped(At(shut.server), ByRule("the rule")), Not(BeDelivered())))
			seen[passed.ID], seen[stopped.ID] = true, true
		}
		Expect(seen).To(HaveLen(2 * packets))
		for _, j := range open.record.All() {
			Expect(j).NotTo(BeDropped(ByRule("the rule")))
		}
		for _, j := range shut.record.All() {
			Expect(j).NotTo(BeJudgedBy("the rule", Verdict("accept")))
		}
	})
})
