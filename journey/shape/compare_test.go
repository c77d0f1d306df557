package shape

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
)

// TestAlign: an alignment has all hops of both sides in their order, calls the same what is the same, and is no dearer than what has
// nothing in common.
func TestAlign(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	way := func() Way {
		var w Way
		for range random.IntN(9) {
			w = append(w, Hop{
				Node: string(rune('a' + random.IntN(2))), Device: "eth0", Place: string(rune('p' + random.IntN(3))),
				Note: string(rune('x' + random.IntN(2))),
			})
		}
		return w
	}
	for range 3000 {
		a, b := way(), way()
		steps := align(a, b)
		var gotA, gotB Way
		for _, s := range steps {
			qt.Assert(t, qt.Equals(s.A == nil, s.Op == OnlyB))
			qt.Assert(t, qt.Equals(s.B == nil, s.Op == OnlyA))
			if s.A != nil {
				gotA = append(gotA, *s.A)
			}
			if s.B != nil {
				gotB = append(gotB, *s.B)
			}
			if s.A != nil && s.B != nil {
				qt.Assert(t, qt.Equals(s.Op == Same, *s.A == *s.B))
			}
		}
		qt.Assert(t, qt.IsTrue(slices.Equal(gotA, a)), qt.Commentf("%v %v", a, b))
		qt.Assert(t, qt.IsTrue(slices.Equal(gotB, b)), qt.Commentf("%v %v", a, b))
		qt.Assert(t, qt.Equals(total(steps), total(align(b, a))), qt.Commentf("%v %v", a, b))
		qt.Assert(t, qt.Equals(total(steps) == 0, slices.Equal(a, b)))
	}
}

// TestBlind: what a side cannot have seen is no difference, and neither is it the same.
func TestBlind(t *testing.T) {
	p := udp(here, there, 40000, 53, 64, 0, 0)
	probes := func(names ...string) journey.Evidence {
		e := journey.Evidence{Sealed: true, Settled: true, Milestones: make(map[journey.Milestone]journey.Watch)}
		for _, n := range names {
			probe := journey.Probe{Kind: journey.Function, Name: n}
			e.Probes = append(e.Probes, probe)
			if m, ok := twins[n]; ok {
				e.Milestones[m] = journey.Watch{Probes: []journey.Probe{probe}}
			}
		}
		return e
	}
	blind := probes("ip_local_deliver", "udp_rcv")
	blind.Milestones[journey.Forward] = journey.Watch{Blind: "this kernel lets no program attach to ip6_forward"}
	long := newTrace().seen([]string{"ip_forward@a", "udp_rcv@a"}, p).end(journey.Released)
	short := func() *trace { return newTrace().seen([]string{"udp_rcv@a"}, p).end(journey.Released) }
	a := Of(long.Seal(probes("ip_forward", "udp_rcv")).Journeys[0], Options{})
	for _, test := range []struct {
		name     string
		evidence journey.Evidence
		want     string
	}{
		{"seen", probes("ip_forward", "udp_rcv"), ""},
		{"not armed", probes("udp_rcv"), ".*'forward' in a on eth0, and of the other it is not known: it was not observed"},
		{"blind", blind, ".*this kernel lets no program attach to ip6_forward"},
	} {
		b := Of(short().Seal(test.evidence).Journeys[0], Options{})
		for _, d := range []*Difference{Compare(a, b), Compare(b, a)} {
			qt.Assert(t, qt.IsNotNil(d), qt.Commentf(test.name))
			err := d.Inconclusive()
			if test.want == "" {
				qt.Check(t, qt.IsNil(err), qt.Commentf(test.name))
				continue
			}
			qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive), qt.Commentf(test.name))
			qt.Check(t, qt.ErrorMatches(err, test.want), qt.Commentf(test.name))
		}
	}
}

