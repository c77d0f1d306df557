package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/waybill-dev/waybill/journey"
)

// Scope is the interest of one observer: packets first seen in its namespaces, at the functions that it armed. Scopes of
// one tracker do not see each other's packets.
type Scope struct {
	tracker *Tracker
	number  uint32
	cookies []uint64
	sink    func(*journey.Observation)
	base    []uint64 // counters of this scope's loss slot when it was made

	// probes holds what is armed, by number; guarded by the tracker's mutex.
	probes probeTable
	held   []request
	closed bool
}

// probeTable holds probes by number, which are dense in what a process uses: a lookup for each event in a map would take a tenth of
// the reader's time.
type probeTable [][]journey.Probe

const probePage = 256

// get returns the probe with a number, if there is one.
func (a probeTable) get(number uint16) (journey.Probe, bool) {
	page := int(number / probePage)
	if page >= len(a) || a[page] == nil {
		return journey.Probe{}, false
	}
	p := a[page][number%probePage]
	return p, p.Kind != 0
}

// set gives a number to a probe, or takes it away if the probe is none.
func (a *probeTable) set(number uint16, p journey.Probe) {
	page := int(number / probePage)
	for page >= len(*a) {
		*a = append(*a, nil)
	}
	if (*a)[page] == nil {
		(*a)[page] = make([]journey.Probe, probePage)
	}
	(*a)[page][number%probePage] = p
}

// all yields the probes with their numbers.
func (a probeTable) all() iter.Seq2[uint16, journey.Probe] {
	return func(yield func(uint16, journey.Probe) bool) {
		for i, page := range a {
			for j, p := range page {
				if p.Kind != 0 && !yield(uint16(i*probePage+j), p) {
					return
				}
			}
		}
	}
}

// Watch registers the namespaces with these cookies; a packet first seen in one of them is followed from then on,
// wherever it goes. sink receives every observation, one after another, on the tracker's reading goroutine: it must be
// quick, must not call the tracker, and must not keep the observation, which is overwritten by the next one; the sections
// that it points to stay.
//
// A namespace can be in one scope only.
func (t *Tracker) Watch(cookies []uint64, sink func(*journey.Observation)) (*Scope, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, errors.New("watch namespaces: the tracker is closed")
	}
	t.lastScope++
	s := &Scope{tracker: t, number: t.lastScope, sink: sink}
	t.scopes[s.number] = s
	t.mu.Unlock()

	base, err := t.counters(s.number)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.base = base
	if err := t.widen(cookies); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, c := range cookies {
		if err := t.collection.Maps[trackerMapScopes].Update(c, s.number, ebpf.UpdateNoExist); err != nil {
			if errors.Is(err, ebpf.ErrKeyExist) {
				err = errors.New("it is in another scope already")
			}
			return nil, errors.Join(fmt.Errorf("watch the namespace with cookie %d: %w", c, err), s.Close())
		}
		s.cookies = append(s.cookies, c)
	}
	return s, nil
}

// widen has the programs look for the scope of packets in these namespaces. It is not undone when they are gone: cookies only
// rise, so those of a process's labs lie side by side.
func (t *Tracker) widen(cookies []uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range cookies {
		t.firstCookie, t.lastCookie = min(t.firstCookie, c), max(t.lastCookie, c)
	}
	err := errors.Join(t.collection.Variables[trackerVarFirstCookie].Set(t.firstCookie),
		t.collection.Variables[trackerVarLastCookie].Set(t.lastCookie))
	if err != nil {
		return fmt.Errorf("watch namespaces: %w", err)
	}
	return nil
}

// Arm observes probes for this scope. It arms all of them or none. A probe is written
//
//	[k|kprobe|kr|kretprobe|tp|raw_tracepoint:]NAME[/stack]
//
// A NAME alone, k: or kprobe: mean that the kernel function of that name is called, kr: and kretprobe: that it returns,
// with its return value. The function may be a module's, and needs an argument that is a struct sk_buff *; if several have
// the name, all of them are observed. tp: is a tracepoint, named as in tp:net:net_dev_queue, and raw_tracepoint: one by its
// own name only, whether or not it has a format; both are observed in the same way. /stack adds the kernel's stack.
//
// The characters *, ? and [...] make NAME a pattern, as of [path.Match]: it stands for everything that takes a packet, can
// be probed, and is there now. It may match 4,096 functions, and of everything else 128; [Scope.Probes] tells which they
// were. The name __nft_trace_packet stands for nftables verdicts, ipt_do_table and ip6t_do_table for those of iptables, and
// tp:skb:kfree_skb is always observed.
//
// A probe that another scope armed is shared, which costs nothing; attaching and detaching take tenths of a second,
// and for each probe as much where it is not by kprobe.multi. A call that is under way while its function's return is
// armed by anybody may end unseen.
func (s *Scope) Arm(probes []string) error {
	armed, err := s.tracker.hold(probes)
	if err != nil {
		return err
	}
	s.tracker.mu.Lock()
	if s.closed { // meanwhile, or before
		s.tracker.mu.Unlock()
		var held []request
		for _, a := range armed {
			held = append(held, a.request)
		}
		return errors.Join(fmt.Errorf("observe %s: the scope is closed", strings.Join(probes, ", ")), s.tracker.release(held))
	}
	defer s.tracker.mu.Unlock()
	known := make(map[journey.Probe]uint16)
	for number, probe := range s.probes.all() {
		known[probe] = number
	}
	for _, a := range armed {
		s.held = append(s.held, a.request)
		// Of a probe with and without the stack, the scope sees the one with.
		number, has := known[a.probe()]
		if has && !a.stack {
			continue
		}
		if has {
			s.probes.set(number, journey.Probe{})
		}
		s.probes.set(a.number, a.probe())
	}
	return nil
}

// Disarm ends what Arm began.
func (s *Scope) Disarm() error {
	s.tracker.mu.Lock()
	held := s.held
	s.held = nil
	s.probes = nil
	s.tracker.mu.Unlock()
	return s.tracker.release(held)
}

// Probes lists what is armed, sorted by name: functions, and the drop tracepoint, which always is.
func (s *Scope) Probes() []journey.Probe {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	probes := []journey.Probe{dropProbe}
	for _, probe := range s.probes.all() {
		if probe != dropProbe {
			probes = append(probes, probe)
		}
	}
	slices.SortFunc(probes, func(a, b journey.Probe) int { return cmp.Compare(a.Name, b.Name) })
	return probes
}

// Close disarms the scope and forgets its namespaces. The sink is not called any more when it returns. It may be called
// again.
func (s *Scope) Close() error {
	t := s.tracker
	t.mu.Lock()
	if s.closed {
		t.mu.Unlock()
		return nil
	}
	s.closed = true
	delete(t.scopes, s.number)
	t.mu.Unlock()

	errs := []error{s.Disarm()}
	for _, c := range s.cookies {
		errs = append(errs, t.collection.Maps[trackerMapScopes].Delete(c))
	}
	return errors.Join(errs...)
}
