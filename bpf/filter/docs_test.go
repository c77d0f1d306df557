package filter

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
)

// TestDocs compiles the examples of docs/filters.md, and compares the refusals that it shows.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/filters.md")
	qt.Assert(t, qt.IsNil(err))
	examples := map[string]int{}
	for _, block := range regexp.MustCompile("(?s)```([a-z_-]+)\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		kind, lines := block[1], strings.Split(strings.TrimSpace(block[2]), "\n")
		if kind == "refusal" {
			_, err := CompilePacket(strings.TrimSpace(lines[1]))
			qt.Check(t, qt.ErrorMatches(err, regexp.QuoteMeta(strings.Join(lines, "\n"))))
			examples[kind]++
			continue
		}
		for _, line := range lines {
			expression, _, _ := strings.Cut(line, " # ")
			expression = strings.TrimSpace(expression)
			switch examples[kind]++; kind {
			case "pcap-filter":
				_, err = CompilePacket(expression)
			case "sk_buff":
				_, err = CompileMeta(expression, btf.NewCache())
			default:
				t.Errorf("what is a block of %q?", kind)
			}
			qt.Check(t, qt.IsNil(err), qt.Commentf("%s", expression))
		}
	}
	qt.Check(t, qt.DeepEquals(examples, map[string]int{"pcap-filter": 14, "sk_buff": 7, "refusal": 1}))
}
