package bpf

import (
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/cilium/ebpf"

	"github.com/waybill-dev/waybill/journey"
)

// Scope is a number of namespaces under observation: packets first seen in them belong to it, wherever they go. Scopes of one
// tracker do not see each other's packets. What is observed goes to the scope's observers.
type Scope struct {
	tracker *Tracker
	number  uint32
	cookies []uint64
	base    []uint64 // counters of this scope's loss slot when it was made

	observers []*Observer // guarded by the tracker's mutex
	closed    bool        // likewise
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
// wherever it goes.
//
// A namespace can be in one scope only.
func (t *Tracker) Watch(cookies []uint64) (*Scope, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, errors.New("watch namespaces: the tracker is closed")
	}
	t.lastScope++
	s := &Scope{tracker: t, number: t.lastScope}
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

// WatchAll registers every namespace that is in no other scope, now or later, for packets that are first seen in it. There can be
// one such scope.
func (t *Tracker) WatchAll() (*Scope, error) {
	s, err := t.Watch(nil)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	if t.everywhere != nil {
		err = errors.New("another scope does already")
	} else {
		t.everywhere = s
		err = errors.Join(t.collection.Variables[trackerVarEverywhere].Set(s.number), t.setRange())
	}
	t.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch all namespaces: %w", err), s.Close())
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
	if err := t.setRange(); err != nil {
		return fmt.Errorf("watch namespaces: %w", err)
	}
	return nil
}

// setRange tells the programs of which cookies it is worth looking for a scope. The tracker's mutex is held.
func (t *Tracker) setRange() error {
	first, last := t.firstCookie, t.lastCookie
	if t.everywhere != nil {
		first, last = 0, math.MaxUint64
	}
	return errors.Join(t.collection.Variables[trackerVarFirstCookie].Set(first),
		t.collection.Variables[trackerVarLastCookie].Set(last))
}

// Close closes the scope's observers and forgets its namespaces. It may be called again.
func (s *Scope) Close() error {
	t := s.tracker
	t.mu.Lock()
	if s.closed {
		t.mu.Unlock()
		return nil
	}
	s.closed = true
	observers := s.observers
	delete(t.scopes, s.number)
	var errs []error
	if t.everywhere == s {
		t.everywhere = nil
		errs = append(errs, t.setRange(), t.collection.Variables[trackerVarEverywhere].Set(uint32(0)))
	}
	t.mu.Unlock()

	for _, o := range observers {
		errs = append(errs, o.Close())
	}
	for _, c := range s.cookies {
		errs = append(errs, t.collection.Maps[trackerMapScopes].Delete(c))
	}
	return errors.Join(errs...)
}
