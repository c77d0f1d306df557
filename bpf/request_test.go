package bpf

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

func TestParseRequest(t *testing.T) {
	for _, tc := range []struct {
		text string
		want request
		err  string
	}{
		{text: "ip_rcv", want: request{kind: journey.Function, name: "ip_rcv"}},
		{text: "k:ip_rcv", want: request{kind: journey.Function, name: "ip_rcv"}},
		{text: "kprobe:ip_rcv/stack", want: request{kind: journey.Function, name: "ip_rcv", stack: true}},
		{text: "kr:ip_rcv", want: request{kind: journey.Return, name: "ip_rcv"}},
		{text: "kretprobe:tcp_v4_*/stack", want: request{kind: journey.Return, name: "tcp_v4_*", stack: true}},
		{text: "tcp_v[46]_rcv", want: request{kind: journey.Function, name: "tcp_v[46]_rcv"}},
		{text: "tcp_ack.constprop.0", want: request{kind: journey.Function, name: "tcp_ack.constprop.0"}},
		{text: "tp:skb:kfree_skb", want: request{kind: journey.Tracepoint, name: "skb:kfree_skb"}},
		{text: "tp:net:*/stack", want: request{kind: journey.Tracepoint, name: "net:*", stack: true}},
		{text: "raw_tracepoint:kfree_skb", want: request{kind: journey.RawTracepoint, name: "kfree_skb"}},

		{text: "", err: `probe "": it names nothing: write a function or a tracepoint, as in ip_rcv or tp:net:net_dev_queue`},
		{text: "kr:", err: `probe "kr:": it names nothing: .*`},
		{text: "/stack", err: `probe "/stack": it names nothing: .*`},
		{text: "x:ip_rcv", err: `probe "x:ip_rcv": "x" is no type of probe: write k, kr, tp or raw_tracepoint before the colon`},
		{text: "skb:kfree_skb", err: `probe "skb:kfree_skb": "skb" is no type of probe: write k, kr, tp or .*`},
		{text: "ip_rcv/stak", err: `probe "ip_rcv/stak": "/stak" is no option: the only one is /stack`},
		{text: "ip_rcv/stack/stack", err: `probe "ip_rcv/stack/stack": "/stack/stack" is no option: the only one is /stack`},
		{text: "tp:kfree_skb", err: `probe "tp:kfree_skb": a tracepoint is named by its group too, as in tp:net:net_dev_queue`},
		{text: "tp::kfree_skb", err: `probe "tp::kfree_skb": a tracepoint is named by its group too, as in tp:net:net_dev_queue`},
		{text: "tp:a:b:c", err: `probe "tp:a:b:c": a tracepoint is named by its group too, as in tp:net:net_dev_queue`},
		{text: "raw_tracepoint:skb:kfree_skb", err: `probe "raw_tracepoint:skb:kfree_skb": a raw tracepoint has no group: ` +
			`write raw_tracepoint:kfree_skb`},
		{text: "kr:a:b", err: `probe "kr:a:b": a function's name has no colon in it`},
		{text: "ip rcv", err: `probe "ip rcv": no name has the character ' ' in it`},
		{text: "ip_rcv-", err: `probe "ip_rcv-": no name has the character '-' in it`},
		{text: "tcp_[", err: `probe "tcp_\[": a bracket is not closed, or holds nothing: write a pattern as in tcp_v\[46\]_\*`},
		{text: "größe", err: `probe "größe": no name has the character 'ö' in it`},
	} {
		t.Run(tc.text, func(t *testing.T) {
			got, err := parseRequest(tc.text)
			if tc.err != "" {
				qt.Assert(t, qt.ErrorMatches(err, tc.err))
				return
			}
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(got, tc.want))
		})
	}
}

// FuzzParseRequest: what is understood can be written, and is understood the same way again.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{"ip_rcv", "kr:tcp_v4_*/stack", "tp:skb:kfree_skb", "raw_tracepoint:netif_rx", "a[b-c]?", "x:/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRequest(text)
		if err != nil {
			qt.Assert(t, qt.Equals(r, request{}))
			return
		}
		again, err := parseRequest(r.String())
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.Equals(again, r))
		r.matches("ip_rcv") // a pattern that was accepted can be used
	})
}
