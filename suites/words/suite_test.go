package words

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

func TestWords(t *testing.T) {
	suite.Run(t, "words")
}

// ruleset is the router's: it translates both ways, and asks a chain of its own about DNS.
const ruleset = `table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		udp dport 53 dnat to 172.16.43.2:8053
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth1" masquerade
	}
}
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established accept comment "go on"
		meta mark set 7 ct mark set 7
		udp dport 8053 jump dns
	}
	chain dns {
		ip saddr 172.16.42.1 accept comment "ask the resolver"
	}
}`

// row is a client and a server with a router between them.
type row struct {
	lab                *harness.Lab
	client, fw, server *topology.Node
}

func newRow(nft string) row {
	GinkgoHelper()
	var net topology.Network
	client := net.Add(topology.Node{Name: "client"})
	fw := net.Add(topology.Node{Name: "fw", Forwarding: true, NFT: nft})
	server := net.Add(topology.Node{Name: "server"})
	net.Connect(client, fw)
	net.Connect(fw, server)
	return row{harness.New(GinkgoTB(), &net), client, fw, server}
}

// newHub is a bridge, which has the three hosts left, right and third on eth0, eth1 and eth2.
func newHub() (lab *harness.Lab, left, hub, right *topology.Node) {
	GinkgoHelper()
	var net topology.Network
	left = net.Add(topology.Node{Name: "left"})
	hub = net.Add(topology.Node{Name: "hub", Bridge: &topology.Bridge{}})
	right = net.Add(topology.Node{Name: "right"})
	third := net.Add(topology.Node{Name: "third"})
	for _, n := range []*topology.Node{left, right, third} {
		net.Connect(n, hub)
	}
	return harness.New(GinkgoTB(), &net), left, hub, right
}

func address(text string) packet.Host {
	GinkgoHelper()
	ip, err := packet.ParseIP(text)
	Expect(err).NotTo(HaveOccurred())
	return ip
}

// keep prints a journey as JSON if WAYBILL_JOURNEYS is set: that is where the unit tests of package assert have theirs from.
func keep(name string, j *journey.Journey) {
	GinkgoHelper()
	GinkgoWriter.Println(j)
	if os.Getenv("WAYBILL_JOURNEYS") == "" {
		return
	}
	text, err := json.Marshal(j)
	Expect(err).NotTo(HaveOccurred())
	fmt.Printf("\nJOURNEY %s %s\n", name, text)
}
