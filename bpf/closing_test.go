package bpf

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/leak"
	"github.com/waybill-dev/waybill/journey"
)

// TestCloseDuringTraffic closes a tracker while packets flow, barriers are waited for and probes are armed. Each of those ends
// well or says that the tracker is closed, and nothing stays.
func TestCloseDuringTraffic(t *testing.T) {
	sharedTracker(t) // what libraries keep for themselves is open after this
	h := newHost(t)
	before, err := leak.Take()
	qt.Assert(t, qt.IsNil(err))

	tracker, err := Open(Options{})
	qt.Assert(t, qt.IsNil(err))
	scope, err := watch(tracker, h.sink, h.Cookie())
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv"})))
	closed := make(chan struct{})
	busy := make(chan struct{}, 3) // each has begun, and has something under way most of the time
	until := func(f func() error) func() {
		return func() {
			for first := true; ; first = false {
				err := f()
				select {
				case <-closed:
					return
				default:
				}
				if err != nil {
					qt.Check(t, qt.StringContains(err.Error(), "closed"))
					return
				}
				if first {
					busy <- struct{}{}
				}
			}
		}
	}
	var working sync.WaitGroup
	working.Go(until(func() error { h.send(t, 10); return nil }))
	working.Go(until(func() error { _, err := tracker.Barrier(t.Context()); return err }))
	working.Go(until(func() error {
		if err := scope.Arm([]string{"ip_local_deliver"}); err != nil {
			return err
		}
		return scope.Disarm()
	}))
	for range cap(busy) {
		<-busy
	}
	qt.Check(t, qt.IsNil(tracker.Close()))
	h.mu.Lock()
	seen := len(h.seen)
	h.mu.Unlock()
	h.send(t, 10)
	qt.Check(t, qt.HasLen(h.observations(), seen), qt.Commentf("the sink is not called any more"))
	close(closed)
	working.Wait()

	qt.Check(t, qt.ErrorMatches(scope.Arm([]string{"ip_rcv"}), "observe ip_rcv: the tracker is closed"))
	qt.Check(t, qt.IsNil(scope.Close()))
	qt.Check(t, qt.IsNil(tracker.Close()))
	_, err = scope.Account()
	qt.Check(t, qt.IsNotNil(err))
	_, err = tracker.Memory()
	qt.Check(t, qt.IsNotNil(err))
	left, err := before.Left()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(left, 0))
}

// TestArmClosedObserver: what would be armed for nobody is not left attached.
func TestArmClosedObserver(t *testing.T) {
	tracker := sharedTracker(t)
	scope := newHost(t).watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Close()))
	before := len(tracker.probes.byRequest)
	qt.Check(t, qt.ErrorMatches(scope.Arm([]string{"ip_forward", "ip_rcv"}), "observe ip_forward, ip_rcv: the observer is closed"))
	qt.Check(t, qt.Equals(len(tracker.probes.byRequest), before))
	_, err := scope.Observe(func(*journey.Observation) {})
	qt.Check(t, qt.ErrorMatches(err, "observe packets: the scope is closed"))
}

// TestTwoTrackers: each sees all of the traffic in its scope, though they share every function, and one goes on when the other
// is closed.
func TestTwoTrackers(t *testing.T) {
	first, second := sharedTracker(t), openTracker(t, Options{})
	ns := newHost(t)
	other := &host{NS: ns.NS, looks: make(map[uint64]journey.Event)}
	firstScope, secondScope := ns.watch(t, first), other.watch(t, second)
	for _, s := range []watched{firstScope, secondScope} {
		qt.Assert(t, qt.IsNil(s.Arm([]string{"ip_rcv"})))
	}
	ns.send(t, 3)
	for _, tracker := range []*Tracker{first, second} {
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
	}
	lives := ns.life()
	qt.Check(t, qt.HasLen(lives, 3*8)) // two packets, each with an origin, an ip_rcv and a release, one drop, and a link
	qt.Check(t, qt.DeepEquals(other.life(), lives))

	qt.Assert(t, qt.IsNil(second.Close()))
	ns.forget()
	before := begin(t, firstScope)
	ns.send(t, 3)
	_, err := first.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(ns.life(), lives))
	qt.Check(t, qt.HasLen(losses(t, firstScope, before), 0))
}

// TestRefusedProgram loads a program that reads a register which nobody has set.
func TestRefusedProgram(t *testing.T) {
	_, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "spoilt", Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Reg(asm.R0, asm.R7), asm.Return()},
	})
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs the right to load programs: %v", err)
	}
	text := loadError(fmt.Errorf("program spoilt: %w", err)).Error()
	var u unix.Utsname
	qt.Assert(t, qt.IsNil(unix.Uname(&u)))
	qt.Check(t, qt.Matches(strings.Split(text, "\n")[0], "load the tracker on Linux "+regexp.QuoteMeta(unix.ByteSliceToString(u.Release[:]))+
		" "+runtime.GOARCH+": program spoilt: .*"))
	qt.Check(t, qt.StringContains(text, "R7 !read_ok"))
}
