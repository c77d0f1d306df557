package packet

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// newNamespace returns a way into a new network namespace, whose loopback is up. One thread stays in it until the test
// ends, and ends with the test.
func newNamespace(tb testing.TB) In {
	tb.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			tb.Fatal("needs root, and CI must run this test")
		}
		tb.Skip("needs root")
	}
	work, results := make(chan func() error), make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range work {
			results <- f()
		}
		close(results)
	}()
	in := func(f func() error) error {
		work <- f
		return <-results
	}
	tb.Cleanup(func() {
		close(work)
		for range results { // until the goroutine closes it
		}
	})
	qt.Assert(tb, qt.IsNil(in(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		return handle.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}})
	})))
	return in
}

func nft(tb testing.TB, in In, text string) {
	tb.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal("needs nft, and CI must run this test")
		}
		tb.Skip("needs nft")
	}
	qt.Assert(tb, qt.IsNil(in(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return errors.New(string(out))
		}
		return nil
	})))
}

func mustListen(tb testing.TB, in In, port uint16) *Listener {
	tb.Helper()
	l, err := ListenUDP(in, port)
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(l.Close())) })
	return l
}

func mustSend(tb testing.TB, in In, p Packet) *Sent {
	tb.Helper()
	sent, err := Send(tb.Context(), in, p)
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(sent.Close())) })
	return sent
}

// within bounds a wait for something that must arrive.
func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

func ip(text string) IP { return IP(netip.MustParseAddr(text)) }

func TestUDPArrives(t *testing.T) {
	in := newNamespace(t)
	for _, to := range []IP{ip("127.0.0.1"), ip("::1"), ip("::ffff:127.0.0.1")} {
		for _, payload := range []string{"hey", "", strings.Repeat("x", 40000)} {
			l := mustListen(t, in, 0)
			before, err := monotonic()
			qt.Assert(t, qt.IsNil(err))
			sent := mustSend(t, in, UDP{To: to, DstPort: l.Port(), Payload: []byte(payload)})
			qt.Assert(t, qt.IsNil(sent.Err))
			got, from, err := l.Receive(within(t))
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(string(got), payload))
			qt.Check(t, qt.Equals(from, sent.Local))
			qt.Check(t, qt.Equals(sent.Remote, netip.AddrPortFrom(to.Addr().Unmap(), l.Port())))
			qt.Check(t, qt.Equals(sent.Len, len(payload)))
			qt.Check(t, qt.Equals(sent.Proto, unix.IPPROTO_UDP))
			qt.Check(t, qt.IsTrue(before <= sent.Before && sent.Before < sent.After))
		}
	}
}

func TestSentIsOpenedInsideAndKnowsItsCookie(t *testing.T) {
	in := newNamespace(t)
	var inside uint64
	qt.Assert(t, qt.IsNil(in(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		inside, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})))
	first := mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080})
	second := mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080})
	cookie, err := unix.GetsockoptUint64(first.socket.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(cookie, inside))
	cookie, err = unix.GetsockoptUint64(first.socket.fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(first.Cookie, cookie))
	qt.Check(t, qt.Not(qt.Equals(first.Cookie, 0)))
	qt.Check(t, qt.Not(qt.Equals(first.Cookie, second.Cookie)))
}

func TestSameFiveTupleTwice(t *testing.T) {
	in := newNamespace(t)
	l := mustListen(t, in, 8080)
	u := UDP{To: ip("127.0.0.1"), DstPort: 8080, SrcPort: 4000, Payload: []byte("1")}
	first := mustSend(t, in, u)
	u.Payload = []byte("2")
	second := mustSend(t, in, u)
	for _, want := range []string{"1", "2"} {
		got, from, err := l.Receive(within(t))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(string(got), want))
		qt.Check(t, qt.Equals(from, netip.MustParseAddrPort("127.0.0.1:4000")))
	}
	qt.Check(t, qt.Not(qt.Equals(first.Cookie, second.Cookie)))
	qt.Check(t, qt.Equals(first.String(), "UDP 127.0.0.1.4000 > 127.0.0.1.8080 len 1"))
}

