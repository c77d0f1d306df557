package journey

import (
	"net/netip"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// sent is a packet as a harness would give it.
type sent uint64

func (s sent) SocketCookie() uint64 { return uint64(s) }
func (s sent) String() string       { return "a UDP datagram from client to 172.16.42.2 port 8080" }

// another returns the demo's observations as those of another packet, sent by another socket.
func another(id, cookie uint64) []Observation {
	var all []Observation
	for _, o := range demoObservations() {
		o.ID.FirstSeen, o.SKB = id, o.SKB+id
		if o.Kind == Origin {
			o.SocketCookie = cookie
		}
		all = append(all, o)
	}
	return all
}

func TestOf(t *testing.T) {
	r := sealed(demoObservations(), complete())
	j, err := r.Of(sent(demoCookie))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(j, r.Journeys[0]))
	qt.Check(t, qt.HasLen(r.All(), 1))
}

func TestOfErrors(t *testing.T) {
	lossy := complete()
	lossy.Loss = []Loss{{"records lost: the ring buffer was full", 3}, {"packets not followed: the identity map was full", 0}}
	var many []Observation
	for i := range uint64(listed + 2) {
		many = append(many, another(5000+i, 7)...)
	}
	markedLate := NewAssembler(demoID.FirstSeen + 1)
	for _, o := range demoObservations() {
		markedLate.Add(&o)
	}
	for _, test := range []struct {
		name         string
		record       *Record
		sent         sent
		inconclusive bool
	}{
		{"no-cookie", sealed(demoObservations(), complete()), 0, false},
		{"nothing-seen", sealed(nil, complete()), demoCookie, false},
		{"nothing-sent", sealed(append(demoObservations(), another(5000, 7)...), complete()), 8, false},
		{"before-the-mark", markedLate.Seal(complete()), demoCookie, false},
		{"two-packets", sealed(append(demoObservations(), another(5000, demoCookie)...), complete()), demoCookie, false},
		{"many-packets", sealed(many, complete()), 7, false},
		{"loss", sealed(demoObservations(), lossy), 8, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.record.Of(test.sent)
			qt.Assert(t, qt.IsNotNil(err))
			golden.Check(t, "of/"+test.name+".txt", err.Error()+"\n")
			if test.inconclusive {
				qt.Check(t, qt.ErrorIs(err, ErrInconclusive))
			} else {
				qt.Check(t, qt.Not(qt.ErrorIs(err, ErrInconclusive)))
			}
		})
	}
}

func TestIncomplete(t *testing.T) {
	for want, e := range map[string]*Evidence{
		"": {Sealed: true, Settled: true, Loss: []Loss{{"ring full", 0}}},
		"INCONCLUSIVE: the journey carries no account of how it was recorded":                                                      nil,
		"INCONCLUSIVE: the record was not sealed, so events may still have been on their way to it":                                {Settled: true},
		"INCONCLUSIVE: the packets had not settled when the record was sealed":                                                     {Sealed: true},
		"INCONCLUSIVE: the packets had not settled when the record was sealed (1 skb still moving)":                                {Sealed: true, Moving: 1},
		"INCONCLUSIVE: the packets had not settled when the record was sealed (2 skbs still moving)":                               {Sealed: true, Moving: 2},
		"INCONCLUSIVE: records lost: the ring buffer was full (3 times); packets not followed: the identity map was full (1 time)": {Sealed: true, Settled: true, Loss: []Loss{{"records lost: the ring buffer was full", 3}, {"packets not followed: the identity map was full", 1}}},
	} {
		err := e.Incomplete()
		if want == "" {
			qt.Check(t, qt.IsNil(err))
			continue
		}
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), want))
		qt.Check(t, qt.ErrorIs(err, ErrInconclusive))
	}
}

// TestSealUnsettled: what the observer claims does not outweigh what the assembler knows.
func TestSealUnsettled(t *testing.T) {
	evidence := complete()
	r := sealed(demoObservations()[:2], evidence)
	qt.Check(t, qt.IsFalse(r.Evidence.Settled))
	qt.Check(t, qt.Equals(r.Evidence.Moving, 1))
	qt.Check(t, qt.IsTrue(evidence.Settled))
}

// TestAnnotate: annotations stay in the record, and names of nodes come from the evidence.
func TestAnnotate(t *testing.T) {
	observations := demoObservations()
	r := sealed(observations, complete())
	r.Annotate(annotate)
	o := r.Journeys[0].Outcome()
	qt.Check(t, qt.Equals(o.Rule.NFT.Comment, "no metrics from outside"))
	qt.Check(t, qt.Equals(o.NetNS.Node, "server"))
	qt.Check(t, qt.Equals(r.Journeys[0].Origin.NetNS.Node, "client"))
	for _, o := range observations {
		qt.Check(t, qt.IsTrue(o.NFT == nil || o.NFT.Comment == ""))
		qt.Check(t, qt.IsTrue(o.NetNS == nil || o.NetNS.Node == ""))
	}
}

// TestUnvouched: why a rule's text is not known is often found while the rules are looked up.
func TestUnvouched(t *testing.T) {
	evidence := complete()
	evidence.Unvouched = map[uint64]string{}
	r := sealed(demoObservations(), evidence)
	r.Annotate(func(e *Event) { r.Evidence.Unvouched[e.NetNS.Cookie] = "it changed meanwhile" })
	qt.Check(t, qt.Equals(r.Journeys[0].Outcome().Judge(),
		"the rule with handle 4 (table filter, chain input; its text is not known: it changed meanwhile)"))
}

func TestArmed(t *testing.T) {
	e := &Evidence{Probes: []Probe{{Function, "ip_rcv"}}}
	qt.Check(t, qt.IsTrue(e.Armed("ip_rcv")))
	qt.Check(t, qt.IsFalse(e.Armed("ip_forward")))
	e = nil
	qt.Check(t, qt.IsFalse(e.Armed("ip_rcv")))
}

func TestEnd(t *testing.T) {
	at := netip.MustParseAddrPort
	for _, test := range []struct {
		is, meant netip.AddrPort
		want      bool
	}{
		{at("10.0.0.1:53"), at("10.0.0.1:53"), true},
		{at("10.0.0.1:53"), at("10.0.0.1:0"), true},
		{at("10.0.0.1:53"), at("10.0.0.1:54"), false},
		{at("10.0.0.1:0"), at("10.0.0.1:53"), false},
		{at("10.0.0.1:53"), at("10.0.0.2:0"), false},
		{at("10.0.0.1:53"), netip.AddrPort{}, false},
		{at("[fd00::1]:53"), at("[fd00::1]:0"), true},
	} {
		qt.Check(t, qt.Equals(end(test.is).is(test.meant), test.want), qt.Commentf("%v, meant %v", test.is, test.meant))
	}
}
