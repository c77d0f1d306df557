package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/waybill-dev/waybill/journey"
)

// missCounter counts the runs of a program that the kernel skipped because the CPU was busy with another of its kind.
type missCounter struct {
	name     string
	program  *ebpf.Program
	lifetime bool
}

var lossCauses = map[trackerLossCause]string{
	trackerLossCauseLOSS_RING_FULL:       "records lost: the ring buffer was full",
	trackerLossCauseLOSS_IDENTITIES_FULL: "packets not followed: the identity map was full",
	trackerLossCauseLOSS_MISSED_END:      "ends of packets missed",
	trackerLossCauseLOSS_PENDING_FULL:    "calls not followed: the map of calls under way was full",
}

// Account is a reading of the loss counters.
type Account struct {
	scope    []uint64
	events   uint64
	lifetime uint64
}

// Account reads the counters now. The difference of two readings is what was lost in between.
func (s *Scope) Account() (Account, error) {
	t := s.tracker
	counts, err := t.counters(s.number)
	if err != nil {
		return Account{}, err
	}
	a := Account{scope: counts}
	for _, m := range t.misses {
		stats, err := m.program.Stats()
		if err != nil {
			return Account{}, fmt.Errorf("read the misses of %s: %w", m.name, err)
		}
		if m.lifetime {
			a.lifetime += stats.RecursionMisses
		} else {
			a.events += stats.RecursionMisses
		}
	}
	return a, nil
}

// Since lists what was lost since an earlier reading; empty if nothing was. A lifetime hook that was skipped, ever,
// spoils identity for as long as the tracker lives: a buffer may still carry the ID of the packet before.
func (a Account) Since(earlier Account) []journey.Loss {
	var losses []journey.Loss
	for i, n := range a.scope {
		if d := n - earlier.scope[i]; d > 0 {
			losses = append(losses, journey.Loss{Cause: lossCauses[trackerLossCause(i)], Count: d})
		}
	}
	if d := a.events - earlier.events; d > 0 {
		losses = append(losses, journey.Loss{Cause: "probe hits skipped by the kernel: the CPU was busy with another probe", Count: d})
	}
	if a.lifetime > 0 {
		losses = append(losses, journey.Loss{Cause: "lifetime hooks skipped by the kernel", Count: a.lifetime})
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
