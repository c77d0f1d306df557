package bpf

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// events are the events at probes, drops aside.
func (h *host) events(t *testing.T, tracker *Tracker) []journey.Observation {
	t.Helper()
	_, err := tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	return slices.DeleteFunc(slices.Clone(h.observations()), func(o journey.Observation) bool {
		return o.Kind != journey.Seen || o.Probe == dropProbe
	})
}

func probeNames(observations []journey.Observation) []string {
	var names []string
	for _, o := range observations {
		names = append(names, request{kind: o.Probe.Kind, name: o.Probe.Name}.String())
	}
	return names
}

// listen opens a socket that nobody reads from.
func (h *host) listen(t *testing.T, receiveBuffer int) (port int) {
	t.Helper()
	var listener *net.UDPConn
	qt.Assert(t, qt.IsNil(h.Do(func() (err error) {
		listener, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		return err
	})))
	t.Cleanup(func() { _ = listener.Close() })
	qt.Assert(t, qt.IsNil(listener.SetReadBuffer(receiveBuffer)))
	return listener.LocalAddr().(*net.UDPAddr).Port
}

func (h *host) withNetlink(t *testing.T, f func(*netlink.Handle) error) {
	t.Helper()
	qt.Assert(t, qt.IsNil(h.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		return f(handle)
	})))
}

// TestReturnsNest sends a datagram to a closed port of the loopback device. All that follows happens before the function
// that sends it returns: it is received, freed, and answered by another packet, which is sent by the same function.
func TestReturnsNest(t *testing.T) {
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_output", "kr:ip_output"})))
		h.send(t, 1)
		seen := h.events(t, tracker)
		qt.Assert(t, qt.DeepEquals(probeNames(seen), []string{"ip_output", "ip_output", "kr:ip_output", "kr:ip_output"}))
		datagram, answer, inner, outer := seen[0], seen[1], seen[2], seen[3]
		qt.Check(t, qt.Not(qt.Equals(datagram.ID, answer.ID)))
		qt.Check(t, qt.Equals(inner.ID, answer.ID))
		qt.Check(t, qt.Equals(inner.SKB, answer.SKB))
		qt.Check(t, qt.Equals(outer.ID, datagram.ID))
		qt.Check(t, qt.Equals(outer.SKB, datagram.SKB))
		for _, o := range []journey.Observation{inner, outer} {
			qt.Assert(t, qt.IsNotNil(o.Return))
			qt.Check(t, qt.Equals(*o.Return, 0))
			qt.Check(t, qt.Equals(o.NetNS.Cookie, h.Cookie()))
			qt.Check(t, qt.IsNil(o.Packet))
		}
		qt.Check(t, qt.IsNil(datagram.Return))

		// The datagram was freed before the function returned.
		all := h.observations()
		released := slices.IndexFunc(all, func(o journey.Observation) bool {
			return o.Kind == journey.Released && o.ID == datagram.ID
		})
		returned := slices.IndexFunc(all, func(o journey.Observation) bool {
			return o.Probe.Kind == journey.Return && o.ID == datagram.ID
		})
		qt.Check(t, qt.IsTrue(0 <= released && released < returned))
	})
}

// TestReturnsOfOneSKB sends through a VLAN: a function is called for an skb while it is at work on that skb.
func TestReturnsOfOneSKB(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	h.withNetlink(t, func(n *netlink.Handle) error {
		a := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
		if err := n.LinkAdd(a); err != nil {
			return err
		}
		b, err := n.LinkByName("b")
		if err != nil {
			return err
		}
		vlan := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "v", ParentIndex: a.Attrs().Index}, VlanId: 5}
		if err := n.LinkAdd(vlan); err != nil {
			return err
		}
		for _, l := range []netlink.Link{a, b, vlan} {
			if err := n.LinkSetUp(l); err != nil {
				return err
			}
		}
		return n.AddrAdd(vlan, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(24, 32)}})
	})
	scope := h.watch(t, tracker)
	const xmit = "__dev_queue_xmit"
	qt.Assert(t, qt.IsNil(scope.Arm([]string{xmit, "kr:" + xmit})))
	qt.Assert(t, qt.IsNil(h.Do(func() error {
		socket, err := net.Dial("udp4", "10.0.0.255:9")
		if err == nil {
			_ = socket.Close()
		}
		socket, err = net.Dial("udp4", "10.0.0.2:9") // unknown there: an ARP request goes out
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		_, err = socket.Write([]byte("abc"))
		return err
	})))
	calls := make(map[journey.ID][]string)
	for _, o := range h.events(t, tracker) {
		if o.Probe.Kind == journey.Return || o.Packet != nil && o.Packet.Proto == unix.ETH_P_ARP {
			calls[o.ID] = append(calls[o.ID], request{kind: o.Probe.Kind, name: o.Probe.Name}.String())
		}
	}
	nested := 0
	for _, names := range calls {
		if slices.Equal(names, []string{xmit, xmit, "kr:" + xmit, "kr:" + xmit}) {
			nested++
		}
	}
	qt.Check(t, qt.IsTrue(nested > 0), qt.Commentf("%v", calls))
}

