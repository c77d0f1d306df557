package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/journey"
)

// columns is the width that texts keep to where they can.
const columns = 100

// finding is what a matcher found out about a journey.
type finding struct {
	journey *journey.Journey
	asked   string        // "to be dropped in namespace fw"
	but     string        // "it was delivered"
	hops    []int         // events that show it
	place   journey.Place // where that was
	rule    string        // that was expected
}

func (f *finding) found() *finding { return f }

// failure is the text of a failed assertion: what was expected, the journey with the hop where it departed, the
// outcome, and packets for which match holds. Match is the matcher's own, of a copy.
func (f *finding) failure(match func(any) (bool, error)) string {
	return f.text("Expected the packet", f.asked+",\nbut "+f.but+".", "→ marks where it departed", f.closer(match))
}

// closerShown is how many other packets a failure names.
const closerShown = 3

// closer names the packets of the record that did what this one was expected to.
func (f *finding) closer(match func(any) (bool, error)) string {
	var lines []string
	for _, other := range f.journey.Others() {
		if ok, err := match(other); ok && err == nil {
			lines = append(lines, "    "+other.Flow()+": "+other.Outcome().Brief())
		}
	}
	if lines == nil {
		return ""
	}
	what := "Another packet did so; perhaps that is the one you mean:"
	if n := len(lines); n > 1 {
		what = fmt.Sprintf("%d other packets did so; perhaps you mean one of these:", n)
	}
	if more := len(lines) - closerShown; more > 0 {
		lines = append(lines[:closerShown], fmt.Sprintf("    and %d more", more))
	}
	return "\n\n" + what + "\n" + strings.Join(lines, "\n")
}

// negated is the text of a failed NotTo.
func (f *finding) negated() string {
	return f.text("Expected the packet", "not "+f.asked+",\nbut that is what happened.", "→ marks it", "")
}

// inconclusive wraps a doubt, and adds what was asked and what was seen all the same.
func (f *finding) inconclusive(doubt error) error {
	return fmt.Errorf("%w.\n\n%s", wrapped{doubt}, f.text("So the record cannot tell whether the packet",
		"came "+f.asked+".", "→ marks where it was last seen", ""))
}

// doubted is inconclusive for what is a doubt about the record. Misuse is told as it is.
func (f *finding) doubted(err error) error {
	if errors.Is(err, journey.ErrInconclusive) {
		return f.inconclusive(err)
	}
	return err
}

// wrapped breaks the lines of an error's text.
type wrapped struct{ error }

func (w wrapped) Error() string { return wrap(w.error.Error(), "") }
func (w wrapped) Unwrap() error { return w.error }

func (f *finding) text(subject, predicate, legend, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n    %s\n", subject, f.journey.Flow())
	for line := range strings.SplitSeq(predicate, "\n") {
		indent := ""
		if strings.HasPrefix(line, " ") {
			indent = "        "
		}
		b.WriteString(wrap(line, indent) + "\n")
	}
	if len(f.journey.Events) == 0 {
		b.WriteString("\nOf its journey no event was seen.\n")
	} else {
		if len(f.hops) > 0 {
			fmt.Fprintf(&b, "\nIts journey (%s):\n", legend)
		} else {
			b.WriteString("\nIts journey:\n")
		}
		b.WriteString(hopLines(f.journey, f.hops))
	}
	b.WriteString("\n" + outcomes(f.journey) + lineage(f.journey) + advice(f.journey) + f.order() + more + artifacts(f.journey.Evidence))
	return painted(b.String())
}

// lineage is what the packet has to do with others, a line each, and not too many.
func lineage(j *journey.Journey) string {
	lines := j.Lineage()
	if more := len(lines) - lineageShown; more > 0 {
		lines = append(lines[:lineageShown], fmt.Sprintf("and %d more", more))
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("\n" + wrap("  "+line, "    "))
	}
	return b.String()
}

const lineageShown = 6

// artifacts says where a failed test leaves what it saw; empty if nowhere.
func artifacts(e *journey.Evidence) string {
	if e == nil || e.Artifacts == "" {
		return ""
	}
	return "\n\nArtifacts: " + e.Artifacts
}

// outcomes is the outcome of a journey, on a line a branch if several decide.
func outcomes(j *journey.Journey) string {
	deciding := j.Deciding()
	if len(deciding) < 2 {
		return wrap("Outcome: "+j.Sentence()+".", "  ")
	}
	lines := []string{"Outcome:"}
	for _, i := range deciding {
		lines = append(lines, wrap(fmt.Sprintf("  branch %d: %s.", i, j.Branches[i].Outcome), "    "))
	}
	return strings.Join(lines, "\n")
}

