package kernel

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/vm"
)

// fakeImage is what an image begins with: a setup header that leads to its version.
func fakeImage(version string) []byte {
	raw := make([]byte, 1024)
	copy(raw[0x202:], "HdrS")
	const at = 0x300
	binary.LittleEndian.PutUint16(raw[0x20e:], at-0x200)
	copy(raw[at:], version+" (builder@host) #1 SMP\x00")
	return raw
}

func put(t *testing.T, name string, content []byte) string {
	t.Helper()
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(name), 0o755)))
	qt.Assert(t, qt.IsNil(os.WriteFile(name, content, 0o644)))
	return name
}

func ownStore(t *testing.T) Store {
	return Store{Dir: t.TempDir(), List: List{{Name: "6.12"}, {Name: "7.2"}}}
}

func TestOpenByPath(t *testing.T) {
	dir := t.TempDir()
	alone := put(t, dir+"/alone/bzImage", fakeImage("6.1.2"))
	build := put(t, dir+"/linux/arch/x86/boot/bzImage", fakeImage("6.1.2"))
	boot := put(t, dir+"/unpacked/boot/vmlinuz-6.1.2", fakeImage("6.1.2"))
	put(t, dir+"/unpacked/lib/modules/6.1.2/modules.dep", nil)
	merged := put(t, dir+"/merged/usr/lib/modules/7.2.3/vmlinuz", fakeImage("7.2.3"))
	put(t, dir+"/merged/usr/lib/modules/7.2.3/modules.dep", nil)
	put(t, dir+"/installed/lib/modules/6.1.2/modules.dep", nil)
	for _, test := range []struct {
		name, modules string
		want          vm.Kernel
	}{
		{alone, "", vm.Kernel{Name: alone, Image: alone}},
		{alone, dir + "/installed", vm.Kernel{Name: alone, Image: alone, Modules: dir + "/installed/lib/modules/6.1.2"}},
		{
			alone, dir + "/installed/lib/modules/6.1.2",
			vm.Kernel{Name: alone, Image: alone, Modules: dir + "/installed/lib/modules/6.1.2"},
		},
		{dir + "/linux", "", vm.Kernel{Name: dir + "/linux", Image: build}},
		{boot, "", vm.Kernel{Name: boot, Image: boot, Modules: dir + "/unpacked/lib/modules/6.1.2"}},
		{dir + "/unpacked", "", vm.Kernel{Name: dir + "/unpacked", Image: boot, Modules: dir + "/unpacked/lib/modules/6.1.2"}},
		{dir + "/merged", "", vm.Kernel{Name: dir + "/merged", Image: merged, Modules: dir + "/merged/usr/lib/modules/7.2.3"}},
	} {
		got, err := ownStore(t).Open(t.Context(), test.name, test.modules)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(got, test.want))
	}
}

// TestOpenComputesDependencies: packages hold no modules.dep, and the user's folder is not written to.
func TestOpenComputesDependencies(t *testing.T) {
	if _, err := exec.LookPath(tool("depmod")); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	image := put(t, dir+"/boot/vmlinuz-6.1.2", fakeImage("6.1.2"))
	put(t, dir+"/lib/modules/6.1.2/kernel/net/README", nil)
	put(t, dir+"/lib/modules/6.1.2/modules.order", nil)
	put(t, dir+"/lib/modules/6.1.2/modules.builtin", []byte("kernel/net/veth.ko\n"))
	s := ownStore(t)
	steps := 0
	s.Progress = func(string) { steps++ }
	for range 2 {
		k, err := s.Open(t.Context(), image, "")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(filepath.Base(k.Modules), "6.1.2"))
		_, err = os.Stat(k.Modules + "/modules.dep")
		qt.Check(t, qt.IsNil(err))
	}
	qt.Check(t, qt.Equals(steps, 1))
	_, err := os.Stat(dir + "/lib/modules/6.1.2/modules.dep")
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))
}

