package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/eventfile"
	"github.com/waybill-dev/waybill/internal/plural"
	"github.com/waybill-dev/waybill/journey"
)

// formatFlags are the flags of commands that print events.
type formatFlags struct {
	Format string `enum:"multi-line,single-line" default:"multi-line" placeholder:"FORMAT" help:"How an event is printed: multi-line or single-line (${default})."`
	UTC    bool   `name:"utc" help:"Print the time of the day, in UTC, instead of the kernel's clock."`
}

// format is how events are printed, where the clock of the day is ahead of the kernel's by offset.
func (f formatFlags) format(offset time.Duration) journey.Format {
	out := journey.Format{OneLine: f.Format == "single-line"}
	if f.UTC {
		out.Offset = offset
	}
	return out
}

type printCommand struct {
	File string `arg:"" optional:"" default:"${defaultFile}" help:"The file (${default})."`
	formatFlags
}

// Help is shown by waybill print --help.
func (printCommand) Help() string {
	return "The file is one of waybill collect, or of Retis. Events are printed in the order in which they happened."
}

// Run prints events.
func (c printCommand) Run(context.Context) error {
	r := reading{formatFlags: c.formatFlags}
	r.event = func(o *journey.Observation) error {
		if o.Kind != journey.Seen {
			return nil
		}
		_, err := r.out.WriteString(r.format.Event(&o.Event))
		return err
	}
	return r.run(c.File)
}

type sortCommand struct {
	File string `arg:"" optional:"" default:"${defaultFile}" help:"The file (${default})."`
	Flat bool   `help:"Print all events of a packet in order of time, those of clones among the others."`
	formatFlags
}

// Help is shown by waybill sort --help.
func (sortCommand) Help() string {
	return "The events of each packet are printed together, as a journey, when the packet is over: ↳ marks all but the first, and n " +
		"counts them in order of time. Those of a clone are together, further to the right. Only packets that are not over are kept in " +
		"memory. In files of Retis nothing tells that a packet is over, and journeys come at the end."
}

// Run prints journeys.
func (c sortCommand) Run(context.Context) error {
	assembler := journey.NewAssembler(0)
	r := reading{formatFlags: c.formatFlags}
	show := func(record *journey.Record) error {
		format := r.format
		format.Branches = !c.Flat
		for _, j := range record.Journeys {
			if len(j.Events) == 0 {
				continue
			}
			text := fmt.Sprintf("%s\nThe packet was %s.\n", format.Journey(j), j.Sentence())
			for _, line := range j.Lineage() {
				text += "  " + line + "\n"
			}
			if _, err := fmt.Fprintln(r.out, text); err != nil {
				return err
			}
		}
		return nil
	}
	r.event = func(o *journey.Observation) error {
		assembler.Add(o)
		if over := assembler.Take(r.evidence); over != nil {
			return show(over)
		}
		return nil
	}
	r.end = func() error { return show(assembler.Seal(r.evidence)) }
	return r.run(c.File)
}

// reading is a file that is read and printed.
type reading struct {
	formatFlags
	event func(*journey.Observation) error // prints what is to be printed at an event
	end   func() error                     // prints what is left; nil for nothing

	out      *bufio.Writer
	format   journey.Format
	evidence journey.Evidence
	begun    bool // the startup section was read
	ended    bool // nothing is missing at the end, as far as the format tells
	bad      int  // lines that make no sense
}

// run reads a file. Lines that make no sense are told, and are an error in the end.
func (r *reading) run(path string) (err error) {
	signal.Ignore(syscall.SIGPIPE) // whoever reads may go
	debug.SetGCPercent(200)        // what is held is little, and what comes and goes much
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r.out = bufio.NewWriterSize(os.Stdout, 64<<10)
	r.format = r.formatFlags.format(0)
	for item, err := range eventfile.Read(file) {
		if wrong, ok := errors.AsType[*eventfile.LineError](err); ok {
			r.bad++
			notice(fmt.Sprintf("%s: %v", path, wrong))
			continue
		}
		if err != nil {
			return errors.Join(err, r.finish())
		}
		if err := r.take(item); err != nil {
			return err
		}
	}
	if err := r.finish(); err != nil {
		return err
	}
	switch {
	case r.bad > 0:
		return fmt.Errorf("%s: what makes no sense was left out: %s", path, plural.Of(r.bad, "line"))
	case !r.ended:
		return fmt.Errorf("%s has no end: what collected it was cut off", path)
	}
	return nil
}

func (r *reading) take(item eventfile.Item) error {
	switch {
	case item.Observation != nil:
		if r.UTC && !r.begun {
			return errors.New("--utc: the file does not begin with a startup section, which tells the time of the day")
		}
		if err := r.event(item.Observation); err != nil {
			return broken(err)
		}
	case item.End != nil:
		r.ended = true
		for _, l := range item.End.Loss {
			notice(fmt.Sprintf("Lost when this was collected: %d × %s.", l.Count, l.Cause))
		}
	case item.Startup != nil:
		r.begun = true
		r.ended = r.ended || !isOurs(item.Startup) // Retis writes no end
		r.format = r.formatFlags.format(item.Startup.Offset)
		r.evidence.NoFunctions = item.Startup.NoFunctions
	}
	return nil
}

func (r *reading) finish() error {
	if r.end != nil {
		if err := r.end(); err != nil {
			return broken(err)
		}
	}
	if err := r.out.Flush(); err != nil {
		return broken(err)
	}
	return nil
}

// broken is the error of a write to standard output; if nobody reads it any more, that is worth no word.
func broken(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return exitStatus(128 + int(syscall.SIGPIPE))
	}
	return fmt.Errorf("print: %w", err)
}

func isOurs(s *eventfile.Startup) bool { return strings.HasPrefix(s.Version, "waybill") }
