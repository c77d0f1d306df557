package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = DescribeTable("asymmetric routing", func(ctx SpecContext, filter string, expected OmegaMatcher) {
	var net topology.Network
	client := net.Add(topology.Node{Name: "client"})
	left := net.Add(topology.Node{Name: "left", Forwarding: true})
	right := net.Add(topology.Node{Name: "right", Forwarding: true})
	server := net.Add(topology.Node{Name: "server", Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": filter}})
	net.Connect(client, left)
	net.Connect(client, right)
	net.Connect(left, server)
	far := net.Connect(right, server).Ends()[1].Addr
	// It sends by the right router from its address on the left, where the server would send the answer.
	client.Routes = []topology.Route{{To: far.String(), Via: right, Src: client}}
	lab := harness.New(GinkgoTB(), &net)
	lab.Listen(server, 7)

	j := lab.Follow(ctx, client, packet.UDP{To: packet.IP(far.Addr()), DstPort: 7})

	Expect(j).To(InOrder(Reach(Forward, At(right)), Reach(IPReceive, At(server), On("eth1"))))
	Expect(j).To(expected)
},
	Entry("passes where nobody looks", "0", BeDelivered()),
	Entry("does not pass a strict filter", "1", BeDropped(Reason("IP_RPFILTER"))),
	Entry("passes a loose one", "2", BeDelivered()))
