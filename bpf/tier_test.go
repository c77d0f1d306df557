package bpf

import (
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// BenchmarkOpenTracepoints is what opening a tracker without function probes takes, and closing it.
func BenchmarkOpenTracepoints(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	for b.Loop() {
		tracker, err := Open(Options{Tier: Tracepoints})
		qt.Assert(b, qt.IsNil(err))
		b.StopTimer()
		qt.Assert(b, qt.IsNil(tracker.Close()))
		b.StartTimer()
	}
}

func TestFindCode(t *testing.T) {
	const symbols = `0000000000000000 A __per_cpu_start
ffffffff8123eb68 t pskb_expand_head.cold
ffffffff81e3c7e0 t kmalloc_reserve.isra.0
ffffffff81e3c7e0 t alias_of_it
ffffffff81e3d390 t skb_free_head
ffffffff81e3d3d0 T pskb_expand_head
ffffffff81e3f6a0 T __alloc_skb
ffffffffc0000000 t skb_release_data	[odd]
`
	code, err := findCode(strings.NewReader(symbols), []string{reserving, exchanging[0], "skb_free_head", "skb_release_data"})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(code, map[string]tracepointsCode{
		"kmalloc_reserve":  {From: 0xffffffff81e3c7e0, To: 0xffffffff81e3d390},
		"skb_free_head":    {From: 0xffffffff81e3d390, To: 0xffffffff81e3d3d0},
		"pskb_expand_head": {From: 0xffffffff81e3d3d0, To: 0xffffffff81e3f6a0},
	}))

	_, err = findCode(strings.NewReader("0000000000000000 t kmalloc_reserve\n"), []string{reserving})
	qt.Check(t, qt.ErrorMatches(err,
		"find the kernel's functions: the kernel hides where they are: set kernel.kptr_restrict to 0 or 1"))
}

func TestTierInWords(t *testing.T) {
	qt.Check(t, qt.Equals(Features{Tier: Tracepoints, NoFunctions: "they are refused", Absent: []string{"sk_data_ready"}}.String(),
		"tracepoints only: they are refused; nothing at sk_data_ready; no bytes in pages"))
	qt.Check(t, qt.Equals(AnyTier.String()+" "+Functions.String()+" "+Tier(9).String(), "any functions tier 9"))
	_, err := Open(Options{Tier: 9})
	qt.Check(t, qt.ErrorMatches(err, "open a tracker: there is no tier 9"))
}
