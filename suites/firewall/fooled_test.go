package firewall

import (
	"errors"
	"os/exec"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// Each of these specs is built to fool the tracker: to make it take one packet for another, or a copy for the packet.
var _ = Describe("a tracker that is not to be fooled", func() {
	It("tells two datagrams of one flow apart, though the rule changes in between", func(ctx SpecContext) {
		p := newPair(rules)
		p.lab.Listen(p.server, 8080)
		datagram := packet.UDP{To: p.server, SrcPort: 40000, DstPort: 8080, Payload: []byte("abc")}

		trace := p.lab.Trace(ctx)
		first := p.lab.Send(ctx, p.client, datagram)
		p.lab.LoadNFT(ctx, p.server, `
			flush chain inet filter input
			add rule inet filter input ct state established accept
			add rule inet filter input udp dport 8080 accept comment "metrics for all"`)
		second := p.lab.Send(ctx, p.client, datagram)
		record := trace.Seal(ctx)

		Expect(record.Of(first)).To(BeDropped(At(p.server), ByRule("no metrics from outside")))
		Expect(record.Of(second)).To(BeDelivered(At(p.server)))
		Expect(record.Of(first).ID).NotTo(Equal(record.Of(second).ID))
	})

	DescribeTable("does not take a sniffer's copy for the packet",
		func(ctx SpecContext, options packet.TapOptions, copies bool) {
			p := newPair(rules)
			p.lab.Listen(p.server, 8081)
			tap := p.lab.Tap(p.server, "eth0", options)

			trace := p.lab.Trace(ctx, harness.TraceOptions{Functions: []string{"packet_rcv"}})
			dropped := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8080, Payload: []byte("abc")})
			delivered := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081, Payload: []byte("abc")})
			if copies { // read: the copies are freed, which is an end, but not the packet's
				for range 2 {
					_, err := tap.Receive(ctx)
					Expect(err).NotTo(HaveOccurred())
				}
			}
			record := trace.Seal(ctx)

			// The sniffer was really there.
			Expect(record.Of(dropped)).To(Reach("packet_rcv", At(p.server)))
			Expect(record.Of(delivered)).To(Reach("packet_rcv", At(p.server)))
			Expect(record.Of(dropped)).To(BeDropped(Reason("NETFILTER_DROP"), ByRule("no metrics from outside")))
			Expect(record.Of(dropped)).NotTo(BeDelivered())
			Expect(record.Of(delivered)).To(BeDelivered(At(p.server)))
			Expect(record.Of(delivered)).NotTo(BeDropped())
		},
		// Taps of all protocols come first, and get a clone.
		Entry("which it reads", packet.TapOptions{Protocol: unix.ETH_P_ALL}, true),
		// A tap of IPv4 on this device comes last: it gets the skb that came from the driver, and IP a clone.
		Entry("which is the original, while the stack goes on with a clone", packet.TapOptions{Protocol: unix.ETH_P_IP}, true),
		// No room: the copies are dropped, with a reason, at a kernel location.
		Entry("which is dropped for want of room", packet.TapOptions{Protocol: unix.ETH_P_ALL, ReceiveBuffer: 1}, false),
		Entry("which is the original, dropped for want of room", packet.TapOptions{Protocol: unix.ETH_P_IP, ReceiveBuffer: 1}, false),
	)

	It("does not take a sniffer's copy on the way out for the packet", func(ctx SpecContext) {
		p := newPair(rules)
		tap := p.lab.Tap(p.client, "eth0", packet.TapOptions{Protocol: unix.ETH_P_ALL})

		trace := p.lab.Trace(ctx)
		sent := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8080})
		_, err := tap.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())

		Expect(trace.Seal(ctx).Of(sent)).To(BeDropped(At(p.server), ByRule("no metrics from outside")))
	})

	It("follows a packet whose buffer is exchanged, because it is rewritten while a sniffer holds a copy", Label("smoke"), func(ctx SpecContext) {
		p := newPair(`table inet filter {
			chain mangle {
				type filter hook input priority mangle;
				ip dscp set cs1
			}
			chain input {
				type filter hook input priority filter;
				udp dport 8080 drop comment "no metrics from outside"
			}
		}`)
		tap := p.lab.Tap(p.server, "eth0", packet.TapOptions{Protocol: unix.ETH_P_ALL})

		trace := p.lab.Trace(ctx, harness.TraceOptions{Functions: []string{"pskb_expand_head"}})
		sent := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8080})
		_, err := tap.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		journey := trace.Seal(ctx).Of(sent)

		// Otherwise the spec would show nothing.
		Expect(journey).To(Reach("pskb_expand_head", At(p.server)), "the buffer was exchanged")
		last := journey.Events[len(journey.Events)-1]
		Expect(last.Packet.Data[last.Packet.Network+1]).To(Equal(byte(8<<2)), "the packet was rewritten")
		Expect(journey).To(BeDropped(At(p.server), ByRule("no metrics from outside")))
	})

	It("keeps labs apart that are up at the same time", func(ctx SpecContext) {
		a, b := newPair(rules), newPair(rules)
		traceA, traceB := a.lab.Trace(ctx), b.lab.Trace(ctx)
		datagram := func(p pair) packet.UDP { return packet.UDP{To: p.server, SrcPort: 40000, DstPort: 8080} }
		sentA := a.lab.Send(ctx, a.client, datagram(a))
		sentB := b.lab.Send(ctx, b.client, datagram(b))
		recordA, recordB := traceA.Seal(ctx), traceB.Seal(ctx)

		Expect(recordA.Of(sentA)).To(BeDropped(At(a.server)))
		Expect(recordB.Of(sentB)).To(BeDropped(At(b.server)))
		for _, journey := range recordA.All() {
			Expect(journey.Events).To(HaveEach(HaveField("NetNS.Node", BeElementOf("client", "server"))))
			Expect(journey.ID).NotTo(Equal(recordB.Of(sentB).ID))
		}
	})

	It("does not put words into a rule's mouth that changed behind its back", func(ctx SpecContext) {
		p := newPair(rules)

		trace := p.lab.Trace(ctx)
		sent := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8080})
		p.lab.Do(p.server, func() error {
			return exec.CommandContext(ctx, "nft", "flush", "ruleset").Run()
		})
		journey := trace.Seal(ctx).Of(sent)

		Expect(journey).To(BeDropped(Reason("NETFILTER_DROP"), At(p.server)))
		Expect(journey.Outcome().Rule.NFT.RuleText).To(BeEmpty())
		Expect(journey.Sentence()).To(ContainSubstring("its text is not known: somebody else changed the ruleset around that moment"))
	})

	It("leaves out what was sent before the mark, even if it moves after it", func(ctx SpecContext) {
		p := newPair(rules)
		// Nobody answers for this address: the datagram rests with the neighbour entry, across the mark, and then is dropped.
		nobody, err := packet.ParseIP("172.16.42.99")
		Expect(err).NotTo(HaveOccurred())
		earlier := p.lab.Send(ctx, p.client, packet.UDP{To: nobody, DstPort: 8080})
		delivered := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, SrcPort: 40000, DstPort: 8080})

		trace := p.lab.Trace(ctx)
		later := p.lab.Send(ctx, p.client, packet.UDP{To: p.server, SrcPort: 40000, DstPort: 8080})
		record := trace.Seal(ctx)

		Expect(record.Of(later)).To(BeDropped(ByRule("no metrics from outside")))
		for _, journey := range record.All() {
			if journey.Origin != nil {
				Expect(journey.Origin.SocketCookie).NotTo(BeElementOf(earlier.Cookie, delivered.Cookie))
			}
		}
	})

	It("refuses to speak of what was sent before the mark", func(ctx SpecContext) {
		err := harness.Run(func(t harness.T) {
			var net topology.Network
			client := net.Add(topology.Node{Name: "client"})
			server := net.Add(topology.Node{Name: "server"})
			net.Connect(client, server)
			lab := harness.New(t, &net)
			earlier := lab.Send(ctx, client, packet.UDP{To: server, DstPort: 8080})
			lab.Trace(ctx).Seal(ctx).Of(earlier)
			t.Fatalf("%v", errors.New("it was found"))
		})
		Expect(err).To(MatchError(ContainSubstring("was sent before the trace began; begin the trace first, then send")))
	})

	It("gives each packet an identity of its own, though buffers are reused", func(ctx SpecContext) {
		const packets = 300
		p := newPair(rules)
		listener := p.lab.Listen(p.server, 8081)

		trace := p.lab.Trace(ctx)
		var sent []*packet.Sent
		for n := range packets {
			port := uint16(8080 + n%2)
			sent = append(sent, p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: port, Payload: []byte("abc")}))
			if port == 8081 {
				_, _, err := listener.Receive(ctx)
				Expect(err).NotTo(HaveOccurred())
			}
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		heads := make(map[uint64]int)
		for n, s := range sent {
			journey := record.Of(s)
			heads[journey.ID.Head]++
			Expect(journey.Deciding()).To(HaveLen(1))
			if n%2 == 0 {
				Expect(journey).To(BeDropped(ByRule("no metrics from outside")))
			} else {
				Expect(journey).To(BeDelivered(At(p.server)))
			}
		}
		// Otherwise the spec would show nothing.
		Expect(len(heads)).To(BeNumerically("<", packets), "no buffer was reused")
	})
})
