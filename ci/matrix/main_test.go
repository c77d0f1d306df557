package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waybill-dev/waybill/ci/report"
	"github.com/waybill-dev/waybill/internal/golden"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"matrix": main})
}

var (
	duration = regexp.MustCompile(`[0-9]+\.[0-9] s\b`)
	// What a crash says that is different each time: stacks and addresses.
	trace = regexp.MustCompile(`( \[recovered[^\]\n]*\])|(?m:^.*(0x[0-9a-f]|goroutine |created by|testing\.).*\n)`)
)

// matrix runs the command with a stand-in for waybill, and returns what it printed.
func matrix(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	here, err := os.Getwd()
	qt.Assert(t, qt.IsNil(err))
	if t.Name() != "TestGitHub" {
		t.Setenv("GITHUB_ACTIONS", "")
	}
	cmd := exec.Command("matrix", append([]string{"--waybill", "testdata/waybill"}, args...)...)
	text, err := cmd.CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		qt.Assert(t, qt.IsNil(err))
	}
	return strings.ReplaceAll(duration.ReplaceAllString(string(text), "N s"), here, "HERE"), code
}

func TestMatrix(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "report")
	out, code := matrix(t, "--report", dir, "--bin", "nft", "./testdata/good", "./testdata/suite")
	qt.Check(t, qt.Equals(code, 1))
	golden.Check(t, "matrix.txt", strings.ReplaceAll(out, dir, "REPORT"))
	for _, name := range []string{"report.json", "report.md", "junit.xml", "6.1/testdata/suite/ginkgo.json", "6.12/testdata/good/output.txt"} {
		_, err := os.Stat(filepath.Join(dir, name))
		qt.Check(t, qt.IsNil(err))
	}

	// Tests have their times.
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	qt.Assert(t, qt.IsNil(err))
	var all report.Report
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &all)))
	qt.Check(t, qt.Equals(all.Runs[0].Specs[0].Name, "TestGood"))
	qt.Check(t, qt.IsTrue(all.Runs[0].Specs[0].Seconds >= 0.02))

	// The next report takes the place of this one, and a pass is a pass.
	out, code = matrix(t, "--report", dir, "--kernel", "6.1,6.12", "./testdata/good")
	qt.Check(t, qt.Equals(code, 0), qt.Commentf("%s", out))
	_, err = os.Stat(filepath.Join(dir, "6.1/testdata/suite"))
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))
}

func TestSmoke(t *testing.T) {
	out, code := matrix(t, "--report", t.TempDir(), "--smoke", "--kernel", "6.1", "./testdata/suite")
	qt.Check(t, qt.Equals(code, 0), qt.Commentf("%s", out))
	qt.Check(t, qt.StringContains(out, "6.1    testdata/suite: 1 passed in N s\n"))
}

// A package for the stable kernel runs there alone; where there is no stable kernel, it runs on what there is.
func TestStable(t *testing.T) {
	out, code := matrix(t, "--report", t.TempDir(), "--kernel", "6.1,6.12", "--stable", "./testdata/suite", "./testdata/suite", "./testdata/good")
	qt.Check(t, qt.Equals(code, 1))
	qt.Check(t, qt.StringContains(out, "6.12   testdata/suite: "))
	qt.Check(t, qt.StringContains(out, "6.1    testdata/good: "))
	qt.Check(t, qt.Not(qt.StringContains(out, "6.1    testdata/suite: ")))
	out, _ = matrix(t, "--report", t.TempDir(), "--kernel", "6.1", "--stable", "./testdata/suite", "./testdata/suite")
	qt.Check(t, qt.StringContains(out, "6.1    testdata/suite: "))
}

func TestBroken(t *testing.T) {
	out, code := matrix(t, "--report", t.TempDir(), "--kernel", "mine", "--kernel", "6.12", "./testdata/bad", "./testdata/empty")
	qt.Check(t, qt.Equals(code, 1))
	out, _, _ = strings.Cut(out, "The whole report")
	golden.Check(t, "broken.txt", trace.ReplaceAllString(out, ""))
}

