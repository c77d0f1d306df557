package shape

import (
	"bufio"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	columns = regexp.MustCompile(` {2,}`)
	wayLine = regexp.MustCompile(`^way \d+ of \d+$`)
)

// Parse reads what [Shape.String] wrote. Lines that begin with # are comments, and empty lines are passed over.
func Parse(text string) (*Shape, error) {
	s := new(Shape)
	in := bufio.NewScanner(strings.NewReader(text))
	for number := 1; in.Scan(); number++ {
		line := strings.TrimRight(in.Text(), " \t\r")
		switch content, indented := strings.CutPrefix(line, "  "); {
		case line == "" || strings.HasPrefix(line, "#"):
		case !indented && s.Packet != "":
			return nil, fmt.Errorf("line %d: a second packet, %q: a hop begins with two spaces", number, line)
		case !indented:
			s.Packet = line
		case s.Packet == "":
			return nil, fmt.Errorf("line %d: a hop of no packet: the first line says which it was", number)
		case wayLine.MatchString(content):
			s.Ways = append(s.Ways, nil)
		default:
			cells := columns.Split(content, 4)
			if len(cells) < 3 || cells[0] == "" {
				return nil, fmt.Errorf("line %d: a hop is a node, a device and a place, with two spaces between them: %q", number, content)
			}
			h := Hop{Node: cells[0], Device: cells[1], Place: cells[2], event: -1}
			if len(cells) > 3 {
				h.Note = cells[3]
			}
			if len(s.Ways) == 0 {
				s.Ways = []Way{nil}
			}
			last := len(s.Ways) - 1
			s.Ways[last] = append(s.Ways[last], h)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read a journey: %w", err)
	}
	if s.Packet == "" || len(s.Ways) == 0 {
		return nil, errors.New("there is no journey in it")
	}
	for i, w := range s.Ways {
		if len(w) == 0 {
			return nil, fmt.Errorf("way %d has no hops", i+1)
		}
	}
	return s, nil
}
