package bad

import "testing"

func TestBad(t *testing.T) {
	var m map[string]int
	m["a"] = 1
	t.Log("never reached")
}
