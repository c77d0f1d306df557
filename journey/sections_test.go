package journey

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/waybill-dev/waybill/internal/golden"
)

func number(n int64) *int64 { return &n }

// everything is a journey whose events have every section, with every field set in one of them.
func everything() []Observation {
	addr := netip.MustParseAddr
	syn := Event{
		Time: 1000, CPU: 1, PID: 4100, TID: 4107, Comm: "curl", Probe: Probe{Function, "ip_output"}, ID: demoID, SKB: demoSKB,
		SocketCookie: demoCookie,
		Stack: []Frame{
			{Symbol: "ip_output", Offset: 5}, {Symbol: "br_nf_post_routing", Offset: 0x1a2, Module: "br_netfilter"},
			{Symbol: "0xffffffffc0a01234"},
		},
		Packet: &Packet{
			Proto: 0x0800, Len: 52, Network: 14, VLAN: &VLAN{Proto: 0x8100, TCI: 0x6005},
			Data: append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, udpDatagram()...),
		},
		Meta: &Meta{
			Len: 52, DataLen: 12, Hash: 0xdeadbeef, L4Hash: true, SWHash: true, PktType: 4, IPSummed: 3, CSum: 6<<16 | 276, Mark: 0x10,
			Priority: 6, QueueMapping: 2, Tstamp: 1234567890, CSumLevel: 1,
		},
		Sharing: &Sharing{Users: 1, Cloned: true, DataRef: 2, NoHdr: true, FClone: 2},
		GSO:     &GSO{Size: 1448, Segs: 45, Type: 1 | 1<<10 | 1<<25, Frags: 17},
		Device:  &Device{Index: 3, Name: "eth1", RxIndex: 2},
		NetNS:   &NetNS{Cookie: clientNS, Inum: 4026532189},
		Conntrack: &Conntrack{
			State: "ESTABLISHED", Status: 0x18e, Proto: 6, ProtoState: TCPState(1), Zone: 7, Mark: 9, Labels: [16]byte{5, 8: 0x80},
			Orig: Tuple{addr("172.16.42.1"), 39677, addr("172.16.42.2"), 8080}, Reply: Tuple{addr("172.16.42.2"), 8080, addr("172.16.42.9"), 39677},
		},
	}
	icmp := Event{
		Time: 2000, PID: 0, Comm: "swapper/0", Probe: Probe{Return, "nf_hook_slow"}, ID: demoID, SKB: demoSKB, Return: number(-1),
		Meta: &Meta{Len: 84, IPSummed: 2, CSum: 0xbeef, PktType: 1}, Sharing: &Sharing{}, GSO: &GSO{},
		NetNS: &NetNS{Cookie: 0x77, Inum: 5},
		Conntrack: &Conntrack{
			State: "NEW", Proto: 58, Orig: Tuple{addr("fd00::1"), 77, addr("fd00::2"), 128 << 8},
			Reply: Tuple{addr("fd00::2"), 77, addr("fd00::1"), 129 << 8},
		},
		IPTables: &IPTables{Family: "ip6", Table: "mangle", Hook: HookName(2), Verdict: Verdict(1)},
	}
	jump := Event{
		Time: 3000, Probe: Probe{Function, "__nft_trace_packet"}, ID: demoID, SKB: demoSKB,
		Conntrack: &Conntrack{State: "UNTRACKED"},
		NFT:       &NFT{Table: "filter", TableHandle: 1, Chain: "input", ChainHandle: 1, Rule: 4, Verdict: "jump", Target: "services"},
		IPTables:  &IPTables{Family: "ip", Table: "raw", Hook: HookName(0), Verdict: Verdict(5 << 16)},
	}
	pointer := Event{Time: 4000, Probe: Probe{Return, "skb_clone"}, ID: demoID, SKB: demoSKB, Return: number(-0x777ffc5a3d00)}
	drop := Event{
		Time: 5000, Probe: Probe{RawTracepoint, "skb:kfree_skb"}, ID: demoID, SKB: demoSKB,
		Drop: &Drop{Reason: "QDISC_DROP_OVERLIMIT", Subsystem: "qdisc", Location: "__dev_xmit_skb+0x1f"},
	}
	return []Observation{
		demoObservations()[0],
		{Kind: Seen, Event: syn}, {Kind: Seen, Event: icmp}, {Kind: Seen, Event: jump}, {Kind: Seen, Event: pointer},
		{Kind: Cloned, Event: Event{ID: demoID, SKB: demoSKB}, Peer: 0xc10e}, {Kind: Parked, Event: Event{ID: demoID, SKB: 0xc10e}},
		{Kind: TapEnter, Event: Event{ID: demoID, SKB: 0x7a9}}, {Kind: TapExit, Event: Event{ID: demoID, SKB: 0x7a9}},
		{Kind: Seen, Event: drop},
	}
}

