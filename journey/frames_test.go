package journey

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/waybill-dev/waybill/internal/golden"
)

// frame is a packet that gopacket has serialized from fields.
type frame struct {
	name   string
	packet Packet
}

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	ip4A = net.IPv4(192, 0, 2, 1).To4()
	ip4B = net.IPv4(192, 0, 2, 2).To4()
	ip6A = net.ParseIP("2001:db8::1")
	ip6B = net.ParseIP("2001:db8::2")
)

func ethernet(proto layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: proto}
}

func ipv4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 64, Id: 4660, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: ip4A, DstIP: ip4B,
	}
}

func ipv6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, FlowLabel: 0x12345, NextHeader: proto, SrcIP: ip6A, DstIP: ip6B}
}

func udp(src, dst layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: src, DstPort: dst} }

func syn() *layers.TCP {
	return &layers.TCP{
		SrcPort: 40000, DstPort: 443, Seq: 1000, SYN: true, Window: 64240, Options: []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, 9, 0, 0, 0, 0}},
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
		},
	}
}

func payload(text string) gopacket.Payload { return gopacket.Payload(text) }

func serialize(tb testing.TB, parts ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	var network gopacket.NetworkLayer
	for _, part := range parts {
		switch l := part.(type) {
		case *layers.IPv4:
			network = l
		case *layers.IPv6:
			network = l
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(network)
		case *layers.ICMPv6:
			_ = l.SetNetworkLayerForChecksum(network)
		}
	}
	b := gopacket.NewSerializeBuffer()
	qt.Assert(tb, qt.IsNil(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...)))
	return b.Bytes()
}

