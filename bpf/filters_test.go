package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/bpf/filter"
	"github.com/waybill-dev/waybill/journey"
)

func TestWrongFilters(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{PacketFilter: "tcp prt 80"}, "packet filter: \"prt\" follows.*"},
		{Options{MetaFilter: "sk_buff.markk == 1"}, "metadata filter: .*markk.*"},
	} {
		_, err := Open(test.options)
		qt.Check(t, qt.ErrorMatches(err, "(?s)"+test.want))
		refused, ok := errors.AsType[*filter.Error](err)
		qt.Assert(t, qt.IsTrue(ok))
		qt.Check(t, qt.IsTrue(refused.Length > 0))
	}
}

// filtered is a namespace watched by a tracker with filters, on whatever tier the kernel has.
type filtered struct {
	*host
	tracker *Tracker
	scope   watched
	begun   Account
}

func newFiltered(t *testing.T, opts Options) *filtered {
	t.Helper()
	needRoot(t)
	tracker, err := Open(opts)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(tracker.Close())) })
	f := &filtered{host: newHost(t), tracker: tracker}
	f.observe(t)
	return f
}

func (f *filtered) observe(t *testing.T) {
	t.Helper()
	f.scope = f.watch(t, f.tracker)
	f.begun = begin(t, f.scope)
}

// ports lists the ports to which the datagrams that were followed went in the end, where they are dropped.
func (f *filtered) ports(t *testing.T) (ports []int) {
	t.Helper()
	_, err := f.tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	for _, o := range f.observations() {
		if o.Drop == nil {
			continue
		}
		qt.Assert(t, qt.IsNotNil(o.Packet))
		ip := o.Packet.Data[o.Packet.Network:]
		qt.Assert(t, qt.Equals(ip[9], unix.IPPROTO_UDP))
		ports = append(ports, int(binary.BigEndian.Uint16(ip[22:])))
	}
	return ports
}

func (f *filtered) check(t *testing.T) {
	t.Helper()
	qt.Check(t, qt.HasLen(losses(t, f.scope, f.begun), 0))
	memory, err := f.tracker.Memory()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(memory, Memory{Packets: map[uint64]journey.ID{}}))
}

// TestFilterByPort has one tracker for several questions, because opening one takes a while.
func TestFilterByPort(t *testing.T) {
	f := newFiltered(t, Options{PacketFilter: "udp port 9"})
	f.sendTo(t, 10, 5)
	f.sendTo(t, 9, 3)
	qt.Check(t, qt.DeepEquals(f.ports(t), []int{9, 9, 9}))
	qt.Check(t, qt.Equals(f.count(journey.Origin), 3))
	f.check(t)
	t.Run("forgets refusals", f.forgetsRefusals)
	t.Run("everywhere", f.everywhere)
}

// forgetsRefusals: the buffers of packets that were refused are those of packets that match, over and over.
func (f *filtered) forgetsRefusals(t *testing.T) {
	f.forget()
	for range 200 {
		f.sendTo(t, 10, 1)
		f.sendTo(t, 9, 1)
	}
	qt.Check(t, qt.HasLen(f.ports(t), 200))
	f.check(t)
	var heads [1 << 14]uint64
	qt.Assert(t, qt.IsNil(f.tracker.collection.Variables[trackerVarRefusals].Get(&heads)))
	left := 0
	for _, head := range heads {
		if head != 0 {
			left++
		}
	}
	more, err := count(f.tracker.collection.Maps[trackerMapMoreRefusals])
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(left+more < 50), qt.Commentf("%d refusals are left, and %d", left, more)) // others' packets may be alive
}

// rewriting has packets to port 80 go to port 8080 as they are received.
const rewriting = `table ip rewriting {
	chain prerouting {
		type filter hook prerouting priority raw
		udp dport 80 udp dport set 8080
	}
}`

