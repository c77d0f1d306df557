package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

// sample is a run with one variant of every sort.
func sample() *result {
	return &result{
		Kernel: "6.12.1", Counts: true, CPUs: 1, Packets: 2000, Functions: 2, EventsPerPacket: 1.5,
		Setup: []lap{{"open the tracker", 890.4}, {"arm 2 functions", 223}},
		Variants: []figures{
			{Name: nothing, Cost: 12000, Least: 11000, Most: 14000, Mean: 12500, Reading: 20, Expected: 3000},
			{Name: empty, How: "kprobe.multi", Cost: 15000, Least: 14900, Most: 15100, Mean: 15000, Expected: 3000},
			{
				Name: least, How: "kprobe.multi", Cost: 32000, Least: 31000, Most: 36000, Mean: 33000, Reading: 9000, Expected: 3000,
				Events: 3000, Records: 3000, RingBytes: 264 * 3000, Waits: 1000, Floods: []float64{31000, 36000},
				Programs: []programRuns{{"bench_at_multi", "Kprobe", 1.5, 500}, {"bench_barrier", "Syscall", 0.001, 2000}},
			},
			{
				Name: full, How: "kprobe.multi", Cost: 48000, Least: 47000, Most: 98000, Mean: 52000, Reading: 20000, Expected: 3000,
				Events: 2990, Records: 5990, Lost: 10, RingBytes: 1 << 20, Waits: 900, Allocations: 6000,
				ByFunction: map[string]float64{"ip_rcv": 1, "ip_forward": 0.5},
			},
			{Name: outside, How: "kprobe.multi", Cost: 21000, Least: 20000, Most: 22000, Mean: 21000, Expected: 3000},
			{Name: pwruName, How: "PWRU does not name its binary", Skipped: true},
		},
	}
}

func TestTables(t *testing.T) {
	var counted, timed bytes.Buffer
	r := sample()
	r.print(&counted, true)
	golden.Check(t, "counted.txt", counted.String())
	r.Counts, r.CPUs = false, 2
	r.print(&timed, false)
	golden.Check(t, "timed.txt", timed.String())
}

func TestUnaccounted(t *testing.T) {
	r := sample()
	qt.Check(t, qt.IsNil(r.unaccounted()))
	r.Variants[3].Lost = 3
	qt.Check(t, qt.ErrorMatches(r.unaccounted(), "waybill: 7 of 3000 events were neither seen nor counted as lost"))
}

func TestWorkedOf(t *testing.T) {
	const text = "version 16\ntimestamp 4294893149\ncpu0 0 0 1 2 3 4 3224911997 6400361516 1883\ncpu1 0 0 0 0 0 0 5 6 7\n"
	worked, err := workedOf(text)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(worked, 3224911997*time.Nanosecond))
	_, err = workedOf("version 16\n")
	qt.Check(t, qt.ErrorMatches(err, "read the time that the CPU worked: /proc/schedstat has no line for it"))
	_, err = workedOf("cpu0 0 0 0 0 0 0 x 0 0\n")
	qt.Check(t, qt.ErrorMatches(err, `read the time that the CPU worked: .*invalid syntax`))
}

func TestArguments(t *testing.T) {
	for want, c := range map[string]runCommand{
		"vm --kernel 6.1 --artifacts DIR --icount -- SELF flood --counts --packets=10000": {},
		"vm --kernel 6.1 --artifacts DIR --icount -- SELF flood --counts --packets=3000 --verbose --profile --only=floor": {
			Packets: 3000, Verbose: true, Profile: "cpu.pprof", Only: []string{least},
		},
	} {
		got, err := c.arguments("6.1", "icount", "DIR", "SELF", "")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(strings.Join(got, " "), want))
	}
	got, err := runCommand{}.arguments("6.1", "wall", "DIR", "SELF", "/opt/pwru")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(strings.Join(got, " "),
		"vm --kernel 6.1 --artifacts DIR --cpus 2 --bin /opt/pwru --env PWRU=/opt/pwru -- SELF flood --packets=20000"))
}

func TestBenchmarkLine(t *testing.T) {
	found := benchmarkLine.FindStringSubmatch("goos: linux\nBenchmarkAssembler-2   \t 1876412\t       654.5 ns/op\nPASS\n")
	qt.Assert(t, qt.HasLen(found, 2))
	qt.Check(t, qt.Equals(found[1], "654.5"))
}

// TestRecord writes two lines into a history, of a commit without changes.
func TestRecord(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"init", "-q"}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "first"},
	} {
		output, err := exec.Command("git", args...).CombinedOutput()
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", output))
	}
	file := filepath.Join(t.TempDir(), "history.jsonl")
	c := runCommand{History: file}
	commit, err := describeCommit(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(c.record(sample(), commit, 650)))
	qt.Assert(t, qt.IsNil(c.record(sample(), commit, 651)))
	text, err := os.ReadFile(file)
	qt.Assert(t, qt.IsNil(err))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	qt.Assert(t, qt.HasLen(lines, 2))
	var e entry
	qt.Assert(t, qt.IsNil(json.Unmarshal([]byte(lines[1]), &e)))
	qt.Check(t, qt.Matches(e.Commit, `[0-9a-f]{12}`))
	qt.Check(t, qt.Equals(e.Assembly, 651))
	qt.Check(t, qt.Equals(e.Kernel, "6.12.1"))
	qt.Check(t, qt.Equals(e.Variants[2].Cost, 32000))
	qt.Check(t, qt.HasLen(e.Variants[2].Programs, 0))
}
