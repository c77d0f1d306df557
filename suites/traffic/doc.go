// Package traffic tests that whatever a test sends is followed, and nothing else in its place: every kind of packet, and
// every way that a lab offers to send it.
package traffic
