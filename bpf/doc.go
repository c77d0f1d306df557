// Package bpf observes packets in the running kernel: it loads the tracker's eBPF programs, attaches them, and turns
// their records into [journey.Observation] values.
//
// A [Tracker] holds what is always attached: the hooks that follow a packet's data from first sight to its end, and the
// drop tracepoint. A [Scope] names the network namespaces whose packets are of interest, arms further kernel functions,
// and receives the observations, in the order in which the kernel made them. [Tracker.Barrier] returns when everything
// that was recorded before it has been received.
//
// The C sources are in c/; `make generate` compiles them and writes the zz_ files.
package bpf
