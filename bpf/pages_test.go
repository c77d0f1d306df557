package bpf

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// needRoot skips the test without root, except in CI, which must have it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// anyTracker is a tracker on whatever tier the kernel has.
func anyTracker(t *testing.T) *Tracker {
	t.Helper()
	needRoot(t)
	tier, _, err := chooseTier(AnyTier, btf.NewCache())
	qt.Assert(t, qt.IsNil(err))
	if tier == Functions {
		return sharedTracker(t)
	}
	return openTracker(t, Options{Tier: tier})
}

// firstSight observes what f sends at the tracepoint where a device is given packets, and returns the bytes that were captured
// of the longest one there, from the network header on.
func firstSight(t *testing.T, f func() error) []byte {
	t.Helper()
	tracker := anyTracker(t)
	if symbols, err := os.ReadFile("/proc/kallsyms"); err == nil && !strings.Contains(string(symbols), " vmemmap_base\n") {
		qt.Assert(t, qt.IsFalse(tracker.Features().Pages))
		t.Skip("needs a kernel that tells where its variables are (CONFIG_KALLSYMS_ALL)")
	}
	qt.Assert(t, qt.IsTrue(tracker.Features().Pages))
	h := newHost(t)
	scope := h.watch(t, tracker)
	qt.Assert(t, qt.IsNil(scope.Arm([]string{"tp:net:net_dev_queue"})))
	qt.Assert(t, qt.IsNil(h.Do(f)))
	var longest *journey.Packet
	for _, o := range h.events(t, tracker) {
		p := o.Packet
		if p == nil || p.Data[p.Network+9] == unix.IPPROTO_ICMP { // an error that quotes the packet is longer
			continue
		}
		if longest == nil || p.Len > longest.Len {
			longest = p
		}
	}
	qt.Assert(t, qt.IsNotNil(longest))
	return longest.Data[longest.Network:]
}

// TestPagedStream: TCP has all payload in pages.
func TestPagedStream(t *testing.T) {
	const headers = 20 + 32
	sent := bytes.Repeat([]byte("0123456789abcdefg"), 10)
	data := firstSight(t, func() error {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = listener.Close() }()
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		accepted, err := listener.Accept()
		if err != nil {
			return err
		}
		defer func() { _ = accepted.Close() }()
		if _, err := conn.Write(sent); err != nil {
			return err
		}
		_, err = io.ReadFull(accepted, make([]byte, len(sent)))
		return err
	})
	qt.Assert(t, qt.IsTrue(len(data) > int(trackerLimitPACKET_BYTES)-14-16), qt.Commentf("%d bytes", len(data)))
	qt.Check(t, qt.Equals(string(data[headers:]), string(sent[:len(data)-headers])))
}

// TestPagedPieces: a datagram whose payload stays where the sender has it, in pieces of several pages.
func TestPagedPieces(t *testing.T) {
	const headers = 20 + 8
	pieces := [][]byte{[]byte("a piece of 21 bytes, "), []byte("b"), []byte("another of 24 bytes and "), bytes.Repeat([]byte("z"), 99)}
	page := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, 2*page*len(pieces), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	for i, piece := range pieces {
		at := 2*i*page + 100*i
		copy(memory[at:], piece)
		pieces[i] = memory[at : at+len(piece) : at+len(piece)]
	}
	data := firstSight(t, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1); err != nil {
			return err
		}
		to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}
		_, err = unix.SendmsgBuffers(fd, pieces, nil, to, unix.MSG_ZEROCOPY)
		return err
	})
	qt.Assert(t, qt.IsTrue(len(data) > int(trackerLimitPACKET_BYTES)-14-16), qt.Commentf("%d bytes", len(data)))
	qt.Check(t, qt.Equals(string(data[headers:]), string(bytes.Join(pieces, nil)[:len(data)-headers])))
}
