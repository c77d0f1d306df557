package eventfile

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// Retis' words for kinds of probes.
const (
	kprobe        = "kprobe"
	kretprobe     = "kretprobe"
	rawTracepoint = "raw_tracepoint"
)

// lives are the words for what is observed of sk_buffs apart from probes. Looks are not written: what they tell is in the events.
var lives = map[journey.ObservationKind]string{
	journey.Origin: "origin", journey.Cloned: "cloned", journey.TapEnter: "tap-enter", journey.TapExit: "tap-exit",
	journey.Enqueued: "enqueued", journey.Parked: "parked", journey.Shaped: "shaped", journey.Resumed: "resumed",
	journey.Absorbed: "absorbed", journey.Moved: "moved", journey.Linked: "linked", journey.Released: "released",
}

const (
	ethernetBytes = 14
	typeOffset    = 12
)

// lineOf makes a line of an observation that has all its sections.
func lineOf(o *journey.Observation) *line {
	e := &o.Event
	cpu := e.CPU
	w := &more{SocketCookie: e.SocketCookie, Return: e.Return, IPTables: e.IPTables}
	l := &line{
		Common:   &common{e.Time, &cpu, &task{e.TID, e.PID, e.Comm}},
		Kernel:   kernelOf(e),
		Tracking: &tracking{e.ID.Head, e.ID.FirstSeen, e.SKB},
		Waybill:  w,
	}
	if d := e.Drop; d != nil {
		l.Drop = &drop{d.Subsystem, d.Reason}
		w.Location = d.Location
	}
	if e.Packet != nil {
		l.addPacket(e.Packet)
	}
	l.addMetadata(e)
	l.NetNS, l.Device = netnsOf(e.NetNS), deviceOf(e.Device)
	if n := e.NFT; n != nil {
		l.NFT = &nft{n.Table, n.Chain, n.Verdict, n.Target, n.TableHandle, n.ChainHandle, nil, n.Policy}
		if n.Rule != 0 {
			l.NFT.Rule = &n.Rule
		}
	}
	if e.Conntrack != nil {
		if l.CT = connection(e.Conntrack); l.CT == nil {
			w.Conntrack = e.Conntrack
		}
	}
	return l
}

func netnsOf(n *journey.NetNS) *netns {
	if n == nil {
		return nil
	}
	return &netns{Cookie: n.Cookie, Inum: n.Inum}
}

func deviceOf(d *journey.Device) *device {
	if d == nil {
		return nil
	}
	return &device{Name: d.Name, Index: d.Index, RxIndex: d.RxIndex}
}

func kernelOf(e *journey.Event) *kernel {
	k := &kernel{Symbol: e.Probe.Name, Type: rawTracepoint}
	switch e.Probe.Kind {
	case journey.Function:
		k.Type = kprobe
	case journey.Return:
		k.Type = kretprobe
	}
	for _, f := range e.Stack {
		k.Stack = append(k.Stack, f.String())
	}
	return k
}

func (l *line) addPacket(p *journey.Packet) {
	data := p.Data
	l.Waybill.Network, l.Waybill.Protocol = p.Network, p.Proto
	if p.Network == 0 {
		l.Waybill.Bare = true
		data = make([]byte, ethernetBytes, ethernetBytes+len(p.Data))
		data[typeOffset], data[typeOffset+1] = byte(p.Proto>>8), byte(p.Proto)
		data = append(data, p.Data...)
	}
	// Retis counts from the header of Ethernet on. Where skb->data is, is not known here.
	l.Packet = &packet{Len: max(p.Len, uint32(len(data))), CaptureLen: uint32(len(data)), Data: data}
	if l.Packet.Len != p.Len {
		l.Waybill.Len = p.Len
	}
	if v := p.VLAN; v != nil {
		l.SKB = &skb{VLAN: &vlan{v.Proto, v.Priority(), v.DropEligible(), v.ID()}}
	}
}

