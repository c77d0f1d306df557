package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
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
	armed  = table(map[uint16]journey.Probe{
		1: {Kind: journey.Function, Name: "ip_rcv"},
		2: {Kind: journey.Function, Name: "__nft_trace_packet"},
	})
	addresses = cmpopts.EquateComparable(netip.Addr{})

	decoding = decoder{stacks: stacks{ask: func(address uint64, _ bool) (string, error) {
		return fmt.Sprintf("f%d+0x20/0x40 [veth]", address), nil
	}}, reasons: &dropReasons{types: btf.NewCache(), read: map[string]bool{}, names: map[uint32]string{2: "NOT_SPECIFIED", 8: "NETFILTER_DROP"}}}
)

func table(probes map[uint16]journey.Probe) (t probeTable) {
	for number, p := range probes {
		t.set(number, p)
	}
	return t
}

var sampleHeader = trackerHeader{
	Time: 100, FirstSeen: 90, FirstHead: 0xabc, Skb: 0xdef, Value: 11, Netns: 7, Scope: 1, Cpu: 3, Pid: 42,
}

func sampleEvent(probe uint16, has trackerSection) trackerEvent {
	e := trackerEvent{H: sampleHeader, Tid: 43, Len: 31}
	e.H.Probe, e.H.Kind, e.H.Has = probe, uint8(trackerRecordKindKIND_EVENT), uint8(has)
	return e
}

func sampleLook() trackerLookRecord {
	r := trackerLookRecord{H: sampleHeader}
	r.H.Kind = uint8(trackerRecordKindKIND_LOOK)
	r.Told = trackerTold{
		CtZone: 6, Inum: 4026532117,
		Look: trackerLook{
			Socket: 12, Nfct: 0xffff888000000000 | 2, Labels: [2]uint64{1, 0}, CtStatus: 0x188, CtMark: 5, Tid: 43, Ifindex: 2, RxIfindex: 2,
			Protocol: 0x0800, Captured: 5, Network: 1, VlanProto: 0x8100, VlanTci: 0x6001, CtProtocol: unix.IPPROTO_TCP,
			CtProtoState: 1,
		},
	}
	chars("swapper/0", r.Told.Comm[:])
	chars("eth0", r.Told.Device[:])
	copy(r.Told.Look.Packet[:], "hello, and what was not captured")
	for i, end := range [][2]netip.Addr{{client, server}, {server, client}} {
		t := &r.Told.Ct[i]
		t.Src, t.Dst = words(end[0]), words(end[1])
		t.SrcPort, t.DstPort = bigEndian(39677), bigEndian(8080)
		t.L3num, t.Protonum = unix.AF_INET, unix.IPPROTO_TCP
	}
	return r
}

func decodeOne(t *testing.T, raw []byte) journey.Observation {
	t.Helper()
	h, err := headerOf(raw)
	qt.Assert(t, qt.IsNil(err))
	o, err := decoding.decode(raw, h, armed)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNotNil(o))
	return *o
}

func TestDecodeLook(t *testing.T) {
	r := sampleLook()
	raw := bytesOf(&r)
	got := decodeOne(t, raw)
	for i := range raw {
		raw[i] = 0xff // nothing of the observation may live in the ring buffer
	}
	qt.Assert(t, qt.CmpEquals(got, journey.Observation{
		Kind: journey.Looked,
		Mark: 11,
		Event: journey.Event{
			Time: 100, CPU: 3, PID: 42, TID: 43, Comm: "swapper/0",
			ID: journey.ID{FirstSeen: 90, Head: 0xabc}, SKB: 0xdef, SocketCookie: 12,
			Packet: &journey.Packet{
				Proto: 0x0800, Network: 1, Data: []byte("hello"), VLAN: &journey.VLAN{Proto: 0x8100, TCI: 0x6001},
			},
			Device: &journey.Device{Index: 2, Name: "eth0", RxIndex: 2},
			NetNS:  &journey.NetNS{Cookie: 7, Inum: 4026532117},
			Conntrack: &journey.Conntrack{
				State: "NEW", Status: 0x188, Proto: 6, Zone: 6, Mark: 5, Labels: [16]byte{1}, ProtoState: "SYN_SENT",
				Orig:  journey.Tuple{Src: client, Dst: server, SrcPort: 39677, DstPort: 8080},
				Reply: journey.Tuple{Src: server, Dst: client, SrcPort: 39677, DstPort: 8080},
			},
		},
	}, addresses))
}

