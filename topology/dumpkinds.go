package topology

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// option is one option of a kind of device: the attribute, and how ip takes it.
type option struct {
	attribute uint16
	words     func(value []byte) ([]string, error)
}

var errSize = errors.New("the kernel's answer has another size than was expected")

// number is an option with a number of 1, 2 or 4 bytes.
func number(attribute uint16, keyword string) option {
	return numberAs(attribute, func(n uint32) []string { return []string{keyword, strconv.FormatUint(uint64(n), 10)} })
}

// numberAs is an option with a number, and words for it.
func numberAs(attribute uint16, words func(n uint32) []string) option {
	return option{attribute, func(value []byte) ([]string, error) {
		switch len(value) {
		case 1:
			return words(uint32(value[0])), nil
		case 2:
			return words(uint32(binary.NativeEndian.Uint16(value))), nil
		case 4:
			return words(binary.NativeEndian.Uint32(value)), nil
		}
		return nil, errSize
	}}
}

// swapped is a number in network byte order; 0 is left out.
func swapped(attribute uint16, keyword string) option {
	return option{attribute, func(value []byte) ([]string, error) {
		n := uint64(0)
		for _, b := range value {
			n = n<<8 | uint64(b)
		}
		if n == 0 {
			return nil, nil
		}
		return []string{keyword, strconv.FormatUint(n, 10)}, nil
	}}
}

// address is an option with an IP address; an unspecified one is left out.
func address(attribute uint16, keyword string) option {
	return option{attribute, func(value []byte) ([]string, error) {
		addr, ok := netip.AddrFromSlice(value)
		if !ok {
			return nil, errSize
		}
		if addr.IsUnspecified() {
			return nil, nil
		}
		return []string{keyword, addr.String()}, nil
	}}
}

// unless is an option with a number that is left out if it is the one that ip takes by itself.
func unless(attribute uint16, usual uint32, keyword string) option {
	return numberAs(attribute, func(n uint32) []string {
		if n == usual {
			return nil
		}
		return []string{keyword, strconv.FormatUint(uint64(n), 10)}
	})
}

// flag is an option that is on or off.
func flag(attribute uint16, on, off string) option {
	return numberAs(attribute, func(n uint32) []string {
		if n != 0 && on != "" {
			return []string{on}
		}
		if n == 0 && off != "" {
			return []string{off}
		}
		return nil
	})
}

// named is an option whose number has a name.
func named[N ~uint8 | ~uint16 | ~uint32 | ~int](attribute uint16, keyword string, names map[string]N) option {
	return numberAs(attribute, func(n uint32) []string {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if name != "" && uint32(names[name]) == n {
				return []string{keyword, name}
			}
		}
		return []string{keyword, strconv.FormatUint(uint64(n), 10)}
	})
}

// present is an option that is just there or not.
func present(attribute uint16, words ...string) option {
	return option{attribute, func([]byte) ([]string, error) { return words, nil }}
}

// kindOptions are the options of each kind that differ from what ip takes by itself, or may (include/uapi/linux/if_link.h and
// if_tunnel.h).
var kindOptions = map[string][]option{
	"dummy": {}, "wireguard": {},
	"bridge": {
		unless(iflaBRSTPState, 0, "stp_state"), unless(7, 0, "vlan_filtering"), unless(iflaBRDefaultPVID, 1, "vlan_default_pvid"),
		unless(23, 1, "mcast_snooping"), unless(1, 1500, "forward_delay"), unless(2, 200, "hello_time"),
		unless(3, 2000, "max_age"), unless(4, 30000, "ageing_time"), unless(6, 32768, "priority"), unless(9, 0, "group_fwd_mask"),
	},
	"vlan": {
		option{5, func(value []byte) ([]string, error) {
			if bytes.Equal(value, []byte{0x88, 0xa8}) {
				return []string{"protocol", "802.1ad"}, nil
			}
			return nil, nil
		}},
		number(1, "id"),
	},
	"macvlan": {named(1, "mode", macvlanBits)},
	"ipvlan":  {named(1, "mode", ipvlanModes)},
	"vrf":     {number(1, "table")},
	"bond":    {named(1, "mode", bondModes), number(3, "miimon")},
	"vxlan": {
		flag(25, "external", ""), number(1, "id"), address(2, "remote"), address(16, "remote"), address(4, "local"),
		address(17, "local"), swapped(15, "dstport"), flag(7, "learning", "nolearning"), flag(18, "udpcsum", "noudpcsum"),
		flag(19, "udp6zerocsumtx", "noudp6zerocsumtx"), flag(20, "udp6zerocsumrx", "noudp6zerocsumrx"),
	},
	"geneve": {
		present(6, "external"), number(1, "id"), address(2, "remote"), address(7, "remote"), swapped(5, "dstport"),
		flag(8, "udpcsum", "noudpcsum"), flag(9, "udp6zerocsumtx", "noudp6zerocsumtx"),
		flag(10, "udp6zerocsumrx", "noudp6zerocsumrx"),
	},
	"gre": greOptions, "gretap": greOptions, "ip6gre": gre6Options, "ip6gretap": gre6Options,
	"ipip": {address(3, "remote"), address(2, "local"), named(9, "mode", map[string]uint8{"ipip": unix.IPPROTO_IPIP, "any": 0}),
		unless(4, 0, "ttl"), flag(10, "", "nopmtudisc")},
	"sit": {address(3, "remote"), address(2, "local"), named(9, "mode", map[string]uint8{"ip6ip": unix.IPPROTO_IPV6, "any": 0}),
		unless(4, 0, "ttl"), flag(10, "", "nopmtudisc")},
	"ip6tnl": {
		named(9, "mode", map[string]uint8{"any": 0, "ip6ip6": unix.IPPROTO_IPV6, "ipip6": unix.IPPROTO_IPIP}),
		address(3, "remote"), address(2, "local"), unless(4, 64, "hoplimit"), unless(6, 4, "encaplimit"), numberAs(8, encapLimit),
	},
	"xfrm": {number(2, "if_id")},
}

var (
	greOptions = []option{address(7, "remote"), address(6, "local"), swapped(4, "ikey"), swapped(5, "okey"),
		unless(8, 0, "ttl"), flag(10, "", "nopmtudisc")}
	gre6Options = []option{address(7, "remote"), address(6, "local"), swapped(4, "ikey"), swapped(5, "okey"),
		unless(8, 64, "hoplimit"), unless(11, 4, "encaplimit"), numberAs(13, encapLimit)}
	// macvlanBits are the modes as the kernel has them.
	macvlanBits = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
)

// encapLimit says whether a tunnel over IPv6 ignores its limit (IP6_TNL_F_IGN_ENCAP_LIMIT).
func encapLimit(flags uint32) []string {
	if flags&1 != 0 {
		return []string{"encaplimit", "none"}
	}
	return nil
}
