package bpf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/waybill-dev/waybill/journey"
)

// stacks names the functions of stacks. The kernel itself is asked for each address, with a program: what it says is true
// of modules that were loaded a moment ago, and of other BPF programs, and does not depend on kernel.kptr_restrict.
type stacks struct {
	ask func(address uint64, called bool) (string, error)
	// known are functions of the kernel itself, which stay where they are.
	known map[uint64]journey.Frame
}

// frames reads a stack, as it would be without tracing. The first frame is what called the probed function, or has the
// tracepoint in it. The function itself, which the probe names, is no frame: not all kernels and types of programs show it.
func (s *stacks) frames(stack *trackerStack, probe journey.Probe) ([]journey.Frame, error) {
	var frames []journey.Frame
	for i, address := range stack.Address[:min(int(stack.Frames), len(stack.Address))] {
		// The first address may be that of a function at its very beginning. All others are those that calls return to.
		frame, err := s.name(address, i > 0)
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return callers(frames, probe), nil
}

func (s *stacks) name(address uint64, called bool) (journey.Frame, error) {
	if frame, ok := s.known[address]; ok {
		return frame, nil
	}
	symbol, err := s.ask(address, called)
	if err != nil {
		return journey.Frame{}, err
	}
	frame := frameOf(symbol)
	if frame.Module == "" && !strings.HasPrefix(frame.Symbol, "0x") {
		if s.known == nil {
			s.known = make(map[uint64]journey.Frame)
		}
		s.known[address] = frame
	}
	return frame, nil
}

// frameOf reads what the kernel prints for %pS: "nft_do_chain+0x2a1/0x5f0 [nf_tables]", or the address in hex.
func frameOf(symbol string) journey.Frame {
	symbol, module, _ := strings.Cut(symbol, " ")
	symbol, _, _ = strings.Cut(symbol, "/")
	f := journey.Frame{Symbol: symbol, Module: strings.Trim(module, "[]")}
	if name, offset, ok := strings.Cut(symbol, "+"); ok {
		if n, err := strconv.ParseUint(offset, 0, 64); err == nil {
			f.Symbol, f.Offset = name, n
		}
	}
	return f
}

// machinery begins the names of the functions by which the kernel gets to programs from a tracepoint
// (include/linux/tracepoint.h, include/trace/bpf_probe.h, kernel/trace/bpf_trace.c), and from a function.
var machinery = []string{
	"bpf_prog_", trampoline, "bpf_trace_run", "__bpf_trace_", "__traceiter_", "ftrace_", "fprobe_", "kprobe_", "trace_call_bpf",
}

// trampoline begins the names of what the kernel writes to call programs of the types fentry and fexit.
const trampoline = "bpf_trampoline_"

// isMachinery tells whether a frame is of what runs at the probe. Programs have no names if net.core.bpf_jit_kallsyms is 0.
func isMachinery(f journey.Frame) bool {
	return strings.HasPrefix(f.Symbol, "0x") ||
		slices.ContainsFunc(machinery, func(prefix string) bool { return strings.HasPrefix(f.Symbol, prefix) })
}

// isEntry tells whether a frame is of the place where a function is traced, which is a call of five bytes behind a marker
// of four at most. The first call of the function itself returns further behind.
func isEntry(f journey.Frame) bool { return f.Offset <= 4+5 }

// callers leaves out what is there because of tracing.
func callers(frames []journey.Frame, probe journey.Probe) []journey.Frame {
	for len(frames) > 0 && isMachinery(frames[0]) {
		frames = frames[1:]
	}
	// By Linux 7.3 the trampoline of a function is not called by it.
	isFunction := probe.Kind == journey.Function || probe.Kind == journey.Return
	if isFunction && len(frames) > 0 && frames[0].Symbol == probe.Name && isEntry(frames[0]) {
		frames = frames[1:]
	}
	// Trampolines of functions further out, whose returns are observed. The function stands above them already, if it is
	// at work.
	var left []journey.Frame
	below := false
	for _, f := range frames {
		if is := strings.HasPrefix(f.Symbol, trampoline); is || below && isEntry(f) {
			below = is
			continue
		}
		below = false
		left = append(left, f)
	}
	return left
}

// nameSymbol asks the kernel what is at an address.
func (t *Tracker) nameSymbol(address uint64, called bool) (string, error) {
	args := trackerSymbolArgs{Address: address}
	if called {
		args.Called = 1
	}
	_, err := t.collection.Programs[trackerProgNameSymbol].Run(&ebpf.RunOptions{Context: &args, ContextOut: &args})
	if err != nil {
		return "", fmt.Errorf("ask what is at address %#x: %w", address, err)
	}
	return text(args.Text[:]), nil
}

// wantDropStacks says whether the events of drops are to have stacks.
func (t *Tracker) wantDropStacks(wanted uint32) error {
	if err := t.collection.Variables[trackerVarDropStacks].Set(wanted); err != nil {
		return fmt.Errorf("say whether drops are to have stacks: %w", err)
	}
	return nil
}
