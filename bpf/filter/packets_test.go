package filter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// What the packets and the expressions of tests are made of, so that they have something to do with each other.
var (
	hosts4 = []string{"10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.1.2.3", "192.168.1.1", "192.168.1.77",
		"172.16.42.1", "224.0.0.5", "255.255.255.255", "0.0.0.0"}
	hosts6 = []string{"fd00::1", "fd00::2", "fd00:1:2:3::4", "fe80::1", "ff02::1", "::1", "2001:db8::5", "::", "::ffff:10.0.0.1"}
	macs   = []string{"02:00:00:00:00:01", "02:00:00:00:00:02", "01:00:5e:00:00:05", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"}
	ports  = []uint16{20, 22, 53, 67, 80, 443, 5353, 6081, 8080, 65535}
	vlans  = []uint16{1, 5, 100, 200, 4095}
	labels = []uint32{0, 16, 1000, 1024, 100000}
)

// packetMaker makes packets of all kinds, the same ones for the same seed.
type packetMaker struct{ *rand.Rand }

func newPacketMaker(seed uint64) packetMaker { return packetMaker{rand.New(rand.NewPCG(seed, 7))} }

// frames are of Ethernet, a third of them damaged.
func (m packetMaker) frames(n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = m.frame()
		switch m.IntN(9) {
		case 0:
			frames[i] = frames[i][:m.IntN(len(frames[i])+1)]
		case 1:
			m.damage(frames[i])
		case 2: // at the edge of a header
			frames[i] = frames[i][:min(len(frames[i]), pick(m, 12, 13, 14, 15, 16, 18, 23, 24, 33, 34, 36, 37, 38, 53, 54, 55, 56, 58))]
		}
	}
	return frames
}

// withoutLink are the same packets as they begin with the header of IP.
func withoutLink(frames [][]byte) [][]byte {
	packets := make([][]byte, len(frames))
	for i, f := range frames {
		packets[i] = f[min(14, len(f)):]
	}
	return packets
}

func (m packetMaker) damage(frame []byte) {
	for range 1 + m.IntN(3) {
		frame[m.IntN(min(len(frame), 80))] = byte(m.IntN(256))
	}
}

func pick[T any](m packetMaker, from ...T) T { return from[m.IntN(len(from))] }

func (m packetMaker) frame() []byte {
	stack := []gopacket.SerializableLayer{&layers.Ethernet{
		SrcMAC: mac(pick(m, macs...)), DstMAC: mac(pick(m, macs...)),
	}}
	if m.IntN(12) == 0 {
		return m.other()
	}
	for range pick(m, 0, 0, 0, 0, 0, 1, 1, 2, 3) {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: pick(m, vlans...), Priority: uint8(m.IntN(8))})
	}
	if m.IntN(6) == 0 {
		n := 1 + m.IntN(3)
		for i := range n {
			stack = append(stack, &layers.MPLS{Label: pick(m, labels...), StackBottom: i == n-1, TTL: 64})
		}
	} else if m.IntN(10) == 0 {
		stack = append(stack, &layers.PPPoE{Version: 1, Type: 1, SessionId: pick(m, uint16(1), 0x27)}, &layers.PPP{})
	}
	stack = append(stack, m.network(1)...)
	return m.serialize(stack)
}

// network is a packet of IP or ARP; depth is how many tunnels it may be.
func (m packetMaker) network(depth int) []gopacket.SerializableLayer {
	switch m.IntN(7) {
	case 0:
		arp := &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: uint16(1 + m.IntN(2)), SourceHwAddress: mac(pick(m, macs...)),
			SourceProtAddress: ip4(pick(m, hosts4...)), DstHwAddress: make([]byte, 6), DstProtAddress: ip4(pick(m, hosts4...)),
		}
		return []gopacket.SerializableLayer{arp}
	case 1, 2, 3:
		return m.over4(depth)
	}
	return m.over6(depth)
}

