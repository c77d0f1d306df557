package topology

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value reads a value of any type that a declaration has.
func (r *reader) value(at *yaml.Node, path string, into reflect.Value) {
	at = r.resolve(at, path)
	r.lines[path] = at.Line
	switch into.Type() {
	case hostType:
		if host := r.host(at, path); host != nil {
			into.Set(reflect.ValueOf(host))
		}
		return
	case nodeType:
		into.Set(reflect.ValueOf(r.node(at, path)))
		return
	case devicesType:
		var devices []Device
		r.mapping(at, path, nil, func(name, declared *yaml.Node) {
			path := fmt.Sprintf("%s[%d]", path, len(devices))
			r.lines[path] = name.Line
			device := Device{Name: name.Value}
			r.structure(declared, path, reflect.ValueOf(&device).Elem())
			if device.Name != name.Value {
				r.fault(name, path, "it is called %s, and name says %s: leave name out", name.Value, device.Name)
			}
			devices = append(devices, device)
		})
		into.Set(reflect.ValueOf(devices))
		return
	case programType:
		program := into.Addr().Interface().(*Program)
		if at.Kind == yaml.ScalarNode {
			r.scalar(at, path, into.FieldByName("File"))
		} else {
			r.structure(at, path, into)
		}
		program.File = r.relative(program.File)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		r.structure(at, path, into.Elem())
	case reflect.Struct:
		r.structure(at, path, into)
	case reflect.Slice:
		add := func(at *yaml.Node, path string) {
			element := reflect.New(into.Type().Elem()).Elem()
			r.value(at, path, element)
			into.Set(reflect.Append(into, element))
		}
		if at.Kind == yaml.ScalarNode && at.ShortTag() != "!!null" && into.Type().Elem().Kind() != reflect.Struct {
			add(at, path) // a list of one
			return
		}
		r.sequence(at, path, add)
	case reflect.Map:
		r.mapping(at, path, nil, func(key, value *yaml.Node) {
			if into.IsNil() {
				into.Set(reflect.MakeMap(into.Type()))
			}
			element := reflect.New(into.Type().Elem()).Elem()
			r.scalar(r.resolve(value, path), fmt.Sprintf("%s[%q]", path, key.Value), element)
			into.SetMapIndex(reflect.ValueOf(key.Value), element)
		})
	default:
		r.scalar(at, path, into)
	}
}

// scalar reads a text or a number.
func (r *reader) scalar(at *yaml.Node, path string, into reflect.Value) {
	switch {
	case at.Kind == 0:
		return
	case at.Kind != yaml.ScalarNode:
		r.fault(at, path, "give a single value")
		return
	case at.ShortTag() == "!!null" && at.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0:
		r.fault(at, path, "is empty: give a value, or leave the key out")
		return
	}
	text := at.Value
	switch {
	case into.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			r.fault(at, path, "%q is no duration: write one such as 20ms or 1m30s", text)
		}
		into.SetInt(int64(d))
	case into.Kind() == reflect.String:
		into.SetString(text)
	case into.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			r.fault(at, path, "%q is neither true nor false", text)
		}
		into.SetBool(text == "true")
	case into.CanFloat():
		number, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil {
			r.fault(at, path, "%q is no number", text)
		}
		into.SetFloat(number)
	case into.Type() == reflect.TypeFor[uint64]():
		rate, err := parseRate(text)
		if err != nil {
			r.fault(at, path, "%q is no rate: write one such as 10mbit, or bits a second", text)
		}
		into.SetUint(rate)
	case into.CanUint():
		number, err := strconv.ParseUint(text, 0, into.Type().Bits())
		if err != nil {
			r.fault(at, path, "%q is no number from 0 to %d", text, uint64(1)<<into.Type().Bits()-1)
			return
		}
		into.SetUint(number)
	case into.CanInt():
		number, err := strconv.ParseInt(text, 0, 32)
		if err != nil {
			r.fault(at, path, "%q is no number", text)
			return
		}
		into.SetInt(number)
	default:
		panic(fmt.Sprintf("topology: %s has a type that cannot be in a file: %s", path, into.Type()))
	}
}

// units are those of rates, as tc writes them.
var units = []struct {
	suffix string
	factor uint64
}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}, {"", 1}}

func parseRate(text string) (uint64, error) {
	for _, unit := range units {
		if digits, ok := strings.CutSuffix(text, unit.suffix); ok {
			number, err := strconv.ParseUint(digits, 0, 64)
			if err == nil && number > 1<<63/unit.factor {
				err = strconv.ErrRange
			}
			return number * unit.factor, err
		}
	}
	return 0, strconv.ErrSyntax
}

// node finds a node by its name.
func (r *reader) node(at *yaml.Node, path string) *Node {
	at = r.resolve(at, path)
	if at.Kind != yaml.ScalarNode {
		r.fault(at, path, "give the name of a node")
		return nil
	}
	return r.named(at, path, at.Value)
}

func (r *reader) named(at *yaml.Node, path, name string) *Node {
	node, ok := r.names[name]
	if !ok {
		r.fault(at, path, "there is no node %q%s", name, meant(name, slices.Sorted(maps.Keys(r.names))))
	}
	return node
}

// host reads an address, the name of a node, or v6(name), which is the node by its IPv6 address.
func (r *reader) host(at *yaml.Node, path string) Host {
	if at.Kind != yaml.ScalarNode {
		r.fault(at, path, "give the name of a node, v6(name), or an address")
		return nil
	}
	if _, err := netip.ParseAddr(at.Value); err == nil {
		return IP(at.Value)
	}
	if inner, ok := strings.CutPrefix(at.Value, "v6("); ok && strings.HasSuffix(inner, ")") {
		if node := r.named(at, path, strings.TrimSuffix(inner, ")")); node != nil {
			return V6(node)
		}
		return nil
	}
	if node := r.named(at, path, at.Value); node != nil {
		return node
	}
	return nil
}
