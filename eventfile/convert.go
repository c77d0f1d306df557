package eventfile

import (
	"errors"
	"fmt"
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
	journey.Absorbed: "absorbed", journey.Moved: "moved", journey.Released: "released",
}

const (
	ethernetBytes = 14
	typeOffset    = 12
)

// lineOf makes a line of an observation that has all its sections.
func lineOf(o *journey.Observation) *line {
	e := &o.Event
	cpu := e.CPU
	w := &more{
		Life: lives[o.Kind], Peer: o.Peer, Place: o.Place, Shared: o.Shared, SocketCookie: e.SocketCookie, Return: e.Return,
		Conntrack: e.Conntrack, IPTables: e.IPTables,
	}
	l := &line{
		Common:   &common{Timestamp: e.Time, CPU: &cpu},
		Tracking: &tracking{e.ID.Head, e.ID.FirstSeen, e.SKB},
		Waybill:  w,
	}
	if o.Kind == journey.Seen {
		l.Kernel = kernelOf(e)
		l.Common.Task = &task{e.TID, e.PID, e.Comm}
	}
	if d := e.Drop; d != nil {
		l.Drop = &drop{d.Subsystem, d.Reason}
		w.Location = d.Location
	}
	if e.Packet != nil {
		l.addPacket(e.Packet)
	}
	if n := e.NetNS; n != nil {
		l.NetNS = &netns{n.Cookie, n.Inum}
	}
	if d := e.Device; d != nil {
		l.Device = &device{d.Name, d.Index, d.RxIndex}
	}
	if n := e.NFT; n != nil {
		l.NFT = &nft{n.Table, n.Chain, n.Verdict, n.Target, n.TableHandle, n.ChainHandle, nil, n.Policy}
		if n.Rule != 0 {
			l.NFT.Rule = &n.Rule
		}
	}
	if e.Conntrack != nil {
		l.CT = connection(e.Conntrack)
	}
	return l
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
	l.Packet = &packet{Len: p.Len, CaptureLen: uint32(len(data)), Data: data}
	if v := p.VLAN; v != nil {
		l.SKB = &skb{&vlan{v.Proto, v.Priority(), v.DropEligible(), v.ID()}}
	}
}

// observation is what a line tells of a packet.
func (l *line) observation() (*journey.Observation, error) {
	if l.Common == nil || l.Tracking == nil {
		return nil, errors.New("an event needs the sections common and skb-tracking")
	}
	w := l.Waybill
	if w == nil {
		w = &more{}
	}
	o := &journey.Observation{Kind: journey.Seen, Peer: w.Peer, Place: w.Place, Shared: w.Shared}
	o.Time, o.SKB, o.ID = l.Common.Timestamp, l.Tracking.SKB, journey.ID{FirstSeen: l.Tracking.Timestamp, Head: l.Tracking.Head}
	o.SocketCookie, o.Return, o.Conntrack, o.IPTables = w.SocketCookie, w.Return, w.Conntrack, w.IPTables
	if l.Common.CPU != nil {
		o.CPU = *l.Common.CPU
	}
	if t := l.Common.Task; t != nil {
		o.TID, o.PID, o.Comm = t.PID, t.TGID, t.Comm
	}
	switch {
	case w.Life != "":
		if o.Kind = lifeOf(w.Life); o.Kind == 0 {
			return nil, fmt.Errorf("unknown life %q of an sk_buff", w.Life)
		}
	case l.Kernel == nil:
		return nil, errors.New("an event needs the section kernel")
	default:
		if err := l.Kernel.fill(&o.Event); err != nil {
			return nil, err
		}
	}
	l.fillSections(&o.Event, w)
	return o, l.fillPacket(&o.Event, w)
}

func lifeOf(word string) journey.ObservationKind {
	for kind, name := range lives {
		if name == word {
			return kind
		}
	}
	return 0
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
	if n := l.NetNS; n != nil {
		e.NetNS = &journey.NetNS{Cookie: n.Cookie, Inum: n.Inum}
	}
	if d := l.Device; d != nil {
		e.Device = &journey.Device{Index: d.Index, Name: d.Name, RxIndex: d.RxIndex}
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

func (l *line) fillPacket(e *journey.Event, w *more) error {
	if l.Packet == nil {
		return nil
	}
	p := &journey.Packet{Len: l.Packet.Len, Data: l.Packet.Data, Network: w.Network, Proto: w.Protocol}
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
	e.Packet = p
	return nil
}
