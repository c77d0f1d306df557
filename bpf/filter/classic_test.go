package filter

import (
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// TestClassic compares programs of random instructions with golang.org/x/net/bpf.
func TestClassic(t *testing.T) {
	m := newExpressionMaker(7)
	frames := newPacketMaker(10).frames(50)
	count := map[Verdict]int{}
	for range 2000 {
		text := m.classic()
		if strings.Contains(text, "\n129 ") {
			continue // X = length, which golang.org/x/net/bpf takes for A = length
		}
		ours, err := CompileClassic(text, Ethernet)
		qt.Assert(t, qt.IsNil(err))
		theirs, err := machineOf(text)
		qt.Assert(t, qt.IsNil(err))
		for _, frame := range frames {
			want, err := answer(theirs, frame)
			qt.Assert(t, qt.IsNil(err))
			count[want]++
			qt.Assert(t, qt.Equals(ours.Match(View{Data: frame, Link: Ethernet}), want), qt.Commentf("%s\n%x", text, frame))
		}
	}
	t.Log(count)
	qt.Check(t, qt.IsTrue(count[Match] > 10_000 && count[NoMatch] > 10_000))
}

// TestClassicText: programs are taken as tcpdump -ddd prints them, and with commas as for iptables and tc.
func TestClassicText(t *testing.T) {
	m := newPacketMaker(11)
	frame := m.frameOf(m.over4(0))
	const isIP = "4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n"
	for _, text := range []string{
		isIP, strings.TrimSpace(isIP), "\n " + isIP + "\n", strings.ReplaceAll(strings.TrimSpace(isIP), "\n", ","),
	} {
		f := mustCompile(t, text)
		qt.Check(t, qt.Equals(f.Match(View{Data: frame, Link: Ethernet}), Match), qt.Commentf("%q", text))
		qt.Check(t, qt.Equals(f.Match(View{Data: frame[14:], Link: IP}), Unknown), qt.Commentf("it is for packets with Ethernet"))
	}
	f, err := CompileClassic("4\n48 0 0 0\n84 0 0 240\n21 0 1 64\n22 0 0 0\n", IP)
	qt.Check(t, qt.IsNotNil(err), qt.Commentf("a jump behind the end: %v", f))
	f, err = CompileClassic("4\n48 0 0 0\n84 0 0 240\n20 0 0 64\n22 0 0 0\n", IP) // what is not zero matches
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(f.Match(View{Data: frame[14:], Link: IP}), NoMatch))
	qt.Check(t, qt.Equals(f.Match(View{Data: frame, Link: Ethernet}), Unknown))
}

// TestClassicTag: what tcpdump compiles for a device asks the kernel for the tag beside the data.
func TestClassicTag(t *testing.T) {
	m := newPacketMaker(12)
	frame := m.frameOf(m.over4(0))
	f := mustCompile(t, "7\n48 0 0 4294963248\n21 0 4 1\n48 0 0 4294963244\n84 0 0 4095\n21 0 1 100\n6 0 0 1\n6 0 0 0\n")
	for _, test := range []struct {
		view View
		want Verdict
	}{
		{View{Tagged: true, TCI: 100 | 0xe000}, Match},
		{View{Tagged: true, TCI: 101}, NoMatch},
		{View{TCI: 100}, NoMatch},
	} {
		test.view.Data, test.view.Link = frame, Ethernet
		qt.Check(t, qt.Equals(f.Match(test.view), test.want), qt.Commentf("%+v", test.view))
	}
}
