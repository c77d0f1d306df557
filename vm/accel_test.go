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
	// Two CPUs; each caller opens the files itself, as processes do.
	take := func(ctx context.Context, c Config, threads int) (func(), error) { return takeSlots(ctx, c, 2, threads) }
	unlock, err := take(t.Context(), Config{}, 1)
	qt.Assert(t, qt.IsNil(err))
	unlockOther, err := take(t.Context(), Config{}, 1)
	qt.Assert(t, qt.IsNil(err))

	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var notices []string
	_, err = take(ctx, Config{Notice: func(n string) { notices = append(notices, n); cancel(why) }}, 1)
	qt.Check(t, qt.ErrorIs(err, why))
	qt.Check(t, qt.DeepEquals(notices, []string{"other VMs of yours are running: waiting for one to end"}))

	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	_, err = take(t.Context(), Config{Notice: func(string) {}, Signals: signals}, 1)
	qt.Check(t, qt.ErrorMatches(err, literally("interrupted (terminated)")))

	// The next one gets it, after those who gave up have let go; whichever machine ends first.
	again, err := take(t.Context(), Config{Notice: func(string) { unlockOther() }}, 1)
	qt.Assert(t, qt.IsNil(err))
	again()
	unlock()
}

// TestLockIsFair: whoever needs both CPUs gets them although others that need one keep coming.
func TestLockIsFair(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	unlock, err := takeSlots(t.Context(), Config{}, 2, 1)
	qt.Assert(t, qt.IsNil(err))
	var order []string
	waits, got, late := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(got)
		both, err := takeSlots(t.Context(), Config{Notice: func(string) { close(waits) }}, 2, 2)
		qt.Check(t, qt.IsNil(err))
		order = append(order, "both")
		both()
	}()
	<-waits
	lateWaits := make(chan struct{})
	go func() {
		defer close(late)
		one, err := takeSlots(t.Context(), Config{Notice: func(string) { close(lateWaits) }}, 2, 1)
		qt.Check(t, qt.IsNil(err))
		<-got
		order = append(order, "one")
		one()
	}()
	<-lateWaits // although a CPU is free
	unlock()
	<-late
	qt.Check(t, qt.DeepEquals(order, []string{"both", "one"}))
}
