package packet

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// String prints the description as UDP ? > 172.16.42.2.8080 len 3. What only the kernel knows is a question mark.
func (u UDP) String() string { return line("UDP", u.Src, u.SrcPort, u.To, u.DstPort, len(u.Payload)) }

// String prints the description as TCP SYN ? > 172.16.42.2.80 len 0.
func (t TCP) String() string {
	return line(strings.TrimSpace("TCP "+t.Flags.String()), t.Src, t.SrcPort, t.To, t.DstPort, len(t.Payload))
}

// String prints the description as echo request ? > 172.16.42.2 len 0.
func (e Echo) String() string { return line("echo request", e.Src, 0, e.To, 0, len(e.Payload)) }

// String prints the description as IP proto 132 ? > 172.16.42.2 len 0.
func (p IPPacket) String() string {
	return line(fmt.Sprintf("IP proto %d", p.Proto), p.Src, 0, p.To, 0, len(p.Payload))
}

// String prints the description as ARP on eth0: who has 172.16.42.2, tell ?.
func (a ARP) String() string {
	if a.Reply {
		mac := "?"
		if a.MAC != nil {
			mac = a.MAC.String()
		}
		return fmt.Sprintf("ARP on %s: %s is at %s", a.Device, hostPort(a.Src, 0), mac)
	}
	return fmt.Sprintf("ARP on %s: who has %s, tell %s", a.Device, hostPort(a.To, 0), hostPort(a.Src, 0))
}

// String prints the description as frame on eth0 to router: IPv4 ? > 172.16.43.2, UDP 4000 > 53, 7 bytes.
func (f Frame) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "frame on %s", f.Device)
	if f.To != nil {
		fmt.Fprintf(&b, " to %v", f.To)
	}
	var parts []string
	for _, layer := range f.Layers {
		parts = append(parts, layerText(layer))
	}
	if len(f.Layers) == 0 {
		parts = frameText(f.Data)
	}
	if f.Spoil != nil {
		parts = append(parts, "spoilt")
	}
	return b.String() + ": " + strings.Join(parts, ", ")
}

// line is a description with both ends.
func line(name string, src Host, srcPort uint16, dst Host, dstPort uint16, payload int) string {
	return fmt.Sprintf("%s %s > %s len %d", name, hostPort(src, srcPort), hostPort(dst, dstPort), payload)
}

// hostPort prints address and port with a dot between them, as tcpdump does.
func hostPort(host Host, port uint16) string {
	if host != nil && host.Addr().IsValid() {
		return endpoint(netip.AddrPortFrom(host.Addr().Unmap(), port))
	}
	if port != 0 {
		return fmt.Sprintf("?.%d", port)
	}
	return "?"
}

// frameText is a frame's layers, as far as they can be read.
func frameText(data []byte) []string {
	var parts []string
	for _, layer := range gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true}).Layers() {
		parts = append(parts, layerText(layer))
	}
	return parts
}

// layerText is a layer in a few words.
func layerText(layer interface{ LayerType() gopacket.LayerType }) string {
	switch l := layer.(type) {
	case *layers.Ethernet:
		return fmt.Sprintf("%s > %s type 0x%04x", l.SrcMAC, l.DstMAC, uint16(l.EthernetType))
	case *layers.Dot1Q:
		return fmt.Sprintf("VLAN %d", l.VLANIdentifier)
	case *layers.MPLS:
		return fmt.Sprintf("MPLS %d", l.Label)
	case *layers.IPv4:
		return fmt.Sprintf("IPv4 %s > %s", ipText(l.SrcIP), ipText(l.DstIP))
	case *layers.IPv6:
		return fmt.Sprintf("IPv6 %s > %s", ipText(l.SrcIP), ipText(l.DstIP))
	case *layers.UDP:
		return fmt.Sprintf("UDP %d > %d", l.SrcPort, l.DstPort)
	case *layers.TCP:
		return fmt.Sprintf("TCP %d > %d", l.SrcPort, l.DstPort)
	case *layers.SCTP:
		return fmt.Sprintf("SCTP %d > %d", l.SrcPort, l.DstPort)
	case *layers.ICMPv4:
		return "ICMP " + l.TypeCode.String()
	case *layers.ICMPv6:
		return "ICMPv6 " + l.TypeCode.String()
	case *layers.VXLAN:
		return fmt.Sprintf("VXLAN %d", l.VNI)
	case gopacket.Payload:
		return fmt.Sprintf("%d bytes", len(l))
	case *gopacket.Payload:
		return fmt.Sprintf("%d bytes", len(*l))
	case *gopacket.DecodeFailure:
		return "what cannot be read"
	}
	return layer.LayerType().String()
}

func ipText(ip net.IP) string {
	if ip == nil {
		return "?"
	}
	return ip.String()
}
