package main

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/internal/golden"
)

func TestInspectTable(t *testing.T) {
	ip := bpf.Place{Probe: "ip_rcv", Argument: 1, Type: "struct sk_buff *", Returns: "int"}
	veth := bpf.Place{Probe: "veth_xmit", Module: "veth", Argument: 1, Type: "struct sk_buff *", Returns: "netdev_tx_t"}
	queue := bpf.Place{Probe: "tp:net:net_dev_queue", Argument: 1, Type: "struct sk_buff *"}
	constant := bpf.Place{Probe: "skb_checksum", Argument: 1, Type: "const struct sk_buff *", Returns: "__wsum"}
	old := bpf.Place{Probe: "ip_rcv_old", Argument: 1, Type: "struct sk_buff *", WhyNot: "it is not to be traced"}
	module := old
	module.Module = "veth"
	unknown := bpf.Place{Probe: "ip_rvc", WhyNot: "this kernel has no such function; there is ip_rcv"}
	var text strings.Builder
	for _, tc := range []struct {
		pattern string
		places  []bpf.Place
	}{
		{"", []bpf.Place{ip, old, module, constant, queue, veth}},
		{"ip_rcv", []bpf.Place{ip}},
		{"ip_rvc", []bpf.Place{unknown}},
		{"nothing*", nil},
	} {
		text.WriteString("--- waybill inspect " + tc.pattern + "\n" + table(tc.pattern, tc.places))
	}
	golden.Check(t, "inspect.txt", text.String())
}

func TestInspectFlags(t *testing.T) {
	err := inspectCommand{Here: true, Kernel: "6.12"}.Run(t.Context())
	qt.Check(t, qt.ErrorMatches(err, "--here and --kernel do not go together: leave one out"))
	qt.Check(t, qt.Equals(exitOf(err), statusFailed))
}
