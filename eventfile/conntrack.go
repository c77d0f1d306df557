package eventfile

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/waybill-dev/waybill/journey"
)

// ct is a connection as Retis has it: of a few protocols, each with its own names.
type ct struct {
	State      string  `json:"state"`
	Zone       uint16  `json:"zone_id"`
	ZoneDir    string  `json:"zone_dir"`
	Orig       tuple   `json:"orig"`
	Reply      tuple   `json:"reply"`
	ProtoState string  `json:"proto_state,omitempty"`
	TCPState   string  `json:"tcp_state,omitempty"` // the same, as Retis before 1.7 has it
	Mark       *uint32 `json:"mark,omitempty"`
	Labels     *bits   `json:"labels,omitempty"`
	Status     uint64  `json:"ct_status"`

	made *journey.Conntrack
}

// bits are the labels as a number, label 0 the lowest.
type bits struct {
	High uint64 `json:"hi"`
	Low  uint64 `json:"lo"`
}

type tuple struct {
	IP    ctIP    `json:"ip"`
	Proto ctProto `json:"proto"`
}

// ctProto is what a connection's protocol tells it by: one of these. SCTP is read only: Retis before 1.7 would read no further.
type ctProto struct {
	TCP  *ctPorts `json:"tcp,omitempty"`
	UDP  *ctPorts `json:"udp,omitempty"`
	SCTP *ctPorts `json:"sctp,omitempty"`
	ICMP *ctICMP  `json:"icmp,omitempty"`
}

type ctPorts struct {
	Src uint16 `json:"sport"`
	Dst uint16 `json:"dport"`
}

type ctICMP struct {
	Type uint8  `json:"type"`
	Code uint8  `json:"code"`
	ID   uint16 `json:"id"`
}

type ctIP struct {
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	Version string     `json:"version"`
}

const (
	icmp = 1
	tcp  = 6
	udp  = 17
	sctp = 132
)

// connection gives a connection the form that Retis has for it; nil if it has none.
func connection(c *journey.Conntrack) *ct {
	known := c.Proto == icmp || c.Proto == tcp || c.Proto == udp
	if c.State == "UNTRACKED" || !known || !c.Orig.Src.IsValid() || !c.Reply.Src.IsValid() {
		return nil
	}
	out := &ct{
		State: strings.ToLower(c.State), Zone: c.Zone, ZoneDir: "Default", Orig: tupleOf(c.Orig, c.Proto),
		Reply: tupleOf(c.Reply, c.Proto), ProtoState: c.ProtoState, Status: uint64(c.Status),
	}
	if c.Proto == tcp {
		out.TCPState = c.ProtoState
	}
	if c.Mark != 0 {
		out.Mark = &c.Mark
	}
	if low, high := binary.NativeEndian.Uint64(c.Labels[:]), binary.NativeEndian.Uint64(c.Labels[8:]); low|high != 0 {
		out.Labels = &bits{high, low}
	}
	return out
}

func tupleOf(t journey.Tuple, proto uint8) tuple {
	version := "v6"
	if t.Src.Is4() {
		version = "v4"
	}
	out := tuple{IP: ctIP{t.Src, t.Dst, version}}
	ports := &ctPorts{t.SrcPort, t.DstPort}
	switch proto {
	case icmp:
		out.Proto.ICMP = &ctICMP{uint8(t.DstPort >> 8), uint8(t.DstPort), t.SrcPort}
	case tcp:
		out.Proto.TCP = ports
	case udp:
		out.Proto.UDP = ports
	}
	return out
}

// conntrack is what a connection of Retis' says.
func (c *ct) conntrack() *journey.Conntrack {
	if c.made != nil {
		return c.made
	}
	out := &journey.Conntrack{
		State: strings.ToUpper(c.State), Zone: c.Zone, ProtoState: cmp.Or(c.ProtoState, c.TCPState), Status: uint32(c.Status),
	}
	if c.Labels != nil {
		binary.NativeEndian.PutUint64(out.Labels[:], c.Labels.Low)
		binary.NativeEndian.PutUint64(out.Labels[8:], c.Labels.High)
	}
	if c.Mark != nil {
		out.Mark = *c.Mark
	}
	out.Proto, out.Orig = c.Orig.tuple()
	_, out.Reply = c.Reply.tuple()
	c.made = out
	return out
}

func (t *tuple) tuple() (proto uint8, out journey.Tuple) {
	out = journey.Tuple{Src: t.IP.Src, Dst: t.IP.Dst}
	var ports *ctPorts
	switch p := &t.Proto; {
	case p.ICMP != nil:
		out.SrcPort, out.DstPort = p.ICMP.ID, uint16(p.ICMP.Type)<<8|uint16(p.ICMP.Code)
		return icmp, out
	case p.TCP != nil:
		proto, ports = tcp, p.TCP
	case p.UDP != nil:
		proto, ports = udp, p.UDP
	case p.SCTP != nil:
		proto, ports = sctp, p.SCTP
	default:
		return 0, out
	}
	out.SrcPort, out.DstPort = ports.Src, ports.Dst
	return proto, out
}
