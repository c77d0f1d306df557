package harness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// Lab is a running topology under observation. Its methods end the test if they cannot do what they are asked to. It is
// closed when the test ends.
type Lab struct {
	t           T
	network     *topology.Network
	running     *topology.Running
	observatory *observatory
	scope       *bpf.Scope

	folder *folder    // where a failed test leaves what it saw; nil for nowhere
	kernel *kernelLog // nil if it cannot be read

	mu      sync.Mutex
	traces  map[*Trace]bool // those that are under way
	records []*Record
	asked   []*journey.Journey // that the test looked at
	sent    []interface{ Close() error }
}

// New brings a network up and puts it under observation. The lab lives until the test, or the Ginkgo node's spec, ends.
//
// Where the kernel or the user's rights do not allow observation, the test is skipped with the reason, or fails with it
// if the environment has [StrictEnv]=1. Where they allow all but programs at functions, the lab observes drops and devices:
// a trace that names a function skips the test, and so does [NeedFunctions].
func New(t T, network *topology.Network) *Lab {
	t.Helper()
	ctx := context.Background() // a SpecContext would end with its node, and the lab must outlive a BeforeEach
	// The declaration is checked before anything is loaded into the kernel.
	if err := network.Validate(); err != nil {
		t.Fatalf("%v", err)
	}
	o, err := openShared(ctx)
	switch {
	case errors.Is(err, bpf.ErrNoFunctionProbes), errors.Is(err, bpf.ErrNoBTF):
		skip(t, fmt.Errorf("this test needs to observe packets in the kernel: %w", err))
	case err != nil:
		t.Fatalf("%v", err)
	}
	return newOn(t, network, o)
}

