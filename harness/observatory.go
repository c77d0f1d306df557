package harness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// observatory is what the labs of a process share: the tracker, and the canary that shows that it works.
type observatory struct {
	tracker *bpf.Tracker
	canary  *Lab
	node    *topology.Node
	// ringBytes is the size of the buffer between kernel and reader; 0 for the usual one. For tests.
	ringBytes int
	// defaults holds the milestones attached, so that a trace need not.
	defaults *bpf.Observer
	armed    sync.Mutex // guards milestones, watches and absent
	// noFunctions is why functions cannot be observed, so that there are tracepoints only; nil if they can.
	noFunctions error
	// milestones are their probes, as far as this kernel has them, and what else every trace observes.
	milestones []string
	// watches says what probes each milestone has, and absent of which modules some are that were not loaded yet.
	watches map[journey.Milestone]journey.Watch
	absent  []string
	// noSeventh says that this kernel lets no program attach to the function of that name.
	noSeventh bool
	// noVerdicts is why nftables verdicts are not reported; nil if they are.
	noVerdicts error
	flying     sync.Mutex // there is one canary
	// flight is the shortest time that a canary took in the kernel: others were interrupted. Nanoseconds, set
	// under flying; 0 before the first.
	flight atomic.Int64
	// patience bounds the wait for packets to settle.
	patience time.Duration
}

var shared struct {
	sync.Mutex
	*observatory
}

// openShared returns the process's observatory, opened on first use.
func openShared(ctx context.Context) (*observatory, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.observatory != nil {
		return shared.observatory, nil
	}
	o := &observatory{}
	if err := o.open(ctx); err != nil {
		return nil, errors.Join(err, o.close())
	}
	shared.observatory = o
	return o, nil
}

// Open makes ready what the labs of this process share, which [New] does by itself: for programs that want to know
// beforehand whether labs are possible. The error wraps [bpf.ErrNoFunctionProbes] or [bpf.ErrNoBTF] if the kernel or the
// user's rights do not allow them. Labs are possible where functions cannot be observed; see [Functions].
func Open(ctx context.Context) error {
	_, err := openShared(ctx)
	return err
}

// Functions opens what [Open] opens, and tells whether labs can observe the kernel's functions. If not, they show drops and
// the devices that packets pass, and the error, which wraps [bpf.ErrNoFunctionProbes], says why.
func Functions(ctx context.Context) error {
	o, err := openShared(ctx)
	if err != nil {
		return err
	}
	return o.noFunctions
}

// Deliveries opens what [Open] opens, and tells whether labs can tell that a socket has taken a packet: not on kernels before
// Linux 6.3 whose functions cannot be observed. There the packet is freed in the end, and nothing says whether it was read.
func Deliveries(ctx context.Context) error {
	o, err := openShared(ctx)
	if err != nil {
		return err
	}
	return o.tracker.Deliveries()
}

// NeedFunctions skips a test where the kernel's functions cannot be observed, or fails it there if the environment has
// [StrictEnv]=1.
func NeedFunctions(t T) {
	t.Helper()
	switch err := Functions(context.Background()); {
	case errors.Is(err, bpf.ErrNoFunctionProbes), errors.Is(err, bpf.ErrNoBTF):
		skip(t, fmt.Errorf("this test needs to observe kernel functions: %w", err))
	case err != nil:
		t.Fatalf("%v", err)
	}
}

// Shutdown takes down what the labs of this process share. It is for programs that go on without labs, and for tests
// that look for leaks; all labs must be closed, and a later lab opens it anew. The kernel does the same when the process
// ends.
func Shutdown() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.observatory == nil {
		return nil
	}
	o := shared.observatory
	shared.observatory = nil
	return o.close()
}

// TierEnv names the environment variable that chooses what labs may observe by: "functions" or "tracepoints", see
// [bpf.Tier]. Without it that is the best that the kernel allows. It is for tests of what a kernel without function probes shows.
const TierEnv = "WAYBILL_TIER"

func chosenTier() (bpf.Tier, error) {
	text := os.Getenv(TierEnv)
	if text == "" {
		return bpf.AnyTier, nil
	}
	for _, tier := range []bpf.Tier{bpf.Functions, bpf.Tracepoints} {
		if tier.String() == text {
			return tier, nil
		}
	}
	return 0, fmt.Errorf("%s is %q: it must be %s or %s", TierEnv, text, bpf.Functions, bpf.Tracepoints)
}

// canaryRules have verdicts reported, and give the canary packet one to report.
const canaryRules = topology.VerdictSwitch +
	"table ip waybill { chain input { type filter hook input priority filter; udp dport 9 accept; }; }"

// canaryStation is where the canary must be seen, a milestone's function, so that it costs nothing.
const canaryStation = "ip_local_deliver"

// canaryPort is discard: nobody listens, so the canary's journey ends with a drop.
const canaryPort = 9