func (m packetMaker) over4(depth int) []gopacket.SerializableLayer {
	ip := &layers.IPv4{
		Version: 4, TTL: uint8(1 + m.IntN(255)), TOS: uint8(m.IntN(256)), Id: uint16(m.IntN(65536)),
		SrcIP: ip4(pick(m, hosts4...)), DstIP: ip4(pick(m, hosts4...)),
	}
	switch m.IntN(6) {
	case 0:
		ip.Flags, ip.FragOffset = layers.IPv4MoreFragments, uint16(m.IntN(3))
	case 1:
		ip.Flags = layers.IPv4DontFragment
	case 2:
		for range 1 + m.IntN(4) {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 7, OptionLength: 8, OptionData: make([]byte, 6)})
		}
	}
	above := m.transport(depth, true)
	ip.Protocol = protocolOf(above[0], layers.IPProtocol(pick(m, 2, 9, 47, 50, 51, 88, 89, 103, 112)))
	for _, l := range above {
		switch l := l.(type) {
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(ip)
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(ip)
		}
	}
	return append([]gopacket.SerializableLayer{ip}, above...)
}

func (m packetMaker) over6(depth int) []gopacket.SerializableLayer {
	ip := &layers.IPv6{
		Version: 6, HopLimit: 64, TrafficClass: uint8(m.IntN(256)),
		SrcIP: net.ParseIP(pick(m, hosts6...)), DstIP: net.ParseIP(pick(m, hosts6...)),
	}
	above := m.transport(depth, false)
	next := protocolOf(above[0], layers.IPProtocol(pick(m, 50, 51, 59, 89, 103)))
	for _, l := range above {
		switch l := l.(type) {
		case *layers.UDP:
			_ = l.SetNetworkLayerForChecksum(ip)
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(ip)
		case *layers.ICMPv6:
			_ = l.SetNetworkLayerForChecksum(ip)
		}
	}
	for range pick(m, 0, 0, 0, 1, 1, 2) { // in front of what is there already
		extension := make([]byte, 8*(1+m.IntN(2)))
		extension[0], extension[1] = byte(next), byte(len(extension)/8-1)
		next = layers.IPProtocol(pick(m, 0, 43, 44, 60))
		if next == ipFragment {
			extension = extension[:8]
			extension[1] = 0
			binary.BigEndian.PutUint16(extension[2:], uint16(m.IntN(3))<<3|1)
		}
		above = append([]gopacket.SerializableLayer{gopacket.Payload(extension)}, above...)
	}
	ip.NextHeader = next
	return append([]gopacket.SerializableLayer{ip}, above...)
}

// transport is what an IP packet carries.
func (m packetMaker) transport(depth int, over4 bool) []gopacket.SerializableLayer {
	payload := make([]byte, m.IntN(pick(m, 120, 120, 300)))
	for i := range payload {
		payload[i] = byte(pick(m, 0, 5, 0x11, 0x20, 0x47, m.IntN(256), m.IntN(256)))
	}
	from, to := pick(m, ports...), pick(m, ports...)
	switch m.IntN(8) {
	case 0, 1:
		return []gopacket.SerializableLayer{&layers.TCP{
			SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), Seq: m.Uint32(), Window: uint16(m.IntN(65536)),
			SYN: m.IntN(3) > 0, ACK: m.IntN(3) == 0, FIN: m.IntN(6) == 0, RST: m.IntN(6) == 0, PSH: m.IntN(6) == 0,
			URG: m.IntN(12) == 0, ECE: m.IntN(12) == 0, CWR: m.IntN(12) == 0,
		}, gopacket.Payload(payload)}
	case 2, 3:
		udp := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
		if depth > 0 && m.IntN(2) == 0 {
			udp.DstPort = genevePort
			return append([]gopacket.SerializableLayer{udp}, m.geneve(depth-1)...)
		}
		return []gopacket.SerializableLayer{udp, gopacket.Payload(payload)}
	case 4:
		return []gopacket.SerializableLayer{
			&layers.SCTP{SrcPort: layers.SCTPPort(from), DstPort: layers.SCTPPort(to)}, gopacket.Payload(payload),
		}
	case 5, 6:
		if over4 {
			return []gopacket.SerializableLayer{
				&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(pick(m, 0, 3, 5, 8, 11, 13)), uint8(m.IntN(4)))},
				gopacket.Payload(payload),
			}
		}
		return []gopacket.SerializableLayer{
			&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(pick(m, 1, 2, 3, 128, 129, 133, 135, 136)), uint8(m.IntN(3)))},
			gopacket.Payload(payload),
		}
	}
	return []gopacket.SerializableLayer{gopacket.Payload(payload)}
}

