package journey

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket/layers"
)

// icmp4 describes an ICMP message of at least 4 bytes.
func (t *transport) icmp4(data []byte, depth int) {
	kind, code := data[0], data[1]
	t.text = icmpType(kind, code, layers.CreateICMPv4TypeCode(kind, code).String())
	if len(data) < 8 {
		return
	}
	first, second := binary.BigEndian.Uint16(data[4:]), binary.BigEndian.Uint16(data[6:])
	switch kind {
	case layers.ICMPv4TypeEchoRequest, layers.ICMPv4TypeEchoReply, layers.ICMPv4TypeTimestampRequest,
		layers.ICMPv4TypeTimestampReply:
		t.text += fmt.Sprintf(" id %d seq %d", first, second)
		return
	case layers.ICMPv4TypeRedirect:
		t.text += fmt.Sprintf(" gateway %s", netip.AddrFrom4([4]byte(data[4:8])))
	case layers.ICMPv4TypeParameterProblem:
		t.text += fmt.Sprintf(" pointer %d", data[4])
	case layers.ICMPv4TypeDestinationUnreachable:
		if code == layers.ICMPv4CodeFragmentationNeeded {
			t.text += fmt.Sprintf(" mtu %d", second)
		}
	case layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeSourceQuench:
	default:
		return
	}
	t.quote(uint16(layers.EthernetTypeIPv4), data[8:], depth)
}

// quote describes the packet that an error is about.
func (t *transport) quote(proto uint16, data []byte, depth int) {
	if len(data) == 0 {
		return
	}
	d := describeNetwork(proto, data, -1, depth+1)
	d.lines[0] = "about " + d.lines[0]
	t.carry(d, " about")
}

// icmpType is type and code, with gopacket's name for them if it has one.
func icmpType(kind, code uint8, name string) string {
	text := fmt.Sprintf(" type %d code %d", kind, code)
	if name[0] >= '0' && name[0] <= '9' {
		return text
	}
	name, _, _ = strings.Cut(name, "(Code: ") // the code has been said
	return text + " " + name
}

// icmp6 describes an ICMPv6 message of at least 4 bytes.
func (t *transport) icmp6(data []byte, depth int) {
	kind, code := data[0], data[1]
	name := listenerMessages[kind]
	if name == "" {
		name = layers.CreateICMPv6TypeCode(kind, code).String()
	}
	t.text = icmpType(kind, code, name)
	if len(data) < 8 {
		return
	}
	word := binary.BigEndian.Uint32(data[4:])
	switch kind {
	case layers.ICMPv6TypeEchoRequest, layers.ICMPv6TypeEchoReply:
		t.text += fmt.Sprintf(" id %d seq %d", word>>16, word&0xffff)
	case layers.ICMPv6TypePacketTooBig:
		t.text += fmt.Sprintf(" mtu %d", word)
	case layers.ICMPv6TypeParameterProblem:
		t.text += fmt.Sprintf(" pointer %d", word)
	default:
		t.discovery(kind, data)
	}
	if kind < 128 { // errors
		t.quote(uint16(layers.EthernetTypeIPv6), data[8:], depth)
	}
}

// listenerMessages are those that gopacket has no names for.
var listenerMessages = map[uint8]string{
	layers.ICMPv6TypeMLDv1MulticastListenerQueryMessage:    "MulticastListenerQuery",
	layers.ICMPv6TypeMLDv1MulticastListenerReportMessage:   "MulticastListenerReport",
	layers.ICMPv6TypeMLDv1MulticastListenerDoneMessage:     "MulticastListenerDone",
	layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2: "MulticastListenerReportV2",
}

// discoverySizes are how long messages of neighbour discovery (RFC 4861) and multicast listeners (RFC 2710, RFC 3810) are
// before their options and records.
var discoverySizes = map[uint8]int{
	layers.ICMPv6TypeRouterSolicitation: 8, layers.ICMPv6TypeRouterAdvertisement: 16,
	layers.ICMPv6TypeNeighborSolicitation: 24, layers.ICMPv6TypeNeighborAdvertisement: 24, layers.ICMPv6TypeRedirect: 40,
	layers.ICMPv6TypeMLDv1MulticastListenerQueryMessage:    24,
	layers.ICMPv6TypeMLDv1MulticastListenerReportMessage:   24,
	layers.ICMPv6TypeMLDv1MulticastListenerDoneMessage:     24,
	layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2: 8,
}

