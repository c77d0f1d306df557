package eventfile_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/waybill-dev/waybill/eventfile"
	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
)

var first = eventfile.Startup{
	Time: 1<<40 + 4, Version: "waybill (test)", Command: "waybill collect -o", Offset: 1795842331*time.Second + 78273780,
	KernelRelease: "6.12.95", KernelVersion: "#1 SMP", Hardware: "x86_64", NoFunctions: "the kernel refuses them",
}

var end = eventfile.End{Events: 3, Journeys: 1, Loss: []eventfile.Loss{{Cause: "records lost: the ring buffer was full", Count: 7}}}

// observations have every section, and every kind of life.
func observations() []journey.Observation {
	id := journey.ID{FirstSeen: 1 << 40, Head: 0xffff888167d5fe00}
	returned := int64(-22)
	tuple := func(src, dst string, sport, dport uint16) journey.Tuple {
		return journey.Tuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), SrcPort: sport, DstPort: dport}
	}
	event := journey.Event{
		Time: 1<<40 + 5, CPU: 3, PID: 100, TID: 101, Comm: "nc <&> \"x\"", ID: id, SKB: 0xffff888100000100,
		Probe: journey.Probe{Kind: journey.Function, Name: "ip_rcv"}, SocketCookie: 9,
		NetNS: &journey.NetNS{Cookie: 4, Inum: 4026532177}, Device: &journey.Device{Index: 2, Name: "eth0", RxIndex: 1},
		Packet: &journey.Packet{
			Proto: 0x0800, Len: 45, Network: 14, Data: append(make([]byte, 12), 8, 0, 0x45, 0, 0, 31),
			VLAN: &journey.VLAN{Proto: 0x8100, TCI: 0x3064},
		},
		Conntrack: &journey.Conntrack{
			State: "NEW", Status: 8, Proto: 17, Orig: tuple("10.0.0.1", "10.0.0.2", 1234, 80),
			Reply: tuple("10.0.0.2", "10.0.0.1", 80, 1234), Mark: 5, Zone: 2, Labels: [16]byte{1, 15: 2},
		},
		Meta:    &journey.Meta{Len: 45, DataLen: 3, Hash: 7, IPSummed: 2, CSum: 9, CSumLevel: 1, Priority: 6},
		Sharing: &journey.Sharing{Users: 2, Cloned: true, DataRef: 3, NoHdr: true, FClone: 1},
		GSO:     &journey.GSO{Size: 1448, Segs: 3, Type: 1, Frags: 4},
		Stack:   []journey.Frame{{Symbol: "nft_do_chain", Offset: 0x40f, Module: "nf_tables"}, {Symbol: "ip_rcv"}},
	}
	var all []journey.Observation
	add := func(kind journey.ObservationKind, change func(*journey.Observation)) {
		o := journey.Observation{Kind: kind, Event: event}
		if kind != journey.Seen {
			o.Event = journey.Event{Time: event.Time, CPU: 1, ID: id, SKB: event.SKB}
		}
		change(&o)
		all = append(all, o)
	}
	add(journey.Origin, func(o *journey.Observation) { o.SocketCookie, o.NetNS = 9, &journey.NetNS{Cookie: 4} })
	add(journey.Seen, func(*journey.Observation) {})
	add(journey.Seen, func(o *journey.Observation) {
		o.Probe, o.Return = journey.Probe{Kind: journey.Return, Name: "ip_rcv"}, &returned
		o.Packet = &journey.Packet{Proto: 0x86dd, Len: 60, Data: []byte{0x60, 1, 2}}
		o.Conntrack.Proto = 17
		o.Conntrack = &journey.Conntrack{
			State: "RELATED_REPLY", Proto: 58, Orig: tuple("fe80::1", "fe80::2", 7, 128<<8), Reply: tuple("fe80::2", "fe80::1", 7, 129<<8),
		}
	})
	for _, proto := range []uint8{6, 132, 1} {
		add(journey.Seen, func(o *journey.Observation) {
			ct := *o.Conntrack
			ct.Proto, ct.ProtoState = proto, "ESTABLISHED"
			o.Conntrack = &ct
		})
	}
	add(journey.Seen, func(o *journey.Observation) {
		o.Probe = journey.Probe{Kind: journey.Tracepoint, Name: "skb:kfree_skb"}
		o.Drop = &journey.Drop{Reason: "NETFILTER_DROP", Subsystem: "", Location: "nft_do_chain+0x40f"}
	})
	add(journey.Seen, func(o *journey.Observation) {
		o.Probe = journey.Probe{Kind: journey.RawTracepoint, Name: "net_dev_queue"}
		o.IPTables = &journey.IPTables{Family: "ip6", Table: "mangle", Hook: "output", Verdict: "drop"}
	})
	add(journey.Seen, func(o *journey.Observation) {
		o.NFT = &journey.NFT{
			Table: "filter", TableHandle: 1, Chain: "input", ChainHandle: 2, Rule: 3, Verdict: "jump", Target: "goods", Policy: true,
		}
	})
	add(journey.Cloned, func(o *journey.Observation) { o.Peer = 0xffff888100000200 })
	add(journey.TapEnter, func(o *journey.Observation) { o.Shared = true })
	for _, kind := range []journey.ObservationKind{
		journey.TapExit, journey.Enqueued, journey.Shaped, journey.Resumed, journey.Absorbed, journey.Moved, journey.Released,
	} {
		add(kind, func(*journey.Observation) {})
	}
	add(journey.Linked, func(o *journey.Observation) {
		o.Relation, o.Other = journey.Fragment, journey.ID{FirstSeen: 7, Head: 0xffff888100000300}
	})
	add(journey.Parked, func(o *journey.Observation) { o.Place = journey.FragmentQueue })
	return all
}