func TestDecodeEvent(t *testing.T) {
	e := sampleEvent(1, 0)
	qt.Assert(t, qt.CmpEquals(decodeOne(t, bytesOf(&e)), journey.Observation{
		Kind: journey.Seen,
		Mark: 11,
		Len:  31,
		Event: journey.Event{
			Time: 100, CPU: 3, PID: 42, TID: 43, Probe: armed[0][1], ID: journey.ID{FirstSeen: 90, Head: 0xabc}, SKB: 0xdef,
		},
	}, addresses))
}

func TestDecodeMeta(t *testing.T) {
	m := trackerMetaEvent{
		E: sampleEvent(1, trackerSectionHAS_META),
		M: trackerMeta{
			Tstamp: 1, DataLen: 2, Hash: 3, Csum: 4, Mark: 5, Priority: 6, Users: 7, Dataref: 8, GsoType: 9, GsoSize: 10,
			GsoSegs: 11, QueueMapping: 12, NrFrags: 13, PktType: 3, IpSummed: 2, CsumLevel: 1, Fclone: 2,
			Flags: uint8(trackerMetaFlagMETA_L4HASH | trackerMetaFlagMETA_NOHDR),
		},
	}
	o := decodeOne(t, bytesOf(&m))
	qt.Check(t, qt.DeepEquals(o.Meta, &journey.Meta{
		Len: 31, DataLen: 2, Hash: 3, L4Hash: true, PktType: 3, IPSummed: 2, CSum: 4, CSumLevel: 1, Mark: 5, Priority: 6,
		QueueMapping: 12, Tstamp: 1,
	}))
	qt.Check(t, qt.DeepEquals(o.Sharing, &journey.Sharing{Users: 7, DataRef: 8, NoHdr: true, FClone: 2}))
	qt.Check(t, qt.DeepEquals(o.GSO, &journey.GSO{Size: 10, Segs: 11, Type: 9, Frags: 13}))

	m.M.GsoSize, m.M.NrFrags = 0, 0
	qt.Check(t, qt.IsNil(decodeOne(t, bytesOf(&m)).GSO))
}

func TestDecodeFreshEvent(t *testing.T) {
	e := trackerLookEvent{E: sampleEvent(1, trackerSectionHAS_LOOK), Told: sampleLook().Told}
	o := decodeOne(t, bytesOf(&e))
	qt.Check(t, qt.Equals(o.Kind, journey.Seen))
	qt.Check(t, qt.IsTrue(o.Fresh))
	qt.Check(t, qt.Equals(o.Packet.Len, uint32(31)))
	qt.Check(t, qt.Equals(o.Device.Name, "eth0"))

	// Nothing of it is left over for the next one.
	short := sampleEvent(1, 0)
	o = decodeOne(t, bytesOf(&short))
	qt.Check(t, qt.IsFalse(o.Fresh))
	qt.Check(t, qt.IsNil(o.Packet))
	qt.Check(t, qt.IsNil(o.Device))
}

func TestDecodeAbsentSections(t *testing.T) {
	r := sampleLook()
	r.H.Netns = 0
	r.Told.Look = trackerLook{}
	o := decodeOne(t, bytesOf(&r))
	qt.Assert(t, qt.IsNil(o.Packet))
	qt.Assert(t, qt.IsNil(o.Device))
	qt.Assert(t, qt.IsNil(o.NetNS))
	qt.Assert(t, qt.IsNil(o.Conntrack))
	qt.Assert(t, qt.IsNil(o.NFT))
	qt.Assert(t, qt.IsNil(o.Drop))
}

func TestDecodeUntracked(t *testing.T) {
	r := sampleLook()
	r.Told.Look.Nfct = 7
	qt.Assert(t, qt.Equals(decodeOne(t, bytesOf(&r)).Conntrack.Orig, journey.Tuple{}))
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
		{"jump", -3, 3, 1, journey.NFT{Rule: 4, Verdict: "jump", Target: "goods"}},
		{"goto", -4, 3, 1, journey.NFT{Rule: 4, Verdict: "goto", Target: "goods"}},
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
			chars("goods", n.Target[:]) // of no meaning to other verdicts
			tc.want.Table, tc.want.TableHandle, tc.want.Chain, tc.want.ChainHandle = "filter", 1, "input", 2
			qt.Assert(t, qt.DeepEquals(decodeOne(t, bytesOf(&n)).NFT, &tc.want))
		})
	}
}

