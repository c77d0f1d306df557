package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// life lists what was observed of packets without what differs from packet to packet.
func (h *host) life() []string {
	var lines []string
	for _, o := range h.observations() {
		lines = append(lines, fmt.Sprint(o.Kind, o.Probe.Name))
	}
	return lines
}

// lifeOfThree is what is observed of three packets that are sent now.
func (h *host) lifeOfThree(t *testing.T, tracker *Tracker) []string {
	t.Helper()
	h.forget()
	h.send(t, 3)
	_, err := tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	return h.life()
}

// count counts the observations of a kind.
func (h *host) count(kind journey.ObservationKind) (n int) {
	for _, o := range h.observations() {
		if o.Kind == kind {
			n++
		}
	}
	return n
}

// stoodIn counts the times that second programs acted.
func stoodIn(t *testing.T, tracker *Tracker) (n uint64) {
	t.Helper()
	var by [trackerPartPARTS]uint64
	qt.Assert(t, qt.IsNil(tracker.losses.stoodIn.Get(&by)))
	return by[trackerPartPART_REPORTS] + by[trackerPartPART_ENDS]
}

// TestSecondProgramsStandIn takes the first program of each hook away, as if the kernel skipped it always.
func TestSecondProgramsStandIn(t *testing.T) {
	tracker := openTracker(t, Options{})
	h := newHost(t)
	h.watch(t, tracker)
	both := h.lifeOfThree(t, tracker)
	qt.Assert(t, qt.HasLen(both, 3*6)) // a datagram and its answer: two origins, a link, a drop, two releases
	qt.Check(t, qt.Equals(stoodIn(t, tracker), 0))

	firsts := 0
	for name := range tracker.hooks {
		if !strings.HasSuffix(name, again) && tracker.hooks[name+again] != nil {
			takeAway(t, tracker, name)
			firsts++
		}
	}
	qt.Assert(t, qt.IsTrue(firsts > 20))
	qt.Check(t, qt.DeepEquals(h.lifeOfThree(t, tracker), both))
	qt.Check(t, qt.IsTrue(stoodIn(t, tracker) >= uint64(len(both))))

	var head uint64
	err := tracker.collection.Maps[trackerMapIdentities].NextKey(nil, &head)
	qt.Check(t, qt.ErrorIs(err, ebpf.ErrKeyNotExist), qt.Commentf("all packets have come to their ends"))
}

// TestThirdProgramsStandIn takes the first programs of the allocator's hooks away, and then the second ones too.
func TestThirdProgramsStandIn(t *testing.T) {
	tracker := openTracker(t, Options{Tier: Tracepoints})
	h := newHost(t)
	scope := h.watch(t, tracker)
	all := h.lifeOfThree(t, tracker)
	qt.Assert(t, qt.IsTrue(len(all) > 0))
	for _, suffix := range []string{"", again} {
		before := begin(t, scope)
		stood := stoodIn(t, tracker)
		gone := 0
		for name := range tracker.collection.Programs {
			if first, ok := strings.CutSuffix(name, yetAgain); ok && tracker.hooks[name] != nil {
				takeAway(t, tracker, first+suffix)
				gone++
			}
		}
		qt.Assert(t, qt.IsTrue(gone >= 4))
		qt.Check(t, qt.DeepEquals(h.lifeOfThree(t, tracker), all), qt.Commentf("without %q", suffix))
		qt.Check(t, qt.IsTrue(stoodIn(t, tracker) > stood), qt.Commentf("without %q", suffix))
		qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
	}
	memory, err := tracker.Memory()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(memory.Packets, 0), qt.Commentf("all packets have come to their ends"))
}

