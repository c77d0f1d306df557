package journey

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// bytesOf reads hex digits; spaces are for the eye.
func bytesOf(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	qt.Assert(tb, qt.IsNil(err))
	return b
}

const (
	ipv4Prefix = "4500 0054 1234 4000 4001 0000 0a000001 0a000002"
	ipv6Prefix = "fd00 0000 0000 0000 0000 0000 0000 0001 fd00 0000 0000 0000 0000 0000 0000 0002"
)

func TestPacket(t *testing.T) {
	for _, test := range []struct {
		name  string
		proto uint16
		data  string
		line  string
		flow  string
	}{{
		"udp", 0x0800, hex.EncodeToString(udpDatagram()),
		"172.16.42.1.39677 > 172.16.42.2.8080 tos 0x0 ttl 64 id 17803 off 0 [DF] len 31 proto UDP (17) len 3",
		"172.16.42.1.39677 > 172.16.42.2.8080 UDP",
	}, {
		"udp, before IP wrote the protocol into the skb", 0, hex.EncodeToString(udpDatagram()),
		"172.16.42.1.39677 > 172.16.42.2.8080 tos 0x0 ttl 64 id 17803 off 0 [DF] len 31 proto UDP (17) len 3",
		"172.16.42.1.39677 > 172.16.42.2.8080 UDP",
	}, {
		"tcp syn", 0x0800,
		"4510 003c 0001 4000 4006 0000 0a000001 0a000002 1388 0050 00000064 00000000 a002 faf0 0000 0000" +
			"020405b4 0402080a 00000001 00000000 01030307",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x10 ttl 64 id 1 off 0 [DF] len 60 proto TCP (6) flags [S] seq 100 win 64240 len 0 " +
			"options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7]",
		"10.0.0.1.5000 > 10.0.0.2.80 TCP",
	}, {
		"tcp with data, its options cut off", 0x0800,
		"4500 0046 0001 0000 4006 0000 0a000001 0a000002 1388 0050 00000064 00000007 a019 0200 0000 0000 0204",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 len 70 proto TCP (6) flags [FP.] seq 100 ack 7 win 512 len 10 " +
			"options [mss,…]",
		"10.0.0.1.5000 > 10.0.0.2.80 TCP",
	}, {
		"tcp, cut off after the ports", 0x0800,
		"4500 0028 0001 0000 4006 0000 0a000001 0a000002 1388 0050",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 len 40 proto TCP (6) (truncated)",
		"10.0.0.1.5000 > 10.0.0.2.80 TCP",
	}, {
		"cut off before the ports", 0x0800,
		"4500 0028 0001 0000 4006 0000 0a000001 0a000002 1388",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 1 off 0 len 40 proto TCP (6) (truncated)",
		"10.0.0.1 > 10.0.0.2 TCP",
	}, {
		"echo request", 0x0800, ipv4Prefix + "0800 0000 0007 0001",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 4660 off 0 [DF] len 84 proto ICMP (1) type 8 code 0 EchoRequest id 7 seq 1",
		"10.0.0.1 > 10.0.0.2 ICMP",
	}, {
		"port unreachable", 0x0800, ipv4Prefix + "0303 0000 0000 0000",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 4660 off 0 [DF] len 84 proto ICMP (1) type 3 code 3 DestinationUnreachable(Port)",
		"10.0.0.1 > 10.0.0.2 ICMP",
	}, {
		"first fragment", 0x0800, "4500 0024 0009 2000 4011 0000 0a000001 0a000002 0001 0002 0400 0000",
		"10.0.0.1.1 > 10.0.0.2.2 tos 0x0 ttl 64 id 9 off 0 [MF] len 36 proto UDP (17) len 1016",
		"10.0.0.1.1 > 10.0.0.2.2 UDP",
	}, {
		"last fragment", 0x0800, "4500 0024 0009 0010 4011 0000 0a000001 0a000002 0001 0002 0400 0000",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 9 off 128 len 36 proto UDP (17)",
		"10.0.0.1 > 10.0.0.2 UDP",
	}, {
		"options", 0x0800, "4600 0020 0009 0000 4011 0000 0a000001 0a000002 94040000 0001 0002 0008 0000",
		"10.0.0.1.1 > 10.0.0.2.2 tos 0x0 ttl 64 id 9 off 0 len 32 opts [router-alert] proto UDP (17) len 0",
		"10.0.0.1.1 > 10.0.0.2.2 UDP",
	}, {
		"a header length that cannot be", 0x0800, "4000 0020 0009 0000 4011 0000 0a000001 0a000002 0001 0002 0008 0000",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 9 off 0 len 32 proto UDP (17) (header length is impossible)",
		"10.0.0.1 > 10.0.0.2 UDP",
	}, {
		"a protocol without a name", 0x0800, "4500 0014 0009 0000 40fd 0000 0a000001 0a000002",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 9 off 0 len 20 proto 253",
		"10.0.0.1 > 10.0.0.2 protocol 253",
	}, {
		"ipv4, cut off", 0x0800, "4500 0014", "IPv4, truncated: 4 bytes were captured", "IPv4",
	}, {
		"udp over ipv6", 0x86dd, "6001 2345 000b 11 40" + ipv6Prefix + "0001 0002 000b 0000 616263",
		"fd00::1.1 > fd00::2.2 ttl 64 label 0x12345 len 11 proto UDP (17) len 3",
		"fd00::1.1 > fd00::2.2 UDP",
	}, {
		"neighbour solicitation", 0x86dd, "6000 0000 0018 3a ff" + ipv6Prefix + "8700 0000 0000 0000",
		"fd00::1 > fd00::2 ttl 255 label 0x0 len 24 proto ICMPv6 (58) type 135 code 0 NeighborSolicitation (truncated)",
		"fd00::1 > fd00::2 ICMPv6",
	}, {
		"echo request over ipv6", 0x86dd, "6000 0000 0008 3a 40" + ipv6Prefix + "8000 0000 0005 0006",
		"fd00::1 > fd00::2 ttl 64 label 0x0 len 8 proto ICMPv6 (58) type 128 code 0 EchoRequest id 5 seq 6",
		"fd00::1 > fd00::2 ICMPv6",
	}, {
		"extension headers", 0x86dd, "6000 0000 0018 00 40" + ipv6Prefix + "3c00 0502 0000 0100 1100 0104 0000 0000" +
			"0001 0002 0008 0000",
		"fd00::1.1 > fd00::2.2 ttl 64 label 0x0 len 24 exts [hop-by-hop,destination] proto UDP (17) len 0",
		"fd00::1.1 > fd00::2.2 UDP",
	}, {
		"tcp behind an extension header", 0x86dd, "6000 0000 0020 3c 40" + ipv6Prefix + "0600 0104 0000 0000" +
			"0001 0002 00000001 00000000 5004 0000 0000 0000",
		"fd00::1.1 > fd00::2.2 ttl 64 label 0x0 len 32 exts [destination] proto TCP (6) flags [R] seq 1 win 0 len 4",
		"fd00::1.1 > fd00::2.2 TCP",
	}, {
		"first fragment over ipv6", 0x86dd, "6000 0000 0010 2c 40" + ipv6Prefix + "1100 0001 00000063 0001 0002 0400 0000",
		"fd00::1.1 > fd00::2.2 ttl 64 label 0x0 len 16 frag id 99 off 0 [MF] proto UDP (17) len 1016",
		"fd00::1.1 > fd00::2.2 UDP",
	}, {
		"last fragment over ipv6", 0x86dd, "6000 0000 0010 2c 40" + ipv6Prefix + "1100 0080 00000063 0001 0002 0400 0000",
		"fd00::1 > fd00::2 ttl 64 label 0x0 len 16 frag id 99 off 128 proto UDP (17)",
		"fd00::1 > fd00::2 UDP",
	}, {
		"an extension header that is cut off", 0x86dd, "6000 0000 0010 2b 40" + ipv6Prefix + "1109 0080",
		"fd00::1 > fd00::2 ttl 64 label 0x0 len 16 proto IPv6Routing (43) (truncated)",
		"fd00::1 > fd00::2 IPv6Routing",
	}, {
		"ipv6, cut off", 0x86dd, "6000", "IPv6, truncated: 2 bytes were captured", "IPv6",
	}, {
		"arp request", 0x0806, "0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002",
		"ARP request who-has 10.0.0.2 tell 10.0.0.1", "ARP request who-has 10.0.0.2 tell 10.0.0.1",
	}, {
		"arp reply", 0x0806, "0001 0800 06 04 0002 020000000002 0a000002 020000000001 0a000001",
		"ARP reply 10.0.0.2 is-at 02:00:00:00:00:02", "ARP reply 10.0.0.2 is-at 02:00:00:00:00:02",
	}, {
		"another arp operation", 0x0806, "0001 0800 06 04 0008 020000000002 0a000002 020000000001 0a000001",
		"ARP operation 8 from 10.0.0.2 to 10.0.0.1", "ARP operation 8 from 10.0.0.2 to 10.0.0.1",
	}, {
		"arp, cut off", 0x0806, "0001 0800", "ARP, truncated: 4 bytes were captured", "ARP, truncated: 4 bytes were captured",
	}, {
		"a known ethertype", 0x88cc, "", "ethertype LinkLayerDiscovery (0x88cc) len 60", "ethertype LinkLayerDiscovery (0x88cc)",
	}, {
		"an unknown ethertype", 0x1234, "", "ethertype 0x1234 len 60", "ethertype 0x1234",
	}} {
		t.Run(test.name, func(t *testing.T) {
			p := Packet{Proto: test.proto, Len: 60, Data: bytesOf(t, test.data)}
			qt.Check(t, qt.Equals(p.String(), test.line))
			qt.Check(t, qt.Equals(p.Flow(), test.flow))
		})
	}
}

