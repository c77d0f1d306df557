package mutation

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("one word", func() {
	It("of nothing leaves everything as it is", func(ctx SpecContext) {
		e := newExample(topology.Node{Forwarding: true, NFT: ruleset}, 8053, 123)
		journeys := e.send(ctx)
		for name, c := range claims {
			Expect(ask(e, c, journeys)).To(BeEmpty(), name)
		}
	})

	It("of the ruleset turns a spec red", func(ctx SpecContext) {
		e := newExample(topology.Node{Forwarding: true, NFT: ruleset}, 8053, 123, 9100, 9999)
		for _, m := range []struct{ old, new, claim, says string }{
			{"udp dport 53 dnat", "udp dport 54 dnat", "dns is delivered", "but it was dropped with reason NO_SOCKET"},
			{"udp dport 53 dnat", "tcp dport 53 dnat", "dns is translated", "its destination was not translated"},
			{"172.16.43.2:8053", "172.16.43.2:8054", "dns is delivered", "but it was dropped by the policy of chain forward"},
			{"172.16.43.2:8053", "172.16.43.2:8054", "dns is translated", "but it was translated to 172.16.43.2:8054"},
			{"hook prerouting priority dstnat", "hook output priority -100", "dns comes through", "it never did"},
			{`oifname "eth1"`, `oifname "eth0"`, "dns is translated", "its source was not translated"},
			{`oifname "eth1"`, `iifname "eth1"`, "dns in order", "it never did (4)"},
			{"masquerade", "accept", "dns is translated", "its source was not translated"},
			{"masquerade", "snat to 172.16.43.9", "dns is translated", "it was translated to 172.16.43.9"},
			{`drop comment "no metrics"`, `accept comment "no metrics"`, "metrics are dropped", "It judged the packet: accept"},
			{`drop comment "no metrics"`, `accept comment "no metrics"`, "metrics do not pass", "but that is what happened"},
			{`drop comment "no metrics"`, `counter comment "no metrics"`, "metrics are dropped", "handle"},
			{`udp dport 9100 drop`, `udp dport 9101 drop`, "metrics are dropped", "but it was delivered"},
			{`udp dport 9100 drop`, `tcp dport 9100 drop`, "metrics do not pass", "but that is what happened"},
			{`"no metrics"`, `"no numbers"`, "metrics are dropped", "but it was dropped by rule 'udp dport 9100 drop comment \"no numbers\"'"},
			{"hook forward", "hook input", "others are dropped", "but it was delivered"},
			{"policy drop", "policy accept", "others are dropped", "but it was delivered"},
			{"policy drop", "policy accept", "others do not arrive", "but that is what happened"},
			{"ct mark set 7", "ct mark set 8", "time is tracked", "no entry was as Which wants it"},
			{"udp dport 8053 jump dns", "udp dport 8054 jump dns", "dns comes through", "after (2) it never did (3)"},
			{"jump dns", "drop", "dns is accepted", "it was judged by others"},
			{"jump dns", "accept", "dns comes through", "after (2) it never did (3)"},
			{"ip saddr 172.16.42.1", "ip saddr 172.16.42.2", "dns is delivered", "but it was dropped by the policy of chain forward"},
			{`accept comment "ask`, `drop comment "ask`, "dns is accepted", "ask the resolver"},
			{`accept comment "ask`, `return comment "ask`, "dns is delivered", "but it was dropped by the policy of chain forward"},
			{"{ 123, 9100 }", "{ 124, 9100 }", "time is delivered", "but it was dropped by the policy of chain forward"},
			{`accept comment "time`, `drop comment "time`, "time is transmitted", "but it was dropped in fw"},
			{`accept comment "time`, `reject comment "time`, "time goes exactly", "after (1) it never did (2)"},
		} {
			e.lab.LoadNFT(ctx, e.fw, "flush ruleset\n"+strings.Replace(ruleset, m.old, m.new, 1))
			catch(e, m.old+" → "+m.new, claims[m.claim], e.send(ctx), m.says)
		}
		// The order of rules: the one that drops comes too late.
		lines := strings.Split(ruleset, "\n")
		var moved []string
		for _, line := range lines {
			if !strings.Contains(line, "no metrics") {
				moved = append(moved, line)
			}
			if strings.Contains(line, "time for all") {
				moved = append(moved, "\t\tudp dport 9100 drop comment \"no metrics\"")
			}
		}
		e.lab.LoadNFT(ctx, e.fw, "flush ruleset\n"+strings.Join(moved, "\n"))
		catch(e, "order of rules", claims["metrics are dropped"], e.send(ctx), "what comes behind the one that decides is not asked; in chain filter forward")
	})

	It("of the network turns a spec red", func(ctx SpecContext) {
		for _, m := range []struct {
			name   string
			router topology.Node
			listen []uint16
			claim  string
			says   string
		}{
			{"no forwarding", topology.Node{NFT: ruleset}, []uint16{8053, 123}, "time is delivered", "Look at: routes"},
			{"nobody listens", topology.Node{Forwarding: true, NFT: ruleset}, nil, "time is delivered", "none in server is open for UDP port 123"},
			{"another port listens", topology.Node{Forwarding: true, NFT: ruleset}, []uint16{8052, 124}, "time goes exactly",
				"after (1) it never did (2); it was dropped in server (NO_SOCKET)"},
			{"no rules", topology.Node{Forwarding: true}, []uint16{123, 9999}, "others are dropped", "but it was delivered"},
		} {
			e := newExample(m.router, m.listen...)
			catch(e, m.name, claims[m.claim], e.send(ctx), m.says)
		}
	})

	It("of an expectation turns a spec red", func(ctx SpecContext) {
		e := newExample(topology.Node{Forwarding: true, NFT: ruleset}, 8053, 123)
		journeys := e.send(ctx)
		is := func(m types.GomegaMatcher) func(*example) types.GomegaMatcher {
			return func(*example) types.GomegaMatcher { return m }
		}
		for _, m := range []struct {
			packet  string
			matcher types.GomegaMatcher
			says    string
		}{
			{"dns", BeDelivered(At(e.fw)), "but it was delivered in namespace server"},
			{"dns", BeDropped(), "but it was delivered"},
			{"dns", BeDNATedTo("172.16.43.2:53"), "but it was translated to 172.16.43.2:8053"},
			{"dns", BeSNATedTo(e.client), "but it was translated to 172.16.43.1"},
			{"dns", BeJudgedBy("ask the resolver", Verdict("drop")), "it was judged by others"},
			{"dns", BeJudgedBy("ask the resolver", At(e.server)), "but it was so only in namespace fw"},
			{"dns", Traverse("forward", "prerouting"), "it did (2) only before (1)"},
			{"dns", InOrder(Reach(LocalIn, At(e.server)), Reach(Forward, At(e.fw))), "it did (2) only before (1)"},
			{"dns", Reach(Forward, At(e.server)), "it did so only in namespace fw"},
			{"dns", Reach(Forward, Times(2)), "but it did so once"},
			{"dns", Reach(TCPReceive), "it never did"},
			{"dns", Reach(DeviceTransmit, At(e.fw), On("eth0")), "but it did so only"},
			{"metrics", BeDropped(Reason("NO_SOCKET")), "but it was dropped with reason NETFILTER_DROP"},
			{"metrics", BeDropped(At(e.server)), "but it was dropped in namespace fw"},
			{"metrics", BeDropped(ByRule("time for all")), "but it was dropped by rule"},
			{"metrics", BeDropped(ByPolicy("forward")), "but it was dropped by rule"},
			{"metrics", BeDropped(In("ip_forward")), "but it was dropped in function n"},
			{"other", BeDropped(ByPolicy("input")), "but it was dropped by the policy of chain forward"},
			{"other", BeConsumed(), "but it was dropped by the policy"},
			{"time", HaveConntrack("REPLY", At(e.fw)), "but the state was NEW"},
			{"time", HaveConntrack("NEW", At(e.fw), marked(8)), "no entry was as Which wants it"},
			{"time", HaveTTLDecremented(Times(2)), "it was 64 at first and 63 at last"},
			{"time", FollowExactly(Reach(Forward, At(e.fw)), Reach(LocalIn, At(e.fw))), "it did reach the milestone 'local in' in namespace server"},
			{"time", BeTransmitted(At(e.server)), "but it was delivered in server"},
			{"time", BeUndetermined(), "but it was delivered"},
		} {
			catch(e, m.says, claim{m.packet, is(m.matcher), false}, journeys, m.says)
		}
	})
})
