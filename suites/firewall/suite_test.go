package firewall

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/topology"
)

func TestFirewall(t *testing.T) {
	suite.Run(t, "firewall")
}

// rules are the server's in most specs. The first rule makes conntrack look at the packets.
const rules = `table inet filter {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state established accept
		udp dport 8080 drop comment "no metrics from outside"
	}
}`

// pair is the smallest network: a client and a server with a packet filter.
type pair struct {
	lab            *harness.Lab
	client, server *topology.Node
}

func newPair(nft string) pair {
	GinkgoHelper()
	var net topology.Network
	client := net.Add(topology.Node{Name: "client"})
	server := net.Add(topology.Node{Name: "server", NFT: nft})
	net.Connect(client, server)
	return pair{harness.New(GinkgoTB(), &net), client, server}
}
