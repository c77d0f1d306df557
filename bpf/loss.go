package bpf

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// mixedUp is a loss that only a test tells from others.
const mixedUp = "hooks of two stacks mixed up: something may be told twice, and something missed not be counted"

// missCounter counts the runs of a program that the kernel skipped because the CPU was busy: with another program of
// its kind, if it is one of kprobe.multi, and with itself otherwise. Of a hook, it is the first of its two programs.
type missCounter struct {
	name    string
	program *ebpf.Program
	// link is set instead of the program where the kernel counts calls that did not even get to the program: those of a
	// kprobe or a kprobe.multi link that were kept back because another was at work.
	link link.Link
	part part
}

// part is what a program does, and so what it means that a run of it was skipped.
type part uint8

const (
	observes part = iota // an event, at a function that somebody armed
	reports              // something in a packet's life: its origin, its branches, that it is a drop
	ends                 // the packet's hold on its data, or moves it
	checks               // that no end was missed; if one was skipped, nothing is lost by it
	parts
)

// checking are the programs that look at buffers being born. An end that the kernel skipped is counted by itself; they
// are for those that nobody thought of.
var checking = []string{trackerProgKmallocReserve, trackerProgBuildSkbAround}

// endings are the hooks that PART_ENDS is written at in the C sources: without them, an identity outlives its packet, or
// is lost.
var endings = []string{
	trackerProgSkbFreeHead, trackerProgKfreeSkbPartial, trackerProgNapiSkbFreeStolenHead, trackerProgNapiReuseSkb,
	trackerProgPskbExpandHead, trackerProgPskbExpandHeadExit,
	trackerProgPskbCarveInsideHeader, trackerProgPskbCarveInsideHeaderExit,
	trackerProgPskbCarveInsideNonlinear, trackerProgPskbCarveInsideNonlinearExit,
	tracepointsProgAtKfree, tracepointsProgAtKmemCacheFree, tracepointsProgAtKmalloc, tracepointsProgAtKmemCacheAlloc,
	tracepointsProgAtKmallocNode, tracepointsProgAtKmemCacheAllocNode,
}

// partOf tells what a program of the tracker does.
func partOf(name string, program *ebpf.Program) part {
	switch {
	case slices.Contains(endings, name):
		return ends
	case program.Type() != ebpf.Tracing:
		return observes
	case slices.Contains(checking, name):
		return checks
	}
	return reports
}

// missCounters are those of the programs that are loaded. They are safe for concurrent use.
type missCounters struct {
	mu       sync.Mutex
	counters []missCounter
	retired  uint64         // of programs that observed and of links, that are no more
	stoodIn  *ebpf.Variable // how often the second programs of hooks acted, by part as the C sources have it
	last     [parts]uint64  // what sum returned
}

func (m *missCounters) watch(c missCounter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counters = append(m.counters, c)
}

// retire keeps the count of a program that observed, or of a link, that is going to be closed.
func (m *missCounters) retire(of missCounter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.counters, func(c missCounter) bool { return c.program == of.program && c.link == of.link })
	n, err := m.counters[i].read()
	m.retired += n
	m.counters = slices.Delete(m.counters, i, i+1)
	return err
}

// sum reads by part how often something was missed: what the kernel skipped, less where a hook's second program stood in.
// That program runs after the skip was counted. So a number that has grown is looked at again after a grace period, by
// which those that were running have come to their ends.
func (m *missCounters) sum() ([parts]uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	missed, err := m.missed()
	for n := 0; err == nil && n < gracePeriods && missed != m.last; n++ {
		if err = gracePeriod(); err != nil {
			break
		}
		var again [parts]uint64
		again, err = m.missed()
		for p := range missed {
			missed[p] = min(missed[p], again[p]) // neither is too small, and what was missed is never fewer later
		}
	}
	m.last = missed
	return missed, err
}

// gracePeriods is how often a number that has grown is looked at again: more than once for hooks that other hooks keep
// interrupting.
const gracePeriods = 3

// missed reads the counters. What it returns may be too large, by hooks that are running, and is never too small.
func (m *missCounters) missed() (sums [parts]uint64, err error) {
	var stoodIn [trackerPartPARTS]uint64
	if err := m.stoodIn.Get(&stoodIn); err != nil {
		return sums, fmt.Errorf("read where hooks stood in: %w", err)
	}
	sums[observes] = m.retired
	for _, c := range m.counters {
		n, err := c.read()
		if err != nil {
			return sums, err
		}
		sums[c.part] += n
	}
	sums[observes] -= min(sums[observes], stoodIn[trackerPartPART_EVENTS])
	sums[reports] -= min(sums[reports], stoodIn[trackerPartPART_REPORTS])
	sums[ends] -= min(sums[ends], stoodIn[trackerPartPART_ENDS])
	return sums, nil
}

// gracePeriod waits until no CPU runs what it ran at the time of the call (MEMBARRIER_CMD_GLOBAL, membarrier(2)).
func gracePeriod() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("wait for a grace period: %w", errno)
	}
	return nil
}

const membarrierGlobal = 1 // include/uapi/linux/membarrier.h

func (c missCounter) read() (uint64, error) {
	if c.link != nil {
		info, err := c.link.Info()
		if err != nil {
			return 0, fmt.Errorf("read the misses of %s: %w", c.name, err)
		}
		if single := info.PerfEvent(); single != nil {
			return single.Kprobe().Missed, nil
		}
		return info.KprobeMulti().Missed, nil
	}
	stats, err := c.program.Stats()
	if err != nil {
		return 0, fmt.Errorf("read the misses of %s: %w", c.name, err)
	}
	return stats.RecursionMisses, nil
}

