package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/ci"
	"github.com/waybill-dev/waybill/vm/kernel"
)

// TestKernels checks the list that users choose from.
func TestKernels(t *testing.T) {
	list, err := kernel.ParseList("ci/kernels", ci.Kernels, "")
	qt.Assert(t, qt.IsNil(err))
	roles := map[string]string{}
	for _, k := range list {
		if k.Role != "" {
			qt.Check(t, qt.Equals(roles[k.Role], ""), qt.Commentf("role %s", k.Role))
			roles[k.Role] = k.Name
		}
		qt.Check(t, qt.Not(qt.Equals(k.Version, "")), qt.Commentf("kernel %s", k.Name))
		// Rewriting what is there changes nothing.
		qt.Check(t, qt.Equals(kernel.Rewrite(ci.Kernels, k), ci.Kernels))
	}
	qt.Check(t, qt.DeepEquals(roles, map[string]string{"oldest": "6.1", "stable": defaultKernel, "newest": "7.3"}))
}

func TestRewriteList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "waybill", "kernels")
	src := kernel.Source{Name: "7.2", Suite: "sid", Package: "linux-image", Version: "7.2.1-1", Files: []kernel.Pin{{Package: "x", SHA256: "ab"}}}
	for range 2 {
		qt.Assert(t, qt.IsNil(rewriteList(path, src)))
		text, err := os.ReadFile(path)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(string(text), "Kernel: 7.2\nSuite: sid\nPackage: linux-image\nVersion: 7.2.1-1\nSHA256:\n ab x\n"))
		left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.HasLen(left, 1))
	}
}
