package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// bytesOf gives a record as the ring buffer would.
func bytesOf[T any](record *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(record)), unsafe.Sizeof(*record))
}

func chars(s string, to []int8) {
	for i := range s {
		to[i] = int8(s[i])
	}
}

func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

func words(a netip.Addr) [4]uint32 {
	b := a.As16()
	raw := b[:]
	if a.Is4() {
		raw = append(a.AsSlice(), make([]byte, 12)...)
	}
	var w [4]uint32
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(raw[4*i:])
	}
	return w
}

var (
	client = netip.MustParseAddr("172.16.42.1")
	server = netip.MustParseAddr("172.16.42.2")
	armed  = map[uint16]journey.Probe{
		1: {Kind: journey.Function, Name: "ip_rcv"},
		2: {Kind: journey.Function, Name: "__nft_trace_packet"},
	}
	addresses = cmpopts.EquateComparable(netip.Addr{})

	tracker = &Tracker{reasons: &dropReasons{types: btf.NewCache(), read: map[string]bool{}, names: map[uint32]string{2: "NOT_SPECIFIED", 8: "NETFILTER_DROP"}}}
)

func sampleEvent(probe uint16, has trackerSection) trackerEvent {
	e := trackerEvent{
		H: trackerHeader{
			Time: 100, FirstSeen: 90, FirstHead: 0xabc, Skb: 0xdef, Netns: 7, Scope: 1, Cpu: 3, Pid: 42,
			Probe: probe, Kind: uint8(trackerRecordKindKIND_EVENT), Has: uint8(has),
		},
		Inum: 4026532117, Ifindex: 2, RxIfindex: 2, Len: 31, Protocol: 0x0800, Captured: 5,
		CtStatus: 0x188, CtMark: 5, CtZone: 6, CtInfo: 2,
	}
	chars("swapper/0", e.Comm[:])
	chars("eth0", e.Device[:])
	copy(e.Packet[:], "hello, and what was not captured")
	for i, end := range [][2]netip.Addr{{client, server}, {server, client}} {
		t := &e.Ct[i]
		t.Src, t.Dst = words(end[0]), words(end[1])
		t.SrcPort, t.DstPort = bigEndian(39677), bigEndian(8080)
		t.L3num, t.Protonum = unix.AF_INET, unix.IPPROTO_UDP
	}
	return e
}

func decodeOne(t *testing.T, raw []byte) journey.Observation {
	t.Helper()
	h, err := headerOf(raw)
	qt.Assert(t, qt.IsNil(err))
	o, ok, err := tracker.decode(raw, h, armed)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsTrue(ok))
	return o
}

func TestDecodeCommonSections(t *testing.T) {
	e := sampleEvent(1, trackerSectionHAS_PACKET|trackerSectionHAS_DEVICE|trackerSectionHAS_CONNTRACK)
	raw := bytesOf(&e)
	got := decodeOne(t, raw)
	for i := range raw {
		raw[i] = 0xff // nothing of the observation may live in the ring buffer
	}
	qt.Assert(t, qt.CmpEquals(got, journey.Observation{
		Kind: journey.Seen,
		Event: journey.Event{
			Time: 100, CPU: 3, PID: 42, Comm: "swapper/0", Probe: armed[1],
			ID: journey.ID{FirstSeen: 90, Head: 0xabc}, SKB: 0xdef,
			Packet: &journey.Packet{Proto: 0x0800, Len: 31, Data: []byte("hello")},
			Device: &journey.Device{Index: 2, Name: "eth0", RxIndex: 2},
			NetNS:  &journey.NetNS{Cookie: 7, Inum: 4026532117},
			Conntrack: &journey.Conntrack{
				State: "NEW", Status: 0x188, Proto: 17, Zone: 6, Mark: 5,
				Orig:  journey.Tuple{Src: client, Dst: server, SrcPort: 39677, DstPort: 8080},
				Reply: journey.Tuple{Src: server, Dst: client, SrcPort: 39677, DstPort: 8080},
			},
		},
	}, addresses))
}

func TestDecodeAbsentSections(t *testing.T) {
	e := sampleEvent(1, 0)
	e.H.Netns = 0
	o := decodeOne(t, bytesOf(&e))
	qt.Assert(t, qt.IsNil(o.Packet))
	qt.Assert(t, qt.IsNil(o.Device))
	qt.Assert(t, qt.IsNil(o.NetNS))
	qt.Assert(t, qt.IsNil(o.Conntrack))
	qt.Assert(t, qt.IsNil(o.NFT))
	qt.Assert(t, qt.IsNil(o.Drop))
}

func TestDecodeUntracked(t *testing.T) {
	e := sampleEvent(1, trackerSectionHAS_CONNTRACK)
	e.CtInfo = 7
	qt.Assert(t, qt.Equals(decodeOne(t, bytesOf(&e)).Conntrack.Orig, journey.Tuple{}))
}

