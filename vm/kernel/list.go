package kernel

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Source says what a named kernel is, and where it comes from: from Debian's archive, or from files of the user's own.
type Source struct {
	Name string // what users call it: "6.12"
	// Role is what the kernel stands for in a test matrix, one of Roles; empty: nothing.
	Role string
	// Lacks are features that tests may need and the kernel does not have; tests that are skipped for them name them so.
	Lacks []string

	Suite   string // of Debian's archive: "bookworm-backports"
	Package string // its name, in which * stands for anything: how a newer version is found
	// Version is that of the packages, and Files are they themselves. Both are empty if whatever the mirror has is right.
	Version string
	Files   []Pin

	// Image and Modules are paths of a kernel of the user's own, in place of all from Suite on. Modules may be empty: a
	// kernel without modules.
	Image, Modules string
}

// Pin is a package, and what its file must be.
type Pin struct {
	Package string
	SHA256  string // in hexadecimal digits
}

// Roles of kernels: the oldest that is supported, what most users have, the newest.
var Roles = []string{"oldest", "stable", "newest"}

// Own tells whether a kernel is the user's, and nothing is fetched.
func (s Source) Own() bool { return s.Image != "" }

// List is a list of named kernels.
type List []Source

// fields of a paragraph, in the order in which they are written.
var fields = []string{"Kernel", "Role", "Lacks", "Suite", "Package", "Version", "SHA256", "Image", "Modules"}

var checksum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ParseList reads a list of kernels. The name of the list is for errors. Each kernel is a paragraph of fields, as in
// Debian's control files; a line that begins with # is a comment. Relative paths in it are relative to dir.
func ParseList(name, text, dir string) (List, error) {
	p := &parser{dir: dir}
	for line := range strings.Lines(text + "\n\n") {
		p.line++
		if err := p.parse(strings.TrimRight(line, " \t\r\n")); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, p.line, err)
		}
	}
	return p.list, nil
}

type parser struct {
	dir   string
	line  int
	list  List
	here  map[string]string // fields of the paragraph so far; nil between paragraphs
	field string
}

func (p *parser) parse(line string) error {
	switch {
	case strings.HasPrefix(line, "#"):
		return nil
	case line == "" && p.here == nil:
		return nil
	case line == "":
		s, err := p.source()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(p.list, func(o Source) bool { return o.Name == s.Name }) {
			return fmt.Errorf("kernel %s is listed twice", s.Name)
		}
		p.list, p.here, p.field = append(p.list, s), nil, ""
		return nil
	case line[0] == ' ' || line[0] == '\t':
		if p.field == "" {
			return fmt.Errorf("a line that goes on has no field before it")
		}
		p.here[p.field] += "\n" + strings.TrimSpace(line)
		return nil
	}
	field, value, ok := strings.Cut(line, ":")
	if !ok || !slices.Contains(fields, field) {
		return fmt.Errorf("%q is no field: known are %s", field, strings.Join(fields, ", "))
	}
	if p.here == nil {
		p.here = map[string]string{}
	}
	if _, twice := p.here[field]; twice {
		return fmt.Errorf("%s is given twice", field)
	}
	p.here[field], p.field = strings.TrimSpace(value), field
	return nil
}

// source makes a kernel of the fields of its paragraph.
func (p *parser) source() (Source, error) {
	s := Source{
		Name: p.here["Kernel"], Role: p.here["Role"], Lacks: strings.Fields(p.here["Lacks"]),
		Suite: p.here["Suite"], Package: p.here["Package"], Version: p.here["Version"],
		Image: p.path("Image"), Modules: p.path("Modules"),
	}
	for line := range strings.Lines(p.here["SHA256"]) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 || !checksum.MatchString(words[0]) {
			return s, fmt.Errorf("%q is no checksum and name of a package", strings.TrimSpace(line))
		}
		s.Files = append(s.Files, Pin{Package: words[1], SHA256: words[0]})
	}
	switch {
	case s.Name == "":
		return s, fmt.Errorf("a paragraph has no field Kernel, the name")
	case strings.ContainsAny(s.Name, "/\\ \t\n,") || strings.HasPrefix(s.Name, ".") || strings.HasPrefix(s.Name, "-"):
		return s, fmt.Errorf("%q cannot be a kernel's name", s.Name) // it becomes that of a folder
	case s.Role != "" && !slices.Contains(Roles, s.Role):
		return s, fmt.Errorf("%q is no role: use %s, or leave it out", s.Role, strings.Join(Roles, ", "))
	case s.Own() && (s.Suite != "" || s.Package != "" || s.Version != "" || s.Files != nil):
		return s, fmt.Errorf("kernel %s has an Image, and fields of a package too", s.Name)
	case s.Own():
		return s, nil
	case s.Modules != "":
		return s, fmt.Errorf("kernel %s has Modules, but no Image", s.Name)
	case s.Suite == "" || s.Package == "":
		return s, fmt.Errorf("kernel %s has neither an Image, nor a Suite and a Package", s.Name)
	case (s.Version == "") != (s.Files == nil):
		return s, fmt.Errorf("kernel %s needs both Version and SHA256, or neither", s.Name)
	}
	return s, nil
}

func (p *parser) path(field string) string {
	value := p.here[field]
	if value == "" || filepath.IsAbs(value) {
		return value
	}
	return filepath.Join(p.dir, value)
}

// Extend returns the list with the kernels of another one, which take the place of those of the same name, and the roles
// that they have from others.
func (l List) Extend(more List) List {
	out := slices.Clone(l)
	for _, s := range more {
		for i := range out {
			if s.Role != "" && out[i].Role == s.Role {
				out[i].Role = ""
			}
		}
		if i := slices.IndexFunc(out, func(o Source) bool { return o.Name == s.Name }); i >= 0 {
			out[i] = s
		} else {
			out = append(out, s)
		}
	}
	return out
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

// Rewrite returns the text of a list with a kernel's version and packages put to what s says; what else its paragraph
// says, comments included, stays. A kernel that the text does not have is added at its end.
func Rewrite(text string, s Source) string {
	var out []string
	here, dropped, found, end := false, false, false, 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		field, value, isField := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
			dropped = false
			here = here && strings.HasPrefix(line, "#")
		case line[0] == ' ' || line[0] == '\t':
		case isField:
			if field == "Kernel" {
				here = strings.TrimSpace(value) == s.Name
			}
			dropped = here && (field == "Version" || field == "SHA256")
		}
		if dropped {
			continue
		}
		out = append(out, line)
		if here && line != "" && !strings.HasPrefix(line, "#") {
			found, end = true, len(out)
		}
	}
	if !found {
		if len(out) > 0 && out[len(out)-1] != "" {
			out = append(out, "")
		}
		return strings.Join(append(out, s.paragraph()...), "\n") + "\n"
	}
	return strings.Join(slices.Insert(out, end, s.pins()...), "\n") + "\n"
}

func (s Source) pins() []string {
	if s.Version == "" {
		return nil
	}
	out := []string{"Version: " + s.Version, "SHA256:"}
	for _, f := range s.Files {
		out = append(out, " "+f.SHA256+" "+f.Package)
	}
	return out
}

func (s Source) paragraph() []string {
	out := []string{"Kernel: " + s.Name}
	for _, f := range []struct{ name, value string }{
		{"Role", s.Role}, {"Lacks", strings.Join(s.Lacks, " ")}, {"Suite", s.Suite}, {"Package", s.Package},
	} {
		if f.value != "" {
			out = append(out, f.name+": "+f.value)
		}
	}
	return append(out, s.pins()...)
}