// TestLargePacket: a GSO packet of more than 64 KiB has a total length of 0, and still shows its header.
func TestLargePacket(t *testing.T) {
	data := udpDatagram()
	binary.BigEndian.PutUint16(data[2:], 0)
	p := Packet{Proto: 0x0800, Data: data}
	qt.Check(t, qt.Equals(p.Flow(), "172.16.42.1.39677 > 172.16.42.2.8080 UDP"))
}

// TestCutFrames cuts every kind of packet after every byte. What was said of a header that is whole stays said.
func TestCutFrames(t *testing.T) {
	for _, f := range frames(t) {
		t.Run(f.name, func(t *testing.T) {
			link := f.packet.Network
			if isVLAN(f.packet.Proto) {
				link += vlanTag
			}
			for n := range f.packet.Data {
				p := f.packet
				p.Data = p.Data[:n]
				lines := p.Lines()
				checkLines(t, &p)
				if n > link {
					qt.Assert(t, qt.Equals(lines[0], f.packet.Lines()[0]), qt.Commentf("%d bytes", n))
				}
			}
		})
	}
}

// TestWithoutLink: a packet whose skb has no MAC header, or one that is not Ethernet's, shows the same from there on.
func TestWithoutLink(t *testing.T) {
	for _, f := range frames(t) {
		t.Run(f.name, func(t *testing.T) {
			all := f.packet.Lines()
			p := f.packet
			p.Data, p.Network, p.VLAN = p.Data[p.Network:], 0, nil
			if isVLAN(p.Proto) {
				qt.Check(t, qt.DeepEquals(p.Lines()[1:], all[1:])) // with a line for the tag
			} else {
				qt.Check(t, qt.DeepEquals(p.Lines(), all[1:]))
			}
			// As on an ipgre device, where the MAC header is an IP and a GRE header.
			p.Network = 24
			p.Data = slices.Concat([]byte{0x45, 0, 0, 80, 0, 1, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 8, 0}, p.Data)
			qt.Check(t, qt.DeepEquals(p.Lines()[len(p.Lines())-len(all)+1:], all[1:]))
			qt.Check(t, qt.Equals(p.Flow(), f.packet.Flow()))
		})
	}
}

