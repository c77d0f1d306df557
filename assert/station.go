package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// station is a place in the kernel that a test names: a milestone, or a probe.
type station struct {
	milestone journey.Milestone
	probe     journey.Probe
	text      string // as the test wrote it
	exact     bool   // the test insists on this function, though it is one of several ways to a milestone
}

// kinds are the prefixes of probes, as traces take them.
var kinds = map[string]journey.ProbeKind{
	"k": journey.Function, "kprobe": journey.Function, "kr": journey.Return, "kretprobe": journey.Return,
	"tp": journey.Tracepoint, "raw_tracepoint": journey.RawTracepoint,
}

// stationOf reads what a test names.
func stationOf[P string | journey.Milestone](what P) (station, error) {
	if m, ok := any(what).(journey.Milestone); ok {
		if !slices.Contains(journey.Milestones(), m) {
			return station{}, fmt.Errorf("there is no milestone %q: use the constants, such as Forward", string(m))
		}
		return station{milestone: m, text: string(m)}, nil
	}
	s := station{text: string(what), probe: journey.Probe{Kind: journey.Function, Name: string(what)}}
	if prefix, name, ok := strings.Cut(s.text, ":"); ok {
		if kind, known := kinds[prefix]; known {
			s.probe, s.exact = journey.Probe{Kind: kind, Name: name}, kind != journey.Tracepoint
		} else {
			s.probe.Kind = journey.Tracepoint
		}
	}
	if s.probe.Name == "" {
		return s, errors.New("it needs the name of a kernel function, or a milestone such as Forward")
	}
	return s, nil
}

// String names the place in a sentence.
func (s station) String() string {
	switch {
	case s.milestone != "":
		return "the milestone '" + s.text + "'"
	case s.probe.Kind == journey.Return:
		return "the return of " + s.probe.Name
	}
	return s.probe.Name
}

// visits lists when the packet was there.
func (s station) visits(j *journey.Journey) []journey.Visit {
	if s.milestone != "" {
		return j.Visits(s.milestone)
	}
	return j.VisitsOf(s.probe)
}

// unseen says why nothing can be concluded from that the packet was not seen there, in the place that is wanted: nil if it
// can, as far as the station goes.
func (s station) unseen(matcher string, j *journey.Journey, want *expectation) error {
	if s.milestone != "" {
		return s.blind(matcher, j, want)
	}
	if err := s.armed(matcher, j.Evidence); err != nil {
		return err
	}
	if s.exact {
		return nil
	}
	milestone, ok := journey.MilestoneOf(s.probe.Name)
	if !ok || j.Evidence == nil {
		return nil
	}
	for _, v := range j.Instead(s.probe.Name) {
		if !want.at(v) {
			continue
		}
		by := "no function of its own"
		if v.Event >= 0 {
			by = j.Events[v.Event].Probe.Name
		}
		return errors.New(wrap(fmt.Sprintf("%s: %s is one of several ways to the milestone %s, and the packet came another way, "+
			"by %s. Ask for the place, Reach(%s), or say that you mean this function and no other: Reach(%q).",
			matcher, s.probe.Name, milestone, by, constants[milestone], kindPrefix(s.probe.Kind)+s.probe.Name), ""))
	}
	return nil
}

func kindPrefix(k journey.ProbeKind) string {
	if k == journey.Tracepoint {
		return "raw_tracepoint:"
	}
	return k.String() + ":"
}

// armed returns an error if the probe was not armed.
func (s station) armed(matcher string, evidence *journey.Evidence) error {
	if evidence == nil {
		return nil
	}
	var hints []string
	for _, p := range evidence.Probes {
		switch {
		case p == s.probe:
			return nil
		case p.Name == s.probe.Name && p.Kind == journey.Return:
			hints = append(hints, fmt.Sprintf("Only its return was armed: Reach(%q) asks for that.", "kr:"+p.Name))
		case p.Name == s.probe.Name && s.probe.Kind == journey.Return:
			hints = append(hints, fmt.Sprintf("Only its call was armed: Reach(%q) asks for that.", p.Name))
		}
	}
	for m, name := range constants {
		if string(m) == s.probe.Name || name == s.probe.Name {
			hints = append(hints, fmt.Sprintf("The milestone is written without quotes: Reach(%s).", name))
		}
	}
	if m, ok := journey.MilestoneOf(s.probe.Name); ok && hints == nil {
		hints = append(hints, fmt.Sprintf("Or ask for the milestone %s, to which it is one of several ways and which every trace "+
			"observes: Reach(%s).", m, constants[m]))
	}
	return armed(matcher, s.probe, evidence, hints...)
}

// blind says why a milestone may have been passed unseen.
func (s station) blind(matcher string, j *journey.Journey, want *expectation) error {
	e := j.Evidence
	if e == nil {
		return nil
	}
	watch, watched := e.Milestones[s.milestone]
	switch {
	case !watched:
		return errors.New(wrap(fmt.Sprintf("%s: the milestone %s was not observed, so the record cannot tell: this kernel does not "+
			"allow it, or the trace was begun with TraceOptions.WithoutMilestones.", matcher, s.milestone), ""))
	case watch.Blind != "":
		return fmt.Errorf("%w: packets may come by the milestone %s unseen: %s", journey.ErrInconclusive, s.milestone, watch.Blind)
	case s.milestone == journey.DeviceReceive && want.device != "" && want.cameBy(j) &&
		!slices.ContainsFunc(j.Visits(s.milestone), want.at):
		return fmt.Errorf("%w: the packet was on %s, and the kernel does not tell when a frame is received by a device that is "+
			"on top of another, such as a VLAN's", journey.ErrInconclusive, want.device)
	case s.milestone == journey.LocalOut && want.madeHere(j):
		return fmt.Errorf("%w: the packet was sent by this node in a way that does not come by the functions which the milestone %s "+
			"stands for: raw sockets that bring the IP header, neighbour discovery and MLD do that",
			journey.ErrInconclusive, s.milestone)
	}
	return nil
}

// cameBy says that a packet was taken in from the wanted device by what comes after device receive.
func (e *expectation) cameBy(j *journey.Journey) bool {
	for _, m := range []journey.Milestone{journey.IPReceive, journey.ARPReceive, journey.Bridge} {
		if slices.ContainsFunc(j.Visits(m), e.at) {
			return true
		}
	}
	return false
}

// madeHere says that the first that was seen of a packet is that it leaves IP in the wanted place, or is judged there.
func (e *expectation) madeHere(j *journey.Journey) bool {
	if len(j.Events) == 0 || !e.in(j.Events[0].NetNS) {
		return false
	}
	first := &j.Events[0]
	return first.NFT != nil || first.IPTables != nil || first.Drop != nil && first.Drop.Reason == "NETFILTER_DROP" ||
		slices.Contains(j.Evidence.Milestones[journey.Postrouting].Probes, first.Probe)
}

// at says whether a visit was in the wanted place.
func (e *expectation) at(v journey.Visit) bool {
	return e.in(v.NetNS) && (e.device == "" || v.Device != nil && v.Device.Name == e.device)
}
