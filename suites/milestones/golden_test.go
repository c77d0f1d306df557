package milestones

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("the journey of a translated datagram", Label("smoke"), func() {
	It("is the one that other kernels make of it", func(ctx SpecContext) {
		r := newRow(topology.Node{NFT: `table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		udp dport 53 dnat to 172.16.43.2:8053
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth1" masquerade
	}
}`})
		r.lab.Listen(r.server, 8053)

		j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.fw, SrcPort: 40000, DstPort: 53})

		Expect(j).To(MatchGolden("testdata/translated.journey"))
	})
})
