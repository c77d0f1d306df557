package journey

import (
	"fmt"
	"strings"

	"github.com/waybill-dev/waybill/internal/plural"
)

// Evidence is the account of how a record came about: what was watched, and what may have been missed. The journeys
// of one record share it.
type Evidence struct {
	// Sealed: everything that the kernel reported before the end was read.
	Sealed bool
	// Settled: every branch had ended or was at rest.
	Settled bool
	// Moving is the number of branches that were not.
	Moving int
	// Loss is what was not seen, per cause. Entries with a count of zero say that the cause was watched, and nothing
	// was lost by it.
	Loss []Loss
	// Probes are those that were armed.
	Probes []Probe
	// Milestones says by what probes the milestones were observed. One that is not there was not.
	Milestones map[Milestone]Watch
	// Nodes are the names of the namespaces in scope, by cookie.
	Nodes map[uint64]string
	// Reasons are the names of the drop reasons that the kernel knows; empty if they could not be listed.
	Reasons []string
	// Devices are the names of the nodes' network devices, and Chains those of the chains in their nftables rulesets, by
	// the namespace's cookie; empty if they were not listed.
	Devices, Chains map[uint64][]string
	// Sockets are the cookies of the sockets by which the test sent.
	Sockets []uint64
	// NoFunctions is why no function could be observed, a clause; empty if they could. Then the tracepoints of the network
	// devices, drops, and what a socket's owner was told of are all there is to be seen.
	NoFunctions string
	// Unlinked are functions of the kernel by which links between packets would have been told, and at which nothing could be
	// observed: then a link that is not there may have been.
	Unlinked []string
	// Slowness is how many times slower than a machine without emulation this one is: by what the fastest of the tracker's own packets
	// took from the first to the last place where it is seen. 1 if it is not slower, 0 if that is not known.
	Slowness float64
	// Artifacts is the folder in which the test leaves what it saw if it fails; empty for none.
	Artifacts string
	// Unvouched says, by cookie, of which namespaces the ruleset in force could not be established, and why.
	Unvouched map[uint64]string
}

// Loss is something that was not observed, and how many times. Cause is a clause that stands by itself, such as
// "records lost: the ring buffer was full".
type Loss struct {
	Cause string
	Count uint64
}

// Incomplete returns nil if absence can be concluded from the record, and otherwise an error that wraps
// [ErrInconclusive] and names every cause.
func (e *Evidence) Incomplete() error {
	if e == nil {
		return fmt.Errorf("%w: the journey carries no account of how it was recorded", ErrInconclusive)
	}
	var causes []string
	if !e.Sealed {
		causes = append(causes, "the record was not sealed, so events may still have been on their way to it")
	}
	if !e.Settled {
		cause := "the packets had not settled when the record was sealed"
		if e.Moving > 0 {
			cause += fmt.Sprintf(" (%s still moving)", plural.Of(e.Moving, "skb"))
		}
		causes = append(causes, cause)
	}
	for _, l := range e.Loss {
		if l.Count > 0 {
			causes = append(causes, fmt.Sprintf("%s (%s)", l.Cause, plural.Of(l.Count, "time")))
		}
	}
	if causes == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInconclusive, strings.Join(causes, "; "))
}

// Armed says whether a probe of that name was armed.
func (e *Evidence) Armed(name string) bool {
	if e == nil {
		return false
	}
	for _, p := range e.Probes {
		if p.Name == name {
			return true
		}
	}
	return false
}
