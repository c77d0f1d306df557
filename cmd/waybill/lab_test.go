package main

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// labsApart is set in the process that has a mount namespace of its own.
const labsApart = "WAYBILL_TEST_LABS_APART"

// building is the process of a script that builds slow.yaml, and ended tells when it has ended.
var (
	building *exec.Cmd
	ended    chan struct{}
)

// inBackground begins to build slow.yaml, and returns when the lab waits for its ruleset.
func inBackground(ts *testscript.TestScript, _ bool, _ []string) {
	path, err := exec.LookPath("waybill")
	ts.Check(err)
	var words bytes.Buffer
	building, ended = exec.Command(path, "lab", "up", "slow.yaml"), make(chan struct{})
	building.Dir, building.Stderr = ts.MkAbs("."), &words
	ts.Check(building.Start())
	process, over, name := building, ended, ts.MkAbs("pipe")
	ts.Defer(func() {
		_ = process.Process.Kill()
		<-over
	})
	opened := make(chan struct{})
	go func() {
		_ = process.Wait()
		close(over)
		reader, _ := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		<-opened
		_ = reader.Close()
	}()
	// Opening a pipe for writing returns when somebody has it open for reading: nft, or the goroutine if nft never came.
	pipe, err := os.OpenFile(name, os.O_WRONLY, 0)
	close(opened)
	ts.Check(err)
	ts.Defer(func() { _ = pipe.Close() })
	select {
	case <-over:
		ts.Fatalf("building ended: %s", words.String())
	default:
	}
}

// interrupt sends a signal to it, and waits for its end.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	signal, want := syscall.SIGINT, 130
	if args[0] == "KILL" {
		signal, want = syscall.SIGKILL, -1
	}
	ts.Check(building.Process.Signal(signal))
	<-ended
	if got := building.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit status %d, not %d", got, want)
	}
}

// TestLabs runs scripts about waybill lab in a process with a /run of its own, so that neither labs nor the names of their
// namespaces are this machine's.
func TestLabs(t *testing.T) {
	if os.Getenv(labsApart) != "" {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/lab", RequireExplicitExec: true,
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"exits": exits, "waybill_in_background": inBackground, "interrupt": interrupt,
			},
			Setup: func(e *testscript.Env) error {
				// Each script begins without any lab, and ends without.
				if err := unix.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
					return err
				}
				e.Defer(func() { qt.Check(t, qt.IsNil(unix.Unmount("/run", unix.MNT_DETACH))) })
				return nil
			},
		})
		return
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, and CI must run this test")
		}
		t.Skip("needs root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLabs$", "-test.v", "-test.parallel=1")
	cmd.Env = append(os.Environ(), labsApart+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	qt.Assert(t, qt.IsNil(err))
}
