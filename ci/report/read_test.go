package report

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// sample reads what a test binary left behind that holds one of everything: see testdata.
func sample(t *testing.T) (specs []Spec, faults []string) {
	t.Helper()
	ginkgo, err := os.ReadFile("testdata/ginkgo.json")
	qt.Assert(t, qt.IsNil(err))
	events, err := os.Open("testdata/test2json.json")
	qt.Assert(t, qt.IsNil(err))
	defer events.Close()
	specs, faults, err = Read(Input{Test2JSON: events, Ginkgo: ginkgo, Dir: "/repo/suites/sample", Root: "/repo"})
	qt.Assert(t, qt.IsNil(err))
	for i := range specs {
		specs[i].Seconds = float64(i) / 10
	}
	return specs, faults
}

func TestRead(t *testing.T) {
	specs, faults := sample(t)
	var b strings.Builder
	for _, s := range specs {
		fmt.Fprintf(&b, "%s: %s (%s:%d)\n  %s\n", s.Status, s.Name, s.File, s.Line, s.Select)
		b.WriteString(indent(s.Text, "    "))
	}
	for _, f := range faults {
		fmt.Fprintf(&b, "fault: %s\n", f)
	}
	golden.Check(t, "read.txt", b.String())
}

func TestReadWithoutReport(t *testing.T) {
	// A suite that died leaves no report; its test says what is known.
	const events = `{"Action":"run","Test":"TestSuite"}
{"Action":"output","Test":"TestSuite","Output":"Running Suite: x\n"}
{"Action":"output","Test":"TestSuite","Output":"panic: boom\n"}
`
	specs, faults, err := Read(Input{Test2JSON: strings.NewReader(events)})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(faults, 0))
	qt.Check(t, qt.DeepEquals(specs, []Spec{{
		Name: "TestSuite", Status: Failed, Text: "it did not run to its end\nRunning Suite: x\npanic: boom", Select: "-run='^TestSuite$'",
	}}))
}

func TestReadWhatGinkgoAdds(t *testing.T) {
	for report, want := range map[string]string{
		`[{"SuiteHasProgrammaticFocus": true}]`:                     "the code focuses on some specs (FIt, FDescribe, Focus), so that the others did not run",
		`[{"SpecialSuiteFailureReasons": ["Interrupted by User"]}]`: "Interrupted by User",
	} {
		_, faults, err := Read(Input{Test2JSON: strings.NewReader(""), Ginkgo: []byte(report)})
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(faults, []string{want}))
	}
	specs, _, err := Read(Input{Test2JSON: strings.NewReader(""), Ginkgo: []byte(`[{"SpecReports": [
		{"LeafNodeType": "It", "LeafNodeText": "filtered out", "State": "skipped"},
		{"LeafNodeType": "BeforeSuite", "State": "passed"},
		{"LeafNodeType": "AfterSuite", "State": "failed", "Failure": {"Message": "no"}}]}]`)})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(specs, []Spec{{Name: "[AfterSuite]", Status: Failed, Text: "no"}}))
}

func TestReadBroken(t *testing.T) {
	_, _, err := Read(Input{Test2JSON: strings.NewReader("{")})
	qt.Check(t, qt.ErrorMatches(err, "read the output of test2json: unexpected EOF"))
	_, _, err = Read(Input{Test2JSON: strings.NewReader(""), Ginkgo: []byte("[")})
	qt.Check(t, qt.ErrorMatches(err, "read Ginkgo's report: unexpected end of JSON input"))
}
