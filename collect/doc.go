// Package collect observes the packets of this machine, wherever they are, until it is told to end: what a trace of a lab is for
// a declared network. What it observes it hands on, event by event, with all that is known of each.
package collect
