package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/waybill-dev/waybill/journey/shape"
)

type diffCommand struct {
	A          string   `arg:"" help:"A recording: record-1.json of a test, a file of waybill collect, what waybill demo --json prints, or a folder of artifacts with records in it."`
	B          string   `arg:"" help:"The other one."`
	JSON       bool     `name:"json" help:"Print the difference as JSON."`
	All        bool     `help:"Compare the packets that kernels send by themselves, too."`
	AnyAddress bool     `help:"Let addresses be others, or IPv6 instead of IPv4."`
	AnyRule    bool     `help:"Let rules be others, as long as the same becomes of the packets."`
	Without    []string `placeholder:"PLACE" sep:"none" help:"A place that makes no difference, as it is printed; may be given several times."`
}

// Help is shown by waybill diff --help.
func (diffCommand) Help() string {
	return "What happened to each packet is compared, not when, on which CPU or by which of a kernel's functions: the places by " +
		"which it came, the rules that judged it, what was changed in it, and what became of it. Packets belong together if they " +
		"look the same at first sight, in the order in which they were seen. What only A has is behind -, and what only B has behind +. " +
		"Of folders, the records with the same path are compared. " +
		"The exit status is 0 if the same happened, 1 if not, and 2 if that cannot be told, because something is missing in a recording."
}

// Exit statuses of waybill diff beside 0, as diff(1) has 1.
const (
	statusDifferent    = 1
	statusInconclusive = 2
)

// compared is two recordings and what their comparison came to.
type compared struct {
	A       string `json:"a"`
	B       string `json:"b"`
	Verdict string `json:"verdict"`
	*shape.Comparison
}

// Run compares recordings.
func (c diffCommand) Run(context.Context) error {
	signal.Ignore(syscall.SIGPIPE) // whoever reads may go
	pairs, err := recordingPairs(c.A, c.B)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	all := []compared{}
	for _, pair := range pairs {
		one, err := c.compare(pair[0], pair[1])
		if err != nil {
			return err
		}
		all = append(all, one)
		if c.JSON {
			continue
		}
		switch {
		case c.single():
			one.print(out)
		case one.Verdict != "same":
			one.print(out)
			fmt.Fprintln(out)
		}
	}
	switch {
	case c.JSON && c.single():
		err = printComparison(out, all[0])
	case c.JSON:
		err = printComparison(out, all)
	case !c.single():
		_, err = fmt.Fprintf(out, "Records: %d; the same %d, different %d, inconclusive %d.\n", len(all),
			comingTo(all, "same"), comingTo(all, "different"), comingTo(all, "inconclusive"))
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	switch {
	case err != nil:
		return broken(err)
	case comingTo(all, "different") > 0:
		return exitStatus(statusDifferent)
	case comingTo(all, "inconclusive") > 0:
		return exitStatus(statusInconclusive)
	}
	return nil
}

func comingTo(all []compared, verdict string) (n int) {
	for _, c := range all {
		if c.Verdict == verdict {
			n++
		}
	}
	return n
}

// single says that files are compared, not folders.
func (c diffCommand) single() bool {
	info, err := os.Stat(c.A)
	return err == nil && !info.IsDir()
}

// compare compares two files. A path that is empty is a record that a folder does not have.
func (c diffCommand) compare(pathA, pathB string) (compared, error) {
	if pathA == "" || pathB == "" {
		d := &shape.Comparison{Different: []shape.Pair{}, OnlyA: []string{}, OnlyB: []string{}, Doubts: []string{}}
		return compared{pathA, pathB, "different", d}, nil
	}
	a, err := readRecording(pathA)
	if err != nil {
		return compared{}, err
	}
	b, err := readRecording(pathB)
	if err != nil {
		return compared{}, err
	}
	options := shape.Options{AnyAddress: c.AnyAddress, AnyRule: c.AnyRule, Without: c.Without}
	d := shape.Records(a.record, b.record, c.All, options)
	if a.probes != nil && b.probes != nil && !slices.Equal(a.probes, b.probes) {
		d.Doubts = append(d.Doubts, fmt.Sprintf("A was collected with %s, and B with %s", probesText(a.probes), probesText(b.probes)))
	}
	return compared{pathA, pathB, d.Verdict(), d}, nil
}

// recordingPairs are the files to compare: the two, or of folders those with the same path.
func recordingPairs(a, b string) ([][2]string, error) {
	infoA, err := os.Stat(a)
	if err != nil {
		return nil, fmt.Errorf("read a recording: %w", err)
	}
	infoB, err := os.Stat(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read a recording: %w", err)
	case infoA.IsDir() != infoB.IsDir():
		return nil, fmt.Errorf("one of %s and %s is a folder: give two files or two folders", a, b)
	case !infoA.IsDir():
		return [][2]string{{a, b}}, nil
	}
	records := make(map[string][2]string)
	for side, folder := range []string{a, b} {
		found, err := recordsIn(folder)
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			pair := records[name]
			pair[side] = filepath.Join(folder, name)
			records[name] = pair
		}
	}
	var pairs [][2]string
	for _, name := range slices.Sorted(maps.Keys(records)) {
		pairs = append(pairs, records[name])
	}
	return pairs, nil
}

