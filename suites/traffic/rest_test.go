package traffic

import (
	"bytes"
	"encoding/binary"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// A trace is over when every packet has ended or rests, not when patience runs out. So each record here must be settled.
var _ = Describe("a packet that rests", func() {
	It("rests in a TCP socket that nobody reads from", func(ctx SpecContext) {
		r := newRow()
		conn := r.connect(ctx)

		trace := r.lab.Trace(ctx)
		Expect(conn.Send(ctx, []byte("first"))).To(Succeed())
		Expect(conn.Send(ctx, []byte("second"))).To(Succeed()) // the kernel may append it to the first
		Expect(conn.CloseWrite()).To(Succeed())
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		data, acks := arrived(record, conn)
		Expect(data).To(HaveLen(3), "two of data, and the FIN: %v", summaries(data))
		for _, segment := range data {
			Expect(segment).To(BeDelivered(At(r.server)))
		}
		for _, ack := range acks {
			Expect(ack.Outcome().Kind).To(Equal(journey.Consumed))
		}
	})

	It("rests in a TCP socket though it came early", Label("smoke"), func(ctx SpecContext) {
		r := newRow()
		conn := r.connect(ctx)
		// The first byte behind 20 of TCP's header and 12 of its timestamps.
		r.lab.LoadNFT(ctx, r.router, `
table ip cut {
	chain forward {
		type filter hook forward priority 0
		tcp dport 80 @th,256,8 0x31 drop
	}
}`)
		// All three are sent before the server's first answer is there.
		r.lab.Impair(r.server, "eth0", topology.Impairment{Delay: 100 * time.Millisecond})
		full := 1448 // only after segments of full size does TCP send another one unasked (Nagle)

		trace := r.lab.Trace(ctx)
		Expect(conn.Send(ctx, bytes.Repeat([]byte("1"), full))).To(Succeed())
		Expect(conn.Send(ctx, bytes.Repeat([]byte("2"), full))).To(Succeed())
		Expect(conn.Send(ctx, []byte("333"))).To(Succeed()) // the kernel may append it to the second
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		data, _ := arrived(record, conn)
		Expect(data).To(HaveLen(3), "%v", summaries(data))
		Expect(data[0]).To(BeDropped(At(r.router)))
		// TCP may send them again, to probe, and drops what it has twice.
		Expect(data[1]).To(BeDelivered(AnyBranch(), At(r.server)))
		Expect(data[2]).To(BeDelivered(AnyBranch(), At(r.server)))
	})

	It("rests with the other fragments of its datagram while one is missing", func(ctx SpecContext) {
		for _, v6 := range []bool{false, true} {
			r := newRow()
			r.lab.LoadNFT(ctx, r.router, `
table ip cut {
	chain forward {
		type filter hook forward priority 0
		ip frag-off 0x20b9 drop
	}
}
table ip6 cut {
	chain forward {
		type filter hook forward priority 0
		frag frag-off 181 drop
	}
}`)

			trace := r.lab.Trace(ctx)
			sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.to(v6), DstPort: 8081, Payload: make([]byte, 4000)})
			record := trace.Seal(ctx)

			Expect(record.Evidence().Incomplete()).To(Succeed())
			places := map[string]int{}
			for _, fragment := range record.AllOf(sent) {
				o := fragment.Outcome()
				places[string(o.Kind)+" "+o.Place]++
			}
			Expect(places).To(HaveKeyWithValue("queued fragment queue", 2), "IPv6: %v %v", v6, summaries(record.AllOf(sent)))
		}
	})

	// The answer of the neighbour comes while the call that asked for it is still at work, if the machine is quick; so there are some tries.
	// Catches: that the packet waited for the neighbour, told when it waits for something else already.
	It("rests with the other fragments, no matter that it waited for its neighbour before", func(ctx SpecContext) {
		for range 10 {
			var net topology.Network
			client := net.Add(topology.Node{Name: "client"})
			server := net.Add(topology.Node{Name: "server", NFT: `table ip cut {
				chain prerouting {
					type filter hook prerouting priority -500
					ip frag-off & 0x1fff != 0 drop
				}
			}`})
			net.Connect(client, server)
			lab := harness.New(GinkgoTB(), &net)

			trace := lab.Trace(ctx)
			sent := lab.Send(ctx, client, packet.UDP{To: server, DstPort: 8081, Payload: make([]byte, 2000)})
			record := trace.Seal(ctx)

			Expect(record.AllOf(sent)[0]).To(Reach(IPReceive, At(server)))
			Expect(record.AllOf(sent)[0].Outcome().Place).To(Equal(journey.FragmentQueue), "%v", summaries(record.AllOf(sent)))
		}
	})

	It("does not rest in a qdisc, and is not said to have ended there", func(ctx SpecContext) {
		lab, client, server := delayed(time.Hour)

		waiting := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 8081},
			harness.TraceOptions{Patience: 200 * time.Millisecond})

		Expect(waiting.Outcome().String()).To(Equal("queued in the qdisc in namespace client on eth0"))
		Expect(waiting.Evidence.Incomplete()).To(MatchError(journey.ErrInconclusive))
	})

	It("is followed behind the qdisc that held it for a while", func(ctx SpecContext) {
		lab, client, server := delayed(50 * time.Millisecond)
		lab.Listen(server, 8081)

		late := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 8081})

		Expect(late).To(BeDelivered(At(server)))
		Expect(late.Evidence.Incomplete()).To(Succeed())
	})
})

