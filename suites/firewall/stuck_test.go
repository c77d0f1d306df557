package firewall

import (
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
)

var _ = Describe("a packet that gets stuck", func() {
	It("is undetermined, and nothing is concluded from its absence", func(ctx SpecContext) {
		p := newPair("")
		// A tunnel whose reader does not read: the packet waits in the device, which is no place that the tracker knows.
		var tun *os.File
		p.lab.Do(p.client, func() (err error) {
			tun, err = openTun("tun0", [4]byte{10, 9, 8, 1})
			return err
		})
		DeferCleanup(tun.Close)
		beyond, err := packet.ParseIP("10.9.8.2")
		Expect(err).NotTo(HaveOccurred())

		stuck := p.lab.Follow(ctx, p.client, packet.UDP{To: beyond, DstPort: 7}, harness.TraceOptions{Patience: 200 * time.Millisecond})

		Expect(stuck).To(Reach("ip_output", At(p.client)), "what was seen was seen")
		Expect(stuck).To(Reach(Qdisc, On("tun0")), "the device has a qdisc, which was empty")
		Expect(stuck).To(BeUndetermined())
		Expect(stuck.Outcome().Kind).To(Equal(journey.Undetermined))
		for _, claim := range []func(g Gomega){
			func(g Gomega) { g.Expect(stuck).To(BeDropped()) },
			func(g Gomega) { g.Expect(stuck).NotTo(BeDropped()) },
			func(g Gomega) { g.Expect(stuck).To(BeDelivered()) },
			func(g Gomega) { g.Expect(stuck).NotTo(BeDelivered()) },
			func(g Gomega) { g.Expect(stuck).NotTo(Reach(IPReceive)) },
			func(g Gomega) { g.Expect(stuck).To(Reach(IPReceive)) },
		} {
			failure := ""
			g := NewGomega(func(message string, _ ...int) { failure = message })
			claim(g)
			Expect(failure).To(ContainSubstring("INCONCLUSIVE: the packets had not settled when the record was sealed"))
		}
	})
})

// openTun makes a point-to-point device in the namespace it is called in.
func openTun(name string, address [4]byte) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	tun := os.NewFile(uintptr(fd), name)
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return tun, err
	}
	defer unix.Close(socket)
	request := func(fd int, code uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := fill(r); err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, code, r)
	}
	flags := func(f uint16) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { r.SetUint16(f); return nil }
	}
	for _, step := range []error{
		request(fd, unix.TUNSETIFF, flags(unix.IFF_TUN|unix.IFF_NO_PI)),
		request(socket, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }),
		request(socket, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }),
		request(socket, unix.SIOCSIFFLAGS, flags(unix.IFF_UP|unix.IFF_RUNNING)),
	} {
		if step != nil {
			return tun, step
		}
	}
	return tun, nil
}
