package vm

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
)

// stream copies one output of the guest to the caller, and counts.
type stream struct {
	n    atomic.Int64
	err  error         // the writer's; read after done, or when the count is complete
	done chan struct{} // closed when the guest's end was closed
}

// newStream starts copying. It puts a token into moved whenever it has copied something.
func newStream(from io.Reader, to io.Writer, moved chan<- struct{}) *stream {
	s := &stream{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 && s.err == nil {
				_, s.err = to.Write(buf[:n])
			}
			// Output that nobody takes is counted all the same, so that the program comes to its end.
			s.n.Add(int64(n))
			select {
			case moved <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// failure tells whether the caller's writer failed.
func (s *stream) failure() error {
	if s.err != nil {
		return fmt.Errorf("pass on the program's output: %w", s.err)
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