// TestNotesThatWereLeft takes the third programs away, as where an interrupt comes upon them: the notes for them stay. Then the
// first programs go, and the second ones must not take such a note for one of a first program that has run now.
func TestNotesThatWereLeft(t *testing.T) {
	const frees = 1000
	tracker := openTracker(t, Options{Tier: Tracepoints})
	runtime.LockOSThread() // all frees are at one address of one stack
	defer runtime.UnlockOSThread()
	for name := range tracker.hooks {
		if !strings.HasPrefix(name, tracepointsProgAtKfree) {
			takeAway(t, tracker, name)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	qt.Assert(t, qt.IsNil(err))
	defer func() { _ = null.Close() }()
	pieces := make([][]byte, 16) // more than the kernel has room for on its stack (UIO_FASTIOV in include/uapi/linux/uio.h)
	for i := range pieces {
		pieces[i] = []byte{0}
	}
	free := func() {
		for range frees {
			_, err := unix.Writev(int(null.Fd()), pieces)
			qt.Assert(t, qt.IsNil(err))
		}
	}
	takeAway(t, tracker, tracepointsProgAtKfree+yetAgain)
	free()
	takeAway(t, tracker, tracepointsProgAtKfree)
	before := stoodIn(t, tracker)
	free()
	qt.Check(t, qt.IsTrue(stoodIn(t, tracker)-before >= frees))
}

// takeAway removes a program, as if the kernel skipped it always.
func takeAway(t *testing.T, tracker *Tracker, program string) {
	t.Helper()
	l := tracker.hooks[program]
	qt.Assert(t, qt.IsNil(errors.Join(tracker.pins.remove(l), l.Close())))
	delete(tracker.hooks, program)
}

// TestMixedUpNotes has notes of another stack in all places: none of them can be kept apart.
func TestMixedUpNotes(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	scope := h.watch(t, tracker)
	notes := tracker.collection.Variables[trackerVarHookNotes]
	others := make([]uint64, notes.Size()/8)
	for i := range others {
		others[i] = 1 << 32 // no stack is at address 0
	}
	before := begin(t, scope)
	t.Cleanup(func() { qt.Check(t, qt.IsNil(notes.Set(make([]uint64, len(others))))) })
	qt.Assert(t, qt.IsNil(notes.Set(others)))
	h.send(t, 1)
	qt.Check(t, qt.IsTrue(losses(t, scope, before)[mixedUp] > 0))
}

// TestNothingIsMissedUnderLoad floods two namespaces from all CPUs, with softirqs that interrupt the senders in the middle
// of their hooks: what one CPU sends is received by the other (RPS), which is interrupted for it. Where tasks are preempted
// in the middle of hooks too, something may be missed, but not without being counted; and nothing is told twice, even if they end
// on another CPU.
func TestNothingIsMissedUnderLoad(t *testing.T) {
	const packets = 3000
	preemptible := preempts(t)
	tracker := openTracker(t, Options{RingBytes: 64 << 20})
	var hosts [2]*host
	var scopes [2]watched
	var before [2]Account
	for i := range hosts {
		hosts[i] = newHost(t)
		steerToAllCPUs(t, hosts[i])
		scopes[i] = hosts[i].watch(t, tracker)
		err := scopes[i].Arm([]string{
			"ip_rcv", "ip_local_deliver", "ip_output", "loopback_xmit", "__dev_queue_xmit", "kr:ip_rcv", "tp:net:net_dev_queue",
		})
		qt.Assert(t, qt.IsNil(err))
		before[i], err = scopes[i].Begin()
		qt.Assert(t, qt.IsNil(err))
	}
	var senders sync.WaitGroup
	for i := range 2 * len(hosts) {
		senders.Go(func() { hosts[i%2].send(t, packets) })
	}
	senders.Wait()
	unseen := 0
	for i, h := range hosts {
		// The last ones may still wait in the other CPU's backlog.
		for sent, ended := 0, 0; sent < 2*packets || ended < sent; {
			_, err := tracker.Barrier(t.Context())
			qt.Assert(t, qt.IsNil(err))
			sent, ended = h.count(journey.Origin), h.count(journey.Released)
			if after, err := scopes[i].Account(); err != nil || len(after.Since(before[i])) > 0 {
				break // some may never be told
			}
		}
		seen, backlog := h.sightings()
		t.Logf("%v", seen)
		for probe, want := range map[string]int{
			"k ip_output": h.count(journey.Origin), "tp net:net_dev_queue": h.count(journey.Origin),
			"k __dev_queue_xmit": h.count(journey.Origin), "k loopback_xmit": h.count(journey.Origin),
			"k ip_rcv": h.count(journey.Origin) - backlog, "k ip_local_deliver": h.count(journey.Origin) - backlog,
			"kr ip_rcv": h.count(journey.Origin) - backlog,
		} {
			qt.Check(t, qt.IsTrue(seen[probe] <= want), qt.Commentf("%s: %d of %d", probe, seen[probe], want))
			unseen += max(0, want-seen[probe])
		}
	}
	counted := 0
	for i := range scopes {
		after, err := scopes[i].Account()
		qt.Assert(t, qt.IsNil(err))
		losses := after.Since(before[i])
		if !preemptible {
			qt.Check(t, qt.HasLen(losses, 0))
		}
		counted = 0 // what the kernel skips is counted for all
		for _, l := range losses {
			counted += int(l.Count)
		}
	}
	t.Logf("%d unseen, %d counted", unseen, counted)
	qt.Check(t, qt.IsTrue(unseen <= counted))
	t.Logf("second programs stood in %d times", stoodIn(t, tracker))
}

// sightings counts the events by their probe, and the packets for which there was no room on another CPU's backlog.
func (h *host) sightings() (seen map[string]int, backlog int) {
	seen = make(map[string]int)
	for _, o := range h.observations() {
		if o.Kind != journey.Seen {
			continue
		}
		seen[o.Probe.Kind.String()+" "+o.Probe.Name]++
		if o.Drop != nil && o.Drop.Reason == "CPU_BACKLOG" {
			backlog++
		}
	}
	return seen, backlog
}

// preempts tells whether the kernel takes the CPU away from tasks in the middle of its own code.
func preempts(t *testing.T) bool {
	t.Helper()
	modes, err := os.ReadFile("/sys/kernel/debug/sched/preempt")
	if err != nil {
		return true // it cannot be told
	}
	return !strings.Contains(string(modes), "(none)") && !strings.Contains(string(modes), "(voluntary)")
}
