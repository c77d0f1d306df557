package packet

import (
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// What docs/packets.md shows is what suites/traffic runs.
func TestThePageIsTested(t *testing.T) {
	page, err := os.ReadFile("../docs/packets.md")
	qt.Assert(t, qt.IsNil(err))
	source, err := os.ReadFile("../suites/traffic/page_test.go")
	qt.Assert(t, qt.IsNil(err))
	blocks := strings.Split(string(page), "```go\n")[1:]
	qt.Check(t, qt.HasLen(blocks, strings.Count(string(source), "\tIt(")))
	for _, block := range blocks {
		code, _, closed := strings.Cut(block, "```")
		qt.Assert(t, qt.IsTrue(closed))
		indented := "\t\t" + strings.ReplaceAll(strings.TrimSuffix(code, "\n"), "\n", "\n\t\t") + "\n\t})\n"
		qt.Check(t, qt.IsTrue(strings.Contains(string(source), indented)), qt.Commentf("%s", code))
	}
}
