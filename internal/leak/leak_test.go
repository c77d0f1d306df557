package leak

import (
	"os"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestLeft(t *testing.T) {
	before, err := Take()
	qt.Assert(t, qt.IsNil(err))
	left, err := before.Left()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(left, 0))

	null, err := os.Open(os.DevNull)
	qt.Assert(t, qt.IsNil(err))
	end := make(chan struct{})
	go func() { <-end }()
	left, err = before.Left()
	qt.Assert(t, qt.IsNil(err))
	close(end)
	qt.Assert(t, qt.IsNil(null.Close()))
	qt.Assert(t, qt.HasLen(left, 2))
	qt.Check(t, qt.Equals(left[0], "open file /dev/null"))
	qt.Check(t, qt.StringContains(left[1], "TestLeft.func"))
}

func TestTaint(t *testing.T) {
	qt.Assert(t, qt.DeepEquals(Snapshot{taint: "512"}.since(Snapshot{taint: "0"}),
		[]string{"kernel taint 512, before it was 0"}))
}
