package eventfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/go-quicktest/qt"
)

// FuzzDecode: what the decoder takes apart by itself is what the library makes of it, whatever it has kept of other lines.
func FuzzDecode(f *testing.F) {
	lines, err := os.ReadFile("testdata/every.json")
	qt.Assert(f, qt.IsNil(err))
	for text := range bytes.Lines(lines) {
		f.Add(text)
		f.Add(bytes.Replace(text, []byte(`"netns"`), []byte(`"ct"`), 1))
		f.Add(bytes.Replace(text, []byte(`"smp_id":3`), []byte(`"smp_id":03`), 1))
		f.Add(bytes.Replace(text, []byte(`}`), []byte(`]`), 1))
	}
	f.Add([]byte(`{"common":{"timestamp":1,"smp_id":2,"task":{"pid":1}},"dev":{"name":"\"}{"}}`))
	f.Add([]byte(`{"netns":{"cookie":1},"netns":{"inum":2}}`))
	var d decoder
	for text := range bytes.Lines(lines) {
		d.sections(text, new(line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for range 2 { // the second time from what was kept
			var mine, theirs line
			if !d.sections(text, &mine) {
				return
			}
			qt.Assert(t, qt.IsNil(json.Unmarshal(text, &theirs)))
			want, err := json.Marshal(&theirs)
			qt.Assert(t, qt.IsNil(err))
			got, err := json.Marshal(&mine)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.Equals(string(got), string(want)))
		}
	})
}

// TestDecodeAlone: the decoder leaves none of what a file of ours holds to the library, but the first line and the last, and keeps
// no more than it may.
func TestDecodeAlone(t *testing.T) {
	all, err := os.ReadFile("testdata/every.json")
	qt.Assert(t, qt.IsNil(err))
	lines := bytes.Split(bytes.TrimSpace(all), []byte("\n"))
	var d decoder
	for _, text := range lines[1 : len(lines)-1] {
		qt.Check(t, qt.IsTrue(d.sections(text, new(line))), qt.Commentf("%s", text))
	}
	for i := range 3 * mostKept {
		text := bytes.Replace(lines[1], []byte(`"netns":{"cookie":4`), fmt.Appendf(nil, `"netns":{"cookie":%d`, i+1), 1)
		qt.Assert(t, qt.IsTrue(d.sections(text, new(line))))
		qt.Assert(t, qt.IsTrue(len(d.netns) <= mostKept))
	}
}
