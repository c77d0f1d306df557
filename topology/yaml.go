package topology

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadFile reads a network from a YAML file; see [Parse].
func ReadFile(path string) (*Network, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read network: %w", err)
	}
	return Parse(path, text)
}

// Parse reads a network from YAML: nodes by their names, links as pairs of them, and all fields by the names that they have
// in Go, in small letters with underscores between words (docs/topology.md). Whatever is wrong is reported together, one
// [*FileError] each: what the file may not say, or else what [Network.Validate] finds. The name is for errors; files that
// the text names are relative to its folder.
func Parse(name string, text []byte) (*Network, error) {
	r := &reader{network: &Network{}, names: make(map[string]*Node), source: &source{file: name, lines: make(map[string]int)}}
	root, err := r.parse(text)
	if err != nil {
		return nil, err
	}
	r.read(root)
	if len(r.faults) > 0 {
		return nil, inOrder(r.faults)
	}
	r.network.source = r.source
	if err := r.network.Validate(); err != nil {
		return nil, r.locate(err)
	}
	return r.network, nil
}

// FileError is something wrong with a file that a network is read from.
type FileError struct {
	File string
	Line int // from 1; 0 if it is not known
	Err  error
}

// Error is the error with the place before it, as compilers print it.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns the error.
func (e *FileError) Unwrap() error { return e.Err }

// source is where a network was read from.
type source struct {
	file string
	// lines are those in which the value at a path begins; texts are those in which the first line of a text is.
	lines map[string]int
	texts map[string]int
}

// locate adds the place to each error of several that has a path.
func (s *source) locate(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return &FileError{File: s.file, Err: err}
	}
	var located []*FileError
	for _, err := range joined.Unwrap() {
		line := 0
		if fault, ok := errors.AsType[*Fault](err); ok {
			line = s.line(fault.Path)
		}
		located = append(located, &FileError{s.file, line, err})
	}
	return inOrder(located)
}

