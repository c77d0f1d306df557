package filter

// Types of Ethernet frames (include/uapi/linux/if_ether.h), as far as a filter names them.
const (
	typeIP        = 0x0800
	typeARP       = 0x0806
	typeMOPDL     = 0x6001
	typeMOPRC     = 0x6002
	typeDECnet    = 0x6003
	typeLAT       = 0x6004
	typeSCA       = 0x6007
	typeBridged   = 0x6558 // an Ethernet frame within Geneve
	typeRARP      = 0x8035
	typeAppleTalk = 0x809b
	typeAARP      = 0x80f3
	typeVLAN      = 0x8100
	typeIPX       = 0x8137
	typeIPv6      = 0x86dd
	typeMPLS      = 0x8847
	typePPPoED    = 0x8863
	typePPPoES    = 0x8864
	typeVLANOuter = 0x88a8 // 802.1ad
	typeLoopback  = 0x9000
	typeQinQ      = 0x9100
)

// longest8023 is the greatest length of a frame. What stands in the place of the type is a length up to that, and the frame
// then has a header of 802.2, whose service access points take the place of types.
const longest8023 = 1500

// Service access points of 802.2.
const (
	sapIP      = 0x06
	sapSTP     = 0x42
	sapSNAP    = 0xaa
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapOSI     = 0xfe
)

// Protocols above IP (include/uapi/linux/in.h).
const (
	ipTCP      = 6
	ipUDP      = 17
	ipFragment = 44
	ipICMPv6   = 58
	ipSCTP     = 132
)

// Protocols of OSI, by the first byte of their packets.
const (
	osiCLNP = 0x81
	osiESIS = 0x82
	osiISIS = 0x83
)

// level is where a protocol has its header, and so, what an offset into it counts from.
type level uint8

const (
	noLevel level = iota // offsets into it have no meaning
	linkLevel
	networkLevel
	transportLevel // behind IPv4
	icmp6Level     // behind IPv6
)

// protocol is one that the language has a word for. What finds it is one of: the type of the frame, the number in the header of
// IP, the first byte of OSI, the type of IS-IS.
type protocol struct {
	level
	typ    uint32   // of the frame; up to 1500, the access point
	number uint32   // in the header of IP
	over   versions // of IP that it is looked for in
	osi    uint32
	pdus   []uint32
}

type versions uint8

const (
	over4 versions = 1 << iota
	over6
	over46 = over4 | over6
)

// isLink tells whether the word means the link layer itself.
func (p protocol) isLink() bool { return p.level == linkLevel }

var protocols = map[string]protocol{
	"ether": {level: linkLevel}, "link": {level: linkLevel},
	"fddi": {level: linkLevel}, "tr": {level: linkLevel}, "wlan": {level: linkLevel},
	"ppp": {level: linkLevel}, "slip": {level: linkLevel},

	"ip": {level: networkLevel, typ: typeIP}, "ip6": {level: networkLevel, typ: typeIPv6},
	"arp": {level: networkLevel, typ: typeARP}, "rarp": {level: networkLevel, typ: typeRARP},
	"atalk": {level: networkLevel, typ: typeAppleTalk}, "decnet": {level: networkLevel, typ: typeDECnet},
	"lat": {level: networkLevel, typ: typeLAT}, "sca": {level: networkLevel, typ: typeSCA},
	"moprc": {level: networkLevel, typ: typeMOPRC}, "mopdl": {level: networkLevel, typ: typeMOPDL},
	"aarp": {typ: typeAARP},

	"tcp": {level: transportLevel, number: ipTCP, over: over46}, "udp": {level: transportLevel, number: ipUDP, over: over46},
	"sctp": {level: transportLevel, number: ipSCTP, over: over46}, "pim": {level: transportLevel, number: 103, over: over46},
	"icmp": {level: transportLevel, number: 1, over: over4}, "igmp": {level: transportLevel, number: 2, over: over4},
	"igrp": {level: transportLevel, number: 9, over: over4}, "vrrp": {level: transportLevel, number: 112, over: over4},
	"carp": {level: transportLevel, number: 112, over: over4},
	"ah":   {number: 51, over: over46}, "esp": {number: 50, over: over46},
	"icmp6": {level: icmp6Level, number: ipICMPv6, over: over6},

	"iso": {typ: sapOSI}, "stp": {typ: sapSTP}, "ipx": {typ: sapIPX}, "netbeui": {typ: sapNetBEUI},
	"clnp": {osi: osiCLNP}, "esis": {osi: osiESIS}, "es-is": {osi: osiESIS}, "isis": {osi: osiISIS}, "is-is": {osi: osiISIS},
	"l1": {pdus: []uint32{15, 17, 18, 24, 26}}, "l2": {pdus: []uint32{16, 17, 20, 25, 27}}, "iih": {pdus: []uint32{15, 16, 17}},
	"lsp": {pdus: []uint32{18, 20}}, "snp": {pdus: []uint32{24, 25, 26, 27}},
	"csnp": {pdus: []uint32{24, 25}}, "psnp": {pdus: []uint32{26, 27}},
}

// typeNames are those of "ether proto".
var typeNames = map[string]uint32{
	"aarp": typeAARP, "arp": typeARP, "atalk": typeAppleTalk, "decnet": typeDECnet, "ip": typeIP, "ip6": typeIPv6,
	"lat": typeLAT, "loopback": typeLoopback, "mopdl": typeMOPDL, "moprc": typeMOPRC, "rarp": typeRARP, "sca": typeSCA,
	"iso": sapOSI, "stp": sapSTP, "ipx": sapIPX, "netbeui": sapNetBEUI,
}

var osiNames = map[string]uint32{"clnp": osiCLNP, "esis": osiESIS, "isis": osiISIS}

// elsewhere are words for what other links have, and for what a packet does not tell.
var elsewhere = map[string]string{
	"ra": wireless, "ta": wireless, "addr1": wireless, "addr2": wireless, "addr3": wireless, "addr4": wireless,
	"address1": wireless, "address2": wireless, "address3": wireless, "address4": wireless,
	"type": wireless, "subtype": wireless, "dir": wireless, "direction": wireless, "radio": wireless,

	"lane": atm, "metac": atm, "bcc": atm, "oam": atm, "oamf4": atm, "oamf4ec": atm, "oamf4sc": atm, "sc": atm, "ilmic": atm,
	"vpi": atm, "vci": atm, "connectmsg": atm, "metaconnect": atm,

	"fisu": ss7, "lssu": ss7, "lsu": ss7, "msu": ss7, "hfisu": ss7, "hlssu": ss7, "hmsu": ss7, "sio": ss7, "opc": ss7,
	"dpc": ss7, "sls": ss7, "hsio": ss7, "hopc": ss7, "hdpc": ss7, "hsls": ss7,

	"on": pf, "ifname": pf, "rset": pf, "ruleset": pf, "rnr": pf, "rulenum": pf, "srnr": pf, "subrulenum": pf, "reason": pf,
	"action": pf,
}

const (
	wireless = "802.11"
	atm      = "ATM"
	ss7      = "SS7"
	pf       = "the log of BSD's pf"
)
