package assert

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/internal/nearest"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/journey/shape"
)

// Option narrows down what a matcher looks for. Each may be given once.
type Option struct {
	name string
	set  func(*expectation) error
}

// expectation is what the options of a matcher say. What was not said is zero.
type expectation struct {
	place     journey.Place
	device    string
	reason    string
	rule      string
	policy    string
	function  string
	with      string
	verdict   string
	which     types.GomegaMatcher
	times     int
	anyBranch bool
	shape     shape.Options
}

// At says in which node, that is in which network namespace: where the function was reached, where the packet was
// dropped, where it was delivered.
func At(place journey.Place) Option {
	return Option{"At", func(e *expectation) error {
		if place == nil || reflect.ValueOf(place).Kind() == reflect.Pointer && reflect.ValueOf(place).IsNil() {
			return errors.New("the node is nil")
		}
		e.place = place
		return nil
	}}
}

// On says on which network device, by its name. For an outcome, it selects the branches that were on that device; in
// the node that At gives, if both are given.
func On(device string) Option {
	return text("On", device, "the name of a network device", func(e *expectation) *string { return &e.device })
}

// Reason says why the packet was dropped, by the kernel's name without its prefix: "NETFILTER_DROP".
func Reason(name string) Option {
	return text("Reason", name, "the name of a drop reason", func(e *expectation) *string { return &e.reason })
}

// ByRule says which nftables rule dropped the packet, by its comment or by a part of its text that begins and ends
// with a word: "udp dport 80" does not stand for "udp dport 8080 drop".
func ByRule(part string) Option {
	return text("ByRule", part, "a part of the rule or of its comment", func(e *expectation) *string { return &e.rule })
}

// ByPolicy says that the policy of the nftables chain with this name dropped the packet, not one of its rules.
func ByPolicy(chain string) Option {
	return text("ByPolicy", chain, "the name of a chain", func(e *expectation) *string { return &e.policy })
}

// In says in which kernel function the packet was dropped: "ip_rcv_core". That may differ between kernels: what nftables drops
// is dropped in nft_do_chain on Linux 6.12 and later, and in nf_hook_slow on 6.1.
func In(function string) Option {
	return text("In", function, "the name of a kernel function", func(e *expectation) *string { return &e.function })
}

// Times says how many times exactly. That the packet was seen n times proves it only if the record is complete.
func Times(n int) Option {
	return Option{"Times", func(e *expectation) error {
		if n < 1 {
			return fmt.Errorf("it needs a number from 1 on, not %d; that something never happens is said with NotTo", n)
		}
		e.times = n
		return nil
	}}
}

// AnyBranch is content with one branch of the journey that ended as expected, where otherwise all must.
func AnyBranch() Option {
	return Option{"AnyBranch", func(e *expectation) error {
		e.anyBranch = true
		return nil
	}}
}

func text(name, value, meaning string, field func(*expectation) *string) Option {
	return Option{name, func(e *expectation) error {
		if value == "" {
			return fmt.Errorf("it needs %s", meaning)
		}
		*field(e) = value
		return nil
	}}
}

// parse reads the options of a matcher that understands the given ones.
func parse(matcher string, options []Option, understood ...string) (expectation, error) {
	var e expectation
	var given []string
	for _, o := range options {
		switch {
		case o.set == nil:
			return e, fmt.Errorf("%s: an option is empty; the options are %s", matcher, strings.Join(understood, ", "))
		case !slices.Contains(understood, o.name):
			return e, fmt.Errorf("%s: the option %s says nothing to it; the options are %s",
				matcher, o.name, strings.Join(understood, ", "))
		case slices.Contains(given, o.name):
			return e, fmt.Errorf("%s: the option %s is given twice", matcher, o.name)
		}
		if err := o.set(&e); err != nil {
			return e, errors.New(wrap(fmt.Sprintf("%s: the option %s: %v", matcher, o.name, err), "  "))
		}
		given = append(given, o.name)
	}
	if e.rule != "" && e.policy != "" {
		return e, fmt.Errorf("%s: either a rule or a policy drops a packet; give ByRule or ByPolicy, not both", matcher)
	}
	return e, nil
}

