package harness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
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
	// defaults holds the milestones attached, so that a trace need not.
	defaults *bpf.Scope
	armed    sync.Mutex // guards milestones, watches and absent
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
// user's rights do not allow them.
func Open(ctx context.Context) error {
	_, err := openShared(ctx)
	return err
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

// canaryRules turn the kernel's nftables trace switch on, which is one for all namespaces and stays on as long as an
// expression that sets nftrace exists. The first chain has no hook, so it never sets anything; the second gives the
// canary packet a verdict to report.
const canaryRules = `
table ip waybill {
	chain switch { meta nftrace set 1; }
	chain input { type filter hook input priority filter; udp dport 9 accept; }
}`

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
	o.canary = &Lab{running: running, network: &net, observatory: o}
	if o.tracker, err = bpf.Open(bpf.Options{}); err != nil {
		return err
	}
	if err := o.canary.watch(); err != nil {
		return err
	}
	functions := []string{canaryStation}
	if o.noVerdicts == nil {
		functions = append(functions, verdicts)
	}
	if err := o.canary.scope.Arm(functions); err != nil {
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

// holdMilestones attaches the milestones for as long as the process lives.
func (o *observatory) holdMilestones() (err error) {
	if o.defaults, err = o.tracker.Watch(nil, func(*journey.Observation) {}); err != nil {
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
func (o *observatory) fly(ctx context.Context) error {
	o.flying.Lock()
	defer o.flying.Unlock()
	trace, err := o.canary.begin(ctx)
	if err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	loopback := packet.IP(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	sent, err := packet.Send(ctx, o.canary.running.In(o.node), packet.UDP{To: loopback, DstPort: canaryPort})
	if err != nil {
		trace.end()
		return fmt.Errorf("fly the canary: %w", err)
	}
	record, err := trace.seal(ctx)
	if err := errors.Join(err, sent.Close()); err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	j, err := record.Of(sent)
	if err != nil {
		return fmt.Errorf("fly the canary: %w", err)
	}
	expected := []string{canaryStation, "skb:kfree_skb"}
	if o.noVerdicts == nil {
		expected = []string{canaryStation, verdicts, "skb:kfree_skb"}
	}
	var seen []string
	for _, e := range j.Events {
		seen = append(seen, e.Probe.Name)
	}
	if fmt.Sprint(seen) != fmt.Sprint(expected) || j.Outcome().Kind != journey.Dropped {
		return fmt.Errorf("the tracker does not see its own canary packet as it should on this kernel: it was to be seen at "+
			"%v and dropped, and was seen at %v and %s", expected, seen, j.Sentence())
	}
	return nil
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
