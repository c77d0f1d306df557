// Command mutate proves that the examples can fail: of each, it changes one word of the network, of a ruleset or of what is sent,
// and requires that the spec turns red and says why.
//
//	mutate --waybill build/waybill --kernel 6.12 suites/examples
//
// The changed copies are compiled together with the examples, by go test -overlay, and run in one VM; no file of the repository is
// touched. It prints what was not caught, and how many were. The exit status is 0 if all were, and the examples themselves pass.
package main
