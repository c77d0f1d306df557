package main

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// functions are those that packets are observed at. A datagram comes by each but the last, once. Not by ip_rcv: what GRO hands
// on as a list goes through ip_list_rcv.
var functions = []string{"ip_output", "veth_xmit", "ip_local_deliver", "udp_queue_rcv_one_skb", "skb_consume_udp", "tcp_v4_rcv"}

// station is something that happens to a datagram once.
type station uint16

const (
	originated station = 1 << iota
	sent
	transmitted
	delivered
	accepted
	enqueued
	consumed
	everywhere = consumed<<1 - 1
)

var stationNames = []string{
	"origin", "ip_output", "veth_xmit", "ip_local_deliver", "udp_queue_rcv_one_skb", "the socket's queue", "skb_consume_udp",
}

var stationOf = map[string]station{
	"ip_output": sent, "veth_xmit": transmitted, "ip_local_deliver": delivered, "udp_queue_rcv_one_skb": accepted, "skb_consume_udp": consumed,
}

// carried is what an identity was seen to carry: what of it is in the bytes of the packets that its events saw. There are
// millions, so it is small.
type carried struct {
	flow       uint32 // ports of source and destination; 0 before anything was seen
	start, end uint32 // UDP: the datagram's number; TCP: sequence numbers, SYN and FIN included
	ack        uint32
	ipID       uint16
	stations   station
	protocol   uint8
	last       journey.ObservationKind
	mark       uint64 // of the look that was told last
}

// proof is what came of all observations.
type proof struct {
	packets map[journey.ID]carried
	records uint64
	events  map[string]uint64 // by function
	// What may happen to a TCP segment in place.
	grown, trimmed, sentAgain uint64
	faulty                    faults
}

func newProof() *proof {
	return &proof{packets: make(map[journey.ID]carried), events: make(map[string]uint64), faulty: make(faults)}
}

// faults are what must not be, by sort, with the first of each.
type faults map[string]*fault

type fault struct {
	count    uint64
	examples []string
}

const examples = 5

func (f faults) add(sort, format string, args ...any) {
	if f[sort] == nil {
		f[sort] = &fault{}
	}
	f[sort].count++
	if len(f[sort].examples) < examples {
		f[sort].examples = append(f[sort].examples, fmt.Sprintf(format, args...))
	}
}

// Sorts of faults.
const (
	inherited  = "identities were seen with two packets"
	divided    = "datagrams had more identities than buffers"
	unreadable = "packets could not be read"
	unseen     = "datagrams were not seen everywhere"
	repeated   = "datagrams were seen twice at one place"
	undressed  = "events named a look that was not told"
	miscounted = "counts differ from the kernel's"
)

// add is the sink.
func (p *proof) add(o *journey.Observation) {
	p.records++
	c := p.packets[o.ID]
	c.last = o.Kind
	var at station
	switch o.Kind {
	case journey.Origin:
		at = originated
	case journey.Enqueued:
		at = enqueued
	case journey.Seen:
		if o.Probe.Kind == journey.Function {
			p.events[o.Probe.Name]++
			at = stationOf[o.Probe.Name]
		}
		if !o.Fresh && o.Mark != c.mark {
			p.faulty.add(undressed, "%v at %s", o.ID, o.Probe.Name)
		}
	}
	if (o.Kind == journey.Looked || o.Fresh) && o.Packet != nil {
		c.mark = o.Mark
		p.read(o, &c)
	}
	if at != 0 && c.stations&at != 0 && c.protocol == unix.IPPROTO_UDP {
		p.faulty.add(repeated, "%s: %v, at %s", c, o.ID, at)
	}
	c.stations |= at
	p.packets[o.ID] = c
}

// read compares what an identity carries now with what it carried before.
func (p *proof) read(o *journey.Observation, c *carried) {
	now, ok := parse(o.Packet)
	if !ok {
		p.faulty.add(unreadable, "%v: % x", o.ID, o.Packet.Data)
		return
	}
	if now.protocol == 0 {
		return // ARP
	}
	if c.protocol == 0 {
		c.protocol, c.flow, c.start, c.end, c.ack, c.ipID = now.protocol, now.flow, now.start, now.end, now.ack, now.ipID
		return
	}
	if !p.same(c, now) {
		p.faulty.add(inherited, "%v at %s: it was %s, and is %s", o.ID, o.Probe.Name, c, now)
	}
	c.start, c.end, c.ack, c.ipID = now.start, now.end, now.ack, now.ipID
}

// same tells whether what an identity carries now can be the packet that it carried before. A datagram never changes. What TCP
// sends is one range of its sequence numbers: GRO appends to it, an acknowledgement cuts off its beginning, and segments its
// end. Two packets that have neither beginning nor end in common are not one. If it was not sent again, its number (IP's
// identification) is the same.
func (p *proof) same(was *carried, now carried) bool {
	if was.protocol != now.protocol || was.flow != now.flow {
		return false
	}
	again := was.ipID != now.ipID
	switch {
	case was.start == was.end || now.start == now.end: // nothing but an acknowledgement, or a datagram
		return was.start == now.start && was.end == now.end && was.ack == now.ack && !again
	case was.start == now.start && was.end == now.end:
	case was.start == now.start && int32(now.end-was.end) > 0:
		p.grown++
	case was.start == now.start, was.end == now.end && int32(now.start-was.start) > 0:
		p.trimmed++
	default:
		return false
	}
	if again {
		p.sentAgain++
	}
	return true
}

