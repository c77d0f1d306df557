package traffic

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/packet"
)

var _ = Describe("two labs at once", func() {
	It("do not see each other's packets, though nothing tells them apart", func(ctx SpecContext) {
		first, second := newRow(), newRow()
		first.lab.Listen(first.server, 8081) // of the second, nobody listens
		same := packet.UDP{SrcPort: 4000, DstPort: 8081, Payload: []byte("same")}

		firstTrace, secondTrace := first.lab.Trace(ctx), second.lab.Trace(ctx)
		same.To = first.server
		heard := first.lab.Send(ctx, first.client, same)
		same.To = second.server
		unheard := second.lab.Send(ctx, second.client, same)
		firstRecord, secondRecord := firstTrace.Seal(ctx), secondTrace.Seal(ctx)

		Expect(heard.String()).To(Equal(unheard.String()))
		Expect(firstRecord.Of(heard)).To(BeDelivered(At(first.server)))
		Expect(secondRecord.Of(unheard)).To(BeDropped(Reason("NO_SOCKET"), At(second.server)))
		Expect(secondRecord.Of(unheard)).NotTo(BeDelivered())
		for _, journey := range firstRecord.All() {
			Expect(journey.ID).NotTo(Equal(secondRecord.Of(unheard).ID))
		}
		for _, journey := range secondRecord.All() {
			Expect(journey.ID).NotTo(Equal(firstRecord.Of(heard).ID))
		}
	})
})
