package harness

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// TraceOptions say what a trace observes. The zero value observes the milestones.
type TraceOptions struct {
	// Functions are probes to observe in addition, written as for [bpf.Observer.Arm]: a kernel function that takes a struct
	// sk_buff * ("ip_rcv"), its return ("kr:ip_rcv"), a tracepoint ("tp:net:net_dev_queue"), or all that match a pattern
	// ("tcp_v4_*"). waybill inspect lists them.
	Functions []string
	// WithoutMilestones leaves out the functions that are observed by default. What remains are Functions, nftables
	// verdicts, and drops.
	WithoutMilestones bool
	// Metadata adds the skb's metadata to each event at a function or tracepoint, how it is to be segmented, and who shares it:
	// [journey.Meta], [journey.GSO] and [journey.Sharing].
	Metadata bool
	// Patience bounds the wait for packets to settle when the trace is sealed. Zero means two seconds, more on a slow
	// machine. Shorten it for a packet that is meant to get stuck.
	Patience time.Duration
}

// Trace is an observation under way.
type Trace struct {
	lab       *Lab
	collector *collector
	observer  *bpf.Observer
	mark      uint64 // 0 until it is set
	before    bpf.Account
	patience  time.Duration
	plain     func() // ends the telling of metadata; nil if it was not asked for
	ended     bool
}

// Trace begins an observation. When it returns, the probes are attached and have been seen to work, by a packet in a
// namespace of the harness's own; and the mark is set: packets first seen earlier are left out of the record, even if
// they are still on their way.
//
// A lab may have several traces at once. Each has its own mark, and sees the events at its own probes.
func (l *Lab) Trace(ctx context.Context, options ...TraceOptions) *Trace {
	l.t.Helper()
	if len(options) > 1 {
		l.t.Fatalf("begin a trace: give one TraceOptions, not %d", len(options))
	}
	trace, err := l.begin(ctx, append(options, TraceOptions{})[0])
	if errors.Is(err, bpf.ErrNoFunctionProbes) {
		skip(l.t, err)
	}
	if err != nil {
		fail(l.t, "begin a trace", err)
	}
	return trace
}

func (l *Lab) begin(ctx context.Context, options TraceOptions) (*Trace, error) {
	functions, err := l.functions(options)
	if err != nil {
		return nil, err
	}
	t, err := l.observe(functions)
	if err != nil {
		return nil, err
	}
	if options.Patience != 0 {
		t.patience = options.Patience
	}
	if err := l.observatory.fly(ctx); err != nil {
		return nil, errors.Join(err, t.end())
	}
	if options.Metadata {
		if t.plain, err = l.observatory.tracker.Metadata(); err != nil {
			return nil, errors.Join(err, t.end())
		}
	}
	if err := t.setMark(ctx); err != nil {
		return nil, errors.Join(err, t.end())
	}
	return t, nil
}

// functions lists what a trace arms.
func (l *Lab) functions(options TraceOptions) ([]string, error) {
	functions, err := l.observatory.available()
	if err != nil {
		return nil, err
	}
	if options.WithoutMilestones {
		functions = slices.DeleteFunc(functions, func(name string) bool { return name != verdicts })
	}
	for _, name := range options.Functions {
		if name == verdicts && l.observatory.noVerdicts != nil {
			return nil, l.observatory.noVerdicts
		}
		if !slices.Contains(functions, name) {
			functions = append(functions, name)
		}
	}
	return functions, nil
}

// observe arms functions for a new trace. What is observed before the mark is set is kept until it is known on which side it
// falls.
func (l *Lab) observe(functions []string) (*Trace, error) {
	t := &Trace{lab: l, collector: &collector{changed: make(chan struct{}, 1)}, patience: l.observatory.patience}
	var err error
	if t.observer, err = l.scope.Observe(t.collector.add); err != nil {
		return nil, err
	}
	if err := t.observer.Arm(functions); err != nil {
		return nil, errors.Join(err, t.observer.Close())
	}
	l.mu.Lock()
	l.traces[t] = true
	l.mu.Unlock()
	return t, nil
}

// setMark begins the account, and then the record. In this order, because beginning the account may make the tracker forget
// every packet, and one must not be cut in two.
func (t *Trace) setMark(ctx context.Context) (err error) {
	if t.before, err = t.lab.scope.Begin(); err != nil {
		return err
	}
	mark, err := t.lab.observatory.tracker.Barrier(ctx)
	if err != nil {
		return err
	}
	t.collector.begin(mark)
	t.lab.mu.Lock() // another goroutine may be looking for a trace to settle
	t.mark = mark
	t.lab.mu.Unlock()
	return nil
}

// end stops observing.
func (t *Trace) end() error {
	t.ended = true
	t.lab.mu.Lock()
	delete(t.lab.traces, t)
	t.lab.mu.Unlock()
	if t.plain != nil {
		t.plain()
		t.plain = nil
	}
	return t.observer.Close()
}

