package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Features tells by which means a tracker observes on the running kernel. What it promises does not depend on them:
// either way the kernel counts what it did not show.
type Features struct {
	// Functions is how programs get to the functions that [Scope.Arm] names: "kprobe.multi", one program for all of
	// them, or "fentry", a program for each, on kernels without kprobe.multi or without typed loads. Arming a function by
	// fentry takes longer, and observing it takes less.
	Functions string
	// Verdicts is whether nftables verdicts can be observed, and NoVerdicts why not: a clause; empty if they can.
	Verdicts   bool
	NoVerdicts string
	// Absent lists, sorted, the functions that the tracker would have followed packets at and that this kernel does not
	// have, because it has no need of them or made them part of others.
	Absent []string
}

// String is one line, for logs: "functions by kprobe.multi, nftables verdicts".
func (f Features) String() string {
	text := "functions by " + f.Functions
	if f.Verdicts {
		text += ", nftables verdicts"
	} else {
		text += ", no nftables verdicts: " + f.NoVerdicts
	}
	if len(f.Absent) > 0 {
		text += ", nothing at " + strings.Join(f.Absent, ", ")
	}
	return text
}

// Features tells what the tracker found when it was opened.
func (t *Tracker) Features() Features {
	return Features{
		Functions:  t.family.name,
		Verdicts:   t.nft.program != "",
		NoVerdicts: t.nft.why,
		Absent:     slices.Clone(t.absent),
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

func (f family) programs() []string { return append(slices.Clone(f.byArgument), f.nft, f.nftInfo) }

// typedLoads is the kernel's function by which programs of kprobe.multi look into a packet.
const typedLoads = "bpf_rdonly_cast"

// useFamily chooses how functions are observed, and takes the programs that are not to be loaded out of the collection:
// those of the other family, and of this one that for other verdicts. Whether programs of kprobe.multi can be attached
// is found out by attaching one; here it is whether they can be loaded.
func (t *Tracker) useFamily(kernel, nft *btf.Spec, opts Options) {
	t.entries = make(map[string]*ebpf.ProgramSpec)
	for _, name := range slices.Concat(fentry.programs(), returns.byArgument, []string{trackerProgCallReturn}) {
		t.entries[name] = t.spec.Programs[name]
		delete(t.spec.Programs, name)
	}
	t.family = kprobeMulti
	if _, err := findFunction(kernel, typedLoads); err != nil || opts.fentry {
		t.family = fentry
	}
	t.nft = findVerdicts(nft, t.family)
	for _, name := range kprobeMulti.programs() {
		isVerdicts := name == kprobeMulti.nft || name == kprobeMulti.nftInfo
		if t.family.name != kprobeMulti.name || isVerdicts && name != t.nft.program {
			delete(t.spec.Programs, name)
		}
	}
}

// fallBack changes to fentry after programs of kprobe.multi were loaded in vain.
func (t *Tracker) fallBack(nft *btf.Spec) {
	for _, name := range kprobeMulti.programs() {
		if program := t.collection.DetachProgram(name); program != nil {
			_ = program.Close() // nothing hangs on it
		}
	}
	t.family = fentry
	t.nft = findVerdicts(nft, t.family)
}

// hasMulti attaches a program to a function that the tracker attaches to anyway.
func (t *Tracker) hasMulti() (bool, error) {
	l, err := link.KprobeMulti(t.collection.Programs[trackerProgFunctionArg0], link.KprobeMultiOptions{
		Symbols: []string{t.spec.Programs[trackerProgSkbFreeHead].AttachTo},
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return false, nil
	}
	if err != nil {
		return false, loadError(fmt.Errorf("attach by kprobe.multi: %w", err))
	}
	return true, l.Close()
}
