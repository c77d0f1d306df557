package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waybill-dev/waybill/ci"
	"github.com/waybill-dev/waybill/vm"
	"github.com/waybill-dev/waybill/vm/kernel"
)

func TestMain(m *testing.M) {
	vm.GuestMain()
	testscript.Main(m, map[string]func(){"waybill": main})
}

// TestScripts runs the command as users do. The scripts read as documentation of what it answers to bad input.
func TestScripts(t *testing.T) {
	cache, err := os.UserCacheDir()
	qt.Assert(t, qt.IsNil(err))
	command, err := exec.LookPath("waybill")
	qt.Assert(t, qt.IsNil(err))
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// A cache of its own, so that nothing depends on what this machine has; scripts that boot take the real one.
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("REAL_CACHE", cache)
			e.Setenv("WAYBILL_BIN", filepath.Dir(command))
			return nil
		},
		Condition: func(condition string) (bool, error) {
			if condition != "vm" {
				return false, fmt.Errorf("unknown condition %q", condition)
			}
			missing := noVM()
			if missing != nil && os.Getenv("CI") == "true" {
				return false, missing
			}
			return missing == nil, nil
		},
		RequireExplicitExec: true,
	})
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

// TestKernels checks the list that users choose from.
func TestKernels(t *testing.T) {
	list, err := kernel.ParseList(ci.Kernels)
	qt.Assert(t, qt.IsNil(err))
	roles := map[string]string{}
	for _, k := range list {
		if k.Role != "-" {
			qt.Check(t, qt.Equals(roles[k.Role], ""), qt.Commentf("role %s", k.Role))
			roles[k.Role] = k.Name
		}
	}
	qt.Check(t, qt.DeepEquals(roles, map[string]string{"oldest": "6.1", "stable": defaultKernel, "newest": "7.3"}))
}
