// Package words holds the matchers of package assert to what they mean, on journeys that the kernel made: each is asked of a
// packet that did what it says, and of one that is meant to fool it.
package words
