package bpf

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
	"github.com/waybill-dev/waybill/journey"
)

// openTracker opens a tracker on the running kernel, or skips the test where that kernel does not allow it.
func openTracker(t *testing.T, opts Options) *Tracker {
	t.Helper()
	if opts.Tier == AnyTier {
		opts.Tier = Functions
	}
	tracker, err := Open(opts)
	if errors.Is(err, ErrNoFunctionProbes) {
		t.Skipf("needs function probes, which this kernel or user may not use (make test-suites runs it in a VM): %v", err)
	}
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(tracker.Close())) })
	return tracker
}

var shared struct {
	once sync.Once
	*Tracker
	err error
}

// sharedTracker is one for all tests that leave it as it is: opening and closing one takes seconds under emulation. It is
// attached until the process ends.
func sharedTracker(t *testing.T) *Tracker {
	t.Helper()
	shared.once.Do(func() { shared.Tracker, shared.err = Open(Options{Tier: Functions}) })
	if errors.Is(shared.err, ErrNoFunctionProbes) {
		t.Skipf("needs function probes, which this kernel or user may not use (make test-suites runs it in a VM): %v", shared.err)
	}
	qt.Assert(t, qt.IsNil(shared.err))
	return shared.Tracker
}

// host is a namespace with only a loopback device.
type host struct {
	*netns.NS
	mu    sync.Mutex
	seen  []journey.Observation
	looks map[uint64]journey.Event
	hold  sync.Mutex // locked: the sink does not return
}

func newHost(t *testing.T) *host {
	t.Helper()
	ns, err := netns.New()
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(ns.Close())) })
	qt.Assert(t, qt.IsNil(ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		lo, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		lo.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	})))
	return &host{NS: ns, looks: make(map[uint64]journey.Event)}
}

func (h *host) sink(o *journey.Observation) {
	h.hold.Lock()
	defer h.hold.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.Kind == journey.Looked || o.Fresh {
		h.looks[o.Mark] = o.Event
	}
	if o.Kind == journey.Looked {
		return
	}
	if look, ok := h.looks[o.Mark]; ok {
		o.Packet, o.Device, o.NetNS, o.Conntrack, o.Comm = look.Packet, look.Device, look.NetNS, look.Conntrack, look.Comm
	}
	h.seen = append(h.seen, *o)
}

func (h *host) observations() []journey.Observation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// watched is a scope with one observer.
type watched struct {
	*Scope
	*Observer
}

func (w watched) Close() error { return w.Scope.Close() }

// watch observes namespaces with one observer, as far as they can be.
func watch(tracker *Tracker, sink func(*journey.Observation), cookies ...uint64) (watched, error) {
	scope, err := tracker.Watch(cookies)
	if err != nil {
		return watched{}, err
	}
	observer, err := scope.Observe(sink)
	return watched{scope, observer}, err
}

func (h *host) watch(t *testing.T, tracker *Tracker) watched {
	t.Helper()
	scope, err := watch(tracker, h.sink, h.Cookie())
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(scope.Close())) })
	return scope
}

// forget drops what was observed.
func (h *host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = nil
}

// send sends n datagrams to a port where nobody listens; each is dropped before the call returns.
func (h *host) send(t *testing.T, n int) {
	t.Helper()
	h.sendTo(t, 9, n)
}

func (h *host) sendTo(t *testing.T, port, n int) {
	t.Helper()
	h.sendBytes(t, port, n, []byte("abc"))
}

func (h *host) sendBytes(t *testing.T, port, n int, payload []byte) {
	t.Helper()
	err := h.Do(func() error {
		socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		for range n {
			if _, err := socket.WriteTo(payload, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
				return err
			}
		}
		return nil
	})
	qt.Check(t, qt.IsNil(err))
}

