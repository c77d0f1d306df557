package milestones

import (
	"errors"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a protocol", Label("smoke"), func() {
	DescribeTable("that is ICMP receives echoes, and not the datagrams that it complains about",
		func(ctx SpecContext, host func(*topology.Node) packet.Host) {
			r := newRow(topology.Node{})
			trace := r.lab.Trace(ctx)
			echo := r.lab.Send(ctx, r.client, packet.Echo{To: host(r.server)})
			closed := r.lab.Send(ctx, r.client, packet.UDP{To: host(r.server), DstPort: 8081})
			record := trace.Seal(ctx)

			Expect(record.Of(echo)).To(Reach(ICMPReceive, At(r.server)))
			Expect(record.Of(echo)).NotTo(Reach(ICMPReceive, At(r.fw)))
			Expect(record.Of(echo)).NotTo(Reach(UDPReceive))
			Expect(record.Of(closed)).To(Reach(UDPReceive, At(r.server)))
			Expect(record.Of(closed)).NotTo(Reach(ICMPReceive))
			Expect(record.Of(closed)).NotTo(Reach(SocketDeliver))
			Expect(record.All()).To(ContainElement(Reach(ICMPReceive, At(r.client))), "the complaint")
		}, families)

	DescribeTable("that is TCP receives segments, which is not delivery",
		func(ctx SpecContext, host func(*topology.Node) packet.Host) {
			r := newRow(topology.Node{})
			r.lab.ListenTCP(r.server, 80)
			trace := r.lab.Trace(ctx)
			conn := r.lab.Dial(ctx, r.client, packet.TCP{To: host(r.server), DstPort: 80})
			refused := r.lab.Dial(ctx, r.client, packet.TCP{To: host(r.server), DstPort: 81})
			record := trace.Seal(ctx)

			Expect(conn.Err).NotTo(HaveOccurred())
			Expect(record.AllOf(conn)).NotTo(BeEmpty())
			for _, j := range append(record.AllOf(conn), record.AllOf(refused)...) {
				_, err := Reach(LocalOut, At(r.client)).Match(j)
				if !errors.Is(err, journey.ErrInconclusive) || record.Evidence().Armed("ip6_xmit") { // not so on Linux 6.1
					Expect(j).To(Reach(LocalOut, At(r.client)))
				}
				Expect(j).To(Reach(TCPReceive, At(r.server)))
				Expect(j).NotTo(Reach(TCPReceive, At(r.fw)))
				Expect(j).NotTo(Reach(SocketDeliver), "handshakes carry no data")
				Expect(j).NotTo(Reach(UDPReceive))
			}
		}, families)
})

var _ = Describe("a bridge", Label("smoke"), func() {
	It("is reached by what it forwards, and IP there is not", func(ctx SpecContext) {
		var net topology.Network
		left := net.Add(topology.Node{Name: "left"})
		bridge := net.Add(topology.Node{Name: "switch", Bridge: &topology.Bridge{}})
		right := net.Add(topology.Node{Name: "right"})
		net.Connect(left, bridge)
		net.Connect(bridge, right)
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(right, 8081)

		j := lab.Follow(ctx, left, packet.UDP{To: right, DstPort: 8081})

		Expect(j).To(BeDelivered(At(right)))
		Expect(j).To(Reach(Bridge, At(bridge), Times(1)))
		Expect(j).To(Reach(DeviceReceive, At(bridge), On("eth0")))
		Expect(j).To(Reach(DeviceTransmit, At(bridge), On("eth1")))
		Expect(j).NotTo(Reach(Bridge, At(left)))
		Expect(j).NotTo(Reach(IPReceive, At(bridge)))
		Expect(j).NotTo(Reach(Forward))
	})

	It("is reached by what its node sends, and by what is for its node", func(ctx SpecContext) {
		var net topology.Network
		host := net.Add(topology.Node{Name: "host", Devices: []topology.Device{{
			Name: "lan", Kind: topology.Bridge{Ports: []string{"eth0"}}, Addrs: []string{"10.0.0.1/24"},
		}}})
		guest := net.Add(topology.Node{Name: "guest"})
		net.Connect(host, guest, topology.LinkOptions{
			First: topology.Device{Bare: true}, Second: topology.Device{Addrs: []string{"10.0.0.2/24"}},
		})
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(guest, 8081)
		lab.Listen(host, 8081)

		trace := lab.Trace(ctx)
		out := lab.Send(ctx, host, packet.UDP{To: guest, DstPort: 8081})
		in := lab.Send(ctx, guest, packet.UDP{To: host, DstPort: 8081})
		record := trace.Seal(ctx)

		Expect(record.Of(out)).To(Reach(Bridge, At(host), On("lan"), Times(1)))
		Expect(record.Of(out)).To(BeDelivered(At(guest)))
		Expect(record.Of(in)).To(Reach(Bridge, At(host), Times(1)))
		Expect(record.Of(in)).To(Reach(DeviceReceive, At(host), On("eth0"), Times(1)))
		Expect(record.Of(in)).To(Reach(DeviceReceive, At(host), On("lan"), Times(1)))
		Expect(record.Of(in)).To(Reach(IPReceive, At(host), On("lan"), Times(1)))
	})
})