var _ = Describe("a datagram in fragments", Label("smoke"), func() {
	for _, v6 := range []bool{false, true} {
		It("is put together, and its fragments become parts of the first", func(ctx SpecContext) {
			r := newRow()
			r.lab.Listen(r.server, 8081)

			trace := r.lab.Trace(ctx)
			// Another fragment than the first completes the datagram.
			sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.to(v6), DstPort: 8081, Payload: make([]byte, 4000)})
			record := trace.Seal(ctx)

			Expect(record.Evidence().Incomplete()).To(Succeed())
			kinds := map[journey.OutcomeKind]int{}
			for _, fragment := range record.AllOf(sent) {
				kinds[fragment.Outcome().Kind]++
			}
			Expect(kinds).To(HaveKeyWithValue(journey.Delivered, 1), "%v", summaries(record.AllOf(sent)))
			Expect(kinds).To(HaveKeyWithValue(journey.Merged, 2))
			Expect(kinds).NotTo(HaveKey(journey.Divided))
		})
	}
})

// to is the server, by IPv6 or not.
func (r row) to(v6 bool) packet.Host {
	if v6 {
		return packet.IP6(r.server)
	}
	return r.server
}

// connect makes a connection from the client to the server, where nobody reads.
func (r row) connect(ctx SpecContext) *packet.Conn {
	GinkgoHelper()
	listener := r.lab.ListenTCP(r.server, 80)
	conn := r.lab.Dial(ctx, r.client, packet.TCP{To: r.server, DstPort: 80})
	Expect(conn.Err).NotTo(HaveOccurred())
	accepted, err := listener.Accept(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(accepted.Close)
	return conn
}

// arrived divides what a connection sent into what is for the socket's queue, which is longer than the headers or has the flag
// FIN, and the rest.
func arrived(record *harness.Record, conn *packet.Conn) (data, acks []*journey.Journey) {
	for _, segment := range record.AllOf(conn) {
		if length, flags := segmentOf(segment); length > 52 || flags&0x01 != 0 {
			data = append(data, segment)
		} else {
			acks = append(acks, segment)
		}
	}
	return data, acks
}

// summaries are the journeys in a line each, for a failure's message.
func summaries(journeys []*journey.Journey) []string {
	var lines []string
	for _, j := range journeys {
		lines = append(lines, "\n"+j.Summary()+": "+j.Sentence())
	}
	return lines
}

// segmentOf reads the length of an IPv4 packet and the flags of the TCP header in it, as it came to the server's side.
func segmentOf(j *journey.Journey) (length uint16, flags byte) {
	GinkgoHelper()
	for _, e := range j.Events {
		if e.Probe.Name == "ip_rcv_core" {
			header := e.Packet.Data[e.Packet.Network:]
			return binary.BigEndian.Uint16(header[2:]), header[20+13]
		}
	}
	Fail("the segment did not reach IP: " + j.Summary())
	return 0, 0
}

// delayed is a client whose packets leave it late, and a server. The client needs no answer to know the server's address.
func delayed(by time.Duration) (*harness.Lab, *topology.Node, *topology.Node) {
	GinkgoHelper()
	return delayedOn(GinkgoTB(), by)
}

// delayedOn is such a lab of another test than the spec.
func delayedOn(t harness.T, by time.Duration) (*harness.Lab, *topology.Node, *topology.Node) {
	t.Helper()
	var net topology.Network
	client, server := net.Add(topology.Node{Name: "client"}), net.Add(topology.Node{Name: "server"})
	net.Connect(client, server, topology.LinkOptions{First: topology.Device{Impair: topology.Impairment{Delay: by}}})
	client.Neighbours = []topology.Neighbour{{Addr: server}}
	return harness.New(t, &net), client, server
}
