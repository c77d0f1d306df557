package bpf

import (
	"errors"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// Options of multicast routing sockets (include/uapi/linux/mroute.h, mroute6.h). They are the same for IPv4 and IPv6.
const (
	mrtInit   = 200
	mrtAddVIF = 202
)

// makeRegisterDevices has the kernel make pimreg and pim6reg, which send by functions of the same name. They live as long
// as the sockets.
func (h *host) makeRegisterDevices(t *testing.T) {
	t.Helper()
	open := func(family, protocol, level int, vif []byte) {
		qt.Assert(t, qt.IsNil(h.Do(func() error {
			fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			if err := unix.SetsockoptInt(fd, level, mrtInit, 1); err != nil {
				return err
			}
			return unix.SetsockoptString(fd, level, mrtAddVIF, string(vif))
		})))
	}
	vif := make([]byte, 16) // struct vifctl
	vif[2] = 0x4            // VIFF_REGISTER
	vif[3] = 1
	open(unix.AF_INET, unix.IPPROTO_IGMP, unix.IPPROTO_IP, vif)
	mif := make([]byte, 12) // struct mif6ctl
	mif[2] = 0x1            // MIFF_REGISTER
	mif[3] = 1
	open(unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6, mif)
}

// TestNamesakes observes reg_vif_xmit, which IPv4 and IPv6 have each: all of them, or none with an error.
func TestNamesakes(t *testing.T) {
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		const name = "reg_vif_xmit"
		h := newHost(t)
		h.makeRegisterDevices(t)
		scope := h.watch(t, tracker)
		err := scope.Arm([]string{"ip_rcv", name})
		if errors.Is(err, errNoTypes) {
			// As on 7.2: what writes BTF leaves out functions whose namesakes it takes for different ones.
			qt.Assert(t, qt.DeepEquals(scope.Probes(), []journey.Probe{dropProbe}))
			return
		}
		if by := tracker.Features().Functions; by != kprobeMulti.name {
			qt.Assert(t, qt.ErrorMatches(err,
				`observe reg_vif_xmit: 2 functions have this name, and programs of the type `+by+` cannot tell them apart`))
			qt.Assert(t, qt.DeepEquals(scope.Probes(), []journey.Probe{dropProbe}))
			return
		}
		qt.Assert(t, qt.IsNil(err))
		for _, device := range []string{"pimreg", "pim6reg"} {
			h.forget()
			h.sendFrame(t, device)
			seen := h.events(t, tracker)
			qt.Assert(t, qt.DeepEquals(probeNames(seen), []string{name}))
			qt.Check(t, qt.Equals(seen[0].Device.Name, device))
		}
		qt.Check(t, qt.ErrorMatches(scope.Arm([]string{"kr:" + name}), `observe kr:reg_vif_xmit: 2 functions have this name, .*`))
	})
}
