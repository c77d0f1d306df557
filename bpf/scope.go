package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	probes map[uint16]journey.Probe
	held   []string // what Arm was given
	closed bool
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
	s := &Scope{tracker: t, number: t.lastScope, sink: sink, probes: make(map[uint16]journey.Probe)}
	t.scopes[s.number] = s
	t.mu.Unlock()

	base, err := t.counters(s.number)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.base = base
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

// Arm observes the named kernel functions, those of modules included, for this scope. It arms all of them or none. The
// name __nft_trace_packet stands for nftables verdicts.
//
// A function that another scope armed is shared, which costs nothing; attaching and detaching take tenths of a second,
// and by fentry as much for each function.
func (s *Scope) Arm(functions []string) error {
	numbers, err := s.tracker.hold(functions)
	if err != nil {
		return err
	}
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	for i, number := range numbers {
		s.probes[number] = journey.Probe{Kind: journey.Function, Name: functions[i]}
		s.held = append(s.held, functions[i])
	}
	return nil
}

// Disarm ends what Arm began.
func (s *Scope) Disarm() error {
	s.tracker.mu.Lock()
	held := s.held
	s.held = nil
	clear(s.probes)
	s.tracker.mu.Unlock()
	return s.tracker.release(held)
}

// Probes lists what is armed, sorted by name: functions, and the drop tracepoint, which always is.
func (s *Scope) Probes() []journey.Probe {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	probes := append(slices.Collect(maps.Values(s.probes)), dropProbe)
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