var lossCauses = map[trackerLossCause]string{
	trackerLossCauseLOSS_RING_FULL:       "records lost: the ring buffer was full",
	trackerLossCauseLOSS_LOOK:            "events without their packet, device and namespace: the ring buffer was full",
	trackerLossCauseLOSS_IDENTITIES_FULL: "packets not followed: the identity map was full",
	trackerLossCauseLOSS_MISSED_END:      "ends of packets missed",
	trackerLossCauseLOSS_PENDING_FULL:    "calls not followed: too many were under way",
	trackerLossCauseLOSS_RETURN:          "returns of functions missed",
	trackerLossCauseLOSS_FRAGMENT: "packets first seen in a page fragment, which may be the rest of other packets: " +
		"without function probes that is not known",
	trackerLossCauseLOSS_EXCHANGED: "packets first seen after their buffer was exchanged, which may be the rest of other " +
		"packets: without function probes that is not known",
	trackerLossCauseLOSS_UNDECIDED: "packets not followed where they were seen: the filter needs bytes that cannot be read",
	trackerLossCauseLOSS_INCOMPLETE: "packets not followed where they were seen: their headers are not complete there, or begin " +
		"with none that the filter knows",
}

const skippedProbes = "probe hits skipped by the kernel: the CPU was busy with another probe"

// Account is a reading of the loss counters.
type Account struct {
	scope  []uint64
	misses [parts]uint64 // by part
	mixed  uint64        // notes of hooks that others overwrote
	asked  uint64        // refusals of the filters that were forgotten
	blind  bool          // programs at functions were not run
}

// Account reads the counters now. The difference of two readings is what was lost in between.
func (s *Scope) Account() (Account, error) {
	t := s.tracker
	counts, err := t.counters(s.number)
	if err != nil {
		return Account{}, err
	}
	a := Account{scope: counts}
	if a.misses, err = t.losses.sum(); err != nil {
		return a, err
	}
	if err := t.collection.Variables[trackerVarOverwrittenNotes].Get(&a.mixed); err != nil {
		return a, fmt.Errorf("read which hooks were mixed up: %w", err)
	}
	if err := t.collection.Variables[trackerVarForgottenRefusals].Get(&a.asked); err != nil {
		return a, fmt.Errorf("read which refusals were forgotten: %w", err)
	}
	beats, err := t.beats()
	if a.blind = !beats; a.blind {
		t.blinded.Store(true)
	}
	return a, err
}

// Begin reads the counters for a new time of observation, of which [Account.Since] will tell what was lost. Where the
// kernel skipped an end, a buffer may carry the identity of the packet before, for as long as nobody clears it away: so
// if that has happened since it was last done, every packet is forgotten here. One that is alive is a new packet when it
// is seen next. The same goes for ends while no programs ran at functions. Observations under way, of any scope, do not suffer: those that began before the skip have it in their
// account, and those that began after it have been here.
func (s *Scope) Begin() (Account, error) {
	t := s.tracker
	t.forgetting.Lock()
	defer t.forgetting.Unlock()
	a, err := s.Account()
	if err != nil || a.blind || a.misses[ends] == t.forgotten && !t.blinded.Load() {
		return a, err
	}
	if err := t.forgetAll(); err != nil {
		return Account{}, err
	}
	t.blinded.Store(false)
	t.forgotten = a.misses[ends] // what is skipped from here on is in the account
	return a, nil
}

// forgetAll forgets every packet, those that the filters refused too.
func (t *Tracker) forgetAll() error {
	if err := empty(t.collection.Maps[trackerMapIdentities]); err != nil {
		return err
	}
	return t.forgetRefusals()
}

// empty empties a map whose keys are packets, first key by first key: to iterate over a map that changes is to begin anew
// again and again. Packets that arrive meanwhile may make it longer, but not for ever: there are at most as many turns as
// the map has places.
func empty(packets *ebpf.Map) error {
	for range packets.MaxEntries() {
		var head uint64
		if err := packets.NextKey(nil, &head); errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the packets that are known: %w", err)
		}
		if err := packets.Delete(head); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a packet: %w", err)
		}
	}
	return errors.New("forget the packets that are known: new ones come faster")
}

// Since lists what was lost since an earlier reading; empty if nothing was.
func (a Account) Since(earlier Account) []journey.Loss {
	var losses []journey.Loss
	add := func(cause string, count uint64) {
		if count > 0 {
			losses = append(losses, journey.Loss{Cause: cause, Count: count})
		}
	}
	for i, n := range a.scope {
		add(lossCauses[trackerLossCause(i)], n-earlier.scope[i])
	}
	add(skippedProbes, a.misses[observes]-earlier.misses[observes])
	add("lifetime hooks skipped by the kernel", a.misses[reports]-earlier.misses[reports])
	add("ends of packets skipped by the kernel", a.misses[ends]-earlier.misses[ends])
	add(mixedUp, a.mixed-earlier.mixed)
	add("packets that the filter refused, and may have been asked about again: too many are alive", a.asked-earlier.asked)
	if a.blind || earlier.blind {
		add(switchedOff, 1)
	}
	return losses
}

// counters sums a scope's loss counters over all CPUs.
func (t *Tracker) counters(scope uint32) ([]uint64, error) {
	var perCPU []trackerLosses
	slots := t.collection.Maps[trackerMapLossCounters]
	if err := slots.Lookup(scope%slots.MaxEntries(), &perCPU); err != nil {
		return nil, fmt.Errorf("read the loss counters: %w", err)
	}
	sum := make([]uint64, trackerLossCauseLOSS_CAUSES)
	for _, cpu := range perCPU {
		for i, n := range cpu.Count {
			sum[i] += n
		}
	}
	return sum, nil
}
