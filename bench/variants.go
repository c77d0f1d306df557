package main

import "context"

// variant is a way to observe, or not to.
type variant struct {
	name string
	// open begins to observe. An observer of nil says that it cannot, by the string, which otherwise says how.
	open func(ctx context.Context, f *field, timing *laps) (observer, string, error)
}

var variants = []variant{
	{nothing, func(context.Context, *field, *laps) (observer, string, error) { return blind{}, "", nil }},
	{empty, func(context.Context, *field, *laps) (observer, string, error) {
		at, how, err := attachAll(emptyProgram())
		return blind{at}, how, err
	}},
	{least, func(context.Context, *field, *laps) (observer, string, error) {
		f, err := openFloor()
		if err != nil {
			return nil, "", err
		}
		return f, f.how, nil
	}},
	{full, func(_ context.Context, f *field, timing *laps) (observer, string, error) {
		return track(f.cookies(), timing)
	}},
	{outside, func(context.Context, *field, *laps) (observer, string, error) {
		return track([]uint64{noCookie}, nil)
	}},
	{pwruName, openPwru},
	// Once more, to see how far the machine has drifted meanwhile.
	{again, func(context.Context, *field, *laps) (observer, string, error) { return blind{}, "", nil }},
}

// The variants' names.
const (
	nothing  = "nothing"
	empty    = "empty programs"
	least    = "floor"
	full     = "waybill"
	outside  = "waybill out of scope"
	pwruName = "pwru"
	again    = "nothing again"
)

// noCookie is no namespace's.
const noCookie = 1 << 62

func track(cookies []uint64, timing *laps) (observer, string, error) {
	t, err := openTracking(cookies, timing)
	if err != nil {
		return nil, "", err
	}
	return t, t.tracker.Features().Functions, nil
}
