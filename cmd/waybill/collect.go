package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/collect"
	"github.com/waybill-dev/waybill/eventfile"
	"github.com/waybill-dev/waybill/internal/plural"
	"github.com/waybill-dev/waybill/journey"
)

// defaultFile is where events are written to and read from if no file is named.
const defaultFile = "waybill.data"

// fileFlag is a flag whose value may be left out.
type fileFlag string

// Decode takes the next argument if it is no flag.
func (f *fileFlag) Decode(ctx *kong.DecodeContext) error { //nolint:unparam // the interface of kong
	*f = defaultFile
	next := ctx.Scan.Peek()
	if text, ok := next.Value.(string); ok && !next.IsEOL() && !strings.HasPrefix(text, "-") {
		*f = fileFlag(text)
		ctx.Scan.Pop()
	}
	return nil
}

type collectCommand struct {
	Probe              []string `short:"p" sep:"none" placeholder:"PROBE" help:"Observe packets here: [TYPE:]TARGET[/stack], as waybill inspect lists them; repeatable (what devices receive and transmit)."`
	FilterPacket       string   `short:"f" placeholder:"EXPR" help:"Follow only packets that match this expression of pcap-filter(7) when they are first seen."`
	FilterMeta         string   `short:"m" placeholder:"EXPR" help:"Follow only packets whose sk_buff matches, as in 'sk_buff.mark == 1'."`
	Collectors         []string `short:"c" placeholder:"NAME,…" help:"Sections of events: skb, skb-tracking, skb-drop, ns, dev, ct, nft (all)."`
	Out                fileFlag `short:"o" placeholder:"[FILE]" help:"Write the events to a file (waybill.data), for waybill print and waybill sort."`
	Print              bool     `help:"Print the events even if they are written to a file."`
	StopAfter          uint64   `placeholder:"COUNT" help:"End after so many events."`
	Cmd                string   `placeholder:"COMMAND" help:"Run a command by the shell, and end with it and its exit status."`
	AllowSystemChanges bool     `help:"Have the kernel report verdicts of nftables, by a rule in a namespace that goes with this process."`
	NFTVerdicts        []string `name:"nft-verdicts" placeholder:"NAME,…" help:"Which verdicts of nftables are events (drop,accept)."`
	Netns              []string `name:"netns" sep:"none" placeholder:"NAME" help:"Observe packets from where they come by this network namespace, by name as ip netns has it, path, process or inode number; repeatable (all namespaces)."`
	Stack              bool     `help:"Add the kernel's stack to each event."`
	formatFlags
}

// Help is shown by waybill collect --help.
func (collectCommand) Help() string {
	return "Packets are observed until Ctrl-C, in every network namespace. A packet that a filter admits is followed from then on, " +
		"whatever NAT makes of it, and one that it refuses is not. Events are printed, or with --out written to a file of JSON " +
		"lines in the format of Retis. In the end it is told how many there were, and what was lost."
}

// Run collects.
func (c collectCommand) Run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	signal.Ignore(syscall.SIGPIPE) // whoever reads may go: then a write fails, and all is taken down in order
	ctx, stop := interruptible(ctx)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	sinks, closeFile, err := c.sinks()
	if err != nil {
		return err
	}
	var command *commandRun
	begun := func(s collect.Started) {
		sinks.begin(s)
		notice(fmt.Sprintf("%d probes are armed. Ctrl-C ends the collection.", len(s.Probes)))
		if s.NoVerdicts != nil {
			notice(s.NoVerdicts.Error() + ".")
		}
		if c.Cmd != "" {
			command = startCommand(ctx, c.Cmd, cancel)
		}
	}
	result, err := collect.Run(ctx, collect.Options{
		Namespaces: c.Netns, Probes: c.Probe, PacketFilter: c.FilterPacket, MetaFilter: c.FilterMeta, Collectors: c.Collectors, Verdicts: c.NFTVerdicts,
		Stack: c.Stack, SystemChanges: c.AllowSystemChanges, StopAfter: c.StopAfter,
	}, begun, sinks.add)
	cancel()
	commandErr := command.wait()
	err = errors.Join(err, closeFile(result))
	if result.Events > 0 || err == nil {
		notice(summary(result))
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitStatus(128 + int(syscall.SIGPIPE))
	}
	return errors.Join(err, commandErr)
}

