package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/onsi/ginkgo/v2/types"
)

type command struct {
	Kernel  string `required:"" placeholder:"NAME" help:"Kernel, as waybill kernel list names it."`
	Waybill string `default:"waybill" placeholder:"PATH" help:"The waybill command (${default})."`
	Folder  string `arg:"" help:"Folder of the examples."`
}

func main() {
	var c command
	kong.Parse(&c, kong.Name("mutate"),
		kong.Description("Change examples by one word at a time: each must turn red, for the right reason."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutate: %s\n", err)
		os.Exit(1)
	}
}

func (c *command) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return fmt.Errorf("make a folder for the copies: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := overlay(c.Folder, dir, mutations)
	if err != nil {
		return err
	}
	binary, result := filepath.Join(dir, "examples.test"), filepath.Join(dir, "ginkgo.json")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags", "-s -w", "-overlay", overlay, "-o", binary, "./"+c.Folder)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the copies: %w\n%s", err, out)
	}
	test := exec.CommandContext(ctx, c.Waybill, "vm", "--kernel", c.Kernel, "--timeout", "30m", "--artifacts", filepath.Join(dir, "artifacts"),
		"--env", "CI=true", "--env", "WAYBILL_STRICT=1", "--bin", "nft",
		"--", binary, "-test.timeout=29m", "-ginkgo.no-color", "-ginkgo.json-report="+result)
	test.Stderr = os.Stderr // whether it waits for another VM
	test.Cancel = func() error { return test.Process.Signal(syscall.SIGTERM) }
	out, err := test.Output() // it fails, since specs do
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run the copies: %w", err)
	}
	text, err := os.ReadFile(result)
	if err != nil {
		return fmt.Errorf("run the copies: there is no report of them: %w\n%s", err, out)
	}
	var reports []types.Report
	if err := json.Unmarshal(text, &reports); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	return judge(os.Stdout, reports, mutations)
}

// overlay makes a changed copy of an example for each mutation, and the file that tells go of them.
func overlay(folder, dir string, mutations []mutation) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for i, m := range mutations {
		text, err := os.ReadFile(filepath.Join(folder, m.file))
		if err != nil {
			return "", fmt.Errorf("read the example: %w", err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			return "", fmt.Errorf("%s has %q %d times: name what it has once", m.file, m.old, n)
		}
		copied := filepath.Join(dir, m.copy(i))
		if err := os.WriteFile(copied, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
			return "", fmt.Errorf("write the copy: %w", err)
		}
		replace[filepath.Join(folder, m.copy(i))] = copied
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o644)
}

// copy is the name of the copy with a change.
func (m mutation) copy(i int) string { return fmt.Sprintf("changed%02d_%s", i, m.file) }

// judge prints which mutations were not caught. That is an error, and so is an example that fails as it is.
func judge(out io.Writer, reports []types.Report, mutations []mutation) error {
	failures := make(map[string][]string) // by the file of the spec
	ran := make(map[string]bool)
	for _, r := range reports {
		for _, s := range r.SpecReports {
			file := filepath.Base(s.LeafNodeLocation.FileName)
			ran[file] = true
			if s.Failed() {
				failures[file] = append(failures[file], strings.Join(strings.Fields(s.Failure.Message), " "))
			}
		}
	}
	caught, broken := 0, 0
	for i, m := range mutations {
		said := failures[m.copy(i)]
		switch {
		case !ran[m.file] || !ran[m.copy(i)]:
			fmt.Fprintf(out, "%s: %s → %s: it did not run\n", m.file, m.old, m.new)
		case len(said) == 0:
			fmt.Fprintf(out, "%s: %s → %s: no spec failed\n", m.file, m.old, m.new)
		case !slices.ContainsFunc(said, func(text string) bool { return strings.Contains(text, m.says) }):
			fmt.Fprintf(out, "%s: %s → %s: no failure says %q:\n    %s\n", m.file, m.old, m.new, m.says, strings.Join(said, "\n    "))
		default:
			caught++
		}
	}
	for _, file := range slices.Sorted(maps.Keys(ran)) {
		if !strings.HasPrefix(file, "changed") && len(failures[file]) > 0 {
			broken++
			fmt.Fprintf(out, "%s: it fails as it is: %s\n", file, strings.Join(failures[file], "\n    "))
		}
	}
	fmt.Fprintf(out, "caught %d/%d\n", caught, len(mutations))
	if caught < len(mutations) || broken > 0 {
		return errors.New("not all is well")
	}
	return nil
}
