// Package parallel holds specs that disturb each other if anything can: labs of several processes at once, with the same names,
// the same addresses and the same five-tuples.
package parallel
