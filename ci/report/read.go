package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// inconclusive begins the text of every error of journey.ErrInconclusive.
const inconclusive = "INCONCLUSIVE:"

// Input is what a test binary left behind.
type Input struct {
	// Test2JSON is the output of go tool test2json.
	Test2JSON io.Reader
	// Ginkgo is the report of -ginkgo.json-report; nil if the binary holds no Ginkgo suite or wrote none.
	Ginkgo []byte
	// Dir is the package's folder. Root is that of the repository, which files are named relative to.
	Dir, Root string
}

// Read makes specs of what a test binary left behind, and faults of what went wrong beside them.
func Read(in Input) (specs []Spec, faults []string, err error) {
	tests, err := readTests(in.Test2JSON)
	if err != nil {
		return nil, nil, err
	}
	if in.Ginkgo != nil {
		var reports []types.Report
		if err := json.Unmarshal(in.Ginkgo, &reports); err != nil {
			return nil, nil, fmt.Errorf("read Ginkgo's report: %w", err)
		}
		for _, r := range reports {
			for _, s := range r.SpecReports {
				if spec, ok := in.spec(s); ok {
					specs = append(specs, spec)
				}
			}
			if r.SuiteHasProgrammaticFocus {
				faults = append(faults, "the code focuses on some specs (FIt, FDescribe, Focus), so that the others did not run")
			}
			faults = append(faults, r.SpecialSuiteFailureReasons...)
		}
	}
	for _, t := range tests {
		switch {
		case t.parent && t.action != "fail", t.parent && t.failedBelow:
		case t.ginkgo && in.Ginkgo != nil:
			// The specs are known already; what the test says after them is news: what the suite left behind.
			faults = append(faults, t.complaints()...)
		default:
			specs = append(specs, in.test(t))
		}
	}
	return specs, faults, nil
}

// spec makes a spec of Ginkgo's; false for a node that is none and did not fail, and for what a label filter left out.
func (in Input) spec(s types.SpecReport) (Spec, bool) {
	name := s.FullText()
	if s.LeafNodeType != types.NodeTypeIt {
		// BeforeSuite and the like are of interest only if they fail.
		if !s.Failed() {
			return Spec{}, false
		}
		name = strings.TrimSpace("[" + s.LeafNodeType.String() + "] " + name)
	}
	out := Spec{Name: name, Seconds: s.RunTime.Seconds(), Select: "-ginkgo.focus=" + quote(regexp.QuoteMeta(name)+"$")}
	out.File, out.Line = in.relative(s.LeafNodeLocation.FileName), s.LeafNodeLocation.LineNumber
	if s.LeafNodeType != types.NodeTypeIt {
		out.Select = ""
	}
	switch {
	case s.State.Is(types.SpecStatePassed):
		out.Status = Passed
	case s.State.Is(types.SpecStateSkipped) && s.Failure.Message == "":
		// By a filter on the command line; or because the code focuses on other specs, which is a fault of its own.
		return Spec{}, false
	case s.State.Is(types.SpecStateSkipped):
		out.Status, out.Text = Skipped, s.Failure.Message
	case s.State.Is(types.SpecStatePending):
		out.Status, out.Text = Skipped, "pending"
	default:
		out.Status = Failed
		out.Text = failureText(s)
		if strings.Contains(out.Text, inconclusive) {
			out.Status = Inconclusive
		}
		if s.Failure.Location.FileName != "" {
			out.File, out.Line = in.relative(s.Failure.Location.FileName), s.Failure.Location.LineNumber
		}
	}
	return out, true
}

func failureText(s types.SpecReport) string {
	text := s.Failure.Message
	if s.Failure.ForwardedPanic != "" {
		text += "\n" + s.Failure.ForwardedPanic
	}
	if !s.State.Is(types.SpecStateFailed) {
		text = s.State.String() + ": " + text
	}
	for _, more := range s.AdditionalFailures {
		text += "\n\nand then: " + more.Failure.Message
	}
	return strings.TrimSpace(text)
}

