package shape

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/journey"
)

// Options say what makes no difference.
type Options struct {
	// AnyAddress: which addresses the packet has, and whether they are IPv4's or IPv6's. They are told by letters, in the order
	// in which they appear, so what NAT does still counts. Rules are told by their comments if they have any, since their texts
	// have addresses in them.
	AnyAddress bool
	// AnyRule: which rules judged the packet, as long as the same became of it.
	AnyRule bool
	// Without: places that are no hops: milestones, functions, "nft inet filter input".
	Without []string
}

// Shape is the normal form of a journey.
type Shape struct {
	// Packet is what it looked like at first sight.
	Packet string
	// Ways are those of its branches, copies for sniffers aside, sorted by their hops.
	Ways []Way

	evidence *journey.Evidence // nil if it was read from text
	// late says that the packet may have been under way before it was first seen: none without a device or a socket is.
	late bool
}

// Way is what happened to a packet from the beginning to one end of it. The last hop is the end.
type Way []Hop

// Hop is something that happened to a packet.
type Hop struct {
	// Node and Device are where; Device is "-" if the packet had none, and Node if it is not known.
	Node   string `json:"node"`
	Device string `json:"device"`
	// Place is a milestone, a function, a chain ("nft inet filter input"), or for an end the kind of outcome.
	Place string `json:"place"`
	// Note is what is to be said of it: verdict, what was rewritten since the hop before, reason; may be empty.
	Note string `json:"note,omitempty"`

	event int // of the journey, -1 for none
}

// Of brings a journey into the normal form.
func Of(j *journey.Journey, options Options) *Shape {
	s := &Shape{Packet: "a packet of unknown content", evidence: j.Evidence, late: j.Origin == nil || j.Origin.SocketCookie == 0}
	names := newNames(j, options)
	if p := first(j); p != nil {
		s.Packet = names.packet(p)
	}
	for _, b := range j.Deciding() {
		s.Ways = append(s.Ways, wayOf(j, b, names.fork(), options))
	}
	slices.SortStableFunc(s.Ways, func(a, b Way) int { return strings.Compare(a.key(), b.key()) })
	return s
}

// first is what a packet looks like at first sight. Where TCP gives it to IPv6, it has no header of IP yet: that comes second to any
// other sight of it.
func first(j *journey.Journey) (found *journey.Packet) {
	for i := range j.Events {
		e := &j.Events[i]
		if e.Packet != nil && e.Probe.Name != headless {
			return e.Packet
		}
		if found == nil {
			found = e.Packet
		}
	}
	return found
}

// headless is a function whose packets have no IP header yet (net/ipv6/ip6_output.c).
const headless = "ip6_xmit"

// key is the same for ways that are the same.
func (w Way) key() string {
	var b strings.Builder
	for _, h := range w {
		b.WriteString(strings.Join([]string{h.Node, h.Device, h.Place, h.Note}, "\x00") + "\n")
	}
	return b.String()
}

// events lists the events of a branch, by index, behind those of the branches that it was cloned of, up to then.
func events(j *journey.Journey, branch int) []int {
	until := len(j.Events)
	var parts [][]int
	for branch >= 0 {
		b := &j.Branches[branch]
		var own []int
		for _, i := range b.Events {
			if i < until {
				own = append(own, i)
			}
		}
		parts = append(parts, own)
		if b.Parent >= branch {
			break
		}
		until, branch = min(until, b.Since), b.Parent
	}
	slices.Reverse(parts)
	return slices.Concat(parts...)
}

func wayOf(j *journey.Journey, branch int, n *names, options Options) Way {
	var way Way
	var changes []string
	probe := journey.Probe{} // of the hop before
	for _, i := range events(j, branch) {
		e := &j.Events[i]
		place, note := placeOf(e, options)
		if place != string(journey.LocalOut) { // where the header is not finished, and of a tunnel's it may not look like one
			changes = append(changes, n.changes(e.Packet)...)
		}
		if place == "" || slices.Contains(options.Without, place) {
			continue
		}
		h := Hop{Node: n.node(e.NetNS), Device: device(e.Device), Place: place, Note: note, event: i}
		if last := len(way) - 1; last >= 0 && way[last].Place == place && way[last].Node == h.Node && way[last].Device == h.Device &&
			probe != e.Probe && e.NFT == nil && e.IPTables == nil && e.Return == nil {
			way[last].Note = strings.Join(append(notes(way[last].Note), changes...), ", ")
			changes = nil
			continue
		}
		probe = e.Probe
		if len(way) == 0 && place == string(journey.LocalOut) {
			continue
		}
		h.Note = strings.Join(append(notes(note), changes...), ", ")
		way, changes = append(way, h), nil
	}
	end := endOf(&j.Branches[branch].Outcome, n, options)
	end.Note = strings.Join(append(notes(end.Note), changes...), ", ")
	end.event = -1
	way = append(way, end)
	for i := range way {
		way[i].Note = oneLine(way[i].Note)
	}
	for i := range j.Events {
		if &j.Events[i] == j.Branches[branch].Outcome.Event {
			way[len(way)-1].event = i
		}
	}
	return way
}

func notes(note string) []string {
	if note == "" {
		return nil
	}
	return []string{note}
}

func device(d *journey.Device) string {
	switch {
	case d == nil, d.Name == "" && d.Index == 0:
		return "-"
	case d.Name == "":
		return "?" // its number is the kernel's choice
	}
	return d.Name
}

// String is the normal form as text: the packet, and below it its hops, a line each.
func (s *Shape) String() string {
	var b strings.Builder
	b.WriteString(s.Packet + "\n")
	widths := widthsOf(slices.Concat(s.Ways...))
	for i, w := range s.Ways {
		if len(s.Ways) > 1 {
			fmt.Fprintf(&b, "  way %d of %d\n", i+1, len(s.Ways))
		}
		for _, h := range w {
			b.WriteString("  " + h.line(widths) + "\n")
		}
	}
	return b.String()
}

// widthsOf are the widths of the columns of hops.
func widthsOf(hops []Hop) (widths [3]int) {
	for _, h := range hops {
		for c, cell := range []string{h.Node, h.Device, h.Place} {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func (h Hop) line(widths [3]int) string {
	line := fmt.Sprintf("%-*s  %-*s  %-*s  %s", widths[0], h.Node, widths[1], h.Device, widths[2], h.Place, h.Note)
	return strings.TrimRight(line, " ")
}

// String is the hop in words: "'local in' in fw on eth0", "dropped in fw on eth0".
func (h Hop) String() string {
	place := h.Place
	if !slices.Contains(ends, journey.OutcomeKind(place)) {
		place = "'" + place + "'"
	}
	if h.Device == "-" {
		return place + " in " + h.Node
	}
	return fmt.Sprintf("%s in %s on %s", place, h.Node, h.Device)
}

// ends are the places of ends.
var ends = []journey.OutcomeKind{
	journey.Delivered, journey.Dropped, journey.Consumed, journey.Freed, journey.Merged, journey.Queued, journey.Undetermined,
}

// oneLine keeps what a ruleset has in a comment from ending the line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '�'
		}
		return r
	}, text)
}
