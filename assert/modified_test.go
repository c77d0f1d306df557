package assert

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/journey"
)

// vouched is complete, of a trace that observed every milestone.
func vouched() journey.Evidence {
	e := complete()
	for _, milestone := range journey.Milestones() {
		if _, ok := e.Milestones[milestone]; !ok {
			e.Milestones[milestone] = journey.Watch{}
		}
	}
	return e
}

func vouchedLossy() journey.Evidence {
	e := vouched()
	e.Loss = lossy().Loss
	return e
}

// rewritten is seen from now on with these bytes of its IP header, or of what follows, as given.
func (p *path) rewritten(at int, with ...byte) *path {
	changed := *p.packet
	changed.Data = slices.Clone(changed.Data)
	copy(changed.Data[changed.Network+at:], with)
	p.packet = &changed
	return p
}

// marked had this mark where it was seen last.
func (p *path) marked(mark uint32) *path {
	p.observations[len(p.observations)-1].Meta = &journey.Meta{Len: 31, Mark: mark}
	return p
}

func (p *path) end() *path { return p.life(journey.Released, 1) }

// forwarded is a packet in fw, seen as it comes and as it goes, with what happened in between.
func forwarded(between func(*path) *path) *path {
	return between(newPath().see(1, fw, "to-client", "ip_rcv_core")).see(1, fw, "to-server", "ip_output")
}

func routed(p *path) *path { return p.rewritten(8, 63).rewritten(10, 0x12, 0x34) }
func dscp(p *path) *path   { return p.rewritten(1, 0xb8) }

// framed is seen with a link header and a tag in it.
func framed(p *path) *path {
	packet := *p.packet
	packet.Data = append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 5, 8, 0}, packet.Data...)
	packet.Network, packet.Len = 18, packet.Len+18
	p.packet = &packet
	return p
}

// tunnelled gets an IP header around it, which says other things than its own.
func tunnelled(p *path) *path {
	packet := *p.packet
	outer := make([]byte, 20, 60)
	outer[0], outer[1], outer[8], outer[9] = 0x45, 0xb8, 17, 4
	binary.BigEndian.PutUint16(outer[2:], uint16(20+len(packet.Data)))
	copy(outer[12:], []byte{9, 0, 0, 1, 9, 0, 0, 2})
	packet.Data, packet.Len = append(outer, packet.Data...), packet.Len+20
	p.packet = &packet
	return p
}

// encapsulated is put into a tunnel.
func encapsulated() *path {
	return tunnelled(newPath().see(1, fw, "port1", "ip_output")).see(1, fw, "br0", "ip_output").end()
}

// bare is what was in a tunnel when it was first seen.
func bare() *path {
	inside := newPath().packet
	p := tunnelled(newPath()).see(1, fw, "to-client", "ip_rcv_core")
	p.packet = inside
	return p.see(1, fw, "to-server", "ip_output").end()
}

// bridging observes bridges and what devices are given.
func bridging() journey.Evidence {
	e := vouched()
	e.Milestones[journey.Bridge] = journey.Watch{Probes: []journey.Probe{{Kind: journey.Function, Name: "br_handle_frame_finish"}}}
	e.Milestones[journey.DeviceTransmit] = journey.Watch{Probes: []journey.Probe{{Kind: journey.Function, Name: "dev_hard_start_xmit"}}}
	return e
}

// aroundBridge is sent by a device before a bridge takes it, by one port and not by the other, for which a rule drops the clone, and
// behind the port by another device of the same node. A clone of it was sent elsewhere without the bridge.
func aroundBridge() *path {
	return newPath().see(1, fw, "to-client", "dev_hard_start_xmit").clone(1, 0xe).
		see(1, fw, "port3", "br_handle_frame_finish").see(0xe, fw, "to-server", "dev_hard_start_xmit").life(journey.Released, 0xe).clone(1, 0xb).
		see(0xb, fw, "port2", "ip_output").drop(0xb, fw, "port2", "NETFILTER_DROP", "nft_do_chain+0x2a1").
		see(1, fw, "port1", "dev_hard_start_xmit").see(1, fw, "port1", "ip_forward").see(1, fw, "to-server", "dev_hard_start_xmit").end()
}

// besides is forwarded unchanged, while a packet socket's copy and what a function says on its return show something else.
func besides() *path {
	p := newPath().see(1, fw, "to-client", "ip_rcv_core")
	own := p.packet
	p.add(journey.TapEnter, 1).Shared = true
	dscp(p.clone(1, 0xd).life(journey.TapExit, 1)).drop(0xd, fw, "to-client", "NOT_SPECIFIED", "packet_release+0x1")
	p.see(1, fw, "to-client", "ip_forward")
	o := &p.observations[len(p.observations)-1]
	o.Probe.Kind, o.Meta = journey.Return, &journey.Meta{Len: 31, Mark: 9}
	p.packet = own
	return p.see(1, fw, "to-server", "ip_output").marked(0).end()
}

