package journey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The JSON forms. Names are stable and documented with the package; addresses, cookies and flags are hex strings, because
// they are that to a reader and because many JSON readers cannot hold 64 bits. What can be computed from the rest (texts,
// sentences) is written and not read.
type (
	recordJSON struct {
		Evidence *Evidence           `json:"evidence"`
		Earlier  []hexNumber[uint64] `json:"earlier_sockets,omitempty"`
		Journeys []*journeyInRecord  `json:"journeys"`
	}
	journeyJSON struct {
		ID        string            `json:"id"`
		FirstSeen uint64            `json:"first_seen"`
		Head      hexNumber[uint64] `json:"head"`
		Origin    *originJSON       `json:"origin,omitempty"`
		Outcome   OutcomeKind       `json:"outcome"`
		Sentence  string            `json:"sentence"`
		Events    []eventJSON       `json:"events"`
		Branches  []branchJSON      `json:"branches"`
		Links     []linkJSON        `json:"links,omitempty"`
		Evidence  *Evidence         `json:"evidence,omitempty"`
	}
	linkJSON struct {
		Relation  Relation          `json:"relation"`
		To        string            `json:"to"` // as id
		FirstSeen uint64            `json:"first_seen"`
		Head      hexNumber[uint64] `json:"head"`
	}
	originJSON struct {
		Time         uint64            `json:"time"`
		SocketCookie hexNumber[uint64] `json:"socket_cookie"`
		NetNS        *NetNS            `json:"netns,omitempty"`
	}
	eventJSON struct {
		Time         uint64            `json:"time"`
		CPU          uint32            `json:"cpu"`
		PID          uint32            `json:"pid"`
		TID          uint32            `json:"tid,omitempty"`
		Comm         string            `json:"comm"`
		Kind         ProbeKind         `json:"probe_kind"`
		Probe        string            `json:"probe"`
		SKB          hexNumber[uint64] `json:"skb"`
		Branch       int               `json:"branch"`
		SocketCookie hexNumber[uint64] `json:"socket_cookie,omitzero"`
		Return       *int64            `json:"return,omitempty"`
		Stack        []Frame           `json:"stack,omitempty"`
		Drop         *Drop             `json:"drop,omitempty"`
		Packet       *Packet           `json:"packet,omitempty"`
		NetNS        *NetNS            `json:"netns,omitempty"`
		Device       *Device           `json:"device,omitempty"`
		Meta         *Meta             `json:"skb_meta,omitempty"`
		Sharing      *Sharing          `json:"skb_sharing,omitempty"`
		GSO          *GSO              `json:"gso,omitempty"`
		Conntrack    *Conntrack        `json:"conntrack,omitempty"`
		IPTables     *IPTables         `json:"iptables,omitempty"`
		NFT          *NFT              `json:"nft,omitempty"`
	}
	branchJSON struct {
		SKB       hexNumber[uint64] `json:"skb"`
		Parent    *int              `json:"parent"`
		Role      Role              `json:"role"`
		Auxiliary bool              `json:"auxiliary"`
		TakenAt   int               `json:"taken_at,omitempty"`
		Events    []int             `json:"events"`
		Since     int               `json:"since,omitempty"`
		Accepted  *Acceptance       `json:"accepted,omitempty"`
		Outcome   outcomeJSON       `json:"outcome"`
	}
	outcomeJSON struct {
		Kind       OutcomeKind `json:"kind"`
		Event      *int        `json:"event,omitempty"`
		Rule       *int        `json:"rule_event,omitempty"`
		Place      string      `json:"place,omitempty"`
		NetNS      *NetNS      `json:"netns,omitempty"`
		Device     *Device     `json:"device,omitempty"`
		LastNetNS  *NetNS      `json:"last_netns,omitempty"`
		LastDevice *Device     `json:"last_device,omitempty"`
		Blind      bool        `json:"blind,omitempty"`
		Unvouched  string      `json:"unvouched,omitempty"`
		WentOn     string      `json:"went_on,omitempty"`
		Sentence   string      `json:"sentence"`
	}
	// journeyInRecord is a journey without the evidence, which the record has.
	journeyInRecord struct{ *Journey }
)

