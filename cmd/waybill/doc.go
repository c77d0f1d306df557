// Command waybill runs network regression tests for Linux under any kernel, and shows what they show.
//
//	waybill vm --kernel 6.12 -- PROGRAM ARGS…             run a program under another kernel
//	waybill kernel list                                   the kernels that are known, and those at hand
//	waybill kernel fetch NAME…                            fetch kernels
//	waybill lab up FILE, exec NODE -- PROGRAM, dump, down a network for use by hand
//	waybill demo                                          a dropped packet and its journey
//	waybill inspect [PATTERN]                             where packets can be observed
//
// Run it with --help for every flag.
//
// The exit status of waybill vm is that of the program, or 128 + N if signal N ended it. It is 123 if the kernel panicked,
// warned, stalled or became tainted, 124 if the program ran out of time, and 128 + N if signal N came before the program ran.
// Signals that come later are sent on to the program. It is 125, for every command, if waybill itself could not do what it
// was told, or was told nothing that makes sense. docs/vm.md says more.
package main
