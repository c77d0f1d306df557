package identity

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// Copies share the packet's data, so they are the same packet; but each goes its own way, and ends by itself.
var _ = Describe("a packet of which there are copies", func() {
	// A bridge with the sender a and three more ports: b takes the parcel, c refuses it, d has nobody to take it.
	flood := func(neighbours ...topology.Neighbour) (lab *harness.Lab, nodes map[string]*topology.Node) {
		var net topology.Network
		bridge := net.Add(topology.Node{Name: "bridge", Bridge: &topology.Bridge{}})
		nodes = make(map[string]*topology.Node)
		for _, name := range []string{"a", "b", "c", "d"} {
			nodes[name] = net.Add(topology.Node{Name: name})
			net.Connect(nodes[name], bridge)
		}
		nodes["a"].Neighbours = neighbours
		nodes["c"].NFT = dropping
		lab = harness.New(GinkgoTB(), &net)
		lab.Listen(nodes["b"], 8081)
		return lab, nodes
	}

	// The sender gets a copy back, by which it would hear itself, and the bridge one as a host: five in all.
	// Catches: copies that are taken for packets of their own, or left out; one copy's end told as that of another, or of all.
	It("goes to three ports as a broadcast, and ends in each namespace as that decides", Label("smoke"), func(ctx SpecContext) {
		lab, nodes := flood()

		flooded := follow(ctx, lab, nodes["a"], host("172.16.42.255"))

		Expect(endings(flooded)).To(ConsistOf("delivered in b", "dropped in c (NETFILTER_DROP)",
			HavePrefix("dropped in d ("), HavePrefix("dropped in a ("), HavePrefix("dropped in bridge (")))
		Expect(flooded.Outcome().Kind).To(Equal(journey.Divided))
		Expect(flooded).NotTo(BeDelivered())
		Expect(flooded).NotTo(BeDropped())
		Expect(flooded).To(BeDropped(AnyBranch(), At(nodes["c"]), ByRule("udp dport 8081 drop")))
	})

	// Catches: the last port's copy, which is no clone but the skb that arrived, counted twice or not at all; a copy for the
	// bridge itself that is not there.
	It("goes to three ports if its address is unknown, in three branches and no more", func(ctx SpecContext) {
		lab, nodes := flood(topology.Neighbour{Addr: topology.IP("172.16.42.99"), MAC: "02:ff:ff:ff:ff:99"})

		flooded := follow(ctx, lab, nodes["a"], host("172.16.42.99"))

		Expect(endings(flooded)).To(ConsistOf(
			"dropped in b (OTHERHOST)", "dropped in c (OTHERHOST)", "dropped in d (OTHERHOST)"))
		Expect(flooded).To(BeDropped(Reason("OTHERHOST")), "whichever branch is asked for")
	})

	// Catches: clones made while the packet is on the receive path that go unseen, or whose queueing is told of the wrong one.
	It("goes to three sockets that joined its group", func(ctx SpecContext) {
		f := newFork(topology.Node{})
		for range 3 {
			join(f.lab, f.host, share(f.lab, f.host), "239.1.2.3")
		}
		Expect(endings(follow(ctx, f.lab, f.client, host("239.1.2.3")))).To(
			Equal([]string{"delivered in host", "delivered in host", "delivered in host"}))
	})

	// A multicast router clones the packet for each way, and must change the header of each clone, so that it gives one of
	// them another buffer. Catches: the new buffer taken for a new packet.
	It("goes on in two namespaces, where a router replicates it", func(ctx SpecContext) {
		var net topology.Network
		source := net.Add(topology.Node{Name: "source"})
		router := net.Add(topology.Node{Name: "router", Forwarding: true})
		a, b := net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b", NFT: dropping})
		for _, node := range []*topology.Node{source, a, b} {
			net.Connect(router, node)
		}
		source.Routes = []topology.Route{groups}
		router.Multicast = []topology.MulticastRoute{
			{Source: source, Group: "239.1.2.3", In: "eth0", Out: []string{"eth1", "eth2"}},
		}
		lab := harness.New(GinkgoTB(), &net)
		for _, node := range []*topology.Node{a, b} {
			join(lab, node, share(lab, node), "239.1.2.3")
		}

		trace := lab.Trace(ctx, harness.TraceOptions{Functions: []string{"pskb_expand_head"}})
		sent := lab.Send(ctx, source, packet.UDP{To: host("239.1.2.3"), DstPort: 8081, Payload: []byte(parcel),
			Options: packet.Options{TTL: 4}})
		record := trace.Seal(ctx)
		replicated := record.Of(sent)

		GinkgoWriter.Println(replicated)
		Expect(replicated).To(Reach("pskb_expand_head", At(router)), "the buffer was exchanged")
		Expect(carriers(record, parcel)).To(Equal([]journey.ID{replicated.ID}))
		Expect(endings(replicated)).To(ConsistOf("delivered in a", "dropped in b (NETFILTER_DROP)"))
	})

	// Catches: a sniffer's delivery told as the packet's, here at three places before the packet is refused.
	It("is none of those that sniffers take", func(ctx SpecContext) {
		f := newFork(topology.Node{NFT: dropping})
		for _, at := range []*topology.Node{f.client, f.host} {
			f.lab.Tap(at, "eth0", packet.TapOptions{})
			f.lab.Tap(at, "", packet.TapOptions{})
		}

		sniffed := follow(ctx, f.lab, f.client, f.host)

		Expect(endings(sniffed)).To(Equal([]string{"dropped in host (NETFILTER_DROP)"}))
		Expect(sniffed).NotTo(BeDelivered())
		// Of those at the client, the last gets the clone that was made for both, so that there is one more than sockets.
		Expect(roles(sniffed)[journey.TapCopy]).To(BeNumerically(">=", 4), "the sniffers were there")
	})

	// The host takes the packet while its copy, with the same data, is refused elsewhere.
	// Catches: either fate told as the packet's, and the copy's end taken for the end of the data.
	DescribeTable("meets two fates in two namespaces", func(ctx SpecContext, nft, tc string) {
		f := newFork(topology.Node{NFT: nft, TC: tc})
		f.lab.Listen(f.host, 8081)

		copied := follow(ctx, f.lab, f.client, f.host)

		Expect(endings(copied)).To(ConsistOf("delivered in host", "dropped in monitor (OTHERHOST)"))
		Expect(copied.Outcome().Kind).To(Equal(journey.Divided))
		Expect(copied).To(BeDropped(On("eth0"), At(f.monitor)))
		Expect(copied).NotTo(BeDropped())
		Expect(copied).NotTo(BeDelivered())
	},
		Entry("if nft duplicates it", netdev("dup"), ""),
		Entry("if tc mirrors it", "", mirred("mirror")),
	)

	// Catches: a branch that stays open where the packet was taken away, so that it would never settle; and a new journey that
	// begins where it goes on.
	DescribeTable("is no copy where it goes another way", func(ctx SpecContext, nft, tc string) {
		f := newFork(topology.Node{NFT: nft, TC: tc})
		f.lab.Listen(f.host, 8081)

		diverted := follow(ctx, f.lab, f.client, f.host)

		Expect(endings(diverted)).To(Equal([]string{"dropped in monitor (OTHERHOST)"}))
		Expect(diverted).To(Reach(DeviceTransmit, At(f.host)))
		Expect(diverted).NotTo(Reach("ip_local_deliver", At(f.host)))
		Expect(diverted).NotTo(BeDelivered())
	},
		Entry("because nft forwards it", netdev("fwd"), ""),
		Entry("because tc redirects it", "", mirred("redirect")),
	)
})

// netdev is a ruleset by which the parcel is also, or only, sent by eth1.
func netdev(statement string) string {
	return fmt.Sprintf(`table netdev t {
		chain c { type filter hook ingress device "eth0" priority 0; udp dport 8081 %s to "eth1"; }
	}`, statement)
}

// mirred does the same to all IPv4 that arrives at eth0, by tc.
func mirred(verb string) string {
	return "qdisc add dev eth0 clsact\n" +
		"filter add dev eth0 ingress protocol ip matchall action mirred egress " + verb + " dev eth1"
}
