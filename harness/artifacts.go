package harness

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// ArtifactsEnv names the environment variable with the folder below which failed tests leave what they saw. Without it that is
// waybill/artifacts in the user's cache folder. In a VM of waybill vm it is set, and the folder comes back to the host.
const ArtifactsEnv = "WAYBILL_ARTIFACTS"

// artifactsHostEnv says what that folder is called on the host, for messages: waybill vm sets it.
const artifactsHostEnv = "WAYBILL_ARTIFACTS_HOST"

// recordFlag is for whoever wants to compare what tests saw: see waybill diff.
var recordFlag = flag.Bool("waybill.record", false, "leave the records of tests that pass, too, where failed tests leave theirs")

// folder is where a lab's test leaves what it saw, if it fails.
type folder struct {
	path  string
	shown string // what it is called for who reads the messages
}

// taken holds the folders of this process's labs, so that two labs of one test do not share one.
var taken struct {
	sync.Mutex
	paths map[string]bool
}

// takeFolder gives a folder to a lab, and empties it of what an earlier run left there. It is not made before there is
// something to leave. A test without a name, as outside of tests, has none.
func takeFolder(t T) (*folder, error) {
	named, ok := t.(interface{ Name() string })
	if !ok || named.Name() == "" {
		return nil, nil
	}
	base, shown := os.Getenv(ArtifactsEnv), os.Getenv(artifactsHostEnv)
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, nil // nowhere to leave anything
		}
		base = filepath.Join(cache, "waybill", "artifacts")
	}
	if shown == "" {
		shown = base
	}
	binary := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	name := filepath.Join(fileName(binary), fileName(named.Name()))
	taken.Lock()
	defer taken.Unlock()
	if taken.paths == nil {
		taken.paths = make(map[string]bool)
	}
	unique := name
	for n := 2; taken.paths[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	taken.paths[unique] = true
	f := &folder{filepath.Join(base, unique), filepath.Join(shown, unique)}
	if err := os.RemoveAll(f.path); err != nil {
		return nil, fmt.Errorf("remove what an earlier run left: %w", err)
	}
	return f, nil
}

// longestName is how many bytes of a test's name its folder has; file systems take 255.
const longestName = 120

var unfit = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// fileName makes a name of a folder of a test's name.
func fileName(name string) string {
	name = strings.Trim(unfit.ReplaceAllString(name, "_"), "_.")
	if len(name) > longestName {
		name = name[:longestName]
	}
	return name
}

// leave writes everything that tells what happened in the lab into its folder. It is called while the network is still up. What
// cannot be told does not keep the rest from being written.
func (l *Lab) leave() error {
	if l.folder == nil {
		return nil
	}
	if err := l.makeFolder(); err != nil {
		return err
	}
	errs := []error{l.leaveRecords()}
	for _, node := range l.network.Nodes() {
		errs = append(errs, l.leaveNode(node))
	}
	errs = append(errs, l.write("network.sh", l.writeNetwork))
	if l.kernel != nil {
		errs = append(errs, l.write("kernel.log", func(w io.Writer) error { return l.kernel.copyTo(w) }))
	}
	return errors.Join(errs...)
}

// leaveRecords writes the journeys of all traces.
func (l *Lab) leaveRecords() error {
	l.mu.Lock()
	records := l.records
	l.mu.Unlock()
	if l.folder == nil || len(records) == 0 {
		return nil
	}
	if err := l.makeFolder(); err != nil {
		return err
	}
	var errs []error
	for n, r := range records {
		errs = append(errs, l.leaveRecord(n+1, r))
	}
	return errors.Join(errs...)
}

func (l *Lab) makeFolder() error {
	if err := os.MkdirAll(l.folder.path, 0o755); err != nil {
		return fmt.Errorf("leave what the test saw: %w", err)
	}
	return nil
}

