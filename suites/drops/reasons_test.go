package drops

import (
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a dropped packet", func() {
	// Catches: a drop without its reason or place; the absence of what never arrived not told.
	It("was refused by a policy, and went no further", Label("smoke"), func(ctx SpecContext) {
		r := newRow(topology.Node{NFT: `table inet filter {
			chain forward { type filter hook forward priority filter; policy drop; }
		}`}, topology.Node{})

		refused := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)}, devices)

		Expect(refused).To(Reach(arrival, At(r.router), On("eth0")))
		Expect(refused).To(BeDropped(Reason("NETFILTER_DROP"), At(r.router)))
		Expect(refused).NotTo(Reach(arrival, At(r.server)))
		Expect(refused).NotTo(BeDelivered())
	})

	// Catches: a packet that never got to a device, and so is seen for the first time where it ends, not found by its socket.
	It("was refused where it was made", Label("smoke"), func(ctx SpecContext) {
		var network topology.Network
		r := row{client: network.Add(topology.Node{Name: "client", NFT: `table inet filter {
			chain output { type filter hook output priority filter; udp dport 8081 drop; }
		}`}), server: network.Add(topology.Node{Name: "server"})}
		network.Connect(r.client, r.server)
		r.lab = newLab(&network)

		refused := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)}, devices)

		Expect(refused).To(BeDropped(Reason("NETFILTER_DROP"), At(r.client)))
		Expect(refused).NotTo(Reach("net:net_dev_queue"))
	})

	// Catches: the ICMP error that the drop causes taken for the packet, or its journey for the packet's.
	It("came to a port that nobody listens on, and the sender is told", Label("smoke"), func(ctx SpecContext) {
		r := newRow(topology.Node{}, topology.Node{})

		trace := r.lab.Trace(ctx, devices)
		sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)})
		record := trace.Seal(ctx)

		refused := record.Of(sent)
		Expect(refused).To(BeDropped(Reason("NO_SOCKET"), At(r.server)))
		Expect(refused).NotTo(Reach("net:net_dev_start_xmit", At(r.server)))
		errors := 0
		for _, j := range record.All() {
			if j.ID != refused.ID && carries(j, parcel) { // it quotes the parcel
				errors++
				Expect(j).To(Reach(arrival, At(r.client)))
				Expect(j).NotTo(BeDropped())
			}
		}
		Expect(errors).To(Equal(1))
	})

	It("had been forwarded too often", func(ctx SpecContext) {
		r := newRow(topology.Node{}, topology.Node{})

		expired := r.lab.Follow(ctx, r.client, packet.UDP{
			To: r.server, DstPort: 8081, Payload: []byte(parcel), Options: packet.Options{TTL: 1},
		}, devices)

		Expect(expired).To(BeDropped(At(r.router)))
		Expect(expired.Outcome().Event.Drop.Location).To(HavePrefix("ip_forward+"))
		Expect(expired).NotTo(Reach("net:net_dev_queue", At(r.router)))
	})

	It("had a source that is reached another way", Label("smoke"), func(ctx SpecContext) {
		r := newRow(topology.Node{Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "1"}}, topology.Node{})

		near, far := r.client.Interfaces()[0], r.router.Interfaces()[0]

		forged := r.lab.Follow(ctx, r.client, packet.Frame{Device: "eth0", Layers: []gopacket.SerializableLayer{
			&layers.Ethernet{SrcMAC: near.MAC[:], DstMAC: far.MAC[:], EthernetType: layers.EthernetTypeIPv4},
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{172, 16, 43, 77},
				DstIP: r.server.Addr().AsSlice()}, // from the server's side of the router
			&layers.UDP{SrcPort: 1, DstPort: 8081},
		}}, devices)

		Expect(forged).To(BeDropped(Reason("IP_RPFILTER"), At(r.router)))
		Expect(forged).NotTo(Reach("net:net_dev_queue", At(r.router)))
	})

	// Catches: a drop seen where there is none.
	It("is none that a process has read", func(ctx SpecContext) {
		r := newRow(topology.Node{}, topology.Node{})
		suite.Needs("deliveries", harness.Deliveries(ctx))
		listener := r.lab.Listen(r.server, 8081)

		trace := r.lab.Trace(ctx, devices)
		sent := r.lab.Send(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)})
		_, _, err := listener.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		read := trace.Seal(ctx).Of(sent)

		Expect(read).To(BeDelivered(At(r.server)))
		Expect(read).NotTo(BeDropped())
	})

	// Catches: a function that nobody could observe told as one that the packet never reached.
	It("is not said to have missed a function that cannot be observed", func(ctx SpecContext) {
		if harness.Functions(ctx) == nil {
			return // the suites of functions are about the rest
		}
		r := newRow(topology.Node{}, topology.Node{NFT: refusing})

		refused := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Payload: []byte(parcel)})

		_, err := Reach("ip_rcv", At(r.server)).Match(refused)
		Expect(err).To(MatchError(HavePrefix("Reach: the function ip_rcv cannot be observed here, so the record cannot tell: ")))
		_, err = BeDropped(ByRule("drop")).Match(refused)
		Expect(err).To(MatchError(HavePrefix("BeDropped: the function __nft_trace_packet cannot be observed here, ")))
	})
})
