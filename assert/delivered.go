package assert

import (
	"fmt"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// BeDelivered succeeds if every branch of the packet was accepted by a socket. Whether a process has read it makes no
// difference. Options: At, On, AnyBranch.
func BeDelivered(options ...Option) types.GomegaMatcher {
	want, err := parse("BeDelivered", options, "At", "On", "AnyBranch")
	return &outcomeMatcher{
		name: "BeDelivered", verb: "to be delivered", want: want, misuse: err, judge: judgeDelivery,
	}
}

func judgeDelivery(e *expectation, o *journey.Outcome) (departure, error) {
	switch o.Kind {
	case journey.Delivered:
		return e.endedIn(o), nil
	case journey.Freed:
		return departure{how: "it was freed without a drop"}, fmt.Errorf("%w: it was %s", journey.ErrInconclusive, o)
	}
	return departure{how: ended(o)}, nil
}

// ended says in words how a branch ended.
func ended(o *journey.Outcome) string {
	switch {
	case o.Kind == journey.Dropped && o.Rule != nil:
		return "it was dropped by " + o.Judge()
	case o.Kind == journey.Dropped:
		return "it was dropped with reason " + o.Event.Drop.Reason
	case o.Kind == journey.Queued:
		return "it was queued in the " + o.Place
	case o.Kind == journey.Undetermined:
		return "it was still on its way when the record was sealed"
	}
	return "it was " + string(o.Kind)
}
