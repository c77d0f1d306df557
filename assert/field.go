package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// HaveFieldChanged succeeds if a field of the packet had one value and later, on the same way, another: both in the node that At
// gives, or anywhere. Between them it may have had others. (The name HaveField is gomega's.) Fields are called as texts call them: src,
// dst, src port, dst port, proto, ttl (also of IPv6), tos, dscp, ecn, id and len (of IPv4), vlan, src mac, dst mac, mark, priority, ct
// mark, ct zone, ct state. A value is a number, a string ("0x10", "10.0.0.1", "NEW"), or anything that prints as one. The header that
// a tunnel puts around the packet is not the packet's. Options: At, On.
//
//	Expect(journey).To(HaveFieldChanged("dscp", 0, 46, At(fw)))
func HaveFieldChanged(field string, from, to any, options ...Option) types.GomegaMatcher {
	const name = "HaveFieldChanged"
	want, misuse := parse(name, options, "At", "On")
	f, err := fieldCalled(name, field)
	var old, now string
	if err == nil {
		old, err = valueOf(name, f, from)
	}
	if err == nil {
		now, err = valueOf(name, f, to)
	}
	if err == nil && old == now {
		err = fmt.Errorf("%s: both values are %s; give what the field was and what it became", name, old)
	}
	if misuse == nil {
		misuse = err
	}
	return &eventMatcher{
		name: name, verb: fmt.Sprintf("have its %s changed from %s to %s", field, old, now), want: want, state: true, before: true,
		misuse: misuse, known: metadata(name, f.IsMeta()),
		shows: func(j *journey.Journey, event int) (bool, error) {
			if value, ok := ownField(f, j, event); !ok || value != now {
				return false, nil
			}
			e := &j.Events[event]
			for i := range event {
				value, ok := ownField(f, j, i)
				if ok && value == old && on(j, visit(j, i), j.BranchOf(event)) && want.sameAs(&j.Events[i], e) {
					return true, nil
				}
			}
			return false, nil
		},
		instead: func(j *journey.Journey, want *expectation) (but string, hops []int) {
			var values []string
			for i := range j.Events {
				value, ok := ownField(f, j, i)
				if ok && want.on(&j.Events[i]) && (len(values) == 0 || values[len(values)-1] != value) {
					values, hops = append(values, value), append(hops, i)
				}
			}
			switch len(values) {
			case 0:
				return fmt.Sprintf("its %s was not seen%s", field, want.words()), lastHops(j, j.Deciding())
			case 1:
				return fmt.Sprintf("its %s was %s wherever it was seen%s", field, values[0], want.words()), hops
			}
			return fmt.Sprintf("its %s was %s", field, strings.Join(values, ", then ")), hops
		},
	}
}

// BeMarked succeeds if the packet had this mark (skb->mark), as rules and sockets set it, somewhere. The trace must record metadata:
// TraceOptions.Metadata. The kernel clears the mark when a packet goes to another namespace. Options: At, On.
func BeMarked(value uint32, options ...Option) types.GomegaMatcher {
	want, err := parse("BeMarked", options, "At", "On")
	if err == nil && value == 0 {
		err = errors.New("BeMarked: 0 is how a packet without a mark is; that it has none is said with NotTo and the mark")
	}
	return &eventMatcher{
		name: "BeMarked", verb: fmt.Sprintf("be marked %#x", value), want: want, state: true, before: true,
		misuse: err, known: metadata("BeMarked", true),
		shows: func(j *journey.Journey, event int) (bool, error) {
			e := &j.Events[event]
			return e.Meta != nil && e.Meta.Mark == value && e.Probe.Kind != journey.Return, nil
		},
		instead: func(j *journey.Journey, want *expectation) (but string, hops []int) {
			for i := range j.Events {
				if e := &j.Events[i]; e.Meta != nil && e.Meta.Mark != 0 && e.Probe.Kind != journey.Return && want.on(e) {
					return fmt.Sprintf("its mark was %#x", e.Meta.Mark), []int{i}
				}
			}
			return "it had no mark" + want.words(), lastHops(j, j.Deciding())
		},
	}
}

