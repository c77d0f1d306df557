package harness_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/topology/named"
)

// TestKeep: who asks for it finds the network of a failed test as it was, as often as it fails.
func TestKeep(t *testing.T) {
	needLab(t)
	before := flag.Lookup("waybill.keep").Value.String()
	qt.Assert(t, qt.IsNil(flag.Set("waybill.keep", "true")))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(flag.Set("waybill.keep", before))) })
	long := strings.Repeat("x", named.LongestName)
	for _, expected := range []string{long, long[:named.LongestName-2] + "-2"} {
		var log []string
		dropped(t, t.TempDir(), func(ht harness.T) harness.T { return spec{ht, long, true, &log} })
		lab, err := named.Find(expected)
		qt.Assert(t, qt.IsNil(err))
		t.Cleanup(func() { qt.Check(t, qt.IsNil(lab.Down(t.Context(), named.DownOptions{}))) })
		qt.Check(t, qt.Equals(log[len(log)-1], "the network is kept:\nwaybill lab exec --lab "+expected+
			" client -- sh    enters it; or ip netns exec "+expected+".client sh\nwaybill lab down "+expected+"    takes it down"))
		script, err := lab.Dump(t.Context())
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.StringContains(script, "no metrics"))
	}

	// One that passes leaves nothing.
	var log []string
	dropped(t, t.TempDir(), func(ht harness.T) harness.T { return spec{ht, "passes", false, &log} })
	_, err := named.Find("passes")
	qt.Check(t, qt.ErrorMatches(err, "(?s).*passes.*"))
}
