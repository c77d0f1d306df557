package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// warm boots the default kernel once, so that it and its modules are uncompressed in the real cache.
var warm = sync.OnceValue(func() error {
	if out, err := exec.Command("waybill", "vm", "--", "/bin/true").CombinedOutput(); err != nil {
		return fmt.Errorf("boot kernel %s: %w: %s", defaultKernel, err, out)
	}
	return nil
})

// linkCache makes a folder a cache of a test's own with links to what the real one has, the locks of VMs included, so that
// tests neither fetch and uncompress again nor leave anything. What is known of KVM is linked only if it is asked for.
func linkCache(t interface{ Fatal(...any) }, cache string, kvm bool) {
	if err := warm(); err != nil {
		t.Fatal(err)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"kernels", "vm.lock"}
	for n := range runtime.NumCPU() {
		names = append(names, fmt.Sprintf("vm-%d.lock", n)) // opening a link to what is not there yet makes it
	}
	if kvm {
		names = append(names, "kvm.json")
	}
	derived, err := filepath.Glob(filepath.Join(base, "waybill", "derived", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range derived {
		names = append(names, "derived/"+filepath.Base(d))
	}
	if err := os.MkdirAll(filepath.Join(cache, "waybill", "derived"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(filepath.Join(base, "waybill", name), filepath.Join(cache, "waybill", name)); err != nil {
			t.Fatal(err)
		}
	}
}
