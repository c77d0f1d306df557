package bpf

import (
	"maps"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

func TestLossesSince(t *testing.T) {
	none := make([]uint64, trackerLossCauseLOSS_CAUSES)
	ring := make([]uint64, trackerLossCauseLOSS_CAUSES)
	ring[trackerLossCauseLOSS_RING_FULL] = 3
	earlier := Account{scope: none, misses: [parts]uint64{observes: 5, reports: 7, ends: 2}}
	later := Account{scope: ring, misses: [parts]uint64{observes: 6, reports: 9, ends: 3, checks: 4}, mixed: 1}

	qt.Check(t, qt.HasLen(Account{scope: none}.Since(Account{scope: none}), 0))
	qt.Check(t, qt.DeepEquals(later.Since(earlier), []journey.Loss{
		{Cause: "records lost: the ring buffer was full", Count: 3},
		{Cause: "probe hits skipped by the kernel: the CPU was busy with another probe", Count: 1},
		{Cause: "lifetime hooks skipped by the kernel", Count: 2},
		{Cause: "ends of packets skipped by the kernel", Count: 1},
		{Cause: "hooks of two stacks mixed up: something may be told twice, and something missed not be counted", Count: 1},
	}))
}

func TestEndingsAreProgramsOfTheTracker(t *testing.T) {
	spec, err := loadTracker()
	qt.Assert(t, qt.IsNil(err))
	tracepoints, err := loadTracepoints()
	qt.Assert(t, qt.IsNil(err))
	maps.Copy(spec.Programs, tracepoints.Programs)
	for _, name := range append(endings, checking...) {
		qt.Check(t, qt.IsNotNil(spec.Programs[name]), qt.Commentf(name))
	}
	for _, name := range checking {
		qt.Check(t, qt.IsNil(spec.Programs[name+again]), qt.Commentf("nothing is lost if %s is skipped", name))
	}
}

// TestSkippedEndsAreForgotten has an identity left over, as after an end that the kernel skipped.
func TestSkippedEndsAreForgotten(t *testing.T) {
	tracker := sharedTracker(t)
	scope := newHost(t).watch(t, tracker)
	identities := tracker.collection.Maps[trackerMapIdentities]
	left := func() bool {
		value, err := identities.LookupBytes(uint64(1))
		qt.Assert(t, qt.IsNil(err))
		return value != nil
	}
	qt.Assert(t, qt.IsNil(identities.Put(uint64(1), make([]byte, identities.ValueSize()))))

	before, err := scope.Begin()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(left(), before.misses[ends] == 0), qt.Commentf("without a skip, there is no reason to forget"))

	tracker.forgotten = before.misses[ends] + 1 // as if the last time had been another
	_, err = scope.Begin()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsFalse(left()))
	qt.Check(t, qt.Equals(tracker.forgotten, before.misses[ends]))
}
