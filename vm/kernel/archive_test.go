package kernel

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
)

// realArchive returns a store whose mirror is the archive in testdata, read by apt's own tools.
func realArchive(t *testing.T, suite string, list List) Store {
	t.Helper()
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb", "depmod"} {
		if _, err := exec.LookPath(tool(name)); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dir, err := filepath.Abs("testdata/archive")
	qt.Assert(t, qt.IsNil(err))
	before := keyring
	t.Cleanup(func() { keyring = before })
	keyring = filepath.Join(dir, "key.gpg")
	for i := range list {
		list[i].Suite = suite
	}
	return Store{Dir: t.TempDir(), List: list, Mirror: "file:" + dir}
}

// The packages of the kernel in testdata.
var parts = []Pin{
	{"linux-base-9.2-test", "5f5dc5f1208eeacf0e163e70d10d272ec75362d2242826d77e5c55611e836c5b"},
	{"linux-binary-9.2-test", "6c8c3bdeb26a2d41af5463d1d47eb67ea967b7d0be0c82fd88b08f62706d0d4c"},
	{"linux-modules-9.2-test", "85f6cd9041dbf294530b0b9468d567872f58407720efcc466874a2729e0d193c"},
}

func TestPinned(t *testing.T) {
	s := realArchive(t, "good", List{{Name: "9.2", Package: "linux-image-test-amd64", Version: "2-1", Files: parts}})
	k, err := s.Get(t.Context(), "9.2")
	qt.Assert(t, qt.IsNil(err))
	image, err := os.ReadFile(k.Image)
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(string(image), "image 9.2\n"))
	qt.Check(t, qt.Equals(k.Modules, filepath.Join(s.Dir, "9.2/lib/modules/9.2-test")))
	qt.Check(t, qt.DeepEquals(left(t, s.Dir), []string{"9.2"}))

	// The mirror is not asked again.
	s.Mirror = "file:/gone"
	again, err := s.Get(t.Context(), "9.2")
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(again, k))

	// Another version in the list makes this one useless.
	s.List[0].Version = "3-1"
	entries, err := s.Entries()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsFalse(entries[0].Cached))
	qt.Check(t, qt.IsTrue(entries[0].Outdated))
	_, err = s.Get(t.Context(), "9.2")
	qt.Check(t, qt.ErrorMatches(err, "fetch kernel 9.2: read the list of packages in good: .*"))
	// But a fetch that fails leaves it alone.
	qt.Check(t, qt.DeepEquals(left(t, s.Dir), []string{"9.2"}))
}

func TestUpdatePins(t *testing.T) {
	s := realArchive(t, "good", List{{Name: "9.2", Role: "newest", Package: "linux-image-*-test", Version: "1-1", Files: []Pin{{"linux-image-9.1-test", ""}}}})
	src, err := s.Update(t.Context(), "9.2")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(src, Source{
		Name: "9.2", Role: "newest", Suite: "good", Package: "linux-image-*-test", Version: "2-1", Files: parts,
	}))
	s.List[0] = src
	entries, err := s.Entries()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(entries[0].Cached))
}