func TestGitHub(t *testing.T) {
	summary := filepath.Join(t.TempDir(), "summary.md")
	qt.Assert(t, qt.IsNil(os.WriteFile(summary, []byte("before\n"), 0o600)))
	t.Setenv("GITHUB_ACTIONS", "true")
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	out, code := matrix(t, "--report", t.TempDir(), "--kernel", "6.12", "./testdata/suite")
	qt.Check(t, qt.Equals(code, 1))
	qt.Check(t, qt.StringContains(out, "\n::error file=testdata/suite/suite_test.go,line=18,title=failed on 6.12%3A testdata/suite%3A "))
	text, err := os.ReadFile(summary)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(string(text), "before\n# FAILED: 1 failed, 1 skipped without a known reason, 1 passed")))
}

func TestBadInput(t *testing.T) {
	other := t.TempDir()
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(other, "precious"), nil, 0o600)))
	for want, args := range map[string][]string{
		"waybill: unknown kernel \"9.9\": known are 6.1, 6.12, mine\nmatrix: fetch the kernels: exit status 125\n": {
			"--report", t.TempDir(), "--kernel", "9.9", "./testdata/good",
		},
		"matrix: " + other + " holds something other than a report: name another folder by --report, or remove it\n": {
			"--report", other, "./testdata/good",
		},
		"matrix: --stable ./testdata/suite: no such package is among those to run\n": {
			"--report", t.TempDir(), "--stable", "./testdata/suite", "./testdata/good",
		},
		"matrix: --jobs 0: give it 1 or more\n":             {"--report", t.TempDir(), "--jobs", "0", "./testdata/good"},
		"matrix: no package has tests in ./testdata/none\n": {"--report", t.TempDir(), "./testdata/none"},
		"matrix: find the waybill command: ":                {"--report", t.TempDir(), "--waybill", "./no-such", "./testdata/good"},
		"matrix: find the packages: stat HERE/no":           {"--report", t.TempDir(), "./no"},
	} {
		out, code := matrix(t, args...)
		qt.Check(t, qt.Equals(code, 2))
		qt.Check(t, qt.IsTrue(strings.HasPrefix(out, want)), qt.Commentf("%s", out))
	}
	_, err := os.Stat(filepath.Join(other, "precious"))
	qt.Check(t, qt.IsNil(err))
}

// TestSideBySide: 6.1 ends after 6.12 has, and is reported first.
func TestSideBySide(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	qt.Assert(t, qt.IsNil(syscall.Mkfifo(fifo, 0o600)))
	t.Setenv("ORDER", fifo)
	out, code := matrix(t, "--report", t.TempDir(), "--jobs", "2", "--kernel", "6.1,6.12", "./testdata/good")
	qt.Check(t, qt.Equals(code, 0), qt.Commentf("%s", out))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(out, "6.1    testdata/good: 2 passed in N s\n6.12   testdata/good: 1 passed, 1 skipped in N s\n")),
		qt.Commentf("%s", out))
}

// TestInterrupted: what runs side by side is ended, and waited for.
func TestInterrupted(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	qt.Assert(t, qt.IsNil(syscall.Mkfifo(fifo, 0o600)))
	t.Setenv("STUCK", fifo)
	cmd := exec.Command("matrix", "--waybill", "testdata/waybill", "--report", t.TempDir(), "--jobs", "2", "--kernel", "6.1,6.12",
		"./testdata/good", "./testdata/suite")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	qt.Assert(t, qt.IsNil(cmd.Start()))
	var pids []int
	for len(pids) < 2 {
		text, err := os.ReadFile(fifo) // of one, or of both
		qt.Assert(t, qt.IsNil(err))
		for word := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(word)
			qt.Assert(t, qt.IsNil(err))
			pids = append(pids, pid)
		}
	}
	qt.Assert(t, qt.IsNil(cmd.Process.Signal(syscall.SIGTERM)))
	_ = cmd.Wait() // the exit status is what counts
	qt.Check(t, qt.Equals(cmd.ProcessState.ExitCode(), 143))
	qt.Check(t, qt.Equals(out.String(), "matrix: interrupted (terminated)\n"))
	for _, pid := range pids {
		qt.Check(t, qt.ErrorIs(syscall.Kill(pid, 0), syscall.ESRCH))
	}
}
