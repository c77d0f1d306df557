package bpf

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

// TestCrowdedFunction has others at a function at which the tracker needs an entry and a return, until there is room for one
// program of each, and then for one less. It is where ten trackers meet.
func TestCrowdedFunction(t *testing.T) {
	const places, function = 38, "pskb_expand_head"
	spec, err := loadTracker()
	qt.Assert(t, qt.IsNil(err))
	at := func(tracker *Tracker) (hooks []string) {
		for name := range tracker.hooks {
			if spec.Programs[name].AttachTo == function {
				hooks = append(hooks, name)
			}
		}
		slices.Sort(hooks)
		return hooks
	}
	kernel, err := newCatalog().cache.Kernel()
	qt.Assert(t, qt.IsNil(err))
	crowd := func() {
		program, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: function, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		}, ebpf.ProgramOptions{KernelTypes: kernel})
		qt.Assert(t, qt.IsNil(err))
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		qt.Assert(t, qt.IsNil(err))
		t.Cleanup(func() { _, _ = l.Close(), program.Close() })
	}
	shared := sharedTracker(t)
	for range places - len(at(shared)) - 2 {
		crowd()
	}

	tracker := openTracker(t, Options{})
	qt.Check(t, qt.DeepEquals(at(tracker), []string{trackerProgPskbExpandHead, trackerProgPskbExpandHeadExit}))
	h := newHost(t)
	scope := h.watch(t, tracker)
	before := begin(t, scope)
	h.send(t, 3)
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(h.count(journey.Origin), 2*3))
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
	qt.Assert(t, qt.IsNil(tracker.Close()))

	crowd()
	_, err = Open(Options{})
	qt.Assert(t, qt.ErrorMatches(err, "load the tracker: attach pskb_expand_head: the kernel lets 38 programs be at a function, "+
		"and others have taken the places: let fewer processes observe at the same time, ten at most: .*"))
}