// newOn brings a network up under the eyes of an observatory.
func newOn(t T, network *topology.Network, o *observatory) *Lab {
	t.Helper()
	running, err := topology.Up(context.Background(), network)
	if missing := (*topology.UnsupportedError)(nil); errors.As(err, &missing) {
		skip(t, fmt.Errorf("this test needs a feature of the kernel: %w", err))
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	l := newLab(t, network, running, o)
	t.Cleanup(func() {
		t.Helper()
		var errs []error
		switch {
		case failed(t):
			errs = append(errs, l.leave())
		case *recordFlag:
			errs = append(errs, l.leaveRecords())
		}
		l.report()
		if failed(t) && *keepFlag {
			errs = append(errs, l.keepNetwork())
		}
		if err := errors.Join(append(errs, l.close())...); err != nil {
			t.Fatalf("close the lab: %v", err)
		}
	})
	l.kernel = openKernelLog()
	if l.folder, err = takeFolder(t); err != nil {
		t.Fatalf("%v", err)
	}
	if err := l.watch(); err != nil {
		t.Fatalf("%v", err)
	}
	return l
}

// Reset takes the network down and brings it up again as it was declared: what tests have changed in it since, rulesets, links,
// connections, neighbours, is gone, and so are the sockets that the lab holds and traces that were not sealed. For a lab that
// several specs share; it takes as long as making a new one, a few milliseconds. Records stay as they are, but nodes are other
// namespaces now, so that their journeys are nowhere in the lab.
func (l *Lab) Reset() {
	l.t.Helper()
	if err := l.takeDown(); err != nil {
		l.t.Fatalf("reset the lab: %v", err)
	}
	running, err := topology.Up(context.Background(), l.network)
	if err != nil {
		l.t.Fatalf("reset the lab: %v", err)
	}
	l.running, l.traces = running, make(map[*Trace]bool)
	if err := l.watch(); err != nil {
		l.t.Fatalf("reset the lab: %v", err)
	}
}

func newLab(t T, network *topology.Network, running *topology.Running, o *observatory) *Lab {
	return &Lab{t: t, network: network, running: running, observatory: o, traces: make(map[*Trace]bool)}
}

// watch registers the lab's namespaces with the tracker.
func (l *Lab) watch() (err error) {
	var cookies []uint64
	for _, node := range l.network.Nodes() {
		cookies = append(cookies, node.NetNSCookie())
	}
	l.scope, err = l.observatory.tracker.Watch(cookies)
	return err
}

func (l *Lab) close() error {
	err := l.takeDown()
	if l.kernel != nil {
		err = errors.Join(err, l.kernel.Close())
	}
	return err
}

// takeDown ends everything that is under way in the lab.
func (l *Lab) takeDown() error {
	var errs []error
	l.mu.Lock()
	sent, traces := l.sent, l.traces
	l.sent, l.traces = nil, nil
	l.mu.Unlock()
	for t := range traces { // that were not sealed
		errs = append(errs, t.end())
	}
	if l.scope != nil {
		errs = append(errs, l.scope.Close())
	}
	for _, s := range sent {
		errs = append(errs, s.Close())
	}
	errs = append(errs, l.running.Close())
	return errors.Join(errs...)
}

// Send sends a packet from a node, by a socket of its own, and returns what identifies it. The socket stays open until
// the lab is closed, so that what the packet causes finds it.
func (l *Lab) Send(ctx context.Context, from *topology.Node, p packet.Packet) *packet.Sent {
	l.t.Helper()
	sent, err := packet.Send(ctx, l.running.In(from), p)
	if err != nil {
		l.t.Fatalf("send a packet from %s: %v", from, err)
	}
	l.keep(sent)
	return sent
}

// Burst sends many packets from a node, each by a socket of its own: see [packet.SendBurst]. [Record.OfEach] has their journeys.
func (l *Lab) Burst(ctx context.Context, from *topology.Node, b packet.Burst) []*packet.Sent {
	l.t.Helper()
	all, err := packet.SendBurst(ctx, l.running.In(from), b)
	if err != nil {
		l.t.Fatalf("send packets from %s: %v", from, err)
	}
	for _, sent := range all {
		l.keep(sent)
	}
	return all
}

// Listen opens a UDP socket on a node, so that datagrams to the port are delivered. It is closed with the lab.
func (l *Lab) Listen(on *topology.Node, port uint16) *packet.Listener {
	l.t.Helper()
	listener, err := packet.ListenUDP(l.running.In(on), port)
	if err != nil {
		l.t.Fatalf("listen on %s: %v", on, err)
	}
	l.keep(listener)
	return listener
}

// ListenTCP opens a TCP socket on a node, so that connections to the port are accepted by the kernel. It is closed with
// the lab.
func (l *Lab) ListenTCP(on *topology.Node, port uint16) *packet.TCPListener {
	l.t.Helper()
	listener, err := packet.ListenTCP(l.running.In(on), port)
	if err != nil {
		l.t.Fatalf("listen on %s: %v", on, err)
	}
	l.keep(listener)
	return listener
}

// Dial connects from a node by TCP, and returns when that is done, refused, or the context ends; which of the three is in
// the connection's Err. It is closed with the lab.
func (l *Lab) Dial(ctx context.Context, from *topology.Node, t packet.TCP) *packet.Conn {
	l.t.Helper()
	conn, err := packet.Dial(ctx, l.running.In(from), t)
	if err != nil {
		l.t.Fatalf("connect from %s: %v", from, err)
	}
	l.keep(conn)
	return conn
}

// Down takes a device of a node down, and Up brings it up again, with its addresses and routes; it works when Up returns.
func (l *Lab) Down(node *topology.Node, device string) {
	l.t.Helper()
	if err := l.running.SetDown(node, device); err != nil {
		l.t.Fatalf("%v", err)
	}
}

// Up brings a device up that is down.
func (l *Lab) Up(ctx context.Context, node *topology.Node, device string) {
	l.t.Helper()
	if err := l.running.SetUp(ctx, node, device); err != nil {
		l.t.Fatalf("%v", err)
	}
}

// Impair changes what happens to packets that leave a node by a device; the zero Impairment makes the line good again.
func (l *Lab) Impair(node *topology.Node, device string, i topology.Impairment) {
	l.t.Helper()
	if err := l.running.Impair(node, device, i); err != nil {
		l.t.Fatalf("%v", err)
	}
}

// Running is the lab's network, for what else can be asked of it and changed in it.
func (l *Lab) Running() *topology.Running { return l.running }

// Tap opens a packet socket on a node's device, as a sniffer does. It is closed with the lab.
func (l *Lab) Tap(on *topology.Node, device string, options packet.TapOptions) *packet.Tap {
	l.t.Helper()
	tap, err := packet.OpenTap(l.running.In(on), device, options)
	if err != nil {
		l.t.Fatalf("tap %s of %s: %v", device, on, err)
	}
	l.keep(tap)
	return tap
}

func (l *Lab) keep(c interface{ Close() error }) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, c)
}

// LoadNFT loads nftables text into a node, with the meaning of nft -f.
func (l *Lab) LoadNFT(ctx context.Context, node *topology.Node, text string) {
	l.t.Helper()
	if err := l.running.LoadNFT(ctx, node, text); err != nil {
		l.t.Fatalf("%v", err)
	}
}

// Do runs f inside a node's network namespace, on a thread of its own: sockets that f opens and processes that it starts
// belong to the node.
func (l *Lab) Do(node *topology.Node, f func() error) {
	l.t.Helper()
	if err := l.running.Do(node, f); err != nil {
		l.t.Fatalf("in %s: %v", node, err)
	}
}

// Exec runs a program in a node's network namespace, waits for it, and returns what it wrote and how it ended; that it failed does
// not end the test. Its packets are found by where they go, with [Record.Flow].
func (l *Lab) Exec(ctx context.Context, node *topology.Node, program string, args ...string) topology.Output {
	l.t.Helper()
	output, err := l.running.Exec(ctx, node, program, args...)
	if err != nil {
		l.t.Fatalf("%v", err)
	}
	return output
}

// Addr returns a node's primary IPv4 address.
func (l *Lab) Addr(node *topology.Node) netip.Addr { return node.Addr() }
