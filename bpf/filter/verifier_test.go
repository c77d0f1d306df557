package filter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/go-quicktest/qt"
)

// TestVerifierAccepts loads filters of all kinds into a program like the tracker's, and the longest ones.
func TestVerifierAccepts(t *testing.T) {
	k := newKernelTest(t)
	var all []string
	for i, e := range expressions(t) {
		if i%4 == 2 {
			all = append(all, e)
		}
	}
	all = append(all, newExpressionMaker(5).expressions(150)...)
	all = append(all, "host 10.0.0.0"+strings.Repeat(" or 10.0.0.1", 500), manyHosts(1000))
	loaded := 0
	for _, e := range all {
		f, err := CompilePacket(e)
		if err != nil {
			continue // what is refused is compared with tcpdump
		}
		program, err := k.load("trace", f)
		var refused *ebpf.VerifierError
		if errors.As(err, &refused) {
			t.Fatalf("%.200s\n%s", e, strings.Join(refused.Log[max(0, len(refused.Log)-40):], "\n"))
		}
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%.200s", e))
		qt.Check(t, qt.IsNil(program.Close()))
		loaded++
	}
	t.Logf("%d filters", loaded)
}

func manyHosts(n int) string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("10.1.%d.%d", i/256, i%256))
	}
	return "host " + strings.Join(hosts, " or ")
}

// TestTooLong: what does not fit into a function of the kernel is refused when it is compiled.
func TestTooLong(t *testing.T) {
	_, err := CompilePacket(manyHosts(4000))
	qt.Assert(t, qt.ErrorMatches(err, `(?s)the filter is too much for the kernel: this makes \d+ instructions, and from one to `+
		`another may be no more than 32767.*`))
}
