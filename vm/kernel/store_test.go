package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/vm"
)

// archive puts tools into PATH that answer as apt's do: each is a script, and $ARCHIVE a folder with packages.
func archive(t *testing.T, tools map[string]string) {
	t.Helper()
	if _, err := os.Stat(keyring); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	all := map[string]string{
		"apt-get": `
case "$*" in
*indextargets*) echo "mirror://other/ Other Other"; echo "mirror://debian/ Debian Debian" ;;
*update) ;;
*download*)
	while [ "$1" != download ]; do shift; done
	shift
	for p; do cp "$ARCHIVE/${p%=*}" "${p%=*}_${p#*=}_amd64.deb"; done ;;
esac`,
		"apt-cache": `
for p; do :; done
case "$*" in
*pkgnames*) ls "$ARCHIVE" ;;
*madison*) echo "$p | 1.0 | an archive" ;;
*) case $p in
	linux-image-cloud) printf '%s\n  Depends: linux-image-7.2.9-cloud\n' $p ;;
	linux-image-7.2.9-*) printf '%s\n  PreDepends: linux-base\n |Depends: <dracut>\n' $p
		printf '  Depends: linux-%s-7.2.9-cloud\n' base binary modules ;;
	esac ;;
esac`,
		"dpkg-deb": `cat "$2"`,
		"depmod":   `touch "$2/lib/modules/$3/modules.dep"`,
	}
	for name, text := range tools {
		all[name] = text
	}
	bin := t.TempDir()
	for name, text := range all {
		qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755)))
	}
	packages := t.TempDir()
	for name, files := range map[string]map[string]string{
		"linux-image-7.2.10-cloud":  {"./boot/vmlinuz-7.2.10": "newer image", "./lib/modules/7.2.10/kernel/net/x.ko": "x"},
		"linux-binary-7.2.9-cloud":  {"./usr/lib/modules/7.2.9/vmlinuz": "image", "./usr/share/doc/x": "doc"},
		"linux-modules-7.2.9-cloud": {"./usr/lib/modules/7.2.9/kernel/net/x.ko": "x"},
		"linux-base-7.2.9-cloud":    {"./usr/lib/modules/7.2.9/config": "CONFIG_NET=y", "./usr/lib/modules/7.2.9/modules.builtin": ""},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, text := range files {
			qt.Assert(t, qt.IsNil(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})))
			_, err := w.Write([]byte(text))
			qt.Assert(t, qt.IsNil(err))
		}
		qt.Assert(t, qt.IsNil(w.Close()))
		qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(packages, name), b.Bytes(), 0o644)))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("ARCHIVE", packages)
}

var testList = List{
	{Name: "7.2", Role: "newest", Suite: "sid", Package: "linux-image-cloud"},
	{Name: "7.1", Suite: "sid", Package: "linux-image-7.1.*"},
}

func TestFetch(t *testing.T) {
	archive(t, nil)
	var steps []string
	s := Store{Dir: t.TempDir(), List: testList, Progress: func(step string) { steps = append(steps, step) }}
	k, err := s.Get(t.Context(), "7.2")
	qt.Assert(t, qt.IsNil(err))
	at := filepath.Join(s.Dir, "7.2")
	qt.Check(t, qt.Equals(k, vm.Kernel{Name: "7.2", Image: at + "/vmlinuz", Modules: at + "/lib/modules/7.2.9"}))
	image, err := os.ReadFile(k.Image)
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(string(image), "image"))
	_, err = os.Stat(filepath.Join(k.Modules, "modules.dep"))
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(steps, []string{
		"kernel 7.2: reading the list of packages in sid",
		"kernel 7.2: downloading linux-base-7.2.9-cloud, linux-binary-7.2.9-cloud, linux-modules-7.2.9-cloud",
		"kernel 7.2: unpacking",
	}))
	qt.Check(t, qt.DeepEquals(left(t, s.Dir), []string{"7.2"}))

	entries, err := s.Entries()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(entries[0].Cached))
	qt.Check(t, qt.Equals(entries[0].Release, "7.2.9"))
	qt.Check(t, qt.IsFalse(entries[1].Cached))

	// What is in the store needs neither apt nor a network.
	archive(t, map[string]string{"apt-get": "exit 9", "apt-cache": "exit 9"})
	again, err := s.Get(t.Context(), "7.2")
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(again, k))
	// An update that fails leaves it alone.
	_, err = s.Update(t.Context(), "7.2")
	qt.Check(t, qt.ErrorMatches(err, "fetch kernel 7.2: apt-get: exit status 9"))
	_, err = os.Stat(k.Image)
	qt.Check(t, qt.IsNil(err))
}

