package journey

import (
	"fmt"
	"slices"
	"strings"
)

// Relation says what a packet is to another one.
type Relation string

// The relations. In all but the last two, data of the one is in the other.
const (
	// Copy: it was made as a copy of the other, with data of its own.
	Copy Relation = "copy"
	// Fragment: IP made it of the other, which was too long for a link.
	Fragment Relation = "fragment"
	// Segment: it was made of the other by segmentation offload, in software (GSO).
	Segment Relation = "segment"
	// Part: TCP divided the other before it sent it, or sent it again.
	Part Relation = "part"
	// MergedInto: its data went on as part of the other, by reassembly of fragments, by GRO or in a queue of TCP.
	MergedInto Relation = "merged"
	// Answer: the kernel sent it while it handled the other: an ICMP error, an echo reply, a reset, an acknowledgement, what a
	// rule of netfilter sends, the reply to an ARP request or a neighbour solicitation.
	Answer Relation = "answer"
	// Solicitation: it asks for the link-layer address of the other's next hop. What is asked again when nobody answers is sent
	// by a timer, and has no link.
	Solicitation Relation = "solicitation"
)

// isDerived says that the packet was made of the other's data.
func (r Relation) isDerived() bool {
	return r == Copy || r == Fragment || r == Segment || r == Part
}

// Link is what a packet is to another one. Links are told by functions of the kernel: where none can be observed
// ([Evidence.NoFunctions]), there are none, and that says nothing.
type Link struct {
	Relation Relation
	// To is the other packet. It need not be in the record: it may be older than the trace.
	To ID
}

// kin finds the journeys of a record by their packets, and by those that they are linked to.
type kin struct {
	byID   map[ID]*Journey
	linked map[ID][]relative // in order of first sight
}

// relative is a journey that is something to another one.
type relative struct {
	*Journey
	relation Relation
}

// relate prepares a record for questions about lineage.
func (r *Record) relate() {
	r.kin = kin{byID: make(map[ID]*Journey, len(r.Journeys)), linked: make(map[ID][]relative)}
	for _, j := range r.Journeys {
		r.kin.byID[j.ID] = j
	}
	for _, j := range r.Journeys {
		for _, l := range j.Links {
			if r.kin.byID[l.To] != nil {
				r.kin.linked[l.To] = append(r.kin.linked[l.To], relative{j, l.Relation})
			}
		}
	}
	for _, j := range r.Journeys {
		j.goOn()
	}
}

// goOn tells the branches that ended because something else was made of the packet what that is.
func (j *Journey) goOn() {
	counts := make(map[Relation]int)
	for _, child := range j.linked() {
		if child.relation.isDerived() {
			counts[child.relation]++
		}
	}
	var words []string
	for _, relation := range []Relation{Copy, Fragment, Segment, Part} {
		if n := counts[relation]; n == 1 {
			words = append(words, "a "+string(relation))
		} else if n > 1 {
			words = append(words, fmt.Sprintf("%d %s", n, relation.plural()))
		}
	}
	for _, i := range j.Deciding() {
		if o := &j.Branches[i].Outcome; words != nil && o.Kind == Consumed && o.Place == "" {
			o.WentOn = strings.Join(words, " and ")
		}
	}
}

func (r Relation) plural() string {
	if r == Copy {
		return "copies"
	}
	return string(r) + "s"
}

func (j *Journey) linked() []relative {
	if j.record == nil {
		return nil
	}
	return j.record.kin.linked[j.ID]
}

// related returns the journeys that are something to this one, in order of first sight.
func (j *Journey) related(is func(Relation) bool) []*Journey {
	var found []*Journey
	for _, other := range j.linked() {
		if is(other.relation) {
			found = append(found, other.Journey)
		}
	}
	return found
}

