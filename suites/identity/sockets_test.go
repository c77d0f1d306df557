package identity

import (
	. "github.com/onsi/ginkgo/v2"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/topology"
)

// share opens a UDP socket on port 8081 that shares the port with others. Each gets what is sent to many.
func share(lab *harness.Lab, on *topology.Node) (fd int) {
	GinkgoHelper()
	lab.Do(on, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		DeferCleanup(unix.Close, fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 8081})
	})
	return fd
}

// join makes a socket receive what is sent to a group and arrives at eth0.
func join(lab *harness.Lab, on *topology.Node, fd int, group string) {
	GinkgoHelper()
	multi, local := host(group).Addr(), on.Interfaces()[0].Addr.Addr()
	lab.Do(on, func() error {
		return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreq{Multiaddr: multi.As4(), Interface: local.As4()})
	})
}