// summary is what is told at the end.
func summary(r collect.Result) string {
	text := fmt.Sprintf("%s of %s.", plural.Of(r.Events, "event"), plural.Of(r.Journeys, "packet"))
	if len(r.Loss) == 0 {
		return text + " Nothing was lost."
	}
	for _, l := range r.Loss {
		text += fmt.Sprintf("\nLost: %d × %s.", l.Count, l.Cause)
	}
	return text
}

// eventSinks are where events go.
type eventSinks struct {
	file  *eventfile.Writer // nil for none
	text  io.Writer         // nil for none
	form  journey.Format    // of the text
	first eventfile.Startup
	flush time.Time
	empty func(size int64) error // the file of what it held before
	begun bool
}

// begin writes the first line. If that fails, so does every other.
func (s *eventSinks) begin(started collect.Started) {
	if s.file == nil {
		return
	}
	s.begun = true
	_ = s.empty(0) // a device needs none
	if started.NoFunctions != nil {
		s.first.NoFunctions = started.NoFunctions.Error()
	}
	_ = s.file.Begin(s.first)
}

func (s *eventSinks) add(o *journey.Observation) error {
	if s.file != nil {
		if err := s.file.Add(o); err != nil {
			return err
		}
		if now := time.Now(); now.Sub(s.flush) > time.Second {
			s.flush = now
			if err := s.file.Flush(); err != nil {
				return err
			}
		}
	}
	if s.text == nil || o.Kind != journey.Seen {
		return nil
	}
	_, err := io.WriteString(s.text, s.form.Event(&o.Event))
	return err
}

// sinks opens the file, and returns a function that completes and closes it. What an older file holds stays there until packets are
// observed.
func (c collectCommand) sinks() (*eventSinks, func(collect.Result) error, error) {
	s := &eventSinks{first: startup()}
	s.form = c.format(s.first.Offset)
	if c.Out == "" || c.Print {
		s.text = os.Stdout
	}
	if c.Out == "" {
		return s, func(collect.Result) error { return nil }, nil
	}
	path := string(c.Out)
	_, missing := os.Lstat(path)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, nil, fmt.Errorf("--out: %w", err)
	}
	s.file, s.empty = eventfile.NewWriter(file), file.Truncate
	return s, func(r collect.Result) error {
		if !s.begun { // nothing was collected
			if missing != nil {
				return errors.Join(file.Close(), os.Remove(path))
			}
			return file.Close()
		}
		end := eventfile.End{Events: r.Events, Journeys: r.Journeys}
		for _, l := range r.Loss {
			end.Loss = append(end.Loss, eventfile.Loss(l))
		}
		// An error of writing was told before, by whoever wrote.
		if err := s.file.End(end); err != nil && r.Events == 0 {
			return errors.Join(err, file.Close())
		}
		return file.Close()
	}, nil
}

// startup is what a file says of this machine.
func startup() eventfile.Startup {
	s := eventfile.Startup{Version: "waybill", Command: strings.Join(os.Args, " ")}
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "" {
		s.Version += " " + build.Main.Version
	}
	var monotonic unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic); err == nil {
		s.Time, s.Offset = uint64(monotonic.Nano()), time.Duration(time.Now().UnixNano()-monotonic.Nano())
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err == nil {
		s.KernelRelease, s.KernelVersion = unix.ByteSliceToString(uname.Release[:]), unix.ByteSliceToString(uname.Version[:])
		s.Hardware = unix.ByteSliceToString(uname.Machine[:])
	}
	return s
}

// commandRun is the command of --cmd.
type commandRun struct {
	done chan struct{}
	err  error
}

// startCommand runs a command, which is ended with ctx, and calls then when it has ended.
func startCommand(ctx context.Context, text string, then func()) *commandRun {
	r := &commandRun{done: make(chan struct{})}
	shell := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	shell.Stdin, shell.Stdout, shell.Stderr = os.Stdin, os.Stderr, os.Stderr
	shell.Cancel = func() error { return shell.Process.Signal(syscall.SIGTERM) }
	go func() {
		defer close(r.done)
		r.err = shell.Run()
		then()
	}()
	return r
}

// wait returns the command's exit status as an error; nil if there is no command.
func (r *commandRun) wait() error {
	if r == nil {
		return nil
	}
	<-r.done
	exit, ok := errors.AsType[*exec.ExitError](r.err)
	switch {
	case ok && exit.ExitCode() >= 0:
		return exitStatus(exit.ExitCode())
	case ok:
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitStatus(128 + int(status.Signal()))
		}
	}
	return r.err
}
