package harness

import (
	"net/netip"

	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
)

// Record is what sealing a trace yields. It does not change.
type Record struct {
	lab    *Lab
	mark   uint64
	record *journey.Record
}

// Of returns the journey of a packet that the test sent. It ends the test if there is none, or more than one, and lists
// the candidates.
func (r *Record) Of(sent *packet.Sent) *journey.Journey {
	r.lab.t.Helper()
	if sent == nil {
		r.lab.t.Fatalf("find the journey of a packet: nil was given instead of what Send returned")
	}
	if sent.Before != 0 && sent.Before < r.mark {
		r.lab.t.Fatalf("find the journey of %s: it was sent before the trace began; begin the trace first, then send", sent)
	}
	j, err := r.record.Of(sent)
	if err != nil && sent.Err != nil {
		r.lab.t.Fatalf("find the journey of %s: sending it failed: %v; %v", sent, sent.Err, err)
	}
	if err != nil {
		r.lab.t.Fatalf("%v", err)
	}
	r.lab.ask(j)
	return j
}

// OfEach returns the journeys of packets that the test sent, such as those of a burst, in the order given, as Of does for one.
func (r *Record) OfEach(sent []*packet.Sent) []*journey.Journey {
	r.lab.t.Helper()
	journeys := make([]*journey.Journey, len(sent))
	for i, s := range sent {
		journeys[i] = r.Of(s)
	}
	return journeys
}

// Flow returns the journeys of all packets of the flow that a packet or a connection belongs to, both ways, in order of first
// sight: the answers too, whoever sent them, and what retransmissions there were. It goes by the protocol, the addresses and the
// ports that the sender sees, so of another socket with the same five-tuple it has the packets as well. A [packet.Flow] finds those
// that no socket of the test sent.
func (r *Record) Flow(of interface {
	Endpoints() (proto uint8, local, remote netip.AddrPort)
}) []*journey.Journey {
	return r.record.Flow(of.Endpoints())
}

// AllOf returns the journeys of all packets that a socket sent, such as those of a [packet.Conn], in order of first sight.
func (r *Record) AllOf(socket interface{ SocketCookie() uint64 }) []*journey.Journey {
	var sent []*journey.Journey
	for _, j := range r.record.All() {
		if j.Origin != nil && j.Origin.SocketCookie == socket.SocketCookie() {
			sent = append(sent, j)
		}
	}
	return sent
}

// All returns every journey of the record, those of background noise included, in order of first sight.
func (r *Record) All() []*journey.Journey { return r.record.All() }

// Evidence is the account of how the record came about.
func (r *Record) Evidence() *journey.Evidence { return r.record.Evidence }
