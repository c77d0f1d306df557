package journey

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
)

// The JSON forms. Names are stable; addresses, cookies and flags are hex strings, because they are that to a reader
// and because many JSON readers cannot hold 64 bits.
type (
	journeyJSON struct {
		ID       string        `json:"id"`
		Origin   *originJSON   `json:"origin,omitempty"`
		Outcome  OutcomeKind   `json:"outcome"`
		Sentence string        `json:"sentence"`
		Events   []eventJSON   `json:"events"`
		Branches []branchJSON  `json:"branches"`
		Evidence *evidenceJSON `json:"evidence,omitempty"`
	}
	originJSON struct {
		Time         uint64     `json:"time"`
		SocketCookie string     `json:"socket_cookie"`
		NetNS        *netnsJSON `json:"netns,omitempty"`
	}
	eventJSON struct {
		Time      uint64         `json:"time"`
		CPU       uint32         `json:"cpu"`
		PID       uint32         `json:"pid"`
		Comm      string         `json:"comm"`
		Kind      string         `json:"probe_kind"`
		Probe     string         `json:"probe"`
		SKB       string         `json:"skb"`
		Branch    int            `json:"branch"`
		Drop      *dropJSON      `json:"drop,omitempty"`
		Packet    *packetJSON    `json:"packet,omitempty"`
		NetNS     *netnsJSON     `json:"netns,omitempty"`
		Device    *deviceJSON    `json:"device,omitempty"`
		Conntrack *conntrackJSON `json:"conntrack,omitempty"`
		NFT       *nftJSON       `json:"nft,omitempty"`
	}
	dropJSON struct {
		Reason   string `json:"reason"`
		Location string `json:"location,omitempty"`
	}
	packetJSON struct {
		Proto string `json:"proto"`
		Len   uint32 `json:"len"`
		Text  string `json:"text"`
		Data  string `json:"data"`
	}
	netnsJSON struct {
		Cookie string `json:"cookie"`
		Inum   uint32 `json:"inum"`
		Node   string `json:"node,omitempty"`
	}
	deviceJSON struct {
		Index   uint32 `json:"index"`
		Name    string `json:"name"`
		RxIndex uint32 `json:"rx_index"`
	}
	tupleJSON struct {
		Src     netip.Addr `json:"src"`
		SrcPort uint16     `json:"src_port"`
		Dst     netip.Addr `json:"dst"`
		DstPort uint16     `json:"dst_port"`
	}
	conntrackJSON struct {
		State  string    `json:"state"`
		Status string    `json:"status"`
		Proto  uint8     `json:"proto"`
		Orig   tupleJSON `json:"orig"`
		Reply  tupleJSON `json:"reply"`
		Zone   uint16    `json:"zone"`
		Mark   string    `json:"mark"`
	}
	nftJSON struct {
		Family      string `json:"family,omitempty"`
		Table       string `json:"table"`
		TableHandle uint64 `json:"table_handle"`
		Chain       string `json:"chain"`
		ChainHandle uint64 `json:"chain_handle"`
		Rule        uint64 `json:"rule_handle,omitempty"`
		RuleText    string `json:"rule_text,omitempty"`
		Comment     string `json:"comment,omitempty"`
		Verdict     string `json:"verdict"`
		Policy      bool   `json:"policy"`
	}
	branchJSON struct {
		SKB       string      `json:"skb"`
		Parent    *int        `json:"parent"`
		Role      Role        `json:"role"`
		Auxiliary bool        `json:"auxiliary"`
		Events    []int       `json:"events"`
		Outcome   outcomeJSON `json:"outcome"`
	}
	outcomeJSON struct {
		Kind       OutcomeKind `json:"kind"`
		Event      *int        `json:"event,omitempty"`
		Rule       *int        `json:"rule_event,omitempty"`
		Place      string      `json:"place,omitempty"`
		NetNS      *netnsJSON  `json:"netns,omitempty"`
		Device     *deviceJSON `json:"device,omitempty"`
		LastNetNS  *netnsJSON  `json:"last_netns,omitempty"`
		LastDevice *deviceJSON `json:"last_device,omitempty"`
		Sentence   string      `json:"sentence"`
	}
	evidenceJSON struct {
		Complete bool       `json:"complete"`
		Sealed   bool       `json:"sealed"`
		Settled  bool       `json:"settled"`
		Moving   int        `json:"moving"`
		Loss     []lossJSON `json:"loss"`
	}
	lossJSON struct {
		Cause string `json:"cause"`
		Count uint64 `json:"count"`
	}
)