// recordsIn lists the records in a folder of artifacts, by their paths in it.
func recordsIn(folder string) (names []string, err error) {
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if is, _ := filepath.Match("record-*.json", entry.Name()); is && entry.Type().IsRegular() {
			name, err := filepath.Rel(folder, path)
			names = append(names, name)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for records: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no record in %s: tests leave record-1.json and so on there if they fail, or with -waybill.record",
			folder)
	}
	return names, nil
}

func probesText(probes []string) string {
	if len(probes) == 0 {
		return "the probes that it has by itself"
	}
	return "-p " + strings.Join(probes, " -p ")
}

func printComparison(out io.Writer, what any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(what)
}

// print writes what differs, and at last what that comes to. Errors are the buffer's.
func (d *compared) print(out io.Writer) {
	line := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	switch {
	case d.A == "":
		line("Only B has %s.", d.B)
		return
	case d.B == "":
		line("Only A has %s.", d.A)
		return
	}
	line("--- A: %s\n+++ B: %s", d.A, d.B)
	for _, g := range d.alike() {
		line("\n%s%s", g.Packet, g.numbers())
		for l := range strings.Lines(g.String()) {
			line("  %s", strings.TrimSuffix(l, "\n"))
		}
		line("In B, %s.", g.Words)
		if g.Inconclusive != "" {
			line("Whether that is a difference cannot be told: %s.", g.Inconclusive)
		}
	}
	for _, only := range []struct {
		side    string
		packets []string
	}{{"- Only A", d.OnlyA}, {"+ Only B", d.OnlyB}} {
		if len(only.packets) > 0 {
			line("\n%s has:", only.side)
		}
		for i, p := range only.packets {
			if n := count(only.packets, p); slices.Index(only.packets, p) == i {
				line("    %s%s", p, ofThese(n))
			}
		}
	}
	line("\nThe same happened to %s, something else to %d; only A has %d, only B %d.", packetsText(d.Same), len(d.Different),
		len(d.OnlyA), len(d.OnlyB))
	if d.LeftOut != [2]int{} {
		line("Left out, because kernels send it by themselves (--all compares it): %d of A, %d of B.", d.LeftOut[0], d.LeftOut[1])
	}
	if d.Verdict == "inconclusive" {
		line("INCONCLUSIVE: what is missing may make the difference, or hide one.")
		for _, doubt := range d.Doubts {
			line("  %s.", doubt)
		}
	}
}

func count(packets []string, packet string) (n int) {
	for _, p := range packets {
		if p == packet {
			n++
		}
	}
	return n
}

func ofThese(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(" (%d of these)", n)
}

// group is packets that look the same and differ in the same way.
type group struct {
	shape.Pair
	which []string
}

// alike groups what differs, in order.
func (d *compared) alike() []*group {
	var groups []*group
	found := make(map[string]*group)
	for _, p := range d.Different {
		key := p.Packet + "\n" + p.String() + p.Inconclusive
		if found[key] == nil {
			found[key] = &group{Pair: p}
			groups = append(groups, found[key])
		}
		found[key].which = append(found[key].which, strconv.Itoa(p.Number))
	}
	return groups
}

// numbers says which of the packets that look the same are meant, if that is not the first alone.
func (g *group) numbers() string {
	if len(g.which) == 1 && g.which[0] == "1" {
		return ""
	}
	return " (of these number " + strings.Join(g.which, ", ") + ")"
}

func packetsText(n int) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}
