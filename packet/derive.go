package packet

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// etherTypes are those of what can follow an Ethernet header.
var etherTypes = map[gopacket.LayerType]layers.EthernetType{
	layers.LayerTypeIPv4: layers.EthernetTypeIPv4, layers.LayerTypeIPv6: layers.EthernetTypeIPv6,
	layers.LayerTypeARP: layers.EthernetTypeARP, layers.LayerTypeDot1Q: layers.EthernetTypeDot1Q,
	layers.LayerTypeMPLS: layers.EthernetTypeMPLSUnicast,
}

// protocols are those of what can follow an IP header.
var protocols = map[gopacket.LayerType]layers.IPProtocol{
	layers.LayerTypeTCP: layers.IPProtocolTCP, layers.LayerTypeUDP: layers.IPProtocolUDP, layers.LayerTypeSCTP: layers.IPProtocolSCTP,
	layers.LayerTypeICMPv4: layers.IPProtocolICMPv4, layers.LayerTypeICMPv6: layers.IPProtocolICMPv6,
	layers.LayerTypeGRE: layers.IPProtocolGRE, layers.LayerTypeIPv4: layers.IPProtocolIPv4, layers.LayerTypeIPv6: layers.IPProtocolIPv6,
	layers.LayerTypeIPv6HopByHop: layers.IPProtocolIPv6HopByHop, layers.LayerTypeIPv6Destination: layers.IPProtocolIPv6Destination,
	layers.LayerTypeIPv6Routing: layers.IPProtocolIPv6Routing, layers.LayerTypeIPv6Fragment: layers.IPProtocolIPv6Fragment,
	layers.LayerTypeIPSecESP: layers.IPProtocolESP, layers.LayerTypeIPSecAH: layers.IPProtocolAH,
}

// following is the protocol of the layer behind one; 0 if there is none, or it has no number.
func following(all []gopacket.SerializableLayer, i int) layers.IPProtocol {
	if i+1 == len(all) {
		return 0
	}
	return protocols[all[i+1].LayerType()]
}

// defaultTTL is the kernel's (IPDEFTTL, include/uapi/linux/ip.h).
const defaultTTL = 64

func completeIPv4(header layers.IPv4, subnets []netip.Prefix, to Host, next layers.IPProtocol) *layers.IPv4 {
	header.Version, header.TTL = cmp.Or(header.Version, 4), cmp.Or(header.TTL, defaultTTL)
	header.Protocol = cmp.Or(header.Protocol, next)
	if header.SrcIP == nil {
		header.SrcIP = firstOf(subnets, netip.Addr.Is4)
	}
	if addr := to.Addr().Unmap(); header.DstIP == nil && addr.Is4() {
		header.DstIP = addr.AsSlice()
	}
	return &header
}

func completeIPv6(header layers.IPv6, subnets []netip.Prefix, to Host, next layers.IPProtocol) *layers.IPv6 {
	header.Version, header.HopLimit = cmp.Or(header.Version, 6), cmp.Or(header.HopLimit, defaultTTL)
	header.NextHeader = cmp.Or(header.NextHeader, next)
	if header.SrcIP == nil {
		header.SrcIP = firstOf(subnets, netip.Addr.Is6)
	}
	if host, ok := to.(interface{ Addr6() netip.Addr }); ok && header.DstIP == nil && host.Addr6().IsValid() {
		header.DstIP = host.Addr6().AsSlice()
	}
	return &header
}

// completed returns the layer with what follows from others put where it has nothing: a copy of it, if there is such.
func (f Frame) completed(i int, subnets []netip.Prefix) gopacket.SerializableLayer {
	next := following(f.Layers, i)
	switch layer := f.Layers[i].(type) {
	case *layers.IPv4:
		return completeIPv4(*layer, subnets, f.To, next)
	case *layers.IPv6:
		return completeIPv6(*layer, subnets, f.To, next)
	case *layers.IPv6HopByHop:
		header := *layer
		header.NextHeader = cmp.Or(header.NextHeader, next)
		return &header
	case *layers.IPv6Destination:
		header := *layer
		header.NextHeader = cmp.Or(header.NextHeader, next)
		return &header
	case *layers.IPv6Fragment:
		header := *layer
		header.NextHeader = cmp.Or(header.NextHeader, next)
		return &header
	case *layers.Dot1Q:
		tag := *layer
		if i+1 < len(f.Layers) {
			tag.Type = cmp.Or(tag.Type, etherTypes[f.Layers[i+1].LayerType()])
		}
		return &tag
	}
	return f.Layers[i]
}

func firstOf(subnets []netip.Prefix, family func(netip.Addr) bool) net.IP {
	for _, subnet := range subnets {
		if family(subnet.Addr()) && !subnet.Addr().IsLinkLocalUnicast() {
			return subnet.Addr().AsSlice()
		}
	}
	return nil
}

// subnetsOf are the addresses of a device, with the lengths of their prefixes.
func subnetsOf(device *net.Interface) ([]netip.Prefix, error) {
	addrs, err := device.Addrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of %s: %w", device.Name, err)
	}
	var subnets []netip.Prefix
	for _, addr := range addrs {
		if subnet, err := netip.ParsePrefix(addr.String()); err == nil {
			subnets = append(subnets, subnet)
		}
	}
	return subnets, nil
}
