package filter

// layout is where the headers of a packet begin. Words like vlan move them, for all that stands to the right.
type layout struct {
	link     linkType
	tagged   bool // a VLAN tag is beside the data, and not in it
	header   place
	typ      place  // of the frame's type
	payload  place  // behind the link's header
	network  uint32 // behind payload, where the network layer begins
	osi      uint32 // behind payload, where OSI begins
	labels   int    // of MPLS, that have been passed
	tags     int    // of VLANs
	inGeneve bool
	kept     int // words of memory in use for places
}

// place is a position in the packet: a constant, plus a word of memory if there is one.
type place struct {
	memory int // -1: none
	offset uint32
}

func fixed(offset uint32) place { return place{-1, offset} }

func (p place) plus(n uint32) place { return place{p.memory, p.offset + n} }

type linkType uint8

const (
	ethernet linkType = iota
	bareIP            // the packet begins with the header of IP
	pointToPoint
)

// layoutOf is how a packet begins.
func layoutOf(link linkType, tagged bool) *layout {
	l := &layout{link: link, tagged: tagged, header: fixed(0), typ: fixed(12), payload: fixed(14), osi: 3}
	if link == bareIP {
		l.payload, l.osi = fixed(0), 0
	}
	return l
}

// ip is where the header of the network layer is.
func (l *layout) ip() place { return l.payload.plus(l.network) }

// at loads bytes at a place into A.
func at(p place, size uint8) []instruction {
	if p.memory < 0 {
		return []instruction{{opcode: load, size: size, value: p.offset}}
	}
	return []instruction{{opcode: recallX, value: uint32(p.memory)}, {opcode: loadIndexed, size: size, value: p.offset}}
}

// behindIPv4 loads the offset behind the header of IPv4 into X, as far as it is not constant; rest is the constant part.
func (l *layout) behindIPv4() (code []instruction, rest uint32) {
	ip := l.ip()
	if ip.memory < 0 {
		return []instruction{{opcode: loadNibbleX, value: ip.offset}}, ip.offset
	}
	return append(at(ip, 1),
		instruction{opcode: calculate, operation: bitAnd, value: 0x0f},
		instruction{opcode: calculate, operation: shiftLeft, value: 2},
		instruction{opcode: calculate, operation: add, withX: true},
		instruction{opcode: copyToX},
	), ip.offset
}

// compare is a condition about bytes at a place.
func compare(p place, size uint8, c comparison, value uint32) cond {
	return leaf{at(p, size), test{comparison: c, value: value}}
}

// masked compares some bits. Where there are none to compare it does not look, as what tcpdump compiles.
func masked(p place, size uint8, mask, value uint32) cond {
	switch mask {
	case 0:
		return known(true)
	case ^uint32(0):
		return compare(p, size, equal, value)
	}
	return leaf{append(at(p, size), instruction{opcode: calculate, operation: bitAnd, value: mask}),
		test{comparison: equal, value: value}}
}

// isType tells whether the payload is of a type, which is one of Ethernet's or, up to 1500, an access point of 802.2.
func (l *layout) isType(where span, typ uint32) (cond, error) {
	version := func(v uint32) cond { return masked(l.ip(), 1, 0xf0, v<<4) }
	switch {
	case l.labels > 0:
		bottom := masked(l.ip().plus(^uint32(1)), 1, 1, 1) // the byte two before
		switch typ {
		case typeIP:
			return allOf{bottom, version(4)}, nil
		case typeIPv6:
			return allOf{bottom, version(6)}, nil
		}
		return nil, refuse(where, "behind a label of MPLS only ip and ip6 can be told")
	case l.link == pointToPoint:
		return compare(l.typ, 2, equal, pppType(typ)), nil
	case l.link == bareIP:
		switch typ {
		case typeIP:
			return version(4), nil
		case typeIPv6:
			return version(6), nil
		}
		return known(false), nil
	}
	return l.isEthernetType(typ), nil
}

func (l *layout) isEthernetType(typ uint32) cond {
	is8023 := inverse{compare(l.typ, 2, greater, longest8023)}
	isTyped := compare(l.typ, 2, equal, typ)
	switch typ {
	case sapOSI, sapIP, sapNetBEUI:
		return allOf{is8023, compare(l.payload, 2, equal, typ<<8|typ)}
	case sapIPX: // four kinds of frames may carry it
		return anyOf{compare(l.typ, 2, equal, typeIPX), allOf{is8023, anyOf{
			l.isSNAP(0, typeIPX), compare(l.payload, 1, equal, sapIPX), compare(l.payload, 2, equal, 0xffff),
		}}}
	case typeAppleTalk:
		return anyOf{isTyped, allOf{is8023, l.isSNAP(0x080007, typ)}}
	case typeAARP:
		return anyOf{isTyped, allOf{is8023, l.isSNAP(0, typ)}}
	}
	if typ <= longest8023 {
		return allOf{is8023, compare(l.typ.plus(2), 1, equal, typ)}
	}
	return isTyped
}

// isSNAP tells whether a header of 802.2 is followed by a type of that organization. The last bytes come first, as for libpcap.
func (l *layout) isSNAP(organization, typ uint32) cond {
	return allOf{
		compare(l.payload.plus(4), 4, equal, organization<<16|typ),
		compare(l.payload, 4, equal, sapSNAP<<24|sapSNAP<<16|0x03<<8|organization>>16),
	}
}

// pppType is PPP's number for what Ethernet has a type or an access point for (include/uapi/linux/ppp_defs.h).
func pppType(typ uint32) uint32 {
	switch typ {
	case typeIP:
		return 0x21
	case sapOSI:
		return 0x23
	case typeDECnet:
		return 0x27
	case typeAppleTalk:
		return 0x29
	case sapIPX:
		return 0x2b
	case sapSTP:
		return 0x31
	case typeIPv6:
		return 0x57
	case typeMPLS:
		return 0x281
	}
	return typ
}

// hasEthernet is the condition that there is a header of Ethernet at all, which within Geneve is not sure; nil if it is known.
func (l *layout) hasEthernet() cond {
	if !l.inGeneve {
		return nil
	}
	return inverse{leaf{
		[]instruction{{opcode: recallX, value: uint32(l.payload.memory)}, {opcode: recallA, value: uint32(l.header.memory)}},
		test{comparison: equal, withX: true},
	}}
}
