package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/internal/plural"
)

// Status is what came of a spec.
type Status string

// The statuses.
const (
	Passed       Status = "pass"
	Failed       Status = "fail"
	Inconclusive Status = "inconclusive" // the evidence cannot vouch for an answer
	Skipped      Status = "skip"
)

// Report is what came of all suites on all kernels.
type Report struct {
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Kernels []Kernel  `json:"kernels"`
	Runs    []*Run    `json:"runs"`
}

// Kernel is one that suites ran on.
type Kernel struct {
	Name    string   `json:"name"`              // "6.12"
	Role    string   `json:"role,omitempty"`    // oldest, stable, newest; empty: none of them
	Version string   `json:"version,omitempty"` // "6.12.95+deb12-cloud-amd64"
	Lacks   []string `json:"lacks,omitempty"`   // features, as skips name them
}

// Run is one suite on one kernel.
type Run struct {
	Kernel  string  `json:"kernel"`
	Suite   string  `json:"suite"` // its folder, "suites/firewall"
	Seconds float64 `json:"seconds"`
	// Command repeats the run in a shell; a spec's Select, behind it, narrows it to that spec.
	Command string `json:"command"`
	// Faults are what went wrong beside specs: the kernel panicked, no spec ran, something was left behind.
	Faults []string `json:"faults,omitempty"`
	Specs  []Spec   `json:"specs"`
}

// Spec is one spec, or one test or subtest without subtests.
type Spec struct {
	Name    string  `json:"name"`
	Status  Status  `json:"status"`
	Seconds float64 `json:"seconds"`
	// Text is why it failed or was skipped.
	Text string `json:"text,omitempty"`
	// Unexplained is set for a skip that neither the features nor the role of the kernel explain.
	Unexplained bool   `json:"unexplained,omitempty"`
	File        string `json:"file,omitempty"` // where it failed; else where it stands
	Line        int    `json:"line,omitempty"`
	Select      string `json:"select,omitempty"` // arguments of a shell that select only this spec
}

// Counts are numbers of specs.
type Counts struct {
	Passed, Failed, Inconclusive, Skipped, Unexplained int
}

// Counts counts the specs of a run.
func (r *Run) Counts() (c Counts) {
	for _, s := range r.Specs {
		switch s.Status {
		case Passed:
			c.Passed++
		case Failed:
			c.Failed++
		case Inconclusive:
			c.Inconclusive++
		case Skipped:
			c.Skipped++
		}
		if s.Unexplained {
			c.Unexplained++
		}
	}
	return c
}

