package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

var dropProbe = journey.Probe{Kind: journey.Tracepoint, Name: "skb:kfree_skb"}

func headerOf(raw []byte) (*trackerHeader, error) { return view[trackerHeader](raw) }

// kinds are the observations that records are made into; a kind of record that is none of them has 0.
var kinds = [...]journey.ObservationKind{
	trackerRecordKindKIND_EVENT:     journey.Seen,
	trackerRecordKindKIND_LOOK:      journey.Looked,
	trackerRecordKindKIND_ORIGIN:    journey.Origin,
	trackerRecordKindKIND_CLONED:    journey.Cloned,
	trackerRecordKindKIND_TAP_ENTER: journey.TapEnter,
	trackerRecordKindKIND_TAP_EXIT:  journey.TapExit,
	trackerRecordKindKIND_ENQUEUED:  journey.Enqueued,
	trackerRecordKindKIND_PARKED:    journey.Parked,
	trackerRecordKindKIND_RESUMED:   journey.Resumed,
	trackerRecordKindKIND_RELEASED:  journey.Released,
	trackerRecordKindKIND_RETURNED:  journey.Seen,
	trackerRecordKindKIND_SHAPED:    journey.Shaped,
	trackerRecordKindKIND_ABSORBED:  journey.Absorbed,
	trackerRecordKindKIND_MOVED:     journey.Moved,
	trackerRecordKindKIND_LINKED:    journey.Linked,
}

var relations = [...]journey.Relation{
	trackerRelationRELATION_COPY:         journey.Copy,
	trackerRelationRELATION_FRAGMENT:     journey.Fragment,
	trackerRelationRELATION_SEGMENT:      journey.Segment,
	trackerRelationRELATION_PART:         journey.Part,
	trackerRelationRELATION_MERGED:       journey.MergedInto,
	trackerRelationRELATION_ANSWER:       journey.Answer,
	trackerRelationRELATION_SOLICITATION: journey.Solicitation,
}

// decoder makes observations of records. An event costs it no allocation, and a look one.
type decoder struct {
	reasons *dropReasons
	stacks  stacks
	// observation is the last one; the next takes its place.
	observation journey.Observation
	used        bool // it has more in it than a sight and a look
	// made are looks to be filled in, made many at a time, and bytes is room for their packets.
	made  []looked
	bytes []byte
	// The names that come again and again.
	comm, device name
}

// decode turns a record into an observation, which is valid until the next one. It answers nil for an event at a probe
// that is not among the given ones: another observer armed it.
func (d *decoder) decode(raw []byte, h *trackerHeader, probes probeTable) (*journey.Observation, error) {
	if int(h.Kind) >= len(kinds) || kinds[h.Kind] == 0 {
		return nil, fmt.Errorf("read a record: unknown kind %d", h.Kind)
	}
	o := d.next()
	o.Kind = kinds[h.Kind]
	o.Time, o.CPU, o.PID, o.SKB = h.Time, h.Cpu, h.Pid, h.Skb
	o.ID = journey.ID{FirstSeen: h.FirstSeen, Head: h.FirstHead}
	if trackerRecordKind(h.Kind) == trackerRecordKindKIND_RETURNED {
		return d.decodeReturn(raw, h, o, probes)
	}
	switch o.Kind {
	case journey.Seen:
		return d.decodeSight(raw, h, o, probes)
	case journey.Looked:
		o.Mark = h.Value
		r, err := view[trackerLookRecord](raw)
		if err != nil {
			return nil, err
		}
		d.look(&r.Told, h.Netns, &o.Event)
	case journey.Origin:
		o.SocketCookie = h.Value
		o.NetNS = d.namespace(h.Netns)
	case journey.Enqueued:
		if h.Netns != 0 { // it is not known of all that processes read, on the tier of tracepoints
			o.NetNS = d.namespace(h.Netns)
		}
	case journey.Shaped:
		r, err := view[trackerShapedRecord](raw)
		if err != nil {
			return nil, err
		}
		o.NetNS = d.namespace(h.Netns)
		o.Device = &journey.Device{Index: uint32(h.Value), Name: d.device.read(&r.Device)}
	case journey.Parked:
		if trackerPlace(h.Value) == trackerPlacePLACE_FRAGMENTS {
			o.Place, d.used = journey.FragmentQueue, true
		}
	case journey.Cloned, journey.Moved:
		o.Peer, d.used = h.Value, true
	case journey.Linked:
		r, err := view[trackerLinkRecord](raw)
		if err != nil {
			return nil, err
		}
		if h.Value >= uint64(len(relations)) || relations[h.Value] == "" {
			return nil, fmt.Errorf("read a record: unknown relation %d", h.Value)
		}
		o.Relation, o.Other, d.used = relations[h.Value], journey.ID{FirstSeen: r.FirstSeen, Head: r.FirstHead}, true
	case journey.TapEnter:
		o.Shared, d.used = h.Value != 0, true
	}
	return o, nil
}