// TestFilterBeforeAndAfterRewriting: what matches before its headers are rewritten is followed afterwards, and what matches
// only then is not.
func TestFilterBeforeAndAfterRewriting(t *testing.T) {
	for filter, want := range map[string][]int{
		"udp dst port 80":   {8080, 8080},
		"udp dst port 8080": {8080}, // the one that was sent there
	} {
		t.Run(filter, func(t *testing.T) {
			f := newFiltered(t, Options{PacketFilter: filter})
			f.loadNFT(t, rewriting)
			f.sendTo(t, 80, 2)
			f.sendTo(t, 8080, 1)
			qt.Check(t, qt.DeepEquals(f.ports(t), want))
			f.check(t)
		})
	}
}

// TestFilterBeforeNAT: where functions can be observed, what this machine sends is asked about before NAT.
func TestFilterBeforeNAT(t *testing.T) {
	sharedTracker(t)
	f := newFiltered(t, Options{PacketFilter: "udp dst port 80"})
	f.loadNFT(t, `table ip nat {
		chain output {
			type nat hook output priority -100
			udp dport 80 dnat to 127.0.0.1:8080
			udp dport 81 dnat to 127.0.0.1:80
		}
	}`)
	f.sendTo(t, 80, 2)
	f.sendTo(t, 81, 1)
	qt.Check(t, qt.DeepEquals(f.ports(t), []int{8080, 8080}))
	f.check(t)
}

// TestFilterByMark: the mark of a packet when it is sent counts, whatever the rules make of it.
func TestFilterByMark(t *testing.T) {
	f := newFiltered(t, Options{MetaFilter: "sk_buff.mark == 7", PacketFilter: "not udp port 12"})
	f.loadNFT(t, `table ip marks {
		chain prerouting {
			type filter hook prerouting priority raw
			meta mark 7 meta mark set 8
			udp dport 11 meta mark set 7
		}
	}`)
	f.sendTo(t, 11, 1)
	qt.Assert(t, qt.IsNil(f.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 7); err != nil {
			return err
		}
		for _, port := range []int{9, 11, 12} {
			if err := unix.Sendto(fd, []byte("abc"), 0, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				return err
			}
		}
		return nil
	})))
	qt.Check(t, qt.DeepEquals(f.ports(t), []int{9, 11}))
	f.check(t)
}

// TestFiltersOfTwoTrackers: a namespace is in a scope of each, and each follows what its own filter admits.
func TestFiltersOfTwoTrackers(t *testing.T) {
	first := newFiltered(t, Options{PacketFilter: "udp port 9"})
	second := newFiltered(t, Options{PacketFilter: "udp port 10 or udp port 11"})
	second.host = &host{NS: first.NS, looks: make(map[uint64]journey.Event)}
	second.observe(t)
	for port := 9; port < 13; port++ {
		first.sendTo(t, port, 1)
	}
	qt.Check(t, qt.DeepEquals(first.ports(t), []int{9}))
	qt.Check(t, qt.DeepEquals(second.ports(t), []int{10, 11}))
	first.check(t)
	second.check(t)
}

// everywhere: namespaces that come later are in the scope of everything, those of other scopes are not.
func (f *filtered) everywhere(t *testing.T) {
	f.forget()
	everything := &host{looks: make(map[uint64]journey.Event)}
	scope, err := f.tracker.WatchAll()
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(scope.Close())) })
	_, err = scope.Observe(everything.sink)
	qt.Assert(t, qt.IsNil(err))
	_, err = f.tracker.WatchAll()
	qt.Check(t, qt.ErrorMatches(err, "watch all namespaces: another scope does already"))

	later := newHost(t)
	later.sendTo(t, 9, 2)
	f.sendTo(t, 9, 1)
	qt.Check(t, qt.DeepEquals(f.ports(t), []int{9}))
	qt.Check(t, qt.Equals(f.count(journey.Origin), 1))
	qt.Check(t, qt.Equals(everything.count(journey.Origin), 2))

	qt.Assert(t, qt.IsNil(scope.Close()))
	later.sendTo(t, 9, 1)
	f.ports(t)
	qt.Check(t, qt.Equals(everything.count(journey.Origin), 2))
	again, err := f.tracker.WatchAll()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsNil(again.Close()))
}