func TestSourceAddress(t *testing.T) {
	in := newNamespace(t)
	sent := mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080, Src: ip("127.0.0.7"), SrcPort: 5})
	qt.Check(t, qt.Equals(sent.String(), "UDP 127.0.0.7.5 > 127.0.0.1.8080 len 0"))
	sent = mustSend(t, in, UDP{To: ip("::1"), DstPort: 8080, SrcPort: 5, Payload: []byte("hey")})
	qt.Check(t, qt.Equals(sent.String(), "UDP ::1.5 > ::1.8080 len 3"))
}

func TestKernelRefusals(t *testing.T) {
	in := newNamespace(t)
	unrouted := mustSend(t, in, UDP{To: ip("192.0.2.1"), DstPort: 8080})
	qt.Check(t, qt.ErrorIs(unrouted.Err, error(unix.ENETUNREACH)))
	qt.Check(t, qt.ErrorMatches(unrouted.Err, "connect to 192.0.2.1:8080: network is unreachable"))
	qt.Check(t, qt.Equals(unrouted.String(), "UDP ? > 192.0.2.1.8080 len 0"))
	qt.Check(t, qt.Equals(unrouted.Before, 0))

	nft(t, in, "table inet filter { chain output { type filter hook output priority 0; udp dport 8080 drop; }; }")
	dropped := mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080})
	qt.Check(t, qt.ErrorIs(dropped.Err, error(unix.EPERM)))
	qt.Check(t, qt.ErrorMatches(dropped.Err, "send to 127.0.0.1:8080: operation not permitted"))
	qt.Check(t, qt.IsTrue(dropped.Before < dropped.After))
	qt.Check(t, qt.Not(qt.Equals(dropped.Cookie, 0)))
}

func TestListenerReportsWhatItCannotDo(t *testing.T) {
	in := newNamespace(t)
	l := mustListen(t, in, 8080)
	_, err := ListenUDP(in, 8080)
	qt.Check(t, qt.ErrorMatches(err, "listen on UDP port 8080: bind: address already in use"))

	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, _, err := l.Receive(ctx)
		result <- err
	}()
	cancel()
	qt.Check(t, qt.ErrorMatches(<-result, "receive on UDP port 8080: context canceled"))

	// A receive that was cut short does not spoil the next one.
	mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080, Payload: []byte("hey")})
	got, _, err := l.Receive(within(t))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(string(got), "hey"))

	qt.Assert(t, qt.IsNil(l.Close()))
	qt.Assert(t, qt.IsNil(l.Close()))
	_, _, err = l.Receive(t.Context())
	qt.Check(t, qt.ErrorIs(err, os.ErrClosed))
}

func TestTap(t *testing.T) {
	in := newNamespace(t)
	for _, device := range []string{"lo", ""} {
		tap, err := OpenTap(in, device, TapOptions{Protocol: unix.ETH_P_IP, ReceiveBuffer: 1 << 20})
		qt.Assert(t, qt.IsNil(err))
		defer func() { qt.Check(t, qt.IsNil(tap.Close())) }()
		size, err := unix.GetsockoptInt(tap.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(size, 2<<20)) // the kernel doubles it (sock_setsockopt, net/core/sock.c)
		qt.Check(t, qt.Not(qt.Equals(tap.Cookie(), 0)))

		mustSend(t, in, UDP{To: ip("::1"), DstPort: 8080, Payload: []byte("not me")})
		mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080, Payload: []byte("me")})
		frame, err := tap.Receive(within(t))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.HasLen(frame, 14+20+8+2))
		qt.Check(t, qt.IsTrue(bytes.HasSuffix(frame, []byte("me"))))
	}
}

// A tap on all protocols sees a frame of the loopback twice, on its way out and in.
func TestTapOnEverything(t *testing.T) {
	in := newNamespace(t)
	tap, err := OpenTap(in, "lo", TapOptions{})
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(tap.Close())) }()
	mustListen(t, in, 8080) // or the answer is an ICMP error
	mustSend(t, in, UDP{To: ip("127.0.0.1"), DstPort: 8080, Payload: []byte("me")})
	for range 2 {
		frame, err := tap.Receive(within(t))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(bytes.HasSuffix(frame, []byte("me"))))
	}
}

