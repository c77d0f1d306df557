package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// TestCrowdedFunction has others at a function at which the tracker needs an entry and a return: as many as the kernel lets be
// there, and then one after the other less, until the tracker finds room. It is where ten trackers meet.
func TestCrowdedFunction(t *testing.T) {
	sharedTracker(t) // skips where there are no functions
	const function = "pskb_expand_head"
	spec, err := loadTracker()
	qt.Assert(t, qt.IsNil(err))
	kernel, err := newCatalog().cache.Kernel()
	qt.Assert(t, qt.IsNil(err))
	var crowd []link.Link
	for {
		program, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: function, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		}, ebpf.ProgramOptions{KernelTypes: kernel})
		qt.Assert(t, qt.IsNil(err))
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		qt.Assert(t, qt.IsNil(program.Close()))
		if err != nil {
			qt.Assert(t, qt.ErrorIs(err, unix.E2BIG))
			break
		}
		t.Cleanup(func() { _ = l.Close() })
		crowd = append(crowd, l)
	}
	qt.Assert(t, qt.IsTrue(len(crowd) > 20), qt.Commentf("%d", len(crowd)))
	_, err = Open(Options{})
	qt.Assert(t, qt.ErrorMatches(err, "load the tracker: attach pskb_expand_head: the kernel lets no more programs be at this function: "+
		"let fewer processes observe at the same time, ten at most: .*"))

	var tracker *Tracker
	for range 8 {
		last := len(crowd) - 1
		qt.Assert(t, qt.IsNil(crowd[last].Close()))
		crowd = crowd[:last]
		if tracker, err = Open(Options{}); err == nil {
			break
		}
	}
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = tracker.Close() })
	var hooks []string
	for name := range tracker.hooks {
		if spec.Programs[name].AttachTo == function {
			hooks = append(hooks, name)
		}
	}
	qt.Check(t, qt.SliceContains(hooks, trackerProgPskbExpandHead))
	qt.Check(t, qt.SliceContains(hooks, trackerProgPskbExpandHeadExit))
	qt.Check(t, qt.IsTrue(len(hooks) < 4), qt.Commentf("%v", hooks))

	h := newHost(t)
	scope := h.watch(t, tracker)
	before := begin(t, scope)
	h.send(t, 3)
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(h.count(journey.Origin), 2*3))
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
}
