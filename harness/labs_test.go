package harness_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
)

// TestReset: what a test has changed in a lab is gone, and the lab works as before.
func TestReset(t *testing.T) {
	needLab(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	ctx := t.Context()
	datagram := packet.UDP{To: p.server, DstPort: 9}
	before := lab.Follow(ctx, p.client, datagram)
	cookie := p.server.NetNSCookie()

	lab.LoadNFT(ctx, p.server, metrics)
	lab.Down(p.client, "eth0")
	lab.Listen(p.server, 9)
	lab.Reset()

	after := lab.Follow(ctx, p.client, datagram)
	qt.Check(t, qt.Equals(after.Outcome().Brief(), "dropped in server (NO_SOCKET)"))
	qt.Check(t, qt.Equals(after.Outcome().Brief(), before.Outcome().Brief()))
	qt.Check(t, qt.IsNil(after.Evidence.Incomplete()))
	qt.Check(t, qt.Not(qt.Equals(p.server.NetNSCookie(), cookie)))
	qt.Check(t, qt.HasLen(lab.Running().Rulesets(p.server), 0))
}

// TestFlow: both directions of a connection, found by the ends that the client sees, and nothing else.
func TestFlow(t *testing.T) {
	needLab(t)
	g := NewWithT(t)
	p := newPair()
	lab := harness.New(t, &p.net)
	ctx := t.Context()
	listener := lab.ListenTCP(p.server, 80)

	trace := lab.Trace(ctx)
	conn := lab.Dial(ctx, p.client, packet.TCP{To: p.server, DstPort: 80})
	g.Expect(conn.Err).NotTo(HaveOccurred())
	accepted, err := listener.Accept(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(conn.Send(ctx, []byte("question"))).To(Succeed())
	data, err := accepted.Receive(ctx)
	g.Expect(string(data), err).To(Equal("question"))
	other := lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 80})
	g.Expect(accepted.Close()).To(Succeed())
	record := trace.Seal(ctx)

	directions := make(map[string]int)
	for _, j := range record.Flow(conn) {
		h, _ := j.Events[0].Packet.Header()
		g.Expect(h.Proto).To(Equal(uint8(6)))
		directions[fmt.Sprintf("%s > %s", h.Src, h.Dst)]++
	}
	g.Expect(directions).To(HaveLen(2))
	for direction, n := range directions {
		g.Expect(n).To(BeNumerically(">=", 2), direction)
	}
	g.Expect(record.Flow(other)).To(ConsistOf(record.Of(other)))
}

// TestParallel: tests that run at the same time have labs with the same addresses, and send the same five-tuples.
func TestParallel(t *testing.T) {
	needLab(t)
	const tests, packets = 8, 10
	ids := make(chan journey.ID, tests*packets)
	t.Run("group", func(t *testing.T) {
		for n := range tests {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				g := NewWithT(t)
				p := newPair()
				lab := harness.New(t, &p.net)
				own := []uint64{p.client.NetNSCookie(), p.server.NetNSCookie()}
				for range packets {
					j := lab.Follow(t.Context(), p.client, packet.UDP{To: p.server, SrcPort: 4000, DstPort: 9})
					g.Expect(j).To(assert.BeDropped(assert.At(p.server), assert.Reason("NO_SOCKET")))
					g.Expect(j).NotTo(assert.BeDelivered())
					for _, e := range j.Events {
						g.Expect(own).To(ContainElement(e.NetNS.Cookie))
					}
					ids <- j.ID
				}
			})
		}
	})
	close(ids)
	seen := make(map[journey.ID]bool)
	for id := range ids {
		qt.Check(t, qt.IsFalse(seen[id]))
		seen[id] = true
	}
	qt.Check(t, qt.HasLen(seen, tests*packets))
}

// BenchmarkSpec is what a test costs that makes a lab of two nodes and follows one packet.
func BenchmarkSpec(b *testing.B) {
	if err := harness.Open(b.Context()); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		err := harness.Run(func(t harness.T) {
			p := newPair()
			lab := harness.New(t, &p.net)
			j := lab.Follow(context.Background(), p.client, packet.UDP{To: p.server, DstPort: 9})
			if j.Outcome().Kind != journey.Dropped {
				t.Fatalf("%s", j.Sentence())
			}
		})
		qt.Assert(b, qt.IsNil(err))
	}
}