// Sentence says in a few words what came of a run.
func (r *Run) Sentence() string {
	c := r.Counts()
	words := fmt.Sprintf("%d passed", c.Passed)
	for _, more := range []struct {
		n    int
		what string
	}{
		{c.Failed, "failed"},
		{c.Inconclusive, "inconclusive"},
		{c.Unexplained, "skipped without a known reason"},
		{c.Skipped - c.Unexplained, "skipped"},
	} {
		if more.n > 0 {
			words += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	if len(r.Faults) > 0 {
		words = "broken; " + words
	}
	return words + " in " + duration(r.Seconds)
}

// OK tells whether nothing is wrong with a run.
func (r *Run) OK() bool {
	c := r.Counts()
	return len(r.Faults) == 0 && c.Failed+c.Inconclusive+c.Unexplained == 0
}

// Judge finds what is wrong with a run as a whole, and which skips the kernel explains. Call it once, when the run is
// complete.
//
// A skip is explained if its text begins with "needs FEATURE", and the kernel's list says that it lacks the feature; or
// with "is for ROLE", and the kernel's role is another.
func (r *Run) Judge(k Kernel) {
	ran := 0
	for i := range r.Specs {
		s := &r.Specs[i]
		if s.Status == Skipped {
			s.Unexplained = !explains(k, s.Text)
		} else {
			ran++
		}
	}
	c := r.Counts()
	if ran == 0 && len(r.Faults) == 0 && (c.Unexplained > 0 || c.Skipped == 0) {
		r.Faults = append(r.Faults, "no spec ran")
	}
}

func explains(k Kernel, why string) bool {
	if rest, ok := strings.CutPrefix(why, "needs "); ok {
		feature, _, _ := strings.Cut(rest, " ")
		return slices.Contains(k.Lacks, strings.TrimRight(feature, ":,;."))
	}
	if rest, ok := strings.CutPrefix(why, "is for "); ok {
		// A kernel outside of the matrix has no role, and a spec for a role is not for it.
		roles, _, _ := strings.Cut(rest, " kernels")
		return !slices.Contains(strings.Split(roles, " or "), k.Role)
	}
	return false
}

// Problem is one thing that makes a report a bad one, on every kernel that shows it with the same words.
type Problem struct {
	Kernels  []string
	Suite    string
	Spec     string // empty: the run as a whole
	Kind     string // one of kinds
	Text     string
	File     string
	Line     int
	Commands []string // one for each kernel, repeats just this
}

// kinds of problems, in the order in which they are listed.
var kinds = []string{"broken", "failed", "inconclusive", "skipped without a known reason"}

// Title says in one line what is wrong where.
func (p Problem) Title() string {
	what := p.Suite
	if p.Spec != "" {
		what += ": " + p.Spec
	}
	return fmt.Sprintf("%s on %s: %s", p.Kind, strings.Join(p.Kernels, ", "), what)
}

func (p Problem) same(o Problem) bool {
	return p.Suite == o.Suite && p.Spec == o.Spec && p.Kind == o.Kind && p.Text == o.Text
}

// Problems lists all that is wrong: broken runs first, then failures, what is inconclusive, and unexplained skips; what
// concerns one spec stands together.
func (r *Report) Problems() []Problem {
	var out []Problem
	add := func(p Problem) {
		i := slices.IndexFunc(out, p.same)
		if i < 0 {
			out = append(out, p)
			return
		}
		if !slices.Contains(out[i].Kernels, p.Kernels[0]) { // two specs of one name
			out[i].Kernels = append(out[i].Kernels, p.Kernels[0])
			out[i].Commands = append(out[i].Commands, p.Commands[0])
		}
	}
	for _, run := range r.Runs {
		for _, f := range run.Faults {
			add(Problem{Kernels: []string{run.Kernel}, Suite: run.Suite, Kind: "broken", Text: f, Commands: []string{run.Command}})
		}
		for _, s := range run.Specs {
			if kind := s.problem(); kind != "" {
				add(Problem{
					Kernels: []string{run.Kernel}, Suite: run.Suite, Spec: s.Name, Kind: kind, Text: s.Text, File: s.File, Line: s.Line,
					Commands: []string{strings.TrimSpace(run.Command + " " + s.Select)},
				})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(
			slices.Index(kinds, a.Kind)-slices.Index(kinds, b.Kind),
			strings.Compare(a.Suite, b.Suite),
			strings.Compare(a.Spec, b.Spec),
		)
	})
	return out
}

// problem is the kind of problem that a spec is; empty: none.
func (s Spec) problem() string {
	switch {
	case s.Status == Failed:
		return "failed"
	case s.Status == Inconclusive:
		return "inconclusive"
	case s.Unexplained:
		return "skipped without a known reason"
	}
	return ""
}

// OK tells whether all is well: something ran, and there is no problem.
func (r *Report) OK() bool {
	return len(r.Runs) > 0 && !slices.ContainsFunc(r.Runs, func(run *Run) bool { return !run.OK() })
}

// Verdict says in one line what came of it all.
func (r *Report) Verdict() string {
	var c Counts
	broken, all := 0, 0
	for _, run := range r.Runs {
		n := run.Counts()
		c.Passed += n.Passed
		c.Failed += n.Failed
		c.Inconclusive += n.Inconclusive
		c.Skipped += n.Skipped
		c.Unexplained += n.Unexplained
		all += len(run.Specs)
		if len(run.Faults) > 0 {
			broken++
		}
	}
	var words []string
	say := func(n int, what string) {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, what))
		}
	}
	say(broken, plural.Word(broken, "run")+" broken")
	say(c.Failed, "failed")
	say(c.Inconclusive, "inconclusive")
	say(c.Unexplained, "skipped without a known reason")
	say(c.Passed, "passed")
	say(c.Skipped-c.Unexplained, "skipped")
	if len(words) == 0 {
		words = append(words, "nothing ran")
	}
	verdict := "OK"
	if !r.OK() {
		verdict = "FAILED"
	}
	return fmt.Sprintf("%s: %s, of %s on %s in %s", verdict, strings.Join(words, ", "), plural.Of(all, "spec"),
		plural.Of(len(r.Kernels), "kernel"), duration(r.Seconds))
}

// duration writes seconds as people do: 4.2 s, 3 min 05 s.
func duration(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	s := int(seconds + 0.5)
	return fmt.Sprintf("%d min %02d s", s/60, s%60)
}

// suites returns the suites of a report, in the order in which they ran first.
func (r *Report) suites() []string {
	var out []string
	for _, run := range r.Runs {
		if !slices.Contains(out, run.Suite) {
			out = append(out, run.Suite)
		}
	}
	return out
}

func (r *Report) run(kernel, suite string) *Run {
	for _, run := range r.Runs {
		if run.Kernel == kernel && run.Suite == suite {
			return run
		}
	}
	return nil
}
