package packet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// newPair returns two namespaces with a cable between them: 10.0.0.1 and fd00::1 on eth0 of the first, .2 on eth0 of the
// second. The second resolves nothing, since it knows the first.
func newPair(tb testing.TB) (near, far In) {
	tb.Helper()
	near, far = newNamespace(tb), newNamespace(tb)
	fd := -1
	qt.Assert(tb, qt.IsNil(far(func() (err error) {
		fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})))
	defer func() { qt.Check(tb, qt.IsNil(unix.Close(fd))) }()
	qt.Assert(tb, qt.IsNil(near(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)}
		veth.Name = "eth0"
		return netlink.LinkAdd(veth)
	})))
	for i, in := range []In{near, far} {
		qt.Assert(tb, qt.IsNil(in(func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, text := range []string{[]string{"10.0.0.1/24", "10.0.0.2/24"}[i], []string{"fd00::1/64", "fd00::2/64"}[i]} {
				addr, err := netlink.ParseAddr(text)
				if err != nil {
					return err
				}
				addr.Flags = unix.IFA_F_NODAD
				if err := netlink.AddrAdd(link, addr); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(link)
		})))
	}
	awaitPair(tb, near, "fd00::1")
	awaitPair(tb, far, "fd00::2")
	return near, far
}

// awaitPair waits until eth0 can send and its IPv6 address is there, which workers of the kernel see to.
func awaitPair(tb testing.TB, in In, address string) {
	tb.Helper()
	qt.Assert(tb, qt.IsNil(in(func() error {
		events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_ROUTE)
		if err != nil {
			return err
		}
		defer events.Close()
		if err := events.SetReceiveTimeout(&unix.Timeval{Sec: 10}); err != nil {
			return err
		}
		for {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			routes, err := netlink.RouteGet(net.ParseIP(address))
			if link.Attrs().OperState == netlink.OperUp && err == nil && routes[0].Type == unix.RTN_LOCAL {
				return nil
			}
			if _, _, err := events.Receive(); err != nil {
				return err
			}
		}
	})))
}

// sniff receives frames at a tap until one fits, and returns it decoded.
func sniff(tb testing.TB, tap *Tap, fits func(gopacket.Packet) bool) gopacket.Packet {
	tb.Helper()
	ctx := within(tb)
	for {
		frame, err := tap.Receive(ctx)
		qt.Assert(tb, qt.IsNil(err))
		if p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default); fits(p) {
			return p
		}
	}
}

func mustTap(tb testing.TB, in In) *Tap {
	tb.Helper()
	tap, err := OpenTap(in, "eth0", TapOptions{})
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(tap.Close())) })
	return tap
}

func TestTCPConnection(t *testing.T) {
	in := newNamespace(t)
	l, err := ListenTCP(in, 0)
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(l.Close())) }()
	for _, to := range []IP{ip("127.0.0.1"), ip("::1")} {
		near, err := Dial(within(t), in, TCP{To: to, DstPort: l.Port()})
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(near.Err))
		far, err := l.Accept(within(t))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(far.Remote, near.Local))
		qt.Check(t, qt.Equals(far.Local, near.Remote))
		qt.Check(t, qt.Not(qt.Equals(near.Cookie, 0)))
		qt.Check(t, qt.Not(qt.Equals(near.Cookie, far.Cookie)))

		big := []byte(strings.Repeat("0123456789", 500_000))
		sent := make(chan error, 1)
		go func() { sent <- near.Send(within(t), big) }()
		got := 0
		for got < len(big) {
			data, err := far.Receive(within(t))
			qt.Assert(t, qt.IsNil(err))
			qt.Assert(t, qt.Equals(string(data), string(big[got:got+len(data)])))
			got += len(data)
		}
		qt.Check(t, qt.IsNil(<-sent))
		qt.Check(t, qt.IsNil(near.CloseWrite()))
		_, err = far.Receive(within(t))
		qt.Check(t, qt.ErrorIs(err, io.EOF))
		qt.Check(t, qt.IsNil(far.Send(within(t), []byte("bye"))))
		data, err := near.Receive(within(t))
		qt.Check(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(string(data), "bye"))
		qt.Check(t, qt.IsNil(far.Reset()))
		_, err = near.Receive(within(t))
		qt.Check(t, qt.ErrorIs(err, error(unix.ECONNRESET)))
		qt.Check(t, qt.IsNil(near.Close()))
	}
}

