package report

import (
	"bytes"
	"io"
	"strings"
)

// Markdown writes a report as a page: what is wrong first, each with the command that repeats just that, then the table of
// kernels and suites, the reasons of skips, and every spec on every kernel.
func (r *Report) Markdown(w io.Writer) error {
	if err := r.markdownBrief(w); err != nil {
		return err
	}
	out := &textWriter{w: w}
	for _, suite := range r.suites() {
		r.markdownSpecs(out, suite)
	}
	return out.err
}

// summaryLimit is how much GitHub shows as the summary of a step; it shows nothing of one that is longer.
const summaryLimit = 1 << 20

// Summary writes what fits into the summary of a step of GitHub Actions: the page, or the page without its list of specs, or the
// beginning of that.
func (r *Report) Summary(w io.Writer) error {
	var page bytes.Buffer
	if err := r.Markdown(&page); err != nil {
		return err
	}
	if page.Len() > summaryLimit {
		page.Reset()
		if err := r.markdownBrief(&page); err != nil {
			return err
		}
	}
	const more = "\n\n… the rest is in the report.\n"
	text := page.Bytes()
	if len(text) > summaryLimit {
		cut := bytes.LastIndexByte(text[:summaryLimit-len(more)], '\n')
		text = append(text[:max(0, cut)], more...)
	}
	_, err := w.Write(text)
	return err
}

// markdownBrief writes all but the specs.
func (r *Report) markdownBrief(w io.Writer) error {
	out := &textWriter{w: w}
	out.printf("# %s\n", r.Verdict())
	for _, p := range r.Problems() {
		out.printf("\n## %s\n\n", escape(p.Title()))
		if p.File != "" {
			out.printf("%s:%d\n\n", escape(p.File), p.Line)
		}
		out.printf("%s\nAgain:\n\n%s", fenced(p.Text, "text"), fenced(strings.Join(p.Commands, "\n"), "sh"))
	}
	r.markdownCounts(out)
	if skips := r.skips(); len(skips) > 0 {
		out.printf("\n## Skipped\n\n")
		for _, s := range skips {
			out.printf("- %s\n", escape(strings.Join(strings.Fields(s), " ")))
		}
	}
	return out.err
}

func (r *Report) markdownCounts(out *textWriter) {
	out.printf("\n## Kernels and suites\n\n| kernel | role | suite | passed | failed | inconclusive | skipped | time | |\n" +
		"|---|---|---|---:|---:|---:|---:|---:|---|\n")
	for _, k := range r.Kernels {
		name := k.Name
		if k.Version != "" && k.Version != k.Name {
			name += " (" + k.Version + ")"
		}
		for _, suite := range r.suites() {
			if run := r.run(k.Name, suite); run != nil {
				c := run.Counts()
				out.printf("| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", escape(name), dash(k.Role), escape(suite), number(c.Passed),
					number(c.Failed), number(c.Inconclusive), number(c.Skipped), duration(run.Seconds), note(run))
			}
		}
	}
}

// markdownSpecs writes the specs of one suite: a row for each, a column for each kernel.
func (r *Report) markdownSpecs(out *textWriter, suite string) {
	var names []string
	cells := map[string]map[string]string{} // by spec and kernel
	for _, run := range r.Runs {
		if run.Suite != suite {
			continue
		}
		for _, s := range run.Specs {
			if cells[s.Name] == nil {
				cells[s.Name] = map[string]string{}
				names = append(names, s.Name)
			}
			cell := string(s.Status)
			switch {
			case s.Unexplained:
				cell += " (unexplained)"
			case s.Status != Skipped:
				cell += " " + duration(s.Seconds)
			}
			if s.Status == Failed || s.Status == Inconclusive || s.Unexplained {
				cell = "**" + cell + "**"
			}
			if before := cells[s.Name][run.Kernel]; before != "" { // two specs of one name
				cell = before + ", " + cell
			}
			cells[s.Name][run.Kernel] = cell
		}
	}
	if len(names) == 0 {
		return
	}
	out.printf("\n<details><summary>%s</summary>\n\n| spec |", escape(suite))
	rule := "|---|"
	for _, k := range r.Kernels {
		out.printf(" %s |", escape(k.Name))
		rule += "---|"
	}
	out.printf("\n%s\n", rule)
	for _, name := range names {
		out.printf("| %s |", escape(name))
		for _, k := range r.Kernels {
			out.printf(" %s |", dash(cells[name][k.Name]))
		}
		out.printf("\n")
	}
	out.printf("\n</details>\n")
}

var escaper = strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "\n", " ")

// escape writes a text so that Markdown shows it as it is, also in a table.
func escape(text string) string { return escaper.Replace(text) }

// fenced writes a text as a block of code, whatever it contains.
func fenced(text, language string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + language + "\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}
