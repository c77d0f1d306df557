package assert

import (
	"testing"
	"time"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// timed gives the observations times, in microseconds; the last one those that follow too.
func (p *path) timed(microseconds ...uint64) *path {
	for i := range p.observations {
		p.observations[i].Time = 1e9 + 1000*microseconds[min(i, len(microseconds)-1)]
	}
	return p
}

// slow is seen on a machine that is emulated.
func slow() journey.Evidence {
	e := complete()
	e.Slowness = 31.25
	return e
}

func TestTakeAtMost(t *testing.T) {
	quick := func() *path { return byRule().timed(0, 11, 80, 95, 110, 120) }
	forwarding := func(limit time.Duration) types.GomegaMatcher {
		return TakeAtMost(limit, Reach(IPReceive, At(fw)), Reach(IPReceive, At(server)))
	}
	for _, test := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		want    verdict
	}{
		{"latency", quick().journey(complete()), forwarding(80 * time.Microsecond), holds},
		{"latency-longer", quick().journey(complete()), forwarding(79 * time.Microsecond), fails},
		{"latency-neighbours", quick().journey(complete()), TakeAtMost(10*time.Microsecond, Reach(IPReceive), Reach(Forward)), fails},
		{"latency-slow", quick().journey(slow()), forwarding(3 * time.Microsecond), holds},
		{"latency-slow-longer", quick().journey(slow()), forwarding(2 * time.Microsecond), fails},
		{"latency-lossy", quick().journey(lossy()), forwarding(time.Millisecond), holds},
		{"latency-lossy-longer", quick().journey(lossy()), forwarding(time.Microsecond), inconclusive},
		{"latency-verdict", quick().journey(complete()),
			TakeAtMost(99*time.Microsecond, Reach(Forward), BeJudgedBy("no metrics")), holds},
		{"latency-branches", flooded().timed(0, 1, 5, 6, 7, 9, 30).journey(complete()),
			TakeAtMost(8*time.Microsecond, Reach(IPReceive), Reach(Forward)), fails},
		{"latency-never-first", quick().journey(complete()), TakeAtMost(1, Reach(TCPReceive), Reach(Forward)), fails},
		{"latency-never-second", quick().journey(complete()), TakeAtMost(1, Reach(Forward), Reach(UDPReceive)), fails},
		{"latency-other-order", quick().journey(complete()), TakeAtMost(time.Hour, Reach(LocalIn), Reach(Forward)), fails},
		{"latency-loss", quick().journey(lossy()), TakeAtMost(1, Reach(Forward), Reach(UDPReceive)), inconclusive},
		{"latency-no-event", delivered().journey(complete()), TakeAtMost(1, Reach(Forward), Reach(SocketDeliver)), misused},
		{"latency-no-place", quick().journey(complete()), TakeAtMost(1, Reach(Forward), BeDropped()), misused},
		{"latency-no-time", quick().journey(complete()), forwarding(0), misused},
	} {
		t.Run(test.name, func(t *testing.T) { checkMatcher(t, test.name, test.actual, test.matcher, test.want) })
	}
}
