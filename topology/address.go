package topology

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

const (
	// maxLinks keeps the third octet, which begins at firstOctet, well below 255.
	maxLinks   = 200
	firstOctet = 42
)

// MAC is an Ethernet address.
type MAC [6]byte

// String prints the address as 02:00:ac:10:2a:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// end derives everything about one end (0 or 1) of the link from the link's position. The package documentation states
// the rules. Positions that Validate refuses give addresses that mean nothing, but never a panic.
func (l *Link) end(end int) Interface {
	octet := firstOctet + l.index%maxLinks
	host := byte(end + 1)
	v4 := [4]byte{172, 16, byte(octet), host}

	// The decimal digits of the octet read as hexadecimal, so that both families show the same number.
	group, _ := strconv.ParseUint(strconv.Itoa(octet), 16, 16)
	v6 := [16]byte{0: 0xfd, 1: 0x42, 6: byte(group >> 8), 7: byte(group), 15: host}

	return Interface{
		Node: l.ends[end],
		Link: l,
		Name: fmt.Sprintf("eth%d", l.slots[end]),
		// 02 marks a locally administered unicast address.
		MAC:       MAC{0x02, 0x00, v4[0], v4[1], v4[2], v4[3]},
		Addr:      netip.PrefixFrom(netip.AddrFrom4(v4), 24),
		Addr6:     netip.PrefixFrom(netip.AddrFrom16(v6), 64),
		LinkLocal: netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: host}), 64),
	}
}

// subnets are the link's two prefixes.
func (l *Link) subnets() [2]netip.Prefix {
	end := l.end(0)
	return [2]netip.Prefix{end.Addr.Masked(), end.Addr6.Masked()}
}
