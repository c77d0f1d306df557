package vm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

// BenchmarkInitramfs packs what waybill vm packs: a program, nft with its libraries, and the kernel's network modules. They
// are in the cache uncompressed after the first time, as with every kernel that was booted before.
func BenchmarkInitramfs(b *testing.B) {
	cache, err := os.UserCacheDir()
	qt.Assert(b, qt.IsNil(err))
	found, err := filepath.Glob(filepath.Join(cache, "waybill/kernels/6.12/lib/modules/*"))
	qt.Assert(b, qt.IsNil(err))
	if len(found) == 0 {
		b.Skip("kernel 6.12 is not in the cache: run waybill kernel fetch 6.12")
	}
	c, err := Config{
		Kernel: Kernel{Name: "6.12", Modules: found[0]}, Program: "true", OptionalBinaries: []string{"nft", "ip"},
		OptionalModules: []string{"veth", "nft_ct", "nf_nat"}, OnDemand: []string{"net", "veth", "vrf", "drivers/net/vxlan"},
	}.withDefaults()
	qt.Assert(b, qt.IsNil(err))
	build := func() int64 {
		root, err := pack(c)
		qt.Assert(b, qt.IsNil(err))
		qt.Assert(b, qt.IsNil(root.uncompressModules(b.Context(), c)))
		f, err := root.memfd(func() error { return nil })
		qt.Assert(b, qt.IsNil(err))
		defer f.Close()
		st, err := f.Stat()
		qt.Assert(b, qt.IsNil(err))
		return st.Size()
	}
	build()
	var size int64
	for b.Loop() {
		size = build()
	}
	b.ReportMetric(float64(size)/(1<<20), "MiB")
}
