package drops

import (
	"bytes"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

func TestDrops(t *testing.T) {
	suite.RunOnAnyTier(t, "drops")
}

// arrival is where a packet is seen that has come to a node, on both tiers.
const arrival = "net:netif_receive_skb"

// devices has a trace observe what devices send and receive, on both tiers.
var devices = harness.TraceOptions{Functions: []string{
	"tp:net:net_dev_queue", "tp:net:net_dev_start_xmit", "tp:net:netif_receive_skb",
}}

// parcel is the payload that specs send: what carries it is the packet, or claims to be.
const parcel = "one parcel"

// refusing is a ruleset that drops the parcel where it arrives.
const refusing = `table inet filter {
	chain input { type filter hook input priority filter; udp dport 8081 drop; }
}`

// row is a client, a router and a server.
type row struct {
	lab                    *harness.Lab
	client, router, server *topology.Node
}

func newRow(router, server topology.Node) row {
	GinkgoHelper()
	var net topology.Network
	router.Name, router.Forwarding, server.Name = "router", true, "server"
	r := row{client: net.Add(topology.Node{Name: "client"}), router: net.Add(router), server: net.Add(server)}
	net.Connect(r.client, r.router)
	net.Connect(r.router, r.server)
	r.lab = harness.New(GinkgoTB(), &net)
	return r
}

func carries(j *journey.Journey, text string) bool {
	for _, e := range j.Events {
		if e.Packet != nil && bytes.Contains(e.Packet.Data, []byte(text)) {
			return true
		}
	}
	return false
}

// carriers are the identities of all journeys in which a text was seen.
func carriers(record *harness.Record, text string) []journey.ID {
	var found []journey.ID
	for _, j := range record.All() {
		if carries(j, text) {
			found = append(found, j.ID)
		}
	}
	return found
}

// endings are the ends of all branches that count, in brief: "delivered in host", "dropped in monitor (OTHERHOST)".
func endings(j *journey.Journey) []string {
	var all []string
	for _, i := range j.Deciding() {
		all = append(all, j.Branches[i].Outcome.Brief())
	}
	return all
}

func host(text string) packet.IP {
	GinkgoHelper()
	ip, err := packet.ParseIP(text)
	Expect(err).NotTo(HaveOccurred())
	return ip
}

func newLab(net *topology.Network) *harness.Lab {
	GinkgoHelper()
	return harness.New(GinkgoTB(), net)
}