func write(t *testing.T, to io.Writer) error {
	t.Helper()
	w := eventfile.NewWriter(to)
	if err := w.Begin(first); err != nil {
		return err
	}
	for _, o := range observations() {
		if err := w.Add(&o); err != nil {
			return err
		}
	}
	qt.Check(t, qt.IsNil(w.Add(&journey.Observation{Kind: journey.Looked})))
	return w.End(end)
}

func TestRoundTrip(t *testing.T) {
	var file bytes.Buffer
	qt.Assert(t, qt.IsNil(write(t, &file)))
	golden.Check(t, "every.json", file.String())
	var got []journey.Observation
	for item, err := range eventfile.Read(&file) {
		qt.Assert(t, qt.IsNil(err))
		switch {
		case item.Startup != nil:
			qt.Check(t, qt.DeepEquals(*item.Startup, first))
		case item.End != nil:
			qt.Check(t, qt.DeepEquals(*item.End, end))
		default:
			got = append(got, *item.Observation)
		}
	}
	qt.Check(t, qt.CmpEquals(got, observations(), cmpopts.EquateComparable(netip.Addr{})))
}

// TestRetis reads lines as Retis writes them.
func TestRetis(t *testing.T) {
	const file = `{"startup":{"retis_version":"v1.7.0","cmdline":"retis collect","clock_monotonic_offset":{"sec":5,"nsec":6},"machine":{"kernel_release":"6","kernel_version":"v","hardware_name":"x"}}}
{"common":{"timestamp":7,"smp_id":1,"task":{"pid":8,"tgid":9,"comm":"ping"}},"kernel":{"symbol":"skb:kfree_skb","probe_type":"raw_tracepoint","stack_trace":["a+0x1","b"]},"skb-tracking":{"orig_head":1,"timestamp":2,"skb":3},"skb-drop":{"drop_reason":"NO_SOCKET"},"packet":{"len":18,"capture_len":18,"data":"AAAAAAAAAAAAAAAACABFAAAf"},"netns":{"inum":5},"dev":{"name":"lo","ifindex":1},"ct":{"state":"established","zone_id":0,"zone_dir":"None","orig":{"ip":{"src":"1.2.3.4","dst":"1.2.3.5","version":"v4"},"proto":{"tcp":{"sport":1,"dport":2}}},"reply":{"ip":{"src":"1.2.3.5","dst":"1.2.3.4","version":"v4"},"proto":{"tcp":{"sport":2,"dport":1}}},"proto_state":"ESTABLISHED","ct_status":8},"tracking":{"idx":0}}
`
	var o *journey.Observation
	for item, err := range eventfile.Read(strings.NewReader(file)) {
		qt.Assert(t, qt.IsNil(err))
		if item.Observation != nil {
			o = item.Observation
		}
	}
	qt.Assert(t, qt.IsNotNil(o))
	golden.Check(t, "retis.txt", o.Text())
}

// TestSeries reads what retis sort --out makes of a file: the events of a packet in one line.
func TestSeries(t *testing.T) {
	var file bytes.Buffer
	qt.Assert(t, qt.IsNil(write(t, &file)))
	series := "[" + strings.Join(strings.Split(strings.TrimSpace(file.String()), "\n"), ",") + "]\n"
	var got []journey.Observation
	ended := false
	for item, err := range eventfile.Read(strings.NewReader(series)) {
		qt.Assert(t, qt.IsNil(err))
		if item.Observation != nil {
			got = append(got, *item.Observation)
		}
		ended = ended || item.End != nil
	}
	qt.Check(t, qt.CmpEquals(got, observations(), cmpopts.EquateComparable(netip.Addr{})))
	qt.Check(t, qt.IsTrue(ended))
}

