package bpf

import (
	"fmt"
	"path"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// request is what a user names in order to observe it: "ip_rcv", "kr:ip_rcv", "tp:net:net_dev_queue", "tcp_v4_*/stack".
// Requests that are equal are the same probe.
type request struct {
	kind journey.ProbeKind
	// name is a function's; a tracepoint's with its group, "net:net_dev_queue"; or a raw tracepoint's own, "net_dev_queue".
	name  string
	stack bool // events come with the kernel's stack
}

// prefixes are the types of probes, as users write them. Without one, the entry of a function is meant.
var prefixes = map[string]journey.ProbeKind{
	"k": journey.Function, "kprobe": journey.Function,
	"kr": journey.Return, "kretprobe": journey.Return,
	"tp": journey.Tracepoint, "raw_tracepoint": journey.RawTracepoint,
}

// parseRequest reads [k|kprobe|kr|kretprobe|tp|raw_tracepoint:]NAME[/stack].
func parseRequest(text string) (request, error) {
	bad := func(format string, args ...any) (request, error) {
		return request{}, fmt.Errorf("probe %q: %s", text, fmt.Sprintf(format, args...))
	}
	r := request{kind: journey.Function, name: text}
	if prefix, rest, ok := strings.Cut(text, ":"); ok {
		if r.kind, ok = prefixes[prefix]; !ok {
			return bad("%q is no type of probe: write k, kr, tp or raw_tracepoint before the colon", prefix)
		}
		r.name = rest
	}
	if name, option, ok := strings.Cut(r.name, "/"); ok {
		if option != "stack" {
			return bad("%q is no option: the only one is /stack", "/"+option)
		}
		r.name, r.stack = name, true
	}
	group, name, grouped := strings.Cut(r.name, ":")
	switch {
	case r.name == "":
		return bad("it names nothing: write a function or a tracepoint, as in ip_rcv or tp:net:net_dev_queue")
	case r.kind == journey.Tracepoint && (group == "" || name == "" || strings.Contains(name, ":")):
		return bad("a tracepoint is named by its group too, as in tp:net:net_dev_queue")
	case r.kind == journey.RawTracepoint && grouped:
		return bad("a raw tracepoint has no group: write raw_tracepoint:%s", name)
	case r.kind != journey.Tracepoint && grouped:
		return bad("a function's name has no colon in it")
	case r.isPattern():
		if _, err := path.Match(r.name, ""); err != nil {
			return bad("a bracket is not closed, or holds nothing: write a pattern as in tcp_v[46]_*")
		}
		fallthrough
	default:
		if i := strings.IndexFunc(r.name, func(c rune) bool { return !isNameRune(c, r.isPattern(), grouped) }); i >= 0 {
			return bad("no name has the character %q in it", []rune(r.name[i:])[0])
		}
	}
	return r, nil
}

// CheckProbe tells what is wrong with a probe as users write it, whatever the kernel has.
func CheckProbe(text string) error {
	_, err := parseRequest(text)
	return err
}

// isNameRune tells what names and patterns are made of. A dot is in names that the compiler made: tcp_ack.constprop.0.
func isNameRune(c rune, pattern, grouped bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.':
		return true
	}
	return pattern && strings.ContainsRune("*?[]^-", c) || grouped && c == ':'
}

// isPattern tells whether the name stands for all that match it.
func (r request) isPattern() bool { return strings.ContainsAny(r.name, "*?[") }

// matches tells whether a name is one that the pattern stands for.
func (r request) matches(name string) bool {
	ok, err := path.Match(r.name, name)
	return ok && err == nil
}

// with is the same request for a name that the pattern stands for.
func (r request) with(name string) request {
	r.name = name
	return r
}

// probe is the place in the kernel.
func (r request) probe() journey.Probe { return journey.Probe{Kind: r.kind, Name: r.name} }

// String is the shortest text that [parseRequest] reads as the same request.
func (r request) String() string {
	text := r.name
	switch r.kind {
	case journey.Return:
		text = "kr:" + text
	case journey.Tracepoint:
		text = "tp:" + text
	case journey.RawTracepoint:
		text = "raw_tracepoint:" + text
	}
	if r.stack {
		text += "/stack"
	}
	return text
}
