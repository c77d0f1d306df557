package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/waybill-dev/waybill/ci/report"
)

type command struct {
	Kernel   []string      `placeholder:"NAME" help:"Kernels, as waybill kernel list names them (all that have a role)."`
	Smoke    bool          `help:"On kernels other than the stable one, run only the Ginkgo specs that are labelled smoke."`
	Stable   []string      `placeholder:"PACKAGE" help:"Package that runs on the stable kernel only, if that is among the kernels: its tests are about something else than kernels; repeatable."`
	Report   string        `default:"build/report" placeholder:"DIR" help:"Folder of the report (${default})."`
	Waybill  string        `default:"waybill" placeholder:"PATH" help:"The waybill command (${default})."`
	Bin      []string      `placeholder:"PROG" help:"Program of this machine that tests start; repeatable."`
	Module   []string      `placeholder:"NAME" help:"Kernel module that tests need, beside the usual ones; repeatable."`
	Env      []string      `placeholder:"KEY=VALUE" sep:"none" help:"Variable for the tests' environment; repeatable."`
	Timeout  time.Duration `default:"10m" help:"Longest run of one package on one kernel (${default})."`
	Jobs     int           `default:"${jobs}" placeholder:"N" help:"How many packages run at once, in a VM each; those that this machine has no CPU for wait (${default}, its CPUs)."`
	Packages []string      `arg:"" name:"package" help:"Packages with tests, as go test takes them."`
}

// errNotWell ends a run that worked, and found something.
var errNotWell = errors.New("not all is well")

func main() {
	var c command
	kong.Parse(&c, kong.Name("matrix"), kong.Vars{"jobs": strconv.Itoa(runtime.NumCPU())},
		kong.Description("Run test packages on several kernels, and report what came of it."))
	ctx, stop := interruptible(context.Background())
	err := c.run(ctx)
	stop()
	interrupted, ok := errors.AsType[*interruptedError](context.Cause(ctx))
	switch {
	case ok:
		fmt.Fprintf(os.Stderr, "matrix: %s\n", interrupted)
		os.Exit(128 + int(interrupted.signal))
	case err == nil:
	case errors.Is(err, errNotWell):
		os.Exit(1)
	default:
		fmt.Fprintf(os.Stderr, "matrix: %s\n", err)
		os.Exit(2)
	}
}

// interruptedError says which signal ended the matrix.
type interruptedError struct{ signal syscall.Signal }

func (e *interruptedError) Error() string { return fmt.Sprintf("interrupted (%s)", e.signal) }

// interruptible returns a context that ends, with an interruptedError as its cause, when this process is asked to end. After
// stop it ends no more.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-signals:
			n, _ := s.(syscall.Signal)
			cancel(&interruptedError{n})
		case <-over:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(over)
		<-ended
	}
}

func (c *command) run(ctx context.Context) error {
	started := time.Now()
	if c.Jobs < 1 {
		return fmt.Errorf("--jobs %d: give it 1 or more", c.Jobs)
	}
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find this folder: %w", err)
	}
	if c.Report, err = filepath.Abs(c.Report); err != nil {
		return fmt.Errorf("find the folder of the report: %w", err)
	}
	if c.Waybill, err = findWaybill(c.Waybill); err != nil {
		return err
	}
	if err := empty(c.Report); err != nil {
		return err
	}
	kernels, err := c.kernels(ctx)
	if err != nil {
		return err
	}
	packages, err := c.build(ctx, root)
	if err != nil {
		return err
	}
	r := &report.Report{Started: started.UTC().Truncate(time.Second), Kernels: kernels}
	r.Runs, err = c.runAll(ctx, kernels, packages)
	if err != nil {
		return err
	}
	r.Seconds = time.Since(started).Seconds()
	if err := c.write(r); err != nil {
		return err
	}
	if !r.OK() {
		return errNotWell
	}
	return nil
}

// reportName is the file by which the folder of a report is known.
const reportName = "report.json"

// empty removes all from the folder of an earlier report.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return fmt.Errorf("look at the folder of the report: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, reportName)); err != nil && len(entries) > 0 {
		return fmt.Errorf("%s holds something other than a report: name another folder by --report, or remove it", dir)
	}
	for _, e := range entries {
		if e.Name() == reportName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clear the folder of the report: %w", err)
		}
	}
	// The file stays, empty, so that the folder is still known if this process is killed.
	return os.WriteFile(filepath.Join(dir, reportName), nil, 0o644)
}