// Seal waits until every packet since the mark has come to its end or to rest, and yields the record. It does not wait
// longer than [TraceOptions.Patience]: what has not settled by then is undetermined, and the record says so.
func (t *Trace) Seal(ctx context.Context) *Record {
	t.lab.t.Helper()
	if t.ended {
		t.lab.t.Fatalf("seal the trace: it was sealed already, or its lab was reset")
	}
	record, err := t.seal(ctx)
	if err := errors.Join(err, t.end()); err != nil {
		fail(t.lab.t, "seal the trace", err)
	}
	sealed := &Record{lab: t.lab, mark: t.mark, record: record}
	t.lab.keepRecord(sealed)
	return sealed
}

func (t *Trace) seal(ctx context.Context) (*journey.Record, error) {
	l := t.lab
	settled, err := t.settle(ctx, t.collector.freeze)
	if err != nil {
		return nil, err
	}
	after, err := l.scope.Account()
	if err != nil {
		return nil, err
	}
	if err := l.running.CheckRulesets(ctx); err != nil {
		return nil, err
	}
	evidence := journey.Evidence{
		Sealed:    true,
		Settled:   settled,
		Loss:      after.Since(t.before),
		Probes:    t.observer.Probes(),
		Devices:   make(map[uint64][]string),
		Chains:    make(map[uint64][]string),
		Nodes:     make(map[uint64]string),
		Reasons:   l.observatory.tracker.Reasons(),
		Unvouched: make(map[uint64]string),
		Slowness:  l.observatory.slowness(),
	}
	if l.folder != nil {
		evidence.Artifacts = l.folder.shown
	}
	if l.observatory.noFunctions != nil {
		evidence.NoFunctions = l.observatory.noFunctions.Error()
	}
	evidence.Unlinked = l.observatory.tracker.Unlinked()
	nodes := make(map[uint64]*topology.Node)
	for _, n := range l.network.Nodes() {
		nodes[n.NetNSCookie()] = n
		evidence.Nodes[n.NetNSCookie()] = n.String()
		if err := l.describe(n, &evidence); err != nil {
			return nil, err
		}
	}
	evidence.Sockets = l.sockets()
	evidence.Milestones = l.observatory.watched(evidence.Probes)
	record := t.collector.seal(evidence)
	record.Annotate(func(e *journey.Event) {
		if e.NetNS == nil || nodes[e.NetNS.Cookie] == nil {
			return
		}
		rule, err := l.running.Rule(nodes[e.NetNS.Cookie], e.Time, topology.RuleRef{
			TableHandle: e.NFT.TableHandle,
			Table:       e.NFT.Table,
			Chain:       e.NFT.Chain,
			Handle:      e.NFT.Rule,
		})
		if unknown, ok := errors.AsType[*topology.UnknownRuleError](err); ok {
			record.Evidence.Unvouched[e.NetNS.Cookie] = unknown.Why
			return
		}
		if err != nil {
			record.Evidence.Unvouched[e.NetNS.Cookie] = err.Error()
			return
		}
		e.NFT.RuleText, e.NFT.Comment, e.NFT.Family = rule.Text, rule.Comment, rule.Family
	})
	return record, nil
}

// collector takes observations on the tracker's goroutine and lets another one wait for them.
type collector struct {
	changed chan struct{} // holds one token if something was added since it was last taken

	mu        sync.Mutex
	early     []journey.Observation // before the mark is known
	assembler *journey.Assembler
	frozen    bool // what is observed now belongs to no record
}

func (c *collector) add(o *journey.Observation) {
	c.mu.Lock()
	switch {
	case c.frozen:
	case c.assembler == nil:
		c.early = append(c.early, *o)
	default:
		c.assembler.Add(o)
	}
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *collector) begin(mark uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assembler = journey.NewAssembler(mark)
	for i := range c.early {
		c.assembler.Add(&c.early[i])
	}
	c.early = nil
}

func (c *collector) moving() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.assembler.Moving()
}

// movingJourneys describes the packets that have not come to their end or to rest.
func (c *collector) movingJourneys(nodes map[uint64]string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.assembler.MovingJourneys(nodes)
}

// freeze takes nothing more, unless something moves at this very moment: a packet of the kernel's own, say, that has just
// set out. Without it, such a packet could begin between the settling and the seal, and spoil the record.
func (c *collector) freeze() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = c.assembler.Moving() == 0
	return c.frozen
}

func (c *collector) seal(evidence journey.Evidence) *journey.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.assembler.Seal(evidence)
}

// Follow traces, sends one packet, seals, and returns that packet's journey.
func (l *Lab) Follow(ctx context.Context, from *topology.Node, p packet.Packet, options ...TraceOptions) *journey.Journey {
	l.t.Helper()
	trace := l.Trace(ctx, options...)
	sent := l.Send(ctx, from, p)
	return trace.Seal(ctx).Of(sent)
}
