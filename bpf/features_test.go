package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
)

func TestFeaturesInWords(t *testing.T) {
	qt.Check(t, qt.Equals(Features{Functions: "fentry", Verdicts: true, Pages: true}.String(), "patterns by fentry, nftables verdicts"))
	qt.Check(t, qt.Equals(
		Features{Functions: "kprobe.multi", NoVerdicts: "it is not there", Absent: []string{"a", "b"}}.String(),
		"patterns by kprobe.multi, no nftables verdicts: it is not there, nothing at a, b, no bytes in pages"))
}

// kernelFunction is one as BTF declares it.
func kernelFunction(name string, arguments ...btf.Type) *btf.Func {
	proto := &btf.FuncProto{Return: &btf.Void{}}
	for _, a := range arguments {
		proto.Params = append(proto.Params, btf.FuncParam{Name: "argument", Type: a})
	}
	return &btf.Func{Name: name, Type: proto, Linkage: btf.GlobalFunc}
}

func pointerTo(name string) btf.Type { return &btf.Pointer{Target: &btf.Struct{Name: name, Size: 8}} }

func constPointerTo(name string) btf.Type {
	return &btf.Pointer{Target: &btf.Const{Type: &btf.Struct{Name: name, Size: 8}}}
}

func TestFindVerdicts(t *testing.T) {
	number := &btf.Int{Name: "int", Size: 4}
	for _, tc := range []struct {
		name   string
		module *btf.Spec
		want   verdictProbe
	}{
		{"6.1", typesOf(t, kernelFunction(nftFunction, pointerTo("nft_traceinfo"), constPointerTo("nft_chain"), number)),
			verdictProbe{program: "entry_nft_info"}},
		{"6.12", typesOf(t, kernelFunction(nftFunction, constPointerTo("nft_pktinfo"), constPointerTo("nft_verdict"),
			constPointerTo("nft_rule_dp"), pointerTo("nft_traceinfo"), number)),
			verdictProbe{program: "entry_nft"}},
		{"a later one", typesOf(t, kernelFunction(nftFunction, pointerTo("nft_traceinfo"), number)),
			verdictProbe{why: "this kernel gives it arguments that the tracker does not know (nft_traceinfo, )"}},
		{"inlined", typesOf(t, number),
			verdictProbe{why: "this kernel has no such function, or the compiler made it part of its callers"}},
		{"no module", nil, verdictProbe{why: "the module nf_tables was not loaded when the tracker was opened"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			qt.Check(t, qt.Equals(findVerdicts(tc.module, fentry), tc.want))
		})
	}
}

func TestWhatAKernelLacks(t *testing.T) {
	program := func(function string) *ebpf.ProgramSpec {
		return &ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: function}
	}
	kernel := typesOf(t, kernelFunction("skb_clone", pointerTo("sk_buff")))
	tracker := &Tracker{spec: &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"skb_clone": program("skb_clone"), "tpacket_rcv": program("tpacket_rcv"),
	}}}
	qt.Assert(t, qt.IsNil(tracker.leaveOut(kernel)))
	qt.Check(t, qt.DeepEquals(tracker.absent, []string{"tpacket_rcv"}))
	qt.Check(t, qt.HasLen(tracker.spec.Programs, 1))

	tracker.spec.Programs["free"] = program("skb_free_head")
	tracker.spec.Programs["release"] = program("skb_release_data")
	err := tracker.leaveOut(kernel)
	qt.Assert(t, qt.ErrorIs(err, ErrNoFunctionProbes))
	qt.Check(t, qt.ErrorMatches(err, "function probes are not available: this kernel has no function skb_free_head, nor "+
		"skb_release_data, at which the tracker follows packets"))
}
