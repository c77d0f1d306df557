package shape

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
)

// udp is a datagram, with room for a tag of 802.1Q before it if there is one.
func udp(src, dst [4]byte, sport, dport uint16, ttl, tos byte, vlan uint16) *journey.Packet {
	b := make([]byte, 28)
	b[0], b[1], b[8], b[9] = 0x45, tos, ttl, 17
	binary.BigEndian.PutUint16(b[2:], 28)
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[20:], sport)
	binary.BigEndian.PutUint16(b[22:], dport)
	binary.BigEndian.PutUint16(b[24:], 8)
	p := &journey.Packet{Proto: 0x0800, Len: 28, Data: b}
	if vlan != 0 {
		p.VLAN = &journey.VLAN{Proto: 0x8100, TCI: vlan}
	}
	return p
}

var (
	here  = [4]byte{10, 0, 0, 1}
	there = [4]byte{10, 0, 0, 2}
	gate  = [4]byte{192, 0, 2, 1}
)

// trace makes records.
type trace struct {
	*journey.Assembler
	id uint64
}

func newTrace() *trace { return &trace{Assembler: journey.NewAssembler(0)} }

// seen is a packet at functions, each with what it looks like there: f on eth0 in a namespace without a name, f@a in node a, f-@a on
// no device.
func (t *trace) seen(at []string, looks ...*journey.Packet) *trace {
	t.id++
	for i, function := range at {
		ns := &journey.NetNS{Cookie: 0x70 + t.id, Inum: 4026530000 + uint32(t.id)}
		if name, node, ok := strings.Cut(function, "@"); ok {
			function = name
			ns = &journey.NetNS{Cookie: 0x10, Inum: 1, Node: node}
		}
		dev := &journey.Device{Index: 2, Name: "eth0"}
		if name, ok := strings.CutSuffix(function, "-"); ok {
			function, dev = name, nil
		}
		t.Add(&journey.Observation{Kind: journey.Seen, Event: journey.Event{
			ID: journey.ID{FirstSeen: t.id, Head: 1}, SKB: 16 * t.id, Probe: journey.Probe{Kind: journey.Function, Name: function},
			NetNS: ns, Device: dev, Packet: looks[min(i, len(looks)-1)],
		}})
	}
	return t
}

// end ends the last packet.
func (t *trace) end(kind journey.ObservationKind) *trace {
	t.Add(&journey.Observation{Kind: kind, Event: journey.Event{ID: journey.ID{FirstSeen: t.id, Head: 1}, SKB: 16 * t.id}})
	return t
}

func (t *trace) record() *journey.Record {
	return t.Seal(journey.Evidence{Sealed: true, Settled: true})
}

func recorded(tb testing.TB, name string) *journey.Journey {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "assert", "testdata", "journeys", name+".json"))
	qt.Assert(tb, qt.IsNil(err))
	j := new(journey.Journey)
	qt.Assert(tb, qt.IsNil(json.Unmarshal(text, j)))
	return j
}

// TestRecorded: journeys that a kernel made, in normal form, which can be read back.
func TestRecorded(t *testing.T) {
	var all strings.Builder
	for _, name := range []string{"translated", "stopped", "flooded", "closed", "arp"} {
		for _, options := range []Options{{}, {AnyAddress: true}, {AnyRule: true}, {Without: []string{"device transmit", "nft ip nat prerouting"}}} {
			s := Of(recorded(t, name), options)
			read, err := Parse("# a comment\n\n" + s.String())
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsNil(Compare(s, read)))
			qt.Check(t, qt.Equals(read.String(), s.String()))
			all.WriteString(s.String() + "\n")
		}
	}
	golden.Check(t, "recorded.txt", all.String())
}

// TestChanges: what is rewritten is told where it is seen first.
func TestChanges(t *testing.T) {
	tunnel := udp(gate, there, 33333, 4789, 64, 0, 0)
	tunnel.Data[9] = 4
	inside := udp(here, there, 40000, 53, 64, 0, 0).Data
	tunnel.Data = append(tunnel.Data[:20], inside...)
	for _, test := range []struct {
		name  string
		looks []*journey.Packet
		want  string
	}{
		{"nothing but ID and checksum", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), otherID(udp(here, there, 40000, 53, 64, 0, 0))}, ""},
		{"source", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), udp(gate, there, 40000, 53, 64, 0, 0)}, "source now 192.0.2.1.*"},
		{"source port", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), udp(here, there, 40001, 53, 64, 0, 0)}, "source now 10.0.0.1.*2"},
		{"destination", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), udp(here, gate, 40000, 8053, 64, 0, 0)}, "destination now 192.0.2.1.8053"},
		{"ttl", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), udp(here, there, 40000, 53, 63, 0, 0)}, "ttl -1"},
		{"ttl set", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), udp(here, there, 40000, 53, 5, 0, 0)}, "ttl now 5"},
		{"class", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), udp(here, there, 40000, 53, 64, 0x28, 0)}, "class now 0x28"},
		{"tag", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 10), udp(here, there, 40000, 53, 64, 0, 20)}, "VLAN 20"},
		{"tunnel", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), tunnel}, "now 192.0.2.1 > 10.0.0.2 IPIP (10.0.0.1.* > 10.0.0.2.53 UDP)"},
		{"unknown", []*journey.Packet{udp(here, there, 40000, 53, 64, 0, 0), nil}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTrace().seen([]string{"ip_rcv_core@a", "ip_forward@a"}, test.looks...).end(journey.Released).record()
			way := Of(r.Journeys[0], Options{}).Ways[0]
			qt.Assert(t, qt.HasLen(way, 3))
			qt.Check(t, qt.Equals(way[1].Note, test.want))
		})
	}
}