func everythingRecord() *Record {
	evidence := complete()
	evidence.Probes = []Probe{{Function, "ip_output"}, {Return, "nf_hook_slow"}, {ProbeKind(9), "from the future"}}
	evidence.Reasons = []string{"NETFILTER_DROP", "QDISC_DROP_OVERLIMIT"}
	evidence.Unvouched = map[uint64]string{serverNS: "it changed"}
	evidence.Artifacts = "/tmp/artifacts/everything"
	evidence.Milestones = map[Milestone]Watch{
		Postrouting: {Probes: []Probe{{Function, "ip_output"}}, Blind: "IPv6 was not seen"}, SocketDeliver: {},
	}
	evidence.Devices = map[uint64][]string{serverNS: {"lo", "eth0"}}
	evidence.Chains = map[uint64][]string{serverNS: {"input"}}
	evidence.Sockets = []uint64{0xea51e4}
	a := NewAssembler(100)
	a.Add(&Observation{Kind: Origin, Event: Event{ID: ID{FirstSeen: 1}, SocketCookie: 0xea51e4}})
	for _, o := range everything() {
		a.Add(&o)
	}
	return a.Seal(evidence)
}

func TestEverythingText(t *testing.T) {
	golden.Check(t, "everything.txt", everythingRecord().Journeys[0].String())
}

func TestEverythingJSON(t *testing.T) {
	out, err := json.MarshalIndent(everythingRecord().Journeys[0], "", "  ")
	qt.Assert(t, qt.IsNil(err))
	golden.Check(t, "everything.json", string(out)+"\n")
}

var unexported = cmp.Options{cmp.AllowUnexported(Record{}, Branch{}, netip.Addr{}), cmpopts.IgnoreUnexported(Journey{}), cmpopts.IgnoreTypes(kin{})}

func withoutFunctions() Evidence {
	evidence := complete()
	evidence.NoFunctions = "the kernel is locked down"
	return evidence
}

// TestJSONRoundTrip: what was written is read back, to the last field.
func TestJSONRoundTrip(t *testing.T) {
	records := map[string]*Record{
		"everything": everythingRecord(), "without functions": sealed(demoObservations()[:3], withoutFunctions()), "demo": sealed(demoObservations(), complete()), "empty": sealed(nil, Evidence{}),
	}
	compare := cmp.Options{unexported, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	for name, record := range records {
		t.Run(name, func(t *testing.T) {
			written, err := json.Marshal(record)
			qt.Assert(t, qt.IsNil(err))
			read := new(Record)
			qt.Assert(t, qt.IsNil(json.Unmarshal(written, read)))
			qt.Check(t, qt.Equals(cmp.Diff(record, read, compare), ""))
			again, err := json.Marshal(read)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(string(again), string(written)))
			for i, j := range record.Journeys {
				alone, err := json.Marshal(j)
				qt.Assert(t, qt.IsNil(err))
				var one Journey
				qt.Assert(t, qt.IsNil(json.Unmarshal(alone, &one)))
				qt.Check(t, qt.Equals(cmp.Diff(*j, one, compare), ""))
				qt.Check(t, qt.Equals(one.String(), record.Journeys[i].String()))
			}
		})
	}
}

// TestJSONPointsAtEvents: outcomes refer to the events of the journey that was read, as they do in one that was made.
func TestJSONPointsAtEvents(t *testing.T) {
	written, err := json.Marshal(sealed(demoObservations(), complete()).Journeys[0])
	qt.Assert(t, qt.IsNil(err))
	var j Journey
	qt.Assert(t, qt.IsNil(json.Unmarshal(written, &j)))
	qt.Check(t, qt.Equals(j.Branches[0].Outcome.Event, &j.Events[2]))
	qt.Check(t, qt.Equals(j.Branches[0].Outcome.Rule, &j.Events[1]))
}

