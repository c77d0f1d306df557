package journey

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Format is how events are printed. The zero value is that of [Event.Text] and [Journey.Text].
type Format struct {
	// OneLine puts everything about an event into its first line.
	OneLine bool
	// Offset is how far the clock of the day is ahead of CLOCK_MONOTONIC. If it is not 0, times are those of the day, in UTC.
	Offset time.Duration
	// Branches puts the events of each copy together, as a branch of where it was made; without it, all are in order of time.
	Branches bool
}

// Event is the event alone.
func (f Format) Event(e *Event) string {
	var b strings.Builder
	f.write(&b, e, "", "  ", &described{})
	return b.String()
}

// Journey is the journey's events: the first at the margin, later ones below an arrow, numbered in order of time.
func (f Format) Journey(j *Journey) string {
	branches := slices.Repeat([]int{-1}, len(j.Events))
	for i := range j.Branches {
		for _, event := range j.Branches[i].Events {
			branches[event] = i
		}
	}
	var b strings.Builder
	b.Grow(512 * len(j.Events))
	var earlier described
	for at, spot := range f.order(j, branches) {
		indent := "  "
		if at > 0 {
			b.WriteString(strings.Repeat("  ", spot.depth) + "  ↳ ")
			indent = strings.Repeat("  ", spot.depth) + "      "
		}
		first := " n " + strconv.Itoa(spot.event)
		if note := j.copyNote(spot.event, branches[spot.event]); note != "" {
			first += " [" + note + "]"
		}
		f.write(&b, &j.Events[spot.event], first, indent, &earlier)
	}
	return b.String()
}

// described is the last packet and connection that were put into words. From one event to the next they are the same, mostly, and
// words are most of what printing costs.
type described struct {
	packet     *Packet
	lines      []string
	conntrack  *Conntrack
	connection string
}

func (d *described) packetLines(p *Packet) []string {
	if d.packet == nil || !d.packet.equal(p) {
		d.packet, d.lines = p, p.Lines()
	}
	return d.lines
}

func (d *described) conntrackLine(c *Conntrack) string {
	if d.conntrack == nil || *d.conntrack != *c {
		d.conntrack, d.connection = c, c.String()
	}
	return d.connection
}

// write writes an event. What belongs to its first line goes behind the probe, and the sections behind indent.
func (f Format) write(b *strings.Builder, e *Event, first, indent string, earlier *described) {
	line := make([]byte, 0, 256)
	if f.Offset != 0 {
		line = time.Unix(0, int64(e.Time)).Add(f.Offset).UTC().AppendFormat(line, "2006-01-02 15:04:05.000000")
	} else {
		line = strconv.AppendUint(line, e.Time, 10)
	}
	line = strconv.AppendUint(append(line, " ("...), uint64(e.CPU), 10)
	line = append(append(append(line, ") ["...), e.Comm...), "] "...)
	line = strconv.AppendUint(line, uint64(e.PID), 10)
	line = append(append(append(line, " ["...), e.Probe.Kind.String()...), "] "...)
	line = append(append(append(line, e.Probe.Name...), " #"...), e.ID.String()...)
	line = append(strconv.AppendUint(append(line, " (skb "...), e.SKB, 16), ')')
	b.Write(line)
	b.WriteString(first)
	for _, line := range e.sections(earlier) {
		if f.OneLine {
			b.WriteByte(' ')
			b.WriteString(strings.TrimSpace(line))
		} else {
			b.WriteByte('\n')
			b.WriteString(indent)
			b.WriteString(line)
		}
	}
	b.WriteByte('\n')
}

// spot is where an event is printed: how deep, in branches of branches.
type spot struct{ event, depth int }

// order is the order in which events are printed. branches are those of the events.
func (f Format) order(j *Journey, branches []int) []spot {
	spots := make([]spot, 0, len(j.Events))
	if !f.Branches || len(j.Branches) == 1 {
		for i := range j.Events {
			spots = append(spots, spot{event: i})
		}
		return spots
	}
	// What is below each branch, the packet's own way being -1: events, and where a branch begins, ^branch.
	const own = -1
	below := map[int][]int{}
	begun := map[int]bool{}
	for i, branch := range branches {
		if j.copyNote(i, branch) == "" {
			branch = own
		} else if !begun[branch] {
			begun[branch] = true
			parent := j.visibleParent(branch)
			below[parent] = append(below[parent], ^branch)
		}
		below[branch] = append(below[branch], i)
	}
	var put func(branch, depth int)
	put = func(branch, depth int) {
		for _, what := range below[branch] {
			if what < 0 {
				put(^what, depth+1)
			} else {
				spots = append(spots, spot{what, depth})
			}
		}
	}
	put(own, 0)
	return spots
}

// visibleParent is the branch below which a copy is printed: the next ancestor with events that is a copy itself; -1 if there is none.
func (j *Journey) visibleParent(branch int) int {
	for p := j.Branches[branch].Parent; p >= 0 && p < branch; branch, p = p, j.Branches[p].Parent {
		b := &j.Branches[p]
		if len(b.Events) > 0 && j.copyNote(b.Events[len(b.Events)-1], p) != "" && b.Role != TakenByTap {
			return p
		}
	}
	return -1
}