// next returns an empty observation. Clearing all of it would take longer than reading the record does: what most have is
// cleared one by one.
func (d *decoder) next() *journey.Observation {
	o := &d.observation
	if d.used {
		*o, d.used = journey.Observation{}, false
		return o
	}
	o.Probe, o.TID, o.Len, o.Mark, o.Fresh = journey.Probe{}, 0, 0, 0, false
	o.Comm, o.SocketCookie = "", 0
	o.Device, o.NetNS, o.Conntrack, o.Packet = nil, nil, nil, nil
	return o
}

// namespace is the section for a namespace of which nothing but the cookie is told.
func (d *decoder) namespace(cookie uint64) *journey.NetNS {
	made := d.newLook()
	made.netns.Cookie = cookie
	return &made.netns
}

// decodeSight reads an event.
func (d *decoder) decodeSight(raw []byte, h *trackerHeader, to *journey.Observation, probes probeTable) (*journey.Observation, error) {
	var wanted bool
	if h.Probe == uint16(trackerLimitPROBE_KFREE_SKB) {
		_, wanted = probes.get(h.Probe) // if not, the stack, if there is one, is for another observer
		to.Probe = dropProbe
	} else if to.Probe, wanted = probes.get(h.Probe); !wanted {
		return d.decodeOthers(raw, h, to)
	}
	to.Mark = h.Value
	if err := d.decodeEvent(raw, h, to); err != nil || h.Has&hasStack == 0 || !wanted {
		return to, err
	}
	return to, d.decodeStack(raw, to, eventSize(h))
}

// decodeOthers reads an event that another observer armed. If the packet's look came with it, it is told here only.
func (d *decoder) decodeOthers(raw []byte, h *trackerHeader, to *journey.Observation) (*journey.Observation, error) {
	if h.Has&^hasStack != uint8(trackerSectionHAS_LOOK) {
		return nil, nil
	}
	l, err := view[trackerLookEvent](raw)
	if err != nil {
		return nil, err
	}
	to.Kind, to.Mark = journey.Looked, h.Value
	d.look(&l.Told, h.Netns, &to.Event)
	return to, nil
}

// decodeReturn reads what a function returned.
func (d *decoder) decodeReturn(raw []byte, h *trackerHeader, to *journey.Observation, probes probeTable) (*journey.Observation, error) {
	d.used = true
	var ok bool
	if to.Probe, ok = probes.get(h.Probe); !ok {
		return nil, nil
	}
	if h.Netns != 0 {
		to.NetNS = &journey.NetNS{Cookie: h.Netns}
	}
	if h.Has&^hasStack != 0 {
		value := int64(h.Value)
		to.Return = &value
	}
	if h.Has&hasStack == 0 {
		return to, nil
	}
	return to, d.decodeStack(raw, to, unsafe.Sizeof(*h))
}

const hasStack = uint8(trackerSectionHAS_STACK)

// eventSize is how long an event is without the stack behind it.
func eventSize(h *trackerHeader) uintptr {
	switch h.Has &^ hasStack {
	case uint8(trackerSectionHAS_META):
		return unsafe.Sizeof(trackerMetaEvent{})
	case uint8(trackerSectionHAS_NFT):
		return unsafe.Sizeof(trackerNftEvent{})
	case uint8(trackerSectionHAS_IPTABLES):
		return unsafe.Sizeof(trackerIptablesEvent{})
	case uint8(trackerSectionHAS_DROP):
		return unsafe.Sizeof(trackerDropEvent{})
	}
	return unsafe.Sizeof(trackerEvent{})
}