// frames is one packet of every kind that is described, each beginning with an Ethernet header.
func frames(tb testing.TB) []frame {
	const ip, ip6 = layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	var all []frame
	add := func(name string, proto layers.EthernetType, parts ...gopacket.SerializableLayer) *Packet {
		data := serialize(tb, parts...)
		all = append(all, frame{name, Packet{Proto: uint16(proto), Len: uint32(len(data)), Network: 14, Data: data}})
		return &all[len(all)-1].packet
	}
	icmp6 := func(kind uint8) *layers.ICMPv6 {
		return &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	}
	icmp4 := func(kind, code uint8) *layers.ICMPv4 {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: 7, Seq: 1}
	}
	quoted := func(parts ...gopacket.SerializableLayer) gopacket.Payload { return serialize(tb, parts...) }

	add("UDP", ip, ethernet(ip), ipv4(17), udp(39677, 8080), payload("abc"))
	add("TCP SYN", ip, ethernet(ip), ipv4(6), syn())
	data := syn()
	data.SYN, data.ACK, data.PSH, data.ECE, data.Ack = false, true, true, true, 77
	data.Options = []layers.TCPOption{
		{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
		{OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: []byte{0, 0, 4, 0, 0, 0, 8, 0}},
	}
	add("TCP data with SACK", ip, ethernet(ip), ipv4(6), data, payload("hello"))
	marked := ipv4(17)
	marked.TOS, marked.Options = 0xba, []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	add("IPv4 with DSCP, ECN and an option", ip, ethernet(ip), marked, udp(1, 2))
	fragment := ipv4(17)
	fragment.Flags, fragment.FragOffset = layers.IPv4MoreFragments, 185
	add("IPv4 fragment", ip, ethernet(ip), fragment, payload("middle of a datagram"))

	p := add("offloaded VLAN tag", ip, ethernet(ip), ipv4(17), udp(1, 2))
	p.VLAN = &VLAN{Proto: 0x8100, TCI: 3<<13 | 1<<12 | 42}
	p = add("VLAN tag in the packet", ip, ethernet(layers.EthernetTypeDot1Q),
		&layers.Dot1Q{VLANIdentifier: 5, Priority: 1, Type: ip}, ipv4(17), udp(1, 2))
	p.Network = 18
	add("VLAN tag in the packet, not read yet", layers.EthernetTypeDot1Q, ethernet(layers.EthernetTypeDot1Q),
		&layers.Dot1Q{VLANIdentifier: 5, Priority: 1, Type: ip}, ipv4(17), udp(1, 2))
	p = add("QinQ", ip6, ethernet(layers.EthernetTypeQinQ),
		&layers.Dot1Q{VLANIdentifier: 100, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 200, DropEligible: true, Type: ip6},
		ipv6(17), udp(1, 2))
	p.Network = 22

	arp := func(operation uint16, target net.HardwareAddr) *layers.ARP {
		return &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: ip, HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
			SourceHwAddress: macA, SourceProtAddress: ip4A, DstHwAddress: target, DstProtAddress: ip4B,
		}
	}
	add("ARP request", layers.EthernetTypeARP, ethernet(layers.EthernetTypeARP), arp(1, make([]byte, 6)))
	add("ARP request to one who was known", layers.EthernetTypeARP, ethernet(layers.EthernetTypeARP), arp(1, macB))
	add("ARP reply", layers.EthernetTypeARP, ethernet(layers.EthernetTypeARP), arp(2, macB))
	add("STP", 4, &layers.Ethernet{SrcMAC: macA, DstMAC: macB, Length: 38}, payload("\x42\x42\x03"+strings.Repeat("\x00", 35)))

	add("echo request", ip, ethernet(ip), ipv4(1), icmp4(8, 0), payload("ping"))
	add("port unreachable", ip, ethernet(ip), ipv4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)},
		quoted(ipv4(17), udp(40001, 53), payload("query")))
	add("fragmentation needed", ip, ethernet(ip), ipv4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 1400},
		quoted(ipv4(6), syn())[:28])
	add("redirect", ip, ethernet(ip), ipv4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(5, 1), Id: 0xc000, Seq: 0x02fe},
		quoted(ipv4(1), icmp4(8, 0)))

	add("UDP over IPv6", ip6, ethernet(ip6), ipv6(17), udp(1000, 53), payload("abc"))
	hop := &layers.IPv6HopByHop{}
	hop.Options = []*layers.IPv6HopByHopOption{{OptionType: 1, OptionLength: 4, OptionData: []byte{0, 0, 0, 0}}}
	hop.NextHeader = layers.IPProtocolIPv6Fragment
	add("IPv6 with extension headers", ip6, ethernet(ip6), ipv6(layers.IPProtocolIPv6HopByHop), hop,
		&layers.IPv6Fragment{NextHeader: 17, MoreFragments: true, Identification: 99}, udp(1000, 53), payload("first part"))
	add("IPv6 fragment", ip6, ethernet(ip6), ipv6(layers.IPProtocolIPv6Fragment),
		&layers.IPv6Fragment{NextHeader: 17, FragmentOffset: 181, Identification: 99}, payload("last part"))
	option := func(kind layers.ICMPv6Opt, data []byte) layers.ICMPv6Options {
		return layers.ICMPv6Options{{Type: kind, Data: data}}
	}
	add("neighbour solicitation", ip6, ethernet(ip6), ipv6(58), icmp6(135),
		&layers.ICMPv6NeighborSolicitation{TargetAddress: ip6B, Options: option(layers.ICMPv6OptSourceAddress, macA)})
	add("neighbour advertisement", ip6, ethernet(ip6), ipv6(58), icmp6(136),
		&layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: ip6A, Options: option(layers.ICMPv6OptTargetAddress, macA)})
	add("router solicitation", ip6, ethernet(ip6), ipv6(58), icmp6(133),
		&layers.ICMPv6RouterSolicitation{Options: option(layers.ICMPv6OptSourceAddress, macA)})
	prefix := append([]byte{64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0}, net.ParseIP("2001:db8::")...)
	add("router advertisement", ip6, ethernet(ip6), ipv6(58), icmp6(134), &layers.ICMPv6RouterAdvertisement{
		HopLimit: 64, Flags: 0x80, RouterLifetime: 1800, Options: layers.ICMPv6Options{
			{Type: layers.ICMPv6OptPrefixInfo, Data: prefix}, {Type: layers.ICMPv6OptMTU, Data: []byte{0, 0, 0, 0, 5, 0xdc}},
		},
	})
	add("MLD report", ip6, ethernet(ip6), ipv6(58), icmp6(143), &layers.MLDv2MulticastListenerReportMessage{
		NumberOfMulticastAddressRecords: 1,
		MulticastAddressRecords:         []layers.MLDv2MulticastAddressRecord{{RecordType: 4, MulticastAddress: net.ParseIP("ff02::1:ff00:1")}},
	})
	add("MLD query, version 1", ip6, ethernet(ip6), ipv6(58), icmp6(130),
		&layers.MLDv1MulticastListenerQueryMessage{MLDv1Message: layers.MLDv1Message{MulticastAddress: net.ParseIP("ff02::5")}})
	add("packet too big", ip6, ethernet(ip6), ipv6(58), icmp6(2), payload("\x00\x00\x05\x00"), quoted(ipv6(6), syn()))

	sctp := func() *layers.SCTP { return &layers.SCTP{SrcPort: 1000, DstPort: 2000, VerificationTag: 0xabcd} }
	add("SCTP INIT", ip, ethernet(ip), ipv4(132), sctp(), &layers.SCTPInit{
		SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeInit}, InitiateTag: 0xc58b332e,
		AdvertisedReceiverWindowCredit: 106496, OutboundStreams: 10, InboundStreams: 65535, InitialTSN: 4174528668,
	})
	add("SCTP DATA", ip, ethernet(ip), ipv4(132), sctp(), &layers.SCTPData{
		SCTPChunk: layers.SCTPChunk{Type: layers.SCTPChunkTypeData, Length: 20}, BeginFragment: true, EndFragment: true, TSN: 9, StreamId: 1,
		StreamSequence: 2, PayloadProtocol: 46, Payload: []byte("data"),
	})

	add("GRE with key", ip, ethernet(ip), ipv4(47), &layers.GRE{Protocol: ip, KeyPresent: true, Key: 5, SeqPresent: true, Seq: 9},
		ipv4(1), icmp4(8, 0))
	add("GRE with Ethernet inside", ip, ethernet(ip), ipv4(47), &layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging},
		ethernet(ip6), ipv6(17), udp(1, 2))
	add("VXLAN", ip, ethernet(ip), ipv4(17), udp(50000, 4789), &layers.VXLAN{ValidIDFlag: true, VNI: 42}, ethernet(ip), ipv4(6), syn())
	add("VXLAN in VXLAN", ip6, ethernet(ip6), ipv6(17), udp(50000, 4789), &layers.VXLAN{ValidIDFlag: true, VNI: 1}, ethernet(ip),
		ipv4(17), udp(50001, 4789), &layers.VXLAN{ValidIDFlag: true, VNI: 2}, ethernet(layers.EthernetTypeARP), arp(2, macB))
	add("Geneve with an option", ip, ethernet(ip), ipv4(17), udp(50000, 6081), &layers.Geneve{
		Protocol: layers.EthernetTypeTransparentEthernetBridging, VNI: 7, CriticalOption: true,
		Options: []*layers.GeneveOption{{Class: 0x102, Type: 0x80, Length: 8, Data: []byte{0, 1, 0, 2}}},
	}, ethernet(ip), ipv4(17), udp(1, 2))
	add("IP in IP", ip, ethernet(ip), ipv4(4), ipv4(17), udp(1, 2))
	add("IPv6 in IP (sit)", ip, ethernet(ip), ipv4(41), ipv6(58), icmp6(128), payload("\x00\x05\x00\x06"))
	add("ESP", ip, ethernet(ip), ipv4(50), payload("\x00\x00\x10\x01\x00\x00\x00\x07encrypted"))
	add("ESP in UDP", ip, ethernet(ip), ipv4(17), udp(4500, 4500), payload("\x00\x00\x10\x01\x00\x00\x00\x07encrypted"))
	add("AH", ip6, ethernet(ip6), ipv6(51), payload("\x11\x04\x00\x00\x00\x00\x10\x02\x00\x00\x00\x08"+strings.Repeat("\xaa", 12)), udp(1, 2))
	add("MPLS", layers.EthernetTypeMPLSUnicast, ethernet(layers.EthernetTypeMPLSUnicast), &layers.MPLS{Label: 100, TTL: 63},
		&layers.MPLS{Label: 200, TTL: 62, TrafficClass: 5, StackBottom: true}, ipv4(17), udp(1, 2))
	return all
}

// TestFrames keeps a text of every kind of packet in a golden file.
func TestFrames(t *testing.T) {
	var b strings.Builder
	for _, f := range frames(t) {
		fmt.Fprintf(&b, "# %s\n%s\n= %s\n\n", f.name, strings.Join(f.packet.Lines(), "\n"), f.packet.Flow())
	}
	golden.Check(t, "frames.txt", b.String())
}
