package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// matrix is a report with one of everything.
func matrix(t *testing.T) *Report {
	t.Helper()
	r := &Report{
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 185,
		Kernels: []Kernel{
			{Name: "6.1", Role: "oldest", Version: "6.1.0-50-cloud-amd64", Lacks: []string{"kprobe.multi"}},
			{Name: "6.12", Role: "stable", Version: "6.12.95+deb12-cloud-amd64"},
		},
	}
	for i, k := range r.Kernels {
		specs, faults := sample(t)
		command := `go test -count=1 -exec "$PWD/build/waybill vm --kernel ` + k.Name + ` --" ./suites/sample`
		runs := []*Run{
			{Kernel: k.Name, Suite: "suites/sample", Seconds: 71.5, Command: command, Specs: specs, Faults: faults},
			{Kernel: k.Name, Suite: "suites/good", Seconds: 4.25, Specs: []Spec{{Name: "passes", Status: Passed, Seconds: 0.5}}},
		}
		if i > 0 {
			runs = append(runs, &Run{Kernel: k.Name, Suite: "suites/empty", Seconds: 3, Command: "go test ./suites/empty"})
		}
		for _, run := range runs {
			run.Judge(k)
		}
		r.Runs = append(r.Runs, runs...)
	}
	return r
}

func TestTexts(t *testing.T) {
	r := matrix(t)
	for name, write := range map[string]func(io.Writer) error{
		"table.txt": r.Table, "report.md": r.Markdown, "junit.xml": r.JUnit, "report.json": r.JSON, "annotations.txt": r.Annotations,
	} {
		var b bytes.Buffer
		qt.Assert(t, qt.IsNil(write(&b)))
		golden.Check(t, name, b.String())
		// What cannot be written is an error.
		qt.Check(t, qt.ErrorIs(write(full{}), errFull), qt.Commentf("%s", name))
		switch {
		case strings.HasSuffix(name, ".xml"):
			qt.Check(t, qt.IsNil(xml.Unmarshal(b.Bytes(), &junitSuites{})))
		case strings.HasSuffix(name, ".json"):
			qt.Check(t, qt.IsNil(json.Unmarshal(b.Bytes(), &Report{})))
		}
	}
}

var errFull = errors.New("no space")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestGood(t *testing.T) {
	r := &Report{Seconds: 9.5, Kernels: []Kernel{{Name: "6.12", Role: "stable"}}, Runs: []*Run{{
		Kernel: "6.12", Suite: "suites/good", Seconds: 9, Specs: []Spec{{Name: "passes", Status: Passed}},
	}}}
	r.Runs[0].Judge(r.Kernels[0])
	qt.Check(t, qt.IsTrue(r.OK()))
	qt.Check(t, qt.Equals(r.Verdict(), "OK: 1 passed, of 1 spec on 1 kernel in 9.5 s"))
	qt.Check(t, qt.Equals(r.Runs[0].Sentence(), "1 passed in 9.0 s"))
	var b strings.Builder
	qt.Assert(t, qt.IsNil(r.Table(&b)))
	golden.Check(t, "good.txt", b.String())
}

func TestNothingIsNotOK(t *testing.T) {
	r := &Report{}
	qt.Check(t, qt.IsFalse(r.OK()))
	qt.Check(t, qt.Equals(r.Verdict(), "FAILED: nothing ran, of 0 specs on 0 kernels in 0.0 s"))
}

