package journey

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

func TestDemoText(t *testing.T) {
	r := sealed(demoObservations(), complete())
	r.Annotate(annotate)
	qt.Assert(t, qt.HasLen(r.Journeys, 1))
	j := r.Journeys[0]
	golden.Check(t, "demo.txt", j.String())
	qt.Check(t, qt.Equals(j.GomegaString(), j.Summary()))
}

func TestDemoJSON(t *testing.T) {
	r := sealed(demoObservations(), complete())
	r.Annotate(annotate)
	compact, err := json.Marshal(r.Journeys[0])
	qt.Assert(t, qt.IsNil(err))
	var indented bytes.Buffer
	qt.Assert(t, qt.IsNil(json.Indent(&indented, compact, "", "  ")))
	golden.Check(t, "demo.json", indented.String()+"\n")
}

// TestCopiesText has all copies that a text tells apart: a tap on the sender's side, an skb that the receiver's tap
// took after ip_rcv had gone on with a clone.
func TestCopiesText(t *testing.T) {
	const tapCopy, clone = 0xffff888003a5c400, 0xffff888003a5c500
	at := func(kind ObservationKind, skb, peer uint64, shared bool) Observation {
		return Observation{Kind: kind, Event: Event{ID: demoID, SKB: skb}, Peer: peer, Shared: shared}
	}
	seen := func(time, skb uint64, probe string) Observation {
		e := demoEvent(time, Function, probe)
		e.SKB, e.Conntrack = skb, nil
		return Observation{Kind: Seen, Event: e}
	}
	drop := demoDrop()
	drop.SKB, drop.Conntrack = clone, nil
	r := sealed([]Observation{
		seen(184467450001, demoSKB, "dev_hard_start_xmit"),
		at(Cloned, demoSKB, tapCopy, false), at(TapEnter, tapCopy, 0, false),
		seen(184467450802, tapCopy, "packet_rcv"), at(TapExit, tapCopy, 0, false),
		seen(184467451003, demoSKB, "ip_rcv"),
		at(Cloned, demoSKB, clone, false),
		seen(184467452004, clone, "ip_local_deliver"),
		{Kind: Seen, Event: drop}, at(Released, clone, 0, false),
		at(TapEnter, demoSKB, 0, false), at(TapExit, demoSKB, 0, false),
	}, complete())
	golden.Check(t, "copies.txt", r.Journeys[0].String())
	golden.Check(t, "branches.txt", Format{Branches: true, OneLine: true, Offset: 1795842331 * time.Second}.Journey(r.Journeys[0]))
}

// TestBranchesText: a clone of a clone is below it though the events of both are mixed, and one of a clone that nothing was
// seen of is below what that is a clone of. No event is lost, and each keeps its number.
func TestBranchesText(t *testing.T) {
	seen := func(time, skb uint64) Observation {
		return Observation{Kind: Seen, Event: Event{Time: time, ID: demoID, SKB: skb, Probe: Probe{Function, "ip_rcv"}}}
	}
	clone := func(skb, peer uint64) Observation {
		return Observation{Kind: Cloned, Event: Event{ID: demoID, SKB: skb}, Peer: peer}
	}
	r := sealed([]Observation{
		seen(0, 0xa), clone(0xa, 0xb), seen(1, 0xb), seen(2, 0xa), clone(0xb, 0xc), seen(3, 0xc), seen(4, 0xb), seen(5, 0xc),
		clone(0xa, 0xd), clone(0xd, 0xe), seen(6, 0xe), seen(7, 0xa),
	}, complete())
	golden.Check(t, "tree.txt", Format{Branches: true}.Journey(r.Journeys[0]))
}

func TestSections(t *testing.T) {
	addr := netip.MustParseAddr
	e := demoEvent(1, Function, "f")
	e.Device = &Device{}
	qt.Check(t, qt.Equals(e.position(), "ns 0x1002/4026532290"))
	e.Device, e.NetNS = &Device{Index: 7, Name: "br0"}, nil
	qt.Check(t, qt.Equals(e.position(), "if 7 (br0)"))
	e.Device = &Device{RxIndex: 3}
	qt.Check(t, qt.Equals(e.position(), "rxif 3"))
	e.Device = nil
	qt.Check(t, qt.Equals(e.position(), ""))

	for want, c := range map[string]Conntrack{
		"ct_state UNTRACKED": {State: "UNTRACKED", Status: 1},
		"ct_state NEW status 0x0 icmp orig [172.16.42.1 > 172.16.42.2 type 8 code 0 id 77] " +
			"reply [172.16.42.2 > 172.16.42.1 type 0 code 0 id 77] zone 5 mark 9": {
			State: "NEW", Proto: 1, Zone: 5, Mark: 9,
			Orig: Tuple{addr("172.16.42.1"), 77, addr("172.16.42.2"), 8 << 8}, Reply: Tuple{addr("172.16.42.2"), 77, addr("172.16.42.1"), 0},
		},
		"ct_state REPLY status 0xe tcp orig [fd00::1.1 > fd00::2.2] reply [?.0 > ?.0] zone 0 mark 0": {
			State: "REPLY", Status: 0xe, Proto: 6, Orig: Tuple{addr("fd00::1"), 1, addr("fd00::2"), 2},
			Reply: Tuple{},
		},
		"ct_state NEW status 0x0 gre orig [10.0.0.1 > 10.0.0.2] reply [10.0.0.2 > 10.0.0.1] zone 0 mark 0": {
			State: "NEW", Proto: 47, Orig: Tuple{addr("10.0.0.1"), 0, addr("10.0.0.2"), 0}, Reply: Tuple{addr("10.0.0.2"), 0, addr("10.0.0.1"), 0},
		},
	} {
		qt.Check(t, qt.Equals(c.String(), want))
	}

	policy := NFT{Table: "filter", TableHandle: 1, Chain: "input", ChainHandle: 1, Verdict: "drop", Policy: true}
	qt.Check(t, qt.Equals(policy.line(), "table filter (1) chain input (1) drop (policy)"))
}
