package eventfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/waybill-dev/waybill/journey"
)

// Startup is what a file says of how its events were collected.
type Startup struct {
	// Time is when it was written, in nanoseconds of CLOCK_MONOTONIC.
	Time uint64
	// Version is that of the program, and Command the command line.
	Version, Command string
	// Offset is how far the clock of the day is ahead of CLOCK_MONOTONIC, in which events are timed.
	Offset time.Duration
	// The others are the kernel's, as uname tells them.
	KernelRelease, KernelVersion, Hardware string
	// NoFunctions is why no functions could be observed; empty if they could. See [journey.Evidence].
	NoFunctions string
}

// End is the last line of a file.
type End struct {
	// Events is the number of events, and Journeys that of packets.
	Events   uint64 `json:"events"`
	Journeys uint64 `json:"journeys"`
	// Loss is what was not observed; empty if nothing is missing.
	Loss []Loss `json:"loss,omitempty"`
}

// Loss is how often something was lost for one cause.
type Loss struct {
	Cause string `json:"cause"`
	Count uint64 `json:"count"`
}

// Writer writes a file of events. It writes whole lines only, so that what is written stays readable.
type Writer struct {
	to      io.Writer
	buffer  bytes.Buffer
	encoder *json.Encoder
	lives   []life // to go with the next line
	time    uint64 // of the newest line
	written int64
	err     error
}

// bufferBytes is when lines are written.
const bufferBytes = 64 << 10

// mostLives is how many lives of sk_buffs wait for an event whose line they can go with.
const mostLives = 256

// format is the version of Retis whose format this is. Its readers ask for it, and pass over what is behind the plus.
const format = "v1.7.0+waybill"

// NewWriter returns a writer. If to is a file that takes no more, it is cut behind the last whole line.
func NewWriter(to io.Writer) *Writer {
	w := &Writer{to: to}
	w.encoder = json.NewEncoder(&w.buffer)
	w.encoder.SetEscapeHTML(false)
	return w
}

// Begin writes the first line.
func (w *Writer) Begin(s Startup) error {
	w.time = s.Time
	w.put(&line{
		Common: &common{Timestamp: s.Time},
		Startup: &startup{
			Version: format, Command: s.Command,
			Offset:  timespec{int64(s.Offset / time.Second), int64(s.Offset % time.Second)},
			Machine: machine{s.KernelRelease, s.KernelVersion, s.Hardware},
		},
		Waybill: &more{Version: s.Version, NoFunctions: s.NoFunctions},
	})
	return w.Flush()
}

// Add writes an observation, which must have all its sections: one that names a look has those once it was given to a
// [journey.Assembler]. Looks themselves are passed over. What becomes of an sk_buff is written with the event that follows.
func (w *Writer) Add(o *journey.Observation) error {
	w.time = max(w.time, o.Time)
	switch o.Kind {
	case journey.Looked:
		return w.err
	case journey.Seen:
		w.put(lineOf(o))
	default:
		if w.lives = append(w.lives, lifeOf(o)); len(w.lives) == mostLives {
			w.put(&line{Common: &common{Timestamp: o.Time}, Waybill: &more{}})
		}
	}
	if w.buffer.Len() >= bufferBytes {
		return w.Flush()
	}
	return w.err
}

// End writes the last line.
func (w *Writer) End(e End) error {
	w.put(&line{Common: &common{Timestamp: w.time}, Waybill: &more{End: &e}})
	return w.Flush()
}

// put writes a line, which has the section of ours.
func (w *Writer) put(l *line) {
	l.Waybill.Before = w.lives
	w.lives = w.lives[:0]
	if w.err == nil {
		w.err = w.encoder.Encode(l)
	}
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	lines := w.buffer.Bytes()
	n, err := w.to.Write(lines)
	if err != nil {
		w.err = fmt.Errorf("write events: %w", err)
		if file, ok := w.to.(interface{ Truncate(size int64) error }); ok && n > 0 {
			// If that fails, the reader tells that the last line is not whole.
			_ = file.Truncate(w.written + int64(bytes.LastIndexByte(lines[:n], '\n')+1))
		}
		return w.err
	}
	w.written += int64(n)
	w.buffer.Reset()
	return nil
}