// edges are where the snapshot ends, as offsets from the header of IP: it begins there or with Ethernet's.
var edges = []int{128 - 14, 128}

// TestFilterAtEdge asks for bytes before, across and behind the end of the snapshot, in datagrams that differ there in one byte,
// and in such as end there.
func TestFilterAtEdge(t *testing.T) {
	const headers, before, behind = 28, 4, 4
	payload := func(n int) []byte {
		bytes := make([]byte, n-headers)
		for i := range bytes {
			bytes[i] = byte(i + headers)
		}
		return bytes
	}
	filter := "udp port 9"
	for _, edge := range edges {
		for from := edge - before; from < edge+behind; from++ {
			for _, size := range []int{1, 2, 4} {
				want := 0
				for i := range size {
					want = want<<8 | from + i
				}
				if from+size <= edge+behind {
					filter += fmt.Sprintf(" and ip[%d:%d] = %#x", from, size, want)
				}
			}
		}
	}
	f := newFiltered(t, Options{PacketFilter: filter})
	last := edges[1] + behind
	followed := func(what []byte) bool {
		f.forget()
		f.sendBytes(t, 9, 1, what)
		return len(f.ports(t)) == 1
	}
	qt.Check(t, qt.IsTrue(followed(payload(last))))
	qt.Check(t, qt.IsTrue(followed(payload(last+1000))))
	for missing := 1; missing <= before+behind; missing++ {
		qt.Check(t, qt.IsFalse(followed(payload(last-missing))), qt.Commentf("%d bytes missing", missing))
	}
	for _, edge := range edges {
		for at := edge - before; at < edge+behind; at++ {
			other := payload(last)
			other[at-headers]++
			qt.Check(t, qt.IsFalse(followed(other)), qt.Commentf("another byte at %d", at))
		}
	}
	f.check(t)
}

// TestFilterPagedHeaders: of a frame sent by a packet socket that says so, the first 14 bytes are in one piece, and all else,
// the headers of IP and UDP too, in pages.
func TestFilterPagedHeaders(t *testing.T) {
	const size, offset = 6000, 5000
	frame := func(port uint16, mark byte) []byte {
		frame := make([]byte, size)
		binary.BigEndian.PutUint16(frame[12:], unix.ETH_P_IP)
		ip := frame[14:]
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		copy(ip[12:], net.IPv4(127, 0, 0, 1).To4())
		copy(ip[16:], net.IPv4(127, 0, 0, 1).To4())
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
		binary.BigEndian.PutUint16(ip[20:], 1234)
		binary.BigEndian.PutUint16(ip[22:], port)
		binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
		ip[offset], ip[offset+3] = 0xab, mark
		return frame
	}
	f := newFiltered(t, Options{PacketFilter: fmt.Sprintf("udp dst port 9 and ip[%d:4] = 0xab000001", offset)})
	qt.Assert(t, qt.IsNil(f.Do(func() error {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		header := make([]byte, 10) // struct virtio_net_hdr: nothing is to be done for the sender
		for _, frame := range [][]byte{frame(9, 1), frame(9, 2), frame(10, 1), frame(9, 1)} {
			if err := unix.Sendto(fd, append(header, frame...), 0, &unix.SockaddrLinklayer{Ifindex: lo.Index}); err != nil {
				return err
			}
		}
		return nil
	})))
	if !f.tracker.Features().Pages {
		qt.Check(t, qt.Equals(f.count(journey.Origin), 0))
		lost := losses(t, f.scope, f.begun)
		qt.Check(t, qt.HasLen(lost, 1))
		qt.Check(t, qt.IsTrue(lost[lossCauses[trackerLossCauseLOSS_UNDECIDED]] >= 4))
		return
	}
	_, err := f.tracker.Barrier(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(f.count(journey.Origin), 2))
	f.check(t)
}

// checksum is that of IPv4.
func checksum(header []byte) uint16 {
	sum := 0
	for i := 0; i < len(header); i += 2 {
		sum += int(binary.BigEndian.Uint16(header[i:]))
	}
	return ^uint16(sum + sum>>16)
}
