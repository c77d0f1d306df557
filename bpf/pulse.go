package bpf

import "fmt"

// switchedOff is what it means that there is no pulse.
const switchedOff = "the kernel ran no programs at functions: function tracing is switched off (kernel.ftrace_enabled = 0)"

// beats tells whether the kernel runs the programs that are attached to functions. Nothing says so when it does not: links
// cannot be detached by others (the kernel refuses BPF_LINK_DETACH for all kinds that the tracker has), but
// kernel.ftrace_enabled takes all programs out of all functions at once, links and all, and no counter counts what they
// miss. So a function that does nothing is called (bpf_fentry_test1, net/bpf/test_run.c), and its program must have run.
func (t *Tracker) beats() (bool, error) {
	if t.tier == Tracepoints {
		return true, nil // there is nothing at functions
	}
	var before, after uint64
	counter := t.collection.Variables[trackerVarPulses]
	if err := counter.Get(&before); err != nil {
		return false, fmt.Errorf("read the pulse: %w", err)
	}
	if _, err := t.collection.Programs[trackerProgPulse].Run(nil); err != nil {
		return false, fmt.Errorf("take the pulse: %w", err)
	}
	if err := counter.Get(&after); err != nil {
		return false, fmt.Errorf("read the pulse: %w", err)
	}
	return after > before, nil
}
