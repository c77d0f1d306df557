package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

// interrupted is a run of the real command that a test interrupts.
type interrupted struct {
	t      *testing.T
	cmd    *exec.Cmd
	output io.Reader // standard output and error
	said   strings.Builder
	cache  string
	before []string // what was in the cache
}

// mark is a variable by which a test knows the processes that a command of it has started.
const mark = "WAYBILL_TEST_MARK"

// start starts waybill with a cache folder and an environment on top of this one.
func start(t *testing.T, cache string, env []string, args ...string) *interrupted {
	t.Helper()
	i := &interrupted{t: t, cmd: exec.Command("waybill", args...), cache: cache}
	i.before = files(t, cache)
	i.cmd.Env = append(os.Environ(), append(env, "XDG_CACHE_HOME="+cache, "TMPDIR="+t.TempDir(), mark+"="+t.TempDir())...)
	r, w, err := os.Pipe()
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = r.Close() })
	i.cmd.Stdout, i.cmd.Stderr, i.output = w, w, bufio.NewReader(r)
	qt.Assert(t, qt.IsNil(i.cmd.Start()))
	qt.Assert(t, qt.IsNil(w.Close()))
	t.Cleanup(func() { _ = i.cmd.Process.Kill() }) // if the test fails before it has ended
	return i
}

// await reads what the command says until a text comes.
func (i *interrupted) await(text string) {
	i.t.Helper()
	buf := make([]byte, 4096)
	from := i.said.Len()
	for !strings.Contains(i.said.String()[from:], text) {
		n, err := i.output.Read(buf)
		i.said.Write(buf[:n])
		qt.Assert(i.t, qt.IsNil(err), qt.Commentf("%s", i.said.String()))
	}
}

// signal sends SIGINT, as Ctrl-C does.
func (i *interrupted) signal() {
	i.t.Helper()
	qt.Assert(i.t, qt.IsNil(i.cmd.Process.Signal(syscall.SIGINT)))
}

// waits is what a command says that waits for a place.
const waits = "waybill: other VMs of yours are running: waiting for one to end\n"

// ends waits for the command's end, and checks that it says this last (unless that is empty: then that it says nothing),
// has the exit status of Ctrl-C, and leaves neither processes nor files.
func (i *interrupted) ends(last string) {
	t := i.t
	t.Helper()
	rest, err := io.ReadAll(i.output)
	qt.Assert(t, qt.IsNil(err))
	i.said.Write(rest)
	_ = i.cmd.Wait() // the exit status is what counts
	said := strings.TrimSpace(i.said.String())
	qt.Check(t, qt.Equals(i.cmd.ProcessState.ExitCode(), 130), qt.Commentf("%s", said))
	lines := strings.Split(said, "\n")
	if last != "" {
		qt.Check(t, qt.Equals(lines[len(lines)-1], last), qt.Commentf("%s", said))
	} else {
		said = strings.ReplaceAll(said, waits, "") // other packages' tests have VMs, too
		qt.Check(t, qt.IsFalse(strings.Contains(said, "waybill: ")), qt.Commentf("%s", said))
	}
	for _, e := range i.cmd.Env {
		if strings.HasPrefix(e, mark) {
			noProcess(t, e)
		}
		if dir, ok := strings.CutPrefix(e, "TMPDIR="+os.TempDir()); ok {
			qt.Check(t, qt.HasLen(files(t, os.TempDir()+dir), 0))
		}
	}
	qt.Check(t, qt.DeepEquals(files(t, i.cache), i.before))
}

// noProcess checks that no process with a variable in its environment is left: what was killed may take a moment to go.
func noProcess(t *testing.T, variable string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	qt.Assert(t, qt.IsNil(err))
	for _, file := range all {
		if env, err := os.ReadFile(file); err != nil || !strings.Contains(string(env), variable) {
			continue
		}
		var pid int
		_, err := fmt.Sscanf(file, "/proc/%d/environ", &pid)
		qt.Assert(t, qt.IsNil(err))
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it is gone
		}
		gone, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(gone, 1), qt.Commentf("process %d is left: %s", pid, name))
		qt.Check(t, qt.IsNil(unix.Close(fd)))
	}
}

// files lists the files and links below a folder, but locks.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(p) != ".lock" {
			out = append(out, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	qt.Assert(t, qt.IsNil(err))
	return out
}

// bootCache returns a cache folder for runs that boot, and skips the test where no VM can run.
func bootCache(t *testing.T) string {
	t.Helper()
	if err := noVM(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cache := t.TempDir()
	linkCache(t, cache, false)
	return cache
}

const sayInterrupted = "waybill: interrupted (interrupt)"

// TestInterruptedFetching: the mirror takes the connection, and never answers.
func TestInterruptedFetching(t *testing.T) {
	for _, tool := range []string{"apt-get", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	for _, args := range [][]string{{"kernel", "fetch", "6.12"}, {"vm", "--", "/bin/true"}} {
		mirror, err := net.Listen("tcp", "127.0.0.1:0")
		qt.Assert(t, qt.IsNil(err))
		i := start(t, t.TempDir(), []string{"WAYBILL_DEBIAN_MIRROR=http://" + mirror.Addr().String() + "/debian"}, args...)
		conn, err := mirror.Accept()
		qt.Assert(t, qt.IsNil(err))
		i.signal()
		i.ends(sayInterrupted)
		qt.Check(t, qt.IsNil(conn.Close()))
		qt.Check(t, qt.IsNil(mirror.Close()))
	}
}

// TestInterruptedWaitingForFetch: another process has the kernel's lock.
func TestInterruptedWaitingForFetch(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	cache := t.TempDir()
	dir := filepath.Join(cache, "waybill", "kernels")
	qt.Assert(t, qt.IsNil(os.MkdirAll(dir, 0o755)))
	hold(t, filepath.Join(dir, ".6.12.lock"))
	for _, args := range [][]string{{"kernel", "fetch", "6.12"}, {"vm", "--", "/bin/true"}} {
		i := start(t, cache, nil, args...)
		i.await("waybill: kernel 6.12: waiting for another process that fetches it\n")
		i.signal()
		i.ends(sayInterrupted)
	}
}

// hold locks a file until the test ends.
func hold(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = f.Close() })
	qt.Assert(t, qt.IsNil(unix.Flock(int(f.Fd()), unix.LOCK_EX)))
}

