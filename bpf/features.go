package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Features tells by which means a tracker observes on the running kernel. What it promises does not depend on them:
// either way the kernel counts what it did not show.
type Features struct {
	// Tier is what the tracker uses. On that of tracepoints Functions is empty, and NoFunctions says why.
	Tier        Tier
	NoFunctions string
	// Functions is how programs get to the functions that match a pattern: "kprobe.multi", one program for all of them;
	// "kprobe", the same where the kernel has no kprobe.multi and counts the kprobes that it skips; or "fentry", programs
	// for each, everywhere else. Functions that [Observer.Arm] names one by one are observed by fentry if they let it, up to
	// 64 in a call: arming takes longer, but nothing is ever skipped, and an event costs less. Returns are always observed
	// by fentry and fexit, and tracepoints by programs that know their arguments' types.
	Functions string
	// Verdicts is whether nftables verdicts can be observed, and NoVerdicts why not: a clause; empty if they can.
	Verdicts   bool
	NoVerdicts string
	// Absent lists, sorted, the functions that the tracker would have followed packets at and that this kernel does not
	// have, because it has no need of them or made them part of others.
	Absent []string
	// Pages is whether those of a packet's first bytes are captured that are in pages, as TCP's payload is. It takes a kernel that
	// tells where its variables are (CONFIG_KALLSYMS_ALL, as distributions have it).
	Pages bool
}

// String is one line, for logs: "patterns by kprobe.multi, nftables verdicts".
func (f Features) String() string {
	if f.Tier == Tracepoints {
		text := "tracepoints only: " + f.NoFunctions
		if len(f.Absent) > 0 {
			text += "; nothing at " + strings.Join(f.Absent, ", ")
		}
		if !f.Pages {
			text += "; no bytes in pages"
		}
		return text
	}
	text := "patterns by " + f.Functions
	if f.Verdicts {
		text += ", nftables verdicts"
	} else {
		text += ", no nftables verdicts: " + f.NoVerdicts
	}
	if len(f.Absent) > 0 {
		text += ", nothing at " + strings.Join(f.Absent, ", ")
	}
	if !f.Pages {
		text += ", no bytes in pages"
	}
	return text
}

// NoFunctions is why functions cannot be armed, an error that wraps [ErrNoFunctionProbes]; nil if they can.
func (t *Tracker) NoFunctions() error { return t.noFunction }

// Deliveries is why it cannot be told that a socket has taken a packet, an error that wraps [ErrNoFunctionProbes]; nil if it
// can. Without function probes it takes the tracepoint sk_data_ready, of Linux 6.3.
func (t *Tracker) Deliveries() error {
	if t.tier == Tracepoints && slices.Contains(t.absent, "sk_data_ready") {
		return fmt.Errorf("%w, nor the tracepoint sk_data_ready (Linux 6.3)", t.noFunction)
	}
	return nil
}

// Unlinked lists, sorted, the functions by which links between packets would be told and that this kernel does not have, so that
// the absence of a link says nothing. On the tier of tracepoints it is empty: there, no link is told at all.
func (t *Tracker) Unlinked() []string {
	var out []string
	for _, name := range t.absent {
		if slices.Contains(linking, name) {
			out = append(out, name)
		}
	}
	return out
}

// Features tells what the tracker found when it was opened.
func (t *Tracker) Features() Features {
	if t.tier == Tracepoints {
		return Features{
			Tier: t.tier, NoFunctions: t.noFunction.Error(), NoVerdicts: t.noFunction.Error(), Absent: slices.Clone(t.absent),
			Pages: t.pages,
		}
	}
	return Features{
		Tier:       t.tier,
		Functions:  t.family.name,
		Verdicts:   t.nft.program != "",
		NoVerdicts: t.nft.why,
		Absent:     slices.Clone(t.absent),
		Pages:      t.pages,
	}
}

// family is a set of programs that do the same, in the way of one kind of attachment.
type family struct {
	name       string
	byArgument []string // by position of the packet
	nft        string   // verdicts, given the packet
	nftInfo    string   // verdicts, given a trace info that has the packet
}

var (
	kprobeMulti = family{
		name: "kprobe.multi",
		byArgument: []string{
			trackerProgFunctionArg0, trackerProgFunctionArg1, trackerProgFunctionArg2, trackerProgFunctionArg3,
			trackerProgFunctionArg4,
		},
		nft:     trackerProgFunctionNft,
		nftInfo: trackerProgFunctionNftInfo,
	}
	kprobe = family{
		name: "kprobe", byArgument: kprobeMulti.byArgument, nft: kprobeMulti.nft, nftInfo: kprobeMulti.nftInfo,
	}
	fentry = family{
		name: "fentry",
		byArgument: []string{
			trackerProgEntryArg0, trackerProgEntryArg1, trackerProgEntryArg2, trackerProgEntryArg3, trackerProgEntryArg4,
		},
		nft:     trackerProgEntryNft,
		nftInfo: trackerProgEntryNftInfo,
	}
)

// returns are the programs that note a call; that of the return itself is the same for all.
var returns = family{
	name: "fexit",
	byArgument: []string{
		trackerProgCallArg0, trackerProgCallArg1, trackerProgCallArg2, trackerProgCallArg3, trackerProgCallArg4,
	},
}

// observers are the programs that report a return, and those of iptables' tables.
var observers = []string{trackerProgCallReturn, trackerProgTableEntry, trackerProgTableReturn}

func (f family) programs() []string { return append(slices.Clone(f.byArgument), f.nft, f.nftInfo) }

// typedLoads is the kernel's function by which programs of kprobe.multi look into a packet.
const typedLoads = "bpf_rdonly_cast"