// TestLate: a packet that has neither socket nor device is not known before it has, so what came before is not denied.
func TestLate(t *testing.T) {
	p := udp(here, there, 40000, 53, 64, 0, 0)
	long := func(t *trace) *trace {
		return t.seen([]string{"ip_output-@a", "net:net_dev_start_xmit@a", "ip_rcv_core@b"}, p).end(journey.Released)
	}
	short := func(t *trace) *trace {
		return t.seen([]string{"net:net_dev_start_xmit@a", "ip_rcv_core@b"}, p).end(journey.Released)
	}
	elsewhere := func(t *trace) *trace { return t.seen([]string{"ip_rcv_core@b"}, p).end(journey.Released) }
	sent := func() *trace {
		t := newTrace()
		t.Add(&journey.Observation{Kind: journey.Origin, Event: journey.Event{ID: journey.ID{FirstSeen: 1, Head: 1}, SKB: 16, SocketCookie: 5}})
		return t
	}
	a := Of(long(newTrace()).record().Journeys[0], Options{})
	for _, test := range []struct {
		name         string
		b            *trace
		inconclusive bool
	}{
		{"a packet of the kernel's", short(newTrace()), true},
		{"a packet of a socket", short(sent()), false},
		{"first seen elsewhere", elsewhere(newTrace()), false},
	} {
		b := Of(test.b.record().Journeys[0], Options{})
		qt.Check(t, qt.Equals(Compare(a, b).Inconclusive() != nil, test.inconclusive), qt.Commentf(test.name))
		qt.Check(t, qt.Equals(Compare(b, a).Inconclusive() != nil, test.inconclusive), qt.Commentf(test.name))
	}
}

// TestFreed: how a packet ended that was only seen to be freed is not known.
func TestFreed(t *testing.T) {
	p := udp(here, there, 40000, 53, 64, 0, 0)
	freed := newTrace().seen([]string{"udp_rcv@a"}, p).end(journey.Released).
		Seal(journey.Evidence{Sealed: true, Settled: true, NoFunctions: "it is locked down"}).Journeys[0]
	delivered := newTrace().seen([]string{"udp_rcv@a"}, p).end(journey.Enqueued).record().Journeys[0]
	d := Compare(Of(freed, Options{}), Of(delivered, Options{}))
	qt.Assert(t, qt.IsNotNil(d))
	qt.Check(t, qt.ErrorIs(d.Inconclusive(), journey.ErrInconclusive))
}

// TestRecords: packets are paired by what they look like, not by when they were seen among others.
func TestRecords(t *testing.T) {
	dns := func(port uint16) *journey.Packet { return udp(here, there, port, 53, 64, 0, 0) }
	web := udp(here, there, 50000, 80, 64, 0, 0)
	igmp := udp(here, there, 0, 0, 1, 0, 0)
	igmp.Data[9] = 2
	short, long := []string{"ip_rcv_core"}, []string{"ip_rcv_core", "ip_forward"}
	a := func() *trace {
		return newTrace().seen(short, dns(40000)).end(journey.Released).seen(long, web).end(journey.Released).
			seen(short, dns(40001)).end(journey.Enqueued).seen(short, igmp).end(journey.Released)
	}
	for _, test := range []struct {
		name    string
		b       *trace
		all     bool
		verdict string
	}{
		{"itself", a(), true, "same"},
		{"other ports and another order", newTrace().seen(long, web).end(journey.Released).seen(short, dns(33000)).end(journey.Released).
			seen(short, dns(33001)).end(journey.Enqueued), false, "same"},
		{"housekeeping is missing", newTrace().seen(long, web).end(journey.Released).seen(short, dns(33000)).end(journey.Released).
			seen(short, dns(33001)).end(journey.Enqueued), true, "different"},
		{"two of a flow exchanged", newTrace().seen(long, web).end(journey.Released).seen(short, dns(33000)).end(journey.Enqueued).
			seen(short, dns(33001)).end(journey.Released), false, "different"},
		{"one is missing", newTrace().seen(long, web).end(journey.Released).seen(short, dns(33000)).end(journey.Released), false, "different"},
		{"one too many", a().seen(long, web).end(journey.Released), false, "different"},
		{"another port", newTrace().seen(short, dns(40000)).end(journey.Released).seen(long, udp(here, there, 50000, 81, 64, 0, 0)).
			end(journey.Released).seen(short, dns(40001)).end(journey.Enqueued), false, "different"},
		{"one is under way", newTrace().seen(short, dns(40000)).seen(long, web).end(journey.Released).
			seen(short, dns(40001)).end(journey.Enqueued), false, "inconclusive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := test.b.record()
			b.Evidence.Settled = true // as of a file of events
			c := Records(a().record(), b, test.all, Options{})
			qt.Check(t, qt.Equals(c.Verdict(), test.verdict), qt.Commentf("%+v", c))
			c = Records(b, a().record(), test.all, Options{})
			qt.Check(t, qt.Equals(c.Verdict(), test.verdict), qt.Commentf("%+v", c))
			b.Evidence.Loss = []journey.Loss{{Cause: "records lost", Count: 1}}
			c = Records(a().record(), b, test.all, Options{})
			qt.Check(t, qt.Equals(c.Verdict(), "inconclusive"))
			qt.Check(t, qt.StringContains(strings.Join(c.Doubts, ""), "records lost (1 time)"))
		})
	}
}