// TestManyLives: what becomes of sk_buffs is written though no event follows.
func TestManyLives(t *testing.T) {
	const n = 1000
	var file bytes.Buffer
	w := eventfile.NewWriter(&file)
	qt.Assert(t, qt.IsNil(w.Begin(first)))
	for i := range n {
		o := &journey.Observation{Kind: journey.Released}
		o.Time, o.ID, o.SKB = uint64(i+1), journey.ID{FirstSeen: 1, Head: 2}, uint64(i+1)
		qt.Assert(t, qt.IsNil(w.Add(o)))
	}
	qt.Assert(t, qt.IsNil(w.Flush()))
	qt.Check(t, qt.IsTrue(strings.Count(file.String(), "released") > n-300))
	qt.Assert(t, qt.IsNil(w.End(end)))
	var got []uint64
	for item, err := range eventfile.Read(&file) {
		qt.Assert(t, qt.IsNil(err))
		if item.Observation != nil {
			got = append(got, item.Observation.SKB)
		}
	}
	qt.Check(t, qt.HasLen(got, n))
	qt.Check(t, qt.IsTrue(slices.IsSorted(got)))
}

// TestBadLines: what makes no sense is told by its number, and what follows is read.
func TestBadLines(t *testing.T) {
	var file bytes.Buffer
	qt.Assert(t, qt.IsNil(write(t, &file)))
	lines := strings.SplitAfter(file.String(), "\n")
	damaged := lines[0] + "{\"common\": {\n" + "7\n" + "{}\n" + `{"common":{"timestamp":1}}` + "\n\n" + lines[1] + `{"common":{"timestamp":1},"skb-tracking":{}}` + "\n" +
		`{"common":{"timestamp":1},"waybill":{"before":[{"life":"reborn"}]}}` + "\n" +
		`{"common":{"timestamp":1},"skb-tracking":{},"kernel":{"symbol":"x","probe_type":"uprobe"}}` + "\n" +
		strings.Repeat("x", 17<<20) + "\n" + lines[2] + lines[3][:30]
	var told []string
	read := 0
	for item, err := range eventfile.Read(strings.NewReader(damaged)) {
		if err != nil {
			told = append(told, err.Error())
			_, ok := errors.AsType[*eventfile.LineError](err)
			qt.Check(t, qt.IsTrue(ok))
		} else if item.Observation != nil {
			read++
		}
	}
	qt.Check(t, qt.Equals(read, 3)) // two events, and a life that came with one
	golden.Check(t, "bad-lines.txt", strings.Join(told, "\n")+"\n")
}

// full is a file on a disk with little room.
type full struct {
	bytes.Buffer
	room int
}

func (f *full) Write(b []byte) (int, error) {
	n := min(f.room, len(b))
	f.room -= n
	f.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errors.New("no room")
	}
	return n, nil
}

func (f *full) Truncate(size int64) error {
	f.Buffer.Truncate(int(size))
	return nil
}

// TestFullDisk: whatever room there is, only whole lines are in the file.
func TestFullDisk(t *testing.T) {
	var whole bytes.Buffer
	qt.Assert(t, qt.IsNil(write(t, &whole)))
	for room := 0; room < whole.Len(); room += 97 {
		f := &full{room: room}
		qt.Assert(t, qt.ErrorMatches(write(t, f), "write events: no room"))
		qt.Check(t, qt.IsTrue(f.Len() == 0 || strings.HasSuffix(f.String(), "}\n")))
		qt.Check(t, qt.IsTrue(strings.HasPrefix(whole.String(), f.String())))
		for _, err := range eventfile.Read(&f.Buffer) {
			qt.Check(t, qt.IsNil(err))
		}
	}
	device, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.ErrorMatches(write(t, device), "write events: write /dev/full: no space left on device"))
	qt.Check(t, qt.IsNil(device.Close()))
}

// FuzzRead: whatever a file holds, it is read to its end, and what is read can be put together, shown and written.
func FuzzRead(f *testing.F) {
	var file bytes.Buffer
	w := eventfile.NewWriter(&file)
	_ = w.Begin(first)
	for _, o := range observations() {
		_ = w.Add(&o)
	}
	_ = w.End(end)
	f.Add(file.Bytes())
	for line := range bytes.Lines(file.Bytes()) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		assembler := journey.NewAssembler(0)
		again := eventfile.NewWriter(io.Discard)
		items := 0
		for item, err := range eventfile.Read(bytes.NewReader(content)) {
			if items++; items > len(content) {
				t.Fatal("more lines than bytes")
			}
			if err != nil || item.Observation == nil {
				continue
			}
			assembler.Add(item.Observation)
			_ = item.Observation.Text()
			qt.Assert(t, qt.IsNil(again.Add(item.Observation)))
		}
		for _, j := range assembler.Seal(journey.Evidence{}).Journeys {
			_ = j.Text() + j.Sentence()
		}
	})
}
