package assert

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/journey/shape"
)

// updateFlag has a name of its own, because many test binaries have a flag -update already. That one counts, too.
var updateFlag = flag.Bool("waybill.update", false, "write the golden files of MatchGolden anew instead of comparing with them")

// updating is whether golden files are to be written.
var updating = func() bool {
	if *updateFlag {
		return true
	}
	other := flag.Lookup("update")
	return other != nil && other.Value.String() == "true"
}

// goldenHeader begins a golden file.
const goldenHeader = "# A packet's journey in normal form. The flag -waybill.update writes it anew.\n"

// MatchGolden succeeds if the packet took the journey that a file holds: the same places on the same nodes and devices in the same
// order, the same verdicts of the same rules, the same rewrites, the same end. The file is text that is reviewed with the test; what
// differs from run to run is not in it, and functions that kernels call differently are milestones. Package shape says what
// the normal form is. The path is relative to the folder of the test's package, below testdata best: from there, files come back
// out of a VM.
//
//	Expect(journey).To(MatchGolden("testdata/metrics.journey"))
//
// With the flag -waybill.update, or a flag -update of the test binary's own, the file is written instead, if the record is complete. An
// incomplete record is inconclusive, whatever it shows. Options: AnyRule, AnyAddress, Without.
func MatchGolden(file string, options ...Option) types.GomegaMatcher {
	want, err := parse("MatchGolden", options, "AnyRule", "AnyAddress", "Without")
	if err == nil && file == "" {
		err = errors.New("MatchGolden: it needs the name of a file, such as testdata/metrics.journey")
	}
	m := &sameMatcher{
		name: "MatchGolden", verb: "to take the journey of " + file, called: "in the golden file", minus: file,
		options: want.shape, misuse: err,
	}
	m.other = func() (*shape.Shape, error) { return readGolden(file) }
	m.write = func(s *shape.Shape) error { return writeGolden(file, s) }
	return m
}

func readGolden(file string) (*shape.Shape, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("MatchGolden: there is no golden file %s yet; run the test with -waybill.update to write it, and review it",
			file)
	}
	if err != nil {
		return nil, fmt.Errorf("MatchGolden: read the golden file: %w", err)
	}
	s, err := shape.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("MatchGolden: read the golden file %s: %w", file, err)
	}
	return s, nil
}

func writeGolden(file string, s *shape.Shape) error {
	text := goldenHeader + s.String()
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("MatchGolden: make the folder of the golden file: %w", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("MatchGolden: write the golden file: %w", err)
	}
	return nil
}

// TakeSameJourneyAs succeeds if the packet took the same journey as another one, which may be of another record: under another
// ruleset, by IPv6 instead of IPv4, on another kernel. Addresses need not be the same, only what is done with them. Rules are told
// by their comments, and by their texts if they have none; with AnyRule the rules may differ as long as the same becomes of the
// packet. Options: AnyRule, Without.
//
//	Expect(record.Of(six)).To(TakeSameJourneyAs(record.Of(four), AnyRule()))
func TakeSameJourneyAs(other *journey.Journey, options ...Option) types.GomegaMatcher {
	want, err := parse("TakeSameJourneyAs", options, "AnyRule", "Without")
	want.shape.AnyAddress = true
	if err == nil && other == nil {
		err = errors.New("TakeSameJourneyAs: the other journey is nil")
	}
	m := &sameMatcher{
		name: "TakeSameJourneyAs", called: "in the other journey", minus: "the other journey", options: want.shape, misuse: err,
	}
	if err == nil {
		m.verb = "to take the same journey as\n    " + other.Flow()
	}
	m.other = func() (*shape.Shape, error) {
		if err := doubt(other); err != nil {
			return nil, otherError{err}
		}
		return shape.Of(other, m.options), nil
	}
	return m
}

// otherError is a doubt about the journey that is compared with.
type otherError struct{ error }

func (o otherError) Error() string {
	marker := journey.ErrInconclusive.Error() + ": "
	return marker + "of the other journey: " + strings.TrimPrefix(o.error.Error(), marker)
}

func (o otherError) Unwrap() error { return o.error }

// AnyRule says that it makes no difference which nftables and iptables rules judged the packet, as long as the same became of it.
func AnyRule() Option {
	return Option{"AnyRule", func(e *expectation) error {
		e.shape.AnyRule = true
		return nil
	}}
}

// AnyAddress says that it makes no difference which addresses the packet has: they are called by letters, in the order in which
// they appear.
func AnyAddress() Option {
	return Option{"AnyAddress", func(e *expectation) error {
		e.shape.AnyAddress = true
		return nil
	}}
}

// Without says that it makes no difference whether the packet came by these places: milestones, functions, chains as golden files
// name them ("nft inet filter input"). It is for what cannot be observed on all kernels.
func Without[P string | journey.Milestone](places ...P) Option {
	return Option{"Without", func(e *expectation) error {
		for _, p := range places {
			if p == "" {
				return errors.New("a place is empty")
			}
			e.shape.Without = append(e.shape.Without, string(p))
		}
		if len(places) == 0 {
			return errors.New("it needs a place, such as Qdisc")
		}
		return nil
	}}
}

// sameMatcher compares the shapes of journeys.
type sameMatcher struct {
	name, verb string
	called     string // the other one, in a sentence
	minus      string // and in a difference
	options    shape.Options
	other      func() (*shape.Shape, error)
	write      func(*shape.Shape) error // of a golden file; nil if there is none
	difference *shape.Difference
	misuse     error
	finding
}

// Match implements gomega's matcher.
func (m *sameMatcher) Match(actual any) (bool, error) {
	if m.misuse != nil {
		return false, m.misuse
	}
	j, err := subject(m.name, actual)
	if err != nil {
		return false, err
	}
	m.finding = finding{journey: j, asked: m.verb}
	if err := doubt(j); err != nil {
		return false, m.doubted(err)
	}
	here := shape.Of(j, m.options)
	if m.write != nil && updating() {
		return true, m.write(here)
	}
	there, err := m.other()
	if err != nil {
		return false, m.doubted(err)
	}
	m.difference = shape.Compare(there, here)
	if m.difference == nil {
		return true, nil
	}
	m.but, m.hops = m.difference.Words(m.called), m.difference.Events()
	return false, m.doubted(m.difference.Inconclusive())
}

// FailureMessage implements gomega's matcher.
func (m *sameMatcher) FailureMessage(any) string {
	other := *m
	other.write = nil
	more := m.closer(other.Match)
	lines := []string{"\n\nThe difference (- " + m.minus + ", + this journey):"}
	for line := range strings.Lines(m.difference.String()) {
		lines = append(lines, wrap("  "+strings.TrimSuffix(line, "\n"), "        "))
	}
	return m.text("Expected the packet", m.asked+",\nbut "+m.but+".", "→ marks where it departed", strings.Join(lines, "\n")+more)
}

// NegatedFailureMessage implements gomega's matcher.
func (m *sameMatcher) NegatedFailureMessage(any) string { return m.negated() }

// MatchMayChangeInTheFuture tells gomega that a journey does not change.
func (m *sameMatcher) MatchMayChangeInTheFuture(any) bool { return false }
