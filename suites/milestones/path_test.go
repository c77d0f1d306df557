package milestones

import (
	"net"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// families are the ways to name a node as a destination.
var families = []TableEntry{
	Entry("in IPv4", func(n *topology.Node) packet.Host { return n }),
	Entry("in IPv6", inIPv6),
}

func inIPv6(n *topology.Node) packet.Host { return topology.V6(n) }

var _ = Describe("a forwarded datagram", Label("smoke"), func() {
	DescribeTable("comes by the milestones of its way, each in its place and no other",
		func(ctx SpecContext, host func(*topology.Node) packet.Host) {
			r := newRow(topology.Node{})
			r.lab.Listen(r.server, 8081)

			j := r.lab.Follow(ctx, r.client, packet.UDP{To: host(r.server), DstPort: 8081, Payload: []byte("abc")})

			GinkgoWriter.Println(j)
			Expect(j).To(BeDelivered(At(r.server)))
			for milestone, nodes := range map[journey.Milestone][]*topology.Node{
				LocalOut:       {r.client},
				Postrouting:    {r.client, r.fw},
				DeviceTransmit: {r.client, r.fw},
				DeviceReceive:  {r.fw, r.server},
				IPReceive:      {r.fw, r.server},
				Prerouting:     {r.fw, r.server},
				Forward:        {r.fw},
				LocalIn:        {r.server},
				UDPReceive:     {r.server},
				SocketDeliver:  {r.server},
				TCPReceive:     nil,
				ICMPReceive:    nil,
				ARPReceive:     nil,
				Bridge:         nil,
				Qdisc:          nil,
			} {
				if len(nodes) > 0 {
					Expect(j).To(Reach(milestone, Times(len(nodes))))
				}
				for _, node := range []*topology.Node{r.client, r.fw, r.server} {
					if slices.Contains(nodes, node) {
						Expect(j).To(Reach(milestone, At(node)))
					} else {
						Expect(j).NotTo(Reach(milestone, At(node)))
					}
				}
			}
			Expect(j).To(Reach(DeviceTransmit, At(r.fw), On("eth1")))
			Expect(j).NotTo(Reach(DeviceTransmit, At(r.fw), On("eth0")))
			Expect(j).To(Reach(DeviceReceive, At(r.fw), On("eth0")))
			Expect(j).NotTo(Reach(DeviceReceive, At(r.fw), On("eth1")))
		}, families)

	DescribeTable("is not told of hooks that another chain kept it from",
		func(ctx SpecContext, hook string, reached, not []journey.Milestone) {
			r := newRow(topology.Node{NFT: `table inet filter {
				chain stop { type filter hook ` + hook + ` priority filter; udp dport 8081 drop; }
			}`})

			j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081})

			Expect(j).To(BeDropped(At(r.fw), ByRule("udp dport 8081")))
			for _, m := range reached {
				Expect(j).To(Reach(m, At(r.fw)))
			}
			for _, m := range append(not, LocalIn, SocketDeliver) {
				Expect(j).NotTo(Reach(m, At(r.fw)))
			}
		},
		Entry("prerouting", "prerouting", []journey.Milestone{DeviceReceive, IPReceive, Prerouting},
			[]journey.Milestone{Forward, Postrouting, DeviceTransmit}),
		Entry("forward", "forward", []journey.Milestone{Prerouting, Forward}, []journey.Milestone{Postrouting, DeviceTransmit}),
		Entry("postrouting", "postrouting", []journey.Milestone{Forward, Postrouting}, []journey.Milestone{DeviceTransmit}),
	)

	It("reaches forward with its last hop used up, and not postrouting", func(ctx SpecContext) {
		r := newRow(topology.Node{})

		j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081, Options: packet.Options{TTL: 1}})

		Expect(j).To(Reach(Forward, At(r.fw)))
		Expect(j).NotTo(Reach(Postrouting, At(r.fw)))
		Expect(j).To(BeDropped(At(r.fw), In("ip_forward")))
	})
})

