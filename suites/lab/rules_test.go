package lab

import (
	"encoding/binary"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a ruleset that is replaced again and again while packets pass", func() {
	// Each version writes its number into the packets that it judges, so that they tell by themselves.
	// A chain is emptied and filled in one step. With a table that is deleted and made anew in one step it would be less clear: the
	// kernel has the hooks of both for a moment, and may have a packet judged by both.
	// Catches: the text of the version before or after.
	It("is told of each packet as it was when it judged that packet", func(ctx SpecContext) {
		const versions = 12
		ruleset := func(version int) string {
			return fmt.Sprintf(`
				table inet filter {
					chain input { type filter hook input priority filter; }
				}
				flush chain inet filter input
				table inet filter {
					chain input {
						udp dport 8080 @th,64,8 set %d accept comment "version %[1]d"
					}
				}`, version)
		}
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		server := net.Add(topology.Node{Name: "server", NFT: ruleset(1)})
		net.Connect(client, server)
		lab := harness.New(GinkgoTB(), &net)
		listener := lab.Listen(server, 8080)

		trace := lab.Trace(ctx)
		replaced := make(chan bool)
		go func() {
			defer GinkgoRecover()
			defer close(replaced)
			for version := 2; version <= versions; version++ {
				lab.LoadNFT(ctx, server, ruleset(version))
			}
		}()
		var sent []*packet.Sent
		var judges []int // what each packet says
		for under := true; under; {
			select {
			case <-replaced:
				under = false // one more, by the last version
			default:
			}
			payload := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(sent)))
			sent = append(sent, lab.Send(ctx, client, packet.UDP{To: server, DstPort: 8080, Payload: payload}))
			got, _, err := listener.Receive(ctx)
			Expect(err).NotTo(HaveOccurred())
			Expect(got[1:]).To(Equal(payload[1:]))
			judges = append(judges, int(got[0]))
		}
		record := trace.Seal(ctx)

		Expect(record.Evidence().Incomplete()).To(Succeed())
		told := make(map[int]int) // packets of which the version is told
		for i, s := range sent {
			var texts []string
			for _, e := range record.Of(s).Events {
				if e.NFT != nil {
					texts = append(texts, e.NFT.Comment)
				}
			}
			Expect(texts).To(HaveLen(1), "packet %d", i)
			if texts[0] != "" { // else it was judged between two looks at the ruleset, and nobody can say
				Expect(texts[0]).To(Equal(fmt.Sprintf("version %d", judges[i])), "packet %d", i)
				told[judges[i]]++
			}
		}
		GinkgoWriter.Println("packets", len(sent), "told by version", told)
		Expect(judges[0]).To(Equal(1))
		Expect(judges[len(judges)-1]).To(Equal(versions))
		Expect(told).To(HaveKey(versions))
		Expect(len(told)).To(BeNumerically(">", versions/2), "otherwise the spec would show nothing")
	})
})
