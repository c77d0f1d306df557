package packet

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// captured is a datagram as it is captured on a link: with an Ethernet header of stations that are nowhere, or bare.
func captured(t *testing.T, link layers.LinkType, payload string) []byte {
	t.Helper()
	all := []gopacket.SerializableLayer{
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip("10.0.0.1").Addr().AsSlice(), DstIP: ip("10.0.0.2").Addr().AsSlice()},
		&layers.UDP{SrcPort: 4000, DstPort: 7}, gopacket.Payload(payload),
	}
	if link == layers.LinkTypeEthernet {
		all = append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: []byte{2, 9, 9, 9, 9, 1}, DstMAC: []byte{2, 9, 9, 9, 9, 2},
			EthernetType: layers.EthernetTypeIPv4}}, all...)
	}
	data, err := serialize(true, nil, all...)
	qt.Assert(t, qt.IsNil(err))
	return data
}

// write writes a capture and returns its file.
func write(t *testing.T, to func(file *os.File)) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "test.pcap"))
	qt.Assert(t, qt.IsNil(err))
	to(file)
	qt.Assert(t, qt.IsNil(file.Close()))
	return file.Name()
}

func pcap(t *testing.T, link layers.LinkType, packets ...[]byte) string {
	t.Helper()
	return write(t, func(file *os.File) {
		w := pcapgo.NewWriter(file)
		qt.Assert(t, qt.IsNil(w.WriteFileHeader(65535, link)))
		for _, data := range packets {
			info := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(data), Length: len(data)}
			qt.Assert(t, qt.IsNil(w.WritePacket(info, data)))
		}
	})
}

// pcapng has an interface for each kind of link, and a packet on each.
func pcapng(t *testing.T, links ...layers.LinkType) string {
	t.Helper()
	return write(t, func(file *os.File) {
		w, err := pcapgo.NewNgWriter(file, links[0])
		qt.Assert(t, qt.IsNil(err))
		for i, link := range links {
			if i > 0 {
				_, err := w.AddInterface(pcapgo.NgInterface{LinkType: link})
				qt.Assert(t, qt.IsNil(err))
			}
			data := captured(t, link, link.String())
			qt.Assert(t, qt.IsNil(w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), InterfaceIndex: i,
				CaptureLength: len(data), Length: len(data)}, data)))
		}
		qt.Assert(t, qt.IsNil(w.Flush()))
	})
}

// station is a host with an Ethernet address.
type station struct {
	IP
	mac []byte
}

func (s station) MACIn(subnet netip.Prefix) net.HardwareAddr {
	if subnet.Contains(s.Addr()) {
		return s.mac
	}
	return nil
}

// What was captured elsewhere arrives, because it is addressed to the station that is there.
func TestCapturesAreSent(t *testing.T) {
	near, far := newPair(t)
	var mac net.HardwareAddr
	qt.Assert(t, qt.IsNil(far(func() error {
		device, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = device.HardwareAddr
		}
		return err
	})))
	l := mustListen(t, far, 7)
	frame := Frame{Device: "eth0", To: station{ip("10.0.0.2"), mac}}
	for _, test := range []struct {
		file     string
		payloads []string
	}{
		{pcap(t, layers.LinkTypeEthernet, captured(t, layers.LinkTypeEthernet, "one"), captured(t, layers.LinkTypeEthernet, "two")), []string{"one", "two"}},
		{pcap(t, layers.LinkTypeRaw, captured(t, layers.LinkTypeRaw, "bare")), []string{"bare"}},
		{pcapng(t, layers.LinkTypeEthernet, layers.LinkTypeRaw, layers.LinkTypeIPv4), []string{"Ethernet", "Raw", layers.LinkTypeIPv4.String()}},
	} {
		packets, err := ReadCapture(test.file, frame)
		qt.Assert(t, qt.IsNil(err))
		all, err := SendBurst(within(t), near, Burst{Packets: packets})
		qt.Assert(t, qt.IsNil(err))
		for i, want := range test.payloads {
			defer func() { qt.Check(t, qt.IsNil(all[i].Close())) }()
			qt.Check(t, qt.IsNil(all[i].Err))
			got, from, err := l.Receive(within(t))
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(string(got), want))
			qt.Check(t, qt.Equals(from, netip.MustParseAddrPort("10.0.0.1:4000")))
		}
	}
	// Without a station, frames are as they were.
	packets, err := ReadCapture(pcapng(t, layers.LinkTypeEthernet), Frame{Device: "eth0"})
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(packets[0].(Frame).Data, captured(t, layers.LinkTypeEthernet, "Ethernet")))
}

func TestReadCaptureRefuses(t *testing.T) {
	whole := captured(t, layers.LinkTypeEthernet, "one")
	file := func(data []byte) string {
		return write(t, func(f *os.File) {
			_, err := f.Write(data)
			qt.Assert(t, qt.IsNil(err))
		})
	}
	cut := func(by int) string {
		data, err := os.ReadFile(pcap(t, layers.LinkTypeEthernet, whole))
		qt.Assert(t, qt.IsNil(err))
		return file(data[:len(data)-by])
	}
	partial := write(t, func(f *os.File) {
		w := pcapgo.NewWriter(f)
		qt.Assert(t, qt.IsNil(w.WriteFileHeader(20, layers.LinkTypeEthernet)))
		qt.Assert(t, qt.IsNil(w.WritePacket(gopacket.CaptureInfo{CaptureLength: 20, Length: len(whole)}, whole[:20])))
	})
	for _, test := range []struct{ file, want string }{
		{"/nowhere.pcap", "read capture: open /nowhere.pcap: no such file or directory"},
		{file(nil), "read capture FILE: it is neither pcap nor pcapng: EOF"},
		{file(bytes.Repeat([]byte("text"), 99)), "read capture FILE: it is neither pcap nor pcapng: Unknown magic 74786574"},
		{pcap(t, layers.LinkTypeEthernet), "read capture FILE: it has no packets"},
		{pcap(t, layers.LinkTypeRaw, whole[14:]), "read capture FILE: packet 1: it has no Ethernet header: give the frame a To"},
		{pcap(t, layers.LinkTypeLinuxSLL, whole), "read capture FILE: packet 1: it was captured on a link of type Linux SLL: only Ethernet and bare IP are understood"},
		{partial, "read capture FILE: packet 1: it was captured in part, 20 of 45 bytes: capture all of it, as tcpdump -s 0 does"},
		{cut(1), "read capture FILE: packet 1: the file ends in the middle of it"},
		{cut(len(whole)), "read capture FILE: packet 1: the file ends in the middle of it"},
		{cut(len(whole) + 1), "read capture FILE: packet 1: the file ends in the middle of it"},
	} {
		_, err := ReadCapture(test.file, Frame{Device: "eth0"})
		qt.Assert(t, qt.IsNotNil(err), qt.Commentf("%s", test.want))
		qt.Check(t, qt.Equals(err.Error(), strings.ReplaceAll(test.want, "FILE", test.file)))
	}
}