// TestNesting: packets in packets are described down to a depth, however many there are.
func TestNesting(t *testing.T) {
	data := slices.Concat(bytes.Repeat([]byte{
		0x45, 0, 0, 0, 0, 1, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	}, 3000), udpDatagram())
	lines := (&Packet{Proto: 0x0800, Data: data}).Lines()
	qt.Check(t, qt.HasLen(lines, maxDepth+2))
	qt.Check(t, qt.Equals(strings.TrimSpace(lines[maxDepth+1]), "… (further packets inside are not shown)"))
}

// TestOddPackets: what is odd further on does not hide what comes before it.
func TestOddPackets(t *testing.T) {
	tcp := "0a000001 0a000002 1388 0050 00000064 00000000 "
	for _, test := range []struct {
		name string
		data string
		want string
	}{{
		"large GSO", "4500 0000 0001 4000 4006 0000" + tcp + "5010 faf0 0000 0000",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 [DF] proto TCP (6) flags [.] seq 100 ack 0 win 64240",
	}, {
		"a TCP header length that cannot be", "4500 003c 0001 4000 4006 0000" + tcp + "1002 faf0 0000 0000",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 [DF] len 60 proto TCP (6) flags [S] seq 100 win 64240 " +
			"len 36 (header length is impossible)",
	}, {
		"a TCP option that is too long", "4500 003c 0001 4000 4006 0000" + tcp + "7002 faf0 0000 0000 020405b4 08ff 0000",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 [DF] len 60 proto TCP (6) flags [S] seq 100 win 64240 " +
			"len 12 options [mss 1460,TS,…]",
	}, {
		"TCP options of odd lengths, unknown ones, the end", "4500 003c 0001 4000 4006 0000" + tcp +
			"8002 faf0 0000 0000 0203 05 fd04 abcd 22020000",
		"10.0.0.1.5000 > 10.0.0.2.80 tos 0x0 ttl 64 id 1 off 0 [DF] len 60 proto TCP (6) flags [S] seq 100 win 64240 " +
			"len 8 options [mss 05,option 253 abcd,tfo request,eol]",
	}, {
		"IPv4 options of odd lengths", "4700 003c 0001 4000 4011 0000 0a000001 0a000002 0144 0400 0007 ffff",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 1 off 0 [DF] len 60 opts [timestamp,RR,…] proto UDP (17) (truncated)",
	}, {
		"an SCTP chunk without a length", "4500 0030 0001 4000 4084 0000 0a000001 0a000002 0001 0002 00000007 00000000 0000 0000",
		"10.0.0.1.1 > 10.0.0.2.2 tos 0x0 ttl 64 id 1 off 0 [DF] len 48 proto SCTP (132) vtag 0x7 [Data] …",
	}, {
		"GRE without its key", "4500 0030 0001 4000 402f 0000 0a000001 0a000002 2000 0800",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 1 off 0 [DF] len 48 proto GRE (47) (truncated)",
	}, {
		"an ICMP error that quotes too little", "4500 0030 0001 4000 4001 0000 0a000001 0a000002 0b00 0000 0000 0000 4500",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 1 off 0 [DF] len 48 proto ICMP (1) type 11 code 0 " +
			"TimeExceeded(TTLExceeded) about IPv4, truncated: 2 bytes were captured",
	}, {
		"an ICMP type without a name", "4500 0030 0001 4000 4001 0000 0a000001 0a000002 fd07 0000 0000 0000",
		"10.0.0.1 > 10.0.0.2 tos 0x0 ttl 64 id 1 off 0 [DF] len 48 proto ICMP (1) type 253 code 7",
	}} {
		t.Run(test.name, func(t *testing.T) {
			p := Packet{Proto: 0x0800, Len: 60, Data: bytesOf(t, test.data)}
			qt.Check(t, qt.Equals(p.String(), test.want))
		})
	}
}

