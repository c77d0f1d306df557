package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// pwru is cilium/pwru, run as its users do, with the same functions and a filter that the flood matches.
type pwru struct {
	command *exec.Cmd
	output  string // file of one line an event
	dir     string
	closed  bool
}

// pwruReady is what pwru writes to standard error when it has attached.
const pwruReady = "Listening for events"

func openPwru(ctx context.Context, _ *field, _ *laps) (observer, string, error) {
	path := os.Getenv("PWRU")
	if path == "" {
		return nil, "PWRU does not name its binary", nil
	}
	dir, err := os.MkdirTemp("", "bench-pwru-")
	if err != nil {
		return nil, "", fmt.Errorf("make a folder for what pwru prints: %w", err)
	}
	p := &pwru{dir: dir, output: dir + "/events"}
	p.command = exec.CommandContext(ctx, path, "--filter-func", "^("+strings.Join(functions, "|")+")$", "--kmods", "veth",
		"--output-file", p.output, fmt.Sprintf("udp and dst port %d", floodPort))
	words, err := p.command.StderrPipe()
	if err == nil {
		err = p.command.Start()
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("start pwru: %w", err), os.RemoveAll(dir))
	}
	said := bufio.NewScanner(words)
	var all bytes.Buffer
	for said.Scan() {
		fmt.Fprintln(&all, said.Text())
		if strings.Contains(said.Text(), pwruReady) {
			go func() { _, _ = io.Copy(io.Discard, words) }()
			return p, "perf buffer", nil
		}
	}
	err = errors.Join(fmt.Errorf("start pwru: it ended, and wrote:\n%s", all.String()), p.command.Wait(), os.RemoveAll(dir))
	return nil, "", err
}

// drain does nothing: pwru cannot tell whether it has read everything. What it does after the flood is not counted, which is
// in its favour.
func (p *pwru) drain(context.Context) error { return nil }

// count reads what pwru has printed; it says nothing about what it lost.
func (p *pwru) count() (account, error) {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return account{}, fmt.Errorf("read what pwru printed: %w", err)
	}
	var n uint64
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("0x")) {
			n++
		}
	}
	return account{events: n, records: n}, nil
}

// Close ends pwru as its users do.
func (p *pwru) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	errs := []error{p.command.Process.Signal(syscall.SIGINT), p.command.Wait(), os.RemoveAll(p.dir)}
	return errors.Join(errs...)
}