// TestReturnsOnEveryCPU sends from all CPUs at once: every call returns once, for the packet that it was made with.
func TestReturnsOnEveryCPU(t *testing.T) {
	const each = 1000
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		steerToAllCPUs(t, h)
		port := h.listen(t, 4<<20)
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"kr:ip_output", "kr:__udp_enqueue_schedule_skb"})))
		before, err := scope.Account()
		qt.Assert(t, qt.IsNil(err))
		var group sync.WaitGroup
		for cpu := range runtime.NumCPU() {
			group.Go(func() {
				err := h.Do(func() error {
					runtime.LockOSThread() // never unlocked: the thread and its affinity die
					var set unix.CPUSet
					set.Set(cpu)
					if err := unix.SchedSetaffinity(0, &set); err != nil {
						return err
					}
					socket, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
					if err != nil {
						return err
					}
					defer func() { _ = socket.Close() }()
					for i := range each {
						if i%100 == 0 {
							if _, err := tracker.Barrier(t.Context()); err != nil {
								return err
							}
						}
						if _, err := socket.Write([]byte("abc")); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		// The last ones may still wait in the other CPU's backlog, and when they have been queued, the function has still to
		// return.
		for arrived := 0; arrived < each*runtime.NumCPU(); {
			_, err := tracker.Barrier(t.Context())
			qt.Assert(t, qt.IsNil(err))
			arrived = 0
			for _, o := range h.observations() {
				if o.Kind == journey.Enqueued || o.Drop != nil {
					arrived++
				}
			}
		}
		qt.Assert(t, qt.IsNil(gracePeriod()))
		sent, skbs := make(map[journey.ID]bool), make(map[journey.ID]uint64)
		returns, cpus := make(map[string]int), make(map[uint32]bool)
		for _, o := range h.events(t, tracker) {
			returns[o.Probe.Name]++
			cpus[o.CPU] = true
			if o.Probe.Name == "ip_output" {
				qt.Assert(t, qt.Equals(*o.Return, 0)) // the other one may find the socket's queue full
				qt.Assert(t, qt.IsFalse(sent[o.ID]))
				sent[o.ID] = true
			}
			if known := skbs[o.ID]; known != 0 {
				qt.Assert(t, qt.Equals(o.SKB, known)) // the loopback device hands on the skb itself
			}
			skbs[o.ID] = o.SKB
		}
		after, err := scope.Account()
		qt.Assert(t, qt.IsNil(err))
		lost := 0
		for _, loss := range after.Since(before) {
			lost += int(loss.Count)
		}
		total := each * runtime.NumCPU()
		t.Logf("%v of %d, on CPUs %v; lost %v", returns, total, cpus, after.Since(before))
		qt.Check(t, qt.HasLen(cpus, runtime.NumCPU()))
		between(t, returns["ip_output"], total-lost, total)
		between(t, returns["__udp_enqueue_schedule_skb"], total-lost, total)
		qt.Check(t, qt.Equals(entries(t, tracker, trackerMapWorks), lost), qt.Commentf("calls that did not return"))
	})
}

// entries counts what is in a map.
func entries(t *testing.T, tracker *Tracker, name string) (n int) {
	t.Helper()
	var key, value []byte
	all := tracker.collection.Maps[name].Iterate()
	for all.Next(&key, &value) {
		n++
	}
	qt.Assert(t, qt.IsNil(all.Err()))
	return n
}

// TestReturnValues: a number with a sign, an address, and nothing.
func TestReturnValues(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	port := h.listen(t, 1) // which the kernel makes a few datagrams
	scope := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"kr:__udp_enqueue_schedule_skb", "kr:skb_release_data"})))
	h.sendBytes(t, port, 20, make([]byte, 1000))
	values := make(map[int64]int)
	nothing := 0
	for _, o := range h.events(t, tracker) {
		if o.Probe.Name == "skb_release_data" {
			qt.Check(t, qt.IsNil(o.Return))
			nothing++
			continue
		}
		qt.Assert(t, qt.IsNotNil(o.Return))
		values[*o.Return]++
	}
	t.Log(values)
	qt.Check(t, qt.HasLen(values, 2))
	qt.Check(t, qt.IsTrue(values[0] > 0))
	failed := values[-int64(unix.ENOMEM)] + values[-int64(unix.ENOBUFS)]
	qt.Check(t, qt.IsTrue(failed > 0))
	qt.Check(t, qt.Equals(nothing, failed)) // those that were not queued
}