// hopLines is the journey, one line an event, with some events marked.
func hopLines(j *journey.Journey, marked []int) string {
	rows := make([][4]string, len(j.Events))
	var widths [3]int
	flow := ""
	for i := range j.Events {
		e := &j.Events[i]
		rows[i] = [4]string{"-", "-", e.Probe.Name, hopNote(j, i, &flow)}
		if e.NetNS != nil {
			rows[i][0] = e.NetNS.String()
		}
		if e.Device != nil {
			rows[i][1] = e.Device.String()
		}
		for c := range widths {
			widths[c] = max(widths[c], utf8.RuneCountInString(rows[i][c]))
		}
	}
	var b strings.Builder
	skipped := 0
	for i, row := range rows {
		if !shown(i, len(rows), marked) {
			skipped++
			continue
		}
		if skipped > 0 {
			fmt.Fprintf(&b, "          … %d more\n", skipped)
			skipped = 0
		}
		mark := " "
		if slices.Contains(marked, i) {
			mark = "→"
		}
		line := fmt.Sprintf("  %s %3d  %-*s  %-*s  %-*s  %s", mark, i, widths[0], row[0], widths[1], row[1], widths[2],
			row[2], row[3])
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// shown keeps long journeys to what matters: how they began, how they ended, and what is around the marked hops.
func shown(i, length int, marked []int) bool {
	if length <= 40 || i < 5 || i >= length-10 {
		return true
	}
	return slices.ContainsFunc(marked, func(m int) bool { return i >= m-5 && i <= m+5 })
}

// hopNote says what is special about an event: what a function returned, its verdict, the drop, a rewritten packet, a copy.
func hopNote(j *journey.Journey, event int, flow *string) string {
	e := &j.Events[event]
	var notes []string
	if d := e.Drop; d != nil {
		notes = append(notes, "reason "+d.Reason)
	}
	if e.Return != nil {
		notes = append(notes, "returned "+e.Returned())
	}
	if i := e.IPTables; i != nil {
		notes = append(notes, i.String())
	}
	if n := e.NFT; n != nil {
		notes = append(notes, verdictNote(n))
	}
	if p := e.Packet; p != nil {
		if now := p.Flow(); now != *flow {
			if *flow != "" {
				notes = append(notes, "now "+now)
			}
			*flow = now
		}
	}
	if note := branchNote(j, event); note != "" {
		notes = append(notes, note)
	}
	return strings.Join(notes, ", ")
}

// ruleRunes is how much of a rule's text a hop shows, so that it fits a terminal; the outcome shows all of it.
const ruleRunes = 36

// verdictNote is who judged the packet, and how. A rule's text says its verdict itself.
func verdictNote(n *journey.NFT) string {
	where := n.Table + " " + n.Chain
	rule, _, _ := strings.Cut(n.RuleText, " comment ")
	switch text := []rune(rule); {
	case n.Policy:
		return fmt.Sprintf("%s policy: %s", where, n.Verdict)
	case n.Rule == 0:
		return fmt.Sprintf("%s end: %s", where, n.Verdict)
	case len(text) > ruleRunes:
		return fmt.Sprintf("%s: %s…", where, string(text[:ruleRunes]))
	case len(text) > 0:
		return fmt.Sprintf("%s: %s", where, rule)
	}
	return fmt.Sprintf("%s handle %d: %s", where, n.Rule, n.Verdict)
}

// branchNote says to which branch an event belongs, if there is more than one.
func branchNote(j *journey.Journey, event int) string {
	i := j.BranchOf(event)
	if i < 0 || len(j.Deciding()) < 2 && j.Branches[i].Role != journey.Clone {
		return j.CopyNote(event)
	}
	b := &j.Branches[i]
	switch {
	case b.Auxiliary && j.CopyNote(event) != "":
		return j.CopyNote(event)
	case b.Parent >= 0 && event == b.Events[0]:
		return fmt.Sprintf("branch %d, a clone of branch %d", i, b.Parent)
	}
	return fmt.Sprintf("branch %d", i)
}

// wrap breaks a line at spaces, where it would be wider than a terminal, and indents what follows. Spaces that the
// line begins with stay.
func wrap(line, indent string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Split(line, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case width+1+n > columns:
			b.WriteString("\n" + indent)
			width = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += n
	}
	return b.String()
}
