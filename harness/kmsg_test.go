package harness

import (
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestKernelLog: what is logged from now on, and nothing of before.
func TestKernelLog(t *testing.T) {
	if os.Getenv(StrictEnv) != "1" {
		t.Skip("writes into the kernel's log, which is for a VM (make test-suites)")
	}
	say := func(text string) {
		qt.Assert(t, qt.IsNil(os.WriteFile("/dev/kmsg", []byte(text+"\n"), 0))) // without, it could be continued, and is kept back
	}
	say("said before")
	log := openKernelLog()
	qt.Assert(t, qt.IsNotNil(log))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(log.Close())) })
	say("said since")
	var b strings.Builder
	qt.Assert(t, qt.IsNil(log.copyTo(&b)))
	qt.Check(t, qt.Matches(b.String(), `(?s).*\[\d+\.\d{6}\] said since\n.*`))
	qt.Check(t, qt.IsFalse(strings.Contains(b.String(), "said before")), qt.Commentf("%s", &b))
}

func TestSeconds(t *testing.T) {
	qt.Check(t, qt.Equals(seconds("5140900"), "5.140900"))
	qt.Check(t, qt.Equals(seconds("17"), "0.000017"))
}
