package examples

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = It("equal-cost multipath spreads connections over both ways, and keeps each on its own", func(ctx SpecContext) {
	var net topology.Network
	client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
	left, right := net.Add(topology.Node{Name: "left", Forwarding: true}), net.Add(topology.Node{Name: "right", Forwarding: true})
	router := net.Add(topology.Node{Name: "router", Forwarding: true})
	sw := net.Add(topology.Node{Name: "sw", Bridge: &topology.Bridge{}})
	net.Connect(client, router)
	for _, way := range []*topology.Node{left, right} {
		net.Connect(router, way)
		net.Connect(way, sw)
	}
	net.Connect(sw, server)
	router.Routes = []topology.Route{{To: server.Addr().String(), Hops: []topology.Hop{{Via: left}, {Via: right}}}}
	router.Sysctls = map[string]string{"net.ipv4.fib_multipath_hash_policy": "1"} // ports count, too
	lab := harness.New(GinkgoTB(), &net)
	lab.ListenTCP(server, 80)
	trace, connections := lab.Trace(ctx), make([]*packet.Conn, 24)
	for i := range connections {
		connections[i] = lab.Dial(ctx, client, packet.TCP{To: server, DstPort: 80})
	}
	record, taken := trace.Seal(ctx), make(map[string]int)
	for _, connection := range connections {
		packets := record.AllOf(connection) // SYN and ACK
		taken[through(packets[0])]++
		Expect(packets).To(And(HaveLen(2), HaveEach(WithTransform(through, Equal(through(packets[0]))))))
	}
	Expect(taken).To(And(HaveLen(2), HaveKey("client router left sw server"), HaveKey("client router right sw server")))
})
