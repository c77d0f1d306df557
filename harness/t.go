package harness

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// T is what a lab needs of a test: *testing.T, *testing.B and GinkgoTB() have it. If a T also has Name and Failed, as those
// have, a test that fails leaves what it saw in a folder: see [ArtifactsEnv].
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// failed tells whether a test has failed, if it can.
func failed(t T) bool {
	f, ok := t.(interface{ Failed() bool })
	return ok && f.Failed()
}

// ginkgoT is what GinkgoTB() has and no testing.TB.
type ginkgoT interface {
	AddReportEntryVisibilityFailureOrVerbose(name string, args ...any)
}

// verbose tells whether the user wants to see what tests that pass have to say.
func verbose(t T) bool {
	flags := []string{"test.v"}
	if _, ok := t.(ginkgoT); ok {
		flags = []string{"ginkgo.v", "ginkgo.vv"}
	}
	return slices.ContainsFunc(flags, func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && f.Value.String() != "" && f.Value.String() != "false"
	})
}

// StrictEnv names the environment variable that turns skips into failures if it is 1: for CI, where a kernel that cannot
// show what a test is about must not count as a pass.
const StrictEnv = "WAYBILL_STRICT"

// skip ends a test that this machine cannot run.
func skip(t T, why error) {
	t.Helper()
	if os.Getenv(StrictEnv) == "1" {
		t.Fatalf("%v", why)
	}
	t.Skipf("%v", why)
}

// fail ends a test because something could not be done. What cannot be told because the tracker does not work as it must is
// inconclusive, and begins with that word.
func fail(t T, doing string, err error) {
	t.Helper()
	if errors.Is(err, journey.ErrInconclusive) {
		t.Fatalf("%v", inconclusive{doing, err})
	}
	t.Fatalf("%v", fmt.Errorf("%s: %w", doing, err))
}

// inconclusive is an error that wraps [journey.ErrInconclusive] somewhere, with what was being done at the front.
type inconclusive struct {
	doing string
	error
}

func (i inconclusive) Error() string {
	marker := journey.ErrInconclusive.Error() + ": "
	return marker + i.doing + ": " + strings.ReplaceAll(i.error.Error(), marker, "")
}

func (i inconclusive) Unwrap() error { return i.error }

// ErrSkipped wraps the reason of a [Run] that was skipped.
var ErrSkipped = errors.New("skipped")

// Run calls f with a T outside of a test. What f ends with by Fatalf comes back as an error, and so does a skip, which
// wraps [ErrSkipped]. Cleanups have run when it returns, the last one first.
func Run(f func(T)) error {
	r := &runner{}
	inGoroutine(func() { f(r) })
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		clean := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		inGoroutine(clean)
	}
	return errors.Join(r.errs...)
}

// inGoroutine waits for f, which may end its goroutine. A panic in it is the program's, as it would be in a test.
func inGoroutine(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

type runner struct {
	cleanups []func()
	errs     []error
}

func (r *runner) Helper()          {}
func (r *runner) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *runner) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	// The caller's error, not its text: so that its kind can still be told.
	if i := slices.IndexFunc(args, isError); i >= 0 && format == "%v" {
		err = args[i].(error)
	}
	r.errs = append(r.errs, err)
	runtime.Goexit()
}

func (r *runner) Skipf(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%w: %s", ErrSkipped, fmt.Sprintf(format, args...)))
	runtime.Goexit()
}

func isError(v any) bool { _, ok := v.(error); return ok }
