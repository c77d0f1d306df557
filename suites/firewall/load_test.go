package firewall

import (
	"context"
	"io"
	"net"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/packet"
)

// Traffic that nobody asks about must not blur what is asked.
var _ = Describe("a tracker under load", func() {
	It("follows each of many datagrams", func(ctx SpecContext) {
		const packets = 1000
		p := newPair(rules)

		trace := p.lab.Trace(ctx)
		sent := make([]*packet.Sent, packets)
		for n := range sent {
			sent[n] = p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: uint16(8080 + n%2), Payload: []byte("abc")})
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		for n, s := range sent {
			reason := "NETFILTER_DROP"
			if n%2 == 1 {
				reason = "NO_SOCKET"
			}
			Expect(record.Of(s)).To(BeDropped(Reason(reason), At(p.server)))
		}
	})

	It("tells a datagram's journey while a TCP stream fills the same link", func(ctx SpecContext) {
		const bytes = 8 << 20
		p := newPair(rules)
		p.lab.Listen(p.server, 8081)
		var listener net.Listener
		p.lab.Do(p.server, func() (err error) {
			listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(p.server.Addr(), 5001).String())
			return err
		})
		DeferCleanup(listener.Close)
		received := make(chan int64, 1)
		go func() {
			defer GinkgoRecover()
			conn, err := listener.Accept()
			Expect(err).NotTo(HaveOccurred())
			n, err := io.Copy(io.Discard, conn)
			Expect(err).NotTo(HaveOccurred())
			Expect(conn.Close()).To(Succeed())
			received <- n
		}()
		var conn net.Conn
		p.lab.Do(p.client, func() (err error) {
			conn, err = (&net.Dialer{}).DialContext(context.WithoutCancel(ctx), "tcp", listener.Addr().String())
			return err
		})

		trace := p.lab.Trace(ctx)
		written := make(chan error, 1)
		go func() {
			_, err := conn.Write(make([]byte, bytes))
			written <- err
		}()
		var dropped, delivered []*packet.Sent
		for range 50 {
			dropped = append(dropped, p.lab.Send(ctx, p.client, packet.UDP{To: p.server, SrcPort: 40000, DstPort: 8080}))
			delivered = append(delivered, p.lab.Send(ctx, p.client, packet.UDP{To: p.server, SrcPort: 40000, DstPort: 8081}))
		}
		Eventually(ctx, written).Should(Receive(Succeed()))
		Expect(conn.Close()).To(Succeed())
		Eventually(ctx, received).Should(Receive(BeEquivalentTo(bytes)))
		record := trace.Seal(ctx)

		GinkgoWriter.Printf("%d journeys, evidence: %v\n", len(record.All()), record.Evidence().Incomplete())
		for n := range dropped {
			Expect(record.Of(dropped[n])).To(BeDropped(Reason("NETFILTER_DROP"), At(p.server)))
			Expect(record.Of(delivered[n])).To(BeDelivered(At(p.server)))
		}
		Expect(len(record.All())).To(BeNumerically(">", 200), "the stream was not there")
		Expect(record.Evidence().Incomplete()).To(Succeed())
	})
})
