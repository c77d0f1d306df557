package vm

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

// unpacked reads an archive back.
func unpacked(t *testing.T, i *initramfs) map[string]cpio.Record {
	t.Helper()
	var b bytes.Buffer
	qt.Assert(t, qt.IsNil(i.write(&b, func() error { return nil })))
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(b.Bytes())))
	qt.Assert(t, qt.IsNil(err))
	out := map[string]cpio.Record{}
	for _, r := range records {
		out[r.Name] = r
	}
	return out
}

func contentOf(t *testing.T, r cpio.Record) string {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
	qt.Assert(t, qt.IsNil(err))
	return string(text)
}

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	qt.Assert(t, qt.IsNil(os.WriteFile(file, []byte("text"), 0o640)))
	outside := filepath.Join(t.TempDir(), "outside")
	qt.Assert(t, qt.IsNil(os.WriteFile(outside, []byte("outer"), 0o644)))
	for name, to := range map[string]string{"inside": "file", "nowhere": "gone", "outside": outside} {
		qt.Assert(t, qt.IsNil(os.Symlink(to, filepath.Join(dir, name))))
	}
	i := newInitramfs()
	qt.Assert(t, qt.IsNil(i.addFile(File{Src: file, Dst: "/lib/deep/file"})))
	qt.Assert(t, qt.IsNil(i.addFile(File{Src: dir, Dst: "/tree"})))
	i.spec.Path = "/program"
	got := unpacked(t, i)

	// A path below a link is where the link leads.
	qt.Check(t, qt.Equals(contentOf(t, got["usr/lib/deep/file"]), "text"))
	qt.Check(t, qt.Equals(got["usr/lib/deep/file"].Mode, cpio.S_IFREG|0o640))
	qt.Check(t, qt.Equals(got["usr/lib/deep"].Mode, cpio.S_IFDIR|0o755))
	qt.Check(t, qt.Equals(contentOf(t, got["tree/file"]), "text"))
	for name, want := range map[string]string{"inside": "file", "nowhere": "gone"} {
		qt.Check(t, qt.Equals(got["tree/"+name].Mode&cpio.S_IFMT, cpio.S_IFLNK))
		qt.Check(t, qt.Equals(contentOf(t, got["tree/"+name]), want))
	}
	qt.Check(t, qt.Equals(contentOf(t, got["tree/outside"]), "outer"))
	qt.Check(t, qt.Equals(contentOf(t, got["lib64"]), "usr/lib64"))
	qt.Check(t, qt.Equals(got["dev/console"].Rmajor, 5))
	qt.Check(t, qt.Equals(got["dev/null"].Rminor, 3))
	qt.Check(t, qt.Equals(got["tmp"].Mode, cpio.S_IFDIR|0o1777))
	qt.Check(t, qt.StringContains(contentOf(t, got["waybill/spec.json"]), `"/program"`))
}

func TestInitramfsModules(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := modulesFolder(t)
	for name, text := range map[string]string{
		"kernel/net/netfilter/nft_ct.ko.xz": "ct", "kernel/net/netfilter/nf_conntrack.ko.xz": "conntrack",
		"kernel/net/netfilter/nf_tables.ko.xz": "tables", "kernel/lib/libcrc32c.ko.xz": "crc",
		"kernel/net/sched/sch-netem.ko.xz": "netem", "kernel/drivers/net/veth.ko": "veth",
	} {
		file := filepath.Join(dir, name)
		qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(file), 0o755)))
		qt.Assert(t, qt.IsNil(os.WriteFile(file, compressed(t, name, text), 0o644)))
	}
	i := newInitramfs()
	c := Config{
		Kernel: Kernel{Name: "6.12", Modules: dir}, Modules: []string{"nft_ct"}, OptionalModules: []string{"veth", "gone"},
		OnDemand: []string{"net/sched", "net/gone"}, Notice: func(string) {},
	}
	qt.Assert(t, qt.IsNil(i.addKernelModules(c)))
	qt.Check(t, qt.DeepEquals(i.spec.Modules, []string{
		"kernel/drivers/net/veth.ko", "kernel/lib/libcrc32c.ko", "kernel/net/netfilter/nf_tables.ko",
		"kernel/net/netfilter/nf_conntrack.ko", "kernel/net/netfilter/nft_ct.ko",
	}))
	// Twice: the second one comes from the cache.
	for range 2 {
		qt.Assert(t, qt.IsNil(i.uncompressModules(t.Context(), c)))
		got := unpacked(t, i)
		qt.Check(t, qt.Equals(contentOf(t, got["waybill/modules/kernel/net/netfilter/nf_tables.ko"]), "tables"))
		qt.Check(t, qt.Equals(contentOf(t, got["waybill/modules/kernel/net/sched/sch-netem.ko"]), "netem"))
		qt.Check(t, qt.StringContains(contentOf(t, got["waybill/modules/modules.dep"]),
			"kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko\n"))
		qt.Check(t, qt.StringContains(contentOf(t, got["waybill/modules/modules.alias"]), "alias nft-expr-1-ct nft_ct\n"))
	}

	// A module that changed is uncompressed again, and what was made of the old one goes.
	before, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "waybill/derived/*"))
	qt.Assert(t, qt.IsNil(err))
	name := "kernel/net/sched/sch-netem.ko.xz"
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(dir, name), compressed(t, name, "netem, a newer one"), 0o644)))
	qt.Check(t, qt.Equals(contentOf(t, unpacked(t, i)["waybill/modules/kernel/net/sched/sch-netem.ko"]), "netem, a newer one"))
	after, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "waybill/derived/*"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(len(after), len(before)))
}

func compressed(t *testing.T, name, text string) []byte {
	t.Helper()
	if filepath.Ext(name) != ".xz" {
		return []byte(text)
	}
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	qt.Assert(t, qt.IsNil(err))
	_, err = w.Write([]byte(text))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(w.Close()))
	return b.Bytes()
}

func TestMissingFile(t *testing.T) {
	err := newInitramfs().addFile(File{Src: "/no/such/file"})
	qt.Assert(t, qt.ErrorMatches(err, "file /no/such/file does not exist"))
}