// inOrder joins errors in the order of their lines.
func inOrder(errs []*FileError) error {
	slices.SortStableFunc(errs, func(a, b *FileError) int { return a.Line - b.Line })
	var all []error
	for _, err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// line finds the line of a path, or of the nearest thing around it.
func (s *source) line(path string) int {
	for path != "" {
		if line, ok := s.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// inText adds the place to what a program says about a text of a node that was read from a file.
func (n *Network) inText(node *Node, field string, err error) error {
	line := 0
	if refused, ok := errors.AsType[*NFTError](err); ok && refused.File == "" {
		line = refused.Line
	} else if refused, ok := errors.AsType[*ToolError](err); ok && refused.File == "" {
		line = refused.Line
	}
	if n.source == nil || err == nil {
		return err
	}
	path := fmt.Sprintf("Nodes[%d].%s", slices.Index(n.nodes, node), field)
	if first, ok := n.source.texts[path]; ok && line > 0 {
		return &FileError{n.source.file, first + line - 1, err}
	}
	return &FileError{n.source.file, n.source.line(path), err}
}

// reader makes a network of YAML.
type reader struct {
	*source
	network *Network
	names   map[string]*Node
	faults  []*FileError
	visited int
}

// maxVisited is how many values a file may hold: aliases multiply them.
const maxVisited = 100_000

// yamlLine finds the line in the library's messages.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse reads the text as YAML, and finds the mapping in it.
func (r *reader) parse(text []byte) (*yaml.Node, error) {
	var document yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	err := decoder.Decode(&document)
	if err == nil {
		var next yaml.Node
		if decoder.Decode(&next) == nil {
			return nil, &FileError{r.file, next.Line, errors.New("a second document begins: a file is one network")}
		}
	}
	if at := yamlLine.FindStringSubmatch(fmt.Sprint(err)); err != nil && at != nil {
		line, _ := strconv.Atoi(at[1])
		return nil, &FileError{r.file, line, errors.New(strings.TrimPrefix(err.Error(), at[0]))}
	}
	if err != nil || len(document.Content) == 0 {
		return nil, &FileError{r.file, 0, errors.New("it is empty: declare nodes and links")}
	}
	return document.Content[0], nil
}

func (r *reader) fault(at *yaml.Node, path, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if path != "" {
		message = path + ": " + message
	}
	fault := &FileError{r.file, at.Line, errors.New(message)}
	if !slices.ContainsFunc(r.faults, func(known *FileError) bool { return known.Error() == fault.Error() }) {
		r.faults = append(r.faults, fault)
	}
}

// read reads the whole file: first the names of nodes, so that anything may refer to them.
func (r *reader) read(root *yaml.Node) {
	r.texts = make(map[string]int)
	var nodes []*yaml.Node
	var links *yaml.Node
	r.mapping(root, "", []string{"nodes", "links"}, func(key, value *yaml.Node) {
		switch key.Value {
		case "nodes":
			r.mapping(value, "Nodes", nil, func(name, declared *yaml.Node) {
				if _, err := netip.ParseAddr(name.Value); err == nil {
					r.fault(name, "Nodes", "the name %q is an address: a reference to it would mean that", name.Value)
				}
				r.lines[fmt.Sprintf("Nodes[%d]", len(nodes))] = name.Line
				r.names[name.Value] = r.network.Add(Node{Name: name.Value})
				nodes = append(nodes, declared)
			})
		case "links":
			links = value
		}
	})
	for i, node := range nodes {
		r.structure(node, fmt.Sprintf("Nodes[%d]", i), reflect.ValueOf(r.network.nodes[i]).Elem())
	}
	if links != nil {
		r.sequence(links, "Links", func(link *yaml.Node, path string) { r.link(link, path) })
	}
}

// link reads one link: a pair of nodes, or a mapping in which they are between.
func (r *reader) link(at *yaml.Node, path string) {
	r.lines[path] = at.Line
	at = r.resolve(at, path)
	pair := at
	var options LinkOptions
	if at.Kind == yaml.MappingNode {
		pair = nil
		for i := 0; i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == "between" {
				pair = r.resolve(at.Content[i+1], path)
			}
		}
		r.structure(at, path, reflect.ValueOf(&options).Elem())
	}
	if pair == nil || pair.Kind != yaml.SequenceNode || len(pair.Content) != 2 {
		r.fault(at, path, "give the two nodes, as in [client, server], or with between: [client, server]")
		return
	}
	var ends [2]*Node
	for i, end := range pair.Content {
		ends[i] = r.node(end, path)
	}
	if ends[0] != nil && ends[1] != nil {
		r.network.Connect(ends[0], ends[1], options)
	}
}

// resolve follows aliases and keeps count. What cannot be read is an empty node.
func (r *reader) resolve(at *yaml.Node, path string) *yaml.Node {
	r.visited++
	if at.Kind == yaml.AliasNode {
		at = at.Alias
	}
	switch {
	case r.visited == maxVisited:
		r.fault(at, "", "aliases make more of this than any network is: leave them out")
		fallthrough
	case r.visited > maxVisited:
		return &yaml.Node{Line: at.Line}
	case strings.HasPrefix(at.Tag, "!") && !strings.HasPrefix(at.Tag, "!!"):
		r.fault(at, path, "the tag %s is for nothing here: leave it out", at.Tag)
	}
	return at
}

// mapping reads the entries of a mapping, of which nothing is an empty one. A key must be one of those known, if there are
// any, and be given once.
func (r *reader) mapping(at *yaml.Node, path string, known []string, entry func(key, value *yaml.Node)) {
	at = r.resolve(at, path)
	if at.Kind == 0 || at.ShortTag() == "!!null" {
		return
	}
	if at.Kind != yaml.MappingNode {
		r.fault(at, path, "give a mapping, with a key and a value in each line")
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(at.Content); i += 2 {
		key, value := at.Content[i], at.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fault(key, path, "a key must be a word")
		case seen[key.Value]:
			r.fault(key, path, "%q is given twice: give it once", key.Value)
		case known != nil && !slices.Contains(known, key.Value):
			hint := meant(key.Value, known)
			if hint == "" {
				hint = ": known are " + strings.Join(known, ", ")
			}
			r.fault(key, path, "there is no key %q%s", key.Value, hint)
		default:
			entry(key, value)
		}
		seen[key.Value] = true
	}
}

// sequence reads the elements of a list, of which nothing is an empty one.
func (r *reader) sequence(at *yaml.Node, path string, element func(at *yaml.Node, path string)) {
	at = r.resolve(at, path)
	if at.Kind == 0 || at.ShortTag() == "!!null" {
		return
	}
	if at.Kind != yaml.SequenceNode {
		r.fault(at, path, "give a list, with a hyphen before each element, or in brackets")
		return
	}
	for i, each := range at.Content {
		element(each, fmt.Sprintf("%s[%d]", path, i))
	}
}

// structure reads the fields of a struct.
func (r *reader) structure(at *yaml.Node, path string, into reflect.Value) {
	names, byKey := fields(into.Type())
	switch into.Type() {
	case deviceType:
		names = append(names, slices.Sorted(maps.Keys(kinds))...)
	case reflect.TypeFor[LinkOptions]():
		names = append(names, "between")
	}
	r.mapping(at, path, names, func(key, value *yaml.Node) {
		if kind, ok := kinds[key.Value]; ok && into.Type() == deviceType {
			r.kind(key, value, path+".Kind", kind, into.FieldByName("Kind"))
			return
		}
		field, ok := byKey[key.Value]
		if !ok {
			return // between
		}
		path := path + "." + field.Name
		if textFields[field.Name] && into.Type() == nodeType.Elem() {
			r.text(value, path, into.FieldByIndex(field.Index))
		} else {
			r.value(value, path, into.FieldByIndex(field.Index))
		}
		r.lines[path] = key.Line
	})
}

// kind reads what a device is.
func (r *reader) kind(key, value *yaml.Node, path string, kind reflect.Type, into reflect.Value) {
	if !into.IsNil() {
		r.fault(key, path, "it is %s already: a device is of one kind", kindKey(into.Interface().(Kind)))
		return
	}
	r.lines[path] = key.Line
	made := reflect.New(kind).Elem()
	r.structure(value, path, made)
	into.Set(made)
}

// text reads a text, or the name of the file that it is in.
func (r *reader) text(at *yaml.Node, path string, into reflect.Value) {
	at = r.resolve(at, path)
	if at.Kind == yaml.MappingNode {
		var in struct{ File string }
		r.structure(at, path, reflect.ValueOf(&in).Elem())
		if in.File == "" {
			r.fault(at, path, "give the text, or the file that it is in")
		}
		into.SetString("@" + r.relative(in.File))
		return
	}
	if at.Style&yaml.LiteralStyle != 0 {
		r.texts[path] = at.Line + 1
	}
	r.value(at, path, into)
	if file, ok := strings.CutPrefix(into.String(), "@"); ok {
		into.SetString("@" + r.relative(file))
	}
}

// relative is a file that the text names, as seen from the folder of the file that is being read.
func (r *reader) relative(file string) string {
	if filepath.IsAbs(file) || file == "" {
		return file
	}
	return filepath.Join(filepath.Dir(r.file), file)
}