// BeEncapsulated succeeds if the packet got the header of such a tunnel around it, and went on as the same packet: vxlan, geneve, gre,
// ipip (IPv4 in IP), sit (IPv6 in IP), mpls (in IP), etherip, esp or ah. One that came with it was encapsulated elsewhere. Options: At,
// On.
func BeEncapsulated(proto string, options ...Option) types.GomegaMatcher {
	want, err := parse("BeEncapsulated", options, "At", "On")
	known := []string{"vxlan", "geneve", "gre", "ipip", "sit", "mpls", "etherip", "esp", "ah"}
	if err == nil && !slices.Contains(known, proto) {
		err = errors.New(wrap(fmt.Sprintf("BeEncapsulated: there is no tunnel %q%s; there are %s",
			proto, suggest(proto, known), strings.Join(known, ", ")), "  "))
	}
	count := func(e *journey.Event) (n int, ok bool) {
		if e.Packet == nil || e.Probe.Kind == journey.Return {
			return 0, false
		}
		for _, tunnel := range e.Packet.Tunnels() {
			if tunnel == proto {
				n++
			}
		}
		return n, true
	}
	return &eventMatcher{
		name: "BeEncapsulated", verb: "be encapsulated in " + proto, want: want, state: true, before: true, misuse: err,
		shows: func(j *journey.Journey, event int) (bool, error) {
			n, _ := count(&j.Events[event])
			if n == 0 {
				return false, nil
			}
			for i := event - 1; i >= 0; i-- { // the sight before says whether it came with it
				if before, ok := count(&j.Events[i]); ok && on(j, visit(j, i), j.BranchOf(event)) {
					return before < n, nil
				}
			}
			return false, nil
		},
		instead: func(j *journey.Journey, want *expectation) (but string, hops []int) {
			for i := range j.Events {
				e := &j.Events[i]
				if e.Packet == nil || !want.on(e) {
					continue
				}
				if tunnels := e.Packet.Tunnels(); slices.Contains(tunnels, proto) {
					return "it was in " + proto + " when it was first seen", []int{i}
				} else if len(tunnels) > 0 {
					return "it was in " + strings.Join(tunnels, " and "), []int{i}
				}
			}
			return "it was in no tunnel" + want.words(), lastHops(j, j.Deciding())
		},
	}
}

// fieldCalled finds a field by its name.
func fieldCalled(matcher, name string) (journey.Field, error) {
	var all []string
	for _, f := range journey.Fields() {
		if f.Name == name {
			return f, nil
		}
		all = append(all, f.Name)
	}
	return journey.Field{}, errors.New(wrap(fmt.Sprintf("%s: there is no field %q%s; there are %s",
		matcher, name, suggest(name, all), strings.Join(all, ", ")), "  "))
}

// valueOf reads a value that a test gives for a field.
func valueOf(matcher string, f journey.Field, value any) (string, error) {
	canonical, err := f.Canonical(fmt.Sprint(value))
	if err != nil {
		return "", fmt.Errorf("%s: %w", matcher, err)
	}
	return canonical, nil
}

// ownField reads a field where the packet is in as many tunnels as when it was first seen. On its return a function says how the
// packet was when it was called.
func ownField(f journey.Field, j *journey.Journey, event int) (string, bool) {
	e := &j.Events[event]
	if e.Probe.Kind == journey.Return {
		return "", false
	}
	value, ok := f.Read(e)
	if !ok || e.Packet == nil || f.IsMeta() {
		return value, ok
	}
	for i := range j.Events {
		if first := &j.Events[i]; first.Packet != nil {
			if _, isIP := first.Packet.Header(); isIP {
				return value, slices.Equal(first.Packet.Tunnels(), e.Packet.Tunnels())
			}
		}
	}
	return value, true
}

// sameAs says that two events were in one place, as far as the expectation cares.
func (e *expectation) sameAs(a, b *journey.Event) bool {
	if e.place != nil && (a.NetNS == nil || b.NetNS == nil || a.NetNS.Cookie != b.NetNS.Cookie) {
		return false
	}
	return e.device == "" || a.Device != nil && b.Device != nil && a.Device.Name == b.Device.Name
}

// metadata finds out whether the trace recorded it, if that is needed.
func metadata(matcher string, needed bool) func(*journey.Journey, *expectation) error {
	return func(j *journey.Journey, _ *expectation) error {
		for i := range j.Events {
			if j.Events[i].Meta != nil {
				return nil
			}
		}
		if !needed || len(j.Events) == 0 {
			return nil
		}
		return fmt.Errorf("%s: the trace did not record metadata, of which the mark is part, so the record cannot tell.\n"+
			"Ask for it before the traffic:\n    lab.Trace(ctx, harness.TraceOptions{Metadata: true})", matcher)
	}
}
