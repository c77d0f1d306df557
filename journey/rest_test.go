package journey

import (
	"testing"

	"github.com/go-quicktest/qt"
)

// Where packets rest, and where they only seem to.
func TestRest(t *testing.T) {
	for _, test := range []struct {
		name   string
		script string
		want   string
		moving int
	}{{
		name:   "TCP data that waits to be read",
		script: "0 see a tcp_v4_rcv\n 0 enqueue a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name:   "TCP data that was appended to what the socket had already",
		script: "0 see a tcp_v4_rcv\n 0 enqueue a\n 0 merge a\n 0 release a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name:   "TCP data that came early and was thrown out again",
		script: "0 see a tcp_v4_rcv\n 0 enqueue a\n 1 drop a TCP_OFO_QUEUE_PRUNE\n 1 release a",
		want:   "a main dropped (TCP_OFO_QUEUE_PRUNE) => dropped",
	}, {
		name:   "an acknowledgement",
		script: "0 see a tcp_v4_rcv\n 0 release a",
		want:   "a main consumed => consumed",
	}, {
		name:   "a segment that was appended to another while the socket was busy",
		script: "0 see a tcp_v4_rcv\n 0 merge a\n 0 release a",
		want:   "a main merged => merged",
	}, {
		name:   "in a qdisc, which will let it go",
		script: "0 origin a\n 0 shape a",
		want:   "a main queued (qdisc) => queued", moving: 1,
	}, {
		name:   "left the qdisc for the device",
		script: "0 origin a\n 0 shape a\n 1 resume a",
		want:   "a main undetermined => undetermined", moving: 1,
	}, {
		name:   "dropped by the qdisc",
		script: "0 origin a\n 0 shape a\n 0 drop a QDISC_DROP\n 0 release a",
		want:   "a main dropped (QDISC_DROP) => dropped",
	}, {
		name:   "left the qdisc and was delivered",
		script: "0 origin a\n 0 shape a\n 1 resume a\n 1 see a ip_rcv\n 1 enqueue a",
		want:   "a main delivered (socket) => delivered",
	}, {
		name:   "given to the qdisc by the CPU that had it before another one did",
		script: "0 see a ip_rcv\n 1 see a ip_forward\n 0 shape a",
		want:   "a main queued (qdisc) => queued", moving: 1,
	}, {
		name:   "a fragment that waits for the others",
		script: "0 see a ip_rcv\n 0 fragment a",
		want:   "a main queued (fragment queue) => queued",
	}, {
		name:   "a fragment of which another CPU made a part of the datagram before it was reported to wait",
		script: "0 see a ip_rcv\n 1 merge a\n 0 fragment a",
		want:   "a main merged => merged",
	}, {
		name:   "the first fragment, for which no other came",
		script: "0 see a ip_rcv\n 0 fragment a\n 1 drop a FRAG_REASM_TIMEOUT\n 1 release a",
		want:   "a main dropped (FRAG_REASM_TIMEOUT) => dropped",
	}, {
		name:   "the first fragment, as the datagram is being put together in another skb",
		script: "0 see a ip_rcv\n 0 fragment a\n 0 move a b\n 0 release a",
		want:   "a moved on consumed, b main undetermined => undetermined", moving: 1,
	}, {
		name: "the first fragment, and then the datagram, in another skb",
		script: `0 see a ip_rcv
			0 fragment a
			0 move a b
			0 release a
			0 resume b
			0 see b udp_queue_rcv_one_skb
			0 enqueue b`,
		want: "a moved on consumed, b main delivered (socket) => delivered",
	}, {
		name: "the last fragment, which goes on as a clone and then as a part of the datagram",
		script: `0 see a ip_rcv
			0 clone a b
			0 move a
			0 release a
			0 merge b
			0 release b`,
		want: "a moved on consumed, b clone merged => merged",
	}, {
		name:   "a clone by which the kernel looks at a waiting packet, seen only as it is freed",
		script: "0 see a ip_output\n 0 clone a b\n 0 see b consume_skb\n 0 see b skb_release_data\n 0 release b\n 0 park a",
		want:   "a main queued (neighbour queue), b unseen copy consumed => queued",
	}, {
		name:   "the first fragment came last, or the others in order: its own skb goes on",
		script: "0 see a ip_rcv\n 0 fragment a\n 0 resume a",
		want:   "a main undetermined => undetermined", moving: 1,
	}} {
		t.Run(test.name, func(t *testing.T) {
			a := NewAssembler(0)
			play(t, a, test.script)
			qt.Check(t, qt.Equals(a.Moving(), test.moving))
			qt.Check(t, qt.Equals(fates(a), test.want))
		})
	}
}
