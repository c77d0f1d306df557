// Package mutation proves that specs turn red: of an example, it changes one word of the ruleset, of the network or of an
// expectation at a time, and requires that the assertion about it fails, and says why. It prints how many it caught.
package mutation
