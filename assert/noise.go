package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// Noise is a kind of packet that kernels send by themselves, and which may be dropped without that anything is wrong.
type Noise struct {
	// Name is what it is, in words.
	Name string
	is   func(*journey.Packet, journey.Header, bool) bool
}

// Background lists what [HaveNoUnexpectedDrops] ignores, if no test sent it.
func Background() []Noise {
	icmpv6 := func(low, high uint8) func(*journey.Packet, journey.Header, bool) bool {
		return func(p *journey.Packet, h journey.Header, ok bool) bool {
			t, known := p.ICMPType()
			return ok && h.Proto == 58 && known && t >= low && t <= high
		}
	}
	return []Noise{
		{"MLD: ICMPv6 types 130 to 132 and 143", func(p *journey.Packet, h journey.Header, ok bool) bool {
			return icmpv6(130, 132)(p, h, ok) || icmpv6(143, 143)(p, h, ok)
		}},
		{"router and neighbour discovery: ICMPv6 types 133 to 137", icmpv6(133, 137)},
		{"IGMP", func(_ *journey.Packet, h journey.Header, ok bool) bool { return ok && h.Proto == 2 }},
		{"gratuitous ARP", func(p *journey.Packet, _ journey.Header, _ bool) bool { return p.GratuitousARP() }},
	}
}

// HaveNoUnexpectedDrops succeeds if no packet of a record was dropped, other than those that one of the given matchers
// expects and background noise that no test sent: see [Background]. It is asked of a record, or of some of its journeys.
//
//	Expect(record).To(HaveNoUnexpectedDrops(BeDropped(ByRule("no metrics"))))
func HaveNoUnexpectedDrops(expected ...types.GomegaMatcher) types.GomegaMatcher {
	return &dropsMatcher{expected: expected}
}

type dropsMatcher struct {
	expected   []types.GomegaMatcher
	unexpected []*journey.Journey
	ignored    map[string]int
	total      int
}

// Match implements gomega's matcher.
func (m *dropsMatcher) Match(actual any) (bool, error) {
	const name = "HaveNoUnexpectedDrops"
	m.unexpected, m.ignored, m.total = nil, make(map[string]int), 0
	var journeys []*journey.Journey
	var evidence *journey.Evidence
	switch a := actual.(type) {
	case interface {
		All() []*journey.Journey
		Evidence() *journey.Evidence
	}:
		journeys, evidence = a.All(), a.Evidence()
	case *journey.Record:
		journeys, evidence = a.All(), a.Evidence
	case []*journey.Journey:
		if journeys = a; len(a) > 0 && a[0] != nil {
			evidence = a[0].Evidence
		}
	default:
		return false, fmt.Errorf("%s: it looks at a record, or at journeys of one, not at a %T", name, actual)
	}
	if evidence == nil {
		return false, errors.New(wrap(name+": no journeys were given, so nothing tells how they were recorded; "+
			"give the record itself", "  "))
	}
	m.total = len(journeys)
	for _, j := range journeys {
		if j == nil {
			return false, errors.New(name + ": one of the journeys is nil")
		}
		if err := m.sort(j); err != nil {
			return false, err
		}
	}
	if len(m.unexpected) > 0 {
		return false, nil
	}
	if err := armed(name, dropProbe, evidence); err != nil {
		return false, err
	}
	if err := evidence.Incomplete(); err != nil {
		return false, fmt.Errorf("%w.\n\nSo the record cannot tell whether more packets than those that were seen were dropped",
			wrapped{err})
	}
	return true, nil
}

// sort finds out whether a packet was dropped, and whether that was to be expected.
func (m *dropsMatcher) sort(j *journey.Journey) error {
	dropped := false
	for _, i := range j.Deciding() {
		dropped = dropped || j.Branches[i].Outcome.Kind == journey.Dropped
	}
	if !dropped {
		return nil
	}
	for _, e := range m.expected {
		switch ok, err := e.Match(j); {
		case err != nil:
			return err
		case ok:
			return nil
		}
	}
	if name := noise(j); name != "" {
		m.ignored[name]++
		return nil
	}
	m.unexpected = append(m.unexpected, j)
	return nil
}

// noise names the kind of background noise that a packet is; empty if it is none, or a test sent it.
func noise(j *journey.Journey) string {
	if j.Origin != nil && j.Evidence != nil && slices.Contains(j.Evidence.Sockets, j.Origin.SocketCookie) {
		return ""
	}
	for i := range j.Events {
		p := j.Events[i].Packet
		if p == nil {
			continue
		}
		h, ok := p.Header()
		for _, n := range Background() {
			if n.is(p, h, ok) {
				return n.Name
			}
		}
		return ""
	}
	return ""
}

// FailureMessage implements gomega's matcher.
func (m *dropsMatcher) FailureMessage(any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Expected no unexpected drops,\nbut of %s, no matcher expects the drop of %d:\n", packets(m.total),
		len(m.unexpected))
	for n, j := range m.unexpected {
		if n == listedDrops {
			fmt.Fprintf(&b, "\nand %d more\n", len(m.unexpected)-listedDrops)
			break
		}
		f := finding{journey: j, hops: drops(j)}
		fmt.Fprintf(&b, "\n    %s\n%s%s\n", j.Flow(), hopLines(j, f.hops), outcomes(j)+advice(j))
	}
	b.WriteString("\n" + m.listing() + artifacts(m.unexpected[0].Evidence))
	return painted(b.String())
}

// listedDrops is how many journeys a failure shows.
const listedDrops = 3

func packets(n int) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

// listing says what is ignored.
func (m *dropsMatcher) listing() string {
	lines := []string{"Ignored, unless a test sent it:"}
	for _, n := range Background() {
		line := "  " + n.Name
		if c := m.ignored[n.Name]; c > 0 {
			line += fmt.Sprintf(" (dropped %s)", times(c))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func drops(j *journey.Journey) []int {
	var events []int
	for _, i := range j.Deciding() {
		if o := &j.Branches[i].Outcome; o.Kind == journey.Dropped {
			events = append(events, indexOf(j, o.Event))
		}
	}
	return events
}

// NegatedFailureMessage implements gomega's matcher.
func (m *dropsMatcher) NegatedFailureMessage(any) string {
	return fmt.Sprintf("Expected unexpected drops,\nbut of %s, none was dropped that no matcher expects.\n\n%s",
		packets(m.total), m.listing())
}

// MatchMayChangeInTheFuture tells gomega that a record does not change.
func (m *dropsMatcher) MatchMayChangeInTheFuture(any) bool { return false }
