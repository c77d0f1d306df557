package mutation

import (
	"context"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

func TestMutation(t *testing.T) {
	suite.Run(t, "mutation")
}

// caught and tried count the mutations; specs of one suite run one after the other.
var caught, tried int

var _ = AfterSuite(func() { fmt.Printf("\ncaught %d/%d\n", caught, tried) })

// ruleset is the router's.
const ruleset = `table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		udp dport 53 dnat to 172.16.43.2:8053
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth1" masquerade
	}
}
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		udp dport 9100 drop comment "no metrics"
		meta mark set 7 ct mark set 7
		udp dport 8053 jump dns
		udp dport { 123, 9100 } accept comment "time for all"
	}
	chain dns {
		ip saddr 172.16.42.1 accept comment "ask the resolver"
	}
}`

// example is a client and a server with a router between them, and the packets that are sent.
type example struct {
	lab                *harness.Lab
	client, fw, server *topology.Node
	runs               uint16
}

func newExample(router topology.Node, listen ...uint16) *example {
	GinkgoHelper()
	var net topology.Network
	router.Name = "fw"
	e := &example{client: net.Add(topology.Node{Name: "client"}), fw: net.Add(router), server: net.Add(topology.Node{Name: "server"})}
	net.Connect(e.client, e.fw)
	net.Connect(e.fw, e.server)
	e.lab = harness.New(GinkgoTB(), &net)
	for _, port := range listen {
		e.lab.Listen(e.server, port)
	}
	return e
}

// send sends one packet of each kind, as a flow of its own, and returns their journeys by name.
func (e *example) send(ctx context.Context) map[string]*journey.Journey {
	GinkgoHelper()
	e.runs++
	trace := e.lab.Trace(ctx)
	sent := map[string]*packet.Sent{
		"dns":     e.lab.Send(ctx, e.client, packet.UDP{To: e.fw, SrcPort: 40000 + e.runs, DstPort: 53}),
		"metrics": e.lab.Send(ctx, e.client, packet.UDP{To: e.server, SrcPort: 41000 + e.runs, DstPort: 9100}),
		"time":    e.lab.Send(ctx, e.client, packet.UDP{To: e.server, SrcPort: 42000 + e.runs, DstPort: 123}),
		"other":   e.lab.Send(ctx, e.client, packet.UDP{To: e.server, SrcPort: 43000 + e.runs, DstPort: 9999}),
	}
	record := trace.Seal(ctx)
	journeys := make(map[string]*journey.Journey)
	for name, s := range sent {
		journeys[name] = record.Of(s)
	}
	return journeys
}

// claim is an expectation of the example: that the packet does, or does not, what the matcher says.
type claim struct {
	packet  string
	matcher func(e *example) types.GomegaMatcher
	not     bool
}

// claims are what holds of the example as it is.
var claims = map[string]claim{
	"dns is delivered": {"dns", func(e *example) types.GomegaMatcher { return BeDelivered(At(e.server)) }, false},
	"dns is translated": {"dns", func(e *example) types.GomegaMatcher {
		return And(BeDNATedTo("172.16.43.2:8053", At(e.fw)), BeSNATedTo("172.16.43.1", At(e.fw)))
	}, false},
	"dns is accepted": {"dns", func(*example) types.GomegaMatcher { return BeJudgedBy("ask the resolver", Verdict("accept")) }, false},
	"dns comes through": {"dns", func(e *example) types.GomegaMatcher {
		return Traverse("prerouting", "forward", "dns", "postrouting", At(e.fw))
	}, false},
	"dns in order": {"dns", func(e *example) types.GomegaMatcher {
		return InOrder(Reach(Prerouting, At(e.fw)), BeDNATedTo(e.server), Reach(Forward, At(e.fw)), BeSNATedTo("172.16.43.1"),
			Reach(LocalIn, At(e.server)))
	}, false},
	"metrics are dropped": {"metrics", func(e *example) types.GomegaMatcher {
		return BeDropped(Reason("NETFILTER_DROP"), At(e.fw), ByRule("no metrics"))
	}, false},
	"metrics do not pass":  {"metrics", func(e *example) types.GomegaMatcher { return Reach(Postrouting, At(e.fw)) }, true},
	"others are dropped":   {"other", func(e *example) types.GomegaMatcher { return BeDropped(At(e.fw), ByPolicy("forward")) }, false},
	"others do not arrive": {"other", func(e *example) types.GomegaMatcher { return Reach(IPReceive, At(e.server)) }, true},
	"time is delivered":    {"time", func(e *example) types.GomegaMatcher { return BeDelivered(At(e.server)) }, false},
	"time is tracked":      {"time", func(e *example) types.GomegaMatcher { return HaveConntrack("NEW", At(e.fw), marked(7)) }, false},
	"time loses a hop":     {"time", func(e *example) types.GomegaMatcher { return HaveTTLDecremented(At(e.fw)) }, false},
	"time goes exactly": {"time", func(e *example) types.GomegaMatcher {
		return FollowExactly(Reach(Forward, At(e.fw)), Reach(SocketDeliver, At(e.server)))
	}, false},
	"time is transmitted": {"time", func(e *example) types.GomegaMatcher { return BeTransmitted(At(e.fw), On("eth1")) }, false},
}

func marked(mark uint32) Option { return Which(HaveField("Mark", mark)) }

// ask asserts a claim and returns the failure; empty if there is none.
func ask(e *example, c claim, journeys map[string]*journey.Journey) (failure string) {
	g := NewGomega(func(message string, _ ...int) { failure = message })
	if c.not {
		g.Expect(journeys[c.packet]).NotTo(c.matcher(e))
	} else {
		g.Expect(journeys[c.packet]).To(c.matcher(e))
	}
	return failure
}

// catch requires that a claim has turned red, and that its text says what it is to say.
func catch(e *example, name string, c claim, journeys map[string]*journey.Journey, says string) {
	GinkgoHelper()
	tried++
	failure := ask(e, c, journeys)
	plain := strings.Join(strings.Fields(failure), " ")
	switch {
	case failure == "":
		AddReportEntry("not caught", name+"\n"+journeys[c.packet].String())
		Fail(name+": no assertion failed", 1)
	case !strings.Contains(plain, says):
		Fail(fmt.Sprintf("%s: the assertion failed, but does not say %q:\n%s", name, says, failure), 1)
	}
	caught++
}
