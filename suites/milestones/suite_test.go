package milestones

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/topology"
)

func TestMilestones(t *testing.T) {
	suite.Run(t, "milestones")
}

// row is a client and a server with a router between them.
type row struct {
	lab                *harness.Lab
	client, fw, server *topology.Node
}

func newRow(fw topology.Node, links ...topology.LinkOptions) row {
	GinkgoHelper()
	var net topology.Network
	client := net.Add(topology.Node{Name: "client"})
	fw.Name, fw.Forwarding = "fw", true
	router := net.Add(fw)
	server := net.Add(topology.Node{Name: "server"})
	net.Connect(client, router)
	net.Connect(router, server, links...)
	return row{harness.New(GinkgoTB(), &net), client, router, server}
}
