package collect_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/collect"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/topology"
)

func TestWrongOptions(t *testing.T) {
	for _, test := range []struct {
		options collect.Options
		want    string
	}{
		{collect.Options{Collectors: []string{"skb", "tcp"}}, `there is no collector "tcp": use skb, .*`},
		{collect.Options{Verdicts: []string{"reject"}}, `there is no verdict "reject": use accept, .*`},
		{collect.Options{Probes: []string{"ip_rcv/"}}, `probe "ip_rcv/": .*`},
		{collect.Options{Collectors: []string{"skb"}, SystemChanges: true}, "system changes are for the collector nft, .*"},
	} {
		_, err := collect.Run(t.Context(), test.options, nil, nil)
		qt.Check(t, qt.ErrorMatches(err, test.want))
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
}

// send sends n datagrams to a port where nobody listens, and as many to another.
func send(n int) error {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	for i := range 2 * n {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7771 + i%2}
		if _, err := socket.WriteTo([]byte("abc"), to); err != nil {
			return err
		}
	}
	return nil
}

// run collects while n datagrams are sent to a port where nobody listens, and as many to another one, which nothing must be
// observed of. The collection ends with what was sent, or before by itself.
func run(t *testing.T, n int, opts collect.Options, sink func(*journey.Observation) error) (collect.Result, error) {
	t.Helper()
	needRoot(t)
	var network topology.Network
	node := network.Add(topology.Node{Name: "node"})
	running, err := topology.Up(t.Context(), &network)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(running.Close())) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan error, 1)
	opts.PacketFilter = "udp dst port 7771"
	result, err := collect.Run(ctx, opts, func(collect.Started) {
		go func() {
			sent <- running.Do(node, func() error { return send(n) })
			if opts.StopAfter == 0 {
				cancel()
			}
		}()
	}, sink)
	qt.Check(t, qt.IsNil(<-sent))
	return result, err
}

// TestRun: each datagram is transmitted, received and dropped, which is three events; the last is observed though the collection
// ends right after it.
func TestRun(t *testing.T) {
	const n = 500
	events := 0
	result, err := run(t, n, collect.Options{Collectors: []string{"skb-drop", "dev"}}, func(o *journey.Observation) error {
		if o.Kind != journey.Seen {
			return nil
		}
		events++
		qt.Check(t, qt.IsTrue(o.Packet == nil && o.NetNS == nil && o.Conntrack == nil))
		qt.Check(t, qt.IsNotNil(o.Device))
		qt.Check(t, qt.Equals(o.Drop != nil, o.Probe.Name == "skb:kfree_skb"))
		return nil
	})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(result, collect.Result{Events: 3 * n, Journeys: n}))
	qt.Check(t, qt.Equals(events, 3*n))
}

// TestEnds: it ends by itself after so many events, and when the sink fails.
func TestEnds(t *testing.T) {
	events := 0
	count := func(o *journey.Observation) error {
		if o.Kind == journey.Seen {
			events++
		}
		return nil
	}
	result, err := run(t, 10, collect.Options{StopAfter: 4, Collectors: []string{"skb-drop"}}, count)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(result.Events, uint64(4)))
	qt.Check(t, qt.Equals(events, 4))

	full := errors.New("no room")
	_, err = run(t, 10, collect.Options{}, func(*journey.Observation) error { return full })
	qt.Check(t, qt.ErrorIs(err, full))
}

// TestLoss: what the kernel has no room to report is told by cause. The reader waits until much more was sent than the kernel keeps.
func TestLoss(t *testing.T) {
	needRoot(t)
	const n = 40_000
	var network topology.Network
	node := network.Add(topology.Node{Name: "node"})
	running, err := topology.Up(t.Context(), &network)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(running.Close())) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent, first := make(chan struct{}), true
	begun := func(collect.Started) {
		go func() {
			qt.Check(t, qt.IsNil(running.Do(node, func() error { return send(n) })))
			close(sent)
			cancel()
		}()
	}
	result, err := collect.Run(ctx, collect.Options{PacketFilter: "udp dst port 7771"}, begun, func(*journey.Observation) error {
		if first {
			first = false
			<-sent
		}
		return nil
	})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(result.Events > 0 && result.Events < 3*n))
	causes := map[string]uint64{}
	for _, l := range result.Loss {
		causes[l.Cause] += l.Count
	}
	qt.Check(t, qt.IsTrue(causes["records lost: the ring buffer was full"] >= 3*n-result.Events), qt.Commentf("%v", result))
}

// TestNamespaces: of two namespaces in which the same is sent, one is observed, whatever it is named by.
func TestNamespaces(t *testing.T) {
	needRoot(t)
	var network topology.Network
	nodes := []*topology.Node{network.Add(topology.Node{Name: "observed"}), network.Add(topology.Node{Name: "other"})}
	running, err := topology.Up(t.Context(), &network)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(running.Close())) })
	// A process in there, for its number.
	cat := exec.Command("cat")
	input, err := cat.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(running.Do(nodes[0], cat.Start)))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(errors.Join(input.Close(), cat.Wait()))) })
	path := fmt.Sprintf("/proc/%d/ns/net", cat.Process.Pid)
	var stat unix.Stat_t
	qt.Assert(t, qt.IsNil(unix.Stat(path, &stat)))

	names := []string{path, strconv.Itoa(cat.Process.Pid), strconv.FormatUint(stat.Ino, 10)}
	for _, name := range names {
		ns, err := collect.Namespace(name)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(uint64(ns.Inum()), stat.Ino))
		qt.Check(t, qt.IsNil(ns.Close()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan error, 1)
	events := 0
	_, err = collect.Run(ctx, collect.Options{Namespaces: names, PacketFilter: "udp dst port 7771"}, func(collect.Started) {
		go func() {
			defer cancel()
			for _, node := range nodes {
				if err := running.Do(node, func() error { return send(3) }); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
	}, func(o *journey.Observation) error {
		if o.Kind == journey.Seen {
			qt.Check(t, qt.Equals(uint64(o.NetNS.Inum), stat.Ino))
			events++
		}
		return nil
	})
	qt.Assert(t, qt.IsNil(errors.Join(err, <-sent)))
	qt.Check(t, qt.Equals(events, 9)) // transmitted, received and dropped
}

func TestNoNamespace(t *testing.T) {
	for name, want := range map[string]string{
		"no such name": `network namespace "no such name": there is none of that name in /run/netns, and it is no number of a process .*`,
		"3999999999":   `network namespace "3999999999": no process has that number, .*`,
		"/dev/null":    `network namespace "/dev/null": open network namespace /dev/null: .*`,
	} {
		_, err := collect.Namespace(name)
		qt.Check(t, qt.ErrorMatches(err, want))
	}
}
