package journey

import (
	"os"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestReason(t *testing.T) {
	for _, test := range []struct {
		reason, name string
		want         bool
	}{
		{"NETFILTER_DROP", "NETFILTER_DROP", true},
		{"NETFILTER_DROP", "SKB_DROP_REASON_NETFILTER_DROP", true},
		{"NETFILTER_DROP", "NO_SOCKET", false},
		{"NETFILTER_DROP", "", false},
		// A test written for 6.18 runs on 7.2, and the other way round.
		{"QDISC_DROP_FLOW_LIMIT", "FQ_FLOW_LIMIT", true},
		{"FQ_FLOW_LIMIT", "QDISC_DROP_FLOW_LIMIT", true},
		{"QDISC_DROP_FQ_BAND_LIMIT", "FQ_BAND_LIMIT", true},
		{"FQ_FLOW_LIMIT", "FQ_BAND_LIMIT", false},
		// 6.12 did not tell: what it means in general is true of every reason of today …
		{"QDISC_DROP_OVERLIMIT", "QDISC_DROP", true},
		{"QDISC_OVERLIMIT", "QDISC_DROP", true},
		{"TCP_RFC7323_PAWS_ACK", "TCP_RFC7323_PAWS", true},
		// … but none of today's is known to be true of what 6.12 said.
		{"QDISC_DROP", "QDISC_DROP_OVERLIMIT", false},
		{"TCP_RFC7323_PAWS", "TCP_RFC7323_PAWS_ACK", false},
	} {
		qt.Check(t, qt.Equals(Drop{Reason: test.reason}.Is(test.name), test.want), qt.Commentf("%s is %s", test.reason, test.name))
	}
}

// TestReasonTables: a name that is looked up must not have to be looked up again.
func TestReasonTables(t *testing.T) {
	for old, stable := range renamedReasons {
		qt.Check(t, qt.Equals(StableReason(stable), stable), qt.Commentf("%s", old))
	}
	for special, general := range generalReasons {
		qt.Check(t, qt.Equals(StableReason(special), special))
		qt.Check(t, qt.Equals(StableReason(general), general))
		qt.Check(t, qt.Equals(generalReasons[general], ""))
	}
}

// TestReasonsOfKernels: every reason that a kernel has is one that the newest has, by that name or by the name that the
// tables give it; so no rename is missing. testdata/reasons.txt lists them.
func TestReasonsOfKernels(t *testing.T) {
	const newest = "7.3"
	text, err := os.ReadFile("testdata/reasons.txt")
	qt.Assert(t, qt.IsNil(err))
	kernels := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] != "#" {
			kernels[fields[0]] = fields[1:]
		}
	}
	for reason := range kernels {
		qt.Check(t, qt.SliceContains(kernels[StableReason(reason)], newest), qt.Commentf("%s", reason))
	}
	for special, general := range generalReasons {
		qt.Check(t, qt.SliceContains(kernels[general], "6.1"), qt.Commentf("%s", special))
		qt.Check(t, qt.Not(qt.SliceContains(kernels[special], "6.12")), qt.Commentf("%s", special))
	}
}
