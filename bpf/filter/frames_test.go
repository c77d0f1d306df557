package filter

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/internal/golden"
)

// TestFrames keeps some of the frames that expressions are tried on in a file, for the tracker's own test.
func TestFrames(t *testing.T) {
	const headerBytes, mostBytes = 14, 200
	var lines []string
	for _, frame := range newPacketMaker(5).frames(120) {
		line := hex.EncodeToString(frame)
		if len(frame) >= headerBytes && len(frame) <= mostBytes && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	golden.Check(t, "frames.txt", strings.Join(lines, "\n")+"\n")
}
