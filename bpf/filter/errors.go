package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says why an expression is refused, and where: its text is one sentence, and below it the expression with carets under
// the place.
type Error struct {
	Expression string
	At, Length int // the place, in bytes
	Reason     string
}

// span is a place in an expression, in bytes: from at, and up to end.
type span struct{ at, end int }

// to is the place from one to another.
func (s span) to(other span) span { return span{s.at, other.end} }

// refusal is an [Error] on its way up to where the expression is known.
type refusal struct {
	span
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(where span, format string, args ...any) *refusal {
	return &refusal{where, fmt.Sprintf(format, args...)}
}

// in completes the refusal.
func (r *refusal) in(expression string) *Error {
	return &Error{Expression: expression, At: r.at, Length: r.end - r.at, Reason: r.reason}
}

// What is shown of a long expression: so much on either side of the place, in letters.
const (
	shownBefore = 50
	shownAfter  = 40
)

// Error returns three lines without a line break at the end.
func (e *Error) Error() string {
	before := []rune(visible(e.Expression[:e.At]))
	place := []rune(visible(e.Expression[e.At : e.At+e.Length]))
	after := []rune(visible(e.Expression[e.At+e.Length:]))
	if len(before) > shownBefore {
		before = append([]rune("…"), before[len(before)-shownBefore+1:]...)
	}
	if len(place) > shownAfter {
		place, after = append(place[:shownAfter-1], '…'), nil
	}
	if len(after) > shownAfter {
		after = append(after[:shownAfter-1], '…')
	}
	return fmt.Sprintf("%s\n  %s%s%s\n  %s%s", e.Reason, string(before), string(place), string(after),
		strings.Repeat(" ", len(before)), strings.Repeat("^", max(1, len(place))))
}

// visible replaces what has no width, or more than one letter's, so that the carets stand where they should.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			return '�'
		}
		return r
	}, text)
}
