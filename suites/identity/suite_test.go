package identity

import (
	"bytes"
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

func TestIdentity(t *testing.T) {
	suite.Run(t, "identity")
}

// parcel is the payload that most specs send: what carries it is the packet, or claims to be.
const parcel = "one parcel"

// fork is a host with a client on eth0 and a monitor on eth1.
type fork struct {
	lab                   *harness.Lab
	client, host, monitor *topology.Node
}

func newFork(host topology.Node) fork {
	GinkgoHelper()
	var net topology.Network
	f := fork{client: net.Add(topology.Node{Name: "client"})}
	host.Name = "host"
	f.host, f.monitor = net.Add(host), net.Add(topology.Node{Name: "monitor"})
	net.Connect(f.client, f.host)
	net.Connect(f.host, f.monitor)
	f.client.Routes = []topology.Route{groups}
	f.lab = harness.New(GinkgoTB(), &net)
	return f
}

// follow sends the parcel, and checks what is true of every packet that the tracker did not lose: the record is complete, and
// nothing else in it carries the parcel.
func follow(ctx context.Context, lab *harness.Lab, from *topology.Node, to packet.Host, functions ...string) *journey.Journey {
	GinkgoHelper()
	trace := lab.Trace(ctx, harness.TraceOptions{Functions: functions})
	sent := lab.Send(ctx, from, packet.UDP{To: to, DstPort: 8081, Payload: []byte(parcel)})
	record := trace.Seal(ctx)
	j := record.Of(sent)
	GinkgoWriter.Println(j)
	Expect(record.Evidence().Incomplete()).To(Succeed())
	Expect(carriers(record, parcel)).To(Equal([]journey.ID{j.ID}), "one packet is one journey")
	return j
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

func carries(j *journey.Journey, text string) bool {
	for _, e := range j.Events {
		if e.Packet != nil && bytes.Contains(e.Packet.Data, []byte(text)) {
			return true
		}
	}
	return false
}

// endings are the ends of all branches that count, in brief: "delivered in host", "dropped in monitor (OTHERHOST)".
func endings(j *journey.Journey) []string {
	var all []string
	for _, i := range j.Deciding() {
		all = append(all, j.Branches[i].Outcome.Brief())
	}
	return all
}

// roles counts the branches of each role.
func roles(j *journey.Journey) map[journey.Role]int {
	count := make(map[journey.Role]int)
	for _, b := range j.Branches {
		count[b.Role]++
	}
	return count
}

// groups is the way of multicast packets.
var groups = topology.Route{To: "239.0.0.0/8", Device: "eth0"}

// dropping is a ruleset that drops the parcel where it arrives.
const dropping = `table inet filter {
	chain input { type filter hook input priority filter; udp dport 8081 drop; }
}`

func host(text string) packet.IP {
	GinkgoHelper()
	ip, err := packet.ParseIP(text)
	Expect(err).NotTo(HaveOccurred())
	return ip
}
