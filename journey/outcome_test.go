package journey

import (
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestSentences(t *testing.T) {
	demo := demoObservations()
	seen, nft, drop := demo[1], demo[2], demo[3]
	of := func(kind ObservationKind) Observation {
		return Observation{Kind: kind, Event: Event{ID: demoID, SKB: demoSKB}}
	}
	policy := nft
	policy.NFT = &NFT{Table: "filter", Chain: "forward", Verdict: "drop", Policy: true}
	end := nft
	end.NFT = &NFT{Table: "filter", Chain: "forward", Verdict: "drop"}
	accept := nft
	accept.NFT = &NFT{Table: "filter", Chain: "input", Rule: 4, Verdict: "accept"}
	function := seen
	function.Probe = Probe{Function, "sk_skb_reason_drop"}
	noSocket := drop
	noSocket.Drop = &Drop{Reason: "NO_SOCKET", Location: "__udp4_lib_rcv+0x11"}
	bare := drop
	bare.Drop, bare.NetNS, bare.Device = &Drop{Reason: "NOT_SPECIFIED"}, nil, nil
	noName := seen
	noName.Device, noName.NetNS = &Device{Index: 9}, &NetNS{Cookie: 0x99, Inum: 7}
	inSocket := of(Enqueued)
	inSocket.NetNS, inSocket.Device = seen.NetNS, seen.Device
	fragment := of(Parked)
	fragment.Place = FragmentQueue
	shaped := of(Shaped)
	shaped.NetNS, shaped.Device = &NetNS{Cookie: seen.NetNS.Cookie}, &Device{Index: 99, Name: "slow0"}
	clone := of(Cloned)
	clone.Peer = 0xb

	const rule = `rule 'udp dport 8080 drop comment "no metrics from outside"' (table inet filter, chain input, handle 4)`
	for _, test := range []struct {
		name         string
		observations []Observation
		plain        bool // the rules were not looked up
		want         string
	}{{
		"by a rule", []Observation{seen, nft, drop}, false,
		"dropped in namespace server on eth0 by " + rule + ", reason NETFILTER_DROP, at nft_do_chain+0x2a1",
	}, {
		"by a rule, with the function that frees armed too", []Observation{seen, nft, function, drop}, false,
		"dropped in namespace server on eth0 by " + rule + ", reason NETFILTER_DROP, at nft_do_chain+0x2a1",
	}, {
		"by a rule of unknown text", []Observation{seen, nft, drop}, true,
		"dropped in namespace server on eth0 by the rule with handle 4 (table filter, chain input; its text is not known: " +
			"the ruleset changed twice meanwhile), reason NETFILTER_DROP, at nft_do_chain+0x2a1",
	}, {
		"by a policy", []Observation{seen, policy, drop}, true,
		"dropped in namespace server on eth0 by the policy of chain forward (table filter), reason NETFILTER_DROP, " +
			"at nft_do_chain+0x2a1",
	}, {
		"by the end of a chain", []Observation{seen, end, drop}, true,
		"dropped in namespace server on eth0 by the end of chain forward (table filter), reason NETFILTER_DROP, " +
			"at nft_do_chain+0x2a1",
	}, {
		"by something else after a rule accepted", []Observation{seen, accept, drop}, false,
		"dropped in namespace server on eth0 by netfilter (no nftables verdict was reported right before it), " +
			"reason NETFILTER_DROP, at nft_do_chain+0x2a1",
	}, {
		"something in between", []Observation{nft, seen, drop}, false,
		"dropped in namespace server on eth0 by netfilter (no nftables verdict was reported right before it), " +
			"reason NETFILTER_DROP, at nft_do_chain+0x2a1",
	}, {
		"for another reason, right after a verdict", []Observation{nft, noSocket}, false,
		"dropped in namespace server on eth0, reason NO_SOCKET, at __udp4_lib_rcv+0x11",
	}, {
		"somewhere", []Observation{bare}, false,
		"dropped, last seen at skb:kfree_skb, reason NOT_SPECIFIED",
	}, {
		"after it was in a namespace without a name", []Observation{noName, bare}, false,
		"dropped, last seen in namespace 0x99/7 on device 9 at skb:kfree_skb, reason NOT_SPECIFIED",
	}, {
		"delivered", []Observation{seen, inSocket}, false,
		"delivered to a socket in namespace server on eth0",
	}, {
		"delivered, place not reported", []Observation{seen, of(Enqueued)}, false,
		"delivered to a socket, last seen in namespace server on eth0 at ip_local_deliver",
	}, {
		"tapped", []Observation{seen, of(TapEnter), of(TapExit)}, false,
		"delivered to a packet socket, last seen in namespace server on eth0 at ip_local_deliver",
	}, {
		"copied to a ring", []Observation{seen, of(TapEnter), of(Released), of(TapExit)}, false,
		"consumed by a packet socket: copied to its ring, or refused by its filter, last seen in namespace server on eth0 " +
			"at ip_local_deliver",
	}, {
		"consumed", []Observation{seen, of(Released)}, false,
		"consumed: freed by the kernel, neither dropped nor delivered, last seen in namespace server on eth0 at " +
			"ip_local_deliver",
	}, {
		"queued", []Observation{seen, of(Parked)}, false,
		"queued in the neighbour queue, last seen in namespace server on eth0 at ip_local_deliver",
	}, {
		"a fragment", []Observation{seen, fragment}, false,
		"queued in the fragment queue, last seen in namespace server on eth0 at ip_local_deliver",
	}, {
		"a part of a datagram", []Observation{seen, fragment, of(Absorbed)}, false,
		"merged: its data went on as part of another packet, last seen in namespace server on eth0 at ip_local_deliver",
	}, {
		"in a qdisc", []Observation{seen, shaped}, false,
		"queued in the qdisc in namespace server on slow0",
	}, {
		"on its way, never seen at a probe", []Observation{demo[0]}, false,
		"undetermined: still on its way when the record was sealed, last seen in namespace client",
	}, {
		"in two branches", []Observation{seen, clone, inSocket}, false,
		"in 2 branches: (1) skb ffff888003a5c300 delivered to a socket in namespace server on eth0; (2) skb b " +
			"undetermined: still on its way when the record was sealed, last seen in namespace server on eth0",
	}} {
		t.Run(test.name, func(t *testing.T) {
			evidence := complete()
			if test.plain {
				evidence.Unvouched = map[uint64]string{serverNS: "the ruleset changed twice meanwhile"}
			}
			r := sealed(slices.Clone(test.observations), evidence)
			if !test.plain {
				r.Annotate(annotate)
			}
			qt.Check(t, qt.Equals(r.Journeys[0].Sentence(), test.want))
		})
	}
}

func TestNoBranches(t *testing.T) {
	j := &Journey{}
	qt.Check(t, qt.Equals(j.Outcome().Kind, Undetermined))
	qt.Check(t, qt.Equals(j.String(), "undetermined: still on its way when the record was sealed\n"))
	qt.Check(t, qt.Equals(j.Summary(), "a packet of unknown content, 0 events, undetermined #00"))
	qt.Check(t, qt.Equals(Outcome{Kind: Divided}.String(), "divided: its branches ended in different ways"))
}

// TestReturnsDoNotJudge: the return of a function between verdict and drop leaves the drop to the rule, and the place and
// time of the end to the events that tell them.
func TestReturnsDoNotJudge(t *testing.T) {
	back := demoEvent(184467460200, Return, "__nft_trace_packet")
	late := demoEvent(184467471200, Return, "ip_local_deliver")
	late.NetNS, late.Device = &NetNS{Cookie: clientNS}, nil
	observations := demoObservations()
	observations = slices.Concat(observations[:3], []Observation{{Kind: Seen, Event: back}}, observations[3:],
		[]Observation{{Kind: Seen, Event: late}})
	j := sealed(observations, complete()).Journeys[0]
	qt.Assert(t, qt.HasLen(j.Branches, 1))
	o := j.Outcome()
	qt.Check(t, qt.Equals(o.Kind, Dropped))
	qt.Check(t, qt.Equals(o.Rule, &j.Events[1]))
	qt.Check(t, qt.Equals(o.LastNetNS.Node, "server"))

	late.ID.FirstSeen, late.SKB = 5, 5
	first := demoEvent(1, Function, "ip_rcv")
	first.ID, first.SKB = late.ID, late.SKB
	j = sealed([]Observation{{Kind: Seen, Event: first}, {Kind: Seen, Event: late}}, complete()).Journeys[0]
	qt.Check(t, qt.Equals(j.Outcome().Event, &j.Events[0]))
	qt.Check(t, qt.Equals(j.Outcome().LastNetNS.Node, "server"))
}