func TestScopesAreApart(t *testing.T) {
	tracker := sharedTracker(t)
	a, b := newHost(t), newHost(t)
	scopeA := a.watch(t, tracker)
	b.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scopeA.Arm([]string{"ip_rcv"})))

	newHost(t).send(t, 1) // nobody's
	b.send(t, 1)
	_, err := tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(a.observations(), 0))
	for _, o := range b.observations() {
		qt.Check(t, qt.Not(qt.Equals(o.Probe.Name, "ip_rcv")), qt.Commentf("a probe that the other scope armed"))
	}

	a.send(t, 1)
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	var probes []string
	for _, o := range a.observations() {
		qt.Check(t, qt.IsTrue(o.NetNS == nil || o.NetNS.Cookie == a.Cookie()))
		if o.Kind == journey.Seen {
			probes = append(probes, o.Probe.Name)
		}
	}
	// The datagram, and the ICMP error that answers it.
	qt.Assert(t, qt.DeepEquals(probes, []string{"ip_rcv", "skb:kfree_skb", "ip_rcv"}))
}

// TestObserversOfOneScope: each sees the events at its own probes, and what the packets look like, wherever that was told.
func TestObserversOfOneScope(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	first := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(first.Arm([]string{"ip_rcv"})))
	other := &host{NS: h.NS, looks: make(map[uint64]journey.Event)}
	second, err := first.Observe(other.sink)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(second.Arm([]string{"udp_rcv", "ip_rcv/stack"})))
	seen := func(of *host) (probes []string) {
		for _, o := range of.observations() {
			if o.Kind == journey.Seen {
				qt.Check(t, qt.IsNotNil(o.Packet), qt.Commentf("%s", o.Probe.Name))
				probes = append(probes, o.Probe.Name)
			}
		}
		return probes
	}
	observe := func() {
		h.forget()
		other.forget()
		h.send(t, 1)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
	}
	observe()
	qt.Check(t, qt.DeepEquals(seen(h), []string{"ip_rcv", "skb:kfree_skb", "ip_rcv"}))
	qt.Check(t, qt.DeepEquals(seen(other), []string{"ip_rcv", "udp_rcv", "skb:kfree_skb", "ip_rcv"}))
	for _, kind := range []journey.ObservationKind{journey.Origin, journey.Released} {
		qt.Check(t, qt.Equals(other.count(kind), h.count(kind)))
	}

	qt.Assert(t, qt.IsNil(second.Close()))
	observe()
	qt.Check(t, qt.DeepEquals(seen(h), []string{"ip_rcv", "skb:kfree_skb", "ip_rcv"}))
	qt.Check(t, qt.HasLen(other.observations(), 0))
}

// TestMeta: a datagram over the loopback device is 3 bytes behind its headers, and nobody else holds it.
func TestMeta(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	scope := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv", "udp_rcv"})))
	observe := func() {
		h.forget()
		h.send(t, 1)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
	}
	leave, err := tracker.Metadata()
	qt.Assert(t, qt.IsNil(err))
	observe()
	leave()
	lengths := make(map[string]uint32)
	for _, o := range h.observations() {
		if o.Kind != journey.Seen || o.Meta == nil || o.Packet == nil || o.Packet.Data[o.Packet.Network+9] != unix.IPPROTO_UDP {
			continue
		}
		lengths[o.Probe.Name] = o.Meta.Len
		qt.Check(t, qt.Equals(o.Meta.DataLen, uint32(0)))
		qt.Check(t, qt.Equals(o.Sharing.Users, uint32(1)))
		qt.Check(t, qt.Equals(o.Sharing.DataRef, uint32(1)))
		qt.Check(t, qt.IsNil(o.GSO))
	}
	qt.Check(t, qt.DeepEquals(lengths, map[string]uint32{"ip_rcv": 31, "udp_rcv": 11}))

	observe()
	for _, o := range h.observations() {
		qt.Check(t, qt.IsNil(o.Meta))
	}
}

func TestNamespaceInTwoScopes(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	h.watch(t, tracker)
	_, err := tracker.Watch([]uint64{h.Cookie()})
	qt.Assert(t, qt.ErrorMatches(err, `watch the namespace with cookie \d+: it is in another scope already`))
}

