package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/rogpeppe/go-internal/testscript"

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

	// The next report takes the place of this one, and a pass is a pass.
	out, code = matrix(t, "--report", dir, "--kernel", "6.1,6.12", "./testdata/good")
	qt.Check(t, qt.Equals(code, 0), qt.Commentf("%s", out))
	_, err := os.Stat(filepath.Join(dir, "6.1/testdata/suite"))
	qt.Check(t, qt.ErrorIs(err, os.ErrNotExist))
}

func TestSmoke(t *testing.T) {
	out, code := matrix(t, "--report", t.TempDir(), "--smoke", "--kernel", "6.1", "./testdata/suite")
	qt.Check(t, qt.Equals(code, 0), qt.Commentf("%s", out))
	qt.Check(t, qt.StringContains(out, "6.1    testdata/suite: 1 passed in N s\n"))
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
