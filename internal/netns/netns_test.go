package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// needRoot skips where namespaces cannot be made, and fails in CI, where they must be.
func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		tb.Fatal("network namespaces need root, and CI must run these tests")
	}
	tb.Skip("network namespaces need root")
}

func mustNew(tb testing.TB) *NS {
	tb.Helper()
	needRoot(tb)
	ns, err := New()
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(ns.Close())) })
	return ns
}

// inum is the namespace of the calling thread. One system call: between two, the goroutine may change threads.
func inum(tb testing.TB) uint32 {
	tb.Helper()
	var stat unix.Stat_t
	qt.Assert(tb, qt.IsNil(unix.Stat("/proc/thread-self/ns/net", &stat)))
	return uint32(stat.Ino)
}

// openFDs lists what the process's descriptors refer to.
func openFDs(tb testing.TB) []string {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	qt.Assert(tb, qt.IsNil(err))
	var fds []string
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			fds = append(fds, target)
		}
	}
	return fds
}

func TestDoRunsInside(t *testing.T) {
	a, b := mustNew(t), mustNew(t)
	home := inum(t)
	for _, ns := range []*NS{a, b} {
		qt.Assert(t, qt.IsNil(ns.Do(func() error {
			qt.Check(t, qt.Equals(inum(t), ns.Inum()))
			devices, err := net.Interfaces()
			if err != nil {
				return err
			}
			qt.Check(t, qt.HasLen(devices, 1))
			return nil
		})))
	}
	qt.Check(t, qt.Equals(inum(t), home))
	qt.Check(t, qt.Not(qt.Equals(a.Inum(), b.Inum())))
	qt.Check(t, qt.Not(qt.Equals(a.Inum(), home)))
	qt.Check(t, qt.Not(qt.Equals(a.Cookie(), b.Cookie())))
	qt.Check(t, qt.Not(qt.Equals(a.Cookie(), 0)))
}

func TestOpen(t *testing.T) {
	ns := mustNew(t)
	before := openFDs(t)
	again, err := Open(fmt.Sprintf("/proc/self/fd/%d", ns.Handle()))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(again.Inum(), ns.Inum()))
	qt.Check(t, qt.Equals(again.Cookie(), ns.Cookie()))
	qt.Check(t, qt.IsNil(again.Do(func() error { qt.Check(t, qt.Equals(inum(t), ns.Inum())); return nil })))
	qt.Check(t, qt.IsNil(again.Close()))

	_, err = Open("/nowhere")
	qt.Check(t, qt.ErrorMatches(err, "open network namespace: no such file or directory"))
	_, err = Open(os.DevNull)
	qt.Check(t, qt.ErrorMatches(err, "open network namespace /dev/null: enter network namespace: invalid argument"))
	qt.Check(t, qt.HasLen(openFDs(t), len(before)))
}

func TestCookieIsThatOfSocketsOpenedInside(t *testing.T) {
	ns := mustNew(t)
	var fd int
	qt.Assert(t, qt.IsNil(ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})))
	defer func() { _ = unix.Close(fd) }()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(ns.Cookie(), cookie))
}

func TestDoNests(t *testing.T) {
	outer, inner := mustNew(t), mustNew(t)
	qt.Assert(t, qt.IsNil(outer.Do(func() error {
		if err := inner.Do(func() error {
			qt.Check(t, qt.Equals(inum(t), inner.Inum()))
			return nil
		}); err != nil {
			return err
		}
		qt.Check(t, qt.Equals(inum(t), outer.Inum()))
		return nil
	})))
}

func TestDoReturnsTheErrorAsItIs(t *testing.T) {
	want := errors.New("from inside")
	qt.Check(t, qt.Equals(mustNew(t).Do(func() error { return want }), want))
}