// decodeStack reads the stack behind the record's own size.
func (d *decoder) decodeStack(raw []byte, to *journey.Observation, size uintptr) error {
	if uintptr(len(raw)) < size {
		return fmt.Errorf("read a record: %d bytes, and a stack behind the first %d", len(raw), size)
	}
	stack, err := view[trackerStack](raw[size:])
	if err != nil {
		return err
	}
	to.Stack, err = d.stacks.frames(stack, to.Probe)
	return err
}

// name is a name that was read, and is likely to be read again.
type name struct {
	field [16]int8
	text  string
}

// read returns the C string in a fixed field.
func (n *name) read(field *[16]int8) string {
	if *field != n.field {
		n.field, n.text = *field, text(field[:])
	}
	return n.text
}

// decodeEvent reads what follows the header of an event.
func (d *decoder) decodeEvent(raw []byte, h *trackerHeader, to *journey.Observation) error {
	e, err := view[trackerEvent](raw)
	if err != nil {
		return err
	}
	to.TID, to.Len = e.Tid, e.Len
	if h.Has == 0 {
		return nil
	}
	d.used = h.Has != uint8(trackerSectionHAS_LOOK)
	switch h.Has &^ hasStack {
	case uint8(trackerSectionHAS_LOOK):
		l, err := view[trackerLookEvent](raw)
		if err != nil {
			return err
		}
		d.look(&l.Told, h.Netns, &to.Event)
		if to.Fresh = true; to.Packet != nil {
			to.Packet.Len = e.Len
		}
	case uint8(trackerSectionHAS_META):
		m, err := view[trackerMetaEvent](raw)
		if err != nil {
			return err
		}
		decodeMeta(e.Len, &m.M, &to.Event)
	case uint8(trackerSectionHAS_NFT):
		n, err := view[trackerNftEvent](raw)
		if err != nil {
			return err
		}
		to.NFT = nft(n)
	case uint8(trackerSectionHAS_IPTABLES):
		i, err := view[trackerIptablesEvent](raw)
		if err != nil {
			return err
		}
		to.IPTables = iptables(i)
	case uint8(trackerSectionHAS_DROP):
		drop, err := view[trackerDropEvent](raw)
		if err != nil {
			return err
		}
		reason, subsystem := d.reasons.name(drop.Reason)
		to.Drop = &journey.Drop{Reason: reason, Subsystem: subsystem, Location: location(text(drop.Location[:]))}
	}
	return nil
}

func decodeMeta(length uint32, m *trackerMeta, to *journey.Event) {
	is := func(f trackerMetaFlag) bool { return m.Flags&uint8(f) != 0 }
	to.Meta = &journey.Meta{
		Len: length, DataLen: m.DataLen,
		Hash: m.Hash, L4Hash: is(trackerMetaFlagMETA_L4HASH), SWHash: is(trackerMetaFlagMETA_SW_HASH),
		PktType:  m.PktType,
		IPSummed: m.IpSummed, CSum: m.Csum, CSumLevel: m.CsumLevel,
		Mark: m.Mark, Priority: m.Priority, QueueMapping: m.QueueMapping, Tstamp: m.Tstamp,
	}
	to.Sharing = &journey.Sharing{
		Users: m.Users, DataRef: m.Dataref, FClone: m.Fclone,
		Cloned: is(trackerMetaFlagMETA_CLONED), NoHdr: is(trackerMetaFlagMETA_NOHDR),
	}
	if m.GsoSize != 0 || m.NrFrags != 0 {
		to.GSO = &journey.GSO{Size: m.GsoSize, Segs: m.GsoSegs, Type: m.GsoType, Frags: m.NrFrags}
	}
}

// looked is what a look has room for, beside the packet's bytes.
type looked struct {
	packet journey.Packet
	vlan   journey.VLAN
	device journey.Device
	netns  journey.NetNS
}

// made at once.
const (
	looksAtOnce = 32
	bytesAtOnce = looksAtOnce * int(trackerLimitPACKET_BYTES)
)

