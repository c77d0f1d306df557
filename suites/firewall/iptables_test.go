package firewall

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// Two filters at one hook: what drops a packet must not be told of the other one.
var _ = Describe("iptables beside nftables", Label("smoke"), func() {
	const later = `table inet filter {
		chain input {
			type filter hook input priority filter + 10; policy accept;
			udp dport 8081 drop comment "the second filter"
		}
	}`
	var p pair

	BeforeEach(func() {
		p = newPair(later)
		loadTables(p, p.server, `*filter
:INPUT ACCEPT [0:0]
-A INPUT -p udp --dport 8080 -j DROP
COMMIT
`)
	})

	It("drops, and nothing asks nftables", func(ctx SpecContext) {
		j := p.lab.Follow(ctx, p.client, packet.UDP{To: p.server, DstPort: 8080, Payload: []byte("abc")})

		Expect(j).To(BeDropped(Reason("NETFILTER_DROP"), At(p.server)))
		Expect(j).NotTo(BeDropped(ByRule("the second filter")))
		Expect(verdictsAt(j, p.server)).To(Equal([]string{"iptables table filter hook input drop"}))
	})

	It("accepts what nftables drops", func(ctx SpecContext) {
		j := p.lab.Follow(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081, Payload: []byte("abc")})

		Expect(j).To(BeDropped(Reason("NETFILTER_DROP"), At(p.server), ByRule("the second filter")))
		Expect(verdictsAt(j, p.server)).To(Equal([]string{"iptables table filter hook input accept"}))
	})

	It("is silent about another namespace's tables", func(ctx SpecContext) {
		j := p.lab.Follow(ctx, p.server, packet.UDP{To: p.client, DstPort: 8080, Payload: []byte("abc")})

		Expect(j).To(BeDropped(Reason("NO_SOCKET"), At(p.client)))
		Expect(verdictsAt(j, p.client)).To(BeEmpty())
		Expect(verdictsAt(j, p.server)).To(Equal([]string{"iptables table filter hook output accept"}))
	})
})

// verdictsAt lists what the tables of a node decided about a packet.
func verdictsAt(j *journey.Journey, node *topology.Node) (verdicts []string) {
	for _, e := range j.Events {
		if e.IPTables != nil && e.NetNS != nil && e.NetNS.Cookie == node.NetNSCookie() {
			verdicts = append(verdicts, e.IPTables.String())
		}
	}
	return verdicts
}

// loadTables gives rules to the iptables that has tables: iptables-restore may be the one that makes rules of nftables.
func loadTables(p pair, node *topology.Node, rules string) {
	GinkgoHelper()
	const tool = "iptables-legacy-restore"
	path, err := exec.LookPath(tool)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + tool)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			Fail(err.Error())
		}
		Skip(fmt.Sprintf("needs %s (package iptables): %v", tool, err))
	}
	p.lab.Do(node, func() error {
		restore := exec.Command(path)
		restore.Stdin = strings.NewReader(rules)
		if out, err := restore.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", tool, err, out)
		}
		return nil
	})
}
