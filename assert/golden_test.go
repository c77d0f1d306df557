package assert

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/onsi/gomega/types"

	"github.com/waybill-dev/waybill/internal/golden"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/journey/shape"
)

// swap exchanges two observations.
func (p *path) swap(i, k int) *path {
	p.observations[i], p.observations[k] = p.observations[k], p.observations[i]
	return p
}

// unseen leaves out that the packet came by local in.
func (p *path) unseen() *path {
	p.observations = slices.DeleteFunc(p.observations, func(o journey.Observation) bool { return o.Probe.Name == "ip_local_deliver" })
	return p
}

// volatile changes everything that differs from run to run: identity, times, CPUs, addresses of memory, inodes, handles, the source
// port and the ID of IP.
func (p *path) volatile() *path {
	for i := range p.observations {
		o := &p.observations[i]
		o.ID = journey.ID{FirstSeen: 0x99, Head: 0xffff8880aaaa0000}
		o.Time, o.CPU, o.PID, o.Comm, o.SocketCookie = 77, 3, 4711, "other", 0x77
		o.SKB += 0xffff888000000000
		if o.Peer != 0 {
			o.Peer += 0xffff888000000000
		}
		if o.NetNS != nil {
			ns := *o.NetNS
			ns.Inum += 99
			o.NetNS = &ns
		}
		if o.Device != nil {
			d := *o.Device
			d.Index += 5
			o.Device = &d
		}
		if o.Drop != nil {
			o.Drop = &journey.Drop{Reason: o.Drop.Reason, Location: "nf_hook_slow+0xb5"}
		}
		if o.NFT != nil {
			n := *o.NFT
			n.TableHandle, n.ChainHandle = 8, 9
			if n.Rule != 0 {
				n.Rule = 77
			}
			o.NFT = &n
		}
		if o.Packet != nil {
			packet := *o.Packet
			packet.Data = slices.Clone(packet.Data)
			binary.BigEndian.PutUint16(packet.Data[4:], 9999)
			binary.BigEndian.PutUint16(packet.Data[20:], 45123)
			o.Packet = &packet
		}
	}
	return p
}

// between gives the packet other addresses.
func (p *path) between(src, dst [4]byte) *path {
	for i := range p.observations {
		if packet := p.observations[i].Packet; packet != nil {
			data := slices.Clone(packet.Data)
			copy(data[12:], src[:])
			copy(data[16:], dst[:])
			p.observations[i].Packet = &journey.Packet{Proto: packet.Proto, Len: packet.Len, Data: data}
		}
	}
	return p
}

// sixth is the same path by IPv6.
func (p *path) sixth() *path {
	functions := map[string]string{
		"ip_rcv_core": "ip6_rcv_core", "ip_forward": "ip6_forward", "ip_local_deliver": "ip6_input", "udp_rcv": "udpv6_rcv",
	}
	data := make([]byte, 51)
	data[0], data[5], data[6], data[7] = 0x60, 11, 17, 64
	data[8], data[23], data[24], data[39] = 0xfd, 1, 0xfd, 2
	copy(data[40:], datagram(8080).Data[20:])
	for i := range p.observations {
		o := &p.observations[i]
		if six, ok := functions[o.Probe.Name]; ok {
			o.Probe.Name = six
		}
		if o.Packet != nil {
			o.Packet = &journey.Packet{Proto: 0x86dd, Len: 51, Data: data}
		}
	}
	return p
}

// both observes IPv6's functions, too.
func both() journey.Evidence {
	e := complete()
	for milestone, function := range map[journey.Milestone]string{
		IPReceive: "ip6_rcv_core", Forward: "ip6_forward", LocalIn: "ip6_input", UDPReceive: "udpv6_rcv",
	} {
		probe := journey.Probe{Kind: journey.Function, Name: function}
		w := e.Milestones[milestone]
		w.Probes = append(w.Probes, probe)
		e.Milestones[milestone] = w
		e.Probes = append(e.Probes, probe)
	}
	return e
}

// byRuleIn is dropped by the same rule in another chain.
func byRuleIn(chain string) *path {
	rule := metricsRule
	rule.Chain = chain
	return arrival().nft(1, server, "to-fw", rule).drop(1, server, "to-fw", "NETFILTER_DROP", "nft_do_chain+0x2a1")
}