// newLook returns room for a look. A few looks that are kept keep others of the same time.
func (d *decoder) newLook() *looked {
	if len(d.made) == 0 {
		d.made = make([]looked, looksAtOnce)
	}
	l := &d.made[0]
	d.made = d.made[1:]
	return l
}

// copyBytes returns a copy of a packet's bytes.
func (d *decoder) copyBytes(from []byte) []byte {
	if len(d.bytes) < len(from) {
		d.bytes = make([]byte, bytesAtOnce)
	}
	n := copy(d.bytes, from)
	out := d.bytes[:n:n]
	d.bytes = d.bytes[n:]
	return out
}

// look reads what a packet looks like.
func (d *decoder) look(t *trackerTold, netns uint64, to *journey.Event) {
	l, made := &t.Look, d.newLook()
	to.Comm, to.TID, to.SocketCookie = d.comm.read(&t.Comm), l.Tid, l.Socket
	if netns != 0 {
		made.netns.Cookie, made.netns.Inum = netns, t.Inum
		to.NetNS = &made.netns
	}
	if l.Ifindex != 0 {
		made.device = journey.Device{Index: l.Ifindex, Name: d.device.read(&t.Device), RxIndex: l.RxIfindex}
		to.Device = &made.device
	}
	if l.Captured != 0 {
		data := d.copyBytes(l.Packet[:min(int(l.Captured), len(l.Packet))])
		made.packet.Proto, made.packet.Network, made.packet.Data = l.Protocol, min(int(l.Network), len(data)), data
		to.Packet = &made.packet
		if l.VlanProto != 0 {
			made.vlan = journey.VLAN{Proto: l.VlanProto, TCI: l.VlanTci}
			to.Packet.VLAN = &made.vlan
		}
	}
	if l.Nfct != 0 {
		to.Conntrack = conntrack(t)
	}
}

// conntrackStates are the values of enum ip_conntrack_info (include/uapi/linux/netfilter/nf_conntrack_common.h).
var conntrackStates = [8]string{
	"ESTABLISHED", "RELATED", "NEW", "REPLY", "RELATED_REPLY", "5", "6", "UNTRACKED",
}

// infoMask covers the state in skb->_nfct (NFCT_INFOMASK, include/linux/skbuff.h).
const infoMask = 7

func conntrack(t *trackerTold) *journey.Conntrack {
	c := &journey.Conntrack{
		State:  conntrackStates[t.Look.Nfct&infoMask],
		Status: t.Look.CtStatus,
		Zone:   t.CtZone,
		Mark:   t.Look.CtMark,
		Proto:  t.Look.CtProtocol,
	}
	for i, word := range t.Look.Labels {
		binary.NativeEndian.PutUint64(c.Labels[8*i:], word)
	}
	switch c.Proto {
	case unix.IPPROTO_TCP:
		c.ProtoState = journey.TCPState(t.Look.CtProtoState)
	case unix.IPPROTO_SCTP:
		c.ProtoState = journey.SCTPState(t.Look.CtProtoState)
	}
	tuple := func(i int) journey.Tuple {
		from := &t.Ct[i]
		return journey.Tuple{
			Src:     address(from.Src[:], from.L3num),
			Dst:     address(from.Dst[:], from.L3num),
			SrcPort: networkOrder(from.SrcPort),
			DstPort: networkOrder(from.DstPort),
		}
	}
	if c.State != "UNTRACKED" {
		c.Orig, c.Reply = tuple(0), tuple(1)
	}
	return c
}

func address(words []uint32, l3num uint16) netip.Addr {
	var b [16]byte
	for i, w := range words {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	if l3num == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

// networkOrder reads a number that the kernel keeps in network byte order.
func networkOrder(n uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n))
}

// location shortens what %pS prints, "nft_do_chain+0x2a1/0x5f0 [nf_tables]", to function and offset.
func location(symbol string) string {
	symbol, _, _ = strings.Cut(symbol, " ")
	symbol, _, _ = strings.Cut(symbol, "/")
	return symbol
}

// text reads a C string in a fixed field.
func text(field []int8) string {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(field))), len(field))
	return unix.ByteSliceToString(b)
}
