package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/eventfile"
	"github.com/waybill-dev/waybill/journey"
)

type printCommand struct {
	File string `arg:"" optional:"" default:"${defaultFile}" help:"The file (${default})."`
}

// Help is shown by waybill print --help.
func (printCommand) Help() string {
	return "The file is one of waybill collect, or of Retis. Events are printed in the order in which they happened."
}

// Run prints events.
func (c printCommand) Run(context.Context) error {
	return eachLine(c.File, func(out io.Writer, o *journey.Observation) error {
		if o.Kind != journey.Seen {
			return nil
		}
		_, err := io.WriteString(out, o.Text())
		return err
	}, nil, nil)
}

type sortCommand struct {
	File string `arg:"" optional:"" default:"${defaultFile}" help:"The file (${default})."`
}

// Help is shown by waybill sort --help.
func (sortCommand) Help() string {
	return "The events of each packet are printed together, as a journey, when the packet is over: ↳ marks all but the first, and n " +
		"counts them. Events of clones are marked. Only packets that are not over are kept in memory. In files of Retis nothing " +
		"tells that a packet is over, and journeys come at the end."
}

// quiet is how long nothing must have been observed of a packet that was freed until it is over.
const quiet = time.Second

// Run prints journeys.
func (c sortCommand) Run(context.Context) error {
	assembler := journey.NewAssembler(0)
	show := func(out io.Writer, record *journey.Record) error {
		for _, j := range record.Journeys {
			if len(j.Events) == 0 {
				continue
			}
			if _, err := fmt.Fprintf(out, "%s\nThe packet was %s.\n\n", j.Text(), j.Sentence()); err != nil {
				return err
			}
		}
		return nil
	}
	var n, taken uint64
	var evidence journey.Evidence
	return eachLine(c.File, func(out io.Writer, o *journey.Observation) error {
		assembler.Add(o)
		if n++; n%4096 != 0 || o.Time < taken+uint64(quiet) {
			return nil
		}
		taken = o.Time
		return show(out, assembler.Take(o.Time-uint64(quiet), evidence))
	}, func(s *eventfile.Startup) {
		evidence.NoFunctions = s.NoFunctions
	}, func(out io.Writer) error { return show(out, assembler.Seal(evidence)) })
}

// eachLine reads a file, and has each observation in it printed. Lines that make no sense are told, and are an error in the end.
func eachLine(path string, show func(io.Writer, *journey.Observation) error, first func(*eventfile.Startup),
	last func(io.Writer) error,
) (err error) {
	signal.Ignore(syscall.SIGPIPE) // whoever reads may go
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriterSize(os.Stdout, 64<<10)
	bad, ended := 0, false
	for item, err := range eventfile.Read(file) {
		if wrong, ok := errors.AsType[*eventfile.LineError](err); ok {
			bad++
			notice(fmt.Sprintf("%s: %v", path, wrong))
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case item.Observation != nil:
			err = show(out, item.Observation)
		case item.End != nil:
			ended = true
			for _, l := range item.End.Loss {
				notice(fmt.Sprintf("Lost when this was collected: %d × %s.", l.Count, l.Cause))
			}
		case item.Startup != nil:
			ended = ended || !isOurs(item.Startup) // Retis writes no end
			if first != nil {
				first(item.Startup)
			}
		}
		if err != nil {
			return broken(err)
		}
	}
	if last != nil {
		if err := last(out); err != nil {
			return broken(err)
		}
	}
	if err := out.Flush(); err != nil {
		return broken(err)
	}
	switch {
	case bad > 0:
		return fmt.Errorf("%s: %d lines make no sense and were left out", path, bad)
	case !ended:
		return fmt.Errorf("%s has no end: what collected it was cut off", path)
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
