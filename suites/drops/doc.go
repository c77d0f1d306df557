// Package drops holds the specs of packets that the kernel drops, and of what could be taken for them, that need no function
// to be observed: they run on every kernel on which tracepoints can be, those that allow no function probes included.
package drops