func TestDecodeDrop(t *testing.T) {
	for _, tc := range []struct {
		reason             uint32
		symbol             string
		name, wantLocation string
	}{
		{8, "nft_do_chain+0x2a1/0x5f0 [nf_tables]", "NETFILTER_DROP", "nft_do_chain+0x2a1"},
		{2, "__udp4_lib_rcv+0x545/0xb70", "NOT_SPECIFIED", "__udp4_lib_rcv+0x545"},
		{3<<16 | 1, "0xffffffffc0001234", "0x30001", "0xffffffffc0001234"},
	} {
		d := trackerDropEvent{E: sampleEvent(uint16(trackerLimitPROBE_KFREE_SKB), trackerSectionHAS_DROP), Reason: tc.reason}
		chars(tc.symbol, d.Location[:])
		o := decodeOne(t, bytesOf(&d))
		qt.Check(t, qt.DeepEquals(o.Probe, dropProbe))
		qt.Check(t, qt.DeepEquals(o.Drop, &journey.Drop{Reason: tc.name, Location: tc.wantLocation}))
	}
}

func TestDecodeVerdict(t *testing.T) {
	for _, tc := range []struct {
		name    string
		verdict int32
		typ     uint8
		policy  uint8
		want    journey.NFT
	}{
		{"rule", 0, 3, 1, journey.NFT{Rule: 4, Verdict: "drop"}},
		{"continue", -1, 3, 1, journey.NFT{Rule: 4, Verdict: "continue"}},
		{"jump", -3, 3, 1, journey.NFT{Rule: 4, Verdict: "jump"}},
		{"queue 5", 5<<16 | 3, 3, 1, journey.NFT{Rule: 4, Verdict: "queue"}},
		{"accept policy", -1, nftTypePolicy, 1, journey.NFT{Verdict: "accept", Policy: true}},
		{"drop policy", -1, nftTypePolicy, 0, journey.NFT{Verdict: "drop", Policy: true}},
		{"unheard of", -77, 3, 1, journey.NFT{Rule: 4, Verdict: "verdict -77"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := trackerNftEvent{
				E: sampleEvent(2, trackerSectionHAS_NFT), TableHandle: 1, ChainHandle: 2, Verdict: tc.verdict, Type: tc.typ,
				Policy: tc.policy, RuleHandle: tc.want.Rule,
			}
			chars("filter", n.Table[:])
			chars("input", n.Chain[:])
			tc.want.Table, tc.want.TableHandle, tc.want.Chain, tc.want.ChainHandle = "filter", 1, "input", 2
			qt.Assert(t, qt.DeepEquals(decodeOne(t, bytesOf(&n)).NFT, &tc.want))
		})
	}
}

func TestDecodeLife(t *testing.T) {
	for kind, want := range kinds {
		if want == journey.Seen {
			continue
		}
		h := trackerHeader{FirstSeen: 90, FirstHead: 0xabc, Skb: 0xdef, Value: 5, Netns: 7, Kind: uint8(kind)}
		o := decodeOne(t, bytesOf(&h))
		qt.Check(t, qt.Equals(o.Kind, want))
		qt.Check(t, qt.Equals(o.SKB, uint64(0xdef)))
		switch want {
		case journey.Origin:
			qt.Check(t, qt.Equals(o.SocketCookie, uint64(5)))
			qt.Check(t, qt.Equals(o.NetNS.Cookie, uint64(7)))
		case journey.Cloned:
			qt.Check(t, qt.Equals(o.Peer, uint64(5)))
		case journey.TapEnter:
			qt.Check(t, qt.IsTrue(o.Shared))
		}
	}
}

func TestDecodeOtherScopesProbe(t *testing.T) {
	e := sampleEvent(9, 0)
	h, err := headerOf(bytesOf(&e))
	qt.Assert(t, qt.IsNil(err))
	_, ok, err := tracker.decode(bytesOf(&e), h, armed)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsFalse(ok))
}

func FuzzDecode(f *testing.F) {
	e := sampleEvent(1, trackerSectionHAS_PACKET|trackerSectionHAS_CONNTRACK)
	f.Add(bytesOf(&e))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The ring buffer's records are aligned.
		aligned := make([]uint64, (len(raw)+7)/8+1)
		b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(aligned))), 8*len(aligned))[:len(raw)]
		copy(b, raw)
		h, err := headerOf(b)
		if err != nil {
			return
		}
		o, _, err := tracker.decode(b, h, armed)
		if err == nil && o.Packet != nil && len(o.Packet.Data) > 128 {
			t.Errorf("%d bytes of packet", len(o.Packet.Data))
		}
		if !bytes.Equal(b, raw) {
			t.Error("the record was changed")
		}
	})
}
