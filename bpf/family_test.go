package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// eachWay runs a test with functions observed as the tracker chooses on this kernel, which is by hooks, and by the programs
// that many functions share. In CI it tries these on the stable kernel only. The trackers are for all tests that leave them as
// they are.
func eachWay(t *testing.T, test func(t *testing.T, tracker *Tracker)) {
	chosen := sharedTracker(t).Features().Functions
	t.Run("as the kernel allows", func(t *testing.T) { test(t, sharedTracker(t)) })
	if chosen == fentry.name || os.Getenv("WAYBILL_KERNEL_ROLE") != "stable" && os.Getenv("CI") != "" {
		return
	}
	for _, forced := range []string{kprobeMulti.name, kprobe.name} {
		t.Run("by "+forced, func(t *testing.T) { test(t, forcedTracker(t, forced)) })
	}
}

var forcedTrackers = make(map[string]*Tracker)

// forcedTracker observes functions in one way only. It is attached until the process ends.
func forcedTracker(t *testing.T, functions string) *Tracker {
	t.Helper()
	tracker := forcedTrackers[functions]
	if tracker == nil {
		var err error
		tracker, err = Open(Options{functions: functions})
		qt.Assert(t, qt.IsNil(err))
		forcedTrackers[functions] = tracker
	}
	qt.Assert(t, qt.Equals(tracker.Features().Functions, functions))
	return tracker
}

// loadNFT loads a ruleset into a namespace, and the module with it.
func (h *host) loadNFT(t *testing.T, rules string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs nft (package nftables): %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	qt.Assert(t, qt.IsNil(h.Do(func() error {
		nft := exec.Command("nft", "-f", "-")
		nft.Stdin = strings.NewReader(rules)
		out, err := nft.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})))
}

func TestVerdicts(t *testing.T) {
	h := newHost(t)
	h.loadNFT(t, `
		table ip shop {
			chain switch { meta nftrace set 1; }
			chain input {
				type filter hook input priority filter; policy accept
				udp dport 9 jump goods
			}
			chain goods {
				udp dport 10 accept
				udp dport 9 drop
			}
		}`)
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h.forget()
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{nftFunction, "nft_do_chain_ipv4"}))) // the second is a module's
		h.send(t, 1)
		h.sendTo(t, 11, 1)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))

		var seen []string
		handles := make(map[uint64]bool)
		for _, o := range h.observations() {
			switch {
			case o.NFT != nil:
				n := o.NFT
				seen = append(seen, fmt.Sprintf("%s %s %s %q policy=%v rule=%v", n.Table, n.Chain, n.Verdict, n.Target, n.Policy, n.Rule != 0))
				qt.Check(t, qt.Not(qt.Equals(n.TableHandle, 0)))
				qt.Check(t, qt.Not(qt.Equals(n.ChainHandle, 0)))
				handles[n.Rule] = true
			case o.Kind == journey.Seen && o.Drop == nil:
				seen = append(seen, o.Probe.Name)
			}
		}
		qt.Check(t, qt.DeepEquals(seen, []string{
			"nft_do_chain_ipv4", `shop input jump "goods" policy=false rule=true`, `shop goods drop "" policy=false rule=true`,
			"nft_do_chain_ipv4", `shop input continue "" policy=false rule=false`, `shop input accept "" policy=true rule=false`,
			// The ICMP error.
			"nft_do_chain_ipv4", `shop input continue "" policy=false rule=false`, `shop input accept "" policy=true rule=false`,
		}))
		qt.Check(t, qt.HasLen(handles, 3))
	})
}

// TestEventAtAnEnd arms the function whose always-attached hook forgets the packet: the event must come first.
func TestEventAtAnEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"skb_free_head", "skb_release_data"})))
		h.send(t, 1)
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		count := make(map[string]int)
		for _, o := range h.observations() {
			if o.Kind == journey.Seen {
				count[o.Probe.Name]++
			}
		}
		// The datagram and the ICMP error; the second is freed twice over by nobody.
		qt.Check(t, qt.Equals(count["skb_free_head"], 2))
		qt.Check(t, qt.Equals(count["skb_release_data"], 2))
	})
}

// TestEveryHitIsSeenOrCounted sends packets through functions while other CPUs' interrupts put more of them on the same
// CPU: what the kernel skips for that, it must have counted, or absence would prove nothing.
func TestEveryHitIsSeenOrCounted(t *testing.T) {
	const senders, each = 2, 3000
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		steerToAllCPUs(t, h)
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"ip_rcv", "__ip_local_out"})))
		before, err := scope.Account()
		qt.Assert(t, qt.IsNil(err))
		var group sync.WaitGroup
		for range senders {
			group.Go(func() { h.flood(t, tracker, each, 9) })
		}
		group.Wait()
		h.await(t, tracker, "Udp", "NoPorts", senders*each)
		after, err := scope.Account()
		qt.Assert(t, qt.IsNil(err))

		count := make(map[string]int)
		for _, o := range h.observations() {
			if o.Kind == journey.Seen && o.Packet != nil && len(o.Packet.Data) > o.Packet.Network+9 && o.Packet.Data[o.Packet.Network+9] == unix.IPPROTO_UDP {
				count[o.Probe.Name]++
			}
		}
		missed := int(after.misses[observes] - before.misses[observes])
		t.Logf("%v, %d skipped, losses %v", count, missed, after.Since(before))
		ring := after.scope[trackerLossCauseLOSS_RING_FULL] - before.scope[trackerLossCauseLOSS_RING_FULL]
		unseen := 2*senders*each - count["ip_rcv"] - count["__ip_local_out"]
		between(t, unseen, 0, missed+int(ring))
	})
}