// TestWords: each kind of first difference in a sentence, and hop by hop.
func TestWords(t *testing.T) {
	p := udp(here, there, 40000, 53, 64, 0, 0)
	of := func(end journey.ObservationKind, at string, looks ...*journey.Packet) *Shape {
		return Of(newTrace().seen(strings.Fields(at), append(looks, p)...).end(end).record().Journeys[0], Options{})
	}
	base := of(journey.Released, "ip_rcv_core@a ip_forward@a ip_output@a ip_rcv_core@b udp_rcv@b")
	var all strings.Builder
	for _, test := range []struct {
		name string
		b    *Shape
	}{
		{"a hop less", of(journey.Released, "ip_rcv_core@a ip_output@a ip_rcv_core@b udp_rcv@b")},
		{"a hop more", of(journey.Released, "ip_rcv_core@a ip_forward@a ip_output@a ip_rcv_core@b ip_local_deliver@b udp_rcv@b")},
		{"exchanged", of(journey.Released, "ip_rcv_core@a ip_forward@a ip_rcv_core@b ip_output@a udp_rcv@b")},
		{"on another node", of(journey.Released, "ip_rcv_core@a ip_forward@c ip_output@a ip_rcv_core@b udp_rcv@b")},
		{"rewritten", of(journey.Released, "ip_rcv_core@a ip_forward@a ip_output@a ip_rcv_core@b udp_rcv@b",
			p, p, udp(gate, there, 40000, 53, 64, 0, 0), udp(gate, there, 40000, 53, 64, 0, 0), udp(gate, there, 40000, 53, 64, 0, 0))},
		{"another end", of(journey.Enqueued, "ip_rcv_core@a ip_forward@a ip_output@a ip_rcv_core@b udp_rcv@b")},
		{"another packet", of(journey.Released, "ip_rcv_core@a ip_forward@a ip_output@a ip_rcv_core@b udp_rcv@b", udp(gate, there, 40000, 53, 64, 0, 0))},
	} {
		d := Compare(base, test.b)
		qt.Assert(t, qt.IsNotNil(d), qt.Commentf(test.name))
		qt.Check(t, qt.IsNil(d.Inconclusive()))
		all.WriteString(test.name + ": " + d.Words("in a") + "\n" + d.String() + "\n")
	}
	golden.Check(t, "words.txt", all.String())
}

// TestKernels: what Linux 6.1 and 7.3 did otherwise in an example suite, and not what only looks otherwise. The records are those that
// -waybill.record leaves of the suite's translation of IPv6 prefixes.
func TestKernels(t *testing.T) {
	records := make([]*journey.Record, 2)
	for i, kernel := range []string{"6.1", "7.3"} {
		text, err := os.ReadFile(filepath.Join("testdata", "kernels", "prefix-"+kernel+".json"))
		qt.Assert(t, qt.IsNil(err))
		records[i] = new(journey.Record)
		qt.Assert(t, qt.IsNil(json.Unmarshal(text, records[i])))
	}
	c := Records(records[0], records[1], false, Options{})
	qt.Check(t, qt.Equals(c.Verdict(), "same"))
	qt.Check(t, qt.IsTrue(c.Same > 0))
	c = Records(records[0], records[1], true, Options{})
	qt.Check(t, qt.Equals(c.Verdict(), "different"))
	var all strings.Builder
	for _, p := range c.Different {
		all.WriteString(p.Packet + "\n" + p.String() + p.Words + "\n\n")
	}
	golden.Check(t, "kernels.txt", all.String())
}