func otherID(p *journey.Packet) *journey.Packet {
	binary.BigEndian.PutUint16(p.Data[4:], 0xabcd)
	binary.BigEndian.PutUint16(p.Data[10:], 0x1234)
	return p
}

// TestPlaces: functions that mean one place are one hop, and a place that a packet comes by again is another.
func TestPlaces(t *testing.T) {
	p := udp(here, there, 40000, 53, 64, 0, 0)
	for _, test := range []struct{ a, b string }{
		{"ip_rcv_core ip_forward", "ip_rcv ip_rcv_core ip_forward"},
		{"ip_rcv_core ip_forward", "ip6_rcv_core ip6_forward"},
		{"ip_output", "__ip_local_out ip_output"},
		{"net:net_dev_start_xmit", "dev_hard_start_xmit net:net_dev_start_xmit veth_xmit"},
		{"udp_rcv", "udp_rcv sk_skb_reason_drop"},
		{"netif_receive_skb", "net:netif_receive_skb"},
	} {
		same := func(a, b string) bool {
			a0 := newTrace().seen(strings.Fields(a), p).end(journey.Released).record().Journeys[0]
			b0 := newTrace().seen(strings.Fields(b), p).end(journey.Released).record().Journeys[0]
			return Compare(Of(a0, Options{}), Of(b0, Options{})) == nil
		}
		qt.Check(t, qt.IsTrue(same(test.a, test.b)), qt.Commentf("%s, %s", test.a, test.b))
		qt.Check(t, qt.IsFalse(same(test.a, test.b+" "+"tcp_v4_rcv")))
		first, _, _ := strings.Cut(test.a, " ")
		qt.Check(t, qt.IsFalse(same(first, first+" "+first)))
	}
}

// TestHeadless: TCP gives IPv6 packets without a header, and they are what they are told to be afterwards.
func TestHeadless(t *testing.T) {
	p := udp(here, there, 40000, 53, 64, 0, 0)
	bare := &journey.Packet{Len: 8, Data: p.Data[20:]}
	r := newTrace().seen([]string{"ip6_xmit-@a", "ip6_output-@a", "ip6_rcv_core@b"}, bare, p).end(journey.Released).record()
	s := Of(r.Journeys[0], Options{})
	qt.Check(t, qt.Equals(s.Packet, "10.0.0.1.* > 10.0.0.2.53 UDP"))
	other := newTrace().seen([]string{"ip6_output-@a", "ip6_rcv_core@b"}, p).end(journey.Released).record()
	qt.Check(t, qt.IsNil(Compare(s, Of(other.Journeys[0], Options{}))))
}

// TestReasons: names of one reason are equal, and one that stood for several equals each of them.
func TestReasons(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"QDISC_DROP_OVERLIMIT", "QDISC_DROP", true},
		{"QDISC_DROP", "QDISC_DROP_OVERLIMIT", true},
		{"QDISC_DROP_OVERLIMIT", "QDISC_DROP_CONGESTED", false},
		{"NETFILTER_DROP by nft inet filter input", "NETFILTER_DROP by nft inet filter input", true},
		{"NETFILTER_DROP by nft inet filter input", "NETFILTER_DROP", false},
		{"NO_SOCKET", "NETFILTER_DROP", false},
	} {
		qt.Check(t, qt.Equals(sameNote("dropped", test.a, test.b), test.want), qt.Commentf("%s, %s", test.a, test.b))
	}
	qt.Check(t, qt.Equals(reasonOf(&journey.Drop{Reason: "FQ_FLOW_LIMIT", Subsystem: "qdisc"}), "QDISC_DROP_FLOW_LIMIT"))
	qt.Check(t, qt.Equals(reasonOf(&journey.Drop{Reason: "METER", Subsystem: "openvswitch"}), "openvswitch/METER"))
}

// TestParse: what is no journey is refused with the line.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "there is no journey in it",
		"a > b\n":               "there is no journey in it",
		"  fw  eth0  forward\n": "line 1: a hop of no packet.*",
		"a > b\n  fw eth0\n":    "line 2: a hop is a node, a device and a place.*",
		"a > b\n  way 1 of 2\n  way 2 of 2\n  fw  -  dropped\n": "way 1 has no hops",
		"a > b\n    eth0  forward\n":                            "line 2: a hop is a node.*",
		"a > b\nc > d\n":                                        `line 2: a second packet, "c > d".*`,
		"a > b\n" + strings.Repeat("x", 1<<17):                  ".*token too long",
	} {
		_, err := Parse(text)
		qt.Check(t, qt.ErrorMatches(err, want), qt.Commentf("%.40q", text))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a > b UDP\n  way 1 of 2\n  fw  eth0  forward  note  of  more\n  way 2 of 2\n  fw  -  dropped\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("%v in\n%s", err, s)
		}
		if d := Compare(s, again); d != nil {
			t.Fatalf("%s\nof\n%s", d, s)
		}
	})
}
