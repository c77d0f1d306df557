package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

var dropProbe = journey.Probe{Kind: journey.Tracepoint, Name: "skb:kfree_skb"}

func headerOf(raw []byte) (*trackerHeader, error) { return view[trackerHeader](raw) }

var kinds = map[trackerRecordKind]journey.ObservationKind{
	trackerRecordKindKIND_EVENT:     journey.Seen,
	trackerRecordKindKIND_ORIGIN:    journey.Origin,
	trackerRecordKindKIND_CLONED:    journey.Cloned,
	trackerRecordKindKIND_TAP_ENTER: journey.TapEnter,
	trackerRecordKindKIND_TAP_EXIT:  journey.TapExit,
	trackerRecordKindKIND_ENQUEUED:  journey.Enqueued,
	trackerRecordKindKIND_PARKED:    journey.Parked,
	trackerRecordKindKIND_RESUMED:   journey.Resumed,
	trackerRecordKindKIND_RELEASED:  journey.Released,
}

// decode turns a record into an observation. It answers false for an event at a probe that is not among the given ones:
// another scope armed it.
func (t *Tracker) decode(raw []byte, h *trackerHeader, probes map[uint16]journey.Probe) (journey.Observation, bool, error) {
	kind, ok := kinds[trackerRecordKind(h.Kind)]
	if !ok {
		return journey.Observation{}, false, fmt.Errorf("read a record: unknown kind %d", h.Kind)
	}
	o := journey.Observation{
		Kind: kind,
		Event: journey.Event{
			Time: h.Time,
			CPU:  h.Cpu,
			PID:  h.Pid,
			ID:   journey.ID{FirstSeen: h.FirstSeen, Head: h.FirstHead},
			SKB:  h.Skb,
		},
	}
	switch kind {
	case journey.Seen:
		if h.Probe == uint16(trackerLimitPROBE_KFREE_SKB) {
			o.Probe = dropProbe
		} else if o.Probe, ok = probes[h.Probe]; !ok {
			return o, false, nil
		}
		return o, true, t.decodeSections(raw, h, &o.Event)
	case journey.Origin:
		o.SocketCookie = h.Value
		o.NetNS = &journey.NetNS{Cookie: h.Netns}
	case journey.Enqueued:
		o.NetNS = &journey.NetNS{Cookie: h.Netns}
	case journey.Cloned:
		o.Peer = h.Value
	case journey.TapEnter:
		o.Shared = h.Value != 0
	}
	return o, true, nil
}

func (t *Tracker) decodeSections(raw []byte, h *trackerHeader, to *journey.Event) error {
	e, err := view[trackerEvent](raw)
	if err != nil {
		return err
	}
	has := func(s trackerSection) bool { return h.Has&uint8(s) != 0 }

	to.Comm = text(e.Comm[:])
	if h.Netns != 0 {
		to.NetNS = &journey.NetNS{Cookie: h.Netns, Inum: e.Inum}
	}
	if has(trackerSectionHAS_DEVICE) {
		to.Device = &journey.Device{Index: e.Ifindex, Name: text(e.Device[:]), RxIndex: e.RxIfindex}
	}
	if has(trackerSectionHAS_PACKET) {
		n := min(int(e.Captured), len(e.Packet))
		to.Packet = &journey.Packet{Proto: e.Protocol, Len: e.Len, Data: slices.Clone(e.Packet[:n])}
	}
	if has(trackerSectionHAS_CONNTRACK) {
		to.Conntrack = conntrack(e)
	}
	if has(trackerSectionHAS_NFT) {
		n, err := view[trackerNftEvent](raw)
		if err != nil {
			return err
		}
		to.NFT = nft(n)
	}
	if has(trackerSectionHAS_DROP) {
		d, err := view[trackerDropEvent](raw)
		if err != nil {
			return err
		}
		to.Drop = &journey.Drop{Reason: t.reasons.name(d.Reason), Location: location(text(d.Location[:]))}
	}
	return nil
}

// conntrackStates are the values of enum ip_conntrack_info (include/uapi/linux/netfilter/nf_conntrack_common.h).
var conntrackStates = [8]string{
	"ESTABLISHED", "RELATED", "NEW", "REPLY", "RELATED_REPLY", "5", "6", "UNTRACKED",
}

func conntrack(e *trackerEvent) *journey.Conntrack {
	c := &journey.Conntrack{
		State:  conntrackStates[e.CtInfo&7],
		Status: e.CtStatus,
		Zone:   e.CtZone,
		Mark:   e.CtMark,
		Proto:  e.Ct[0].Protonum,
	}
	tuple := func(i int) journey.Tuple {
		from := &e.Ct[i]
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

// verdicts are the codes of include/uapi/linux/netfilter.h and nf_tables.h (enum nft_verdicts).
var verdicts = map[int32]string{
	0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat",
	-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return",
}

const (
	nftTypePolicy = 1 // enum nft_trace_types, include/uapi/linux/netfilter/nf_tables.h
	nfVerdictMask = 0xff
)

func nft(n *trackerNftEvent) *journey.NFT {
	code := n.Verdict
	policy := n.Type == nftTypePolicy
	if policy {
		code = int32(n.Policy)
	}
	if code > 0 {
		code &= nfVerdictMask // a queue's number is in the upper half
	}
	verdict, ok := verdicts[code]
	if !ok {
		verdict = fmt.Sprintf("verdict %d", code)
	}
	return &journey.NFT{
		Table:       text(n.Table[:]),
		TableHandle: n.TableHandle,
		Chain:       text(n.Chain[:]),
		ChainHandle: n.ChainHandle,
		Rule:        n.RuleHandle,
		Verdict:     verdict,
		Policy:      policy,
	}
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