func TestTracepoints(t *testing.T) {
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		port := h.listen(t, 1<<20)
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{
			"tp:net:net_dev_queue", "tp:net:net_dev_start_xmit", "tp:net:netif_receive_skb", "raw_tracepoint:net_dev_queue",
			"tp:skb:kfree_skb", "ip_rcv",
		})))
		qt.Check(t, qt.DeepEquals(scope.Probes(), []journey.Probe{
			{Kind: journey.Function, Name: "ip_rcv"},
			{Kind: journey.Tracepoint, Name: "net:net_dev_queue"},
			{Kind: journey.Tracepoint, Name: "net:net_dev_start_xmit"},
			{Kind: journey.Tracepoint, Name: "net:netif_receive_skb"},
			{Kind: journey.RawTracepoint, Name: "net_dev_queue"},
			dropProbe,
		}))
		h.sendTo(t, port, 1)
		seen := h.events(t, tracker)
		names := probeNames(seen)
		slices.Sort(names[:min(2, len(names))]) // which of two at one place comes first does not matter
		qt.Assert(t, qt.DeepEquals(names, []string{
			"raw_tracepoint:net_dev_queue", "tp:net:net_dev_queue", "tp:net:net_dev_start_xmit", "tp:net:netif_receive_skb", "ip_rcv",
		}))
		for _, o := range seen {
			qt.Check(t, qt.Equals(o.ID, seen[0].ID))
			qt.Check(t, qt.Equals(o.Device.Name, "lo"))
			qt.Check(t, qt.IsTrue(len(o.Packet.Data) >= 28+3))
		}

		// What is disarmed is not seen any more.
		qt.Assert(t, qt.IsNil(scope.Disarm()))
		h.forget()
		h.sendTo(t, port, 1)
		qt.Check(t, qt.HasLen(h.events(t, tracker), 0))
		qt.Check(t, qt.HasLen(tracker.probes.byRequest, 0))
	})
}

func TestPatterns(t *testing.T) {
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rc*", "kr:ip_loca[lm]_deliver", "tp:net:net_dev_[qs]*", "ip_rcv"})))
		names := make(map[string]bool)
		for _, p := range scope.Probes() {
			names[request{kind: p.Kind, name: p.Name}.String()] = true
		}
		for _, want := range []string{"ip_rcv", "ip_rcv_core", "kr:ip_local_deliver", "tp:net:net_dev_queue"} {
			qt.Check(t, qt.IsTrue(names[want]), qt.Commentf("%s in %v", want, names))
		}
		for name := range names {
			ok := false
			for _, pattern := range []string{"ip_rc*", "kr:ip_local_deliver", "tp:net:net_dev_[qs]*", "tp:skb:kfree_skb"} {
				match, err := filepath.Match(pattern, name)
				ok = ok || match && err == nil
			}
			qt.Check(t, qt.IsTrue(ok), qt.Commentf(name))
		}
		h.sendTo(t, h.listen(t, 1<<20), 1)
		count := make(map[string]int)
		for _, name := range probeNames(h.events(t, tracker)) {
			count[name]++
		}
		for _, name := range []string{"ip_rcv", "ip_rcv_core", "kr:ip_local_deliver", "tp:net:net_dev_queue"} {
			qt.Check(t, qt.Equals(count[name], 1), qt.Commentf(name))
		}
		qt.Check(t, qt.ErrorMatches(scope.Arm([]string{"kr:*"}),
			`observe kr:\*: \d{4} match, and at most 128 can be observed at once: write a narrower pattern`))
	})
}

// TestManyFunctions arms hundreds at once where that is meant to be possible.
func TestManyFunctions(t *testing.T) {
	tracker := sharedTracker(t)
	if tracker.Features().Functions != kprobeMulti.name {
		t.Skip("needs kprobe.multi")
	}
	h := newHost(t)
	scope := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"*"})))
	t.Logf("%d probes", len(scope.Probes()))
	qt.Check(t, qt.IsTrue(len(scope.Probes()) > 1000))
	h.sendTo(t, h.listen(t, 1<<20), 1)
	qt.Check(t, qt.IsTrue(slices.Contains(probeNames(h.events(t, tracker)), "ip_rcv")))
	qt.Assert(t, qt.IsNil(scope.Disarm()))
}