func TestTCPConnectionThatIsNone(t *testing.T) {
	in := newNamespace(t)
	refused, err := Dial(within(t), in, TCP{To: ip("127.0.0.1"), DstPort: 1, SrcPort: 4000})
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(refused.Close())) }()
	qt.Check(t, qt.ErrorIs(refused.Err, error(unix.ECONNREFUSED)))
	qt.Check(t, qt.ErrorMatches(refused.Err, "connect to 127.0.0.1:1: connection refused"))
	qt.Check(t, qt.Equals(refused.Local.Port(), 4000))

	unrouted, err := Dial(within(t), in, TCP{To: ip("192.0.2.1"), DstPort: 1})
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(unrouted.Close())) }()
	qt.Check(t, qt.ErrorIs(unrouted.Err, error(unix.ENETUNREACH)))

	nft(t, in, "table inet filter { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	dropped, err := Dial(ctx, in, TCP{To: ip("127.0.0.1"), DstPort: 8080})
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(dropped.Close())) }()
	qt.Check(t, qt.ErrorIs(dropped.Err, context.DeadlineExceeded))
}

// A segment made by hand is answered by the listener as any other, and by us with RST.
func TestTCPSegment(t *testing.T) {
	near, far := newPair(t)
	l, err := ListenTCP(far, 80)
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(l.Close())) }()
	tap := mustTap(t, near)
	for _, to := range []IP{ip("10.0.0.2"), ip("fd00::2")} {
		sent := mustSend(t, near, TCP{To: to, DstPort: 80, Flags: SYN, Seq: 1000, Options: Options{TTL: 9}})
		qt.Assert(t, qt.IsNil(sent.Err))
		segment := func(syn, ack, rst bool) *layers.TCP {
			p := sniff(t, tap, func(p gopacket.Packet) bool {
				s, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
				return ok && s.SYN == syn && s.ACK == ack && s.RST == rst &&
					(uint16(s.SrcPort) == sent.Local.Port() || uint16(s.DstPort) == sent.Local.Port())
			})
			if v4, ok := p.NetworkLayer().(*layers.IPv4); ok && syn && !ack {
				qt.Check(t, qt.Equals(v4.TTL, 9))
			}
			return p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		}
		segment(true, false, false)
		qt.Check(t, qt.Equals(segment(true, true, false).Ack, 1001))
		qt.Check(t, qt.Equals(segment(false, false, true).Seq, 1001))
		qt.Check(t, qt.IsTrue(strings.HasPrefix(sent.String(), "TCP SYN ")), qt.Commentf("%s", sent))

		// The answer did not come to the raw socket.
		_, _, err = unix.Recvfrom(sent.socket.fd, make([]byte, 100), unix.MSG_DONTWAIT)
		qt.Check(t, qt.ErrorIs(err, error(unix.EAGAIN)))
	}
}

func TestEcho(t *testing.T) {
	near, _ := newPair(t)
	tap := mustTap(t, near)
	for _, to := range []IP{ip("10.0.0.2"), ip("fd00::2")} {
		sent := mustSend(t, near, Echo{To: to, ID: 77, Seq: 3, Payload: []byte("odd")})
		qt.Assert(t, qt.IsNil(sent.Err))
		p := sniff(t, tap, func(p gopacket.Packet) bool {
			v4, ok4 := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			v6, ok6 := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			return ok4 && v4.TypeCode.Type() == layers.ICMPv4TypeEchoReply || ok6 && v6.TypeCode.Type() == layers.ICMPv6TypeEchoReply
		})
		qt.Check(t, qt.IsTrue(strings.HasSuffix(string(p.Data()), "odd")))
		qt.Check(t, qt.StringContains(string(p.Data()), "\x00\x4d\x00\x03"))
		buffer := make([]byte, 100)
		n, _, err := sent.socket.read(within(t), buffer)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(strings.HasSuffix(string(buffer[:n]), "odd")))
	}
}