// MarshalJSON gives the whole journey: events, branches with their outcomes, and how far the evidence goes.
func (j *Journey) MarshalJSON() ([]byte, error) { return j.marshal(j.Evidence) }

// MarshalJSON gives the journey without its evidence.
func (j *journeyInRecord) MarshalJSON() ([]byte, error) { return j.marshal(nil) }

// MarshalJSON gives the evidence and every journey.
func (r *Record) MarshalJSON() ([]byte, error) {
	out := recordJSON{Evidence: r.Evidence, Journeys: []*journeyInRecord{}}
	for _, cookie := range sortedKeys(r.earlier) {
		out.Earlier = append(out.Earlier, hexNumber[uint64]{cookie})
	}
	for _, j := range r.Journeys {
		out.Journeys = append(out.Journeys, &journeyInRecord{j})
	}
	return encode("record", out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Record) UnmarshalJSON(data []byte) error {
	var in recordJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	*r = Record{Evidence: in.Evidence, earlier: make(map[uint64]bool, len(in.Earlier))}
	for _, cookie := range in.Earlier {
		r.earlier[cookie.v] = true
	}
	for _, j := range in.Journeys {
		if j == nil {
			return errors.New("decode record: a journey is null")
		}
		j.Evidence, j.record = in.Evidence, r
		r.Journeys = append(r.Journeys, j.Journey)
	}
	r.relate()
	return nil
}

// UnmarshalJSON reads a journey into one of its own.
func (j *journeyInRecord) UnmarshalJSON(data []byte) error {
	j.Journey = new(Journey)
	return j.Journey.UnmarshalJSON(data)
}

func (j *Journey) marshal(evidence *Evidence) ([]byte, error) {
	out := journeyJSON{
		ID: j.ID.String(), FirstSeen: j.ID.FirstSeen, Head: hexNumber[uint64]{j.ID.Head}, Outcome: j.Outcome().Kind,
		Sentence: j.Sentence(), Events: []eventJSON{}, Branches: []branchJSON{}, Evidence: evidence,
	}
	if o := j.Origin; o != nil {
		out.Origin = &originJSON{o.Time, hexNumber[uint64]{o.SocketCookie}, o.NetNS}
	}
	indices := make(map[*Event]int, len(j.Events))
	for i := range j.Events {
		indices[&j.Events[i]] = i
		out.Events = append(out.Events, eventToJSON(&j.Events[i], j.BranchOf(i)))
	}
	for i := range j.Branches {
		out.Branches = append(out.Branches, branchToJSON(&j.Branches[i], indices))
	}
	for _, l := range j.Links {
		out.Links = append(out.Links, linkJSON{l.Relation, l.To.String(), l.To.FirstSeen, hexNumber[uint64]{l.To.Head}})
	}
	return encode("journey", out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (j *Journey) UnmarshalJSON(data []byte) error {
	var in journeyJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode journey: %w", err)
	}
	*j = Journey{ID: ID{in.FirstSeen, in.Head.v}, Evidence: in.Evidence}
	if o := in.Origin; o != nil {
		j.Origin = &OriginInfo{o.Time, o.SocketCookie.v, o.NetNS}
	}
	for i := range in.Events {
		j.Events = append(j.Events, in.Events[i].event(j.ID))
	}
	for i := range in.Branches {
		b, err := in.Branches[i].branch(j.Events, len(in.Branches))
		if err != nil {
			return fmt.Errorf("decode journey: branch %d: %w", i, err)
		}
		j.Branches = append(j.Branches, b)
	}
	for _, l := range in.Links {
		j.Links = append(j.Links, Link{l.Relation, ID{l.FirstSeen, l.Head.v}})
	}
	return nil
}

// encode is not json.Marshal, so that the ">" of a packet stays readable for whom wants it: an encoder that escapes HTML
// will still do so.
func encode(what string, v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func eventToJSON(e *Event, branch int) eventJSON {
	return eventJSON{
		Time: e.Time, CPU: e.CPU, PID: e.PID, TID: e.TID, Comm: e.Comm, Kind: e.Probe.Kind, Probe: e.Probe.Name,
		SKB: hexNumber[uint64]{e.SKB}, Branch: branch, SocketCookie: hexNumber[uint64]{e.SocketCookie}, Return: e.Return,
		Stack: e.Stack, Drop: e.Drop, Packet: e.Packet, NetNS: e.NetNS, Device: e.Device, Meta: e.Meta,
		Sharing: e.Sharing, GSO: e.GSO, Conntrack: e.Conntrack, IPTables: e.IPTables, NFT: e.NFT,
	}
}

func (e *eventJSON) event(id ID) Event {
	return Event{
		Time: e.Time, CPU: e.CPU, PID: e.PID, TID: e.TID, Comm: e.Comm, Probe: Probe{e.Kind, e.Probe}, ID: id,
		SKB: e.SKB.v, SocketCookie: e.SocketCookie.v, Return: e.Return, Stack: e.Stack, Drop: e.Drop, Packet: e.Packet,
		NetNS: e.NetNS, Device: e.Device, Meta: e.Meta, Sharing: e.Sharing, GSO: e.GSO, Conntrack: e.Conntrack,
		IPTables: e.IPTables, NFT: e.NFT,
	}
}

func branchToJSON(b *Branch, indices map[*Event]int) branchJSON {
	o := &b.Outcome
	out := branchJSON{
		SKB: hexNumber[uint64]{b.SKB}, Role: b.Role, Auxiliary: b.Auxiliary, TakenAt: b.takenAt,
		Events: append([]int{}, b.Events...), Since: b.Since, Accepted: b.Accepted,
		Outcome: outcomeJSON{
			Kind: o.Kind, Place: o.Place, NetNS: o.NetNS, Device: o.Device, LastNetNS: o.LastNetNS,
			LastDevice: o.LastDevice, Blind: o.Blind, Unvouched: o.Unvouched, WentOn: o.WentOn, Sentence: o.String(),
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

// branch checks what it refers to, so that nothing that is done with a journey later can go out of range.
func (in *branchJSON) branch(events []Event, branches int) (Branch, error) {
	o := &in.Outcome
	b := Branch{
		SKB: in.SKB.v, Parent: -1, Role: in.Role, Auxiliary: in.Auxiliary, takenAt: in.TakenAt, Events: in.Events,
		Since: in.Since, Accepted: in.Accepted,
		Outcome: Outcome{
			Kind: o.Kind, Place: o.Place, NetNS: o.NetNS, Device: o.Device, LastNetNS: o.LastNetNS,
			LastDevice: o.LastDevice, Blind: o.Blind, Unvouched: o.Unvouched, WentOn: o.WentOn,
		},
	}
	if len(in.Events) == 0 {
		b.Events = nil
	}
	for _, i := range in.Events {
		if i < 0 || i >= len(events) {
			return b, fmt.Errorf("there is no event %d", i)
		}
	}
	if in.Parent != nil {
		if b.Parent = *in.Parent; b.Parent < 0 || b.Parent >= branches {
			return b, fmt.Errorf("there is no branch %d to be its parent", b.Parent)
		}
	}
	if b.Role == Clone && b.Parent < 0 {
		return b, errors.New("it is a clone without a parent")
	}
	for _, ref := range []struct {
		index *int
		to    **Event
	}{{o.Event, &b.Outcome.Event}, {o.Rule, &b.Outcome.Rule}} {
		if ref.index == nil {
			continue
		}
		if *ref.index < 0 || *ref.index >= len(events) {
			return b, fmt.Errorf("there is no event %d", *ref.index)
		}
		*ref.to = &events[*ref.index]
	}
	if o.Kind == Dropped && (b.Outcome.Event == nil || b.Outcome.Event.Drop == nil) {
		return b, errors.New("it was dropped, but not by an event")
	}
	if b.Outcome.Rule != nil && b.Outcome.Rule.NFT == nil {
		return b, errors.New("the event of its rule has no verdict")
	}
	return b, nil
}
