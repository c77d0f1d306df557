package vm

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
)

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(dir, name)
		qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(name), 0o755)))
		qt.Assert(t, qt.IsNil(os.WriteFile(name, []byte(text), 0o640)))
	}
}

func readFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	qt.Assert(t, qt.IsNil(filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			out[rel] = "folder"
			return nil
		}
		text, err := os.ReadFile(p)
		out[rel] = string(text)
		return err
	})))
	return out
}

// collected sends what was written by write, and returns what came back into the host's folder.
func collected(t *testing.T, outputs []Output, limit int64, write func()) (*collector, []string, error) {
	t.Helper()
	var paths []string
	for _, o := range outputs {
		paths = append(paths, o.Guest)
	}
	sender, err := newGuestOutputs(paths, limit)
	qt.Assert(t, qt.IsNil(err))
	write()
	k, err := newCollector(Config{Outputs: outputs, OutputLimit: limit})
	qt.Assert(t, qt.IsNil(err))
	defer k.close()
	var channel bytes.Buffer
	left, _, err := sender.send(&channel)
	k.start(&channel)
	<-k.done
	return k, left, err
}

func TestOutputs(t *testing.T) {
	guest, host := t.TempDir(), t.TempDir()
	writeFiles(t, guest, map[string]string{"tree/same": "same", "tree/changed": "old", "tree/old/x": "x"})
	writeFiles(t, host, map[string]string{"back/changed": "old", "back/same": "kept"})
	outputs := []Output{
		{Guest: filepath.Join(guest, "tree"), Host: filepath.Join(host, "back")},
		{Guest: filepath.Join(guest, "report.xml"), Host: filepath.Join(host, "deep", "junit.xml")},
		{Guest: filepath.Join(guest, "never"), Host: filepath.Join(host, "never")},
		{Guest: filepath.Join(guest, "empty"), Host: filepath.Join(host, "empty"), Folder: true},
	}
	k, left, err := collected(t, outputs, 1000, func() {
		writeFiles(t, guest, map[string]string{"tree/changed": "new!", "tree/new/y": "y", "report.xml": "<xml/>"})
		qt.Assert(t, qt.IsNil(os.Mkdir(filepath.Join(guest, "tree/nothing"), 0o700)))
		qt.Assert(t, qt.IsNil(os.Symlink("/etc/passwd", filepath.Join(guest, "tree/link"))))
	})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(k.err))
	qt.Check(t, qt.HasLen(left, 0))
	qt.Check(t, qt.DeepEquals(readFiles(t, host), map[string]string{
		".": "folder", "back": "folder", "back/changed": "new!", "back/same": "kept", "back/new": "folder", "back/new/y": "y",
		"back/nothing": "folder", "deep": "folder", "deep/junit.xml": "<xml/>", "empty": "folder",
	}))
}

func TestOutputLimit(t *testing.T) {
	guest, host := t.TempDir(), t.TempDir()
	outputs := []Output{{Guest: guest, Host: host}}
	k, left, err := collected(t, outputs, 10, func() {
		writeFiles(t, guest, map[string]string{"a": "1234567", "b": "12", "large": "12345678"})
	})
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(k.err))
	qt.Check(t, qt.DeepEquals(left, []string{guest + "/large"}))
	qt.Check(t, qt.DeepEquals(readFiles(t, host), map[string]string{".": "folder", "a": "1234567", "b": "12"}))
}

// TestOutputsOfBadGuest: a guest cannot write but where it was asked to, nor more than it may.
func TestOutputsOfBadGuest(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"0/../../etc/passwd", "x", `the guest sent "0/../../etc/passwd", which was not asked for`},
		{"1/x", "x", `the guest sent "1/x", which was not asked for`},
		{"-1/x", "x", `the guest sent "-1/x", which was not asked for`},
		{"x", "x", `the guest sent "x", which was not asked for`},
		{"0/x", "12345678901", "the guest sent more than 10 bytes"},
	} {
		host := filepath.Join(t.TempDir(), "host")
		k, err := newCollector(Config{Outputs: []Output{{Guest: "/x", Host: host, Folder: true}}, OutputLimit: 10})
		qt.Assert(t, qt.IsNil(err))
		var channel bytes.Buffer
		w := tar.NewWriter(&channel)
		qt.Assert(t, qt.IsNil(w.WriteHeader(&tar.Header{Name: test.name, Size: int64(len(test.content)), Mode: 0o644})))
		_, err = w.Write([]byte(test.content))
		qt.Assert(t, qt.IsNil(errors.Join(err, w.Close())))
		k.start(&channel)
		<-k.done
		k.close()
		qt.Check(t, qt.ErrorMatches(k.err, literally(test.want)))
		qt.Check(t, qt.DeepEquals(readFiles(t, filepath.Dir(host)), map[string]string{".": "folder", "host": "folder"}))
	}
}

