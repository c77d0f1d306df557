package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/eventfile"
	"github.com/waybill-dev/waybill/journey"
)

// retisEnv names the program that BenchmarkSort compares with, Retis 1.6 or later.
const retisEnv = "RETIS"

// BenchmarkSort sorts a file of 400,000 events in a process of its own, and has Retis sort the same file if the environment names
// it, in turns. x-retis is the ratio of their times, which is to be no more than 1; x-retis-cpu that of the CPUs'.
func BenchmarkSort(b *testing.B) {
	dir := b.TempDir()
	command, file := filepath.Join(dir, "waybill"), filepath.Join(dir, "events")
	compile(b, command, ".")
	const packets = 100_000
	writeJourneys(b, file, packets)
	ours, theirs := []string{command, "sort", file}, []string{os.Getenv(retisEnv), "sort", file}
	var mine, retis times
	b.Setenv("NOPAGER", "1")
	for b.Loop() {
		mine.measure(b, ours)
		if theirs[0] != "" {
			retis.measure(b, theirs)
		}
	}
	b.ReportMetric(median(mine.wall), "s/run")
	b.ReportMetric(4*packets/median(mine.wall), "events/s")
	b.ReportMetric(0, "ns/op")
	if theirs[0] == "" {
		return
	}
	version, err := exec.Command(theirs[0], "--version").Output()
	qt.Assert(b, qt.IsNil(err))
	b.Logf("compared with %s", version)
	b.ReportMetric(median(retis.wall), "s/retis")
	b.ReportMetric(median(mine.wall)/median(retis.wall), "x-retis")
	b.ReportMetric(median(mine.cpu)/median(retis.cpu), "x-retis-cpu")
}

// writeJourneys writes a file as collect does, of packets of which eight at a time are under way: each is seen four times, in three
// namespaces, and then released.
func writeJourneys(b *testing.B, name string, packets int) {
	b.Helper()
	const together = 8
	file, err := os.Create(name)
	qt.Assert(b, qt.IsNil(err))
	w := eventfile.NewWriter(file)
	qt.Assert(b, qt.IsNil(w.Begin(eventfile.Startup{Version: "waybill", Command: "waybill collect", Offset: time.Hour})))
	for first := 0; first < packets; first += together {
		for step := range 5 {
			for i := range together {
				o := sample(first+i, step)
				o.Time = uint64(1_000_000*(first/together) + 10_000*step + 100*i)
				qt.Assert(b, qt.IsNil(w.Add(o)))
			}
		}
	}
	qt.Assert(b, qt.IsNil(w.End(eventfile.End{Events: uint64(4 * packets), Journeys: uint64(packets)})))
	qt.Assert(b, qt.IsNil(file.Close()))
}

// sample is what is observed of a packet at one step of its way.
func sample(packet, step int) *journey.Observation {
	o := &journey.Observation{Kind: journey.Seen}
	o.ID = journey.ID{FirstSeen: uint64(packet) * 1000, Head: 0xffff888100000000 + uint64(packet)<<9}
	o.SKB, o.CPU, o.PID, o.TID, o.Comm = o.ID.Head+256, uint32(packet%4), 4711, 4712, "client"
	if step == 4 {
		o.Kind = journey.Released
		return o
	}
	probe := []string{"net:net_dev_start_xmit", "net:netif_receive_skb", "ip_rcv", "ip_local_deliver"}[step]
	o.Probe = journey.Probe{Kind: journey.Function, Name: probe}
	if step < 2 {
		o.Probe.Kind = journey.Tracepoint
	}
	o.NetNS = &journey.NetNS{Cookie: uint64(step), Inum: 4026532177 + uint32(step)}
	o.Device = &journey.Device{Index: 2, Name: fmt.Sprintf("eth%d", step), RxIndex: 2}
	data := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 60, byte(packet>>8), byte(packet), 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x80, 0, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0,
		1, 3, 3, 7)
	o.Packet = &journey.Packet{Proto: 0x0800, Len: 60, Network: 14, Data: data}
	client, server := netip.AddrFrom4([4]byte{10, 0, 0, 1}), netip.AddrFrom4([4]byte{10, 0, 0, 2})
	o.Conntrack = &journey.Conntrack{
		State: "NEW", Proto: 6, ProtoState: "SYN_SENT", Orig: journey.Tuple{Src: client, Dst: server, SrcPort: 32768, DstPort: 8080},
		Reply: journey.Tuple{Src: server, Dst: client, SrcPort: 8080, DstPort: 32768},
	}
	return o
}
