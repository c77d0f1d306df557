package journey

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// hexNumber is a number that JSON holds as a string of hex digits with 0x before them.
type hexNumber[T uint16 | uint32 | uint64] struct{ v T }

// MarshalText prints the number.
func (h hexNumber[T]) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#x", h.v), nil }

// UnmarshalText reads it, in any base that has a prefix.
func (h *hexNumber[T]) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 0, int(unsafe.Sizeof(h.v))*8)
	h.v = T(n)
	return err
}

// hexBytes is a string of bytes that JSON holds as hex digits.
type hexBytes []byte

// MarshalText prints the bytes.
func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText reads them.
func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func sortedKeys[V any](m map[uint64]V) []uint64 {
	keys := make([]uint64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// MarshalText gives the kind's short form.
func (k ProbeKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String prints.
func (k *ProbeKind) UnmarshalText(text []byte) error {
	for known := Function; known <= RawTracepoint; known++ {
		if known.String() == string(text) {
			*k = known
			return nil
		}
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "probe kind "), 10, 8)
	if err != nil {
		return fmt.Errorf("unknown kind of probe %q: use k, kr, tp or rtp", text)
	}
	*k = ProbeKind(n)
	return nil
}

type vlanJSON struct {
	Proto hexNumber[uint16] `json:"proto"`
	TCI   hexNumber[uint16] `json:"tci"`
}

type packetJSON struct {
	Proto   hexNumber[uint16] `json:"proto"`
	Len     uint32            `json:"len"`
	Network int               `json:"network,omitempty"`
	VLAN    *vlanJSON         `json:"vlan,omitempty"`
	Text    string            `json:"text"`
	Data    hexBytes          `json:"data"`
}

// MarshalJSON gives the packet's bytes and what they say.
func (p *Packet) MarshalJSON() ([]byte, error) {
	out := packetJSON{
		Proto: hexNumber[uint16]{p.Proto}, Len: p.Len, Network: p.Network, Text: p.String(), Data: p.Data,
	}
	if p.VLAN != nil {
		out.VLAN = &vlanJSON{hexNumber[uint16]{p.VLAN.Proto}, hexNumber[uint16]{p.VLAN.TCI}}
	}
	if out.Data == nil {
		out.Data = hexBytes{}
	}
	return encode("packet", out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Packet) UnmarshalJSON(data []byte) error {
	var in packetJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode packet: %w", err)
	}
	*p = Packet{Proto: in.Proto.v, Len: in.Len, Network: in.Network, Data: in.Data}
	if in.VLAN != nil {
		p.VLAN = &VLAN{in.VLAN.Proto.v, in.VLAN.TCI.v}
	}
	return nil
}

type netnsJSON struct {
	Cookie hexNumber[uint64] `json:"cookie"`
	Inum   uint32            `json:"inum"`
	Node   string            `json:"node,omitempty"`
}

// MarshalJSON gives cookie, inode number and node.
func (n *NetNS) MarshalJSON() ([]byte, error) {
	return encode("namespace", netnsJSON{hexNumber[uint64]{n.Cookie}, n.Inum, n.Node})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *NetNS) UnmarshalJSON(data []byte) error {
	var in netnsJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode namespace: %w", err)
	}
	*n = NetNS{in.Cookie.v, in.Inum, in.Node}
	return nil
}

type metaJSON struct {
	Len          uint32            `json:"len"`
	DataLen      uint32            `json:"data_len,omitempty"`
	Hash         hexNumber[uint32] `json:"hash,omitzero"`
	L4Hash       bool              `json:"l4_hash,omitempty"`
	SWHash       bool              `json:"sw_hash,omitempty"`
	PktType      nameOf            `json:"pkt_type"`
	IPSummed     nameOf            `json:"ip_summed"`
	CSum         hexNumber[uint32] `json:"csum,omitzero"`
	CSumLevel    uint8             `json:"csum_level,omitempty"`
	Mark         hexNumber[uint32] `json:"mark,omitzero"`
	Priority     uint32            `json:"priority,omitempty"`
	QueueMapping uint16            `json:"queue_mapping,omitempty"`
	Tstamp       uint64            `json:"tstamp,omitempty"`
}

// nameOf is what a name function makes of a number.
type nameOf string

// number finds the number again; one that has no name is written as it is.
func (n nameOf) number(name func(uint8) string) (uint8, error) {
	for i := range 256 {
		if name(uint8(i)) == string(n) {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("unknown name %q", string(n))
}

func pktTypeName(n uint8) string  { return (&Meta{PktType: n}).PktTypeName() }
func ipSummedName(n uint8) string { return (&Meta{IPSummed: n}).IPSummedName() }
func fcloneName(n uint8) string   { return (&Sharing{FClone: n}).FCloneName() }

// MarshalJSON gives every field, those that are zero aside.
func (m *Meta) MarshalJSON() ([]byte, error) {
	return encode("skb metadata", metaJSON{
		m.Len, m.DataLen, hexNumber[uint32]{m.Hash}, m.L4Hash, m.SWHash, nameOf(m.PktTypeName()), nameOf(m.IPSummedName()),
		hexNumber[uint32]{m.CSum}, m.CSumLevel, hexNumber[uint32]{m.Mark}, m.Priority, m.QueueMapping, m.Tstamp,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (m *Meta) UnmarshalJSON(data []byte) error {
	var in metaJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode skb metadata: %w", err)
	}
	pktType, err := in.PktType.number(pktTypeName)
	if err != nil {
		return fmt.Errorf("decode skb metadata: pkt_type: %w", err)
	}
	ipSummed, err := in.IPSummed.number(ipSummedName)
	if err != nil {
		return fmt.Errorf("decode skb metadata: ip_summed: %w", err)
	}
	*m = Meta{
		in.Len, in.DataLen, in.Hash.v, in.L4Hash, in.SWHash, pktType, ipSummed, in.CSum.v, in.CSumLevel, in.Mark.v,
		in.Priority, in.QueueMapping, in.Tstamp,
	}
	return nil
}

type sharingJSON struct {
	Users   uint32 `json:"users"`
	Cloned  bool   `json:"cloned"`
	DataRef uint32 `json:"dataref"`
	NoHdr   bool   `json:"nohdr"`
	FClone  nameOf `json:"fclone"`
}

// MarshalJSON gives every field.
func (s *Sharing) MarshalJSON() ([]byte, error) {
	return encode("skb sharing", sharingJSON{s.Users, s.Cloned, s.DataRef, s.NoHdr, nameOf(s.FCloneName())})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Sharing) UnmarshalJSON(data []byte) error {
	var in sharingJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode skb sharing: %w", err)
	}
	fclone, err := in.FClone.number(fcloneName)
	if err != nil {
		return fmt.Errorf("decode skb sharing: fclone: %w", err)
	}
	*s = Sharing{in.Users, in.Cloned, in.DataRef, in.NoHdr, fclone}
	return nil
}

type gsoJSON struct {
	Size  uint16            `json:"size"`
	Segs  uint16            `json:"segs"`
	Type  hexNumber[uint32] `json:"type"`
	Names []string          `json:"type_names"`
	Frags uint8             `json:"frags"`
}

// MarshalJSON gives every field, the type as a number and by name.
func (g *GSO) MarshalJSON() ([]byte, error) {
	names := []string{}
	if g.Type != 0 {
		names = strings.Split(g.TypeNames(), "|")
	}
	return encode("gso", gsoJSON{g.Size, g.Segs, hexNumber[uint32]{g.Type}, names, g.Frags})
}

// UnmarshalJSON reads what MarshalJSON wrote; names are not read.
func (g *GSO) UnmarshalJSON(data []byte) error {
	var in gsoJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode gso: %w", err)
	}
	*g = GSO{in.Size, in.Segs, in.Type.v, in.Frags}
	return nil
}

type conntrackJSON struct {
	State      string            `json:"state"`
	Status     hexNumber[uint32] `json:"status"`
	Proto      uint8             `json:"proto"`
	ProtoState string            `json:"proto_state,omitempty"`
	Orig       Tuple             `json:"orig"`
	Reply      Tuple             `json:"reply"`
	Zone       uint16            `json:"zone"`
	Mark       hexNumber[uint32] `json:"mark"`
	Labels     string            `json:"labels,omitempty"`
}

// MarshalJSON gives every field.
func (c *Conntrack) MarshalJSON() ([]byte, error) {
	return encode("conntrack", conntrackJSON{
		c.State, hexNumber[uint32]{c.Status}, c.Proto, c.ProtoState, c.Orig, c.Reply, c.Zone, hexNumber[uint32]{c.Mark},
		c.labels(),
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Conntrack) UnmarshalJSON(data []byte) error {
	var in conntrackJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode conntrack: %w", err)
	}
	*c = Conntrack{
		State: in.State, Status: in.Status.v, Proto: in.Proto, ProtoState: in.ProtoState, Orig: in.Orig, Reply: in.Reply,
		Zone: in.Zone, Mark: in.Mark.v,
	}
	if in.Labels == "" {
		return nil
	}
	number, ok := new(big.Int).SetString(in.Labels, 0)
	if !ok || number.Sign() < 0 || number.BitLen() > 128 {
		return fmt.Errorf("decode conntrack: labels %q are not a number of 128 bits in hex", in.Labels)
	}
	bytes := number.FillBytes(make([]byte, 16))
	binary.NativeEndian.PutUint64(c.Labels[:8], binary.BigEndian.Uint64(bytes[8:]))
	binary.NativeEndian.PutUint64(c.Labels[8:], binary.BigEndian.Uint64(bytes[:8]))
	return nil
}

type lossJSON struct {
	Cause string `json:"cause"`
	Count uint64 `json:"count"`
}

type probeJSON struct {
	Kind ProbeKind `json:"kind"`
	Name string    `json:"name"`
}

type evidenceJSON struct {
	Complete   bool                           `json:"complete"`
	Sealed     bool                           `json:"sealed"`
	Settled    bool                           `json:"settled"`
	Moving     int                            `json:"moving"`
	Loss       []lossJSON                     `json:"loss"`
	Probes     []probeJSON                    `json:"probes,omitempty"`
	Milestones map[Milestone]watchJSON        `json:"milestones,omitempty"`
	Nodes      map[hexNumber[uint64]]string   `json:"nodes,omitempty"`
	Devices    map[hexNumber[uint64]][]string `json:"devices,omitempty"`
	Chains     map[hexNumber[uint64]][]string `json:"chains,omitempty"`
	Sockets    []hexNumber[uint64]            `json:"sockets,omitempty"`
	Reasons    []string                       `json:"reasons,omitempty"`
	Artifacts  string                         `json:"artifacts,omitempty"`
	NoFuncs    string                         `json:"no_functions,omitempty"`
	Unlinked   []string                       `json:"unlinked,omitempty"`
	Slowness   float64                        `json:"slowness,omitempty"`
	Unvouched  map[hexNumber[uint64]]string   `json:"unvouched,omitempty"`
}

type watchJSON struct {
	Probes []probeJSON `json:"probes"`
	Blind  string      `json:"blind,omitempty"`
}

// MarshalJSON gives the whole account.
func (e *Evidence) MarshalJSON() ([]byte, error) {
	out := evidenceJSON{
		Complete: e.Incomplete() == nil, Sealed: e.Sealed, Settled: e.Settled, Moving: e.Moving, Loss: []lossJSON{},
		Nodes: hexKeys(e.Nodes), Reasons: e.Reasons, Unvouched: hexKeys(e.Unvouched),
		Devices: hexKeys(e.Devices), Chains: hexKeys(e.Chains), Artifacts: e.Artifacts, NoFuncs: e.NoFunctions, Unlinked: e.Unlinked,
		Slowness: e.Slowness,
	}
	for _, l := range e.Loss {
		out.Loss = append(out.Loss, lossJSON(l))
	}
	for _, s := range e.Sockets {
		out.Sockets = append(out.Sockets, hexNumber[uint64]{s})
	}
	for _, p := range e.Probes {
		out.Probes = append(out.Probes, probeJSON(p))
	}
	for name, w := range e.Milestones {
		if out.Milestones == nil {
			out.Milestones = make(map[Milestone]watchJSON)
		}
		watch := watchJSON{Probes: []probeJSON{}, Blind: w.Blind}
		for _, p := range w.Probes {
			watch.Probes = append(watch.Probes, probeJSON(p))
		}
		out.Milestones[name] = watch
	}
	return encode("evidence", out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Evidence) UnmarshalJSON(data []byte) error {
	var in evidenceJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode evidence: %w", err)
	}
	*e = Evidence{
		Sealed: in.Sealed, Settled: in.Settled, Moving: in.Moving, Nodes: plainKeys(in.Nodes), Reasons: in.Reasons,
		Unvouched: plainKeys(in.Unvouched), Devices: plainKeys(in.Devices), Chains: plainKeys(in.Chains),
		Artifacts: in.Artifacts, NoFunctions: in.NoFuncs, Unlinked: in.Unlinked, Slowness: in.Slowness,
	}
	for _, l := range in.Loss {
		e.Loss = append(e.Loss, Loss(l))
	}
	for _, s := range in.Sockets {
		e.Sockets = append(e.Sockets, s.v)
	}
	for _, p := range in.Probes {
		e.Probes = append(e.Probes, Probe(p))
	}
	for name, w := range in.Milestones {
		if e.Milestones == nil {
			e.Milestones = make(map[Milestone]Watch)
		}
		watch := Watch{Blind: w.Blind}
		for _, p := range w.Probes {
			watch.Probes = append(watch.Probes, Probe(p))
		}
		e.Milestones[name] = watch
	}
	return nil
}

func hexKeys[V any](m map[uint64]V) map[hexNumber[uint64]]V {
	out := make(map[hexNumber[uint64]]V, len(m))
	for k, v := range m {
		out[hexNumber[uint64]{k}] = v
	}
	return out
}

func plainKeys[V any](m map[hexNumber[uint64]]V) map[uint64]V {
	if m == nil {
		return nil
	}
	out := make(map[uint64]V, len(m))
	for k, v := range m {
		out[k.v] = v
	}
	return out
}