// geneve is a header and what it carries, sometimes with options.
func (m packetMaker) geneve(depth int) []gopacket.SerializableLayer {
	header := make([]byte, 8+4*m.IntN(3))
	header[0] = byte(len(header)/4 - 2)
	if m.IntN(10) == 0 {
		header[0] |= 0x40 // a version that is not known
	}
	binary.BigEndian.PutUint32(header[4:], pick(m, uint32(11), 77, 0xabcdef)<<8)
	var inner []byte
	if m.IntN(2) == 0 {
		binary.BigEndian.PutUint16(header[2:], typeBridged)
		inner = m.frameOf(m.network(depth))
	} else {
		binary.BigEndian.PutUint16(header[2:], typeIP)
		inner = m.serialize(m.over4(depth))
	}
	return []gopacket.SerializableLayer{gopacket.Payload(append(header, inner...))}
}

func (m packetMaker) frameOf(network []gopacket.SerializableLayer) []byte {
	return m.serialize(append([]gopacket.SerializableLayer{&layers.Ethernet{
		SrcMAC: mac(pick(m, macs...)), DstMAC: mac(pick(m, macs...)),
	}}, network...))
}

func protocolOf(l gopacket.SerializableLayer, otherwise layers.IPProtocol) layers.IPProtocol {
	switch l.LayerType() {
	case layers.LayerTypeTCP:
		return layers.IPProtocolTCP
	case layers.LayerTypeUDP:
		return layers.IPProtocolUDP
	case layers.LayerTypeSCTP:
		return layers.IPProtocolSCTP
	case layers.LayerTypeICMPv4:
		return layers.IPProtocolICMPv4
	case layers.LayerTypeICMPv6:
		return layers.IPProtocolICMPv6
	}
	return otherwise
}

// serialize tells each layer the type of the next.
func (m packetMaker) serialize(stack []gopacket.SerializableLayer) []byte {
	for i, l := range stack[:len(stack)-1] {
		typ := layers.EthernetType(0)
		switch stack[i+1].(type) {
		case *layers.IPv4:
			typ = layers.EthernetTypeIPv4
		case *layers.IPv6:
			typ = layers.EthernetTypeIPv6
		case *layers.ARP:
			typ = pick(m, layers.EthernetTypeARP, layers.EthernetTypeARP, typeRARP)
		case *layers.Dot1Q:
			typ = pick(m, layers.EthernetTypeDot1Q, layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ, typeQinQ)
		case *layers.MPLS:
			typ = layers.EthernetTypeMPLSUnicast
		case *layers.PPPoE:
			typ = layers.EthernetTypePPPoESession
		}
		switch l := l.(type) {
		case *layers.Ethernet:
			l.EthernetType = typ
		case *layers.Dot1Q:
			l.Type = typ
		case *layers.PPP:
			l.PPPType = layers.PPPTypeIPv4
			if typ == layers.EthernetTypeIPv6 {
				l.PPPType = layers.PPPTypeIPv6
			}
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, stack...); err != nil {
		panic(fmt.Sprintf("make a packet of %v: %v", stack, err))
	}
	return buffer.Bytes()
}

// other are frames that have no IP in them: of other types, with headers of 802.2, or with anything at all.
func (m packetMaker) other() []byte {
	frame := make([]byte, 14+m.IntN(60))
	for i := range frame {
		frame[i] = byte(m.IntN(256))
	}
	copy(frame, mac(pick(m, macs...)))
	copy(frame[6:], mac(pick(m, macs...)))
	typ := pick(m, typeAARP, typeAppleTalk, typeLAT, typeSCA, typeMOPRC, typeMOPDL, typeDECnet, typeIPX, typePPPoED, typeLoopback,
		0, 100, 1500, 1501)
	if m.IntN(2) == 0 { // 802.2
		typ = len(frame) - 14
		sap := byte(pick(m, sapOSI, sapSTP, sapIPX, sapNetBEUI, sapIP, sapSNAP, 0xff))
		header := []byte{sap, sap, byte(pick(m, 0x03, 0x01, 0x05, 0x09, 0x63, 0x43, 0x0f, 0x6f, 0xe3, 0xaf, 0x87, 0x00)),
			byte(pick(m, osiCLNP, osiESIS, osiISIS, 0)), 0, 0, 0, byte(pick(m, 15, 16, 17, 18, 20, 24, 25, 26, 27))}
		if sap == sapSNAP {
			header = pick(m, []byte{0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b}, []byte{0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3},
				[]byte{0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37}, []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0})
		}
		copy(frame[14:], header)
	}
	binary.BigEndian.PutUint16(frame[12:], uint16(typ))
	return frame
}

func mac(text string) net.HardwareAddr {
	a, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return a
}

func ip4(text string) net.IP { return net.ParseIP(text).To4() }