func TestRefused(t *testing.T) {
	other := []Pin{parts[0], {"linux-binary-9.2-test", strings.Repeat("0", 64)}, parts[2]}
	for _, test := range []struct {
		suite string
		src   Source
		want  string
	}{
		{
			"good", Source{Version: "1-1", Files: parts},
			"version 1-1 is gone from good, which has 2-1 now (linux-base-9.2-test): to use that, run waybill kernel fetch --update 9.2",
		},
		{
			"good", Source{Version: "1-1", Files: []Pin{{"linux-image-9.1-test", ""}}},
			"version 1-1 is gone from good, which has 2-1 now (linux-base-9.2-test): to use that, run waybill kernel fetch --update 9.2",
		},
		{
			"good", Source{Package: "linux-image-9.1-*", Version: "1-1", Files: []Pin{{"linux-image-9.1-test", ""}}},
			"version 1-1 is gone from good, and there is no other",
		},
		{
			"good", Source{Version: "2-1", Files: other},
			"linux-binary-9.2-test of version 2-1 is not the package that the list of kernels means: its SHA-256 is " + parts[1].SHA256 +
				", not " + other[1].SHA256 + "; if you trust the mirror, run waybill kernel fetch --update 9.2",
		},
		{"corrupt", Source{Version: "2-1", Files: parts}, "download linux-base-9.2-test, linux-binary-9.2-test, linux-modules-9.2-test: apt-get: Failed to fetch "},
		{"unsigned", Source{Version: "2-1", Files: parts}, "read the list of packages in unsigned: apt-get: Failed to fetch "},
		{"nowhere", Source{Version: "2-1", Files: parts}, "read the list of packages in nowhere: apt-get: "},
	} {
		test.src.Name = "9.2"
		if test.src.Package == "" {
			test.src.Package = "linux-image-test-amd64"
		}
		s := realArchive(t, test.suite, List{test.src})
		_, err := s.Get(t.Context(), "9.2")
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.IsTrue(strings.HasPrefix(err.Error(), "fetch kernel 9.2: "+test.want)), qt.Commentf("%v", err))
		qt.Check(t, qt.HasLen(left(t, s.Dir), 0))
	}
}

func TestWrongKey(t *testing.T) {
	s := realArchive(t, "good", List{{Name: "9.2", Package: "linux-image-test-amd64"}})
	keyring = filepath.Join(t.TempDir(), "other.gpg")
	qt.Assert(t, qt.IsNil(os.WriteFile(keyring, nil, 0o644)))
	_, err := s.Get(t.Context(), "9.2")
	qt.Check(t, qt.ErrorMatches(err, "fetch kernel 9.2: read the list of packages in good: apt-get: .*"))
	qt.Check(t, qt.HasLen(left(t, s.Dir), 0))
}

// killedDir, in the environment of a process of this test binary, makes it fetch into that folder.
const killedDir = "WAYBILL_TEST_FETCH_INTO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		_, err := Store{Dir: dir, List: testList}.Get(context.Background(), "7.2")
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A fetch that is killed at any stage leaves no kernel behind that would be taken for one, and no tool that goes on.
func TestKilled(t *testing.T) {
	for stage, tool := range map[string]string{
		"reading the list": "apt-cache", "downloading": "apt-get", "unpacking": "dpkg-deb", "computing dependencies": "depmod",
	} {
		t.Run(stage, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			qt.Assert(t, qt.IsNil(syscall.Mkfifo(fifo, 0o600)))
			t.Setenv("FIFO", fifo)
			hang := `exec 3>"$FIFO"; echo here >&3; exec sleep 1000`
			if tool == "apt-get" {
				hang = `case "$*" in
*download*) ` + hang + ` ;;
*indextargets*) echo "mirror://debian/ Debian Debian" ;;
esac`
			}
			archive(t, map[string]string{tool: hang})
			dir := t.TempDir()
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), killedDir+"="+dir)
			qt.Assert(t, qt.IsNil(child.Start()))
			// The tool holds the other end of the pipe as long as it lives.
			f, err := os.Open(fifo)
			qt.Assert(t, qt.IsNil(err))
			defer f.Close()
			said := make([]byte, len("here\n"))
			_, err = io.ReadFull(f, said)
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.IsNil(child.Process.Kill()))
			_ = child.Wait()
			rest, err := io.ReadAll(f)
			qt.Check(t, qt.IsNil(err))
			qt.Check(t, qt.HasLen(rest, 0))

			s := Store{Dir: dir, List: testList}
			entries, err := s.Entries()
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsFalse(entries[0].Cached))
			qt.Check(t, qt.DeepEquals(left(t, dir), []string{".7.2.new"}))
			// The next one begins anew, and completes.
			archive(t, nil)
			_, err = s.Get(t.Context(), "7.2")
			qt.Check(t, qt.IsNil(err))
			qt.Check(t, qt.DeepEquals(left(t, dir), []string{"7.2"}))
		})
	}
}