// MarshalJSON gives the whole journey: events, branches with their outcomes, and how far the evidence goes.
func (j *Journey) MarshalJSON() ([]byte, error) {
	out := journeyJSON{
		ID: j.ID.String(), Outcome: j.Outcome().Kind, Sentence: j.Sentence(),
		Events: []eventJSON{}, Branches: []branchJSON{},
	}
	if j.Origin != nil {
		out.Origin = &originJSON{j.Origin.Time, hexadecimal(j.Origin.SocketCookie), netnsToJSON(j.Origin.NetNS)}
	}
	indices := make(map[*Event]int, len(j.Events))
	for i := range j.Events {
		indices[&j.Events[i]] = i
		out.Events = append(out.Events, eventToJSON(&j.Events[i], j.BranchOf(i)))
	}
	for i := range j.Branches {
		out.Branches = append(out.Branches, branchToJSON(&j.Branches[i], indices))
	}
	if e := j.Evidence; e != nil {
		out.Evidence = &evidenceJSON{e.Incomplete() == nil, e.Sealed, e.Settled, e.Moving, []lossJSON{}}
		for _, l := range e.Loss {
			out.Evidence.Loss = append(out.Evidence.Loss, lossJSON(l))
		}
	}
	// Not json.Marshal, so that the ">" of a packet stays readable for whom wants it: an encoder that escapes HTML will
	// still do so.
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		return nil, fmt.Errorf("encode journey: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func hexadecimal[T uint16 | uint32 | uint64](v T) string { return fmt.Sprintf("%#x", v) }

func eventToJSON(e *Event, branch int) eventJSON {
	out := eventJSON{
		Time: e.Time, CPU: e.CPU, PID: e.PID, Comm: e.Comm, Kind: e.Probe.Kind.String(), Probe: e.Probe.Name,
		SKB: hexadecimal(e.SKB), Branch: branch, NetNS: netnsToJSON(e.NetNS), Device: deviceToJSON(e.Device),
	}
	if d := e.Drop; d != nil {
		out.Drop = &dropJSON{Reason: d.Reason, Location: d.Location}
	}
	if p := e.Packet; p != nil {
		out.Packet = &packetJSON{hexadecimal(p.Proto), p.Len, p.String(), hex.EncodeToString(p.Data)}
	}
	if c := e.Conntrack; c != nil {
		out.Conntrack = &conntrackJSON{
			c.State, hexadecimal(c.Status), c.Proto, tupleToJSON(c.Orig), tupleToJSON(c.Reply), c.Zone, hexadecimal(c.Mark),
		}
	}
	if n := e.NFT; n != nil {
		out.NFT = &nftJSON{
			n.Family, n.Table, n.TableHandle, n.Chain, n.ChainHandle, n.Rule, n.RuleText, n.Comment, n.Verdict, n.Policy,
		}
	}
	return out
}

func branchToJSON(b *Branch, indices map[*Event]int) branchJSON {
	o := &b.Outcome
	out := branchJSON{
		SKB: hexadecimal(b.SKB), Role: b.Role, Auxiliary: b.Auxiliary, Events: append([]int{}, b.Events...),
		Outcome: outcomeJSON{
			Kind: o.Kind, Place: o.Place, NetNS: netnsToJSON(o.NetNS), Device: deviceToJSON(o.Device),
			LastNetNS: netnsToJSON(o.LastNetNS), LastDevice: deviceToJSON(o.LastDevice), Sentence: o.String(),
		},
	}
	if b.Parent >= 0 {
		out.Parent = &b.Parent
	}
	if i, ok := indices[o.Event]; ok {
		out.Outcome.Event = &i
	}
	if i, ok := indices[o.Rule]; ok {
		out.Outcome.Rule = &i
	}
	return out
}

func tupleToJSON(t Tuple) tupleJSON { return tupleJSON(t) }

func netnsToJSON(n *NetNS) *netnsJSON {
	if n == nil {
		return nil
	}
	return &netnsJSON{hexadecimal(n.Cookie), n.Inum, n.Node}
}

func deviceToJSON(d *Device) *deviceJSON {
	if d == nil {
		return nil
	}
	return &deviceJSON{d.Index, d.Name, d.RxIndex}
}