func (l *line) addMetadata(e *journey.Event) {
	if l.SKB == nil && (e.Meta != nil || e.Sharing != nil || e.GSO != nil) {
		l.SKB = &skb{}
	}
	if m := e.Meta; m != nil {
		l.SKB.Meta = &meta{m.Len, m.DataLen, m.Hash, m.IPSummed, m.CSum, m.CSumLevel, m.Priority}
	}
	if s := e.Sharing; s != nil {
		l.SKB.Sharing = &sharing{s.NoHdr, s.Cloned, s.FClone, uint8(min(s.Users, math.MaxUint8)), uint8(min(s.DataRef, math.MaxUint8))}
	}
	if g := e.GSO; g != nil {
		l.SKB.GSO = &gso{Frags: g.Frags, Size: uint32(g.Size), Segs: uint32(g.Segs), Type: g.Type}
	}
}

// lifeOf is what is written of an observation that is no event.
func lifeOf(o *journey.Observation) life {
	var l *link
	if o.Kind == journey.Linked {
		l = &link{o.Relation, o.Other.Head, o.Other.FirstSeen}
	}
	return life{
		lives[o.Kind], o.Time, o.CPU, o.ID.Head, o.ID.FirstSeen, o.SKB, o.Peer, l, o.Place, o.Shared, o.SocketCookie,
		netnsOf(o.NetNS), deviceOf(o.Device),
	}
}

func (l *life) observation() (*journey.Observation, error) {
	o := &journey.Observation{Peer: l.Peer, Place: l.Place, Shared: l.Shared}
	for kind, name := range lives {
		if name == l.Life {
			o.Kind = kind
		}
	}
	if o.Kind == 0 {
		return nil, fmt.Errorf("unknown life %q of an sk_buff", l.Life)
	}
	if (l.Link != nil) != (o.Kind == journey.Linked) {
		return nil, fmt.Errorf("the life %q of an sk_buff with a link, or linked without one", l.Life)
	}
	if l.Link != nil {
		o.Relation, o.Other = l.Link.Relation, journey.ID{FirstSeen: l.Link.FirstSeen, Head: l.Link.Head}
	}
	o.Time, o.CPU, o.SKB, o.ID = l.Timestamp, l.CPU, l.SKB, journey.ID{FirstSeen: l.FirstSeen, Head: l.Head}
	o.SocketCookie, o.NetNS, o.Device = l.SocketCookie, l.NetNS.netns(), l.Device.device()
	return o, nil
}

// observation is the event of a line.
func (l *line) observation() (*journey.Observation, error) {
	if l.Common == nil || l.Kernel == nil || l.Tracking == nil {
		return nil, errors.New("an event needs the sections common, kernel and skb-tracking")
	}
	w := l.Waybill
	if w == nil {
		w = &more{}
	}
	o := &journey.Observation{Kind: journey.Seen}
	o.Time, o.SKB, o.ID = l.Common.Timestamp, l.Tracking.SKB, journey.ID{FirstSeen: l.Tracking.Timestamp, Head: l.Tracking.Head}
	o.SocketCookie, o.Return, o.Conntrack, o.IPTables = w.SocketCookie, w.Return, w.Conntrack, w.IPTables
	if l.Common.CPU != nil {
		o.CPU = *l.Common.CPU
	}
	if t := l.Common.Task; t != nil {
		o.TID, o.PID, o.Comm = t.PID, t.TGID, t.Comm
	}
	if err := l.Kernel.fill(&o.Event); err != nil {
		return nil, err
	}
	l.fillSections(&o.Event, w)
	return o, l.fillPacket(&o.Event, w)
}

func (k *kernel) fill(e *journey.Event) error {
	e.Probe = journey.Probe{Name: k.Symbol}
	switch k.Type {
	case kprobe:
		e.Probe.Kind = journey.Function
	case kretprobe:
		e.Probe.Kind = journey.Return
	case rawTracepoint:
		e.Probe.Kind = journey.RawTracepoint
		if strings.Contains(k.Symbol, ":") {
			e.Probe.Kind = journey.Tracepoint
		}
	default:
		return fmt.Errorf("unknown type %q of a probe: it must be %s, %s or %s", k.Type, kprobe, kretprobe, rawTracepoint)
	}
	for _, text := range k.Stack {
		e.Stack = append(e.Stack, frameOf(text))
	}
	return nil
}

