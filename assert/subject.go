package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// subject is the journey that a matcher was given.
func subject(matcher string, actual any) (*journey.Journey, error) {
	j, ok := actual.(*journey.Journey)
	if !ok {
		return nil, fmt.Errorf("%s: it looks at a *journey.Journey, as a record's Of returns it, not at a %T",
			matcher, actual)
	}
	if j == nil {
		return nil, fmt.Errorf("%s: the journey is nil", matcher)
	}
	return j, nil
}

// armed returns an error if a probe of that name was not armed, so that the record can say nothing about it.
func armed(matcher string, probe journey.Probe, evidence *journey.Evidence, hints ...string) error {
	if evidence == nil || slices.Contains(evidence.Probes, probe) {
		return nil
	}
	if evidence.NoFunctions != "" && (probe.Kind == journey.Function || probe.Kind == journey.Return) {
		return errors.New(wrap(fmt.Sprintf("%s: the function %s cannot be observed here, so the record cannot tell: %s. "+
			"Drops and the tracepoints of network devices can: ask for tp:net:netif_receive_skb, say, or call harness.NeedFunctions "+
			"to skip the test on such kernels.", matcher, probe.Name, evidence.NoFunctions), ""))
	}
	var probes []string
	for _, p := range evidence.Probes {
		if name := requestFor(p); !slices.Contains(probes, name) {
			probes = append(probes, name)
		}
	}
	slices.Sort(probes)
	name, what := probe.Name, "function"
	switch probe.Kind {
	case journey.Tracepoint, journey.RawTracepoint:
		what = "tracepoint"
	case journey.Return:
		what = "return of the function"
	}
	lines := []string{
		wrap(fmt.Sprintf("%s: the %s %s was not armed, so the record cannot tell%s.",
			matcher, what, name, suggest(name, probes)), ""),
	}
	lines = append(lines, "Arm it before the traffic:",
		fmt.Sprintf("    lab.Trace(ctx, harness.TraceOptions{Functions: []string{%q}})", requestFor(probe)))
	for _, hint := range hints {
		lines = append(lines, wrap(hint, ""))
	}
	if len(probes) > 0 {
		lines = append(lines, wrap("Armed were: "+strings.Join(probes, ", "), "  "))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// requestFor is a probe as a trace takes it.
func requestFor(p journey.Probe) string {
	switch p.Kind {
	case journey.Return:
		return "kr:" + p.Name
	case journey.Tracepoint:
		return "tp:" + p.Name
	case journey.RawTracepoint:
		return "raw_tracepoint:" + p.Name
	}
	return p.Name
}

// doubt returns an error if the record cannot vouch for absence.
func doubt(j *journey.Journey) error {
	if err := j.Evidence.Incomplete(); err != nil {
		return err
	}
	for i := range j.Branches {
		if b := &j.Branches[i]; b.Outcome.Kind == journey.Undetermined {
			if b.Outcome.Blind {
				return fmt.Errorf("%w: skb %x was %s", journey.ErrInconclusive, b.SKB, b.Outcome)
			}
			return fmt.Errorf("%w: the packet was still on its way when the record was sealed (skb %x)",
				journey.ErrInconclusive, b.SKB)
		}
	}
	return nil
}