func TestIPPacket(t *testing.T) {
	near, far := newPair(t)
	tap := mustTap(t, far)
	for _, to := range []IP{ip("10.0.0.2"), ip("fd00::2")} {
		sent := mustSend(t, near, IPPacket{To: to, Proto: 253, Payload: []byte("experiment")})
		qt.Assert(t, qt.IsNil(sent.Err))
		sniff(t, tap, func(p gopacket.Packet) bool { return strings.HasSuffix(string(p.Data()), "experiment") })
	}
	_, err := Send(t.Context(), near, IPPacket{To: ip("10.0.0.2"), Proto: 253, Options: Options{Device: "eth9"}})
	qt.Check(t, qt.ErrorMatches(err, "send IP proto 253: bind to device eth9: no such device"))
	unrouted := mustSend(t, near, IPPacket{To: ip("192.0.2.1"), Proto: 253})
	qt.Check(t, qt.ErrorMatches(unrouted.Err, "find a way to 192.0.2.1: network is unreachable"))
	qt.Check(t, qt.Equals(unrouted.String(), "IP proto 253 ? > 192.0.2.1 len 0"))
}

func TestFrame(t *testing.T) {
	near, far := newPair(t)
	tap := mustTap(t, far)
	src, dst := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	ipv4 := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{10, 0, 0, 9}, DstIP: net.IP{10, 0, 0, 2}}
	all := []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeDot1Q},
		&layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeIPv4},
		ipv4, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("tagged"),
	}
	sent := mustSend(t, near, Frame{Device: "eth0", Layers: all})
	qt.Assert(t, qt.IsNil(sent.Err))
	p := sniff(t, tap, func(p gopacket.Packet) bool { return strings.HasSuffix(string(p.Data()), "tagged") })
	qt.Check(t, qt.Equals(sent.String(), "frame on eth0: 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x8100, VLAN 7, "+
		"IPv4 10.0.0.9 > 10.0.0.2, UDP 1 > 2, 6 bytes, len 52"))
	qt.Check(t, qt.HasLen(p.Data(), 48)) // the tag travels beside the frame

	bytes := append(append(append([]byte{}, dst...), src...), 0x88, 0xb5, 'r', 'a', 'w')
	mustSend(t, near, Frame{Device: "eth0", Data: bytes})
	sniff(t, tap, func(p gopacket.Packet) bool { return strings.HasSuffix(string(p.Data()), "raw") })

	ipv4.Checksum = 0xdead
	wrong := all[2:]
	wrong = append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}}, wrong...)
	mustSend(t, near, Frame{Device: "eth0", Layers: wrong, Exactly: true})
	p = sniff(t, tap, func(p gopacket.Packet) bool { return strings.HasSuffix(string(p.Data()), "tagged") })
	qt.Check(t, qt.Equals(binary.BigEndian.Uint16(p.Data()[14+10:]), 0xdead))
}

