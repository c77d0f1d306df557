package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/journey"
)

// result is what a soak has shown.
type result struct {
	Kernel   string
	Preempts bool // the kernel takes the CPU away from tasks in the middle of programs
	Stages   []stageResult
	AtEnd    int      // identities when the traffic was over
	Left     []string // … and when every CPU had then run a softirq, explained
	// What is left over in the maps of calls under way.
	Calls, Moves, Waits int
	Losses              []journey.Loss

	counted counters
	proof   *proof
}

type stageResult struct {
	name    string
	packets int
	buffers uint8
	took    time.Duration
	first   [2]uint32 // numbers of its first datagrams, by sender
	next    [2]uint32 // … and of the first after it
	// identities counts datagrams by how many identities they had.
	identities map[uint8]int
}

// stage notes how far a stage has come.
func (r *result) stage(s stage, packets int, took time.Duration) {
	i := slices.IndexFunc(r.Stages, func(earlier stageResult) bool { return earlier.name == s.name })
	if i < 0 {
		r.Stages = append(r.Stages, stageResult{name: s.name, buffers: s.buffers})
		i = len(r.Stages) - 1
	}
	r.Stages[i].packets, r.Stages[i].took = packets, took
}

// expect compares what was seen with what the kernel counted. What it skipped it has counted too, for all functions together.
func (r *result) expect(counted counters) {
	r.counted = counted
	var missing uint64
	for _, c := range []struct {
		function, counter string
		want              uint64
	}{
		{"ip_output", "packets that IP was to send", counted.requested},
		{"veth_xmit", "packets sent by the devices", counted.sent},
		{"ip_local_deliver", "packets delivered by IP", counted.delivered},
		{"tcp_v4_rcv", "segments received by TCP", counted.segments},
	} {
		got := r.proof.events[c.function]
		if got > c.want {
			r.proof.faulty.add(miscounted, "%s: %d events, %d %s", c.function, got, c.want, c.counter)
			continue
		}
		missing += c.want - got
	}
	if skipped := r.lost(skippedProbes); missing > skipped {
		r.proof.faulty.add(miscounted, "%d events are missing, and %d were counted as skipped", missing, skipped)
	}
	if r.proof.grown == 0 {
		r.proof.faulty.add(miscounted, "GRO took no segments together, so nothing was shown of it")
	}
	if r.proof.sentAgain > counted.retransmitted {
		r.proof.faulty.add(inherited, "%d segments with another IP identification, where TCP sent %d again",
			r.proof.sentAgain, counted.retransmitted)
	}
}

// What the kernel may skip if it preempts tasks in the middle of programs (ARCHITECTURE.md, Limits); it is told, so a record
// would be inconclusive.
const (
	skippedProbes = "probe hits skipped by the kernel: the CPU was busy with another probe"
	skippedHooks  = "lifetime hooks skipped by the kernel"
)

// lost is how often something was lost for a cause.
func (r *result) lost(cause string) uint64 {
	for _, l := range r.Losses {
		if l.Cause == cause {
			return l.Count
		}
	}
	return 0
}

// excused tells whether a loss is no fault.
func (r *result) excused(l journey.Loss) bool {
	return r.Preempts && (l.Cause == skippedProbes || l.Cause == skippedHooks)
}

// unseen forgives datagrams that were not seen everywhere, as many as there were skips.
func (r *result) unseen() {
	f := r.proof.faulty[unseen]
	if f != nil && r.Preempts && f.count <= r.lost(skippedProbes)+r.lost(skippedHooks) {
		delete(r.proof.faulty, unseen)
	}
}

// identify tells how many identities datagrams had, stage by stage.
func (r *result) identify(sent [2]uint32) {
	identities := r.proof.datagrams(sent)
	r.unseen()
	for i := range r.Stages {
		s := &r.Stages[i]
		s.identities = make(map[uint8]int)
		for sender := range sent {
			for number := s.first[sender]; number < s.next[sender]; number++ {
				n := identities[sender][number]
				s.identities[n]++
				if n < 1 || n > s.buffers {
					r.proof.faulty.add(divided, "%s: datagram %d to port %d had %d", s.name, number, udpPort+1-sender, n)
				}
			}
		}
	}
}

// faults lists what is not as it must be.
func (r *result) faults() []string {
	var lines []string
	for sort, f := range r.proof.faulty {
		lines = append(lines, fmt.Sprintf("%d %s: %s", f.count, sort, strings.Join(f.examples, "; ")))
	}
	slices.Sort(lines)
	for _, l := range r.Losses {
		if !r.excused(l) {
			lines = append(lines, fmt.Sprintf("%d %s", l.Count, l.Cause))
		}
	}
	if len(r.Left) > 0 {
		lines = append(lines, fmt.Sprintf("%d identities have not ended", len(r.Left)))
	}
	if n := r.Calls + r.Moves + r.Waits; n > 0 {
		lines = append(lines, fmt.Sprintf("%d entries are left of calls under way: %d calls, %d moves, %d waits", n, r.Calls, r.Moves, r.Waits))
	}
	return lines
}

// text is the summary.
func (r *result) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "soak on %s\n\n", r.Kernel)
	fmt.Fprintf(&b, "%-36s %10s %8s %8s   %s\n", "stage", "packets", "seconds", "µs each", "datagrams by their identities")
	packets := 0
	for _, s := range r.Stages {
		packets += s.packets
		fmt.Fprintf(&b, "%-36s %10d %8.1f %8.0f   %s\n", s.name, s.packets, s.took.Seconds(),
			float64(s.took.Microseconds())/float64(max(1, s.packets)), distribution(s.identities))
	}
	p := r.proof
	fmt.Fprintf(&b, "\npackets over the cable  %d, of which TCP sent %d again\n", packets, r.counted.retransmitted)
	fmt.Fprintf(&b, "identities              %d\n", len(p.packets))
	fmt.Fprintf(&b, "records                 %d\n", p.records)
	fmt.Fprintf(&b, "events                  %s\n", p.eventCounts())
	fmt.Fprintf(&b, "segments                %d times grown by GRO, %d times cut, %d times sent again, all in place\n",
		p.grown, p.trimmed, p.sentAgain)
	fmt.Fprintf(&b, "identities at the end   %d, and %d after a softirq on every CPU\n", r.AtEnd, len(r.Left))
	for _, line := range r.Left {
		fmt.Fprintf(&b, "                        %s\n", line)
	}
	if len(r.Losses) == 0 {
		fmt.Fprintf(&b, "lost                    nothing\n")
	}
	for _, l := range r.Losses {
		why := ""
		if r.excused(l) {
			why = " (it preempts tasks in the middle of programs)"
		}
		fmt.Fprintf(&b, "lost, and told          %d %s%s\n", l.Count, l.Cause, why)
	}
	faults := r.faults()
	if len(faults) == 0 {
		fmt.Fprintf(&b, "\nAll is as it must be.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "\nNOT as it must be:\n")
	for _, f := range faults {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	return b.String()
}

func (p *proof) eventCounts() string {
	var counts []string
	for _, name := range functions {
		counts = append(counts, fmt.Sprintf("%s %d", name, p.events[name]))
	}
	return strings.Join(counts, ", ")
}

// distribution writes as "1: 1000, 2: 30".
func distribution(counts map[uint8]int) string {
	var parts []string
	for n := range 256 {
		if c := counts[uint8(n)]; c > 0 {
			parts = append(parts, fmt.Sprintf("%d: %d", n, c))
		}
	}
	return strings.Join(parts, ", ")
}
