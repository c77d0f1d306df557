package vm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestKVMAnswerIsRemembered(t *testing.T) {
	if !mayUseKVM() {
		t.Skip("there is no KVM to be asked about")
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	qemu, err := exec.LookPath("true")
	qt.Assert(t, qt.IsNil(err))
	key, err := machineKey(qemu)
	qt.Assert(t, qt.IsNil(err))
	file, err := cachePath("kvm.json")
	qt.Assert(t, qt.IsNil(err))
	for _, test := range []struct {
		answer kvmAnswer
		want   Accel
		asked  bool
	}{
		{kvmAnswer{Machine: key, Works: true}, KVM, false},
		{kvmAnswer{Machine: key, Works: false}, TCG, false},
		// An answer for another machine is none: true(1) is a QEMU under which nothing boots.
		{kvmAnswer{Machine: "another", Works: true}, TCG, true},
	} {
		qt.Assert(t, qt.IsNil(writeAtomically(file, func(w io.Writer) error { return json.NewEncoder(w).Encode(test.answer) })))
		var notices []string
		image := t.TempDir() + "/vmlinuz"
		qt.Assert(t, qt.IsNil(os.WriteFile(image, nil, 0o644)))
		c := Config{
			Kernel: Kernel{Image: image}, MemoryMiB: 256, CPUs: 1, Stdout: io.Discard, Stderr: io.Discard,
			Notice: func(n string) { notices = append(notices, n) },
		}
		got, err := chooseAccel(t.Context(), qemu, c)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(got, test.want))
		qt.Check(t, qt.Equals(len(notices) > 0, test.asked), qt.Commentf("%q", notices))
	}
	var after kvmAnswer
	text, err := os.ReadFile(file)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &after)))
	qt.Check(t, qt.Equals(after, kvmAnswer{Machine: key, Why: "QEMU ended"}))
}

func TestLockWaits(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	// Two slots; each caller opens the files itself, as processes do.
	take := func(ctx context.Context, c Config) (func(), error) {
		slots, err := openSlots(2)
		qt.Assert(t, qt.IsNil(err))
		return takeSlot(ctx, c, slots)
	}
	unlock, err := take(t.Context(), Config{})
	qt.Assert(t, qt.IsNil(err))
	unlockOther, err := take(t.Context(), Config{})
	qt.Assert(t, qt.IsNil(err))

	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var notice string
	_, err = take(ctx, Config{Notice: func(n string) { notice = n; cancel(why) }})
	qt.Check(t, qt.ErrorIs(err, why))
	qt.Check(t, qt.Equals(notice, "other VMs of yours are running: waiting for one to end"))

	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	_, err = take(t.Context(), Config{Notice: func(string) {}, Signals: signals})
	qt.Check(t, qt.ErrorMatches(err, literally("interrupted (terminated)")))

	// The next one gets it, after those who gave up have let go; whichever machine ends first.
	again, err := take(t.Context(), Config{Notice: func(string) { unlockOther() }})
	qt.Assert(t, qt.IsNil(err))
	again()
	unlock()
}