func (t *transport) discovery(kind uint8, data []byte) {
	size, ok := discoverySizes[kind]
	if !ok {
		return
	}
	if len(data) < size {
		t.text += " (truncated)"
		return
	}
	target := netip.Addr{}
	if size >= 24 {
		target = netip.AddrFrom16([16]byte(data[8:24]))
	}
	detail := ""
	switch kind {
	case layers.ICMPv6TypeRouterAdvertisement:
		detail = fmt.Sprintf("hop limit %d%s lifetime %ds", data[4], flagNames(data[5]>>6, "other", "managed"),
			binary.BigEndian.Uint16(data[6:]))
	case layers.ICMPv6TypeNeighborSolicitation:
		detail = fmt.Sprintf("who-has %s", target)
	case layers.ICMPv6TypeNeighborAdvertisement:
		detail = fmt.Sprintf("target %s%s", target, flagNames(data[4]>>5, "override", "solicited", "router"))
	case layers.ICMPv6TypeRedirect:
		detail = fmt.Sprintf("gateway %s for %s", target, netip.AddrFrom16([16]byte(data[24:40])))
	case layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2:
		t.listenerReport(int(binary.BigEndian.Uint16(data[6:])), data[8:])
		return
	case layers.ICMPv6TypeMLDv1MulticastListenerQueryMessage, layers.ICMPv6TypeMLDv1MulticastListenerReportMessage,
		layers.ICMPv6TypeMLDv1MulticastListenerDoneMessage:
		t.below = append(t.below, fmt.Sprintf("group %s", target))
		return
	}
	if options := ndpOptions(data[size:]); detail == "" {
		detail = options
	} else if options != "" {
		detail += ", " + options
	}
	if detail != "" {
		t.below = append(t.below, detail)
	}
}

// flagNames names those that are set, the lowest first in names and last in the text.
func flagNames(set uint8, names ...string) string {
	text := ""
	for i := len(names) - 1; i >= 0; i-- {
		if set&(1<<i) != 0 {
			text += " " + names[i]
		}
	}
	return text
}

// ndpOptions describes the options of a neighbour discovery message.
func ndpOptions(data []byte) string {
	var found []string
	for len(data) > 0 {
		if len(data) < 2 || data[1] == 0 || int(data[1])*8 > len(data) {
			found = append(found, "…")
			break
		}
		option := data[:int(data[1])*8]
		data = data[len(option):]
		text := fmt.Sprintf("option %d", option[0])
		switch kind := layers.ICMPv6Opt(option[0]); {
		case kind == layers.ICMPv6OptSourceAddress:
			text = "source link-address " + net.HardwareAddr(option[2:8]).String()
		case kind == layers.ICMPv6OptTargetAddress:
			text = "target link-address " + net.HardwareAddr(option[2:8]).String()
		case kind == layers.ICMPv6OptMTU:
			text = fmt.Sprintf("mtu %d", binary.BigEndian.Uint32(option[4:]))
		case kind == layers.ICMPv6OptPrefixInfo && len(option) >= 32:
			text = fmt.Sprintf("prefix %s/%d%s valid %ds", netip.AddrFrom16([16]byte(option[16:32])), option[2],
				flagNames(option[3]>>6, "autonomous", "on-link"), binary.BigEndian.Uint32(option[4:]))
		}
		found = append(found, text)
	}
	return strings.Join(found, ", ")
}

// listenerReport describes the records of an MLDv2 report.
func (t *transport) listenerReport(count int, data []byte) {
	t.text += fmt.Sprintf(" records %d", count)
	for ; count > 0; count-- {
		if len(data) < 20 {
			t.below = append(t.below, "…")
			return
		}
		sources := int(binary.BigEndian.Uint16(data[2:]))
		change := "record " + fmt.Sprint(data[0])
		if kind := int(data[0]); kind >= 1 && kind <= 6 { // RFC 3810, 5.2.12
			change = []string{"include", "exclude", "to include", "to exclude", "allow", "block"}[kind-1]
		}
		t.below = append(t.below, fmt.Sprintf("%s %s sources %d", change, netip.AddrFrom16([16]byte(data[4:20])), sources))
		data = data[min(20+16*sources+4*int(data[1]), len(data)):]
	}
}
