package packet

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Options are what a sending socket can be told about the packets that it makes. The zero value says nothing.
type Options struct {
	// TTL is the time to live, or the hop limit; 0 for the namespace's default.
	TTL uint8
	// TOS is the type of service, or the traffic class: DSCP and ECN.
	TOS uint8
	// Mark is the packet's mark (SO_MARK), which rules can see.
	Mark uint32
	// Priority is the packet's priority (SO_PRIORITY), which queueing disciplines can see.
	Priority uint32
	// Device is the name of the device by which the packet must leave; empty for what the routing tables say.
	Device string
	// DontFragment refuses to send what does not fit, and forbids routers to fragment it.
	DontFragment bool
}

// apply sets the options on a socket of a family.
func (o Options) apply(fd, family int) error {
	level, ttl, multicastTTL, tos, discover := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MULTICAST_TTL, unix.IP_TOS, unix.IP_MTU_DISCOVER
	if family == unix.AF_INET6 {
		level, ttl, multicastTTL, tos, discover = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MULTICAST_HOPS,
			unix.IPV6_TCLASS, unix.IPV6_MTU_DISCOVER
	}
	var errs []error
	set := func(wanted bool, what string, level, option, value int) {
		if !wanted {
			return
		}
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			errs = append(errs, fmt.Errorf("set %s: %w", what, err))
		}
	}
	set(o.TTL != 0, "TTL", level, ttl, int(o.TTL))
	set(o.TTL != 0, "TTL", level, multicastTTL, int(o.TTL))
	set(o.TOS != 0, "TOS", level, tos, int(o.TOS))
	set(o.Mark != 0, "Mark", unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark))
	set(o.Priority != 0, "Priority", unix.SOL_SOCKET, unix.SO_PRIORITY, int(o.Priority))
	set(o.DontFragment, "DontFragment", level, discover, unix.IP_PMTUDISC_DO)
	if o.Device != "" {
		if err := unix.BindToDevice(fd, o.Device); err != nil {
			errs = append(errs, fmt.Errorf("bind to device %s: %w", o.Device, err))
		}
	}
	return errors.Join(errs...)
}

// tooLong adds to the kernel's answer what it leaves out.
func (o Options) tooLong(err error) error {
	if o.DontFragment && errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("%w: the packet is larger than the MTU, and DontFragment is set: send less, or leave it out", err)
	}
	return err
}
