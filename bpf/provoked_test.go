package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/link"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// Each cause of loss is provoked here, or in TestLossIsCounted, which is about the ring.

// losses is what a scope has lost since.
func losses(t *testing.T, scope watched, since Account) map[string]uint64 {
	t.Helper()
	now, err := scope.Account()
	qt.Assert(t, qt.IsNil(err))
	byCause := make(map[string]uint64)
	for _, l := range now.Since(since) {
		byCause[l.Cause] = l.Count
	}
	return byCause
}

func begin(t *testing.T, scope watched) Account {
	t.Helper()
	account, err := scope.Begin()
	qt.Assert(t, qt.IsNil(err))
	return account
}

// keep opens a socket that nobody reads, and that the test closes.
func (h *host) keep(t *testing.T, port int) io.Closer {
	t.Helper()
	var socket *net.UDPConn
	qt.Assert(t, qt.IsNil(h.Do(func() (err error) {
		socket, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		return err
	})))
	return socket
}

// TestFullIdentityMap has more packets alive than there is room for: those that wait in a socket that nobody reads.
func TestFullIdentityMap(t *testing.T) {
	const room, sent, port = 16, 40, 4242
	tracker := openTracker(t, Options{Packets: room})
	h, other := newHost(t), newHost(t)
	scope, otherScope := h.watch(t, tracker), other.watch(t, tracker)
	before, otherBefore := begin(t, scope), begin(t, otherScope)
	full := lossCauses[trackerLossCauseLOSS_IDENTITIES_FULL]

	socket := h.keep(t, port)
	h.sendTo(t, port, room)
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0), qt.Commentf("there was room for these"))
	h.sendTo(t, port, sent-room)
	_, err := tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(h.count(journey.Enqueued), room))
	lost := losses(t, scope, before)
	qt.Check(t, qt.HasLen(lost, 1))
	// Each is refused where it is looked at: when IP sends it, and when the device does.
	qt.Check(t, qt.Equals(lost[full], 2*(sent-room)))
	qt.Check(t, qt.HasLen(losses(t, otherScope, otherBefore), 0), qt.Commentf("the other scope had no packets"))

	other.send(t, 1)
	qt.Check(t, qt.Equals(losses(t, scope, before)[full], lost[full]), qt.Commentf("this loss is the other scope's"))
	qt.Check(t, qt.IsTrue(losses(t, otherScope, otherBefore)[full] > 0))

	qt.Assert(t, qt.IsNil(socket.Close()))
	drained(t, tracker) // the kernel frees a socket's packets after a grace period
	before, otherBefore = begin(t, scope), begin(t, otherScope)
	h.send(t, 1)
	other.send(t, 1)
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
	qt.Check(t, qt.HasLen(losses(t, otherScope, otherBefore), 0))
	memory, err := tracker.Memory()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(memory, Memory{Packets: map[uint64]journey.ID{}}))
}

// TestNoRoomForCalls has calls of nobody in all places of the tables of calls under way, and packets in hand on other stacks whose
// numbers collide with all others.
func TestNoRoomForCalls(t *testing.T) {
	const port = 4242
	tracker := openTracker(t, Options{})
	h := newHost(t)
	scope := h.watch(t, tracker)
	socket := h.keep(t, port)
	defer func() { qt.Check(t, qt.IsNil(socket.Close())) }()
	occupied := make([]trackerCall, tracker.collection.Variables[trackerVarPending].Size()/uint32(unsafe.Sizeof(trackerCall{})))
	for i := range occupied {
		occupied[i].Frame = 1 // arguments are aligned
	}
	others := make([]uint32, tracker.collection.Variables[trackerVarInnermost].Size()/4)
	for i := range others {
		others[i] = 1
	}
	for _, test := range []struct {
		what   string
		tables map[string]any
		port   int
	}{
		{"calls whose end is told", map[string]any{trackerVarPending: occupied}, port},
		// Nobody listens: an error is sent, in __icmp_send.
		{"packets in hand", map[string]any{trackerVarInHand: occupied}, port + 1},
		{"stacks", map[string]any{trackerVarInHand: occupied[:1], trackerVarInnermost: others}, port + 1},
	} {
		t.Run(test.what, func(t *testing.T) {
			before := begin(t, scope)
			for name, content := range test.tables {
				variable := tracker.collection.Variables[name]
				empty := make([]byte, variable.Size())
				full := slices.Clone(empty)
				qt.Assert(t, qt.IsNil(errors.Join(encode(full, content), variable.Set(full))))
				t.Cleanup(func() { qt.Check(t, qt.IsNil(variable.Set(empty))) })
			}
			h.sendTo(t, test.port, 1)
			_, err := tracker.Barrier(t.Context())
			qt.Assert(t, qt.IsNil(err))
			lost := losses(t, scope, before)
			qt.Check(t, qt.HasLen(lost, 1))
			qt.Check(t, qt.IsTrue(lost[lossCauses[trackerLossCauseLOSS_PENDING_FULL]] > 0))
		})
	}
	before := begin(t, scope)
	h.sendTo(t, port, 1)
	h.sendTo(t, port+1, 1)
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0), qt.Commentf("there is room again"))
}

// encode writes a value as the kernel has it to the beginning of a buffer.
func encode(to []byte, value any) error {
	_, err := binary.Encode(to, binary.NativeEndian, value)
	return err
}