func TestModified(t *testing.T) {
	translated, flooded := recorded(t, "translated"), recorded(t, "flooded")
	router, hub, left := in(t, translated, "fw"), in(t, flooded, "hub"), in(t, flooded, "left")
	routedOnly, remarked := forwarded(routed).end(), forwarded(dscp).end()
	back := forwarded(dscp).rewritten(1, 0).see(1, server, "to-fw", "udp_rcv").end()
	marking := newPath().see(1, fw, "to-client", "ip_rcv_core").marked(0).see(1, fw, "to-client", "ip_forward").marked(7).
		see(1, server, "to-fw", "ip_rcv_core").marked(0).end()
	// It has its mark from the start, and loses it by going elsewhere; a tap's copy gets another.
	scrubbed := newPath().see(1, client, "to-fw", "ip_output").marked(7).see(1, fw, "to-client", "ip_rcv_core").marked(0).
		see(1, client, "to-fw", "ip_rcv_core").marked(0).end()
	halves := newPath().see(1, fw, "to-client", "ip_rcv_core").clone(1, 0xb).clone(1, 0xc)
	dscp(halves).see(0xb, fw, "port1", "ip_forward").life(journey.Released, 0xb)
	halves.rewritten(1, 0x20).see(0xc, fw, "port2", "ip_forward").life(journey.Released, 0xc).see(1, fw, "port3", "ip_forward").end()

	for _, test := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		want    verdict
	}{
		{"unmodified", routedOnly.journey(vouched()), BeUnmodified(), holds},
		{"unmodified-tagged", forwarded(framed).end().journey(vouched()), BeUnmodified(), holds},
		{"unmodified-flooded", flooded, BeUnmodified(), holds},
		{"unmodified-in-front", translated, BeUnmodified(At(in(t, translated, "server"))), holds},
		{"unmodified-scrubbed", scrubbed.journey(vouched()), BeUnmodified(), holds},
		{"unmodified-besides", besides().journey(vouched()), BeUnmodified(), holds},
		{"unmodified-translated", translated, BeUnmodified(), fails},
		{"unmodified-at", translated, BeUnmodified(At(router)), fails},
		{"unmodified-remarked", remarked.journey(vouched()), BeUnmodified(), fails},
		{"unmodified-and-back", back.journey(vouched()), BeUnmodified(), fails},
		{"unmodified-payload", forwarded(func(p *path) *path { return p.rewritten(28, 0xff) }).end().journey(vouched()), BeUnmodified(), fails},
		{"unmodified-tunnelled", encapsulated().journey(vouched()), BeUnmodified(), fails},
		{"unmodified-marked", marking.journey(vouched()), BeUnmodified(), fails},
		{"unmodified-lossy", remarked.journey(lossy()), BeUnmodified(), fails},
		{"unmodified-loss", routedOnly.journey(vouchedLossy()), BeUnmodified(), inconclusive},
		{"unmodified-once", routedOnly.journey(vouched()), BeUnmodified(On("to-server")), inconclusive},
		{"unmodified-nowhere", routedOnly.journey(vouched()), BeUnmodified(At(server)), inconclusive},
		{"unmodified-unobserved", routedOnly.journey(complete()), BeUnmodified(), misused},
		{"unmodified-option", routedOnly.journey(vouched()), BeUnmodified(Times(1)), misused},

		{"field", remarked.journey(vouched()), HaveFieldChanged("dscp", 0, 46), holds},
		{"field-address", translated, HaveFieldChanged("src", "172.16.42.1", "172.16.43.1", At(router)), holds},
		{"field-port", translated, HaveFieldChanged("dst port", 53, uint16(8053)), holds},
		{"field-hex", remarked.journey(lossy()), HaveFieldChanged("tos", 0, "0xB8"), holds},
		{"field-mark", marking.journey(vouched()), HaveFieldChanged("mark", 0, 7, At(fw)), holds},
		{"field-ct-mark", translated, HaveFieldChanged("ct mark", 0, 7), holds},
		{"field-wrong-way", remarked.journey(vouched()), HaveFieldChanged("dscp", 46, 0), fails},
		{"field-other-value", translated, HaveFieldChanged("src", "172.16.42.1", "172.16.43.9"), fails},
		{"field-constant", routedOnly.journey(vouched()), HaveFieldChanged("dscp", 0, 46), fails},
		{"field-elsewhere", translated, HaveFieldChanged("src", "172.16.42.1", "172.16.43.1", At(in(t, translated, "server"))), fails},
		{"field-other-branch", halves.journey(vouched()), HaveFieldChanged("dscp", 46, 8), fails},
		{"field-outer-header", encapsulated().journey(vouched()), HaveFieldChanged("dscp", 0, 46), fails},
		{"field-besides", besides().journey(vouched()), HaveFieldChanged("mark", 9, 0), fails},
		{"field-unseen", routedOnly.journey(vouched()), HaveFieldChanged("ct mark", 0, 7), fails},
		{"field-loss", routedOnly.journey(vouchedLossy()), HaveFieldChanged("dscp", 0, 46), inconclusive},
		{"field-no-metadata", routedOnly.journey(vouched()), HaveFieldChanged("mark", 0, 7), misused},
		{"field-unknown", remarked.journey(vouched()), HaveFieldChanged("dcsp", 0, 46), misused},
		{"field-too-large", remarked.journey(vouched()), HaveFieldChanged("dscp", 0, 64), misused},
		{"field-no-address", remarked.journey(vouched()), HaveFieldChanged("src", "client", "10.0.0.1"), misused},
		{"field-same", remarked.journey(vouched()), HaveFieldChanged("tos", "0x10", 16), misused},

		{"marked", marking.journey(vouched()), BeMarked(7, At(fw)), holds},
		{"marked-lossy", marking.journey(lossy()), BeMarked(7), holds},
		{"marked-in-order", marking.journey(vouched()), InOrder(BeMarked(7), Reach("ip_rcv_core", At(server))), holds},
		{"marked-otherwise", marking.journey(vouched()), BeMarked(8), fails},
		{"marked-elsewhere", marking.journey(vouched()), BeMarked(7, At(server)), fails},
		{"marked-not", scrubbed.journey(vouched()), BeMarked(7, At(fw)), fails},
		{"marked-on-return", besides().journey(vouched()), BeMarked(9), fails},
		{"marked-loss", marking.journey(vouchedLossy()), BeMarked(8), inconclusive},
		{"marked-no-metadata", routedOnly.journey(vouched()), BeMarked(7), misused},
		{"marked-zero", marking.journey(vouched()), BeMarked(0), misused},

		{"cloned", flooded, BeCloned(3), holds},
		{"cloned-more", flooded, BeCloned(2), fails},
		{"cloned-not-but-tapped", tapped().journey(complete()), BeCloned(1), fails},
		{"cloned-loss", incomplete(flooded), BeCloned(3), inconclusive},
		{"cloned-never", flooded, BeCloned(0), misused},

		{"sent", flooded, BeFlooded("eth2", "eth1", At(hub)), holds},
		{"sent-around", aroundBridge().journey(bridging()), BeFlooded("port1"), holds},
		{"sent-but-dropped", aroundBridge().journey(bridging()), BeFlooded("port1", "port2"), fails},
		{"sent-by-more", flooded, BeFlooded("eth1"), fails},
		{"sent-by-fewer", flooded, BeFlooded("eth0", "eth1", "eth2", At(hub)), fails},
		{"sent-not-by-a-bridge", translated, BeFlooded("eth1", At(router)), fails},
		{"sent-by-another", flooded, BeFlooded("eth0", At(left)), fails},
		{"sent-loss", incomplete(flooded), BeFlooded("eth1", "eth2"), inconclusive},
		{"sent-unobserved", routedOnly.journey(complete()), BeFlooded("port1"), misused},
		{"sent-no-such-device", flooded, BeFlooded("eth3", At(hub)), misused},
		{"sent-twice", flooded, BeFlooded("eth1", "eth1"), misused},
		{"sent-by-nothing", flooded, BeFlooded(At(hub)), misused},
		{"sent-number", flooded, BeFlooded(1), misused},

		{"encapsulated", encapsulated().journey(vouched()), BeEncapsulated("ipip", At(fw), On("br0")), holds},
		{"encapsulated-otherwise", encapsulated().journey(vouched()), BeEncapsulated("gre"), fails},
		{"encapsulated-before", bare().journey(vouched()), BeEncapsulated("ipip"), fails},
		{"encapsulated-not", routedOnly.journey(vouched()), BeEncapsulated("vxlan"), fails},
		{"encapsulated-loss", routedOnly.journey(vouchedLossy()), BeEncapsulated("vxlan"), inconclusive},
		{"encapsulated-unknown", routedOnly.journey(vouched()), BeEncapsulated("vxaln"), misused},
	} {
		t.Run(test.name, func(t *testing.T) { checkMatcher(t, test.name, test.actual, test.matcher, test.want) })
	}
}
