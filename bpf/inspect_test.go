package bpf

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// madeUp is the catalog of a kernel that there is not.
func madeUp(t *testing.T) *catalog {
	t.Helper()
	number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	skb := &btf.Struct{Name: "sk_buff", Size: 232}
	pointer := &btf.Pointer{Target: skb}
	constant := &btf.Pointer{Target: &btf.Const{Type: skb}}
	function := func(name string, result btf.Type, arguments ...btf.Type) btf.Type {
		f := kernelFunction(name, arguments...)
		f.Type.(*btf.FuncProto).Return = result
		return f
	}
	tracepoint := func(name string, arguments ...btf.Type) btf.Type {
		params := []btf.FuncParam{{Type: &btf.Pointer{Target: &btf.Void{}}}}
		for _, a := range arguments {
			params = append(params, btf.FuncParam{Type: a})
		}
		proto := &btf.FuncProto{Return: &btf.Void{}, Params: params}
		return &btf.Typedef{Name: "btf_trace_" + name, Type: &btf.Pointer{Target: proto}}
	}
	pair := &btf.Struct{Name: "sockptr_t", Size: 16}
	types := map[string]*btf.Spec{
		"": typesOf(t,
			function("ip_rcv", number, pointer, number),
			function("ip_rcv_old", number, pointer),
			function("skb_length", number, constant),
			function("skb_list", &btf.Void{}, &btf.Pointer{Target: pointer}),
			function("skb_new", pointer, number, &btf.Pointer{Target: &btf.Const{Type: &btf.Void{}}}, pointer),
			function("set_filter", number, pair, pair, number, pointer),
			function("far_away", number, number, number, number, number, number, number, pointer),
			function("vfs_read", number, number),
			function("reg_vif_xmit", number, pointer),
			function("two_faces", number, number, pointer), function("two_faces", number, pointer, number),
			tracepoint("net_dev_queue", pointer), tracepoint("tcp_probe", number, constant), tracepoint("bare", pointer),
			tracepoint("sched_switch", number),
		),
		"veth":    typesOf(t, function("veth_xmit", number, pointer), function("reg_vif_xmit", number, pointer)),
		nftModule: typesOf(t, kernelFunction(nftFunction, pointerTo("nft_traceinfo"), constPointerTo("nft_chain"), number)),
	}
	return &catalog{source: source{
		modules: func() ([]string, error) { return []string{nftModule, "veth"}, nil },
		types: func(module string) (*btf.Spec, error) {
			if types[module] == nil {
				return nil, fs.ErrNotExist
			}
			return types[module], nil
		},
		list: func() (*traceable, error) {
			return newTraceable([]byte(strings.Join([]string{
				"ip_rcv", "skb_length", "skb_list", "skb_new", "set_filter", "far_away", "vfs_read", "reg_vif_xmit", "two_faces",
				"reg_vif_xmit", "two_faces", "no_types", "veth_xmit [veth]", "reg_vif_xmit [veth]", nftFunction + " [nf_tables]",
				"tcp_ack.constprop.0", "",
			}, "\n"))), nil
		},
		groups: func() (map[string][]string, error) {
			return map[string][]string{"net": {"net_dev_queue"}, "tcp": {"tcp_probe"}, "sched": {"sched_switch"}}, nil
		},
		symbols: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("ffffffff81000000 t hidden\nffffffff81000100 t tcp_ack.constprop.0\n")), nil
		},
	}}
}

func TestInspect(t *testing.T) {
	c := madeUp(t)
	var text strings.Builder
	for _, pattern := range []string{
		"", "ip_*", "kr:*xmit", "net_dev_queue", "tp:*:*", "raw_tracepoint:*", "skb_list", "vfs_read", "ip_rvc", "no_types",
		"tcp_ack", "hidden", "kr:reg_vif_xmit",
		"tp:tcp:tcp_prob", "tp:sched:sched_switch",
		"nothing_like_it*", nftFunction,
	} {
		places, err := c.inspect(pattern, kprobeMulti)
		qt.Assert(t, qt.IsNil(err))
		fmt.Fprintf(&text, "--- %s\n", pattern)
		for _, p := range places {
			line, err := json.Marshal(p)
			qt.Assert(t, qt.IsNil(err))
			fmt.Fprintf(&text, "%s\n", line)
		}
	}
	golden.Check(t, "inspect.txt", text.String())

	_, err := c.inspect("x:y", fentry)
	qt.Check(t, qt.ErrorMatches(err, `probe "x:y": "x" is no type of probe: .*`))
}

