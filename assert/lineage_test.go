package assert

import (
	"encoding/binary"
	"testing"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// firstOf is the packet of the first path of a record.
var firstOf = journey.ID{FirstSeen: 0x2af31dc461, Head: 0xffff888004c1e000}

// linked makes the path that of a packet that is something to the first one of its record.
func (p *path) linked(relation journey.Relation) *path {
	o := p.add(journey.Linked, 1)
	o.Relation, o.Other = relation, firstOf
	return p
}

// consumed is a packet that the kernel took for itself.
func consumed() *path { return arrival().life(journey.Released, 1) }

// portUnreachable is an ICMP error by which the server answers a datagram.
func portUnreachable() *path {
	p := newPath()
	b := make([]byte, 56)
	b[0], b[8], b[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(b[2:], 56)
	copy(b[12:], []byte{172, 16, 42, 2, 172, 16, 42, 1})
	b[20], b[21] = 3, 3
	copy(b[28:], datagram(8080).Data[:28])
	p.packet = &journey.Packet{Proto: 0x0800, Len: 56, Data: b}
	return p.see(1, server, "to-fw", "ip_output").life(journey.Released, 1)
}

func TestLineage(t *testing.T) {
	blind := complete()
	blind.NoFunctions = "this kernel is locked down"
	unlinked := complete()
	unlinked.Unlinked = []string{"icmpv6_rcv", "nf_hook_slow"}
	refused := noSocket().among(complete(), portUnreachable().linked(journey.Answer))
	cut := consumed().among(complete(), delivered().linked(journey.Fragment), delivered().linked(journey.Fragment))
	merged := consumed().linked(journey.MergedInto).among(complete())
	merged.Links[0].To.FirstSeen++
	for _, test := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		want    verdict
	}{
		{"answered", refused, BeAnsweredBy(Reach("ip_output", At(server))), holds},
		{"answered-otherwise", refused, BeAnsweredBy(BeDropped()), fails},
		{"answered-never", noSocket().among(complete(), portUnreachable()), BeAnsweredBy(Reach("ip_output")), fails},
		{"answered-loss", noSocket().among(lossy(), portUnreachable()), BeAnsweredBy(Reach("ip_output")), inconclusive},
		{"answered-lossy", noSocket().among(lossy(), portUnreachable().linked(journey.Answer)), BeAnsweredBy(Reach("ip_output")), holds},
		{"answered-unlinked", noSocket().journey(unlinked), BeAnsweredBy(BeDropped()), inconclusive},
		{"answered-nothing", refused, BeAnsweredBy(nil), misused},
		{"answered-blind", noSocket().journey(blind), BeAnsweredBy(BeDropped()), misused},
		{"rejected", refused, BeRejected(), holds},
		{"rejected-with", refused, BeRejected(With("icmp port-unreachable")), holds},
		{"rejected-otherwise", refused, BeRejected(With("tcp reset")), fails},
		{"rejected-by-nobody", noSocket().among(complete(), portUnreachable()), BeRejected(), fails},
		{"rejected-not-but-answered", noSocket().among(complete(), delivered().linked(journey.Answer)), BeRejected(), fails},
		{"rejected-loss", noSocket().journey(lossy()), BeRejected(), inconclusive},
		{"fragmented", cut, BeFragmentedInto(2), holds},
		{"fragmented-into-more", cut, BeFragmentedInto(3), fails},
		{"fragmented-not", delivered().journey(complete()), BeFragmentedInto(2), fails},
		{"fragmented-itself", delivered().among(complete(), delivered().linked(journey.Fragment)), BeFragmentedInto(2), holds},
		{"fragmented-loss", consumed().among(lossy(), delivered().linked(journey.Fragment), delivered().linked(journey.Fragment)),
			BeFragmentedInto(2), inconclusive},
		{"fragmented-into-one", cut, BeFragmentedInto(1), misused},
		{"segmented-not-but-fragmented", cut, BeSegmentedInto(2), fails},
		{"segmented", consumed().among(complete(), delivered().linked(journey.Segment), delivered().linked(journey.Segment)),
			BeSegmentedInto(2), holds},
		{"merged", delivered().among(complete(), consumed().linked(journey.MergedInto)).MadeOf()[0],
			BeMergedInto(delivered().journey(complete())), holds},
		{"merged-elsewhere", merged, BeMergedInto(delivered().journey(complete())), fails},
		{"merged-not", delivered().journey(complete()), BeMergedInto(cut), fails},
		{"merged-into-nothing", cut, BeMergedInto(nil), misused},
	} {
		t.Run(test.name, func(t *testing.T) { checkMatcher(t, test.name, test.actual, test.matcher, test.want) })
	}
}
