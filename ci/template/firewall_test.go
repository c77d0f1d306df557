package firewall

import (
	_ "embed"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// ruleset is what is on trial. It is part of the test binary, and so it is there in a VM too.
//
//go:embed ruleset.nft
var ruleset string

// TestRuleset sends each packet of a table through the firewall, and says what must become of it.
func TestRuleset(t *testing.T) {
	harness.NeedFunctions(t) // without which nobody tells rules: see waybill vm

	// The firewall stands between two hosts. Its devices have the names that the ruleset uses, the addresses are derived.
	var net topology.Network
	outside := net.Add(topology.Node{Name: "outside"})
	firewall := net.Add(topology.Node{Name: "firewall", Forwarding: true, NFT: ruleset})
	inside := net.Add(topology.Node{Name: "inside"})
	net.Connect(firewall, outside, topology.LinkOptions{First: topology.Device{Name: "outside"}})
	net.Connect(firewall, inside, topology.LinkOptions{First: topology.Device{Name: "inside"}})
	lab := harness.New(t, &net)

	arrives := func(node *topology.Node) types.GomegaMatcher {
		return And(Reach(LocalIn, At(node)), Not(BeDropped(At(firewall))))
	}
	rows := []struct {
		says   string
		from   *topology.Node
		packet packet.Packet
		must   types.GomegaMatcher
	}{
		{"the resolver is for all", outside, packet.UDP{To: inside, DstPort: 53}, arrives(inside)},
		{"the web server is for all", outside, packet.TCP{To: inside, DstPort: 443, Flags: packet.SYN}, arrives(inside)},
		{"ssh is not", outside, packet.TCP{To: inside, DstPort: 22, Flags: packet.SYN}, BeDropped(At(firewall), ByRule("no ssh"))},
		{"nor is anything else", outside, packet.UDP{To: inside, DstPort: 9100}, BeDropped(At(firewall), ByPolicy("forward"))},
		{"inside may open anything", inside, packet.TCP{To: outside, DstPort: 22, Flags: packet.SYN}, arrives(outside)},
	}

	// One trace for all of them: each packet is found by the socket that sent it.
	trace := lab.Trace(t.Context())
	sent := make([]*packet.Sent, len(rows))
	for i, row := range rows {
		sent[i] = lab.Send(t.Context(), row.from, row.packet)
	}
	record := trace.Seal(t.Context())

	for i, row := range rows {
		t.Run(row.says, func(t *testing.T) {
			NewWithT(t).Expect(record.Of(sent[i])).To(row.must)
		})
	}
}

func TestMain(m *testing.M) { harness.Main(m) }