// TestDatagramsOfManyCPUs: each datagram that a socket hands to its reader was reported as enqueued, and each that was
// reported and not dropped is handed over, also when the CPUs that deliver them pass them to each other, as they do on
// newer kernels (__udp_enqueue_schedule_skb).
func TestDatagramsOfManyCPUs(t *testing.T) {
	const senders, each = 4, 1000
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h := newHost(t)
		steerToAllCPUs(t, h)
		var listener *net.UDPConn
		qt.Assert(t, qt.IsNil(h.Do(func() (err error) {
			listener, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			return err
		})))
		defer func() { _ = listener.Close() }()
		qt.Assert(t, qt.IsNil(listener.SetReadBuffer(8<<10))) // some find it full
		scope := h.watch(t, tracker)
		before, err := scope.Account()
		qt.Assert(t, qt.IsNil(err))

		read := make(chan int)
		go func() {
			n, last := 0, 0
			defer func() { read <- n }()
			buffer := make([]byte, 16)
			for {
				size, err := listener.Read(buffer)
				if err != nil {
					return
				}
				if size == 1 { // one of the senders is through
					if last++; last == senders {
						return
					}
					continue
				}
				n++
			}
		}()
		port := listener.LocalAddr().(*net.UDPAddr).Port
		var group sync.WaitGroup
		for range senders {
			group.Go(func() { h.flood(t, tracker, each, port) })
		}
		group.Wait()
		// When everything has been enqueued or dropped, the reader is told, with room for it.
		h.await(t, tracker, "Ip", "InDelivers", senders*each)
		qt.Assert(t, qt.IsNil(listener.SetReadBuffer(1<<20)))
		last := make(map[journey.ID]bool)
		known := len(h.observations())
		h.sendBytes(t, port, senders, []byte("e"))
		n := <-read
		_, err = tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		for _, o := range h.observations()[known:] {
			if o.Kind == journey.Origin {
				last[o.ID] = true
			}
		}
		enqueued, dropped := make(map[journey.ID]int), make(map[journey.ID]string)
		for _, o := range h.observations() {
			switch {
			case last[o.ID]:
			case o.Kind == journey.Enqueued:
				enqueued[o.ID]++
				qt.Check(t, qt.Equals(o.NetNS.Cookie, h.Cookie()))
			case o.Drop != nil:
				dropped[o.ID] = o.Drop.Reason
			}
		}
		reasons := make(map[string]int)
		delivered := 0
		for id, times := range enqueued {
			qt.Check(t, qt.Equals(times, 1))
			if dropped[id] == "" {
				delivered++
			}
		}
		for _, reason := range dropped {
			reasons[reason]++
		}
		after, err := scope.Account()
		qt.Assert(t, qt.IsNil(err))
		losses := after.Since(before)
		t.Logf("%d read, %d enqueued, dropped %v, losses %v", n, len(enqueued), reasons, losses)
		// What was skipped was counted, so the difference is no more than that.
		skipped := 0
		for _, loss := range losses {
			skipped += int(loss.Count)
		}
		between(t, delivered, n-skipped, n+skipped)
		between(t, len(enqueued)+len(dropped)-(len(enqueued)-delivered), senders*each-skipped, senders*each)
	})
}

// await returns when a counter of the namespace in /proc/net/snmp has come to n, and what was observed until then is known. A
// datagram that is steered to another CPU is still on its way there when its sender goes on.
func (h *host) await(t *testing.T, tracker *Tracker, protocol, field string, n int) {
	t.Helper()
	count := 0
	for range 1000 {
		qt.Assert(t, qt.IsNil(h.Do(func() error {
			text, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				return err
			}
			var names []string // a line of names, and a line of values
			for line := range strings.Lines(string(text)) {
				words := strings.Fields(line)
				if words[0] != protocol+":" {
					continue
				}
				if names == nil {
					names = words
					continue
				}
				count, err = strconv.Atoi(words[slices.Index(names, field)])
			}
			return err
		})))
		qt.Assert(t, qt.IsNil(gracePeriod())) // counted first, and then dealt with
		_, err := tracker.Barrier(t.Context())
		qt.Assert(t, qt.IsNil(err))
		if count == n {
			return
		}
	}
	t.Fatalf("%s %s is %d, not %d", protocol, field, count, n)
}

func between(t *testing.T, got, low, high int) {
	t.Helper()
	qt.Check(t, qt.IsTrue(low <= got && got <= high), qt.Commentf("%d is not between %d and %d", got, low, high))
}

// flood sends n datagrams, and lets the reader of the tracker keep up.
func (h *host) flood(t *testing.T, tracker *Tracker, n, port int) {
	for range n / 100 {
		h.sendTo(t, port, 100)
		if _, err := tracker.Barrier(t.Context()); err != nil {
			t.Error(err)
			return
		}
	}
}

// steerToAllCPUs lets the loopback device's packets be received on any CPU, by their flow.
func steerToAllCPUs(t *testing.T, h *host) {
	t.Helper()
	folder := t.TempDir()
	err := h.Do(func() error {
		runtime.LockOSThread() // never unlocked: the thread dies, and its mount namespace with it
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return err
		}
		if err := unix.Mount("sysfs", folder, "sysfs", 0, ""); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, "class/net/lo/queues/rx-0/rps_cpus"), []byte("3"), 0)
	})
	if errors.Is(err, unix.ENOENT) {
		t.Logf("no packet steering: %v", err)
		return
	}
	qt.Assert(t, qt.IsNil(err))
}
