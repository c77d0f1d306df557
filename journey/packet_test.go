package journey

import (
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

// FuzzPacket: whatever was captured, it has a line, and only one.
func FuzzPacket(f *testing.F) {
	f.Add(uint16(0x0800), udpDatagram())
	f.Add(uint16(0x86dd), slices.Concat([]byte{0x60, 0, 0, 0, 0, 8, 0, 64}, make([]byte, 32), []byte{44, 0, 0, 0, 0, 0, 0, 0}))
	f.Add(uint16(0x0806), []byte{0, 1, 8, 0, 6, 4, 0, 1})
	f.Fuzz(func(t *testing.T, proto uint16, data []byte) {
		p := Packet{Proto: proto, Data: data}
		for _, line := range []string{p.String(), p.Flow()} {
			qt.Assert(t, qt.Not(qt.Equals(line, "")))
			qt.Assert(t, qt.IsFalse(strings.Contains(line, "\n")))
		}
	})
}
