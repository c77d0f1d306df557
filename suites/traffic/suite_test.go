package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/topology"
)

// sendArg makes this program send a datagram to the address in the next argument instead of running specs.
const sendArg = "send"

func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != sendArg {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("udp", os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	n, err := conn.Write([]byte(os.Args[3]))
	fmt.Println("sent", n, "bytes")
	if errors.Join(err, conn.Close()) != nil {
		os.Exit(4)
	}
}

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

// end is a node's address with a port.
func end(node *topology.Node, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(node.Addr(), port)
}
