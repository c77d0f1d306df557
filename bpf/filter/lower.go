package filter

import "encoding/binary"

// Where fields are in the headers of the network layer.
const (
	ip4Fragment    = 6
	ip4Protocol    = 9
	ip4Source      = 12
	ip4Destination = 16

	arpSource      = 14
	arpDestination = 24

	ip6Next        = 6
	ip6Source      = 8
	ip6Destination = 24
	ip6Header      = 40 // bytes
)

func (n andNode) lower(l *layout) (cond, error) {
	left, right, err := lowerBoth(l, n.left, n.right)
	return allOf{left, right}, err
}

func (n orNode) lower(l *layout) (cond, error) {
	left, right, err := lowerBoth(l, n.left, n.right)
	return anyOf{left, right}, err
}

// lowerBoth keeps the order: what the left one moves, the right one finds there.
func lowerBoth(l *layout, left, right node) (first, second cond, err error) {
	if first, err = left.lower(l); err != nil {
		return nil, nil, err
	}
	second, err = right.lower(l)
	return first, second, err
}

func (n notNode) lower(l *layout) (cond, error) {
	c, err := n.operand.lower(l)
	return inverse{c}, err
}

func (n protocolNode) lower(l *layout) (cond, error) { return l.isProtocol(n.span, n.protocol) }

// isProtocol is the condition of a protocol's word alone.
func (l *layout) isProtocol(where span, p protocol) (cond, error) {
	switch {
	case p.pdus != nil:
		return l.isISIS(where, p.pdus...)
	case p.osi != 0:
		return l.isOSI(where, p.osi)
	case p.over != 0:
		return l.isOverIP(where, p.over, p.number)
	}
	return l.isType(where, p.typ)
}

// isOverIP looks no further than the first header, or, in IPv6, the one behind the header of a fragment.
func (l *layout) isOverIP(where span, over versions, number uint32) (cond, error) {
	var found anyOf
	if over&over4 != 0 {
		is4, err := l.isType(where, typeIP)
		if err != nil {
			return nil, err
		}
		found = append(found, allOf{is4, compare(l.ip().plus(ip4Protocol), 1, equal, number)})
	}
	if over&over6 != 0 {
		is6, err := l.isType(where, typeIPv6)
		if err != nil {
			return nil, err
		}
		next := l.ip().plus(ip6Next)
		found = append(found, allOf{is6, anyOf{
			compare(next, 1, equal, number),
			allOf{compare(next, 1, equal, ipFragment), compare(l.ip().plus(ip6Header), 1, equal, number)},
		}})
	}
	return found, nil
}

func (l *layout) isOSI(where span, first uint32) (cond, error) {
	is, err := l.isType(where, sapOSI)
	return allOf{is, compare(l.payload.plus(l.osi), 1, equal, first)}, err
}

func (l *layout) isISIS(where span, pdus ...uint32) (cond, error) {
	is, err := l.isOSI(where, osiISIS)
	var types anyOf
	for _, pdu := range pdus {
		types = append(types, compare(l.payload.plus(l.osi+4), 1, equal, pdu))
	}
	return allOf{is, types}, err
}

func (n numberNode) lower(l *layout) (cond, error) {
	switch n.within {
	case "ether":
		return l.isType(n.span, n.value)
	case "ip":
		return l.isOverIP(n.span, over4, n.value)
	case "ip6":
		return l.isOverIP(n.span, over6, n.value)
	case "iso":
		return l.isOSI(n.span, n.value)
	case "isis":
		return l.isISIS(n.span, n.value)
	}
	return l.isOverIP(n.span, over46, n.value)
}

// ends combines conditions about what is at a source and at a destination.
func (d direction) ends(at func(source bool) cond) cond {
	switch d {
	case source:
		return at(true)
	case destination:
		return at(false)
	case both:
		return allOf{at(true), at(false)}
	}
	return anyOf{at(true), at(false)}
}

func (n address4Node) lower(l *layout) (cond, error) {
	within := []string{n.within}
	switch {
	case n.within == "" && l.labels > 0:
		within = []string{"ip"}
	case n.within == "":
		within = []string{"ip", "arp", "rarp"}
	}
	var found anyOf
	for _, proto := range within {
		is, err := l.isType(n.span, protocols[proto].typ)
		if err != nil {
			return nil, err
		}
		from, to := uint32(ip4Source), uint32(ip4Destination)
		if proto != "ip" {
			from, to = arpSource, arpDestination
		}
		found = append(found, n.dir.ends(func(source bool) cond {
			offset := to
			if source {
				offset = from
			}
			return allOf{is, masked(l.ip().plus(offset), 4, n.mask, n.address)}
		}))
	}
	return found, nil
}

