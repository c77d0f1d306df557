package harness

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/journey"
)

// Settle waits until every packet since the mark of a trace that is under way has come to its end or to rest, by the same
// account as [Trace.Seal]; the trace goes on. What a test then changes in the network, or sends, meets nothing that is still on
// its way:
//
//	lab.Send(ctx, client, before)
//	lab.Settle(ctx)
//	lab.LoadNFT(ctx, fw, rules) // judges none of the packets before
//	lab.Send(ctx, client, after)
//
// It ends the test if no trace is under way, since then nobody sees packets end; if packets still move after the trace's
// [TraceOptions.Patience], which it lists; and, as inconclusive, if something was not observed, because that may be a packet.
func (l *Lab) Settle(ctx context.Context) {
	l.t.Helper()
	t := l.earliest()
	if t == nil {
		l.t.Fatalf("settle the lab: no trace is under way, so nobody sees packets end: begin one before they are sent")
	}
	settled, err := t.settle(ctx, func() bool { return t.collector.moving() == 0 })
	if err == nil {
		err = t.lossless() // first, because a packet whose end was lost does not come to rest
	}
	if err == nil && !settled {
		err = t.unsettled()
	}
	if err != nil {
		fail(l.t, "settle the lab", err)
	}
}

// earliest is the trace with the earliest mark: what it has seen come to rest, all have.
func (l *Lab) earliest() (earliest *Trace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t := range l.traces {
		if t.mark != 0 && (earliest == nil || t.mark < earliest.mark) {
			earliest = t
		}
	}
	return earliest
}

// settle waits for the packets' own ends. Everything that the test sent has been recorded when the first barrier is
// through, and a packet that causes another is alive until that other one is: so when none is moving, and a second
// barrier finds it so still, nothing is on its way. Still has the last word. It is false if patience runs out first.
func (t *Trace) settle(ctx context.Context, still func() bool) (bool, error) {
	tracker := t.lab.observatory.tracker
	patience := time.NewTimer(t.patience)
	defer patience.Stop()
	leave, err := tracker.Attend()
	if err != nil {
		return false, err
	}
	defer leave()
	quiet := 0
	for {
		if _, err := tracker.Barrier(ctx); err != nil {
			return false, err
		}
		if t.collector.moving() == 0 {
			if quiet++; quiet >= 2 && still() {
				return true, nil
			}
			continue
		}
		for quiet = 0; t.collector.moving() > 0; {
			select {
			case <-t.collector.changed:
			case <-patience.C:
				return false, nil
			case <-ctx.Done():
				return false, fmt.Errorf("wait for the packets to settle: %w", ctx.Err())
			}
		}
	}
}

// unsettled says which packets are not at rest.
func (t *Trace) unsettled() error {
	nodes := make(map[uint64]string)
	for _, n := range t.lab.network.Nodes() {
		nodes[n.NetNSCookie()] = n.String()
	}
	return fmt.Errorf("these packets have not come to rest in %s; give the trace more Patience, or send them after it is "+
		"settled:\n    %s", t.patience, strings.Join(t.collector.movingJourneys(nodes), "\n    "))
}

// lossless says what was not observed since the mark.
func (t *Trace) lossless() error {
	now, err := t.lab.scope.Account()
	if err != nil {
		return err
	}
	evidence := journey.Evidence{Sealed: true, Settled: true, Probes: t.observer.Probes(), Loss: now.Since(t.before)}
	return evidence.Incomplete()
}
