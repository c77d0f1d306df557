package harness_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
)

// spec is a test with a name, which may have failed.
type spec struct {
	harness.T
	name   string
	failed bool
	log    *[]string
}

func (n spec) Name() string { return n.name }
func (n spec) Failed() bool { return n.failed }
func (n spec) Logf(format string, args ...any) {
	*n.log = append(*n.log, fmt.Sprintf(format, args...))
}

// ginkgoSpec is one that has report entries.
type ginkgoSpec struct {
	spec
	entries *[]string
}

func (g ginkgoSpec) AddReportEntryVisibilityFailureOrVerbose(name string, args ...any) {
	*g.entries = append(*g.entries, name+": "+fmt.Sprint(args...))
}

// needLab skips where there can be no lab.
func needLab(t *testing.T) {
	t.Helper()
	err := harness.Open(t.Context())
	if errors.Is(err, bpf.ErrNoFunctionProbes) || errors.Is(err, bpf.ErrNoBTF) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	qt.Assert(t, qt.IsNil(err))
}

const metrics = `table inet filter {
	chain input {
		type filter hook input priority filter
		ct state new udp dport 9 drop comment "no metrics"
	}
}`

// dropped is a test in which a packet is dropped, and what it leaves in base.
func dropped(t *testing.T, base string, wrap func(harness.T) harness.T) *journey.Journey {
	t.Helper()
	t.Setenv(harness.ArtifactsEnv, base)
	t.Setenv("WAYBILL_ARTIFACTS_HOST", "/on/the/host")
	var j *journey.Journey
	err := harness.Run(func(ht harness.T) {
		p := newPair()
		p.server.NFT = metrics
		lab := harness.New(wrap(ht), &p.net)
		j = lab.Follow(t.Context(), p.client, packet.UDP{To: p.server, DstPort: 9})
	})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(j.Outcome().Kind, journey.Dropped))
	return j
}

// ownFolder is that of this test binary.
func ownFolder() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".test") }

// TestArtifacts: a test that fails leaves what there was to be seen, and says where.
func TestArtifacts(t *testing.T) {
	needLab(t)
	base := t.TempDir()
	var log []string
	j := dropped(t, base, func(ht harness.T) harness.T { return spec{ht, "TestX/drops: the packet", true, &log} })

	folder := ownFolder() + "/TestX_drops_the_packet"
	shown := "/on/the/host/" + folder
	qt.Check(t, qt.Equals(j.Evidence.Artifacts, shown))
	qt.Check(t, qt.DeepEquals(log, []string{
		fmt.Sprintf("journey of %s:\n%s", j.Flow(), j), "artifacts:\n" + shown,
	}))
	files := listed(t, filepath.Join(base, folder))
	for _, name := range []string{
		"record-1.json", "record-1.txt", "record-1-client.pcapng", "record-1-server.pcapng", "server.nft", "network.sh",
	} {
		qt.Check(t, qt.SliceContains(files, name))
	}

	text, err := os.ReadFile(filepath.Join(base, folder, "record-1.json"))
	qt.Assert(t, qt.IsNil(err))
	var record journey.Record
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &record)))
	qt.Check(t, qt.IsTrue(slices.ContainsFunc(record.Journeys, func(read *journey.Journey) bool { return read.String() == j.String() })))
	ruleset, err := os.ReadFile(filepath.Join(base, folder, "server.nft"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.StringContains(string(ruleset), `udp dport 9 drop comment "no metrics"`))
	script, err := os.ReadFile(filepath.Join(base, folder, "network.sh"))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.StringContains(string(script), "ip netns add client\n"))
	qt.Check(t, qt.StringContains(string(script), "# What the test sent:\n#   UDP 172.16.42.1."))
	capture, err := os.Open(filepath.Join(base, folder, "record-1-client.pcapng"))
	qt.Assert(t, qt.IsNil(err))
	defer func() { _ = capture.Close() }()
	_, err = pcapgo.NewNgReader(capture, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	qt.Check(t, qt.IsNil(err))

	// Another lab of the same test has a folder of its own, without what an earlier run left there.
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(base, folder+"-2"), nil, 0o644)))
	dropped(t, base, func(ht harness.T) harness.T { return spec{ht, "TestX/drops: the packet", true, &log} })
	qt.Check(t, qt.SliceContains(listed(t, filepath.Join(base, folder+"-2")), "record-1.json"))
}

// TestNoArtifacts: a test that passes leaves nothing, and one without a name has nowhere to leave it.
func TestNoArtifacts(t *testing.T) {
	needLab(t)
	var log []string
	base := t.TempDir()
	dropped(t, base, func(ht harness.T) harness.T { return spec{ht, "TestPasses", false, &log} })
	qt.Check(t, qt.Equals(dropped(t, base, func(ht harness.T) harness.T { return ht }).Evidence.Artifacts, ""))
	qt.Check(t, qt.HasLen(listed(t, base), 0))
}

// TestRecords: with the flag, a test that passes leaves its records, and nothing else; it reports nothing.
func TestRecords(t *testing.T) {
	needLab(t)
	qt.Assert(t, qt.IsNil(flag.Set("waybill.record", "true")))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(flag.Set("waybill.record", "false"))) })
	var log []string
	base := t.TempDir()
	dropped(t, base, func(ht harness.T) harness.T { return spec{ht, "TestRecorded", false, &log} })
	qt.Check(t, qt.DeepEquals(listed(t, filepath.Join(base, ownFolder(), "TestRecorded")), []string{
		"record-1-client.pcapng", "record-1-server.pcapng", "record-1.json", "record-1.txt",
	}))
	if !testing.Verbose() {
		qt.Check(t, qt.HasLen(log, 0))
	}
	dropped(t, base, func(ht harness.T) harness.T { return ht })
	qt.Check(t, qt.HasLen(listed(t, filepath.Join(base, ownFolder())), 1), qt.Commentf("what has no name has nowhere to leave it"))
}

// TestReportEntries: to Ginkgo they are entries of the spec's report.
func TestReportEntries(t *testing.T) {
	needLab(t)
	var log, entries []string
	j := dropped(t, t.TempDir(), func(ht harness.T) harness.T {
		return ginkgoSpec{spec{ht, "a firewall drops", true, &log}, &entries}
	})
	qt.Check(t, qt.HasLen(log, 0))
	qt.Check(t, qt.DeepEquals(entries, []string{
		fmt.Sprintf("journey of %s: %s", j.Flow(), j), "artifacts: /on/the/host/" + ownFolder() + "/a_firewall_drops",
	}))
}

func listed(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	qt.Assert(t, qt.IsNil(err))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), "/"))
	}
	return names
}