func TestOneEventWithAndWithoutStack(t *testing.T) {
	tracker := sharedTracker(t)
	h := newHost(t)
	scope := h.watch(t, tracker)
	port := h.listen(t, 1<<20)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv", "ip_rcv/stack"})))
	h.sendTo(t, port, 1)
	qt.Check(t, qt.HasLen(h.events(t, tracker), 1))

	// The same, one after the other.
	qt.Assert(t, qt.IsNil(scope.Disarm()))
	h.forget()
	for _, name := range []string{"ip_rcv", "ip_rcv/stack", "ip_rcv"} {
		qt.Assert(t, qt.IsNil(scope.Arm([]string{name})))
	}
	qt.Check(t, qt.HasLen(scope.Probes(), 2))
	qt.Check(t, qt.HasLen(tracker.probes.byRequest, 2))
	h.sendTo(t, port, 1)
	qt.Check(t, qt.HasLen(h.events(t, tracker), 1))
}

// TestModuleLoadedLater arms a function of a module that was not there when the tracker was opened.
func TestModuleLoadedLater(t *testing.T) {
	if _, err := os.Stat("/sys/module/ifb"); err == nil {
		t.Skip("the module ifb is loaded already")
	}
	tracker := sharedTracker(t)
	other := openTracker(t, Options{functions: fentry.name})
	qt.Assert(t, qt.ErrorIs(tracker.Observable("ifb_xmit"), ErrNoFunction))
	h := newHost(t)
	h.withNetlink(t, func(n *netlink.Handle) error {
		// Of less than IPv6 needs, which would send frames of its own there.
		ifb := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "ifb0", MTU: 1000}}
		return cmp.Or(n.LinkAdd(ifb), n.LinkSetUp(ifb))
	})
	for _, tracker := range []*Tracker{tracker, other} {
		h.forget()
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"ifb_xmit", "kr:ifb_xmit"})))
		h.sendFrame(t, "ifb0")
		qt.Check(t, qt.DeepEquals(probeNames(h.events(t, tracker)), []string{"ifb_xmit", "kr:ifb_xmit"}))
		qt.Assert(t, qt.IsNil(scope.Close()))
	}
}

// sendFrame sends a frame that nobody answers.
func (h *host) sendFrame(t *testing.T, device string) {
	t.Helper()
	qt.Assert(t, qt.IsNil(h.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		frame := append(make([]byte, 12), 0x88, 0xb5) // for experiments (IEEE 802)
		return unix.Sendto(fd, append(frame, make([]byte, 50)...), 0, &unix.SockaddrLinklayer{Ifindex: i.Index})
	})))
}

func TestPatternErrors(t *testing.T) {
	tracker := sharedTracker(t)
	scope := newHost(t).watch(t, tracker)
	for _, tc := range []struct{ probe, want string }{
		{"tcp_v5_*", `observe tcp_v5_\*: nothing that takes a packet and can be probed has a name like this.*`},
		{"tp:net:nothing*", `observe tp:net:nothing\*: nothing that takes a packet and can be probed has a name like this.*`},
		{"tp:net:net_dev_que", `observe tp:net:net_dev_que: this kernel has no such tracepoint, or its module is not loaded; ` +
			`there is net:net_dev_queue.*`},
		{"tp:skb:net_dev_queue", `observe tp:skb:net_dev_queue: this kernel has no such tracepoint, .*`},
		{"raw_tracepoint:net_dev_queu", `observe raw_tracepoint:net_dev_queu: .*; there is net_dev_queue.*`},
		{"tp:sched:sched_switch", `observe tp:sched:sched_switch: none of its arguments is a struct sk_buff \*`},
		{"kr:ip_recv", `observe kr:ip_recv: this kernel has no such function, or .*; there is ip_rcv.*`},
		{"__netif_receive_skb_core", `observe __netif_receive_skb_core: this kernel lets no program attach to it: the compiler ` +
			`made __netif_receive_skb_core.constprop.0 of it, whose arguments are not known.*`},
		{"__netif_receive_skb_core.constprop.0", `observe __netif_receive_skb_core.constprop.0: it is there, but the ` +
			`kernel's types do not tell its arguments`},
		{"__bpf_skb_change_tail", `observe __bpf_skb_change_tail: this kernel .*`},
		{"bpf_trace_run1", `observe bpf_trace_run1: this kernel lets no program attach to it: it is not to be traced, or .*`},
		{"ip_rcv/", `probe "ip_rcv/": "/" is no option: the only one is /stack`},
	} {
		t.Run(tc.probe, func(t *testing.T) {
			err := scope.Arm([]string{"ip_rcv", tc.probe})
			t.Log(err)
			qt.Check(t, qt.ErrorMatches(err, tc.want))
			qt.Check(t, qt.IsFalse(strings.Contains(err.Error(), "\n")))
			qt.Check(t, qt.DeepEquals(scope.Probes(), []journey.Probe{dropProbe}))
		})
	}
}