// check finds what the record of a journey can tell to be a mistake of the test.
func (e *expectation) check(matcher string, j *journey.Journey) error {
	evidence := j.Evidence
	if evidence == nil {
		return nil
	}
	if e.place != nil && len(evidence.Nodes) > 0 {
		if _, ok := evidence.Nodes[e.place.NetNSCookie()]; !ok {
			return fmt.Errorf("%s: node %s is not in the network of this record, which has %s",
				matcher, e.place, names(evidence.Nodes))
		}
	}
	if err := e.checkDevice(matcher, j); err != nil {
		return err
	}
	known := func(reason string) bool { return journey.Drop{Reason: reason}.Is(e.reason) }
	if e.reason != "" && len(evidence.Reasons) > 0 && !slices.ContainsFunc(evidence.Reasons, known) {
		return fmt.Errorf("%s: this kernel has no drop reason %q%s",
			matcher, e.reason, suggest(e.reason, evidence.Reasons))
	}
	if e.rule != "" || e.policy != "" {
		return armed(matcher, verdicts, evidence)
	}
	return nil
}

// verdicts is the probe by which nftables reports what it decided.
var verdicts = journey.Probe{Kind: journey.Function, Name: "__nft_trace_packet"}

// checkDevice finds out whether there is such a device: in the node, or in any if none is named. Those that came or went while
// the trace was under way are known by the packet's events.
func (e *expectation) checkDevice(matcher string, j *journey.Journey) error {
	if e.device == "" || len(j.Evidence.Devices) == 0 {
		return nil
	}
	for i := range j.Events {
		if e.on(&j.Events[i]) {
			return nil
		}
	}
	where := "no node of this network has a"
	var all []string
	for cookie, names := range j.Evidence.Devices {
		if e.place != nil && cookie != e.place.NetNSCookie() {
			continue
		}
		if slices.Contains(names, e.device) {
			return nil
		}
		for _, name := range names {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	if e.place != nil {
		where = "node " + e.place.String() + " has no"
	}
	slices.Sort(all)
	return errors.New(wrap(fmt.Sprintf("%s: %s device %q%s; there are %s",
		matcher, where, e.device, suggest(e.device, all), strings.Join(all, ", ")), "  "))
}

func names(nodes map[uint64]string) string {
	var all []string
	for _, name := range nodes {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func suggest(name string, candidates []string) string {
	near := nearest.Names(name, slices.Values(candidates))
	if len(near) == 0 {
		return ""
	}
	return " (did you mean " + strings.Join(near, " or ") + "?)"
}

// words are the expectation in words, to follow "to be dropped" or "to reach f".
func (e *expectation) words() string {
	var b strings.Builder
	if e.place != nil {
		fmt.Fprintf(&b, " in namespace %s", e.place)
	}
	if e.device != "" {
		fmt.Fprintf(&b, " on %s", e.device)
	}
	if e.reason != "" {
		fmt.Fprintf(&b, " with reason %s", e.reason)
	}
	if e.rule != "" {
		fmt.Fprintf(&b, " by rule '%s'", e.rule)
	}
	if e.policy != "" {
		fmt.Fprintf(&b, " by the policy of chain %s", e.policy)
	}
	if e.verdict != "" {
		fmt.Fprintf(&b, " with verdict %s", e.verdict)
	}
	if e.function != "" {
		fmt.Fprintf(&b, " in function %s", e.function)
	}
	if e.times > 0 {
		fmt.Fprintf(&b, " exactly %s", times(e.times))
	}
	if e.anyBranch {
		b.WriteString(" in at least one branch")
	}
	return b.String()
}

// in says whether a namespace is the expected one.
func (e *expectation) in(ns *journey.NetNS) bool {
	return e.place == nil || ns != nil && ns.Cookie == e.place.NetNSCookie()
}

// on says whether an event was on the expected device, in the expected namespace.
func (e *expectation) on(event *journey.Event) bool {
	if !e.in(event.NetNS) {
		return false
	}
	return e.device == "" || event.Device != nil && event.Device.Name == e.device
}
