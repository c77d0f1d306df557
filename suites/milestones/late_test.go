package milestones

import (
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

var _ = Describe("a milestone in a module", Serial, func() {
	It("is never reached before the module is there, and is from then on", func(ctx SpecContext) {
		Expect(harness.Shutdown()).To(Succeed())
		if err := unix.DeleteModule("bridge", unix.O_NONBLOCK); err != nil && !errors.Is(err, unix.ENOENT) {
			Skip("the module bridge cannot be unloaded here: " + err.Error())
		}
		r := newRow(topology.Node{})
		before := r.lab.Follow(ctx, r.client, packet.UDP{To: r.server, DstPort: 8081})
		Expect(before.Evidence.Armed("br_dev_xmit")).To(BeFalse(), "otherwise the spec would show nothing")
		Expect(before).NotTo(Reach(Bridge))

		var net topology.Network
		left := net.Add(topology.Node{Name: "left"})
		bridge := net.Add(topology.Node{Name: "switch", Bridge: &topology.Bridge{}})
		right := net.Add(topology.Node{Name: "right"})
		net.Connect(left, bridge)
		net.Connect(bridge, right)
		lab := harness.New(GinkgoTB(), &net)
		after := lab.Follow(ctx, left, packet.UDP{To: right, DstPort: 8081})

		Expect(after).To(Reach(Bridge, At(bridge), Times(1)))
	})
})
