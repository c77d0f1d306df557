package firewall

import (
	"errors"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	. "github.com/waybill-dev/waybill/assert"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// What looks like an end and is none, and what looks like delivery and is none.
var _ = Describe("an outcome", func() {
	It("is a drop if the socket has no room, and a delivery if it has", func(ctx SpecContext) {
		p := newPair("")
		socket(p, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })

		trace := p.lab.Trace(ctx)
		var sent []*packet.Sent
		for range 20 {
			sent = append(sent, p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081, Payload: make([]byte, 500)}))
		}
		record := trace.Seal(ctx)

		Expect(record.Of(sent[0])).To(BeDelivered(At(p.server)))
		Expect(record.Of(sent[19])).To(BeDropped(Reason("SOCKET_RCVBUFF"), At(p.server)))
		Expect(record.Of(sent[19])).NotTo(BeDelivered())
	})

	It("is a drop if the socket's filter refuses", func(ctx SpecContext) {
		p := newPair("")
		socket(p, refuseAll)

		Expect(p.lab.Follow(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081})).To(
			BeDropped(Reason("SOCKET_FILTER"), At(p.server)))
	})

	It("is that of each branch, where a broadcast reaches two sockets and one refuses", Label("smoke"), func(ctx SpecContext) {
		p := newPair("")
		socket(p)
		socket(p, refuseAll)
		broadcast, err := packet.ParseIP("172.16.42.255")
		Expect(err).NotTo(HaveOccurred())

		divided := p.lab.Follow(ctx, p.client, packet.UDP{To: broadcast, DstPort: 8081, Payload: []byte("all")})

		GinkgoWriter.Println(divided)
		Expect(divided.Outcome().Kind).To(Equal(journey.Divided))
		Expect(divided).To(BeDelivered(AnyBranch()))
		Expect(divided).To(BeDropped(AnyBranch(), Reason("SOCKET_FILTER")))
		Expect(divided).NotTo(BeDelivered())
		Expect(divided).NotTo(BeDropped())
	})

	It("is waited for, if another CPU takes the packet over", func(ctx SpecContext) {
		p := newPair(rules)
		p.lab.Listen(p.server, 8081)
		p.lab.Do(p.server, steerToAllCPUs)

		trace := p.lab.Trace(ctx)
		var sent []*packet.Sent
		for range 100 { // different flows, so that both CPUs get some
			sent = append(sent, p.lab.Send(ctx, p.client, packet.UDP{To: p.server, DstPort: 8081}))
		}
		record := trace.Seal(ctx)

		cpus := make(map[uint32]bool)
		for _, s := range sent {
			Expect(record.Of(s)).To(BeDelivered(At(p.server)))
			events := record.Of(s).Events
			cpus[events[len(events)-1].CPU] = true
		}
		Expect(len(cpus)).To(BeNumerically(">", 1), "nothing was taken over")
	})

	It("is one packet's, though its addresses are translated", Label("smoke"), func(ctx SpecContext) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		fw := net.Add(topology.Node{Name: "fw", Forwarding: true, NFT: `table ip nat {
			chain prerouting {
				type nat hook prerouting priority dstnat;
				udp dport 53 dnat to 172.16.43.2:8053
			}
			chain postrouting {
				type nat hook postrouting priority srcnat;
				oifname "eth1" masquerade
			}
		}`})
		server := net.Add(topology.Node{Name: "server"})
		net.Connect(client, fw)
		net.Connect(fw, server)
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(server, 8053)

		translated := lab.Follow(ctx, client, packet.UDP{To: fw, SrcPort: 40000, DstPort: 53})

		Expect(translated).To(BeDelivered(At(server)))
		Expect(translated).To(Reach("ip_forward", At(fw)))
		Expect(translated.Events[0].Packet.Flow()).To(Equal("172.16.42.1.40000 > 172.16.42.2.53 UDP"))
		last := translated.Events[len(translated.Events)-1]
		Expect(last.Packet.Flow()).To(Equal("172.16.43.1.40000 > 172.16.43.2.8053 UDP"))
		Expect(last.ID).To(Equal(translated.ID))
	})

	// Catches: a fragment's outcome told as that of the datagram, which is put together in the first.
	It("is that of the datagram, if it became several packets", func(ctx SpecContext) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		server := net.Add(topology.Node{Name: "server"})
		net.Connect(client, server)
		lab := harness.New(GinkgoTB(), &net)
		lab.Listen(server, 8081)

		datagram := lab.Follow(ctx, client, packet.UDP{To: server, DstPort: 8081, Payload: make([]byte, 3000)})

		Expect(datagram).To(BeFragmentedInto(3))
		Expect(datagram).To(BeDelivered(At(server)))
		Expect(datagram.Descendants()).To(HaveEach(BeMergedInto(datagram)))
	})
})

// socket opens a UDP socket on port 8081 of the server that shares the port, with further settings.
func socket(p pair, settings ...func(fd int) error) {
	GinkgoHelper()
	fd := -1
	p.lab.Do(p.server, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		for _, set := range settings {
			if err := set(fd); err != nil {
				return err
			}
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 8081})
	})
	DeferCleanup(unix.Close, fd)
}

// refuseAll attaches a filter that lets nothing through.
func refuseAll(fd int) error {
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// steerToAllCPUs spreads what eth0 receives over the CPUs (RPS). sysfs shows the devices of the namespace in which it is
// mounted.
func steerToAllCPUs() error {
	sys, err := os.MkdirTemp("", "waybill-sysfs-")
	if err != nil {
		return err
	}
	if err := unix.Mount("sysfs", sys, "sysfs", 0, ""); err != nil {
		return errors.Join(err, os.Remove(sys))
	}
	err = os.WriteFile(filepath.Join(sys, "class/net/eth0/queues/rx-0/rps_cpus"), []byte("3"), 0)
	return errors.Join(err, unix.Unmount(sys, 0), os.Remove(sys))
}