// TestSkippedProbesAreCounted floods two namespaces from all CPUs under kprobe.multi, whose programs the kernel skips on a CPU
// that is in another one. Every event that is missing was counted, and no more.
func TestSkippedProbesAreCounted(t *testing.T) {
	const packets, rounds = 2000, 20
	tracker := openTracker(t, Options{RingBytes: 64 << 20})
	if tracker.family.name != kprobeMulti.name {
		t.Logf("functions are observed by %s on this kernel, which skips nothing here", tracker.family.name)
		return
	}
	tracker.oneWay = true
	var hosts [2]*host
	var scopes [2]watched
	var before [2]Account
	for i := range hosts {
		hosts[i] = newHost(t)
		steerToAllCPUs(t, hosts[i])
		scopes[i] = hosts[i].watch(t, tracker)
		qt.Assert(t, qt.IsNil(scopes[i].Arm([]string{"ip_output", "ip_rcv", "ip_local_deliver"})))
		before[i] = begin(t, scopes[i])
	}
	var skipped uint64
	for round := 0; round < rounds && skipped == 0; round++ {
		var senders sync.WaitGroup
		for i := range 2 * len(hosts) {
			senders.Go(func() { hosts[i%2].send(t, packets) })
		}
		senders.Wait()
		drained(t, tracker)
		skipped = losses(t, scopes[0], before[0])[skippedProbes]
	}
	qt.Assert(t, qt.IsTrue(skipped > 0), qt.Commentf("none of %d packets met another in a program", rounds*len(hosts)*2*packets))

	seen, want := 0, 0
	for i, h := range hosts {
		lost := losses(t, scopes[i], before[i])
		qt.Check(t, qt.Equals(lost[skippedProbes], skipped), qt.Commentf("the kernel does not say whose packet it was"))
		delete(lost, skippedProbes)
		if !preempts(t) {
			qt.Check(t, qt.HasLen(lost, 0), qt.Commentf("hooks are not skipped"))
		}
		byProbe, backlog := h.sightings()
		origins := h.count(journey.Origin)
		want += origins + 2*(origins-backlog) // the latter for ip_rcv and ip_local_deliver
		seen += byProbe["k ip_output"] + byProbe["k ip_rcv"] + byProbe["k ip_local_deliver"]
	}
	t.Logf("%d of %d seen, %d skipped", seen, want, skipped)
	qt.Check(t, qt.Equals(seen+int(skipped), want))
}

// drained waits until every packet that was sent has come to its end.
func drained(t *testing.T, tracker *Tracker) {
	t.Helper()
	for {
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		memory, err := tracker.Memory()
		if err == nil && len(memory.Packets) == 0 {
			return
		}
	}
}

// TestLinksCannotBeDetached: what the tracker holds nobody else takes off.
func TestLinksCannotBeDetached(t *testing.T) {
	tracker := sharedTracker(t)
	scope := newHost(t).watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv", "kr:ip_rcv", "ip_local_del*", "tp:net:net_dev_queue"})))
	kinds := make(map[link.Type]int)
	var others []string
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		info, err := links.Link.Info()
		qt.Assert(t, qt.IsNil(err))
		kinds[info.Type]++
		if err := links.Link.Detach(); !errors.Is(err, link.ErrNotSupported) {
			others = append(others, fmt.Sprintf("%+v: %v", info, err))
		}
	}
	qt.Assert(t, qt.IsNil(links.Err()))
	qt.Check(t, qt.HasLen(others, 0))
	qt.Check(t, qt.IsTrue(kinds[link.TracingType] > 50), qt.Commentf("%v", kinds))
	if tracker.family.name == kprobeMulti.name {
		qt.Check(t, qt.IsTrue(kinds[link.KprobeMultiType] > 0), qt.Commentf("%v", kinds))
	}
}

// TestProbesSwitchedOff has function tracing switched off as a whole, which the kernel lets everybody do who may, whatever is
// attached.
func TestProbesSwitchedOff(t *testing.T) {
	if os.Getenv("WAYBILL_STRICT") != "1" {
		t.Skip("function tracing of the whole kernel is switched off, which is for a VM (make test-suites)")
	}
	tracker := openTracker(t, Options{})
	h := newHost(t)
	scope := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv"})))
	before := begin(t, scope)
	h.send(t, 1)
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))

	switchTracing := func(to string) error { return os.WriteFile("/proc/sys/kernel/ftrace_enabled", []byte(to), 0) }
	t.Cleanup(func() { qt.Check(t, qt.IsNil(switchTracing("1"))) })
	err := switchTracing("0")
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP) {
		t.Logf("this kernel does not let it be switched off: %v", err) // 7.3
		return
	}
	qt.Assert(t, qt.IsNil(err))
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	h.forget()
	h.send(t, 1)
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	for _, o := range h.observations() {
		qt.Check(t, qt.Equals(o.Probe.Kind, journey.Tracepoint), qt.Commentf("of a packet that there was, the drop is all that is seen"))
	}
	qt.Check(t, qt.DeepEquals(losses(t, scope, before), map[string]uint64{switchedOff: 1}))
	off := begin(t, scope)
	_, err = Open(Options{})
	qt.Check(t, qt.ErrorIs(err, ErrNoFunctionProbes))
	qt.Check(t, qt.ErrorMatches(err, ".*kernel.ftrace_enabled = 0.*"))

	qt.Assert(t, qt.IsNil(switchTracing("1")))
	qt.Check(t, qt.DeepEquals(losses(t, scope, off), map[string]uint64{switchedOff: 1}), qt.Commentf("it was off at the beginning"))
	before = begin(t, scope)
	h.send(t, 1)
	qt.Check(t, qt.HasLen(losses(t, scope, before), 0))
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(h.count(journey.Seen) > 0))
}
