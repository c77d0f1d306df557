// Package bpf observes packets in the running kernel: it loads the tracker's eBPF programs, attaches them, and turns
// their records into [journey.Observation] values.
//
// A [Tracker] holds what is always attached: the hooks that follow a packet's data from first sight to its end, and the
// drop tracepoint. A [Scope] names the network namespaces whose packets are of interest, arms further probes, which are
// calls and returns of kernel functions and tracepoints, and receives the observations, in the order in which the kernel made them. [Tracker.Barrier] returns when everything
// that was recorded before it has been received.
//
// How programs get to the functions that are armed depends on the kernel, and is found out by trying: by kprobe.multi, by
// kprobe, or by fentry, as on Debian's 6.1. [Tracker.Features] tells, and [Inspect] lists what can be observed. Either way the kernel counts the calls that
// it did not show, and [Account] reads it, so that the absence of an event is proved or known to be unproved.
//
// The C sources are in c/; `make generate` compiles them and writes the zz_ files.
package bpf