func TestJudge(t *testing.T) {
	skip := func(why string) Spec { return Spec{Status: Skipped, Text: why} }
	for name, test := range map[string]struct {
		kernel      Kernel
		specs       []Spec
		unexplained int
		faults      []string
	}{
		"no spec":                    {faults: []string{"no spec ran"}},
		"a pass":                     {specs: []Spec{{Status: Passed}}},
		"a feature that it lacks":    {kernel: Kernel{Lacks: []string{"nft-trace"}}, specs: []Spec{{Status: Passed}, skip("needs nft-trace: why")}},
		"… and nothing else":         {kernel: Kernel{Lacks: []string{"nft-trace"}}, specs: []Spec{skip("needs nft-trace, so")}},
		"a feature that it has":      {specs: []Spec{{Status: Passed}, skip("needs nft-trace: why")}, unexplained: 1},
		"another feature":            {kernel: Kernel{Lacks: []string{"nft"}}, specs: []Spec{{Status: Passed}, skip("needs nft-trace")}, unexplained: 1},
		"another role":               {kernel: Kernel{Role: "stable"}, specs: []Spec{{Status: Passed}, skip("is for oldest or newest kernels")}},
		"its own role":               {kernel: Kernel{Role: "newest"}, specs: []Spec{{Status: Passed}, skip("is for oldest or newest kernels")}, unexplained: 1},
		"no role":                    {specs: []Spec{{Status: Passed}, skip("is for newest kernels")}},
		"pending":                    {specs: []Spec{{Status: Passed}, skip("pending")}, unexplained: 1},
		"nothing but what is unsaid": {specs: []Spec{skip("")}, unexplained: 1, faults: []string{"no spec ran"}},
		"died before any spec":       {faults: []string{"kernel 6.1 panicked"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Run{Specs: test.specs}
			if name == "died before any spec" {
				r.Faults = test.faults
			}
			r.Judge(test.kernel)
			qt.Check(t, qt.Equals(r.Counts().Unexplained, test.unexplained))
			qt.Check(t, qt.DeepEquals(r.Faults, test.faults))
		})
	}
}

func TestEscape(t *testing.T) {
	qt.Check(t, qt.Equals(escape("a|b <c> *d* `e`\nf"), `a\|b &lt;c&gt; \*d\* \`+"`e\\`"+` f`))
	qt.Check(t, qt.Equals(fenced("a\n```\nb", "text"), "````text\na\n```\nb\n````\n"))
	qt.Check(t, qt.Equals(quote("it's"), `'it'\''s'`))
	qt.Check(t, qt.Equals(property("a: b, c%\n"), "a%3A b%2C c%25%0A"))
	qt.Check(t, qt.Equals(printable("\x1b[31mred\x1b[0m\n"), "[31mred[0m\n"))
}

func TestShortened(t *testing.T) {
	qt.Check(t, qt.Equals(shortened("a\nb"), "a\nb"))
	lines := strings.Split(strings.Repeat("x\n", 100), "\n")[:100]
	short := strings.Split(shortened(strings.Join(lines, "\n")), "\n")
	qt.Check(t, qt.HasLen(short, 71))
	qt.Check(t, qt.Equals(short[50], "… 30 more lines are in the report …"))
}

// TestSummary: what GitHub would not show is left out, a part at a time.
func TestSummary(t *testing.T) {
	summary := func(r *Report) string {
		var b strings.Builder
		qt.Assert(t, qt.IsNil(r.Summary(&b)))
		qt.Check(t, qt.IsTrue(b.Len() <= summaryLimit))
		return b.String()
	}
	r := matrix(t)
	var page strings.Builder
	qt.Assert(t, qt.IsNil(r.Markdown(&page)))
	qt.Check(t, qt.Equals(summary(r), page.String()))

	for i := range 2000 {
		name := fmt.Sprintf("%s %d", strings.Repeat("long ", 200), i)
		r.Runs[0].Specs = append(r.Runs[0].Specs, Spec{Name: name, Status: Passed})
	}
	qt.Check(t, qt.IsFalse(strings.Contains(summary(r), "<details>")))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(summary(r), "# FAILED: ")))

	r.Runs[0].Faults = append(r.Runs[0].Faults, strings.Repeat("line\n", 1<<18))
	qt.Check(t, qt.IsTrue(strings.HasSuffix(summary(r), "line\n\n… the rest is in the report.\n")))
}
