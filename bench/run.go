package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// runCommand measures in VMs.
type runCommand struct {
	Waybill string   `default:"build/waybill" placeholder:"PATH" help:"The waybill command (${default})."`
	Kernel  []string `default:"6.12" placeholder:"NAME" help:"Kernels, as waybill kernel list names them (${default})."`
	Mode    []string `default:"wall,icount" enum:"wall,icount" help:"wall: by the clock, on two CPUs. icount: by counted instructions, on one (${default})."`
	Packets int      `placeholder:"N" help:"Datagrams for each variant, a multiple of 1000 (20000 by the clock, 5000 counted)."`
	Only    []string `placeholder:"VARIANT" help:"Variants to measure, beside nothing (all)."`
	Verbose bool     `short:"v" help:"Show also what each program did."`
	History string   `placeholder:"FILE" help:"File to which the figures are appended, a line each."`
}

// Datagrams for each variant.
const (
	wallPackets  = 20000
	countPackets = 5000
)

// entry is a line of the history.
type entry struct {
	Time   time.Time `json:"time"`
	Commit string    `json:"commit"` // with a + if there were changes
	result
}

// Run prints a table for each kernel and mode.
func (c runCommand) Run(ctx context.Context) error {
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
			if err := c.record(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
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
	for _, name := range c.Only {
		flood = append(flood, "--only="+name)
	}
	if path := os.Getenv("PWRU"); path != "" {
		if path, err = filepath.Abs(path); err != nil {
			return nil, fmt.Errorf("find pwru: %w", err)
		}
		args = append(args, "--bin", path, "--env", "PWRU="+path)
	}
	command := exec.CommandContext(ctx, c.Waybill, append(args, flood...)...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("run waybill vm: %w", err)
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

// record appends a line to the history.
func (c runCommand) record(ctx context.Context, r *result) error {
	described, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return fmt.Errorf("ask git for the commit: %w", err)
	}
	for i := range r.Variants {
		r.Variants[i].Programs, r.Variants[i].Floods, r.Variants[i].ByFunction = nil, nil, nil // for people, not for comparisons
	}
	e := entry{Time: time.Now().UTC().Truncate(time.Second), Commit: strings.TrimSpace(string(described)), result: *r}
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