// What a frame to a station does not say follows from the device, from the station, and from its layers.
func TestFrameToAStation(t *testing.T) {
	near, far := newPair(t)
	tap := mustTap(t, far)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 2}
	send := func(f Frame) (gopacket.Packet, error) {
		f.Device, f.To = "eth0", station{ip("10.0.0.2"), mac}
		sent, err := Send(t.Context(), near, f)
		if err != nil {
			return nil, err
		}
		defer func() { qt.Check(t, qt.IsNil(sent.Close())) }()
		qt.Assert(t, qt.IsNil(sent.Err))
		return sniff(t, tap, func(p gopacket.Packet) bool { return strings.Contains(string(p.Data()), "derived") }), nil
	}
	udp := func() *layers.UDP { return &layers.UDP{SrcPort: 1, DstPort: 2} }
	all := []gopacket.SerializableLayer{&layers.IPv4{}, udp(), gopacket.Payload("derived")}
	p, err := send(Frame{Layers: all})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(p.LinkLayer().(*layers.Ethernet).DstMAC.String(), mac.String()))
	header := p.NetworkLayer().(*layers.IPv4)
	qt.Check(t, qt.Equals(fmt.Sprint(header.Version, header.IHL, header.Length, header.TTL, header.Protocol, header.SrcIP, header.DstIP),
		"4 5 35 64 UDP 10.0.0.1 10.0.0.2"))
	qt.Check(t, qt.Equals(gopacket.ComputeChecksum(p.Data()[14:34], 0)%0xffff, 0))
	qt.Check(t, qt.Equals(p.TransportLayer().(*layers.UDP).Length, 15))
	qt.Check(t, qt.DeepEquals(all[0].(*layers.IPv4), &layers.IPv4{})) // the description is as it was

	p, err = send(Frame{Layers: []gopacket.SerializableLayer{&layers.Dot1Q{VLANIdentifier: 7}, &layers.IPv6{DstIP: net.ParseIP("fd00::2")},
		&layers.IPv6Fragment{Identification: 1}, udp(), gopacket.Payload("derived")}})
	qt.Assert(t, qt.IsNil(err))
	six := p.NetworkLayer().(*layers.IPv6)
	qt.Check(t, qt.Equals(fmt.Sprint(six.Version, six.Length, six.HopLimit, six.NextHeader, six.SrcIP), "6 23 64 IPv6Fragment fd00::1"))
	qt.Check(t, qt.Equals(p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment).NextHeader, layers.IPProtocolUDP))

	p, err = send(Frame{Layers: all, Spoil: func(frame []byte) []byte { return append(frame[:34], "derived"...) }})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(p.Data(), 34+7))

	for _, test := range []struct {
		frame Frame
		want  string
	}{
		{Frame{Layers: all, Exactly: true},
			"send frame: both To and Exactly are given: give an Ethernet layer instead of To, or Spoil instead of Exactly"},
		{Frame{Layers: append([]gopacket.SerializableLayer{&layers.Ethernet{}}, all...)}, "send frame: both To and an Ethernet layer are given: give one"},
		{Frame{Layers: []gopacket.SerializableLayer{gopacket.Payload("x")}},
			"send frame: nobody knows the EtherType of Payload: begin Layers with Ethernet, and leave To out"},
		{Frame{Data: []byte("short")}, "send frame: it has 5 bytes: an Ethernet header alone has 14"},
		{Frame{Layers: all, Spoil: func([]byte) []byte { return nil }}, "send frame: it has 0 bytes: an Ethernet header alone has 14"},
	} {
		_, err := send(test.frame)
		qt.Assert(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
	}
	_, err = Send(t.Context(), near, Frame{Device: "eth0", To: station{ip("192.0.2.1"), mac}, Layers: all})
	qt.Check(t, qt.ErrorMatches(err, "send frame: 192.0.2.1, To, has no address on a subnet of eth0: give a node on its cable, or an Ethernet layer"))
}

func TestARP(t *testing.T) {
	near, _ := newPair(t)
	tap := mustTap(t, near)
	sent := mustSend(t, near, ARP{Device: "eth0", To: ip("10.0.0.2")})
	qt.Check(t, qt.Equals(sent.String(), "ARP on eth0: who has 10.0.0.2, tell 10.0.0.1"))
	p := sniff(t, tap, func(p gopacket.Packet) bool {
		arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		return ok && arp.Operation == layers.ARPReply
	})
	qt.Check(t, qt.Equals(net.IP(p.Layer(layers.LayerTypeARP).(*layers.ARP).SourceProtAddress).String(), "10.0.0.2"))
}

// One send is cut into datagrams of the size asked for, and one that is too large for the cable into fragments.
func TestUDPSegmentsAndFragments(t *testing.T) {
	near, far := newPair(t)
	for _, to := range []IP{ip("10.0.0.2"), ip("fd00::2")} {
		l := mustListen(t, far, 0)
		mustSend(t, near, UDP{To: to, DstPort: l.Port(), Segment: 1000, Payload: make([]byte, 2500)})
		for _, want := range []int{1000, 1000, 500} {
			data, _, err := l.Receive(within(t))
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.HasLen(data, want))
		}
		mustSend(t, near, UDP{To: to, DstPort: l.Port(), Payload: make([]byte, 5000)})
		data, _, err := l.Receive(within(t))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.HasLen(data, 5000))

		whole := mustSend(t, near, UDP{To: to, DstPort: l.Port(), Payload: make([]byte, 5000), Options: Options{DontFragment: true}})
		qt.Check(t, qt.ErrorIs(whole.Err, error(unix.EMSGSIZE)))
		qt.Check(t, qt.Equals(whole.Err.Error(), fmt.Sprintf("send to %s: message too long: "+
			"the packet is larger than the MTU, and DontFragment is set: send less, or leave it out", netip.AddrPortFrom(to.Addr(), l.Port()))))
	}
	long := mustSend(t, near, Frame{Device: "eth0", Data: make([]byte, 1515+4)}) // room for a VLAN's tag is always there
	qt.Check(t, qt.Equals(long.Err.Error(),
		"send on eth0: message too long: the frame of 1519 bytes is larger than the device's MTU and an Ethernet header"))
}

