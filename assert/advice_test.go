package assert

import (
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
)

// TestMain keeps colours out of the texts that golden files have, should the tests run on a terminal.
func TestMain(m *testing.M) {
	if err := os.Setenv("NO_COLOR", "1"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestAdvice: what to look at, for each cause that has an obvious one, and nothing for others.
func TestAdvice(t *testing.T) {
	var all strings.Builder
	for _, test := range []struct{ reason, location string }{
		{"NO_SOCKET", "__udp4_lib_rcv+0x11"},
		{"IP_RPFILTER", "ip_rcv_finish_core+0x11"},
		{"IP_OUTNOROUTES", "ip_error+0x11"},
		{"NOT_SPECIFIED", "ip6_pkt_drop+0x11"},
		{"IP_CSUM", "ip_rcv_core+0x11"},
		{"UDP_CSUM", "udp_queue_rcv_one_skb+0x11"},
		{"OTHERHOST", "ip_rcv_core+0x11"},
		{"NEIGH_FAILED", "arp_error_report+0x11"},
		{"SOCKET_RCVBUFF", "__udp_queue_rcv_skb+0x11"},
		{"SOCKET_FILTER", "sk_filter+0x11"},
		{"PKT_TOO_BIG", "ip_forward+0x11"},
		{"NETFILTER_DROP", "nf_hook_slow+0x11"},
		{"NOT_SPECIFIED", "unix_release+0x11"},
		{"NETFILTER_DROP", "by rule"},
	} {
		p := arrival()
		if test.location == "by rule" {
			p, test.location = byRule(), ""
		} else {
			p = p.drop(1, server, "to-fw", test.reason, test.location)
		}
		all.WriteString(test.reason + " " + test.location + advice(p.journey(complete())) + "\n\n")
	}
	for _, place := range []string{journey.NeighbourQueue, journey.FragmentQueue} {
		p := arrival()
		p.add(journey.Parked, 1).Place = place
		all.WriteString(place + advice(p.journey(complete())) + "\n\n")
	}
	all.WriteString("delivered" + advice(delivered().journey(complete())) + "\n")
	golden.Check(t, "advice.txt", all.String())
	checkWidth(t, all.String())
}

func TestPaint(t *testing.T) {
	const text = "Expected the packet\nbut it was dropped.\n  →   1  fw\n      2  fw\nOutcome: dropped\n  here."
	qt.Check(t, qt.Equals(paint(text), "Expected the packet\n\x1b[1mbut it was dropped.\x1b[0m\n\x1b[31m  →   1  fw\x1b[0m\n      2  fw\n"+
		"\x1b[1mOutcome: dropped\x1b[0m\n  here."))
	qt.Check(t, qt.Equals(painted(text), text), qt.Commentf("NO_COLOR is set"))
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	qt.Check(t, qt.Equals(painted(text), text))
}
