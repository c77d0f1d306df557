package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a default-deny firewall", func() {
	It("lets the web in, with its answers, and nothing else", func(ctx SpecContext) {
		var net topology.Network
		client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
		fw := net.Add(topology.Node{Name: "fw", Forwarding: true, NFT: `table inet filter {
			chain forward {
				type filter hook forward priority filter; policy drop;
				ct state established,related accept
				tcp dport 443 accept comment "the web"
			}
		}`})
		net.Connect(client, fw)
		net.Connect(fw, server)
		lab := harness.New(GinkgoTB(), &net)
		lab.ListenTCP(server, 443)

		trace := lab.Trace(ctx)
		web := lab.Dial(ctx, client, packet.TCP{To: server, DstPort: 443})
		ssh := lab.Send(ctx, client, packet.TCP{To: server, DstPort: 22, Flags: packet.SYN})
		record := trace.Seal(ctx)

		Expect(web.Err).NotTo(HaveOccurred())
		Expect(record.AllOf(web)).To(ContainElement(BeJudgedBy("the web", At(fw), Verdict("accept"))))
		Expect(record.Of(ssh)).To(BeDropped(At(fw), ByPolicy("forward")))
		Expect(record.Of(ssh)).NotTo(Reach(IPReceive, At(server)))
	})
})
