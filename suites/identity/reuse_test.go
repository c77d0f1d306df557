package identity

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("two packets that are easily mixed up", func() {
	// Two sockets take turns, with the same five-tuple; what one sends is refused for its TOS, what the other sends is read at
	// once, so that each buffer comes back for the next packet, of the other flow.
	// Catches: an identity, an origin, a look or an end that the next packet inherits with the buffer.
	It("are two, though they have the same five-tuple and, one after the other, the same buffer", Label("smoke"), func(ctx SpecContext) {
		const packets = 200
		f := newFork(topology.Node{NFT: `table inet filter {
			chain input { type filter hook input priority filter; ip dscp cs1 drop; }
		}`})
		listener := f.lab.Listen(f.host, 8081)

		trace := f.lab.Trace(ctx)
		var sent []*packet.Sent
		for n := range packets {
			refused := n%2 == 0
			datagram := packet.UDP{To: f.host, SrcPort: 40000, DstPort: 8081, Payload: fmt.Appendf(nil, "parcel %03d", n)}
			if refused {
				datagram.Options.TOS = 8 << 2
			}
			sent = append(sent, f.lab.Send(ctx, f.client, datagram))
			if !refused {
				payload, _, err := listener.Receive(ctx)
				Expect(err).NotTo(HaveOccurred())
				Expect(payload).To(Equal(datagram.Payload))
			}
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		heirs := 0 // that got the buffer of the other flow's last packet
		for n, s := range sent {
			j := record.Of(s)
			Expect(carriers(record, fmt.Sprintf("parcel %03d", n))).To(Equal([]journey.ID{j.ID}))
			if n%2 == 0 {
				Expect(endings(j)).To(Equal([]string{"dropped in host (NETFILTER_DROP)"}))
			} else {
				Expect(endings(j)).To(Equal([]string{"delivered in host"}))
			}
			for _, e := range j.Events {
				Expect(string(e.Packet.Data)).To(HaveSuffix("parcel %03d", n), "%s shows another packet", j)
			}
			if n > 0 && record.Of(sent[n-1]).ID.Head == j.ID.Head {
				heirs++
			}
		}
		GinkgoWriter.Printf("%d of %d packets had the buffer of the one before\n", heirs, packets)
		Expect(heirs).To(BeNumerically(">", 0), "or the spec shows nothing")
	})

	// Nobody listens on the port, so that the host makes an ICMP error while the datagram is still in the hands of the
	// functions that received it; and refuses to send that. So a drop lies within the calls that handle another packet, and
	// that one's own drop comes after it.
	// Catches: the drop, the rule, or the return of a function told of the wrong one of the two.
	It("are two, though one is dropped while a function still works on the other", func(ctx SpecContext) {
		f := newFork(topology.Node{NFT: `table ip filter {
			chain output { type filter hook output priority filter; icmp type destination-unreachable drop comment "silence"; }
		}`})
		functions := []string{"ip_rcv", "ip_local_deliver", "udp_rcv", "__icmp_send"}
		for _, name := range functions {
			functions = append(functions, "kr:"+name)
		}

		trace := f.lab.Trace(ctx, harness.TraceOptions{Functions: functions})
		sent := f.lab.Send(ctx, f.client, packet.UDP{To: f.host, DstPort: 8081, Payload: []byte(parcel)})
		record := trace.Seal(ctx)

		outer := record.Of(sent)
		GinkgoWriter.Println(outer)
		Expect(outer).To(BeDropped(Reason("NO_SOCKET"), At(f.host)))
		Expect(outer).NotTo(BeDropped(ByRule("silence")))
		var inner *journey.Journey
		for _, j := range record.All() {
			if j.ID != outer.ID && carries(j, parcel) { // the error quotes it
				Expect(inner).To(BeNil())
				inner = j
			}
		}
		GinkgoWriter.Println(inner)
		Expect(inner).To(BeDropped(Reason("NETFILTER_DROP"), At(f.host), ByRule("silence")))
		Expect(inner).NotTo(Reach("udp_rcv"))
		// The one's drop was between the other's call and its return, and that return, and all later ones, are the other's.
		drop := inner.Outcome().Event.Time
		var order []string
		for _, e := range outer.Events {
			switch {
			case e.Probe.Name == "skb:kfree_skb":
				order = append(order, "drop")
			case e.Probe.Kind == journey.Return:
				order = append(order, e.Probe.Name)
				Expect(e.Time).To(BeNumerically(">", drop))
				Expect(e.SKB).To(Equal(outer.Events[0].SKB))
			case e.Probe.Name == "__icmp_send":
				Expect(e.Time).To(BeNumerically("<", drop))
			}
		}
		Expect(order).To(Equal([]string{"__icmp_send", "drop", "udp_rcv", "ip_local_deliver", "ip_rcv"}))
	})
})
