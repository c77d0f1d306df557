package topology

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// YAML writes the network in the form that [Parse] reads. What cannot be in a file, such as a program that the test loaded,
// is an error.
func (n *Network) YAML() ([]byte, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	return n.yaml()
}

// Standalone is [Network.YAML] for a file that is to be read without this process and away from its folder: texts in files are
// part of it, paths of programs are absolute, and what cannot be in a file is left out, and told in left.
func (n *Network) Standalone() (text []byte, left []string, err error) {
	if err := n.Validate(); err != nil {
		return nil, nil, err
	}
	w := &writer{standalone: true}
	text, err = w.network(n)
	return text, w.left, err
}

func (n *Network) yaml() ([]byte, error) { return new(writer).network(n) }

func (w *writer) network(n *Network) ([]byte, error) {
	root := mappingNode()
	nodes := mappingNode()
	for i, node := range n.nodes {
		add(nodes, node.Name, w.structure(fmt.Sprintf("Nodes[%d]", i), reflect.ValueOf(node).Elem()))
	}
	add(root, "nodes", nodes)
	links := &yaml.Node{Kind: yaml.SequenceNode}
	for i, link := range n.links {
		pair := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, end := range link.ends {
			pair.Content = append(pair.Content, text(end.Name))
		}
		options := w.structure(fmt.Sprintf("Links[%d]", i), reflect.ValueOf(link.options))
		if len(options.Content) == 0 {
			links.Content = append(links.Content, pair)
			continue
		}
		options.Content = append([]*yaml.Node{text("between"), pair}, options.Content...)
		links.Content = append(links.Content, options)
	}
	if len(n.links) > 0 {
		add(root, "links", links)
	}
	if len(w.faults) > 0 {
		return nil, errors.Join(w.faults...)
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(root), encoder.Close()); err != nil {
		return nil, fmt.Errorf("write network as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// writer makes YAML of a network.
type writer struct {
	faults     []error
	standalone bool
	left       []string
}

func (w *writer) fault(path, message string) {
	w.faults = append(w.faults, &Fault{Path: path, text: path + ": " + message})
}

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func add(mapping *yaml.Node, key string, value *yaml.Node) {
	mapping.Content = append(mapping.Content, text(key), value)
}

// text is a scalar in the style that is easiest to read and means the text.
func text(s string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(s)
	literal := strings.Contains(s, "\n") && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r)
	})
	for line := range strings.Lines(s) {
		literal = literal && !strings.HasSuffix(strings.TrimSuffix(line, "\n"), " ")
	}
	switch {
	case literal && s[0] != '\t':
		node.Style = yaml.LiteralStyle
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		node.Style = yaml.DoubleQuotedStyle
	default:
		node.Style &^= yaml.LiteralStyle
	}
	return node
}

// structure writes the fields of a struct that are not zero. One of few short fields is in one line.
func (w *writer) structure(path string, from reflect.Value) *yaml.Node {
	mapping := mappingNode()
	if device, ok := from.Interface().(Device); ok && device.Kind != nil {
		add(mapping, kindKey(device.Kind), w.structure(path+".Kind", reflect.ValueOf(device.Kind)))
	}
	if program, ok := from.Interface().(Program); ok && program.Loaded != nil && w.standalone {
		w.left = append(w.left, path+": a program that was loaded")
	} else if ok && program.Loaded != nil {
		w.fault(path, "a program that was loaded cannot be in a file: give the ELF file that it is in")
	}
	names, byKey := fields(from.Type())
	for _, name := range names {
		field := byKey[name]
		value := from.FieldByIndex(field.Index)
		if value.IsZero() || value.Kind() == reflect.Slice && value.Len() == 0 || value.Kind() == reflect.Map && value.Len() == 0 {
			continue
		}
		path := path + "." + field.Name
		if file, ok := strings.CutPrefix(fmt.Sprint(value), "@"); ok && from.Type() == nodeType.Elem() && textFields[field.Name] {
			if w.standalone {
				add(mapping, name, w.inline(path, file))
				continue
			}
			in := mappingNode()
			add(in, "file", text(file))
			in.Style = yaml.FlowStyle
			add(mapping, name, in)
			continue
		}
		if from.Type() == programType && field.Name == "File" && w.standalone {
			file, err := filepath.Abs(value.String())
			if err != nil {
				w.fault(path, err.Error())
			}
			add(mapping, name, text(file))
			continue
		}
		add(mapping, name, w.value(path, value))
	}
	if from.Type() != nodeType.Elem() && from.Type() != reflect.TypeFor[LinkOptions]() && short(mapping) || len(mapping.Content) == 0 {
		mapping.Style = yaml.FlowStyle
	}
	return mapping
}

// inline is the text of a file.
func (w *writer) inline(path, file string) *yaml.Node {
	data, err := os.ReadFile(file)
	if err != nil {
		w.fault(path, "read the text: "+err.Error())
	}
	if !utf8.Valid(data) {
		w.fault(path, file+" is no UTF-8, which YAML must be")
	}
	return text(string(data))
}

// short reports whether a mapping or list fits well into a line.
func short(node *yaml.Node) bool {
	length := 0
	for _, part := range node.Content {
		if part.Kind != yaml.ScalarNode && (part.Style&yaml.FlowStyle == 0 || len(part.Content) > 2) || strings.Contains(part.Value, "\n") {
			return false
		}
		length += len(part.Value) + 2
		for _, inner := range part.Content {
			length += len(inner.Value) + 2
		}
	}
	return length <= 60
}

// value writes a value that is not zero.
func (w *writer) value(path string, from reflect.Value) *yaml.Node {
	switch value := from.Interface().(type) {
	case *Node:
		return text(value.Name)
	case host6:
		return text("v6(" + value.node.Name + ")")
	case Host:
		return text(value.Addr().String())
	case time.Duration:
		return text(value.String())
	case []Device:
		devices := mappingNode()
		for i, device := range value {
			name := device.Name
			device.Name = ""
			add(devices, name, w.structure(fmt.Sprintf("%s[%d]", path, i), reflect.ValueOf(device)))
		}
		return devices
	}
	switch from.Kind() {
	case reflect.Pointer:
		return w.structure(path, from.Elem())
	case reflect.Struct:
		return w.structure(path, from)
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range from.Len() {
			list.Content = append(list.Content, w.value(fmt.Sprintf("%s[%d]", path, i), from.Index(i)))
		}
		if short(list) {
			list.Style = yaml.FlowStyle
		}
		return list
	case reflect.Map:
		mapping := mappingNode()
		for _, key := range slices.Sorted(maps.Keys(keysOf(from))) {
			add(mapping, key, w.value(fmt.Sprintf("%s[%q]", path, key), from.MapIndex(reflect.ValueOf(key))))
		}
		return mapping
	case reflect.String:
		if !utf8.ValidString(from.String()) {
			w.fault(path, "it is no UTF-8, which YAML must be")
		}
		return text(from.String())
	case reflect.Float64:
		return plain(strconv.FormatFloat(from.Float(), 'f', -1, 64))
	}
	return plain(fmt.Sprint(from)) // numbers and truth values
}

func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// keysOf are the keys of a map from strings to anything.
func keysOf(from reflect.Value) map[string]bool {
	keys := make(map[string]bool)
	for _, key := range from.MapKeys() {
		keys[key.String()] = true
	}
	return keys
}
