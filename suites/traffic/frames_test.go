package traffic

import (
	"encoding/binary"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// stack is a frame's layers above Ethernet.
type stack = []gopacket.SerializableLayer

// kind is a kind of packet, sent from the client by way of the router, and what the kernel does with it.
type kind struct {
	name  string
	stack stack
	spoil func(frame []byte) []byte
	does  types.GomegaMatcher
}

// Where headers begin in a frame.
const ipAt, udpAt = 14, 14 + 20

var _ = Describe("every kind of packet", func() {
	// All are sent in one trace of one lab, none has a connection, and the kernel's answers to them are in the record, too.
	It("is followed to what the kernel does with it", Label("smoke"), func(ctx SpecContext) {
		r := newRow()
		r.lab.Listen(r.server, 8081)
		kinds := append(rightKinds(r), wrongKinds(r)...)

		trace := r.lab.Trace(ctx)
		burst := r.lab.Burst(ctx, r.client, packet.Burst{Packets: packet.Series(len(kinds), func(i int) packet.Packet {
			return packet.Frame{Device: "eth0", To: r.router, Layers: kinds[i].stack, Spoil: kinds[i].spoil}
		})})
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		var wrong []string // all of them, not just the first
		g := NewGomega(func(text string, _ ...int) { wrong = append(wrong, text) })
		for i, j := range record.OfEach(burst) {
			GinkgoWriter.Println(kinds[i].name+":", j.Sentence())
			g.Expect(j).To(kinds[i].does, kinds[i].name)
		}
		Expect(wrong).To(BeEmpty())
	})

	// Catches: a bit that is lost on the way; a capture that is not what came.
	It("arrives as it was sent, but for what a router does to it", func(ctx SpecContext) {
		r := newRow()
		tap := r.lab.Tap(r.server, "eth0", packet.TapOptions{Protocol: unix.ETH_P_IP})
		r.lab.Send(ctx, r.client, packet.Frame{Device: "eth0", To: r.router, Layers: stack{
			&layers.IPv4{DstIP: r.server.Addr().AsSlice(), TTL: 9, TOS: 0xb8, Id: 4711, Flags: layers.IPv4EvilBit},
			&layers.UDP{SrcPort: 4000, DstPort: 8082}, gopacket.Payload("as it was"),
		}})

		frame, err := tap.Receive(ctx)
		Expect(err).NotTo(HaveOccurred())
		got := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		Expect(got.ErrorLayer()).To(BeNil())
		Expect(got.NetworkLayer()).To(And(HaveField("TTL", uint8(8)), HaveField("TOS", uint8(0xb8)), HaveField("Id", uint16(4711)),
			HaveField("Flags", layers.IPv4EvilBit), HaveField("SrcIP", WithTransform(net.IP.String, Equal(r.client.Addr().String())))))
		Expect(got.TransportLayer()).To(And(HaveField("SrcPort", layers.UDPPort(4000)), HaveField("DstPort", layers.UDPPort(8082))))
		Expect(string(got.ApplicationLayer().Payload())).To(Equal("as it was"))
	})
})

// ip is a header of a packet to the server, ip6 by IPv6.
func (r row) ip(more layers.IPv4) *layers.IPv4 {
	more.DstIP = r.server.Addr().AsSlice()
	return &more
}

func (r row) ip6() *layers.IPv6 { return &layers.IPv6{DstIP: r.server.Addr6().AsSlice()} }

// udp is to the port on which the server listens.
func udp() *layers.UDP { return &layers.UDP{SrcPort: 4000, DstPort: 8081} }

var data = gopacket.Payload("a parcel, of forty bytes, as said on it..")

func rightKinds(r row) []kind {
	noProtocol := BeDropped(Reason("IP_NOPROTO"), At(r.server))
	waits := WithTransform((*journey.Journey).Sentence, HavePrefix("queued in the fragment queue, last seen in namespace server"))
	return []kind{
		{"UDP", stack{r.ip(layers.IPv4{}), udp(), data}, nil, BeDelivered(At(r.server))},
		{"UDP by IPv6", stack{r.ip6(), udp(), data}, nil, BeDelivered(At(r.server))},
		{"TCP", stack{r.ip(layers.IPv4{}), &layers.TCP{SrcPort: 4000, DstPort: 81, SYN: true}}, nil, BeDropped(Reason("NO_SOCKET"), At(r.server))},
		{"ICMP", stack{r.ip(layers.IPv4{}), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, data}, nil, BeConsumed(At(r.server))},
		{"ICMPv6", stack{r.ip6(), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}, &layers.ICMPv6Echo{}, data}, nil,
			taken(r.server)},
		{"ARP", stack{&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: r.client.Interfaces()[0].MAC[:], SourceProtAddress: r.client.Addr().AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: r.router.Addr().AsSlice()}}, nil, BeConsumed(At(r.router))},
		{"NDP", stack{&layers.IPv6{DstIP: r.router.Addr6().AsSlice(), HopLimit: 255}, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)},
			&layers.ICMPv6NeighborSolicitation{TargetAddress: r.router.Addr6().AsSlice(), Options: layers.ICMPv6Options{
				{Type: layers.ICMPv6OptSourceAddress, Data: r.client.Interfaces()[0].MAC[:]}}}}, nil, taken(r.router)},
		{"SCTP", stack{r.ip(layers.IPv4{}), &layers.SCTP{SrcPort: 4000, DstPort: 8081},
			&layers.SCTPInit{SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeInit, Length: 20}, InitiateTag: 1, OutboundStreams: 1, InboundStreams: 1}},
			nil, noProtocol},
		{"GRE", stack{r.ip(layers.IPv4{}), &layers.GRE{Protocol: layers.EthernetTypeIPv4}, r.ip(layers.IPv4{}), udp(), data}, nil, noProtocol},
		{"VLAN", stack{&layers.Dot1Q{VLANIdentifier: 7}, r.ip(layers.IPv4{}), udp(), data}, nil, BeDropped(Reason("OTHERHOST"), At(r.router))},
		{"MPLS", stack{&layers.MPLS{Label: 7, StackBottom: true, TTL: 64}, r.ip(layers.IPv4{}), udp(), data}, nil,
			BeDropped(Reason("UNHANDLED_PROTO"), At(r.router))},
		{"VXLAN", stack{r.ip(layers.IPv4{}), &layers.UDP{SrcPort: 4000, DstPort: 4789}, &layers.VXLAN{ValidIDFlag: true, VNI: 7},
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, r.ip(layers.IPv4{}), udp()},
			nil, BeDropped(Reason("NO_SOCKET"), At(r.server))},
		{"ESP", stack{r.ip(layers.IPv4{Protocol: layers.IPProtocolESP}), gopacket.Payload("\x00\x00\x01\x00\x00\x00\x00\x01, the rest is secret")}, nil,
			noProtocol},
		{"a fragment without the others", stack{r.ip(layers.IPv4{Id: 1, Flags: layers.IPv4MoreFragments}), udp(), gopacket.Payload("sixteen bytes...")},
			nil, waits},
		{"an IPv6 fragment without the others", stack{r.ip6(), &layers.IPv6Fragment{Identification: 1, MoreFragments: true}, udp(),
			gopacket.Payload("sixteen bytes...")}, nil, waits},
		{"IP options", stack{r.ip(layers.IPv4{Options: []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {}}}),
			udp(), data}, nil, BeDelivered(At(r.server))},
		{"IPv6 extension headers", stack{r.ip6(), &layers.IPv6HopByHop{Options: []*layers.IPv6HopByHopOption{padding()}},
			&layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{(*layers.IPv6DestinationOption)(padding())}}, udp(), data}, nil,
			BeDelivered(At(r.server))},
	}
}