func TestDecodeLife(t *testing.T) {
	for kind, want := range kinds {
		if want == 0 || want == journey.Seen || want == journey.Looked {
			continue
		}
		r := trackerShapedRecord{
			H: trackerHeader{FirstSeen: 90, FirstHead: 0xabc, Skb: 0xdef, Value: 5, Netns: 7, Kind: uint8(kind)},
		}
		chars("slow0", r.Device[:])
		o := decodeOne(t, bytesOf(&r))
		qt.Check(t, qt.Equals(o.Kind, want))
		qt.Check(t, qt.Equals(o.SKB, uint64(0xdef)))
		switch want {
		case journey.Origin:
			qt.Check(t, qt.Equals(o.SocketCookie, uint64(5)))
			qt.Check(t, qt.Equals(o.NetNS.Cookie, uint64(7)))
		case journey.Cloned, journey.Moved:
			qt.Check(t, qt.Equals(o.Peer, uint64(5)))
		case journey.Shaped:
			qt.Check(t, qt.Equals(o.NetNS.Cookie, uint64(7)))
			qt.Check(t, qt.DeepEquals(o.Device, &journey.Device{Index: 5, Name: "slow0"}))
		case journey.Parked:
			h := trackerHeader{Kind: uint8(kind), Value: uint64(trackerPlacePLACE_FRAGMENTS)}
			qt.Check(t, qt.Equals(o.Place, ""))
			qt.Check(t, qt.Equals(decodeOne(t, bytesOf(&h)).Place, journey.FragmentQueue))
		case journey.TapEnter:
			qt.Check(t, qt.IsTrue(o.Shared))
		}
	}
}

func TestDecodeStack(t *testing.T) {
	stack := trackerStack{Frames: 2, Address: [trackerLimitSTACK_FRAMES]uint64{1, 2, 3}}
	want := []journey.Frame{
		{Symbol: "f1", Offset: 0x20, Module: "veth"}, {Symbol: "f2", Offset: 0x20, Module: "veth"},
	}
	event := sampleEvent(1, trackerSectionHAS_STACK)
	tables := trackerIptablesEvent{E: sampleEvent(1, trackerSectionHAS_STACK|trackerSectionHAS_IPTABLES), Hook: 1, Family: 2}
	returned := sampleHeader
	returned.Probe, returned.Kind, returned.Has = 1, uint8(trackerRecordKindKIND_RETURNED), uint8(trackerSectionHAS_STACK)
	for _, record := range [][]byte{bytesOf(&event), bytesOf(&tables), bytesOf(&returned)} {
		o := decodeOne(t, slices.Concat(record, bytesOf(&stack)))
		qt.Check(t, qt.DeepEquals(o.Stack, want))
		qt.Check(t, qt.IsNil(o.Return))
		h, err := headerOf(record)
		qt.Assert(t, qt.IsNil(err))
		_, err = decoding.decode(record, h, armed)
		qt.Check(t, qt.ErrorMatches(err, "read a record: 0 bytes, where a .*Stack has .*"))
	}

	// Another scope wants the stacks of drops.
	drop := trackerDropEvent{E: sampleEvent(uint16(trackerLimitPROBE_KFREE_SKB), trackerSectionHAS_STACK|trackerSectionHAS_DROP)}
	o := decodeOne(t, slices.Concat(bytesOf(&drop), bytesOf(&stack)))
	qt.Check(t, qt.IsNotNil(o.Drop))
	qt.Check(t, qt.HasLen(o.Stack, 0))
}

func TestDecodeTables(t *testing.T) {
	i := trackerIptablesEvent{E: sampleEvent(1, trackerSectionHAS_IPTABLES), Hook: 3, Family: unix.AF_INET6, Verdict: 1<<16 | 3}
	chars("mangle", i.Table[:])
	qt.Check(t, qt.DeepEquals(decodeOne(t, bytesOf(&i)).IPTables,
		&journey.IPTables{Family: "ip6", Table: "mangle", Hook: "output", Verdict: "queue"}))
	i.Family = 7
	qt.Check(t, qt.Equals(decodeOne(t, bytesOf(&i)).IPTables.Family, "family 7"))
}