// TestInspectWithoutTracing is a kernel that has types and tracepoints, and traces no functions.
func TestInspectWithoutTracing(t *testing.T) {
	c := madeUp(t)
	c.source.list = func() (*traceable, error) { return nil, fs.ErrNotExist }
	places, err := c.inspect("*", fentry)
	qt.Assert(t, qt.IsNil(err))
	for _, p := range places {
		isFunction := !strings.Contains(p.Probe, ":") && p.Probe != nftFunction
		qt.Check(t, qt.Equals(p.WhyNot != "", isFunction), qt.Commentf("%v", p))
	}
	_, err = c.lookup("ip_rcv")
	qt.Check(t, qt.ErrorMatches(err, "this kernel lets no program attach to it: it traces no functions"))
}

func TestLookup(t *testing.T) {
	c := madeUp(t)
	found, err := c.lookup("reg_vif_xmit")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(found, 3)) // two in the kernel, of one declaration, and one in the module
	qt.Check(t, qt.Equals(found[2].module, "veth"))

	found, err = c.lookup("set_filter")
	qt.Assert(t, qt.IsNil(err))
	slot, ok := found[0].slot()
	qt.Check(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(slot, 5)) // behind two structures of two registers each, and a number

	found, err = c.lookup("far_away")
	qt.Assert(t, qt.IsNil(err))
	_, ok = found[0].slot()
	qt.Check(t, qt.IsFalse(ok))

	tracker := &Tracker{catalog: catalog{source: c.source}, family: kprobeMulti}
	for probe, want := range map[string]string{
		"two_faces": `observe two_faces: 2 functions have this name, and not all have their packet at the same place`,
		"far_away":  `observe far_away: its packet is argument 7, behind the first 5 words of arguments, which are all that can be read`,
		"skb_list":  `observe skb_list: none of its arguments is a struct sk_buff \*`,
		"kr:reg_vif_xmit": `observe kr:reg_vif_xmit: 3 functions have this name, and programs of the type fexit cannot tell them ` +
			`apart`,
	} {
		qt.Check(t, qt.ErrorMatches(tracker.Observable(probe), want))
	}
	many, err := tracker.resolve(request{kind: 1, name: "reg_vif_xmit"})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(many.places, 3))
}

func TestReturnCookie(t *testing.T) {
	const unit = uint64(trackerCookieCOOKIE_SHIFT)
	value, signed := uint64(trackerCookieCOOKIE_VALUE), uint64(trackerCookieCOOKIE_SIGNED)
	for _, tc := range []struct {
		name string
		typ  btf.Type
		want uint64
	}{
		{"void", &btf.Void{}, 0},
		{"int", &btf.Int{Size: 4, Encoding: btf.Signed}, value | signed | 32*unit},
		{"a name for int", &btf.Typedef{Name: "netdev_tx_t", Type: &btf.Int{Size: 4, Encoding: btf.Signed}}, value | signed | 32*unit},
		{"bool", &btf.Int{Size: 1, Encoding: btf.Bool}, value | 56*unit},
		{"unsigned long", &btf.Int{Size: 8}, value},
		{"pointer", pointerTo("sk_buff"), value},
		{"enum", &btf.Enum{Size: 4}, value | 32*unit},
		{"structure", &btf.Struct{Size: 16}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) { qt.Check(t, qt.Equals(returnCookie(tc.typ), tc.want)) })
	}
}

// TestInspectRealKernel: what is said to be observable can be observed, and the rest cannot.
func TestInspectRealKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for tracefs")
	}
	tracker := sharedTracker(t)
	places, err := Inspect("udp*")
	qt.Assert(t, qt.IsNil(err))
	can := 0
	for _, p := range places {
		err := tracker.Observable(p.Probe)
		qt.Check(t, qt.Equals(err == nil, p.WhyNot == ""), qt.Commentf("%v: %v", p, err))
		if p.WhyNot == "" {
			can++
		}
	}
	qt.Check(t, qt.IsTrue(can > 20))
	places, err = Inspect("tp:net:net_dev_queue")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(places, []Place{{Probe: "tp:net:net_dev_queue", Argument: 1, Type: "struct sk_buff *"}}))
}