// isMade says that the packet was made of another one that the same socket sent, perhaps before the mark.
func (j *Journey) isMade(cookie uint64) bool {
	return slices.ContainsFunc(j.Links, func(l Link) bool {
		if !l.Relation.isDerived() {
			return false
		}
		of := j.record.kin.byID[l.To]
		if of == nil {
			return j.record.earlier[cookie]
		}
		return of.Origin != nil && of.Origin.SocketCookie == cookie
	})
}

// Cause returns the packet that this one was made of, or because of which it was sent, and in what way. The relation is empty if
// none is known, and the journey is nil if that packet is not in the record.
func (j *Journey) Cause() (*Journey, Relation) {
	for _, l := range j.Links {
		if l.Relation == MergedInto {
			continue
		}
		if j.record == nil {
			return nil, l.Relation
		}
		return j.record.kin.byID[l.To], l.Relation
	}
	return nil, ""
}

// MadeOf returns the packets whose data became part of this one, in order of first sight: the fragments of a datagram but the
// first, whose journey goes on as the datagram's, and what GRO or TCP appended.
func (j *Journey) MadeOf() []*Journey {
	return j.related(func(r Relation) bool { return r == MergedInto })
}

// Descendants returns the packets that were made of this one's data: copies, fragments, segments, parts, and what was made of
// those in turn, in order of first sight.
func (j *Journey) Descendants() []*Journey {
	if j.record == nil {
		return nil
	}
	all := map[*Journey]bool{j: true}
	open := []*Journey{j}
	for len(open) > 0 {
		for _, child := range open[0].related(Relation.isDerived) {
			if !all[child] {
				all[child] = true
				open = append(open, child)
			}
		}
		open = open[1:]
	}
	var found []*Journey
	for _, other := range j.record.Journeys {
		if all[other] && other != j {
			found = append(found, other)
		}
	}
	return found
}

// Answers returns the packets that the kernel sent while it handled this one ([Answer]), in order of first sight.
func (j *Journey) Answers() []*Journey {
	return j.related(func(r Relation) bool { return r == Answer })
}

// Solicitations returns the ARP requests and neighbour solicitations that were sent because this packet waited for an address.
func (j *Journey) Solicitations() []*Journey {
	return j.related(func(r Relation) bool { return r == Solicitation })
}

// Lineage says in words what the packet has to do with others, one line each: first those that it comes from or went into, then
// those that come of it.
func (j *Journey) Lineage() []string {
	var lines []string
	for _, l := range j.Links {
		other := "#" + l.To.String()
		if j.record != nil && j.record.kin.byID[l.To] != nil {
			other = j.record.kin.byID[l.To].Summary()
		}
		lines = append(lines, l.Relation.of()+" "+other)
	}
	for _, other := range j.linked() {
		lines = append(lines, other.relation.by()+" "+other.Summary())
	}
	return lines
}

// of introduces the other packet of a link, said of the one that has it.
func (r Relation) of() string {
	switch r {
	case MergedInto:
		return "went on in"
	case Answer:
		return "in answer to"
	case Solicitation:
		return "a solicitation for"
	}
	return "a " + string(r) + " of"
}

// by introduces the packet that has a link, said of the other.
func (r Relation) by() string {
	switch r {
	case MergedInto:
		return "took over the data of"
	case Answer:
		return "answered by"
	case Solicitation:
		return "waited for"
	}
	return "its " + string(r)
}

// link notes what the packet is to another one, once.
func (a *Assembler) link(p *packet, o *Observation) {
	l := Link{o.Relation, o.Other}
	// IP goes from one fragment to the next when it has them in a list (ip_fraglist_next): what it has not sent yet and calls a
	// fragment's origin is another fragment of the same datagram.
	if other := a.packets[o.Other]; o.Relation == Fragment && other != nil && len(other.branches) == 0 &&
		len(other.links) > 0 && other.links[0].Relation == Fragment {
		l.To = other.links[0].To
	}
	if !slices.Contains(p.links, l) {
		p.links = append(p.links, l)
	}
}