func TestUDPToManyAtOnce(t *testing.T) {
	near, far := newPair(t)
	l := mustListen(t, far, 0)
	for _, test := range []struct{ to, join IP }{
		{to: ip("10.0.0.255")}, {to: ip("239.1.2.3"), join: ip("239.1.2.3")}, {to: ip("ff05::1:3"), join: ip("ff05::1:3")},
	} {
		if test.join.Addr().IsValid() {
			qt.Assert(t, qt.IsNil(l.Join(far, test.join, "eth0")))
		}
		sent := mustSend(t, near, UDP{To: test.to, DstPort: l.Port(), Payload: []byte("all"), Options: Options{Device: "eth0"}})
		qt.Assert(t, qt.IsNil(sent.Err))
		data, _, err := l.Receive(within(t))
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%v", test.to))
		qt.Check(t, qt.Equals(string(data), "all"))
	}
	err := l.Join(far, ip("239.1.2.3"), "eth9")
	qt.Check(t, qt.ErrorMatches(err, "join group 239.1.2.3 on eth9: find device: route ip\\+net: no such network interface"))
}

func TestSendRefusesWrongKinds(t *testing.T) {
	never := func(func() error) error {
		t.Error("the kernel was touched")
		return nil
	}
	four, six := ip("172.16.42.2"), ip("fd42:0:0:42::2")
	for _, test := range []struct {
		packet Packet
		want   string
	}{
		{TCP{To: four, Flags: SYN}, "send TCP: DstPort is 0: give the destination port, 1 to 65535"},
		{TCP{To: four, DstPort: 1}, "send TCP: Flags is 0: give those of the segment, such as packet.SYN, or use Dial for a connection"},
		{TCP{To: four, DstPort: 1, Flags: SYN, Src: six}, "send TCP: Src is fd42:0:0:42::2 and To is 172.16.42.2: both must be IPv4 or both IPv6"},
		{Echo{}, "send echo request: To is nil: give a node, or packet.IP of an address"},
		{Echo{To: four, Payload: make([]byte, 65508)}, "send echo request: the payload has 65508 bytes: at most 65507 fit into one packet"},
		{IPPacket{To: four}, "send IP packet: Proto is 0: give the protocol's number, such as 132 for SCTP"},
		{IPPacket{To: four, Proto: 255}, "send IP packet: Proto is 255: the kernel would expect an IP header; send a Frame instead"},
		{Frame{}, "send frame: Device is empty: give the name of the device, such as eth0"},
		{Frame{Device: "eth0"}, "send frame: it has 0 bytes: an Ethernet header alone has 14"},
		{Frame{Device: "eth0", Data: make([]byte, 14), Layers: []gopacket.SerializableLayer{gopacket.Payload("x")}},
			"send frame: both Data and Layers are given: give one"},
		{ARP{To: four}, "send ARP: Device is empty: give the name of the device, such as eth0"},
		{ARP{To: six, Device: "eth0"}, "send ARP: To is fd42:0:0:42::2: ARP is for IPv4 only"},
		{UDP{To: four, DstPort: 1, Segment: 10, Payload: make([]byte, 641)},
			"send UDP: the payload of 641 bytes in segments of 10 is more than 64 segments: send less, or larger ones"},
	} {
		_, err := Send(t.Context(), never, test.packet)
		qt.Check(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
	}
	_, err := Dial(t.Context(), never, TCP{To: four, DstPort: 1, Flags: SYN})
	qt.Check(t, qt.ErrorMatches(err, "dial TCP: Flags, Seq, Ack, Window and Payload are the connection's own: leave them zero, or use Send"))
}