// frameOf reads what a frame's String prints.
func frameOf(text string) (f journey.Frame) {
	f.Symbol = text
	if symbol, module, ok := strings.Cut(text, " ["); ok && strings.HasSuffix(module, "]") {
		f.Symbol, f.Module = symbol, strings.TrimSuffix(module, "]")
	}
	if symbol, offset, ok := strings.Cut(f.Symbol, "+0x"); ok {
		if n, err := strconv.ParseUint(offset, 16, 64); err == nil {
			f.Symbol, f.Offset = symbol, n
		}
	}
	return f
}

func (l *line) fillSections(e *journey.Event, w *more) {
	if d := l.Drop; d != nil {
		e.Drop = &journey.Drop{Reason: d.Reason, Subsystem: d.Subsystem, Location: w.Location}
	}
	e.NetNS, e.Device = l.NetNS.netns(), l.Device.device()
	if l.SKB != nil {
		l.SKB.fill(e)
	}
	if n := l.NFT; n != nil {
		e.NFT = &journey.NFT{
			Table: n.Table, TableHandle: n.TableHandle, Chain: n.Chain, ChainHandle: n.ChainHandle, Verdict: n.Verdict,
			Target: n.Target, Policy: n.Policy,
		}
		if n.Rule != nil {
			e.NFT.Rule = *n.Rule
		}
	}
	if l.CT != nil && e.Conntrack == nil {
		e.Conntrack = l.CT.conntrack()
	}
}

func (n *netns) netns() *journey.NetNS {
	if n == nil {
		return nil
	}
	if n.made == nil {
		n.made = &journey.NetNS{Cookie: n.Cookie, Inum: n.Inum}
	}
	return n.made
}

func (d *device) device() *journey.Device {
	if d == nil {
		return nil
	}
	if d.made == nil {
		d.made = &journey.Device{Index: d.Index, Name: d.Name, RxIndex: d.RxIndex}
	}
	return d.made
}

func (s *skb) fill(e *journey.Event) {
	if m := s.Meta; m != nil {
		e.Meta = &journey.Meta{
			Len: m.Len, DataLen: m.DataLen, Hash: m.Hash, IPSummed: m.IPSummed, CSum: m.CSum, CSumLevel: m.CSumLevel,
			Priority: m.Priority,
		}
	}
	if r := s.Sharing; r != nil {
		e.Sharing = &journey.Sharing{
			Users: uint32(r.Users), Cloned: r.Cloned, DataRef: uint32(r.DataRef), NoHdr: r.NoHdr, FClone: r.FClone,
		}
	}
	if g := s.GSO; g != nil {
		e.GSO = &journey.GSO{
			Size: uint16(min(g.Size, math.MaxUint16)), Segs: uint16(min(g.Segs, math.MaxUint16)), Type: g.Type, Frags: g.Frags,
		}
	}
}

func (l *line) fillPacket(e *journey.Event, w *more) error {
	from := l.Packet
	if from == nil {
		return nil
	}
	if from.made != nil && from.by == l.Waybill && from.skb == l.SKB {
		e.Packet = from.made
		return nil
	}
	p := &journey.Packet{Len: cmp.Or(w.Len, from.Len), Data: from.Data, Network: w.Network, Proto: w.Protocol}
	switch {
	case w.Bare:
		if len(p.Data) < ethernetBytes {
			return errors.New("the packet is shorter than the header that was put before it")
		}
		p.Data = p.Data[ethernetBytes:]
	case l.Waybill == nil && len(p.Data) >= ethernetBytes:
		p.Network, p.Proto = ethernetBytes, uint16(p.Data[typeOffset])<<8|uint16(p.Data[typeOffset+1])
	}
	if p.Network < 0 || p.Network > len(p.Data) {
		return fmt.Errorf("the packet has %d bytes, and its network header is said to be at %d", len(p.Data), p.Network)
	}
	if l.SKB != nil && l.SKB.VLAN != nil {
		v := l.SKB.VLAN
		p.VLAN = &journey.VLAN{Proto: v.Proto, TCI: uint16(v.PCP)<<13 | v.VID&0xfff}
		if v.DEI {
			p.VLAN.TCI |= 0x1000
		}
	}
	from.made, from.by, from.skb = p, l.Waybill, l.SKB
	e.Packet = p
	return nil
}
