package parallel

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

func TestParallel(t *testing.T) {
	suite.Run(t, "parallel")
}

// Variables for the processes that TestProcesses starts: a socket at which they wait for each other, and a file in which each
// spec says when it was at work.
const (
	gateVariable = "WAYBILL_PARALLEL_GATE"
	logVariable  = "WAYBILL_PARALLEL_LOG"
)

// No process begins before all have opened their trackers.
var _ = BeforeSuite(func(ctx SpecContext) {
	gate := os.Getenv(gateVariable)
	if gate == "" {
		return
	}
	Expect(harness.Functions(ctx)).To(Succeed())
	connection, err := net.Dial("unix", gate)
	Expect(err).NotTo(HaveOccurred())
	_, err = io.ReadAll(connection)
	Expect(err).NotTo(HaveOccurred())
	Expect(connection.Close()).To(Succeed())
})

const specs, packets = 24, 5

var _ = Describe("labs that nothing tells apart", func() {
	for n := range specs {
		It(fmt.Sprintf("have their own packets only, %d", n), func(ctx SpecContext) {
			began := time.Now()
			var net topology.Network
			client := net.Add(topology.Node{Name: "client"})
			server := net.Add(topology.Node{Name: "server"})
			net.Connect(client, server)
			lab := harness.New(GinkgoTB(), &net)
			if n%2 == 0 { // so that what happens to the others' packets is not what happens to these
				lab.Listen(server, 8081)
			}

			trace := lab.Trace(ctx)
			var sent []*packet.Sent
			for range packets {
				sent = append(sent, lab.Send(ctx, client, packet.UDP{To: server, SrcPort: 4000, DstPort: 8081}))
			}
			record := trace.Seal(ctx)

			for _, s := range sent {
				if n%2 == 0 {
					Expect(record.Of(s)).To(BeDelivered(At(server)))
					Expect(record.Of(s)).NotTo(BeDropped())
				} else {
					Expect(record.Of(s)).To(BeDropped(At(server), Reason("NO_SOCKET")))
					Expect(record.Of(s)).NotTo(Reach(SocketDeliver))
				}
			}
			Expect(record.Flow(sent[0])).To(HaveLen(packets))
			own := []uint64{client.NetNSCookie(), server.NetNSCookie()}
			for _, journey := range record.All() {
				for _, event := range journey.Events {
					if event.NetNS != nil {
						Expect(own).To(ContainElement(event.NetNS.Cookie))
					}
				}
			}
			note(began)
		})
	}
})

// note writes down when this process had a lab, in nanoseconds.
func note(began time.Time) {
	GinkgoHelper()
	name := os.Getenv(logVariable)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	Expect(err).NotTo(HaveOccurred())
	_, err = fmt.Fprintf(f, "%d %d %d\n", GinkgoParallelProcess(), began.UnixNano(), time.Now().UnixNano())
	Expect(err).NotTo(HaveOccurred())
	Expect(f.Close()).To(Succeed())
}