func TestDoRaisesPanicsInTheCaller(t *testing.T) {
	ns := mustNew(t)
	home := inum(t)
	for range 20 {
		qt.Assert(t, qt.PanicMatches(func() { _ = ns.Do(func() error { panic("boom") }) }, "boom"))
		qt.Assert(t, qt.Equals(inum(t), home))
	}
}

func TestDoPassesOnGoexit(t *testing.T) {
	ns := mustNew(t)
	var wait sync.WaitGroup
	reached := false
	wait.Go(func() {
		_ = ns.Do(func() error { runtime.Goexit(); return nil })
		reached = true
	})
	wait.Wait()
	qt.Check(t, qt.IsFalse(reached))
}

func TestDoFromManyGoroutines(t *testing.T) {
	spaces := []*NS{mustNew(t), mustNew(t), mustNew(t)}
	home := inum(t)
	var wait sync.WaitGroup
	for i := range 64 {
		ns := spaces[i%len(spaces)]
		wait.Go(func() {
			for range 20 {
				qt.Check(t, qt.IsNil(ns.Do(func() error {
					runtime.Gosched()
					qt.Check(t, qt.Equals(inum(t), ns.Inum()))
					return nil
				})))
				qt.Check(t, qt.Equals(inum(t), home))
			}
		})
	}
	wait.Wait()
}

func TestCloseIsIdempotent(t *testing.T) {
	needRoot(t)
	before := openFDs(t)
	ns, err := New()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(ns.Do(func() error { return nil })))
	qt.Check(t, qt.IsNil(ns.Close()))
	qt.Check(t, qt.IsNil(ns.Close()))
	qt.Check(t, qt.HasLen(openFDs(t), len(before)))

	err = ns.Do(func() error { t.Error("f ran in a closed namespace"); return nil })
	qt.Check(t, qt.ErrorIs(err, ErrClosed))
	qt.Check(t, qt.ErrorMatches(err, "enter network namespace: network namespace is closed"))
	qt.Check(t, qt.Equals(ns.Handle(), netns.None()))
}

// A thread that could not be put back must never run another goroutine.
func TestThreadDiesWhenItCannotBePutBack(t *testing.T) {
	ns := mustNew(t)
	home := inum(t)
	// The process's first thread is parked instead of ended, so it may be drawn once and not be looked for.
	for range 2 {
		tid := 0
		err := onOwnThread(
			ns.enter,
			func() error { tid = unix.Gettid(); return nil },
			func(netns.NsHandle) error { return errors.New("injected") },
		)
		qt.Assert(t, qt.ErrorMatches(err, "leave network namespace: injected"))
		if tid == unix.Getpid() {
			continue
		}
		// The runtime ends the thread a moment after the goroutine returned. The test's own deadline bounds this.
		for unix.Tgkill(unix.Getpid(), tid, 0) == nil {
			runtime.Gosched()
		}
		break
	}
	for range 100 {
		done := make(chan uint32)
		go func() { done <- inum(t) }()
		qt.Assert(t, qt.Equals(<-done, home))
	}
}

// The test runs itself as an ordinary user, whom the kernel refuses a namespace.
func TestNewWithoutPrivilege(t *testing.T) {
	if os.Getenv("NETNS_TEST_UNPRIVILEGED") != "" {
		before := len(openFDs(t))
		_, err := New()
		fmt.Printf("descriptors left: %d, error: %v\n", len(openFDs(t))-before, err)
		return
	}
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestNewWithoutPrivilege$")
	cmd.Env = append(os.Environ(), "NETNS_TEST_UNPRIVILEGED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", out))
	line, _, _ := strings.Cut(string(out), "\n")
	qt.Check(t, qt.Equals(line, "descriptors left: 0, error: create network namespace: "+
		"operation not permitted: run as root, or with CAP_SYS_ADMIN"))
}

func BenchmarkNewClose(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		ns, err := New()
		if err != nil {
			b.Fatal(err)
		}
		if err := ns.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	ns := mustNew(b)
	for b.Loop() {
		if err := ns.Do(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