func TestOutputsCutShort(t *testing.T) {
	host := filepath.Join(t.TempDir(), "host")
	k, err := newCollector(Config{Outputs: []Output{{Guest: "/x", Host: host, Folder: true}}, OutputLimit: 100})
	qt.Assert(t, qt.IsNil(err))
	defer k.close()
	var channel bytes.Buffer
	qt.Assert(t, qt.IsNil(tar.NewWriter(&channel).WriteHeader(&tar.Header{Name: "0/x", Size: 50, Mode: 0o644})))
	k.start(&channel)
	<-k.done
	qt.Check(t, qt.IsNotNil(k.err))
	qt.Check(t, qt.DeepEquals(readFiles(t, host), map[string]string{".": "folder"}))
}

func TestOutputErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"what the program wrote exceeds the limit of 256 MiB: /a/b and 1 more (300.5 MiB) did not come back; " +
			"raise the limit or write less": &OutputError{Limit: 256 << 20, Left: []string{"/a/b", "/c"}, Size: 601 << 19},
		"what the program wrote exceeds the limit of 10 bytes: /a (11 bytes) did not come back; " +
			"raise the limit or write less": &OutputError{Limit: 10, Left: []string{"/a"}, Size: 11},
		"what the program wrote did not come back: no": &OutputError{Reason: errors.New("no")},
		"kernel 6.12 was in trouble while the program ran, whose exit status was 3: WARNING: CPU: 0; " +
			"it is tainted: W, a warning\nits log from there on:\n  | WARNING: CPU: 0\n  | more": &KernelError{
			Kernel: "6.12", ExitCode: 3, Taint: 1 << 9, Log: []string{"WARNING: CPU: 0", "more"},
		},
		"kernel 6.12 was in trouble while the program ran, whose exit status was 0: it is tainted: " +
			"P, a proprietary module was loaded; L, a soft lockup; bit 40": &KernelError{Kernel: "6.12", Taint: 1 | 1<<14 | 1<<40},
		"kernel 6.12 panicked: System is deadlocked on memory; give the VM more memory; " +
			"the files that the program had written are lost": &PanicError{
			Kernel: "6.12", Message: "System is deadlocked on memory", OutputsLost: true,
		},
	} {
		qt.Check(t, qt.Equals(err.Error(), want))
	}
}

func TestIllLog(t *testing.T) {
	for _, test := range []struct {
		log  []string
		want int // index of the first line that is shown, -1 for none
	}{
		{[]string{"eth0: renamed from veth1", "Warning: deprecated", "debug: no BUG here"}, -1},
		{[]string{"fine", "WARNING: CPU: 1 PID: 7 at net/core/dev.c:10 f+0x1/0x2"}, 1},
		{[]string{"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]"}, 0},
		{[]string{"fine", "fine", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"}, 2},
		{[]string{"INFO: task kworker/0:1:10 blocked for more than 120 seconds."}, 0},
		{[]string{"unregister_netdevice: waiting for lo to become free. Usage count = 2"}, 0},
		{[]string{"BUG: sleeping function called from invalid context at mm/slab.h:1"}, 0},
		{[]string{"refcount: fine", "Oops: 0000 [#1] PREEMPT SMP"}, 1},
	} {
		got := illLog(test.log)
		if test.want < 0 {
			qt.Check(t, qt.HasLen(got, 0))
			continue
		}
		qt.Check(t, qt.DeepEquals(got, test.log[test.want:]))
	}
	qt.Check(t, qt.DeepEquals(killed([]string{
		"Out of memory: Killed process 145 (sh) total-vm:1kB", "Memory cgroup out of memory: Killed process 1 (x)",
		"Out of memory: Killed process 146 (a (b) total-vm", "Out of memory: Killed process 147 (sh) again",
	}), []string{"sh", "a (b"}))
}

func TestDoesNotFit(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "archive"))
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	qt.Assert(t, qt.IsNil(f.Truncate(100<<20)))
	qt.Check(t, qt.ErrorMatches(fits(f, 256), literally("the program and its files, 100 MiB, do not fit into a VM with 256 MiB "+
		"of memory: give it 328 or more")))
	qt.Check(t, qt.IsNil(fits(f, 328)))
}