func TestJSONRefused(t *testing.T) {
	written, err := json.Marshal(sealed(demoObservations(), complete()).Journeys[0])
	qt.Assert(t, qt.IsNil(err))
	for _, test := range []struct{ old, replaced, want string }{
		{`"event":2`, `"event":3`, "decode journey: branch 0: there is no event 3"},
		{`"events":[0,1,2]`, `"events":[0,-1]`, "decode journey: branch 0: there is no event -1"},
		{`"parent":null`, `"parent":1`, "decode journey: branch 0: there is no branch 1 to be its parent"},
		{`"role":"main"`, `"role":"clone"`, "decode journey: branch 0: it is a clone without a parent"},
		{`"event":2`, `"event":0`, "decode journey: branch 0: it was dropped, but not by an event"},
		{`"rule_event":1`, `"rule_event":0`, "decode journey: branch 0: the event of its rule has no verdict"},
		{`"probe_kind":"k"`, `"probe_kind":"z"`, `decode journey: unknown kind of probe "z": use k, kr, tp or rtp`},
		{`"cookie":"0x1002"`, `"cookie":"0xg"`, `decode journey: decode namespace: strconv.ParseUint: parsing "0xg": invalid syntax`},
		{`"proto":"0x800"`, `"proto":"0x10000"`, `decode journey: decode packet: strconv.ParseUint: parsing "0x10000": value out of range`},
		{`"mark":"0x0"`, `"mark":"0x0","labels":"-1"`, `decode journey: decode conntrack: labels "-1" are not a number of 128 bits in hex`},
	} {
		changed := strings.Replace(string(written), test.old, test.replaced, 1)
		qt.Assert(t, qt.Not(qt.Equals(changed, string(written))), qt.Commentf("%s", test.old))
		var j Journey
		qt.Check(t, qt.ErrorMatches(json.Unmarshal([]byte(changed), &j), ".*"+escape(test.want)))
	}
}

func escape(text string) string {
	return strings.NewReplacer(`"`, `\\?"`, "(", `\(`, ")", `\)`).Replace(text)
}

func TestStates(t *testing.T) {
	qt.Check(t, qt.Equals(TCPState(3), "ESTABLISHED"))
	qt.Check(t, qt.Equals(TCPState(9), "SYN_SENT2"))
	qt.Check(t, qt.Equals(TCPState(10), "10"))
	qt.Check(t, qt.Equals(SCTPState(4), "ESTABLISHED"))
	qt.Check(t, qt.Equals(DCCPState(4), "OPEN"))
	qt.Check(t, qt.Equals(HookName(4), "postrouting"))
	qt.Check(t, qt.Equals(Verdict(3<<16|3), "queue"))
	qt.Check(t, qt.Equals(Verdict(0), "drop"))
}

func TestReturned(t *testing.T) {
	qt.Check(t, qt.Equals((&Event{}).Returned(), ""))
	for value, want := range map[int64]string{
		0: "0", 1: "1", -22: "-22", -2147483648: "-2147483648", 1 << 40: "1099511627776",
		-0x777ffc5a3d00: "0xffff888003a5c300",
	} {
		qt.Check(t, qt.Equals((&Event{Return: &value}).Returned(), want))
	}
}

// FuzzJourneyJSON: what is accepted can be worked with.
func FuzzJourneyJSON(f *testing.F) {
	for _, record := range []*Record{everythingRecord(), sealed(demoObservations(), complete())} {
		written, err := json.Marshal(record.Journeys[0])
		qt.Assert(f, qt.IsNil(err))
		f.Add(written)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var j Journey
		if json.Unmarshal(data, &j) != nil {
			return
		}
		_, _, _ = j.String(), j.Summary(), j.Evidence.Incomplete()
		written, err := json.Marshal(&j)
		qt.Assert(t, qt.IsNil(err))
		var again Journey
		qt.Assert(t, qt.IsNil(json.Unmarshal(written, &again)))
	})
}