// floodedOtherwise is flooded, where the kernel gave the skb itself to another port and told of the ports in another order.
func floodedOtherwise() *path {
	p := newPath().see(1, fw, "br0", "ip_rcv_core").clone(1, 0xb).clone(0xb, 0xc).see(0xb, fw, "port3", "ip_forward").
		see(1, fw, "port1", "ip_forward").see(0xc, fw, "port2", "ip_forward")
	p.add(journey.Enqueued, 1)
	return p.drop(0xb, fw, "port3", "NO_SOCKET", "udp_unicast_rcv_skb+0x11").nft(0xc, fw, "port2", policyDrop).
		drop(0xc, fw, "port2", "NETFILTER_DROP", "nft_do_chain+0x2a1")
}

// floodedLess is flooded to two ports only.
func floodedLess() *path {
	p := newPath().see(1, fw, "br0", "ip_rcv_core").clone(1, 0xb).see(0xb, fw, "port1", "ip_forward").see(1, fw, "port3", "ip_forward")
	p.add(journey.Enqueued, 0xb)
	return p.drop(1, fw, "port3", "NO_SOCKET", "__udp4_lib_rcv+0x11")
}

// file is a golden file that holds the shape of a journey. The flag -update writes it.
func file(tb testing.TB, name string, j *journey.Journey, options shape.Options) string {
	tb.Helper()
	golden.Check(tb, filepath.Join("golden", name+".journey"), goldenHeader+shape.Of(j, options).String())
	return filepath.Join("testdata", "golden", name+".journey")
}

// compare makes MatchGolden compare, though the flag -update has texts written.
func compare(tb testing.TB) {
	before := updating
	updating = func() bool { return false }
	tb.Cleanup(func() { updating = before })
}