// useFamily chooses how functions are observed, as far as it depends on what can be loaded, and takes the programs that are
// not to be loaded at once out of the collection: those that are loaded for one probe each, and those that many share.
func (t *Tracker) useFamily(kernel, nft *btf.Spec, opts Options) {
	t.entries = make(map[string]*ebpf.ProgramSpec)
	t.oneWay = opts.functions != ""
	for _, first := range slices.Concat(fentry.programs(), returns.byArgument, observers) {
		for _, name := range []string{first, first + again} {
			if program := t.spec.Programs[name]; program != nil { // the tier of tracepoints does not have all
				t.entries[name] = program
				delete(t.spec.Programs, name)
			}
		}
	}
	t.shared = make(map[string]*ebpf.ProgramSpec)
	for _, name := range kprobeMulti.programs() {
		if program := t.spec.Programs[name]; program != nil {
			t.shared[name] = program
			delete(t.spec.Programs, name)
		}
	}
	t.family = kprobeMulti
	if _, err := findFunction(kernel, typedLoads); err != nil || opts.functions == fentry.name || t.tier == Tracepoints {
		t.family = fentry
	}
	if t.family.name != kprobeMulti.name {
		delete(t.spec.Programs, trackerProgNothing)
	}
	t.nft = findVerdicts(nft, t.family)
}

// tryFamily finds out by a program that does nothing whether those for many functions can be attached, and changes to the next
// family as long as they cannot: kprobe.multi, then kprobe, then fentry, which is there wherever the tracker works.
//
// Ordinary kprobes are used only where the kernel counts those that it skips (Linux 6.7, and so with typed loads): before, no
// absence could be proved. Arming many functions is quicker with them than with fentry.
func (t *Tracker) tryFamily(kernel, nft *btf.Spec, opts Options) error {
	if t.family.name != kprobeMulti.name {
		return nil
	}
	nothing := t.collection.DetachProgram(trackerProgNothing)
	defer func() { _ = nothing.Close() }() // nothing hangs on it
	if opts.functions == "" || opts.functions == kprobeMulti.name {
		if has, err := t.hasMulti(nothing); has || err != nil {
			return err
		}
	}
	if countsSkippedKprobes(kernel) {
		t.family = kprobe
		if has, err := t.hasKprobes(); has || err != nil {
			return err
		}
	}
	t.family = fentry
	t.nft = findVerdicts(nft, t.family)
	return nil
}

// sharedProgram returns a program that many functions share. It is loaded when the first of them is observed: most processes
// observe none by it, and the verifier takes longer for these than for all hooks.
func (t *Tracker) sharedProgram(name string) (*ebpf.Program, error) {
	if program := t.loaded[name]; program != nil {
		return program, nil
	}
	spec := t.shared[name].Copy()
	if t.family.name == kprobe.name {
		spec.AttachType = ebpf.AttachNone
	}
	program, err := t.loadOne(name, spec)
	if err != nil {
		return nil, loadError(err)
	}
	t.loaded[name] = program // not in the collection, which others read meanwhile
	t.losses.watch(missCounter{name: name, program: program, part: partOf(name, program)})
	return program, nil
}

// loadOne loads a program that uses the tracker's maps.
func (t *Tracker) loadOne(name string, program *ebpf.ProgramSpec) (*ebpf.Program, error) {
	spec := &ebpf.CollectionSpec{
		Maps: t.spec.Maps, Types: t.spec.Types, ByteOrder: t.spec.ByteOrder,
		Programs: map[string]*ebpf.ProgramSpec{name: program},
	}
	options := t.options
	options.MapReplacements = t.collection.Maps
	loaded, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		return nil, err
	}
	defer loaded.Close() // what is taken out of it stays
	return loaded.DetachProgram(name), nil
}

// countsSkippedKprobes tells whether the kernel counts the runs of a kprobe, and of its program, that it skips: it does
// both or neither.
func countsSkippedKprobes(kernel *btf.Spec) bool {
	var info *btf.Struct
	return kernel.TypeByName("bpf_link_info", &info) == nil && hasField(info, "perf_event", "kprobe", "missed")
}

// hasField tells whether a structure has a field, the path leading through named fields to it.
func hasField(in btf.Type, path ...string) bool {
	if len(path) == 0 {
		return true
	}
	var members []btf.Member
	switch t := btf.UnderlyingType(in).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	return slices.ContainsFunc(members, func(m btf.Member) bool {
		if m.Name == "" {
			return hasField(m.Type, path...)
		}
		return m.Name == path[0] && hasField(m.Type, path[1:]...)
	})
}

// anyFunction is one that programs can be attached to: the tracker does so itself.
func (t *Tracker) anyFunction() string { return t.spec.Programs[trackerProgSkbFreeHead].AttachTo }

func (t *Tracker) hasMulti(nothing *ebpf.Program) (bool, error) {
	return attached(link.KprobeMulti(nothing, link.KprobeMultiOptions{Symbols: []string{t.anyFunction()}}))
}

func (t *Tracker) hasKprobes() (bool, error) {
	spec := t.spec.Programs[trackerProgNothing].Copy()
	spec.AttachType = ebpf.AttachNone // what was loaded for kprobe.multi cannot be attached otherwise
	nothing, err := t.loadOne(trackerProgNothing, spec)
	if err != nil {
		return false, loadError(err)
	}
	has, err := attached(link.Kprobe(t.anyFunction(), nothing, nil))
	return has, errors.Join(err, nothing.Close())
}

// attached tells whether the kernel knows this way of attaching, and detaches again.
func attached(l link.Link, err error) (bool, error) {
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, loadError(fmt.Errorf("attach to a function: %w", err))
	}
	return true, l.Close()
}
