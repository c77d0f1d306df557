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
}

// bits are the labels as a number, label 0 the lowest.
type bits struct {
	High uint64 `json:"hi"`
	Low  uint64 `json:"lo"`
}

type tuple struct {
	IP    ctIP                         `json:"ip"`
	Proto map[string]map[string]uint32 `json:"proto"`
}

type ctIP struct {
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	Version string     `json:"version"`
}

// ctProtocols are those that are read. SCTP is not written: Retis before 1.7 would read no further.
var ctProtocols = map[uint8]string{1: "icmp", tcp: "tcp", 17: "udp", sctp: "sctp"}

const (
	tcp  = 6
	sctp = 132
)

// connection gives a connection the form that Retis has for it; nil if it has none.
func connection(c *journey.Conntrack) *ct {
	if c.State == "UNTRACKED" || c.Proto == sctp || ctProtocols[c.Proto] == "" || !c.Orig.Src.IsValid() || !c.Reply.Src.IsValid() {
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
	fields := map[string]uint32{"sport": uint32(t.SrcPort), "dport": uint32(t.DstPort)}
	if ctProtocols[proto] == "icmp" {
		fields = map[string]uint32{"type": uint32(t.DstPort >> 8), "code": uint32(t.DstPort & 0xff), "id": uint32(t.SrcPort)}
	}
	return tuple{ctIP{t.Src, t.Dst, version}, map[string]map[string]uint32{ctProtocols[proto]: fields}}
}

// conntrack is what a connection of Retis' says.
func (c *ct) conntrack() *journey.Conntrack {
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
	return out
}

func (t *tuple) tuple() (proto uint8, out journey.Tuple) {
	out = journey.Tuple{Src: t.IP.Src, Dst: t.IP.Dst}
	for number, name := range ctProtocols {
		fields, ok := t.Proto[name]
		if !ok {
			continue
		}
		proto = number
		out.SrcPort, out.DstPort = uint16(fields["sport"]), uint16(fields["dport"])
		if name == "icmp" {
			out.SrcPort, out.DstPort = uint16(fields["id"]), uint16(fields["type"]<<8|fields["code"]&0xff)
		}
	}
	return proto, out
}
