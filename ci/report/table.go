package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Table writes a report for a terminal or a log: the table of suites and kernels, what is wrong, and the verdict. What is wrong
// is listed once more right before the verdict, in short, because of a long log only the end may be kept.
func (r *Report) Table(w io.Writer) error {
	out := &textWriter{w: w}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	inner := &textWriter{w: t}
	inner.printf("KERNEL\tROLE\tSUITE\tPASSED\tFAILED\tINCONCLUSIVE\tSKIPPED\tTIME\t\n")
	for _, k := range r.Kernels {
		for _, suite := range r.suites() {
			run := r.run(k.Name, suite)
			if run == nil {
				continue
			}
			c := run.Counts()
			inner.printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, dash(k.Role), suite, number(c.Passed), number(c.Failed),
				number(c.Inconclusive), number(c.Skipped), duration(run.Seconds), note(run))
		}
	}
	if inner.err == nil {
		inner.err = t.Flush()
	}
	if out.err == nil {
		out.err = inner.err
	}
	for _, g := range r.skips() {
		out.printf("skipped: %s\n", g)
	}
	problems := r.Problems()
	for _, p := range problems {
		out.printf("\n%s\n", p.Title())
		if p.File != "" {
			out.printf("  %s:%d\n", p.File, p.Line)
		}
		out.printf("%s", indent(shortened(p.Text), "    "))
		for _, c := range p.Commands {
			out.printf("  again: %s\n", c)
		}
	}
	if len(problems) > 0 {
		out.printf("\n")
	}
	for i, p := range problems {
		if i == listedProblems {
			out.printf("and %d more\n", len(problems)-listedProblems)
			break
		}
		out.printf("%s\n", p.Title())
		if short := inShort(p.Text); short != "" {
			out.printf("    %s\n", short)
		}
	}
	out.printf("%s\n", r.Verdict())
	return out.err
}

// listedProblems is how many of them a terminal shows before the verdict.
const listedProblems = 20

// inShort is how a text begins, on one line.
func inShort(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > shortRunes {
		text = string(runes[:shortRunes]) + "…"
	}
	return text
}

const shortRunes = 180

// What a terminal shows of a long text.
const (
	firstLines = 50
	lastLines  = 20
)

// shortened leaves out the middle of a long text.
func shortened(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	left := len(lines) - firstLines - lastLines
	if left <= 1 {
		return text
	}
	return strings.Join(slices.Concat(lines[:firstLines],
		[]string{fmt.Sprintf("… %d more lines are in the report …", left)}, lines[len(lines)-lastLines:]), "\n")
}

// note says what the numbers of a run do not.
func note(run *Run) string {
	var words []string
	if len(run.Faults) > 0 {
		words = append(words, "broken")
	}
	if n := run.Counts().Unexplained; n > 0 {
		words = append(words, fmt.Sprintf("%d unexplained", n))
	}
	return strings.Join(words, ", ")
}

// skips lists the reasons of skips, each with the kernels where it was given.
func (r *Report) skips() []string {
	type group struct {
		reason  string
		kernels []string
		counts  map[string]int
	}
	var groups []*group
	byReason := map[string]*group{}
	for _, run := range r.Runs {
		for _, s := range run.Specs {
			if s.Status != Skipped {
				continue
			}
			reason := s.Text
			if s.Unexplained {
				reason += " (unexplained)"
			}
			g := byReason[reason]
			if g == nil {
				g = &group{reason: reason, counts: map[string]int{}}
				byReason[reason] = g
				groups = append(groups, g)
			}
			if g.counts[run.Kernel] == 0 {
				g.kernels = append(g.kernels, run.Kernel)
			}
			g.counts[run.Kernel]++
		}
	}
	var out []string
	for _, g := range groups {
		var where []string
		for _, k := range g.kernels {
			where = append(where, fmt.Sprintf("%d on %s", g.counts[k], k))
		}
		out = append(out, strings.Join(where, ", ")+": "+g.reason)
	}
	return out
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// indent puts a prefix before each line of a text, and ends it with a newline.
func indent(text, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			b.WriteString(prefix + line)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// textWriter keeps the first error, so that a text can be written piece by piece.
type textWriter struct {
	w   io.Writer
	err error
}

func (t *textWriter) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *textWriter) Write(b []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.w.Write(b)
	t.err = err
	return n, err
}
