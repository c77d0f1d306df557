package assert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/internal/plural"
	"github.com/waybill-dev/waybill/journey"
)

// BeCloned succeeds if the kernel made n clones of the packet that went ways of their own ([journey.Clone]). The original does not
// count: a bridge that floods to three ports makes two clones and sends the original by the third. Nor do copies for packet sockets,
// and clones that end without having done anything that was observed.
func BeCloned(n int) types.GomegaMatcher {
	m := &journeyMatcher{name: "BeCloned", asked: "to be cloned " + times(n)}
	if n < 1 {
		m.misuse = fmt.Errorf("BeCloned: it needs a number from 1 on, not %d; that there is no clone is said with NotTo", n)
	}
	m.judge = func(j *journey.Journey, f *finding) (bool, error) {
		if j.Evidence != nil && j.Evidence.NoFunctions != "" {
			return false, errors.New(wrap(fmt.Sprintf("BeCloned: clones cannot be observed here: %s. Call harness.NeedFunctions to skip "+
				"the test on such kernels.", j.Evidence.NoFunctions), ""))
		}
		clones := 0
		var began []int
		for i := range j.Branches {
			b := &j.Branches[i]
			if b.Role != journey.Clone {
				continue
			}
			clones++
			if len(b.Events) > 0 {
				began = append(began, b.Events[0])
			}
		}
		if began != nil {
			f.hops = began
		}
		f.but = "it was cloned " + times(clones)
		if clones == 0 {
			f.but = "it was not cloned"
		}
		return clones == n, doubt(j)
	}
	return m
}

// BeFlooded succeeds if a bridge sent the packet by exactly these devices, its ports: no other, and by none twice. What the bridge's
// node takes for itself does not count, nor what is sent behind a port. A port is a device whose driver was given the frame; one
// that the bridge left out is none. Beside names of devices it takes the option At.
//
//	Expect(journey).To(BeFlooded("port2", "port3", At(hub)))
func BeFlooded(ports ...any) types.GomegaMatcher {
	var names []string
	var options []Option
	var err error
	for _, p := range ports {
		switch p := p.(type) {
		case string:
			names = append(names, p)
		case Option:
			options = append(options, p)
		default:
			err = fmt.Errorf("BeFlooded: it takes names of devices and options, not a %T", p)
		}
	}
	slices.Sort(names)
	switch {
	case err != nil:
	case len(names) == 0 || names[0] == "":
		err = errors.New("BeFlooded: it needs the names of the devices by which the bridge is to send")
	case len(slices.Compact(slices.Clone(names))) < len(names):
		err = errors.New("BeFlooded: a device is named twice; a bridge sends a frame by each of its ports once")
	}
	want, wrong := parse("BeFlooded", options, "At")
	if err == nil {
		err = wrong
	}
	m := &journeyMatcher{name: "BeFlooded", asked: "to be sent by a bridge by " + strings.Join(names, ", ") + want.words(), want: want,
		misuse: err}
	m.judge = func(j *journey.Journey, f *finding) (bool, error) {
		for _, name := range names {
			port := expectation{place: want.place, device: name}
			if j.Evidence == nil {
				break
			}
			if err := port.checkDevice("BeFlooded", j); err != nil {
				return false, err
			}
		}
		if err := watched("BeFlooded", j.Evidence, journey.Bridge, journey.DeviceTransmit); err != nil {
			return false, err
		}
		f.but = "no bridge took it" + want.words()
		for _, v := range j.Visits(journey.Bridge) {
			if !want.in(v.NetNS) {
				continue
			}
			sent, hops := sentBy(j, v)
			if slices.Equal(sent, names) {
				f.hops = hops
				return true, doubt(j)
			}
			f.hops, f.but = []int{v.Event}, "the bridge sent it by none"
			if len(sent) > 0 {
				f.hops, f.but = hops, fmt.Sprintf("the bridge sent it by %s: %s", plural.Of(len(sent), "device"), strings.Join(sent, ", "))
			}
		}
		return false, doubt(j)
	}
	return m
}

// sentBy lists the devices by which a bridge sent a packet that it took, in alphabetical order, and the events that show it: where
// the packet, or a clone of it, was next given to a device of the bridge's namespace.
func sentBy(j *journey.Journey, bridge journey.Visit) (devices []string, hops []int) {
	sent := j.Visits(journey.DeviceTransmit)
	between := func(stops []journey.Visit, v journey.Visit) bool {
		return slices.ContainsFunc(stops, func(s journey.Visit) bool {
			return s.After > bridge.After && s.After < v.After && on(j, s, v.Branch)
		})
	}
	for _, v := range sent {
		if v.After <= bridge.After || v.Device == nil || v.NetNS == nil || bridge.NetNS == nil || v.NetNS.Cookie != bridge.NetNS.Cookie ||
			!on(j, bridge, v.Branch) || between(sent, v) || between(j.Visits(journey.Bridge), v) {
			continue
		}
		devices, hops = append(devices, v.Device.Name), append(hops, v.Event)
	}
	slices.Sort(devices)
	return devices, hops
}

// watched returns an error if a milestone was not observed, or not on all ways to it.
func watched(matcher string, evidence *journey.Evidence, milestones ...journey.Milestone) error {
	if evidence == nil {
		return nil
	}
	for _, milestone := range milestones {
		w, ok := evidence.Milestones[milestone]
		if !ok {
			return errors.New(wrap(fmt.Sprintf("%s: the milestone %s was not observed, so the record cannot tell: this kernel does not "+
				"allow it, or the trace was begun with TraceOptions.WithoutMilestones.", matcher, milestone), ""))
		}
		if w.Blind != "" {
			return fmt.Errorf("%w: packets may have come by the milestone %s unseen: %s", journey.ErrInconclusive, milestone, w.Blind)
		}
	}
	return nil
}
