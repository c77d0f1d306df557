// Command waybill runs network regression tests for Linux under any kernel, and shows what they show.
//
//	waybill vm --kernel 6.12 --bin nft -- PROGRAM ARGS…   run a program under another kernel
//	waybill kernel list                                   the kernels that are known, and those at hand
//	waybill kernel fetch NAME…                            fetch kernels
//	waybill demo                                          a dropped packet and its journey
//
// Run it with --help for every flag.
package main
