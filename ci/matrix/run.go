package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/ci/report"
)

// Exit statuses of waybill vm that are not the program's: its kernel got into trouble, it ran out of time, it was not run.
const (
	statusKernel = 123
	statusFailed = 125
	// statusPanic is a Go program's that panicked, or was told to dump its goroutines.
	statusPanic = 2
)

// vmGrace is what a test binary gets beyond its own deadline, to write its goroutines, before the VM ends it.
const vmGrace = 30 * time.Second

// runPackage runs the tests of a package on a kernel. The error is that of the matrix itself; what goes wrong in the VM
// is a fault of the run.
func (c *command) runPackage(ctx context.Context, k report.Kernel, p testPackage) (*report.Run, error) {
	started := time.Now()
	dir := filepath.Join(c.Report, k.Name, filepath.FromSlash(p.name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder for the report: %w", err)
	}
	stdout, err := os.Create(filepath.Join(dir, "output.txt"))
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(dir, "errors.txt"))
	if err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	defer stderr.Close()

	ginkgoReport := filepath.Join(dir, "ginkgo.json")
	args := slices.Concat(c.vmArgs(k), strictness(k), []string{
		"--timeout", (c.Timeout + vmGrace).String(), "--artifacts", filepath.Join(dir, "artifacts"),
		"--", p.binary, "-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + c.Timeout.String(),
	})
	if p.ginkgo {
		args = append(args, "-ginkgo.no-color", "-ginkgo.json-report="+ginkgoReport)
		if c.Smoke && k.Role != "stable" {
			args = append(args, "-ginkgo.label-filter=smoke")
		}
	}
	err = run(ctx, p.dir, stdout, stderr, c.Waybill, args...)
	status := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		status = e.ExitCode()
	} else if err != nil {
		return nil, err
	}

	out := &report.Run{Kernel: k.Name, Suite: p.name, Command: c.again(k, p)}
	in := report.Input{Dir: p.dir}
	if in.Root, err = os.Getwd(); err != nil {
		return nil, fmt.Errorf("find this folder: %w", err)
	}
	events, err := test2JSON(ctx, stdout.Name(), p.path)
	if err != nil {
		return nil, err
	}
	in.Test2JSON = bytes.NewReader(events)
	if in.Ginkgo, err = os.ReadFile(ginkgoReport); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read Ginkgo's report: %w", err)
	}
	if out.Specs, out.Faults, err = report.Read(in); err != nil {
		return nil, err
	}
	said, err := os.ReadFile(stderr.Name())
	if err != nil {
		return nil, fmt.Errorf("read what the tests wrote: %w", err)
	}
	out.Faults = append(out.Faults, faults(out, status, p.ginkgo && in.Ginkgo == nil, string(said))...)
	_ = os.Remove(filepath.Join(dir, "artifacts")) // which fails if it is not empty
	out.Seconds = time.Since(started).Seconds()
	return out, nil
}

// vmArgs are the arguments of waybill vm that say what the tests find: a person repeats them.
func (c *command) vmArgs(k report.Kernel) []string {
	args := []string{"vm", "--kernel", k.Name}
	for _, flag := range []struct {
		name   string
		values []string
	}{
		{"--bin", c.Bin}, {"--module", c.Module}, {"--env", c.Env},
	} {
		for _, v := range flag.values {
			args = append(args, flag.name, v)
		}
	}
	return args
}

// strictness is what a matrix demands of tests beyond that.
func strictness(k report.Kernel) []string {
	args := []string{"--env", "WAYBILL_STRICT=1", "--env", "CI=true"}
	if k.Role != "" {
		args = append(args, "--env", "WAYBILL_KERNEL_ROLE="+k.Role)
	}
	return args
}

// again is a command that repeats a run, for a shell in this folder.
func (c *command) again(k report.Kernel, p testPackage) string {
	waybill := c.Waybill
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, waybill); err == nil && filepath.IsLocal(rel) {
			waybill = "$PWD/" + rel
		}
	}
	name := p.path
	if name != p.name {
		name = "./" + p.name
	}
	return fmt.Sprintf(`go test -count=1 -exec "%s %s --" %s`, waybill, strings.Join(c.vmArgs(k), " "), name)
}

// faults are what the exit status and standard error tell beyond the specs.
func faults(r *report.Run, status int, noReport bool, stderr string) []string {
	switch {
	case status >= statusKernel && status <= statusFailed:
		return []string{cmp.Or(complaint(stderr), fmt.Sprintf("waybill vm ended with exit status %d", status))}
	case status == statusPanic:
		return []string{cmp.Or(crash(stderr), "the tests ended with exit status 2")}
	case noReport:
		return []string{strings.TrimSpace("the suite left no report: " + complaint(stderr))}
	case status != 0 && r.OK():
		return []string{strings.TrimSpace(fmt.Sprintf("the tests ended with exit status %d\n%s", status, tail(stderr)))}
	}
	return nil
}

// crash is what a Go program says when it dies, as far as a reader needs it; the end of its words if it says something else.
func crash(stderr string) string {
	for _, sign := range []string{"panic: ", "fatal error: ", "SIGQUIT: "} {
		if i := strings.Index("\n"+stderr, "\n"+sign); i >= 0 {
			lines := strings.Split(strings.TrimSpace(stderr[i:]), "\n")
			return strings.Join(lines[:min(len(lines), textLines)], "\n")
		}
	}
	return tail(stderr)
}

// textLines is how much of a text is shown whose end may be far.
const textLines = 30

// complaint is what waybill vm said at its end: from the last line of its own on.
func complaint(stderr string) string {
	const name = "waybill: "
	if i := strings.LastIndex("\n"+stderr, "\n"+name); i >= 0 {
		return strings.TrimSpace(stderr[i+len(name):])
	}
	return tail(stderr)
}

// tail is the end of a text that a reader may need.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-textLines):], "\n")
}

func test2JSON(ctx context.Context, file, path string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read what the tests wrote: %w", err)
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", "-p", path) // without -t there are no times of tests
	cmd.Stdin = f
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read what the tests wrote: go tool test2json: %w", err)
	}
	return out, nil
}

// output runs a command and returns its standard output; what it wrote to standard error is in the error.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := run(ctx, "", &stdout, &stderr, name, args...)
	if err != nil && ctx.Err() == nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			return "", errors.New(said)
		}
	}
	return stdout.String(), err
}

// endGrace is how long a command that was asked to end may take for it: a suite in a VM takes its networks down.
const endGrace = 30 * time.Second

// run runs a command in a folder. It is asked to end when ctx ends or this process dies, and killed if it does not.
func run(ctx context.Context, dir string, stdout, stderr io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	// Pdeathsig comes with the end of the thread that forked: it must stay until the command has ended (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); ctx.Err() != nil {
		return errInterrupted
	} else if err != nil {
		return err
	}
	return nil
}

// errInterrupted ends whatever was under way when the matrix was asked to end, or another of its runs could not be made.
var errInterrupted = errors.New("interrupted")
