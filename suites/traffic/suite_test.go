package traffic

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/topology"
)

func TestTraffic(t *testing.T) {
	suite.Run(t, "traffic")
}

// row is a client and a server with a router between them.
type row struct {
	lab                    *harness.Lab
	client, router, server *topology.Node
}

func newRow() row {
	GinkgoHelper()
	var net topology.Network
	client := net.Add(topology.Node{Name: "client"})
	router := net.Add(topology.Node{Name: "router", Forwarding: true})
	server := net.Add(topology.Node{Name: "server"})
	net.Connect(client, router)
	net.Connect(router, server)
	return row{harness.New(GinkgoTB(), &net), client, router, server}
}