func (n address6Node) lower(l *layout) (cond, error) {
	is, err := l.isType(span{}, typeIPv6)
	if err != nil {
		return nil, err
	}
	return n.dir.ends(func(source bool) cond {
		p := l.ip().plus(ip6Destination)
		if source {
			p = l.ip().plus(ip6Source)
		}
		all := allOf{is}
		for i := range n.address {
			all = append(all, masked(p.plus(uint32(4*i)), 4, n.mask[i], n.address[i]))
		}
		return all
	}), nil
}

func (n hardwareNode) lower(l *layout) (cond, error) {
	return l.onEthernet(n.span, n.dir.ends(func(source bool) cond {
		p := l.header
		if source {
			p = p.plus(6)
		}
		return allOf{
			compare(p.plus(2), 4, equal, binary.BigEndian.Uint32(n.address[2:])),
			compare(p, 2, equal, uint32(binary.BigEndian.Uint16(n.address[:]))),
		}
	}))
}

// onEthernet is a condition about the header of Ethernet, which does not hold where there is none.
func (l *layout) onEthernet(where span, c cond) (cond, error) {
	switch l.link {
	case bareIP:
		return known(false), nil
	case pointToPoint:
		return nil, refuse(where, "behind pppoes there is no header of Ethernet any more: look for it before")
	}
	if has := l.hasEthernet(); has != nil {
		return allOf{has, c}, nil
	}
	return c, nil
}

func (n portNode) lower(l *layout) (cond, error) {
	is6, err := l.isType(span{}, typeIPv6)
	if err != nil {
		return nil, err
	}
	is4, err := l.isType(span{}, typeIP)
	if err != nil {
		return nil, err
	}
	var in6, in4 anyOf
	for _, proto := range n.protocols {
		in6 = append(in6, allOf{
			compare(l.ip().plus(ip6Next), 1, equal, proto),
			n.dir.ends(func(source bool) cond { return n.inRange(at(l.ip().plus(ip6Header+portOffset(source)), 2)) }),
		})
		in4 = append(in4, allOf{
			compare(l.ip().plus(ip4Protocol), 1, equal, proto),
			l.isFirstFragment(),
			n.dir.ends(func(source bool) cond {
				code, rest := l.behindIPv4()
				return n.inRange(append(code, instruction{opcode: loadIndexed, size: 2, value: rest + portOffset(source)}))
			}),
		})
	}
	return anyOf{allOf{is6, in6}, allOf{is4, in4}}, nil
}

func portOffset(source bool) uint32 {
	if source {
		return 0
	}
	return 2
}

func (n portNode) inRange(code []instruction) cond {
	if !n.ranged {
		return leaf{code, test{comparison: equal, value: n.low}}
	}
	return allOf{
		leaf{code, test{comparison: greaterEqual, value: n.low}},
		inverse{leaf{code, test{comparison: greater, value: n.high}}},
	}
}

// isFirstFragment holds for whole packets of IPv4 too.
func (l *layout) isFirstFragment() cond {
	return inverse{compare(l.ip().plus(ip4Fragment), 2, anyBit, 0x1fff)}
}

func (n broadcastNode) lower(l *layout) (cond, error) {
	if n.of == "ether" {
		return l.onEthernet(n.span, allOf{
			compare(l.header.plus(2), 4, equal, ^uint32(0)), compare(l.header, 2, equal, 0xffff),
		})
	}
	is, err := l.isType(n.span, typeIP)
	to := l.ip().plus(ip4Destination)
	return allOf{is, anyOf{compare(to, 4, equal, 0), compare(to, 4, equal, ^uint32(0))}}, err
}

func (n multicastNode) lower(l *layout) (cond, error) {
	switch n.of {
	case "ether":
		return l.onEthernet(n.span, compare(l.header, 1, anyBit, 1))
	case "ip":
		is, err := l.isType(n.span, typeIP)
		return allOf{is, compare(l.ip().plus(ip4Destination), 1, greaterEqual, 224)}, err
	}
	is, err := l.isType(n.span, typeIPv6)
	return allOf{is, compare(l.ip().plus(ip6Destination), 1, equal, 0xff)}, err
}

func (n lengthNode) lower(*layout) (cond, error) {
	code := []instruction{{opcode: lengthA}}
	if n.least {
		return leaf{code, test{comparison: greaterEqual, value: n.value}}, nil
	}
	return inverse{leaf{code, test{comparison: greater, value: n.value}}}, nil
}

func (n llcNode) lower(l *layout) (cond, error) {
	switch l.link {
	case bareIP:
		return known(false), nil
	case pointToPoint:
		return nil, refuse(n.span, "behind pppoes there is no header of 802.2")
	}
	is := allOf{inverse{compare(l.typ, 2, greater, longest8023)}, inverse{compare(l.payload, 2, equal, 0xffff)}}
	switch control := l.payload.plus(2); {
	case n.mask == 0:
		return is, nil
	case n.value == 0:
		return append(is, inverse{compare(control, 1, anyBit, n.mask)}), nil
	default:
		return append(is, masked(control, 1, n.mask, n.value)), nil
	}
}