var _ = Describe("a qdisc", func() {
	It("is reached by what it delays, and not by what leaves elsewhere", func(ctx SpecContext) {
		r := newRow(topology.Node{}, topology.LinkOptions{First: topology.Device{Impair: topology.Impairment{Delay: 1e6}}})
		r.lab.Listen(r.server, 8081)

		j := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081})

		Expect(j).To(Reach(Qdisc, At(r.fw), On("eth1"), Times(1)))
		Expect(j).NotTo(Reach(Qdisc, At(r.client)))
		Expect(j).To(Reach(DeviceTransmit, At(r.fw), On("eth1"), Times(1)))
	})
})

var _ = Describe("a way past a milestone's usual functions", Label("smoke"), func() {
	It("is seen where a packet socket wants no qdisc", func(ctx SpecContext) {
		r := newRow(topology.Node{})
		buffer := gopacket.NewSerializeBuffer()
		layers := datagram(r, func(*layers.Ethernet, *layers.IPv4) {}).Layers
		Expect(gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{}, layers...)).To(Succeed())

		trace := r.lab.Trace(ctx)
		r.lab.Do(r.client, func() error { return sendDirect("eth0", buffer.Bytes()) })
		record := trace.Seal(ctx)

		Expect(record.All()).To(ContainElement(SatisfyAll(Reach("k:__dev_direct_xmit", At(r.client)),
			Reach(DeviceTransmit, At(r.client), On("eth0"), Times(1)), Not(Reach(Qdisc)), Not(Reach(LocalOut)))))
	})

	It("is not denied to a packet whose sender brought the IP header", func(ctx SpecContext) {
		r := newRow(topology.Node{})

		trace := r.lab.Trace(ctx)
		r.lab.Do(r.client, func() error { return sendWithHeader(r.server.Addr().As4()) })
		record := trace.Seal(ctx)

		var mine *journey.Journey
		for _, j := range record.All() {
			if j.Events[0].Packet != nil && j.Flow() == r.client.Addr().String()+" > "+r.server.Addr().String()+" protocol 253" {
				mine = j
			}
		}
		Expect(mine).NotTo(BeNil())
		Expect(mine).To(Reach(Postrouting, At(r.client)))
		_, err := Reach(LocalOut, At(r.client)).Match(mine)
		Expect(err).To(MatchError(journey.ErrInconclusive))
		Expect(mine).NotTo(Reach(LocalOut, At(r.fw)))
	})
})

// sendDirect sends a frame by a packet socket that wants no qdisc.
func sendDirect(device string, frame []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return err
	}
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
}

// sendWithHeader sends an IP packet of a protocol for experiments, header and all.
func sendWithHeader(to [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	header := make([]byte, 24)
	header[0], header[8], header[9] = 0x45, 64, 253
	copy(header[16:], to[:])
	return unix.Sendto(fd, header, 0, &unix.SockaddrInet4{Addr: to})
}