// Devices with NAPI give the stack lists of packets. ip_rcv is not called for these.
var _ = Describe("packets that arrive in lists", Label("smoke"), func() {
	DescribeTable("are received by IP like others",
		func(ctx SpecContext, host func(*topology.Node) packet.Host, function string) {
			// veth has NAPI if it is to do GRO, and uses it for what comes from a device that leaves segmentation to others.
			r := newRow(topology.Node{}, topology.LinkOptions{
				First: topology.Device{Features: map[string]bool{
					"tx-tcp-segmentation": false, "tx-tcp6-segmentation": false, "tx-tcp-ecn-segmentation": false,
					"tx-tcp-mangleid-segmentation": false,
				}},
				Second: topology.Device{Features: map[string]bool{"rx-gro": true}},
			})
			r.lab.Listen(r.server, 8081)

			j := r.lab.Follow(ctx, r.client, packet.UDP{To: host(r.server), DstPort: 8081, Payload: []byte("abc")},
				harness.TraceOptions{Functions: []string{function}})

			Expect(j).To(BeDelivered(At(r.server)))
			Expect(j).To(Reach(function, At(r.fw)), "this device has no NAPI")
			Expect(j).To(Reach("k:"+function, Times(1)), "otherwise the spec would show nothing")
			Expect(j).To(Reach(DeviceReceive, At(r.server), On("eth0"), Times(1)))
			Expect(j).To(Reach(IPReceive, At(r.server), Times(1)))
			Expect(j).To(Reach(Prerouting, At(r.server), Times(1)))
			_, err := Reach(function, At(r.server)).Match(j)
			Expect(err).To(MatchError(ContainSubstring("is one of several ways to the milestone ip receive")))
		},
		Entry("in IPv4", func(n *topology.Node) packet.Host { return n }, "ip_rcv"),
		Entry("in IPv6", inIPv6, "ipv6_rcv"))
})

var _ = Describe("a frame", Label("smoke"), func() {
	It("for another host is received by IP, and goes to no hook", func(ctx SpecContext) {
		r := newRow(topology.Node{NFT: `table inet filter {
			chain prerouting { type filter hook prerouting priority filter; ct state new; }
		}`})

		j := r.lab.Follow(ctx, r.client, datagram(r, func(e *layers.Ethernet, _ *layers.IPv4) { e.DstMAC[5]++ }))

		Expect(j).To(BeDropped(Reason("OTHERHOST"), At(r.fw), In("ip_rcv_core")))
		Expect(j).To(Reach(DeviceReceive, At(r.fw)))
		Expect(j).To(Reach(IPReceive, At(r.fw)))
		Expect(j).NotTo(Reach(Prerouting, At(r.fw)))
		Expect(j).NotTo(Reach(LocalOut))
	})

	It("whose IP checksum is wrong is received by IP, and goes to no hook", func(ctx SpecContext) {
		r := newRow(topology.Node{})

		j := r.lab.Follow(ctx, r.client, datagram(r, func(_ *layers.Ethernet, ip *layers.IPv4) { ip.Checksum = 1 }))

		Expect(j).To(BeDropped(Reason("IP_CSUM"), At(r.fw)))
		Expect(j).To(Reach(IPReceive, At(r.fw)))
		Expect(j).NotTo(Reach(Prerouting))
	})

	It("of ARP is received by ARP, and not by IP", func(ctx SpecContext) {
		r := newRow(topology.Node{})

		j := r.lab.Follow(ctx, r.client, packet.ARP{Device: "eth0", To: r.fw})

		Expect(j).To(Reach(ARPReceive, At(r.fw), Times(1)))
		Expect(j).NotTo(Reach(IPReceive))
		Expect(j).NotTo(Reach(ARPReceive, At(r.client)))
	})
})

// datagram is a frame from the client to the router.
func datagram(r row, change func(*layers.Ethernet, *layers.IPv4)) packet.Frame {
	GinkgoHelper()
	from, err := r.lab.Running().Device(r.client, "eth0")
	Expect(err).NotTo(HaveOccurred())
	to, err := r.lab.Running().Device(r.fw, "eth0")
	Expect(err).NotTo(HaveOccurred())
	ethernet := &layers.Ethernet{
		SrcMAC: net.HardwareAddr(from.MAC[:]), DstMAC: net.HardwareAddr(to.MAC[:]), EthernetType: layers.EthernetTypeIPv4,
	}
	ip := &layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Length: 31, Protocol: layers.IPProtocolUDP,
		SrcIP: r.client.Addr().AsSlice(), DstIP: r.server.Addr().AsSlice(),
	}
	change(ethernet, ip)
	udp := &layers.UDP{SrcPort: 40000, DstPort: 8081, Length: 11}
	return packet.Frame{
		Device: "eth0", Exactly: true, Layers: []gopacket.SerializableLayer{ethernet, ip, udp, gopacket.Payload("abc")},
	}
}