// TestInterruptedUnpacking: the dpkg-deb of this test says when it has begun, and would never end by itself.
func TestInterruptedUnpacking(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	bin := t.TempDir()
	fifo := filepath.Join(bin, "begun")
	qt.Assert(t, qt.IsNil(syscall.Mkfifo(fifo, 0o600)))
	script := "#!/bin/sh\necho begun >" + fifo + "\nexec sleep 1000\n"
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(bin, "dpkg-deb"), []byte(script), 0o755)))
	deb := filepath.Join(t.TempDir(), "k.deb")
	qt.Assert(t, qt.IsNil(os.WriteFile(deb, []byte("!<arch>\n"), 0o644)))
	i := start(t, t.TempDir(), []string{"PATH=" + bin + ":" + os.Getenv("PATH")}, "vm", "--kernel", deb, "--", "/bin/true")
	_, err := os.ReadFile(fifo)
	qt.Assert(t, qt.IsNil(err))
	i.signal()
	i.ends(sayInterrupted)
}

// TestInterruptedPacking: the test has a lease of a file that is packed, so that opening it waits (fcntl(2)).
func TestInterruptedPacking(t *testing.T) {
	cache := bootCache(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	qt.Assert(t, qt.IsNil(err))
	defer f.Close()
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGIO)
	defer signal.Stop(broken)
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("this file system has no leases: %v", err)
	}
	i := start(t, cache, nil, "vm", "--accel", "tcg", "--file", f.Name(), "--console", "--", "/bin/true")
	<-broken
	i.signal()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	qt.Assert(t, qt.IsNil(err))
	i.ends(sayInterrupted)
	qt.Check(t, qt.Equals(i.said.String(), sayInterrupted+"\n")) // nothing was booted
}

// TestInterruptedWaitingForVM: other processes have all locks.
func TestInterruptedWaitingForVM(t *testing.T) {
	cache := bootCache(t)
	links, err := filepath.Glob(filepath.Join(cache, "waybill", "*.lock"))
	qt.Assert(t, qt.IsNil(err))
	for _, l := range links { // not the real ones
		qt.Assert(t, qt.IsNil(os.Remove(l)))
	}
	for n := range runtime.NumCPU() {
		hold(t, filepath.Join(cache, "waybill", fmt.Sprintf("vm-%d.lock", n)))
	}
	i := start(t, cache, nil, "vm", "--accel", "tcg", "--", "/bin/true")
	i.await(waits)
	i.signal()
	i.ends(sayInterrupted)
}

// TestInterruptedTryingKVM: a machine without an answer about KVM boots for one.
func TestInterruptedTryingKVM(t *testing.T) {
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip(err)
	} else {
		qt.Assert(t, qt.IsNil(f.Close()))
	}
	i := start(t, bootCache(t), nil, "vm", "--", "/bin/true")
	i.await("waybill: trying once whether KVM works on this machine\n")
	i.signal()
	i.ends(sayInterrupted)
}

func TestInterruptedBooting(t *testing.T) {
	i := start(t, bootCache(t), nil, "vm", "--accel", "tcg", "--console", "--", "/bin/sh", "-c", "echo started")
	i.await("Linux version 6.12")
	i.signal()
	i.ends(sayInterrupted)
	qt.Check(t, qt.IsFalse(strings.Contains(i.said.String(), "started")))
}

// TestInterruptedRunning: the signal is the program's.
func TestInterruptedRunning(t *testing.T) {
	i := start(t, bootCache(t), nil, "vm", "--accel", "tcg", "--bin", "sleep", "--", "/bin/sh", "-c", "echo ready; exec sleep 1000")
	i.await("ready\n")
	i.signal()
	i.ends("")
}

// TestInterruptedStubborn: a program that does not end by SIGINT is ended by the third.
func TestInterruptedStubborn(t *testing.T) {
	i := start(t, bootCache(t), nil, "vm", "--accel", "tcg", "--bin", "sleep", "--", "/bin/sh", "-c",
		`trap "echo no" INT; echo ready; sleep 1000 & while :; do wait; done`)
	i.await("ready\n")
	for range 2 {
		i.signal()
		i.await("no\n")
	}
	i.signal()
	i.ends(sayInterrupted)
}

// TestInterruptedCollecting: what has come back only in part is not left.
func TestInterruptedCollecting(t *testing.T) {
	out := t.TempDir()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	qt.Assert(t, qt.IsNil(err))
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, out, unix.IN_CREATE)
	qt.Assert(t, qt.IsNil(err))
	i := start(t, bootCache(t), nil, "vm", "--accel", "tcg", "--artifacts", out, "--bin", "head", "--", "/bin/sh", "-c",
		"head -c 250000000 /dev/zero >$WAYBILL_ARTIFACTS/large")
	_, err = unix.Read(watch, make([]byte, 4096))
	qt.Assert(t, qt.IsNil(err))
	i.signal()
	i.ends(sayInterrupted)
	qt.Check(t, qt.HasLen(files(t, out), 0))
}
