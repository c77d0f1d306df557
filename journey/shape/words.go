package shape

import (
	"fmt"
	"strings"
)

// Words say in a sentence how b first departs from a, to follow "but"; name is what a is called: "in the golden journey".
func (d *Difference) Words(name string) string {
	s, before, way := d.first()
	if s == nil || d.PacketA != "" {
		return fmt.Sprintf("it was another packet: %s, and %s %s", d.PacketB, name, d.PacketA)
	}
	after := ""
	if before != nil {
		after = "after " + before.String() + " "
	}
	switch {
	case way.Lacking && s.Op == OnlyB:
		return fmt.Sprintf("it took one more way than %s: the one that ends with %s", name, way.Steps[len(way.Steps)-1].B.told())
	case way.Lacking:
		return fmt.Sprintf("it did not take one of the ways that it took %s: the one that ends with %s", name,
			way.Steps[len(way.Steps)-1].A.told())
	case s.Op == OnlyB && s.Moved:
		return fmt.Sprintf("%sit came by %s, which %s is elsewhere on the way", after, s.B.told(), name)
	case s.Op == OnlyA && s.Moved:
		return fmt.Sprintf("%sit did not come by %s, which %s is next, but elsewhere on the way", after, s.A.told(), name)
	case s.Op == OnlyB:
		return fmt.Sprintf("%sit came by %s, which %s it did not", after, s.B.told(), name)
	case s.Op == OnlyA:
		text := fmt.Sprintf("%sit did not come by %s, as %s", after, s.A.told(), name)
		if next := d.next(s); next != nil {
			text += ", but went on with " + next.told()
		}
		return text
	case s.A.Place == s.B.Place && s.A.Node == s.B.Node && s.A.Device == s.B.Device:
		return fmt.Sprintf("at %s there was %s, and %s %s", s.B, quoted(s.B.Note), name, quoted(s.A.Note))
	case s.A.Place == s.B.Place:
		return fmt.Sprintf("%sit came by %s, and %s by %s", after, s.B.told(), name, s.A.told())
	}
	return fmt.Sprintf("it ended as %s, and %s as %s", s.B.told(), name, s.A.told())
}

// told is a hop with all that is to be said of it.
func (h Hop) told() string {
	if h.Note == "" {
		return h.String()
	}
	return fmt.Sprintf("%s (%s)", h, h.Note)
}

func quoted(note string) string {
	if note == "" {
		return "nothing to be said"
	}
	return "'" + note + "'"
}

// around is how many hops that are the same are shown before and behind those that differ.
const around = 2

// String is the difference, hop by hop: what only a has, or has otherwise, behind -, and b's behind +. Of hops that are the same
// some are shown.
func (d *Difference) String() string {
	var b strings.Builder
	if d.PacketA != "" {
		fmt.Fprintf(&b, "- %s\n+ %s\n", d.PacketA, d.PacketB)
	}
	for i, w := range d.Ways {
		if len(d.Ways) > 1 {
			fmt.Fprintf(&b, "way %d of those that differ\n", i+1)
		}
		w.write(&b)
	}
	return b.String()
}

func (w *WayDifference) write(b *strings.Builder) {
	var hops []Hop
	near := make([]bool, len(w.Steps))
	for i, s := range w.Steps {
		for _, h := range []*Hop{s.A, s.B} {
			if h != nil {
				hops = append(hops, *h)
			}
		}
		for k := max(0, i-around); k <= min(len(near)-1, i+around) && s.Op != Same; k++ {
			near[k] = true
		}
	}
	widths := widthsOf(hops)
	skipped := 0
	for i, s := range w.Steps {
		if !near[i] {
			skipped++
			continue
		}
		if skipped > 0 {
			fmt.Fprintf(b, "  … %d the same\n", skipped)
			skipped = 0
		}
		if s.Op == Same {
			b.WriteString("  " + s.B.line(widths) + "\n")
			continue
		}
		if s.A != nil {
			b.WriteString("- " + s.A.line(widths) + "\n")
		}
		if s.B != nil {
			b.WriteString("+ " + s.B.line(widths) + "\n")
		}
	}
	if skipped > 0 {
		fmt.Fprintf(b, "  … %d the same\n", skipped)
	}
}