// taken is what becomes of ICMPv6: the kernel takes it for itself, which before 6.4 ended as a drop without a reason (icmpv6_rcv,
// net/ipv6/icmp.c).
func taken(by *topology.Node) types.GomegaMatcher {
	return AnyOf(BeConsumed(At(by)), BeDropped(Reason("NOT_SPECIFIED"), At(by)))
}

// padding fills an extension header up to eight bytes.
func padding() *layers.IPv6HopByHopOption {
	return &layers.IPv6HopByHopOption{OptionType: 1, OptionLength: 4, OptionData: make([]byte, 4)}
}

func wrongKinds(r row) []kind {
	datagram := stack{r.ip(layers.IPv4{}), udp(), data}
	flip := func(at int, bits byte) func([]byte) []byte {
		return func(frame []byte) []byte {
			frame[at] ^= bits
			return frame
		}
	}
	// header changes a field of the IP header of which the checksum is right again.
	header := func(change func(header []byte)) func([]byte) []byte {
		return func(frame []byte) []byte {
			change(frame[ipAt:])
			binary.BigEndian.PutUint16(frame[ipAt+10:], 0)
			binary.BigEndian.PutUint16(frame[ipAt+10:], gopacket.FoldChecksum(gopacket.ComputeChecksum(frame[ipAt:ipAt+20], 0)))
			return frame
		}
	}
	return []kind{
		{"raw bytes", stack{r.ip(layers.IPv4{})}, func(frame []byte) []byte { return append(frame[:12], 0x88, 0xb5, 'r', 'a', 'w') },
			BeDropped(Reason("UNHANDLED_PROTO"), At(r.router))},
		{"a protocol that nobody speaks", stack{r.ip(layers.IPv4{Protocol: 253}), data}, nil, BeDropped(Reason("IP_NOPROTO"), At(r.server))},
		{"a bad checksum in IP", datagram, flip(ipAt+10, 0x55), BeDropped(Reason("IP_CSUM"), At(r.router))},
		{"a bad checksum in UDP", datagram, flip(udpAt+6, 0x55), BeDropped(Reason("UDP_CSUM"), At(r.server))},
		{"a bad checksum in UDP by IPv6", stack{r.ip6(), udp(), data}, flip(14+40+6, 0x55), BeDropped(Reason("UDP_CSUM"), At(r.server))},
		{"a bad checksum in TCP", stack{r.ip(layers.IPv4{}), &layers.TCP{SrcPort: 4000, DstPort: 81, SYN: true}}, flip(udpAt+16, 0x55),
			BeDropped(Reason("TCP_CSUM"), At(r.server))},
		{"a bad checksum in ICMP", stack{r.ip(layers.IPv4{}), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, data}, flip(udpAt+2, 0x55),
			BeDropped(At(r.server))},
		{"another version", datagram, header(func(header []byte) { header[0] = 0x55 }), BeDropped(Reason("IP_INHDR"), At(r.router))},
		{"a header of four words", datagram, header(func(header []byte) { header[0] = 0x44 }), BeDropped(Reason("IP_INHDR"), At(r.router))},
		{"a header cut short", datagram, func(frame []byte) []byte { return frame[:ipAt+12] }, BeDropped(Reason("IP_INHDR"), At(r.router))},
		{"less than it says", datagram, func(frame []byte) []byte { return frame[:udpAt+12] }, BeDropped(Reason("PKT_TOO_SMALL"), At(r.router))},
		{"a UDP header cut short", datagram, func(frame []byte) []byte {
			return header(func(header []byte) { binary.BigEndian.PutUint16(header[2:], 24) })(frame[:udpAt+4])
		}, BeDropped(At(r.server))},
		{"a datagram that says it is longer", datagram, flip(udpAt+4, 0x55), BeDropped(Reason("PKT_TOO_SMALL"), At(r.server))},
		{"TTL 1", stack{r.ip(layers.IPv4{TTL: 1}), udp(), data}, nil, BeDropped(At(r.router), In("ip_forward"))},
		{"hop limit 1", stack{&layers.IPv6{DstIP: r.server.Addr6().AsSlice(), HopLimit: 1}, udp(), data}, nil,
			BeDropped(At(r.router), In("ip6_forward"))},
		{"the reserved bit of IP", stack{r.ip(layers.IPv4{Flags: layers.IPv4EvilBit}), udp(), data}, nil, BeDelivered(At(r.server))},
		{"reserved bits of TCP", stack{r.ip(layers.IPv4{}), &layers.TCP{SrcPort: 4000, DstPort: 81, SYN: true}}, func(frame []byte) []byte {
			frame[udpAt+12] |= 0x0e
			sum := udpAt + 16 // adding a bit to a word takes it from the checksum of all
			binary.BigEndian.PutUint16(frame[sum:], binary.BigEndian.Uint16(frame[sum:])-0x0e00)
			return frame
		}, BeDropped(Reason("NO_SOCKET"), At(r.server))},
		{"a martian source", stack{r.ip(layers.IPv4{SrcIP: []byte{127, 0, 0, 1}}), udp(), data}, nil, And(BeDropped(At(r.router)), Not(Reach(Forward)))},
		{"a source route, which nobody follows", stack{r.ip(layers.IPv4{Options: []layers.IPv4Option{
			{OptionType: 131, OptionLength: 7, OptionData: append([]byte{4}, r.router.Addr().AsSlice()...)}, {}}}), udp(), data}, nil,
			And(BeDropped(At(r.router)), Not(Reach(Forward)))},
		{"an option that ends outside", stack{r.ip(layers.IPv4{Options: []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {}}}),
			udp(), data}, func(frame []byte) []byte { return whole(frame, func(header []byte) { header[21] = 99 }) },
			And(BeDropped(At(r.router)), Not(Reach(Forward)))},
		{"an extension header that goes on and on", stack{r.ip6(), &layers.IPv6HopByHop{Options: []*layers.IPv6HopByHopOption{padding()}}, udp(), data},
			flip(14+40+1, 0xff), BeDropped(At(r.router))},
		{"another host's", datagram, flip(5, 0x55), BeDropped(Reason("OTHERHOST"), At(r.router))},
	}
}

// whole changes an IP header with options, and makes its checksum right again.
func whole(frame []byte, change func(header []byte)) []byte {
	header := frame[ipAt : ipAt+int(frame[ipAt]&0x0f)*4]
	change(header)
	binary.BigEndian.PutUint16(header[10:], 0)
	binary.BigEndian.PutUint16(header[10:], gopacket.FoldChecksum(gopacket.ComputeChecksum(header, 0)))
	return frame
}
