package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waybill-dev/waybill/vm"
)

func TestMain(m *testing.M) {
	vm.GuestMain()
	testscript.Main(m, map[string]func(){"waybill": main})
}

// TestScripts runs the command as users do. The scripts read as documentation of what it answers to bad input.
func TestScripts(t *testing.T) {
	command, err := exec.LookPath("waybill")
	qt.Assert(t, qt.IsNil(err))
	goEnv := map[string]string{}
	out, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE").Output()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(json.Unmarshal(out, &goEnv)))
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// A cache of its own, so that nothing depends on what this machine has; scripts that boot take what the real one has.
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("REAL_CACHE", filepath.Join(e.WorkDir, "linked"))
			if noVM() == nil {
				linkCache(t, filepath.Join(e.WorkDir, "linked"), true)
			}
			e.Setenv("WAYBILL_BIN", filepath.Dir(command))
			// For scripts that run go test; a cache of Go's own would have to compile the standard library.
			for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
				e.Setenv(name, goEnv[name])
			}
			e.Setenv("CGO_ENABLED", "0")
			return nil
		},
		Condition: func(condition string) (bool, error) {
			switch condition {
			case "root":
				return os.Geteuid() == 0, nil
			case "vm":
			default:
				return false, fmt.Errorf("unknown condition %q", condition)
			}
			missing := noVM()
			if missing != nil && os.Getenv("CI") == "true" {
				return false, missing
			}
			return missing == nil, nil
		},
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits is a command of the scripts, exits STATUS PROGRAM ARGS…: it runs a program as exec does, and wants that exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGS…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, not %d", got, want)
	}
}

// noVM tells why no machine can be booted here.
func noVM() error {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return err
	}
	store, err := kernelStore()
	if err != nil {
		return err
	}
	entries, err := store.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name == defaultKernel && e.Cached {
			return nil
		}
	}
	return fmt.Errorf("kernel %s is not in the cache: run waybill kernel fetch %s", defaultKernel, defaultKernel)
}

func TestExitStatuses(t *testing.T) {
	for _, test := range []struct {
		result vm.Result
		err    error
		want   int
	}{
		{vm.Result{}, nil, 0},
		{vm.Result{ExitCode: 3}, nil, 3},
		{vm.Result{}, errors.New("no"), 125},
		{vm.Result{}, &vm.PanicError{}, 123},
		{vm.Result{ExitCode: 3}, &vm.KernelError{}, 123},
		{vm.Result{}, &vm.DeadlineError{}, 124},
		{vm.Result{ExitCode: 3}, errors.Join(&vm.KernelError{}, &vm.DeadlineError{}), 123},
		{vm.Result{ExitCode: 3}, errors.Join(&vm.DeadlineError{}, &vm.OutputError{Reason: io.EOF}), 124},
		{vm.Result{}, &vm.BootError{}, 125},
		{vm.Result{}, &vm.OutputError{Reason: io.EOF}, 125},
		{vm.Result{ExitCode: 3}, &vm.OutputError{Reason: io.EOF}, 3},
		{vm.Result{}, &vm.InterruptedError{Signal: syscall.SIGTERM}, 143},
	} {
		qt.Check(t, qt.Equals(status(outcome(test.result, test.err)), test.want), qt.Commentf("%v", test.err))
	}
}
