package packet

import (
	"context"
	"math"
	"os"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

func TestBurst(t *testing.T) {
	in := newNamespace(t)
	l := mustListen(t, in, 0)
	const n, rate = 20, 200.0
	burst := func(b Burst) []*Sent {
		all, err := SendBurst(within(t), in, b)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.HasLen(all, n))
		t.Cleanup(func() {
			for _, sent := range all {
				qt.Check(t, qt.IsNil(sent.Close()))
			}
		})
		return all
	}
	all := burst(Burst{Rate: rate, Packets: Series(n, func(i int) Packet {
		return UDP{To: ip("127.0.0.1"), SrcPort: 4000, DstPort: l.Port(), Payload: []byte{byte(i)}}
	})})
	cookies := make(map[uint64]bool)
	for i, sent := range all {
		qt.Assert(t, qt.IsNil(sent.Err))
		got, from, err := l.Receive(within(t))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(got, []byte{byte(i)}))
		qt.Check(t, qt.Equals(from.Port(), 4000))
		cookies[sent.Cookie] = true
		// No packet is early. That a slow machine is late is no fault.
		due := all[0].Before + uint64(float64(i)/rate*float64(time.Second))
		qt.Check(t, qt.IsTrue(sent.Before >= due), qt.Commentf("packet %d left %d ns early", i, due-sent.Before))
	}
	qt.Check(t, qt.HasLen(cookies, n))

	// Of those that the kernel refuses, each has its answer, and the others go on.
	nft(t, in, "table inet filter { chain output { type filter hook output priority 0; udp sport 4001 drop; }; }")
	all = burst(Burst{Packets: Series(n, func(i int) Packet {
		return UDP{To: ip("127.0.0.1"), SrcPort: 4000 + uint16(i%2), DstPort: l.Port()}
	})})
	for i, sent := range all {
		qt.Check(t, qt.Equals(sent.Err != nil, i%2 == 1))
		if sent.Err != nil {
			qt.Check(t, qt.ErrorIs(sent.Err, error(unix.EPERM)))
		}
	}
}

func TestBurstRefusesWrongDescriptions(t *testing.T) {
	never := func(func() error) error {
		t.Error("the kernel was touched")
		return nil
	}
	right := UDP{To: ip("127.0.0.1"), DstPort: 1}
	for _, test := range []struct {
		burst Burst
		want  string
	}{
		{Burst{}, "send burst: Packets is empty: give some, such as packet.Repeat(100, packet.UDP{…})"},
		{Burst{Packets: Repeat(0, right)}, "send burst: Packets is empty: give some, such as packet.Repeat(100, packet.UDP{…})"},
		{Burst{Packets: Repeat(2, right), Rate: -1}, "send burst: Rate is -1: give packets a second, or 0 for one right after the other"},
		{Burst{Packets: Repeat(2, right), Rate: math.NaN()}, "send burst: Rate is NaN: give packets a second, or 0 for one right after the other"},
		{Burst{Packets: Repeat(2, nil)}, "send burst: packet 0 is nil: describe one, such as packet.UDP{…}"},
		{Burst{Packets: []Packet{right, UDP{DstPort: 1}}}, "packet 1: send UDP: To is nil: give a node, or packet.IP of an address"},
	} {
		all, err := SendBurst(t.Context(), never, test.burst)
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
		qt.Check(t, qt.HasLen(all, 0))
	}
}

// A burst that is cut short leaves no socket.
func TestBurstLeavesNothing(t *testing.T) {
	in := newNamespace(t)
	before, err := os.ReadDir("/proc/self/fd")
	qt.Assert(t, qt.IsNil(err))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = SendBurst(ctx, in, Burst{Rate: 0.01, Packets: Repeat(3, UDP{To: ip("127.0.0.1"), DstPort: 1})})
	qt.Check(t, qt.ErrorMatches(err, "send burst: packet 1: context deadline exceeded"))
	_, err = SendBurst(t.Context(), in, Burst{Packets: []Packet{UDP{To: ip("127.0.0.1"), DstPort: 1}, Frame{Device: "eth9", Data: make([]byte, 14)}}})
	qt.Check(t, qt.ErrorMatches(err, "packet 1: send frame: find device eth9: .*"))
	after, err := os.ReadDir("/proc/self/fd")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(after, len(before)))
}
