package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runCommand measures in VMs.
type runCommand struct {
	Waybill string   `default:"build/waybill" placeholder:"PATH" help:"The waybill command (${default})."`
	Kernel  []string `default:"6.12" placeholder:"NAME" help:"Kernels, as waybill kernel list names them (${default})."`
	Mode    []string `default:"wall,icount" enum:"wall,icount" help:"wall: by the clock, on two CPUs. icount: by counted instructions, on one (${default})."`
	Packets int      `placeholder:"N" help:"Datagrams for each variant, a multiple of 1000 (20000 by the clock, 10000 counted)."`
	Only    []string `sep:"none" placeholder:"VARIANT" help:"Variants to measure, beside nothing (all)."`
	Verbose bool     `short:"v" help:"Show also what each program did."`
	Profile string   `placeholder:"FILE" help:"File for a CPU profile of the process that reads, for go tool pprof; of the last kernel and mode."`
	History string   `placeholder:"FILE" help:"File to which the figures are appended, a line each."`
}

// Datagrams for each variant.
const (
	wallPackets  = 20000
	countPackets = 10000
)

// entry is a line of the history.
type entry struct {
	Time   time.Time `json:"time"`
	Commit string    `json:"commit"` // with a + if there were changes
	// Assembly is how long the assembler took for an observation, on the host, in nanoseconds.
	Assembly float64 `json:"assembly_ns"`
	result
}

// Run prints a table for each kernel and mode.
func (c runCommand) Run(ctx context.Context) error {
	if c.Profile != "" && len(c.Only) > 0 && !slices.Contains(c.Only, full) {
		return fmt.Errorf("--profile is of %q: name it by --only too", full)
	}
	commit, err := describeCommit(ctx) // what was built; it may change meanwhile
	if err != nil {
		return err
	}
	assembly, err := measureAssembly(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("assembling journeys, on the host: %.0f ns an observation\n\n", assembly)
	for _, kernel := range c.Kernel {
		for _, mode := range c.Mode {
			r, err := c.measure(ctx, kernel, mode)
			if err != nil {
				return fmt.Errorf("measure on %s: %w", kernel, err)
			}
			fmt.Println()
			if c.History == "" {
				continue
			}
			if err := c.record(r, commit, assembly); err != nil {
				return err
			}
		}
	}
	return nil
}

// benchmarkLine is what go test prints of a benchmark: its name, how often it ran, and nanoseconds for each time.
var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+([\d.]+) ns/op`)

// measureAssembly runs package journey's benchmark, of which one operation is an observation.
func measureAssembly(ctx context.Context) (float64, error) {
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkAssembler$", "./journey")
	output, err := command.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("measure the assembler: %w\n%s", err, output)
	}
	found := benchmarkLine.FindSubmatch(output)
	if found == nil {
		return 0, fmt.Errorf("measure the assembler: go test printed no figure:\n%s", output)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// measure runs this executable in a VM, and reads the figures that it leaves.
func (c runCommand) measure(ctx context.Context, kernel, mode string) (r *result, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this executable: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the figures: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args, err := c.arguments(kernel, mode, dir, self, os.Getenv("PWRU"))
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, c.Waybill, args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("run waybill vm: %w", err)
	}
	if c.Profile != "" {
		profile, err := os.ReadFile(filepath.Join(dir, profileFile))
		if err != nil {
			return nil, fmt.Errorf("read the profile: %w", err)
		}
		if err := os.WriteFile(c.Profile, profile, 0o644); err != nil {
			return nil, fmt.Errorf("write the profile: %w", err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, figuresFile))
	if err != nil {
		return nil, fmt.Errorf("read the figures: %w", err)
	}
	r = &result{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read the figures: %w", err)
	}
	return r, nil
}

// arguments are those of the waybill command.
func (c runCommand) arguments(kernel, mode, dir, self, pwru string) ([]string, error) {
	args := []string{"vm", "--kernel", kernel, "--artifacts", dir}
	flood := []string{"--", self, "flood"}
	packets := wallPackets
	if mode == "icount" {
		args, flood, packets = append(args, "--icount"), append(flood, "--counts"), countPackets
	} else {
		args = append(args, "--cpus", "2")
	}
	if c.Packets != 0 {
		packets = c.Packets
	}
	flood = append(flood, fmt.Sprintf("--packets=%d", packets))
	if c.Verbose {
		flood = append(flood, "--verbose")
	}
	if c.Profile != "" {
		flood = append(flood, "--profile")
	}
	for _, name := range c.Only {
		flood = append(flood, "--only="+name)
	}
	if pwru != "" {
		path, err := filepath.Abs(pwru)
		if err != nil {
			return nil, fmt.Errorf("find pwru: %w", err)
		}
		args = append(args, "--bin", path, "--env", "PWRU="+path)
	}
	return append(args, flood...), nil
}

// describeCommit names the commit that this folder is at.
func describeCommit(ctx context.Context) (string, error) {
	described, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "", fmt.Errorf("ask git for the commit: %w", err)
	}
	return strings.TrimSpace(string(described)), nil
}

// record appends a line to the history.
func (c runCommand) record(r *result, commit string, assembly float64) error {
	for i := range r.Variants {
		r.Variants[i].Programs, r.Variants[i].Floods, r.Variants[i].ByFunction = nil, nil, nil // for people, not for comparisons
	}
	e := entry{Time: time.Now().UTC().Truncate(time.Second), Commit: commit, Assembly: assembly, result: *r}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	file, err := os.OpenFile(c.History, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the history: %w", err)
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
