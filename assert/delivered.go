package assert

import (
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
	switch {
	case o.Kind == journey.Delivered:
		return e.endedIn(o), nil
	case o.Kind == journey.Dropped && o.Rule != nil:
		return departure{how: "it was dropped by " + o.Judge()}, nil
	case o.Kind == journey.Dropped:
		return departure{how: "it was dropped with reason " + o.Event.Drop.Reason}, nil
	}
	return departure{how: "it was " + string(o.Kind)}, nil
}
