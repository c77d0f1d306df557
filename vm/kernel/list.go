package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// Source says where a named kernel comes from.
type Source struct {
	Name string // what users call it: "6.12"
	// Role is what the kernel stands for in a test matrix: oldest, stable, newest, or "-".
	Role    string
	Suite   string // of Debian's archive: "bookworm-backports"
	Package string // its name, in which * stands for anything
}

// List is a list of named kernels.
type List []Source

// ParseList reads a list of kernels: a line for each, with name, role, suite and package; # begins a comment.
func ParseList(text string) (List, error) {
	var l List
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 4 {
			return nil, fmt.Errorf("list of kernels, line %d: %d words where name, role, suite and package belong",
				number, len(words))
		}
		s := Source{Name: words[0], Role: words[1], Suite: words[2], Package: words[3]}
		// The name becomes that of a folder.
		if strings.ContainsAny(s.Name, "/\\") || strings.HasPrefix(s.Name, ".") {
			return nil, fmt.Errorf("list of kernels, line %d: %q cannot be a kernel's name", number, s.Name)
		}
		if slices.ContainsFunc(l, func(o Source) bool { return o.Name == s.Name }) {
			return nil, fmt.Errorf("list of kernels, line %d: %s is listed twice", number, s.Name)
		}
		l = append(l, s)
	}
	return l, nil
}

// UnknownError says that a name is not in the list.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown kernel %q: known are %s", e.Name, strings.Join(e.Known, ", "))
}

// Find returns the kernel of that name, or an [UnknownError].
func (l List) Find(name string) (Source, error) {
	unknown := &UnknownError{Name: name}
	for _, s := range l {
		if s.Name == name {
			return s, nil
		}
		unknown.Known = append(unknown.Known, s.Name)
	}
	return Source{}, unknown
}
