package eventfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/waybill-dev/waybill/journey"
)

// LineError is a line that makes no sense. Reading goes on behind it.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Item is what a line tells: one of these.
type Item struct {
	Startup     *Startup
	Observation *journey.Observation
	End         *End
}

// longestLine bounds the memory that a file which is none can take.
const longestLine = 16 << 20

// Read reads a file, line after line, and goes on behind those that make no sense: for each there is a [*LineError]. Any other
// error is the last.
func Read(from io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		in := bufio.NewReaderSize(from, bufferBytes)
		var d decoder
		var text []byte
		for number := 1; ; number++ {
			var err error
			text, err = readLine(in, text[:0])
			last := errors.Is(err, io.EOF)
			if err != nil && !last && !errors.Is(err, errTooLong) {
				yield(Item{}, fmt.Errorf("read events: %w", err))
				return
			}
			if trimmed := bytes.TrimSpace(text); err == nil && len(trimmed) == 0 || last && len(text) == 0 {
				if last {
					return
				}
				continue
			}
			var items []Item
			if !errors.Is(err, errTooLong) {
				items, err = d.parse(text)
				if err != nil && last {
					err = fmt.Errorf("the line is not whole: %w", err)
				}
			}
			if err != nil && !yield(Item{}, &LineError{number, err}) {
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if last {
				return
			}
		}
	}
}

var errTooLong = fmt.Errorf("it is longer than %d bytes", longestLine)

// readLine appends what is up to the end of a line to text. Of a line that is too long it keeps nothing.
func readLine(in *bufio.Reader, text []byte) ([]byte, error) {
	tooLong := false
	for {
		part, err := in.ReadSlice('\n')
		if len(text)+len(part) > longestLine {
			tooLong, text = true, nil
		}
		if !tooLong {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, errTooLong
		}
		return text, err
	}
}

// parse returns what a line tells, in order: nothing if any of it makes no sense.
func (d *decoder) parse(text []byte) ([]Item, error) {
	var lines []*line
	var err error
	if text[0] == '[' { // the events of one packet, as retis sort --out writes them
		err = json.Unmarshal(text, &lines)
	} else {
		lines = make([]*line, 1)
		lines[0], err = d.decode(text)
	}
	if err != nil {
		return nil, fmt.Errorf("it is no event: %w", err)
	}
	var items []Item
	for _, l := range lines {
		if l == nil {
			return nil, errors.New("it is no event: null")
		}
		if l.Waybill != nil {
			for _, life := range l.Waybill.Before {
				o, err := life.observation()
				if err != nil {
					return nil, err
				}
				items = append(items, Item{Observation: o})
			}
		}
		item, err := l.item()
		if err != nil {
			return nil, err
		}
		if item != (Item{}) {
			items = append(items, item)
		}
	}
	return items, nil
}

// item is what a line tells apart from lives; nothing if there are but those.
func (l *line) item() (Item, error) {
	switch {
	case l.Startup != nil:
		return Item{Startup: l.start()}, nil
	case l.Waybill != nil && l.Waybill.End != nil:
		return Item{End: l.Waybill.End}, nil
	case l.Common != nil && *l == (line{Common: l.Common, Waybill: l.Waybill}):
		return Item{}, nil // lives only, or what Retis made of such a line
	}
	o, err := l.observation()
	return Item{Observation: o}, err
}

func (l *line) start() *Startup {
	s := l.Startup
	out := &Startup{
		Version: s.Version, Command: s.Command,
		Offset:        time.Duration(s.Offset.Sec)*time.Second + time.Duration(s.Offset.Nsec),
		KernelRelease: s.Machine.Release, KernelVersion: s.Machine.Version, Hardware: s.Machine.Hardware,
	}
	if l.Common != nil {
		out.Time = l.Common.Timestamp
	}
	if w := l.Waybill; w != nil {
		out.Version, out.NoFunctions = w.Version, w.NoFunctions
	}
	return out
}