// TestGolden: journeys that are the same though they look different, and others that only look the same.
func TestGolden(t *testing.T) {
	compare(t)
	dropped := file(t, "dropped", byRule().journey(complete()), shape.Options{})
	through := file(t, "delivered", delivered().journey(complete()), shape.Options{})
	ports := file(t, "flooded", flooded().journey(complete()), shape.Options{})
	letters := file(t, "letters", byRule().journey(complete()), shape.Options{AnyAddress: true})
	nat := file(t, "translated", recorded(t, "translated"), shape.Options{})
	fewer := complete()
	delete(fewer.Milestones, LocalIn)
	fewer.Probes = slices.DeleteFunc(fewer.Probes, func(p journey.Probe) bool { return p.Name == "ip_local_deliver" })
	away := byRule().between([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2})

	for _, test := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		want    verdict
	}{
		{"golden", byRule().journey(complete()), MatchGolden(dropped), holds},
		{"golden-volatile", byRule().volatile().journey(complete()), MatchGolden(dropped), holds},
		{"golden-tapped-not", tapped().journey(complete()), MatchGolden(dropped), fails},
		{"golden-recorded", recorded(t, "translated"), MatchGolden(nat), holds},
		{"golden-flooded", floodedOtherwise().journey(complete()), MatchGolden(ports), holds},
		{"golden-accepted", accepted().journey(complete()), MatchGolden(dropped), fails},
		{"golden-another", accepted().among(complete(), noSocket().to(9090), byRule()), MatchGolden(dropped), fails},
		{"golden-swapped", delivered().swap(1, 2).journey(complete()), MatchGolden(through), fails},
		{"golden-extra", delivered().see(1, server, "to-fw", "ip_local_deliver").swap(6, 7).swap(5, 6).journey(complete()), MatchGolden(through), fails},
		{"golden-missing-hop", delivered().unseen().journey(complete()), MatchGolden(through), fails},
		{"golden-lost-hop", delivered().unseen().journey(lossy()), MatchGolden(through), inconclusive},
		{"golden-other-chain", byRuleIn("ingress").journey(complete()), MatchGolden(dropped), fails},
		{"golden-other-port", byRule().to(9090).journey(complete()), MatchGolden(dropped), fails},
		{"golden-other-address", away.journey(complete()), MatchGolden(dropped), fails},
		{"golden-any-address", away.journey(complete()), MatchGolden(letters, AnyAddress()), holds},
		{"golden-other-branch", byRule().journey(complete()), MatchGolden(ports), fails},
		{"golden-one-branch-less", floodedLess().journey(complete()), MatchGolden(ports), fails},
		{"golden-lossy", byRule().journey(lossy()), MatchGolden(dropped), inconclusive},
		{"golden-on-its-way", onItsWay().journey(complete()), MatchGolden(dropped), inconclusive},
		{"golden-unobserved", byRule().unseen().journey(fewer), MatchGolden(dropped), inconclusive},
		{"golden-unobserved-and-more", delivered().unseen().journey(fewer), MatchGolden(dropped), fails},
		{"golden-without", byRule().unseen().journey(fewer), MatchGolden(file(t, "without", byRule().journey(complete()), shape.Options{Without: []string{"local in"}}), Without(LocalIn)), holds},
		{"golden-none", byRule().journey(complete()), MatchGolden("testdata/golden/none.journey"), misused},
		{"golden-no-journey", byRule().journey(complete()), MatchGolden("testdata/dropped.txt"), misused},
		{"golden-unnamed", byRule().journey(complete()), MatchGolden(""), misused},
		{"golden-option", byRule().journey(complete()), MatchGolden(dropped, At(server)), misused},
		{"golden-without-nothing", byRule().journey(complete()), MatchGolden(dropped, Without[string]()), misused},

		{"same", byRule().volatile().journey(complete()), TakeSameJourneyAs(byRule().journey(complete())), holds},
		{"same-other-address", away.journey(complete()), TakeSameJourneyAs(byRule().journey(complete())), holds},
		{"same-ipv6", byRule().sixth().journey(both()), TakeSameJourneyAs(byRule().journey(both())), holds},
		{"same-ipv6-not", delivered().sixth().journey(both()), TakeSameJourneyAs(byRule().journey(both())), fails},
		{"same-ipv6-unobserved", byRule().sixth().journey(both()), TakeSameJourneyAs(byRule().unseen().journey(fewer)), inconclusive},
		{"same-other-chain", byRuleIn("ingress").journey(complete()), TakeSameJourneyAs(byRule().journey(complete())), fails},
		{"same-any-rule", byRuleIn("ingress").journey(complete()), TakeSameJourneyAs(byRule().journey(complete()), AnyRule()), holds},
		{"same-any-rule-not", byPolicy().journey(complete()), TakeSameJourneyAs(byRule().journey(complete()), AnyRule()), fails},
		{"same-lossy", byRule().journey(lossy()), TakeSameJourneyAs(byRule().journey(complete())), inconclusive},
		{"same-other-lossy", byRule().journey(complete()), TakeSameJourneyAs(byRule().journey(lossy())), inconclusive},
		{"same-nil", byRule().journey(complete()), TakeSameJourneyAs(nil), misused},
	} {
		t.Run(test.name, func(t *testing.T) { checkMatcher(t, test.name, test.actual, test.matcher, test.want) })
	}
}

// TestUpdate: the flag writes the file, unless the record is incomplete; and what it wrote matches.
func TestUpdate(t *testing.T) {
	compare(t)
	path := filepath.Join(t.TempDir(), "new", "dropped.journey")
	updating = func() bool { return true }
	ok, err := MatchGolden(path).Match(byRule().journey(lossy()))
	qt.Check(t, qt.ErrorIs(err, journey.ErrInconclusive))
	qt.Check(t, qt.IsFalse(ok))
	_, err = os.Stat(path)
	qt.Assert(t, qt.ErrorIs(err, os.ErrNotExist))

	for _, j := range []*journey.Journey{delivered().journey(complete()), byRule().journey(complete())} {
		ok, err = MatchGolden(path).Match(j)
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.IsTrue(ok))
	}
	updating = func() bool { return false }
	ok, err = MatchGolden(path).Match(byRule().journey(complete()))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsTrue(ok))
	ok, err = MatchGolden(path).Match(delivered().journey(complete()))
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.IsFalse(ok))
}
