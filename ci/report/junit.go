package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr"` // of the whole report
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string       `xml:"classname,attr"`
	Name    string       `xml:"name,attr"`
	Time    string       `xml:"time,attr"`
	File    string       `xml:"file,attr,omitempty"`
	Line    int          `xml:"line,attr,omitempty"`
	Failure *junitResult `xml:"failure"`
	Error   *junitResult `xml:"error"`
	Skipped *junitResult `xml:"skipped"`
}

type junitResult struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes a report as JUnit XML: a test suite for each suite on each kernel. What is inconclusive, an unexplained skip
// and a fault of a run are errors, with those words as their types.
func (r *Report) JUnit(w io.Writer) error {
	all := junitSuites{Name: "waybill", Time: seconds(r.Seconds)}
	for _, k := range r.Kernels {
		for _, suite := range r.suites() {
			run := r.run(k.Name, suite)
			if run == nil {
				continue
			}
			s := junitSuite{
				Name: suite + " on " + k.Name, Time: seconds(run.Seconds),
				Timestamp:  r.Started.UTC().Format("2006-01-02T15:04:05"),
				Properties: []junitProperty{{"kernel", k.Name}, {"role", dash(k.Role)}, {"version", dash(k.Version)}},
			}
			class := k.Name + "." + strings.ReplaceAll(suite, "/", ".")
			for _, spec := range run.Specs {
				s.add(junitSpec(class, spec))
			}
			for _, f := range run.Faults {
				s.add(junitCase{Class: class, Name: "[the run as a whole]", Time: seconds(0), Error: result("broken", f)})
			}
			all.Tests += s.Tests
			all.Failures += s.Failures
			all.Errors += s.Errors
			all.Skipped += s.Skipped
			all.Suites = append(all.Suites, s)
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

func junitSpec(class string, spec Spec) junitCase {
	c := junitCase{Class: class, Name: spec.Name, Time: seconds(spec.Seconds), File: spec.File, Line: spec.Line}
	switch {
	case spec.Status == Failed:
		c.Failure = result("failed", spec.Text)
	case spec.Status == Inconclusive:
		c.Error = result("inconclusive", spec.Text)
	case spec.Unexplained:
		c.Error = result("unexplained skip", spec.Text)
	case spec.Status == Skipped:
		c.Skipped = &junitResult{Message: printable(spec.Text)}
	}
	return c
}

func result(kind, text string) *junitResult {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return &junitResult{Type: kind, Message: printable(first), Text: printable(text)}
}

// printable leaves out what XML cannot hold, as colours.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\n' && c != '\t' {
			return -1
		}
		return c
	}, text)
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }

// JSON writes a report as indented JSON.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
