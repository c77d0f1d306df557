package plural

import "fmt"

// Of is a number of things: "1 packet", "2 packets".
func Of[N int | uint64](n N, noun string) string { return fmt.Sprintf("%d %s", n, Word(n, noun)) }

// Word is the noun alone, as it stands behind the number.
func Word[N int | uint64](n N, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}