// TestDecodeAfterOthers decodes every kind of record after every other: nothing of the one may be left in the other.
func TestDecodeAfterOthers(t *testing.T) {
	var records [][]byte
	for kind := range kinds {
		h := sampleHeader
		h.Kind, h.Probe = uint8(kind), 1
		whole := sampleLook() // longer than what any of these needs
		whole.H = h
		records = append(records, bytesOf(&whole))
	}
	look, plain := sampleLook(), sampleEvent(2, 0)
	told := trackerLookEvent{E: sampleEvent(1, trackerSectionHAS_LOOK), Told: look.Told}
	drop := trackerDropEvent{E: sampleEvent(uint16(trackerLimitPROBE_KFREE_SKB), trackerSectionHAS_DROP)}
	meta := trackerMetaEvent{E: sampleEvent(1, trackerSectionHAS_META), M: trackerMeta{GsoSize: 1, Hash: 2, Users: 3}}
	tables := trackerIptablesEvent{E: sampleEvent(1, trackerSectionHAS_IPTABLES), Hook: 1, Family: 2}
	verdict := trackerNftEvent{E: sampleEvent(2, trackerSectionHAS_NFT), RuleHandle: 7}
	stack := slices.Concat(bytesOf(new(sampleEvent(1, trackerSectionHAS_STACK))), bytesOf(&trackerStack{Frames: 2}))
	records = append(records, bytesOf(&plain), bytesOf(&told), bytesOf(&drop), bytesOf(&meta), bytesOf(&tables), bytesOf(&verdict), stack)

	decode := func(d *decoder, raw []byte) *journey.Observation {
		h, err := headerOf(raw)
		qt.Assert(t, qt.IsNil(err))
		o, err := d.decode(raw, h, armed)
		if err != nil {
			return nil // the kind that is none
		}
		return o
	}
	for i, first := range records {
		for k, second := range records {
			used, fresh := decoder{stacks: decoding.stacks, reasons: decoding.reasons}, decoder{stacks: decoding.stacks, reasons: decoding.reasons}
			decode(&used, first)
			qt.Check(t, qt.CmpEquals(decode(&used, second), decode(&fresh, second), addresses), qt.Commentf("%d after %d", k, i))
		}
	}
}

func TestDecodeOtherScopesProbe(t *testing.T) {
	e := sampleEvent(9, 0)
	h, err := headerOf(bytesOf(&e))
	qt.Assert(t, qt.IsNil(err))
	o, err := decoding.decode(bytesOf(&e), h, armed)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(o))

	// What the packet looks like is told once, and events that are wanted may name it.
	fresh := trackerLookEvent{E: sampleEvent(9, trackerSectionHAS_LOOK), Told: sampleLook().Told}
	look := sampleLook()
	qt.Check(t, qt.CmpEquals(decodeOne(t, bytesOf(&fresh)), decodeOne(t, bytesOf(&look)), addresses))
}

func FuzzDecode(f *testing.F) {
	e, r := sampleEvent(1, 0), sampleLook()
	f.Add(bytesOf(&e))
	f.Add(bytesOf(&r))
	e.H.Has = uint8(trackerSectionHAS_STACK)
	f.Add(slices.Concat(bytesOf(&e), bytesOf(&trackerStack{Frames: 1 << 31})))
	f.Add([]byte{})
	// One of every section, and of every kind, whole and cut off.
	for section, record := range map[trackerSection][]byte{
		trackerSectionHAS_META:     bytesOf(&trackerMetaEvent{E: sampleEvent(1, trackerSectionHAS_META)}),
		trackerSectionHAS_NFT:      bytesOf(&trackerNftEvent{E: sampleEvent(2, trackerSectionHAS_NFT)}),
		trackerSectionHAS_IPTABLES: bytesOf(&trackerIptablesEvent{E: sampleEvent(1, trackerSectionHAS_IPTABLES)}),
		trackerSectionHAS_LOOK:     bytesOf(&trackerLookEvent{E: sampleEvent(1, trackerSectionHAS_LOOK), Told: r.Told}),
		trackerSectionHAS_DROP: bytesOf(&trackerDropEvent{
			E: sampleEvent(uint16(trackerLimitPROBE_KFREE_SKB), trackerSectionHAS_DROP), Reason: 8,
		}),
	} {
		f.Add(record)
		f.Add(record[:len(record)-8])
		stacked := slices.Clone(record)
		stacked[unsafe.Offsetof(e.H.Has)] = uint8(section | trackerSectionHAS_STACK)
		f.Add(slices.Concat(stacked, bytesOf(&trackerStack{Frames: 2, Address: [trackerLimitSTACK_FRAMES]uint64{1, 2}})))
	}
	for kind := trackerRecordKindKIND_EVENT; kind <= trackerRecordKindKIND_LINKED+1; kind++ {
		shaped := trackerShapedRecord{H: sampleHeader}
		shaped.H.Kind = uint8(kind)
		f.Add(bytesOf(&shaped))
		f.Add(bytesOf(&shaped.H))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The ring buffer's records are aligned.
		aligned := make([]uint64, (len(raw)+7)/8+1)
		b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(aligned))), 8*len(aligned))[:len(raw)]
		copy(b, raw)
		h, err := headerOf(b)
		if err != nil {
			return
		}
		o, err := decoding.decode(b, h, armed)
		if err == nil && o != nil && o.Packet != nil && len(o.Packet.Data) > 128 {
			t.Errorf("%d bytes of packet", len(o.Packet.Data))
		}
		if !bytes.Equal(b, raw) {
			t.Error("the record was changed")
		}
	})
}
