package filter

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
)

// How much is made at random, besides the expressions of testdata/expressions.txt.
const (
	generatedExpressions = 300
	generatedPackets     = 1500
)

// TestAgainstTcpdump compares every expression with what tcpdump compiles from it, on packets that begin with Ethernet and on
// the same ones that begin with IP. What is not compared is counted, and explained in doc.go.
func TestAgainstTcpdump(t *testing.T) {
	frames := newPacketMaker(1).frames(generatedPackets)
	d := differential{
		tcpdump: newTcpdump(t),
		packets: map[Link][][]byte{Ethernet: frames, IP: withoutLink(frames)},
		answers: make(map[string][2]bool),
	}
	written := expressions(t)
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, e := range append(written, newExpressionMaker(1).expressions(generatedExpressions)...) {
		for _, link := range []Link{Ethernet, IP} {
			group.Go(func() error {
				if err := d.compare(link, e); err != nil {
					t.Errorf("%s\n%v", e, err)
				}
				return nil
			})
		}
	}
	qt.Assert(t, qt.IsNil(group.Wait()))
	t.Logf("%+v", d.count)

	// The comparison is worth something only if expressions tell packets apart.
	idle := 0
	for _, e := range written {
		if a := d.answers[e]; !a[0] || !a[1] {
			idle++
			t.Logf("says the same of all packets: %s", e)
		}
	}
	qt.Check(t, qt.IsTrue(idle*10 < len(written)), qt.Commentf("%d of %d say the same of all packets", idle, len(written)))
	qt.Check(t, qt.IsTrue(d.count.matches*20 > d.count.answers), qt.Commentf("%+v", d.count))
}

// oversights are refusals that are not meant: tcpdump takes the offset in "1 << ip[40]" for what is shifted by, and that in
// "1 / ip[0]" for what is divided by; and it runs out of registers earlier.
var oversights = []string{"shift by more than 31 bits", "division by zero", "modulus by zero",
	"too many registers needed to evaluate expression"}

type differential struct {
	tcpdump
	packets map[Link][][]byte

	mu      sync.Mutex
	answers map[string][2]bool // which there were
	count   struct {
		answers, matches int
		refused          int // by both
		onlyOurs         int // tcpdump has no answer for packets without a link's header
		oversights       int // only by tcpdump, which means something else
		link             int // about the link's header, where there is none
		short            int // answers about packets that end too early, where tcpdump's optimizer makes a difference
	}
}

// compare returns an error if one expression gets different answers.
func (d *differential) compare(link Link, expression string) error {
	ours, err := CompilePacket(expression)
	text, refusal := d.compile(link, expression)
	var r refused
	if errors.As(refusal, &r) && r == neverTrue {
		text, refusal = "1\n6 0 0 0", nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case refusal != nil && !errors.As(refusal, &r):
		return refusal
	case refusal != nil && err != nil:
		d.count.refused++
		return nil
	case refusal != nil && link == IP:
		d.count.onlyOurs++
		return nil
	case refusal != nil && slices.Contains(oversights, refusal.Error()):
		d.count.oversights++
		return nil
	case refusal != nil:
		return fmt.Errorf("only tcpdump refuses it: %w", refusal)
	case err != nil:
		return fmt.Errorf("only tcpdump accepts it: %w", err)
	case link == IP && aboutLink(expression):
		d.count.link++
		return nil
	}
	return d.run(link, expression, ours, text)
}

// aboutLink tells whether an expression asks for something of a link's header that tcpdump finds in headers of IP.
func aboutLink(expression string) bool {
	for _, word := range []string{"ether[", "link[", "pppoes"} {
		if strings.Contains(expression, word) {
			return true
		}
	}
	return false
}

func (d *differential) run(link Link, expression string, ours *Packet, text string) error {
	theirs, err := machineOf(text)
	if err != nil {
		return err
	}
	taken, err := CompileClassic(text, link)
	if err != nil {
		return fmt.Errorf("take tcpdump's own program: %w", err)
	}
	var plain *bpf.VM // what tcpdump compiles without its optimizer
	for _, p := range d.packets[link] {
		got := ours.Match(View{Data: p, Link: link})
		want, err := answer(theirs, p)
		if err != nil {
			return err
		}
		if v := taken.Match(View{Data: p, Link: link}); v != want {
			return fmt.Errorf("%d bytes with link %d: tcpdump's own program says %v instead of %v here\n%x", len(p), link, v, want, p)
		}
		if got != want && got == NoMatch {
			if plain == nil {
				if text, err = d.compile(link, expression, "-O"); err != nil {
					return err
				}
				if plain, err = machineOf(text); err != nil {
					return err
				}
			}
			if want, err = answer(plain, p); err != nil {
				return err
			}
			d.count.short++
		}
		if got != want {
			return fmt.Errorf("%d bytes with link %d: %v, tcpdump says %v\n%x", len(p), link, got, want, p)
		}
		d.count.answers++
		if got == Match {
			d.count.matches++
		}
		a := d.answers[expression]
		a[got] = true
		d.answers[expression] = a
	}
	return nil
}

func answer(vm *bpf.VM, packet []byte) (Verdict, error) {
	n, err := vm.Run(packet)
	if err != nil {
		return NoMatch, fmt.Errorf("run the reference: %w", err)
	}
	if n == 0 {
		return NoMatch, nil
	}
	return Match, nil
}

// TestTagAgainstTcpdump compares filters on packets with a tag beside the data with what tcpdump compiles for a device, where
// it asks the kernel for that tag. What is right of a vlan that was not evaluated it looks for elsewhere; so these begin with
// one.
func TestTagAgainstTcpdump(t *testing.T) {
	reference := newTcpdump(t)
	needRoot(t) // to compile for a device
	frames := newPacketMaker(13).frames(600)
	compared := 0
	for _, e := range expressions(t) {
		if !strings.HasPrefix(strings.TrimPrefix(e, "not "), "vlan") {
			continue
		}
		text, err := reference.compile(Ethernet, e, "-i", "lo")
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", e))
		theirs, err := CompileClassic(text, Ethernet)
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", e))
		ours := mustCompile(t, e)
		for i, frame := range frames {
			v := View{Data: frame, Link: Ethernet, Tagged: i%2 == 0, TCI: vlans[i%len(vlans)] | 0x2000}
			qt.Assert(t, qt.Equals(ours.Match(v), theirs.Match(v)), qt.Commentf("%s\n%+v", e, v))
			compared++
		}
	}
	qt.Check(t, qt.IsTrue(compared > 10_000), qt.Commentf("%d", compared))
}