// leaveRecord writes the journeys of one trace: as JSON, as text, and what each node saw as a capture.
func (l *Lab) leaveRecord(n int, r *Record) error {
	name := fmt.Sprintf("record-%d", n)
	errs := []error{
		l.write(name+".json", func(w io.Writer) error {
			encoder := json.NewEncoder(w)
			encoder.SetIndent("", " ")
			return encoder.Encode(r.record)
		}),
		l.write(name+".txt", func(w io.Writer) error {
			for _, j := range r.All() {
				if _, err := fmt.Fprintf(w, "%s\n%s\n", j.Summary(), j); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	boot, err := bootTime()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, node := range l.network.Nodes() {
		errs = append(errs, l.write(fmt.Sprintf("%s-%s.pcapng", name, node), func(w io.Writer) error {
			_, err := r.record.WritePcapng(w, node, boot)
			return err
		}))
	}
	return errors.Join(errs...)
}

// writeNetwork writes a script that builds the network by hand, as it is now, and says what was sent in it.
func (l *Lab) writeNetwork(w io.Writer) error {
	script, err := l.running.Dump(context.Background())
	if err != nil {
		return err
	}
	l.mu.Lock()
	sent := l.sent
	l.mu.Unlock()
	var lines strings.Builder
	for _, s := range sent {
		if s, ok := s.(*packet.Sent); ok {
			fmt.Fprintf(&lines, "#   %s\n", s)
		}
	}
	if lines.Len() > 0 {
		script += "\n# What the test sent:\n" + lines.String()
	}
	_, err = io.WriteString(w, script)
	return err
}

// leaveNode writes what a node's rules and connections are now.
func (l *Lab) leaveNode(node *topology.Node) error {
	var errs []error
	if rulesets := l.running.Rulesets(node); len(rulesets) > 0 {
		if text := rulesets[len(rulesets)-1].Text; text != "" {
			errs = append(errs, l.write(node.String()+".nft", func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			}))
		}
	}
	connections, err := l.running.Connections(node)
	if missing := (*topology.UnsupportedError)(nil); errors.As(err, &missing) {
		err = nil // nobody tracks connections
	}
	if err != nil {
		errs = append(errs, err)
	}
	if len(connections) > 0 {
		errs = append(errs, l.write(node.String()+".conntrack", func(w io.Writer) error {
			for _, c := range connections {
				_, err := fmt.Fprintf(w, "proto %d %s reply %s mark %#x zone %d\n", c.Proto, c.Original, c.Reply, c.Mark, c.Zone)
				if err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}

// write makes a file, unless nothing is written into it.
func (l *Lab) write(name string, content func(io.Writer) error) error {
	path := filepath.Join(l.folder.path, fileName(name))
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("leave what the test saw: %w", err)
	}
	err = content(f)
	end, seek := f.Seek(0, io.SeekEnd)
	if err = errors.Join(err, seek, f.Close()); err != nil {
		return fmt.Errorf("leave what the test saw in %s: %w", name, err)
	}
	if end == 0 {
		return os.Remove(path)
	}
	return nil
}

// bootTime is the time of day at which CLOCK_MONOTONIC was zero.
func bootTime() (time.Time, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return time.Time{}, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return time.Now().Add(-time.Duration(now.Nano())), nil
}

// report shows the journeys that the test looked at, and where the rest is: to a test that failed, or to who reads everything.
func (l *Lab) report() {
	failed, verbose := failed(l.t), verbose(l.t)
	if !failed && !verbose {
		return
	}
	l.mu.Lock()
	asked := l.asked
	l.mu.Unlock()
	for _, j := range asked {
		l.show("journey of "+j.Flow(), j.String())
	}
	if failed && l.folder != nil {
		l.show("artifacts", l.folder.shown)
	}
}

// show adds something to a test's report: an entry of a Ginkgo spec, and a line of the log elsewhere.
func (l *Lab) show(name, text string) {
	switch t := l.t.(type) {
	case ginkgoT:
		t.AddReportEntryVisibilityFailureOrVerbose(name, text)
	case interface {
		Logf(format string, args ...any)
	}:
		t.Logf("%s:\n%s", name, text)
	}
}

// ask notes that a test looked at a journey.
func (l *Lab) ask(j *journey.Journey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked) == mostAsked {
		l.asked = l.asked[1:]
	}
	l.asked = append(l.asked, j)
}

// Of a lab that serves many traces, the last records and the journeys that were looked at last are kept.
const (
	mostAsked   = 3
	mostRecords = 16
)

func (l *Lab) keepRecord(r *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == mostRecords {
		l.records = l.records[1:]
	}
	l.records = append(l.records, r)
}
