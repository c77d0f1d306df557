package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// Observer takes what is observed of a scope's packets: their lives, and the events at the probes that it has armed. A scope may
// have several, of which each sees only its own probes.
type Observer struct {
	scope *Scope
	sink  func(*journey.Observation)

	// probes holds what is armed, by number; guarded by the tracker's mutex, like what follows.
	probes probeTable
	held   []request
	closed bool
}

// Observe adds an observer to the scope. sink receives every observation, one after another, on the tracker's reading goroutine:
// it must be quick, must not call the tracker, and must not keep the observation, which is overwritten by the next one; the
// sections that it points to stay.
func (s *Scope) Observe(sink func(*journey.Observation)) (*Observer, error) {
	o := &Observer{scope: s, sink: sink}
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	if s.closed {
		return nil, errors.New("observe packets: the scope is closed")
	}
	s.observers = append(s.observers, o)
	return o, nil
}

// Arm observes probes. It arms all of them or none. A probe is written
//
//	[k|kprobe|kr|kretprobe|tp|raw_tracepoint:]NAME[/stack]
//
// A NAME alone, k: or kprobe: mean that the kernel function of that name is called, kr: and kretprobe: that it returns,
// with its return value. The function may be a module's, and needs an argument that is a struct sk_buff *; if several have
// the name, all of them are observed. tp: is a tracepoint, named as in tp:net:net_dev_queue, and raw_tracepoint: one by its
// own name only, whether or not it has a format; both are observed in the same way. /stack adds the kernel's stack.
//
// The characters *, ? and [...] make NAME a pattern, as of [path.Match]: it stands for everything that takes a packet, can
// be probed, and is there now. It may match 4,096 functions, and of everything else 128; [Observer.Probes] tells which they
// were. The name __nft_trace_packet stands for nftables verdicts, ipt_do_table and ip6t_do_table for those of iptables, and
// tp:skb:kfree_skb is always observed.
//
// A probe that another observer armed is shared, which costs nothing; attaching and detaching take tenths of a second,
// and for each probe as much where it is not by kprobe.multi. A call that is under way while its function's return is
// armed by anybody may end unseen.
func (o *Observer) Arm(probes []string) error {
	t := o.scope.tracker
	armed, err := t.hold(probes)
	if err != nil {
		return err
	}
	t.mu.Lock()
	if o.closed { // meanwhile, or before
		t.mu.Unlock()
		var held []request
		for _, a := range armed {
			held = append(held, a.request)
		}
		return errors.Join(fmt.Errorf("observe %s: the observer is closed", strings.Join(probes, ", ")), t.release(held))
	}
	defer t.mu.Unlock()
	known := make(map[journey.Probe]uint16)
	for number, probe := range o.probes.all() {
		known[probe] = number
	}
	for _, a := range armed {
		o.held = append(o.held, a.request)
		// Of a probe with and without the stack, the observer sees the one with.
		number, has := known[a.probe()]
		if has && !a.stack {
			continue
		}
		if has {
			o.probes.set(number, journey.Probe{})
		}
		o.probes.set(a.number, a.probe())
	}
	return nil
}

// Probes lists what is armed, sorted by name: functions, and the drop tracepoint, which always is.
func (o *Observer) Probes() []journey.Probe {
	o.scope.tracker.mu.Lock()
	defer o.scope.tracker.mu.Unlock()
	probes := []journey.Probe{dropProbe}
	for _, probe := range o.probes.all() {
		if probe != dropProbe {
			probes = append(probes, probe)
		}
	}
	slices.SortFunc(probes, func(a, b journey.Probe) int { return cmp.Compare(a.Name, b.Name) })
	return probes
}

// Disarm ends what Arm began.
func (o *Observer) Disarm() error { return o.disarm(false) }

// Close disarms the observer and takes it from its scope. The sink is not called any more when it returns. It may be called
// again.
func (o *Observer) Close() error { return o.disarm(true) }

func (o *Observer) disarm(forGood bool) error {
	t := o.scope.tracker
	t.mu.Lock()
	held := o.held
	o.held, o.probes = nil, nil
	if forGood {
		o.closed = true
		o.scope.observers = slices.DeleteFunc(slices.Clone(o.scope.observers), func(other *Observer) bool { return other == o })
	}
	t.mu.Unlock()
	return t.release(held)
}
