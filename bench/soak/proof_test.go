package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
)

// ipPacket is an IPv4 packet as it is captured: from an Ethernet header on.
func ipPacket(protocol uint8, id uint16, total int, transport []byte) *journey.Packet {
	data := make([]byte, 14+20, 128)
	ip := data[14:]
	ip[0], ip[9] = 0x45, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(total))
	binary.BigEndian.PutUint16(ip[4:], id)
	return &journey.Packet{Proto: unix.ETH_P_IP, Network: 14, Data: append(data, transport...)}
}

func datagram(receiver int, number uint32) *journey.Packet {
	b := make([]byte, 8+payloadBytes)
	binary.BigEndian.PutUint16(b[2:], uint16(udpPort+receiver))
	binary.BigEndian.PutUint32(b[8:], magic)
	binary.BigEndian.PutUint32(b[12:], number)
	return ipPacket(unix.IPPROTO_UDP, 1, 20+len(b), b)
}

func segment(id uint16, seq uint32, length int, ack uint32, flags byte) *journey.Packet {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], tcpPort)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 5<<4, flags
	return ipPacket(unix.IPPROTO_TCP, id, 40+length, b)
}

// see gives a proof an event of a packet, with a look of its own.
func (p *proof) see(id uint64, function string, packet *journey.Packet) {
	p.add(&journey.Observation{
		Kind: journey.Seen, Fresh: true, Mark: p.records + 1,
		Event: journey.Event{ID: journey.ID{FirstSeen: id}, Probe: journey.Probe{Kind: journey.Function, Name: function}, Packet: packet},
	})
}

func (p *proof) counts() map[string]uint64 {
	counts := make(map[string]uint64)
	for sort, f := range p.faulty {
		counts[sort] = f.count
	}
	return counts
}

// TestSame tells what one identity may carry one after the other.
func TestSame(t *testing.T) {
	for _, tc := range []struct {
		name     string
		was, now *journey.Packet
		same     bool
	}{
		{"a datagram", datagram(1, 7), datagram(1, 7), true},
		{"another datagram", datagram(1, 7), datagram(1, 8), false},
		{"one in the other direction", datagram(1, 7), datagram(0, 7), false},
		{"a segment after a datagram", datagram(1, 7), segment(1, 100, 50, 9, 0), false},
		{"a segment", segment(1, 100, 50, 9, 0), segment(1, 100, 50, 9, 0), true},
		{"grown by GRO", segment(1, 100, 50, 9, 0), segment(1, 100, 150, 9, 0), true},
		{"cut by an acknowledgement", segment(1, 100, 50, 9, 0), segment(1, 120, 30, 9, 0), true},
		{"cut into segments", segment(1, 100, 50, 9, 0), segment(1, 100, 20, 9, 0), true},
		{"across the end of the numbers", segment(1, 0xfffffff0, 50, 9, 0), segment(1, 0xfffffff0, 100, 9, 0), true},
		{"sent again", segment(1, 100, 50, 9, 0), segment(2, 100, 50, 12, 0), true},
		{"the next segment", segment(1, 100, 50, 9, 0), segment(2, 150, 50, 9, 0), false},
		{"an acknowledgement", segment(1, 100, 0, 9, 0), segment(1, 100, 0, 9, 0), true},
		{"the next acknowledgement", segment(1, 100, 0, 9, 0), segment(2, 100, 0, 19, 0), false},
		{"the same acknowledgement again", segment(1, 100, 0, 9, 0), segment(2, 100, 0, 9, 0), false},
		{"the segment that follows an acknowledgement", segment(1, 100, 0, 9, 0), segment(2, 100, 50, 9, 0), false},
		{"a FIN is a byte", segment(1, 100, 0, 9, 1), segment(1, 100, 0, 9, 1), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newProof()
			p.see(1, "ip_output", tc.was)
			p.see(1, "veth_xmit", tc.now)
			want := map[string]uint64{}
			if !tc.same {
				want[inherited] = 1
			}
			qt.Check(t, qt.DeepEquals(p.counts(), want))
		})
	}
}

// everywhereBut has a datagram pass all stations but one.
func (p *proof) everywhereBut(id uint64, number uint32, but station) {
	for _, o := range []*journey.Observation{
		{Kind: journey.Origin, Event: journey.Event{ID: journey.ID{FirstSeen: id}}},
		{Kind: journey.Enqueued, Event: journey.Event{ID: journey.ID{FirstSeen: id}}},
	} {
		if o.Kind == journey.Origin && but == originated || o.Kind == journey.Enqueued && but == enqueued {
			continue
		}
		p.add(o)
	}
	for _, name := range functions {
		if at := stationOf[name]; at != 0 && at != but {
			p.see(id, name, datagram(1, number))
		}
	}
}

