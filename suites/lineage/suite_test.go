package lineage

import (
	"context"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

func TestLineage(t *testing.T) {
	suite.Run(t, "lineage")
}

// row is a client and a server with a router between them.
type row struct {
	lab                    *harness.Lab
	client, router, server *topology.Node
}

// newRow makes a row, in which routers may cut what the client sends. All know their neighbours' addresses, so that packets cause no other packets than the ones in question.
func newRow(router, server topology.Node, second ...topology.LinkOptions) row {
	GinkgoHelper()
	var net topology.Network
	r := row{client: net.Add(topology.Node{Name: "client", Sysctls: map[string]string{"net.ipv4.ip_no_pmtu_disc": "1"}})}
	router.Name, router.Forwarding, server.Name = "router", true, "server"
	r.router, r.server = net.Add(router), net.Add(server)
	net.Connect(r.client, r.router)
	net.Connect(r.router, r.server, second...)
	r.client.Neighbours = []topology.Neighbour{{Addr: r.router}}
	r.router.Neighbours = []topology.Neighbour{{Addr: r.client}, {Addr: r.server}}
	r.server.Neighbours = []topology.Neighbour{{Addr: r.router}}
	r.lab = harness.New(GinkgoTB(), &net)
	return r
}

// follow sends a packet and returns its journey, of a record that is complete.
func (r row) follow(ctx context.Context, p packet.Packet) *journey.Journey {
	GinkgoHelper()
	trace := r.lab.Trace(ctx)
	sent := r.lab.Send(ctx, r.client, p)
	record := trace.Seal(ctx)
	for _, j := range record.All() {
		GinkgoWriter.Println(j)
	}
	Expect(record.Evidence().Incomplete()).To(Succeed())
	return record.Of(sent)
}

// handshake has the client connect to the server's port 80, and returns the journeys of its SYN and its ACK.
func (r row) handshake(ctx context.Context) []*journey.Journey {
	GinkgoHelper()
	r.lab.ListenTCP(r.server, 80)
	trace := r.lab.Trace(ctx)
	conn := r.lab.Dial(ctx, r.client, packet.TCP{To: r.server, DstPort: 80})
	record := trace.Seal(ctx)
	Expect(record.Evidence().Incomplete()).To(Succeed())
	sent := record.AllOf(conn)
	GinkgoWriter.Println(sent)
	Expect(sent).To(HaveLen(2), "SYN and ACK")
	return sent
}
