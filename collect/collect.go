package collect

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/topology"
)

// Result is what a collection comes to.
type Result struct {
	// Events is the number of events that were handed on, and Journeys that of the packets they are of.
	Events, Journeys uint64
	// Loss is what was not observed, by cause.
	Loss []journey.Loss
}

// Started is what a collection observes.
type Started struct {
	Probes []journey.Probe
	// NoVerdicts is why verdicts of nftables are not reported; nil if they are, or were not asked for.
	NoVerdicts error
	// NoFunctions is why no functions can be observed, so that only tracepoints tell what becomes of packets; nil if they can.
	NoFunctions error
}

// latency is how long an event may lie unread.
const latency = 100 * time.Millisecond

// Run observes until ctx ends, sink fails, or there were as many events as were asked for. Everything that the kernel reported
// by then is handed on. begun is called when packets are observed. sink takes events, and what becomes of sk_buffs, in the order
// in which they happened, and must not keep them. Run returns sink's error as it is.
func Run(ctx context.Context, opts Options, begun func(Started), sink func(*journey.Observation) error) (_ Result, err error) {
	if err := opts.complete(); err != nil {
		return Result{}, err
	}
	namespaces, err := cookies(opts.Namespaces)
	if err != nil {
		return Result{}, err
	}
	if opts.SystemChanges {
		running, err := reportVerdicts(ctx)
		if err != nil {
			return Result{}, err
		}
		defer func() { err = errors.Join(err, running.Close()) }()
	}
	tracker, err := bpf.Open(bpf.Options{PacketFilter: opts.PacketFilter, MetaFilter: opts.MetaFilter})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, tracker.Close()) }()
	watch := tracker.WatchAll
	if namespaces != nil {
		watch = func() (*bpf.Scope, error) { return tracker.Watch(namespaces) }
	}
	scope, err := watch()
	if err != nil {
		return Result{}, err
	}
	c := &collection{opts: &opts, sink: sink, assembler: journey.NewAssembler(0), done: make(chan struct{})}
	observer, err := scope.Observe(c.take)
	if err != nil {
		return Result{}, err
	}
	if err := observer.Arm(opts.probes()); err != nil {
		return Result{}, err
	}
	started := Started{NoFunctions: tracker.NoFunctions()}
	if opts.wants(verdicts) {
		started.NoVerdicts = armVerdicts(observer, opts)
	}
	before, err := scope.Begin()
	if err != nil {
		return Result{}, err
	}
	started.Probes = observer.Probes()
	begun(started)
	c.run()

	if err := c.wait(ctx, tracker); err != nil {
		return c.result, err
	}
	return c.end(tracker, scope, before)
}

// wait returns when the collection is to end. The kernel wakes the reader only when much is to be read; what there is in between
// is asked for.
func (c *collection) wait(ctx context.Context, tracker *bpf.Tracker) error {
	tick := time.NewTicker(latency)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.done:
			return nil
		case <-tick.C:
			if _, err := tracker.Barrier(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

// collection is a collection under way.
type collection struct {
	opts *Options
	sink func(*journey.Observation) error

	mu        sync.Mutex // guards what follows; the tracker's reader holds it while it hands something on
	running   bool
	assembler *journey.Assembler
	result    Result
	err       error
	done      chan struct{} // closed at the end
	ended     bool
}

func (c *collection) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = true
}

// finish has Run return. The mutex is held.
func (c *collection) finish() {
	if !c.ended {
		c.ended = true
		close(c.done)
	}
}

// take takes an observation on the tracker's reading goroutine. The assembler gives it the sections that were told before, and
// forgets packets that are over.
func (c *collection) take(o *journey.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running || c.ended {
		return
	}
	c.assembler.Add(o)
	if over := c.assembler.Take(journey.Evidence{}); over != nil {
		c.count(over)
	}
	if !c.opts.shows(o) {
		return
	}
	if c.err = c.sink(o); c.err != nil {
		c.finish()
		return
	}
	if o.Kind != journey.Seen {
		return
	}
	if c.result.Events++; c.result.Events == c.opts.StopAfter {
		c.finish()
	}
}

// count counts the packets of which there were events.
func (c *collection) count(record *journey.Record) {
	for _, j := range record.Journeys {
		if len(j.Events) > 0 {
			c.result.Journeys++
		}
	}
}

// end reads what the kernel has reported by now, and takes the account.
func (c *collection) end(tracker *bpf.Tracker, scope *bpf.Scope, before bpf.Account) (Result, error) {
	_, err := tracker.Barrier(context.Background())
	after, accountErr := scope.Account()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finish()
	c.count(c.assembler.Seal(journey.Evidence{}))
	if err = errors.Join(c.err, err, accountErr); err == nil {
		for _, loss := range after.Since(before) {
			if loss.Count > 0 {
				c.result.Loss = append(c.result.Loss, loss)
			}
		}
	}
	return c.result, err
}

// armVerdicts has the verdicts of nftables observed, and returns why not.
func armVerdicts(observer *bpf.Observer, opts Options) error {
	probe := verdictProbe
	if opts.Stack {
		probe += "/stack"
	}
	if err := observer.Arm([]string{probe}); err != nil {
		return fmt.Errorf("verdicts of nftables are not reported: %w", err)
	}
	if !opts.SystemChanges {
		return errors.New("verdicts of nftables are reported only if a ruleset has a rule that sets nftrace: allow system " +
			"changes to have one in a namespace of its own")
	}
	return nil
}

// reportVerdicts has verdicts of nftables reported until what it returns is closed, or this process ends, however that happens: then
// the namespace goes that has the switch. So there is nothing to clean up later.
func reportVerdicts(ctx context.Context) (*topology.Running, error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, fmt.Errorf("have the kernel report verdicts of nftables: install nft (package nftables): %w", err)
	}
	var net topology.Network
	net.Add(topology.Node{Name: "switch", NFT: topology.VerdictSwitch})
	running, err := topology.Up(ctx, &net)
	if err != nil {
		return nil, fmt.Errorf("have the kernel report verdicts of nftables: %w", err)
	}
	return running, nil
}
