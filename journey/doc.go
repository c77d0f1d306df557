// Package journey turns observations of packets into journeys, and journeys into outcomes and text.
//
// An observer (package bpf) reports [Observation] values in the order in which the kernel made them. An [Assembler]
// groups them by packet [ID], follows every skb of a packet as a [Branch], and knows at each moment which branches
// are still moving. Sealing it, with the [Evidence] of how completely the kernel was observed, yields a [Record]. Its
// journeys say what happened to each packet ([Journey.Outcome], [Journey.Sentence]) and print themselves as text, in the
// line format that users of Retis read already, or as JSON.
//
// The package is pure Go, needs no kernel and imports nothing else of this project.
package journey
