package filter

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
)

// loopback is a namespace with a pair of sockets to send by, of which the kernel's packets are marked.
type loopback struct {
	*netns.NS
	port    int // of the datagram's receiver
	udp     net.Conn
	tcp     net.Conn
	tcpPort int
}

const markOfTest = 0x1234

func newLoopback(tb testing.TB) *loopback {
	ns, err := netns.New()
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(ns.Close())) })
	l := &loopback{NS: ns}
	keep := func(c interface{ Close() error }) { tb.Cleanup(func() { _ = c.Close() }) }
	err = ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find the loopback device: %w", err)
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set the loopback device up: %w", err)
		}
		receiver, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		keep(receiver)
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		keep(listener)
		marked := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, markOfTest) })
			if failed != nil {
				return failed
			}
			return err
		}}
		l.port, l.tcpPort = receiver.LocalAddr().(*net.UDPAddr).Port, listener.Addr().(*net.TCPAddr).Port
		if l.udp, err = marked.Dial("udp4", receiver.LocalAddr().String()); err != nil {
			return err
		}
		keep(l.udp)
		if l.tcp, err = marked.Dial("tcp4", listener.Addr().String()); err != nil {
			return err
		}
		keep(l.tcp)
		return nil
	})
	qt.Assert(tb, qt.IsNil(err))
	return l
}

// TestRealPackets asks filters about packets that the kernel sends, at a tracepoint.
func TestRealPackets(t *testing.T) {
	k := newKernelTest(t)
	l := newLoopback(t)
	datagram, segment := []byte("abcd"), make([]byte, 9000)
	segment[100] = 'x'
	types := btf.NewCache()
	for _, test := range []struct {
		send         []byte // by TCP if it is the segment
		packet, meta string
		want         [2]Verdict
	}{
		{datagram, "udp", "sk_buff.mark == 0x1234", [2]Verdict{Match, Match}},
		{datagram, fmt.Sprintf("udp dst port %d", l.port), `sk_buff.dev.name == "lo"`, [2]Verdict{Match, Match}},
		{datagram, fmt.Sprintf("udp src port %d", l.port), `sk_buff.dev.name != "lo"`, [2]Verdict{NoMatch, NoMatch}},
		{datagram, "udp[8:4] = 0x61626364", fmt.Sprintf("sk_buff.dev.nd_net.net.ns.inum == %d", l.Inum()), [2]Verdict{Match, Match}},
		{datagram, "len = 46", "sk_buff.len == 46", [2]Verdict{Match, Match}},
		{datagram, "ip[200] = 0", "sk_buff.sk.__sk_common.skc_family == 2", [2]Verdict{NoMatch, Match}},
		{datagram, "ether host 0:0:0:0:0:0 and not vlan", "sk_buff.protocol == 8 and not sk_buff.cloned", [2]Verdict{Match, Match}},
		{datagram, "tcp or icmp", "sk_buff.skb_iif or sk_buff.mark == 1", [2]Verdict{NoMatch, NoMatch}},
		{datagram, "ip proto 17 and ip dst 127.0.0.1", "sk_buff.dev.flags:8 and sk_buff.mark:0xff == 0x34", [2]Verdict{Match, Match}},
		{segment, fmt.Sprintf("tcp dst port %d", l.tcpPort), "sk_buff.len > 9000", [2]Verdict{Match, Match}},
		{segment, "tcp[132] = 0x78", "sk_buff.data_len >= 9000", [2]Verdict{Unknown, Match}}, // in pages
		{segment, "not tcp[132] = 0x78", "sk_buff.sk.sk_protocol == 6", [2]Verdict{Unknown, Match}},
		{segment, "tcp[10000] = 0x78", "sk_buff._nfct", [2]Verdict{NoMatch, NoMatch}},
	} {
		packet := mustCompile(t, test.packet)
		meta, err := CompileMeta(test.meta, types)
		qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", test.meta))
		got := k.observe(packet, meta, func() {
			to := l.udp
			if len(test.send) == len(segment) {
				to = l.tcp
			}
			_, err := to.Write(test.send)
			qt.Assert(t, qt.IsNil(err))
		})
		qt.Check(t, qt.Equals(got[0], test.want[0]), qt.Commentf("%s", packet))
		qt.Check(t, qt.Equals(got[1], test.want[1]), qt.Commentf("%s", meta))
	}
}

// observe returns what filters say of the first packet that the process sends meanwhile.
func (k *kernelTest) observe(packet *Packet, meta *Meta, send func()) (verdicts [2]Verdict) {
	spec := k.spec.Copy()
	for name := range spec.Programs {
		if name != "real" {
			delete(spec.Programs, name)
		}
	}
	qt.Assert(k, qt.IsNil(spec.Variables["task"].Set(uint32(os.Getpid()))))
	qt.Assert(k, qt.IsTrue(packet.Inject(spec.Programs["real"]) && meta.Inject(spec.Programs["real"])))
	collection, err := ebpf.NewCollection(spec)
	qt.Assert(k, qt.IsNil(err))
	defer collection.Close()
	probe, err := link.AttachTracing(link.TracingOptions{Program: collection.Programs["real"]})
	qt.Assert(k, qt.IsNil(err))
	defer func() { qt.Check(k, qt.IsNil(probe.Close())) }()
	send()
	var packets uint32
	for name, to := range map[string]any{"packets": &packets, "packet_verdict": &verdicts[0], "meta_verdict": &verdicts[1]} {
		number := new(uint32)
		qt.Assert(k, qt.IsNil(collection.Variables[name].Get(number)))
		switch to := to.(type) {
		case *uint32:
			*to = *number
		case *Verdict:
			*to = Verdict(*number)
		}
	}
	qt.Assert(k, qt.IsTrue(packets > 0), qt.Commentf("no packet was seen"))
	return verdicts
}
