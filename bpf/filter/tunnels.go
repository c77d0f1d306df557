package filter

// vlan holds for a frame with a tag, which may be beside the data, where the kernel keeps the outermost one. A tag in the data
// moves what is behind it.
func (n vlanNode) lower(l *layout) (cond, error) {
	switch {
	case l.labels > 0:
		return nil, refuse(n.span, "behind a label of MPLS there is no tag: write vlan before mpls")
	case l.link == pointToPoint:
		return nil, refuse(n.span, "behind pppoes there is no tag: write vlan before pppoes")
	}
	l.tags++
	outermost := l.tags == 1 && l.header == fixed(0)
	if l.tagged && outermost {
		if n.id < 0 {
			return known(true), nil
		}
		return leaf{
			[]instruction{{opcode: tagA}, {opcode: calculate, operation: bitAnd, value: 0xfff}},
			test{comparison: equal, value: uint32(n.id)},
		}, nil
	}
	if l.link == bareIP {
		return known(false), nil
	}
	found := allOf{anyOf{
		compare(l.typ, 2, equal, typeVLAN), compare(l.typ, 2, equal, typeVLANOuter), compare(l.typ, 2, equal, typeQinQ),
	}}
	if n.id >= 0 {
		found = append(found, masked(l.ip(), 2, 0xfff, uint32(n.id)))
	}
	l.typ, l.payload = l.typ.plus(4), l.payload.plus(4)
	return found, nil
}

// mpls holds for a packet with one more label.
func (n mplsNode) lower(l *layout) (cond, error) {
	if l.link == bareIP && l.labels == 0 {
		return known(false), nil
	}
	var found allOf
	if l.labels > 0 { // the label before is not the last one
		found = append(found, masked(l.ip().plus(^uint32(1)), 1, 1, 0))
	} else {
		is, err := l.isType(n.span, typeMPLS)
		if err != nil {
			return nil, err
		}
		found = append(found, is)
	}
	if n.label >= 0 {
		found = append(found, masked(l.ip(), 4, 0xfffff000, uint32(n.label)<<12))
	}
	l.network, l.osi = l.network+4, l.osi+4
	l.labels++
	return found, nil
}

func (n pppoeDiscoveryNode) lower(l *layout) (cond, error) { return l.isType(n.span, typePPPoED) }

// pppoes holds for a packet of a session, behind whose header there is one of PPP.
func (n pppoeNode) lower(l *layout) (cond, error) {
	is, err := l.isType(n.span, typePPPoES)
	if err != nil || l.link == bareIP {
		return is, err
	}
	found := allOf{is}
	if n.session >= 0 {
		found = append(found, masked(l.ip(), 4, 0xffff, uint32(n.session)))
	}
	l.link, l.header, l.inGeneve = pointToPoint, l.ip().plus(6), false
	l.typ, l.payload = l.header, l.header.plus(2)
	l.network, l.osi = 0, 0
	return found, nil
}

const (
	genevePort = 6081
	udpHeader  = 8 // bytes
)

// geneve holds for a packet of the tunnel, in UDP on IPv4 or IPv6. What it carries begins at a place that is known only when
// the packet is there, so it is noted in memory: what stands to the right finds it there.
func (n geneveNode) lower(l *layout) (cond, error) {
	if l.kept+3 > memoryWords/2 {
		return nil, refuse(n.span, "more than two tunnels within each other are not looked into")
	}
	in4, err := n.over4(l)
	if err != nil {
		return nil, err
	}
	in6, err := n.over6(l)
	if err != nil {
		return nil, err
	}
	// Where Geneve begins is noted where the type of its payload will be.
	typ, header, payload := l.keep(), l.keep(), l.keep()
	note := func(code []instruction) cond {
		return leaf{code: append(code, instruction{opcode: keepA, value: typ})}
	}
	ip := l.ip()
	begin4, rest := l.behindIPv4()
	begin4 = append(begin4, instruction{opcode: copyToA}, plus(rest+udpHeader))
	begin6 := []instruction{{opcode: setA, value: ip.offset + ip6Header + udpHeader}}
	if ip.memory >= 0 {
		begin6 = []instruction{{opcode: recallA, value: uint32(ip.memory)}, plus(ip.offset + ip6Header + udpHeader)}
	}
	ends := leaf{code: []instruction{
		{opcode: recallX, value: typ},
		{opcode: loadIndexed, size: 1, value: 0}, // the length of options, in words
		{opcode: calculate, operation: bitAnd, value: 0x3f},
		{opcode: calculate, operation: multiply, value: 4},
		plus(8),
		{opcode: calculate, operation: add, withX: true},
		{opcode: keepA, value: header},
	}}
	carriesEthernet := leaf{
		[]instruction{{opcode: recallX, value: typ}, {opcode: loadIndexed, size: 2, value: 2}},
		test{comparison: equal, value: typeBridged},
	}
	ethernetEnds := leaf{code: []instruction{
		{opcode: recallA, value: header}, plus(12), {opcode: keepA, value: typ}, plus(2), {opcode: keepA, value: payload},
	}}
	otherBegins := leaf{code: []instruction{
		{opcode: recallA, value: header}, {opcode: keepA, value: payload},
		{opcode: recallA, value: typ}, plus(2), {opcode: keepA, value: typ},
	}}
	l.link, l.inGeneve, l.network = ethernet, true, 0
	l.typ, l.header, l.payload = place{int(typ), 0}, place{int(header), 0}, place{int(payload), 0}
	return allOf{
		anyOf{append(in4, note(begin4)), append(in6, note(begin6))},
		ends,
		anyOf{allOf{carriesEthernet, ethernetEnds}, otherBegins},
	}, nil
}

func plus(n uint32) instruction { return instruction{opcode: calculate, operation: add, value: n} }

// keep sets a word of memory aside. Intermediate results use them from the other end.
func (l *layout) keep() uint32 {
	l.kept++
	return uint32(memoryWords - l.kept)
}

func (n geneveNode) over4(l *layout) (allOf, error) {
	is, err := l.isType(n.span, typeIP)
	if err != nil {
		return nil, err
	}
	behind := func(offset uint32, size uint8, more ...instruction) []instruction {
		code, rest := l.behindIPv4()
		return append(append(code, instruction{opcode: loadIndexed, size: size, value: rest + offset}), more...)
	}
	found := allOf{
		is,
		compare(l.ip().plus(ip4Protocol), 1, equal, ipUDP),
		l.isFirstFragment(),
		leaf{behind(2, 2), test{comparison: equal, value: genevePort}},
		leaf{behind(udpHeader, 1, instruction{opcode: calculate, operation: bitAnd, value: 0xc0}), test{comparison: equal}},
	}
	if n.vni >= 0 {
		found = append(found, leaf{
			behind(udpHeader+4, 4, instruction{opcode: calculate, operation: bitAnd, value: 0xffffff00}),
			test{comparison: equal, value: uint32(n.vni) << 8},
		})
	}
	return found, nil
}

func (n geneveNode) over6(l *layout) (allOf, error) {
	is, err := l.isType(n.span, typeIPv6)
	if err != nil {
		return nil, err
	}
	udp := l.ip().plus(ip6Header)
	found := allOf{
		is,
		compare(l.ip().plus(ip6Next), 1, equal, ipUDP),
		compare(udp.plus(2), 2, equal, genevePort),
		masked(udp.plus(udpHeader), 1, 0xc0, 0),
	}
	if n.vni >= 0 {
		found = append(found, masked(udp.plus(udpHeader+4), 4, 0xffffff00, uint32(n.vni)<<8))
	}
	return found, nil
}