func TestDatagrams(t *testing.T) {
	p := newProof()
	p.everywhereBut(1, 0, 0)
	p.everywhereBut(2, 1, enqueued)
	p.everywhereBut(3, 2, 0)
	p.everywhereBut(4, 2, originated) // a second identity, that was everywhere but where it began
	identities := p.datagrams([2]uint32{3, 0})
	qt.Check(t, qt.DeepEquals(identities[0], []uint8{1, 1, 2}))
	qt.Check(t, qt.DeepEquals(p.counts(), map[string]uint64{unseen: 1, repeated: 1}))
	qt.Check(t, qt.DeepEquals(p.faulty[unseen].examples, []string{"datagram 1 to port 7101: not at the socket's queue"}))

	p = newProof()
	p.everywhereBut(1, 0, 0)
	p.see(1, "veth_xmit", datagram(1, 0))
	p.add(&journey.Observation{Kind: journey.Seen, Mark: 99, Event: journey.Event{ID: journey.ID{FirstSeen: 1}}})
	p.see(2, "veth_xmit", &journey.Packet{Proto: unix.ETH_P_IPV6})
	p.see(3, "veth_xmit", &journey.Packet{Proto: unix.ETH_P_ARP})
	qt.Check(t, qt.DeepEquals(p.counts(), map[string]uint64{repeated: 1, undressed: 1, unreadable: 1}))
}

func TestCounters(t *testing.T) {
	const snmp = "Ip: Forwarding InDelivers\nIp: 2 17\nTcp: InSegs\nTcp: 5\n"
	n, err := snmpField(snmp, "Ip:", "InDelivers")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(n, 17))
	_, err = snmpField(snmp, "Tcp:", "OutSegs")
	qt.Check(t, qt.ErrorMatches(err, "/proc/net/snmp has no Tcp: OutSegs"))
	n, err = sentBy("Inter-|   Receive\n face |bytes\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", "eth0")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(n, 10+12))
	_, err = sentBy("", "eth0")
	qt.Check(t, qt.ErrorMatches(err, "/proc/net/dev has no line for eth0"))
}

// sample is a result in which all is well, of one datagram.
func sample() *result {
	p := newProof()
	p.everywhereBut(1, 0, 0)
	p.grown = 1
	r := &result{Kernel: "6.12.1", proof: p, AtEnd: 3, Stages: []stageResult{
		{name: "GRO", packets: 1, buffers: 1, took: 100 * time.Microsecond, next: [2]uint32{1, 0}},
	}}
	return r
}

func (r *result) evaluate() {
	r.expect(counters{requested: 1, sent: 1, delivered: 1})
	r.identify([2]uint32{1, 0})
}

func TestText(t *testing.T) {
	r := sample()
	r.evaluate()
	golden.Check(t, "well.txt", r.text())

	r = sample()
	r.proof.see(1, "tcp_v4_rcv", segment(1, 2, 3, 4, 0))
	head := uint64(0xffff888004a88280)
	r.Left = r.proof.explain(map[uint64]journey.ID{head: {FirstSeen: 1}, head + 1: {FirstSeen: 9}})
	r.Calls = 2
	r.Losses = []journey.Loss{{Cause: "ends of packets missed", Count: 2}, {Cause: skippedProbes, Count: 1}}
	r.evaluate()
	golden.Check(t, "ill.txt", r.text())
}

// TestSkips: what the kernel skips because it preempts is told, and is no fault there if it explains what is missing.
func TestSkips(t *testing.T) {
	for _, tc := range []struct {
		preempts bool
		skipped  uint64
		faults   string
	}{
		{true, 1, ""},
		{true, 0, "1 counts differ.*1 datagrams were not seen everywhere.*"},
		{false, 1, "1 datagrams were not seen everywhere.*1 probe hits skipped.*"},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			r := sample()
			r.proof = newProof()
			r.proof.everywhereBut(1, 0, transmitted)
			r.proof.grown = 1
			r.Preempts = tc.preempts
			if tc.skipped > 0 {
				r.Losses = []journey.Loss{{Cause: skippedProbes, Count: tc.skipped}}
			}
			r.evaluate()
			qt.Check(t, qt.Matches(strings.Join(r.faults(), " "), tc.faults))
		})
	}
}
