package bpf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// probes are the functions that are attached, for all scopes. Those that were attached together, a group, are
// detached when nobody holds any of them any more.
type probes struct {
	byName map[string]*probe
	last   uint16
}

type probe struct {
	number  uint16 // the attach cookie
	holders int
	group   *group
}

// hold attaches the functions that are not attached yet, and returns the numbers of all, in order. On failure nothing
// is held.
func (t *Tracker) hold(functions []string) ([]uint16, error) {
	t.arming.Lock()
	defer t.arming.Unlock()

	var fresh []function
	attached := make(map[string]*probe)
	for _, name := range functions {
		if t.probes.byName[name] != nil || attached[name] != nil {
			continue
		}
		fn, err := t.resolve(name)
		if errors.Is(err, ErrNoFunction) {
			err = fmt.Errorf("%w%s", err, t.suggest(name))
		}
		if err != nil {
			return nil, err
		}
		p := &probe{}
		if p.number, err = t.probes.next(attached); err != nil {
			return nil, err
		}
		fresh = append(fresh, fn)
		attached[name] = p
	}
	if err := t.attach(fresh, attached); err != nil {
		return nil, err
	}
	maps.Copy(t.probes.byName, attached)

	var numbers []uint16
	for _, name := range functions {
		t.probes.byName[name].holders++
		numbers = append(numbers, t.probes.byName[name].number)
	}
	return numbers, nil
}

// release lets go of functions that were held, and detaches groups that nobody holds any more.
func (t *Tracker) release(functions []string) error {
	t.arming.Lock()
	defer t.arming.Unlock()
	var errs []error
	for _, name := range functions {
		p := t.probes.byName[name]
		p.holders--
		idle := !slices.ContainsFunc(p.group.names, func(member string) bool {
			return t.probes.byName[member].holders > 0
		})
		if !idle {
			continue
		}
		for _, member := range p.group.names {
			delete(t.probes.byName, member)
		}
		errs = append(errs, t.detach(p.group))
	}
	return errors.Join(errs...)
}

// next finds a number that no probe has. Numbers go round, so that a record that is still in the ring when its probe is
// detached is not taken for another's.
func (p *probes) next(more map[string]*probe) (uint16, error) {
	used := make(map[uint16]bool)
	for _, set := range []map[string]*probe{p.byName, more} {
		for _, probe := range set {
			used[probe.number] = true
		}
	}
	for range trackerLimitPROBE_KFREE_SKB {
		p.last++
		if p.last != 0 && p.last != uint16(trackerLimitPROBE_KFREE_SKB) && !used[p.last] {
			return p.last, nil
		}
	}
	return 0, fmt.Errorf("arm a probe: all %d numbers are in use", trackerLimitPROBE_KFREE_SKB-1)
}