func (in Input) relative(file string) string {
	if file == "" {
		return ""
	}
	if rel, err := filepath.Rel(in.Root, file); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return file
}

// goTest is a test, as test2json tells of it.
type goTest struct {
	name        string
	action      string // pass, fail, skip; empty: it did not run to its end
	seconds     float64
	output      strings.Builder
	parent      bool // it has subtests
	failedBelow bool // and one of them failed
	ginkgo      bool // it ran a Ginkgo suite
}

// event is a line of test2json (go doc test2json).
type event struct {
	Action  string
	Test    string
	Elapsed float64
	Output  string
}

var ranSpecs = regexp.MustCompile(`Ran \d+ of \d+ Specs in `)

func readTests(r io.Reader) ([]*goTest, error) {
	var tests []*goTest
	byName := map[string]*goTest{}
	for d := json.NewDecoder(r); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the output of test2json: %w", err)
		}
		if e.Test == "" {
			continue
		}
		t := byName[e.Test]
		if t == nil {
			t = &goTest{name: e.Test}
			byName[e.Test] = t
			tests = append(tests, t)
		}
		switch e.Action {
		case "output":
			t.output.WriteString(e.Output)
			t.ginkgo = t.ginkgo || ranSpecs.MatchString(e.Output)
		case "pass", "fail", "skip":
			t.action, t.seconds = e.Action, e.Elapsed
		}
	}
	for _, t := range tests {
		if i := strings.LastIndexByte(t.name, '/'); i > 0 {
			if p := byName[t.name[:i]]; p != nil {
				p.parent = true
				p.failedBelow = p.failedBelow || t.action == "fail" || t.action == ""
			}
		}
	}
	return tests, nil
}

func (in Input) test(t *goTest) Spec {
	s := Spec{Name: t.name, Seconds: t.seconds, Select: "-run=" + quote(exactly(t.name))}
	text, file, line := t.said()
	switch t.action {
	case "pass":
		s.Status = Passed
		return s
	case "skip":
		s.Status, s.Text = Skipped, firstWords(text)
	case "fail":
		s.Status, s.Text = Failed, text
	default:
		s.Status, s.Text = Failed, strings.TrimSpace("it did not run to its end\n"+text)
	}
	if s.Status == Failed && strings.Contains(s.Text, inconclusive) {
		s.Status = Inconclusive
	}
	if file != "" {
		s.File, s.Line = in.relative(filepath.Join(in.Dir, file)), line
	}
	return s
}

// exactly is a pattern for -run that fits one test.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

var (
	frame    = regexp.MustCompile(`^\s*(=== |--- )`)
	position = regexp.MustCompile(`^\s*([\w.-]+\.go):(\d+): `)
)

// said returns what a test wrote, without the frame that go test gives it, and the first place that it names.
func (t *goTest) said() (text, file string, line int) {
	var lines []string
	for l := range strings.Lines(t.output.String()) {
		if frame.MatchString(l) {
			continue
		}
		if m := position.FindStringSubmatch(l); m != nil && file == "" {
			file = m[1]
			line, _ = strconv.Atoi(m[2])
		}
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(l, "\r\n"), "    "))
	}
	return strings.TrimSpace(strings.Join(lines, "\n")), file, line
}

// firstWords is a text without the position before it.
func firstWords(text string) string { return position.ReplaceAllString(text, "") }

// complaints are what a test said by Error or Fatal after its suite had run.
func (t *goTest) complaints() []string {
	if t.action == "pass" || t.action == "skip" {
		return nil
	}
	var out []string
	after := false
	for l := range strings.Lines(t.output.String()) {
		l = strings.TrimRight(l, "\r\n")
		switch {
		case ranSpecs.MatchString(l):
			after = true
		case !after || frame.MatchString(l):
		case position.MatchString(l):
			out = append(out, position.ReplaceAllString(l, ""))
		case strings.HasPrefix(l, "        ") && len(out) > 0: // go on with it
			out[len(out)-1] += "\n" + strings.TrimPrefix(l, "        ")
		}
	}
	return out
}

// quote writes a word for a shell.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
