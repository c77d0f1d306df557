package bpf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// probes are those that are attached, for all scopes. Those that were attached together, a group, are detached when
// nobody holds any of them any more.
type probes struct {
	byRequest map[request]*probe
	last      uint16
}

type probe struct {
	number  uint16 // the low bits of the attach cookie
	holders int
	group   *group
}

// held is a probe that is held.
type held struct {
	request
	number uint16
}

// hold attaches the probes that are not attached yet, and returns all of them. On failure nothing is held.
func (t *Tracker) hold(texts []string) ([]held, error) {
	t.arming.Lock()
	defer t.arming.Unlock()
	if t.isClosed() {
		return nil, fmt.Errorf("observe %s: the tracker is closed", strings.Join(texts, ", "))
	}

	wanted, err := t.targets(texts)
	if err != nil {
		return nil, err
	}
	var fresh []target
	attached := make(map[request]*probe)
	for _, w := range wanted {
		if t.probes.byRequest[w.request] != nil {
			continue
		}
		p := &probe{number: uint16(trackerLimitPROBE_KFREE_SKB)}
		if w.probe() != dropProbe {
			if p.number, err = t.probes.next(attached); err != nil {
				return nil, err
			}
		}
		fresh = append(fresh, w)
		attached[w.request] = p
	}
	if err := t.attach(fresh, attached); err != nil {
		return nil, err
	}
	for r, p := range attached {
		if p.group != nil {
			t.probes.byRequest[r] = p
		}
	}

	var all []held
	for _, w := range wanted {
		// What only matched a pattern, and let no program attach to it, is not there.
		if p := t.probes.byRequest[w.request]; p != nil {
			p.holders++
			all = append(all, held{w.request, p.number})
		}
	}
	return all, nil
}

// targets reads requests, and finds out what they come to. Of a probe with and without the stack, it is the one with.
func (t *Tracker) targets(texts []string) ([]target, error) {
	var wanted []target
	place := make(map[journey.Probe]int)
	add := func(more target) {
		if i, known := place[more.probe()]; !known {
			place[more.probe()] = len(wanted)
			wanted = append(wanted, more)
		} else if more.stack {
			wanted[i] = more
		}
	}
	for _, text := range texts {
		r, err := parseRequest(text)
		if err != nil {
			return nil, err
		}
		switch {
		case r.probe() == dropProbe && !r.stack: // is always observed
		case r.isPattern():
			matching, err := t.expand(r)
			if err != nil {
				return nil, observing(r, t.catalog.explain(r, err))
			}
			for _, m := range matching {
				add(m)
			}
		case t.probes.byRequest[r] != nil:
			add(target{request: r})
		default:
			one, err := t.resolve(r)
			if err != nil {
				return nil, observing(r, t.catalog.explain(r, err))
			}
			add(one)
		}
	}
	return wanted, nil
}

// release lets go of probes that were held, and detaches groups that nobody holds any more.
func (t *Tracker) release(requests []request) error {
	t.arming.Lock()
	defer t.arming.Unlock()
	var errs []error
	for _, r := range requests {
		p := t.probes.byRequest[r]
		p.holders--
		idle := !slices.ContainsFunc(p.group.members, func(member request) bool {
			return t.probes.byRequest[member].holders > 0
		})
		if !idle {
			continue
		}
		for _, member := range p.group.members {
			delete(t.probes.byRequest, member)
		}
		errs = append(errs, t.detach(p.group))
	}
	return errors.Join(errs...)
}

// next finds a number that no probe has. Numbers go round, so that a record that is still in the ring when its probe is
// detached is not taken for another's.
func (p *probes) next(more map[request]*probe) (uint16, error) {
	used := make(map[uint16]bool)
	for probe := range maps.Values(p.byRequest) {
		used[probe.number] = true
	}
	for probe := range maps.Values(more) {
		used[probe.number] = true
	}
	for range trackerLimitPROBE_KFREE_SKB {
		p.last++
		if p.last != 0 && p.last != uint16(trackerLimitPROBE_KFREE_SKB) && !used[p.last] {
			return p.last, nil
		}
	}
	return 0, fmt.Errorf("arm a probe: all %d numbers are in use", trackerLimitPROBE_KFREE_SKB-1)
}
