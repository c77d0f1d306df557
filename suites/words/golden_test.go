package words

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// gate is the router's ruleset, and gateOtherwise says the same in other words.
const (
	gate = `table inet gate {
	chain forward {
		type filter hook forward priority filter; policy drop;
		udp dport 8081 accept comment "telemetry"
	}
}`
	gateOtherwise = `flush ruleset
table inet gate {
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta l4proto udp jump datagrams
	}
	chain datagrams {
		udp dport { 8081, 8082 } accept
	}
}`
)

var _ = Describe("a whole journey", func() {
	It("is the one in a golden file, on every kernel, whatever is the kernel's choice", func(ctx SpecContext) {
		r := newRow(ruleset)
		r.lab.Listen(r.server, 8053)
		for n := range uint16(2) { // with other identities, times, ports, IP IDs
			j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.fw, SrcPort: 40000 + n, DstPort: 53})
			Expect(j).To(MatchGolden("testdata/translated.journey"))
		}
		known := r.lab.Follow(ctx, r.client, packet.UDP{To: r.fw, SrcPort: 40000, DstPort: 53})
		Expect(known).NotTo(MatchGolden("testdata/translated.journey"), "of a known connection the chains of NAT are not asked")
		Expect(known).To(BeDNATedTo(r.server))
		r.lab.LoadNFT(ctx, r.fw, `insert rule inet filter forward accept`)
		j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.fw, SrcPort: 40002, DstPort: 53})
		Expect(j).NotTo(MatchGolden("testdata/translated.journey"), "another rule let it through")
		Expect(j).To(BeDelivered())
	})

	It("is the same by IPv6, and under a ruleset in other words, and is told from one that ends elsewhere", func(ctx SpecContext) {
		r := newRow(gate)
		r.lab.Listen(r.server, 8081)
		follow := func(to packet.Host, port uint16) *journey.Journey {
			return r.lab.Follow(ctx, r.client, packet.UDP{To: to, DstPort: port})
		}
		four, six := follow(r.server, 8081), follow(topology.V6(r.server), 8081)
		dropped := follow(r.server, 8082)
		r.lab.LoadNFT(ctx, r.fw, gateOtherwise)
		rewritten := follow(r.server, 8081)

		Expect(six).To(TakeSameJourneyAs(four))
		Expect(four).To(TakeSameJourneyAs(six))
		Expect(rewritten).NotTo(TakeSameJourneyAs(four), "other rules judged it")
		Expect(rewritten).To(TakeSameJourneyAs(four, AnyRule()))
		Expect(rewritten).To(TakeSameJourneyAs(six, AnyRule()))
		Expect(dropped).NotTo(TakeSameJourneyAs(four, AnyRule()))
	})
})