// TestNetworkOutOfRange: an offset that cannot be is no reason to fail.
func TestNetworkOutOfRange(t *testing.T) {
	for _, network := range []int{-1, 5, 14, 32, 1 << 40} {
		p := Packet{Proto: 0x0800, Network: network, Data: udpDatagram()}
		checkLines(t, &p)
	}
}

// checkLines: a packet has a text, and no line is empty or two.
func checkLines(tb testing.TB, p *Packet) {
	tb.Helper()
	lines := append(p.Lines(), p.String(), p.Flow())
	qt.Assert(tb, qt.IsTrue(len(lines) > 2))
	for _, line := range lines {
		qt.Assert(tb, qt.Not(qt.Equals(strings.TrimSpace(line), "")))
		qt.Assert(tb, qt.IsFalse(strings.ContainsAny(line, "\n\r")))
	}
}

// FuzzPacket: whatever was captured, it has a text.
func FuzzPacket(f *testing.F) {
	for _, frame := range frames(f) {
		p := frame.packet
		f.Add(p.Proto, int16(p.Network), p.Data)
	}
	f.Add(uint16(0x86dd), int16(0), slices.Concat([]byte{0x60, 0, 0, 0, 0, 8, 0, 64}, make([]byte, 32), []byte{44, 0, 0, 0, 0, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, proto uint16, network int16, data []byte) {
		checkLines(t, &Packet{Proto: proto, Network: int(network), Data: data})
	})
}

// TestLinkHeader: the link header is shown where it is part of the packet, and not where it was taken off.
func TestLinkHeader(t *testing.T) {
	frame := slices.Concat(
		[]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0},
		[]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2},
	)
	for length, want := range map[uint32]int{34: 2, 46: 2, 20: 1, 0: 1} {
		p := Packet{Proto: 0x0800, Network: 14, Len: length, Data: frame}
		qt.Check(t, qt.HasLen(p.Lines(), want), qt.Commentf("%d: %q", length, p.Lines()))
	}
	frame[17] = 0 // a large packet that is yet to be segmented says no length
	p := Packet{Proto: 0x0800, Network: 14, Len: 20, Data: frame}
	qt.Check(t, qt.HasLen(p.Lines(), 2))
}