func TestOpenPackage(t *testing.T) {
	for _, name := range []string{"dpkg-deb", "depmod"} {
		if _, err := exec.LookPath(tool(name)); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	put(t, dir+"/content/DEBIAN/control",
		[]byte("Package: linux-image\nVersion: 1\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDescription: none\n"))
	put(t, dir+"/content/boot/vmlinuz-6.1.2", fakeImage("6.1.2"))
	put(t, dir+"/content/lib/modules/6.1.2/kernel/net/x.ko.none", nil)
	put(t, dir+"/content/lib/modules/6.1.2/modules.order", nil)
	put(t, dir+"/content/lib/modules/6.1.2/modules.builtin", nil)
	deb := filepath.Join(dir, "k.deb")
	_, err := command(t.Context(), "", "dpkg-deb", "--build", "--root-owner-group", dir+"/content", deb)
	qt.Assert(t, qt.IsNil(err))
	s := ownStore(t)
	k, err := s.Open(t.Context(), deb, "")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(k.Name, deb))
	qt.Check(t, qt.Equals(version(k.Image), "6.1.2"))
	qt.Check(t, qt.Equals(filepath.Base(k.Modules), "6.1.2"))

	// A package that was cut short leaves nothing in the cache but the lock.
	raw, err := os.ReadFile(deb)
	qt.Assert(t, qt.IsNil(err))
	put(t, deb, raw[:len(raw)/2])
	_, err = s.Open(t.Context(), deb, "")
	qt.Assert(t, qt.ErrorMatches(err, regexp.QuoteMeta(deb)+` is damaged or no Debian package; fetch or build it again \(.*\)`))
	left, err := filepath.Glob(s.Dir + "/.own/*-*")
	qt.Assert(t, qt.IsNil(err))
	for _, l := range left {
		text, _ := filepath.Glob(l + "/vmlinuz")
		qt.Check(t, qt.HasLen(text, 0))
	}
}

func TestOpenBadInput(t *testing.T) {
	dir := t.TempDir()
	text := put(t, dir+"/text", []byte("no kernel"))
	image := put(t, dir+"/image", fakeImage("6.1.2"))
	put(t, dir+"/two/boot/vmlinuz-6.1.2", fakeImage("6.1.2"))
	put(t, dir+"/two/boot/vmlinuz-6.1.3", fakeImage("6.1.3"))
	qt.Assert(t, qt.IsNil(os.Mkdir(dir+"/empty", 0o755)))
	for name, want := range map[string]string{
		"6.13": `unknown kernel "6.13": known are 6.12, 7.2, and host; or give the path of a kernel image, of a package or of a ` +
			`folder that one was unpacked into`,
		dir + "/gone":  "kernel " + dir + "/gone does not exist",
		text:           text + " is no kernel image for x86: name a vmlinuz or bzImage",
		dir + "/empty": dir + "/empty holds no kernel: there is no vmlinuz, boot/vmlinuz*, lib/modules/*/vmlinuz or arch/x86/boot/bzImage in it",
		dir + "/two": dir + "/two holds several kernels; name one: " + dir + "/two/boot/vmlinuz-6.1.2, " +
			dir + "/two/boot/vmlinuz-6.1.3",
	} {
		_, err := ownStore(t).Open(t.Context(), name, "")
		qt.Check(t, qt.ErrorMatches(err, regexp.QuoteMeta(want)))
	}
	_, err := ownStore(t).Open(t.Context(), image, dir+"/empty")
	qt.Check(t, qt.ErrorMatches(err, regexp.QuoteMeta("folder "+dir+"/empty holds no modules of kernel 6.1.2: name the folder "+
		"that make modules_install wrote, or lib/modules/VERSION")))
}

// TestHostKernel finds the running kernel's image, or says where it looked.
func TestHostKernel(t *testing.T) {
	var u unix.Utsname
	qt.Assert(t, qt.IsNil(unix.Uname(&u)))
	release := unix.ByteSliceToString(u.Release[:])
	k, err := ownStore(t).Open(t.Context(), Host, "")
	if err == nil {
		qt.Check(t, qt.Equals(version(k.Image), release))
		return
	}
	qt.Check(t, qt.ErrorMatches(err, `(the files of the running kernel, `+regexp.QuoteMeta(release)+`, are not on this machine: `+
		`neither /boot/vmlinuz-.* nor /lib/modules/.*/vmlinuz exists; give the path of its image|`+
		`kernel image .* may be read by root only: run sudo chmod a\+r on it, or copy it)`))
}