func TestLossIsCounted(t *testing.T) {
	tracker := openTracker(t, Options{RingBytes: os.Getpagesize()})
	h, other := newHost(t), newHost(t)
	scope, otherScope := h.watch(t, tracker), other.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv"})))
	before, err := scope.Account()
	qt.Assert(t, qt.IsNil(err))
	otherBefore, err := otherScope.Account()
	qt.Assert(t, qt.IsNil(err))

	h.send(t, 1)
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	after, err := scope.Account()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(after.Since(before), 0))

	h.hold.Lock() // the reader stands still
	h.send(t, 100)
	h.hold.Unlock()
	after, err = scope.Account()
	qt.Assert(t, qt.IsNil(err))
	losses := after.Since(before)
	qt.Assert(t, qt.HasLen(losses, 2))
	qt.Check(t, qt.Equals(losses[0].Cause, lossCauses[trackerLossCauseLOSS_RING_FULL]))
	qt.Check(t, qt.Equals(losses[1].Cause, lossCauses[trackerLossCauseLOSS_LOOK]))

	// Received and lost make up what there was: two packets a datagram, each with an origin, an ip_rcv and a release, one
	// drop, and a link of the answer.
	_, err = tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(uint64(len(h.observations()))+losses[0].Count, uint64(101*8)))

	// The other one lost nothing.
	otherAfter, err := otherScope.Account()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(otherAfter.Since(otherBefore), 0))
}

func TestArmRefuses(t *testing.T) {
	tracker := sharedTracker(t)
	scope := newHost(t).watch(t, tracker)
	for _, tc := range []struct{ function, want string }{
		{"ip_local_delivr", `observe ip_local_delivr: this kernel has no such function, or the compiler made it part of its ` +
			`callers; there is ip_local_deliver.*`},
		{"nothing_like_it_anywhere", `observe nothing_like_it_anywhere: this kernel has no such function, or the compiler ` +
			`made it part of its callers`},
		{"vfs_read", `observe vfs_read: none of its arguments is a struct sk_buff \*`},
	} {
		t.Run(tc.function, func(t *testing.T) {
			qt.Check(t, qt.ErrorMatches(scope.Arm([]string{"ip_rcv", tc.function}), tc.want))
			qt.Check(t, qt.DeepEquals(scope.Probes(), []journey.Probe{dropProbe}), qt.Commentf("all or none"))
		})
	}
}

func TestReasons(t *testing.T) {
	tracker := sharedTracker(t)
	qt.Assert(t, qt.SliceContains(tracker.Reasons(), "NETFILTER_DROP"))
	qt.Check(t, qt.IsTrue(slices.ContainsFunc(tracker.Reasons(), func(name string) bool {
		return journey.Drop{Reason: name}.Is("QDISC_DROP") // QDISC_DROP_GENERIC, where disciplines have their own reasons
	})))
	if module, err := tracker.catalog.cache.Module("openvswitch"); err == nil {
		var enum *btf.Enum
		if err := module.TypeByName("ovs_drop_reason", &enum); err == nil { // not on 6.1
			qt.Check(t, qt.SliceContains(tracker.Reasons(), "OVS_DROP_EXPLICIT"))
		}
	}
	for _, name := range tracker.Reasons() {
		qt.Check(t, qt.IsFalse(strings.HasPrefix(name, reasonPrefix)), qt.Commentf(name))
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	openFiles := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		qt.Assert(t, qt.IsNil(err))
		return len(entries)
	}
	sharedTracker(t) // what libraries keep for themselves is open after this

	before := openFiles()
	tracker, err := Open(Options{})
	qt.Assert(t, qt.IsNil(err))
	scope, err := watch(tracker, func(*journey.Observation) {})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv"})))
	qt.Assert(t, qt.IsNil(tracker.Close()))
	qt.Assert(t, qt.IsNil(tracker.Close()))
	qt.Assert(t, qt.IsNil(scope.Close()))
	qt.Check(t, qt.Equals(openFiles(), before))

	_, err = tracker.Barrier(t.Context())
	qt.Check(t, qt.ErrorMatches(err, "INCONCLUSIVE: wait for the tracker's records: the tracker is closed"))
	_, err = tracker.Watch(nil)
	qt.Check(t, qt.ErrorMatches(err, "watch namespaces: the tracker is closed"))
}
