package bpf

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestTraceable(t *testing.T) {
	list := newTraceable([]byte("add_grec\nip_rcv\nip_rcv_core\nadd_grec\nxmit [veth]\nxmit [tun]\ntcp_ack.part.0\nip_rcv_core.isra.0\n"))
	for name, want := range map[string][]string{
		"ip_rcv": {""}, "add_grec": {"", ""}, "xmit": {"veth", "tun"}, "ip_rc": nil, "rcv": nil, "veth": nil, "tcp_ack": nil,
	} {
		qt.Check(t, qt.DeepEquals(list.modules(name), want), qt.Commentf(name))
		qt.Check(t, qt.DeepEquals(list.index()[name], want), qt.Commentf(name))
	}
	qt.Check(t, qt.IsTrue(list.has("xmit", "tun")))
	qt.Check(t, qt.IsFalse(list.has("xmit", "")))
	qt.Check(t, qt.DeepEquals(list.variants("ip_rcv_core"), []string{"ip_rcv_core.isra.0"}))
	qt.Check(t, qt.HasLen(list.variants("ip_rcv"), 0))
	qt.Check(t, qt.DeepEquals(list.matching(request{name: "ip_*"}.matches), []string{"ip_rcv", "ip_rcv_core", "ip_rcv_core.isra.0"}))
}

func TestFunctionSymbols(t *testing.T) {
	const kallsyms = "ffffffff81000000 T reg_vif_xmit\n" +
		"ffffffff81000100 t reg_vif_xmit\n" +
		"ffffffff81000200 d reg_vif_xmit\n" + // data
		"ffffffff81000300 t ip_rcv\n" +
		"ffffffffc0000000 t reg_vif_xmit\t[ipmr]\n"
	found, err := functionSymbols(strings.NewReader(kallsyms), func(name string) bool { return name == "reg_vif_xmit" })
	qt.Assert(t, qt.IsNil(err))
	equal := func(want ...symbol) {
		t.Helper()
		qt.Check(t, qt.HasLen(found, 1))
		qt.Check(t, qt.IsTrue(len(found["reg_vif_xmit"]) == len(want)))
		for i, s := range found["reg_vif_xmit"] {
			qt.Check(t, qt.Equals(s, want[i]))
		}
	}
	equal(symbol{0xffffffff81000000, ""}, symbol{0xffffffff81000100, ""}, symbol{0xffffffffc0000000, "ipmr"})

	// One of them is not to be traced; the others are traced behind the mark of a branch's target.
	found = traced(found, []byte("ffffffff81000004 reg_vif_xmit\nffffffff81000304 ip_rcv\nffffffffc0000000 reg_vif_xmit [ipmr]\n"))
	equal(symbol{0xffffffff81000000, ""}, symbol{0xffffffffc0000000, "ipmr"})

	_, err = functionSymbols(strings.NewReader("nonsense t ip_rcv\n"), func(string) bool { return true })
	qt.Check(t, qt.ErrorMatches(err, `read the kernel's symbols: .*invalid syntax`))
}