func (o *observatory) open(ctx context.Context) error {
	var net topology.Network
	canary := topology.Node{Name: "canary"}
	if _, err := exec.LookPath("nft"); err != nil {
		o.noVerdicts = errors.New("nft is not installed (package nftables), so nftables verdicts are not reported")
	} else {
		canary.NFT = canaryRules
	}
	o.node = net.Add(canary)

	// First the rules: they load nf_tables, whose types the tracker needs.
	running, err := topology.Up(ctx, &net)
	if err != nil {
		return fmt.Errorf("make the canary's namespace: %w", err)
	}
	o.canary = newLab(nil, &net, running, o)
	tier, err := chosenTier()
	if err != nil {
		return err
	}
	if o.tracker, err = bpf.Open(bpf.Options{Tier: tier, RingBytes: o.ringBytes}); err != nil {
		return err
	}
	if o.noFunctions = o.tracker.NoFunctions(); o.noFunctions != nil {
		o.noVerdicts = o.noFunctions
	}
	if err := o.canary.watch(); err != nil {
		return err
	}
	if err := o.holdMilestones(); err != nil {
		return err
	}
	// The machine's speed is that of the canary's flight. 1 ms is what a slow machine needs without emulation.
	o.patience = time.Minute
	start := time.Now()
	if err := o.fly(ctx); err != nil {
		return err
	}
	o.patience = min(max(2*time.Second, 2*time.Second*(time.Since(start)/time.Millisecond)), time.Minute)
	return nil
}

// canaryProbes are what the canary is to be seen at, beside its drop, in this order.
func (o *observatory) canaryProbes() []string {
	switch {
	case o.noFunctions != nil:
		return []string{"tp:net:net_dev_queue", "tp:net:net_dev_start_xmit", "tp:net:netif_rx", "tp:net:netif_receive_skb"}
	case o.noVerdicts != nil:
		return []string{canaryStation}
	}
	return []string{canaryStation, verdicts}
}

// holdMilestones attaches the milestones for as long as the process lives.
func (o *observatory) holdMilestones() (err error) {
	if o.defaults, err = o.canary.scope.Observe(func(*journey.Observation) {}); err != nil {
		return err
	}
	if err := errors.Join(o.findMilestones(), o.holdSeventh()); err != nil {
		return err
	}
	if o.noVerdicts == nil {
		o.milestones = append(o.milestones, verdicts)
	}
	return o.defaults.Arm(o.milestones)
}

// available lists what every trace observes. Tables of iptables may have been made, and modules loaded since.
func (o *observatory) available() ([]string, error) {
	o.armed.Lock()
	defer o.armed.Unlock()
	tables, err := o.tracker.Tables()
	if err != nil {
		return nil, err
	}
	if err := o.catchUp(); err != nil {
		return nil, err
	}
	tables = slices.DeleteFunc(tables, func(name string) bool { return slices.Contains(o.milestones, name) })
	if len(tables) > 0 {
		if err := o.defaults.Arm(tables); err != nil {
			return nil, err
		}
		o.milestones = append(o.milestones, tables...)
	}
	return slices.Clone(o.milestones), nil
}

// fly sends the canary and checks that all of its journey was seen.
func (o *observatory) fly(ctx context.Context) (err error) {
	o.flying.Lock()
	defer o.flying.Unlock()
	trace, err := o.canary.observe(o.canaryProbes())
	if err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	defer func() { err = errors.Join(err, trace.end()) }()
	if err := trace.setMark(ctx); err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	loopback := packet.IP(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	sent, err := packet.Send(ctx, o.canary.running.In(o.node), packet.UDP{To: loopback, DstPort: canaryPort})
	if err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	record, err := trace.seal(ctx)
	if err := errors.Join(err, sent.Close()); err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	j, err := record.Of(sent)
	if err != nil {
		return fmt.Errorf("%w: the tracker does not see its own canary packet: %w", journey.ErrInconclusive, err)
	}
	var expected []string
	for _, probe := range o.canaryProbes() {
		expected = append(expected, strings.TrimPrefix(probe, "tp:"))
	}
	expected = append(expected, "skb:kfree_skb")
	var seen []string
	for _, e := range j.Events {
		seen = append(seen, e.Probe.Name)
	}
	if fmt.Sprint(seen) != fmt.Sprint(expected) || j.Outcome().Kind != journey.Dropped {
		return fmt.Errorf("%w: the tracker does not see its own canary packet as it should on this kernel: it was to be seen at "+
			"%v and dropped, and was seen at %v and %s", journey.ErrInconclusive, expected, seen, j.Sentence())
	}
	flight := int64(j.Events[len(j.Events)-1].Time - j.Events[0].Time)
	if shortest := o.flight.Load(); shortest == 0 || flight < shortest {
		o.flight.Store(flight)
	}
	return nil
}

// quickFlight is what the canary takes on a machine without emulation: 17 µs at least, and 28 µs mostly, on a virtual one of 2026.
const quickFlight = 20 * time.Microsecond

// slowness is how many times slower than that this machine is, 1 if it is not.
func (o *observatory) slowness() float64 {
	return max(1, float64(o.flight.Load())/float64(quickFlight))
}

func (o *observatory) close() error {
	var errs []error
	if o.canary != nil {
		errs = append(errs, o.canary.close())
	}
	if o.tracker != nil {
		errs = append(errs, o.tracker.Close())
	}
	return errors.Join(errs...)
}