func TestTapReportsWhatItCannotDo(t *testing.T) {
	in := newNamespace(t)
	_, err := OpenTap(in, "eth7", TapOptions{})
	qt.Check(t, qt.ErrorMatches(err, "open tap on eth7: find device: route ip\\+net: no such network interface"))
}

// node stands for a *topology.Node without links.
type node struct{}

func (*node) Addr() netip.Addr { return netip.Addr{} }
func (*node) String() string   { return "client" }

func TestSendRefusesWrongDescriptions(t *testing.T) {
	never := func(func() error) error {
		t.Error("the kernel was touched")
		return nil
	}
	four, six := ip("172.16.42.2"), ip("fd42:0:0:42::2")
	tests := []struct {
		packet Packet
		want   string
	}{
		{nil, "send: the packet is nil: describe one, such as packet.UDP{…}"},
		{UDP{DstPort: 1}, "send UDP: To is nil: give a node, or packet.IP of an address"},
		{UDP{To: four}, "send UDP: DstPort is 0: give the destination port, 1 to 65535"},
		{UDP{To: &node{}, DstPort: 1}, "send UDP: To (client) has no address: connect the node with a link first"},
		{UDP{To: IP{}, DstPort: 1}, "send UDP: To (invalid IP) has no address: connect the node with a link first"},
		{UDP{To: four, DstPort: 1, Src: &node{}}, "send UDP: Src (client) has no address: connect the node with a link first"},
		{UDP{To: four, DstPort: 1, Src: six},
			"send UDP: Src is fd42:0:0:42::2 and To is 172.16.42.2: both must be IPv4 or both IPv6"},
		{UDP{To: four, DstPort: 1, Payload: make([]byte, 65508)},
			"send UDP: the payload has 65508 bytes: at most 65507 fit into one datagram"},
		{UDP{To: six, DstPort: 1, Payload: make([]byte, 65528)},
			"send UDP: the payload has 65528 bytes: at most 65527 fit into one datagram"},
	}
	for _, test := range tests {
		_, err := Send(t.Context(), never, test.packet)
		qt.Check(t, qt.IsNotNil(err))
		qt.Check(t, qt.Equals(err.Error(), test.want))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Send(ctx, never, UDP{To: four, DstPort: 1})
	qt.Check(t, qt.ErrorMatches(err, "send: context canceled"))
}

func TestSendFailsWithoutItsNamespace(t *testing.T) {
	gone := errors.New("node client: gone")
	_, err := Send(t.Context(), func(func() error) error { return gone }, UDP{To: ip("127.0.0.1"), DstPort: 1})
	qt.Check(t, qt.ErrorIs(err, gone))
}

func TestSendToForeignSourceLeavesNothing(t *testing.T) {
	in := newNamespace(t)
	before, err := os.ReadDir("/proc/self/fd")
	qt.Assert(t, qt.IsNil(err))
	_, err = Send(t.Context(), in, UDP{To: ip("127.0.0.1"), DstPort: 1, Src: ip("192.0.2.1")})
	qt.Check(t, qt.ErrorMatches(err, "send UDP: bind to source 192.0.2.1:0: cannot assign requested address"))
	after, err := os.ReadDir("/proc/self/fd")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(after, len(before)))
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "x", "0", "-1", "65536", "8080x", " 80"} {
		_, err := ParsePort(text)
		qt.Check(t, qt.IsNotNil(err), qt.Commentf("%q", text))
	}
	_, err := ParsePort("http")
	qt.Check(t, qt.ErrorMatches(err, `"http" is not a port: give a number from 1 to 65535`))
	port, err := ParsePort("65535")
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(port, 65535))

	_, err = ParseIP("172.16.42")
	qt.Check(t, qt.ErrorMatches(err, `"172.16.42" is not an IP address: write one such as 172.16.42.1 or fd42:0:0:42::1`))
	addr, err := ParseIP("::1")
	qt.Check(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(addr.String(), "::1"))
}