func TestUpdateReplaces(t *testing.T) {
	archive(t, nil)
	s := Store{Dir: t.TempDir(), List: testList}
	_, err := s.Get(t.Context(), "7.2")
	qt.Assert(t, qt.IsNil(err))
	s.List = List{{Name: "7.2", Suite: "sid", Package: "linux-image-7.2.*-cloud"}}
	archive(t, map[string]string{"apt-cache": `
case "$*" in
*pkgnames*) ls "$ARCHIVE" ;;
*madison*) echo " linux-image-7.2.10-cloud | 1.0 | an archive" ;;
*) echo; esac`})
	src, err := s.Update(t.Context(), "7.2")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(src.Version, "1.0"))
	qt.Check(t, qt.HasLen(src.Files, 1))
	k, err := s.Get(t.Context(), "7.2")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(filepath.Base(k.Modules), "7.2.10"))
	qt.Check(t, qt.DeepEquals(left(t, s.Dir), []string{"7.2"}))
}

func TestFetchFailures(t *testing.T) {
	for _, test := range []struct {
		name  string
		tools map[string]string
		want  string
	}{
		{"7.3", nil, `unknown kernel "7.3": known are 7.2, 7.1`},
		{"7.1", nil, "fetch kernel 7.1: suite sid has no package linux-image-7.1.*"},
		{
			"7.2", map[string]string{"apt-get": `case "$*" in *indextargets*) ;; esac`},
			"fetch kernel 7.2: apt is not configured with a mirror of Debian's archive: set WAYBILL_DEBIAN_MIRROR to the address of one",
		},
		{
			"7.2", map[string]string{"apt-get": `
case "$*" in
*indextargets*) echo "mirror://debian/ Debian Debian" ;;
*) echo "W: some warning" >&2; echo "E: Could not connect to the mirror" >&2; exit 100 ;;
esac`},
			"fetch kernel 7.2: read the list of packages in sid: apt-get: Could not connect to the mirror",
		},
		{
			"7.2", map[string]string{"apt-cache": `echo`},
			"fetch kernel 7.2: package linux-image-cloud depends on no kernel image",
		},
		{
			"7.2", map[string]string{"dpkg-deb": `echo "dpkg-deb: error: 'x.deb' is not a Debian format archive" >&2; exit 2`},
			"fetch kernel 7.2: unpack linux-base-7.2.9-cloud_1.0_amd64.deb: dpkg-deb: error: 'x.deb' is not a Debian format archive",
		},
		{
			"7.2", map[string]string{"dpkg-deb": `head -c 514 "$2"`},
			"fetch kernel 7.2: unpack linux-base-7.2.9-cloud_1.0_amd64.deb: unexpected EOF",
		},
		{"7.2", map[string]string{"dpkg-deb": `head -c 10240 /dev/zero`}, "fetch kernel 7.2: the packages hold no kernel image"},
		{
			"7.2", map[string]string{"depmod": "echo 'depmod: ERROR: no space' >&2; exit 1"},
			"fetch kernel 7.2: compute the dependencies of modules: depmod: ERROR: no space",
		},
		{
			"7.2", map[string]string{"depmod": "echo 'depmod: ERROR: No space left on device' >&2; exit 1"},
			"fetch kernel 7.2: compute the dependencies of modules: depmod: ERROR: No space left on device: make room in DIR",
		},
	} {
		archive(t, test.tools)
		s := Store{Dir: t.TempDir(), List: testList}
		_, err := s.Get(t.Context(), test.name)
		qt.Check(t, qt.ErrorMatches(err, literally(strings.ReplaceAll(test.want, "DIR", s.Dir))))
		qt.Check(t, qt.HasLen(left(t, s.Dir), 0))
	}
}

func TestFetchInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	// The tool tells by a named pipe that it runs, and then waits for somebody who never writes.
	fifo := filepath.Join(t.TempDir(), "fifo")
	qt.Assert(t, qt.IsNil(syscall.Mkfifo(fifo, 0o600)))
	archive(t, map[string]string{"apt-cache": `echo >"$FIFO"; cat "$FIFO"`})
	t.Setenv("FIFO", fifo)
	why := errors.New("enough")
	go func() {
		_, _ = os.ReadFile(fifo)
		cancel(why)
	}()
	_, err := Store{Dir: dir, List: testList}.Get(ctx, "7.2")
	qt.Check(t, qt.ErrorIs(err, why))
	qt.Check(t, qt.HasLen(left(t, dir), 0))
}

// Whoever waits for another process that fetches can be interrupted.
func TestFetchWaits(t *testing.T) {
	archive(t, nil)
	dir := t.TempDir()
	unlock, err := lock(t.Context(), filepath.Join(dir, ".7.2.lock"), func() { t.Error("somebody else has the lock") })
	qt.Assert(t, qt.IsNil(err))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	s := Store{Dir: dir, List: testList, Progress: func(step string) {
		qt.Check(t, qt.Equals(step, "kernel 7.2: waiting for another process that fetches it"))
		cancel(why)
	}}
	_, err = s.Get(ctx, "7.2")
	qt.Check(t, qt.ErrorIs(err, why))
	// And when the other one is done, it goes on.
	s.Progress = func(step string) {
		if strings.HasSuffix(step, "waiting for another process that fetches it") {
			unlock()
		}
	}
	_, err = s.Get(t.Context(), "7.2")
	qt.Check(t, qt.IsNil(err))
}

// left lists what a store holds, beside its locks.
func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	qt.Assert(t, qt.IsNil(err))
	var out []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			out = append(out, e.Name())
		}
	}
	return out
}