// parse reads a packet of the soak's, from what was captured of it. ok is false if that is not one; ARP has no protocol.
func parse(packet *journey.Packet) (c carried, ok bool) {
	if packet.Proto == unix.ETH_P_ARP {
		return c, true
	}
	data := packet.Data
	if packet.Proto != unix.ETH_P_IP || packet.Network+20 > len(data) {
		return c, false
	}
	ip := data[packet.Network:]
	header := int(ip[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if header < 20 || header+20 > len(ip) || total < header+20 {
		return c, false
	}
	transport := ip[header:]
	c.ipID = binary.BigEndian.Uint16(ip[4:])
	c.protocol = ip[9]
	c.flow = binary.BigEndian.Uint32(transport)
	switch c.protocol {
	case unix.IPPROTO_UDP:
		const payload = 8
		if binary.BigEndian.Uint32(transport[payload:]) != magic {
			return c, false
		}
		c.start = binary.BigEndian.Uint32(transport[payload+4:])
		c.end = c.start
		return c, true
	case unix.IPPROTO_TCP:
		const fin, syn = 1, 2
		flags := transport[13]
		c.start, c.ack = binary.BigEndian.Uint32(transport[4:]), binary.BigEndian.Uint32(transport[8:])
		c.end = c.start + uint32(total-header-int(transport[12]>>4)*4) + uint32(flags&fin) + uint32(flags&syn/syn)
		return c, true
	}
	return c, false
}

// String is what the identity carries, in short.
func (c carried) String() string {
	switch c.protocol {
	case unix.IPPROTO_UDP:
		return fmt.Sprintf("datagram %d to port %d", c.start, uint16(c.flow))
	case unix.IPPROTO_TCP:
		return fmt.Sprintf("TCP %d > %d seq %d:%d ack %d (IP %d)", c.flow>>16, uint16(c.flow), c.start, c.end, c.ack, c.ipID)
	}
	return "a packet that was not seen at a function"
}

func (s station) String() string {
	for i, name := range stationNames {
		if s&(1<<i) != 0 {
			return name
		}
	}
	return "nowhere"
}

// datagrams tells how many datagrams of the given numbers had how many identities, and finds those that were not seen
// everywhere. numbers is how many each end
// has sent.
func (p *proof) datagrams(numbers [2]uint32) [2][]uint8 {
	var identities [2][]uint8
	var stations [2][]station
	for i, n := range numbers {
		identities[i], stations[i] = make([]uint8, n), make([]station, n)
	}
	for id, c := range p.packets {
		if c.protocol != unix.IPPROTO_UDP {
			continue
		}
		receiver := int(uint16(c.flow)) - udpPort
		if receiver < 0 || receiver > 1 || c.start >= numbers[1-receiver] {
			p.faulty.add(unreadable, "%v: %s, which nobody sent", id, c)
			continue
		}
		sender := 1 - receiver
		identities[sender][c.start]++
		if twice := stations[sender][c.start] & c.stations; twice != 0 {
			p.faulty.add(repeated, "%s: %v, at %s", c, id, twice)
		}
		stations[sender][c.start] |= c.stations
	}
	for sender := range stations {
		for number, at := range stations[sender] {
			if missing := everywhere &^ at; missing != 0 {
				p.faulty.add(unseen, "datagram %d to port %d: not at %s", number, udpPort+1-sender, missing)
			}
		}
	}
	return identities
}

// resting says where a packet is of which this was the last that was told.
var resting = map[journey.ObservationKind]string{
	journey.Seen: "moving, when it was seen last", journey.Origin: "moving, on its way out", journey.Cloned: "moving, or kept by its sender",
	journey.TapEnter: "with a packet socket", journey.TapExit: "with a packet socket", journey.Enqueued: "in a socket's queue",
	journey.Parked: "waiting for a neighbour or for other fragments", journey.Shaped: "in a qdisc",
	journey.Resumed: "moving, on its way out of a queue", journey.Absorbed: "a part of another packet",
	journey.Moved: "a part of a datagram", journey.Released: "released by one holder, and held by another", journey.Looked: "moving",
}

// explain lists the packets that are still known, a line each.
func (p *proof) explain(known map[uint64]journey.ID) []string {
	var lines []string
	for head, id := range known {
		c, ok := p.packets[id]
		if !ok {
			lines = append(lines, fmt.Sprintf("%x %v: nothing was ever told of it", head, id))
			continue
		}
		lines = append(lines, fmt.Sprintf("%x %v: %s, %s", head, id, c, resting[c.last]))
	}
	slices.Sort(lines)
	return lines
}
