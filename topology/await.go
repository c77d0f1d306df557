package topology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Two things that netlink requests begin are finished by workers of the kernel. Nothing else has to be waited for.

// awaitCarrier waits until a device, which is up, can send.
//
// A veth end gets its carrier when both ends are up (veth_open, drivers/net/veth.c). The end that is brought up second
// has it at that moment, and dev_open finds it and activates the queue: no wait. The end that was up already has a queue
// that drops everything until the link watch, a worker, has run (linkwatch_do_dev, net/core/link_watch.c); only for that
// end is this called. The link watch sets the operational state, then activates the queue, both under the lock that
// RTM_GETLINK takes, so whoever reads the state "up" may send.
//
// Since 6.8 RTM_GETLINK makes the link watch run for the device in question (linkwatch_sync_dev), so that the first look
// is enough; before, an event follows within a millisecond or so. (For the second end it can take a second, since nothing
// is urgent there.)
func (rn *runningNode) awaitCarrier(ctx context.Context, device string) error {
	return rn.await(ctx, unix.RTNLGRP_LINK, func() (bool, error) {
		link, err := rn.route.LinkByIndex(rn.devices[device])
		if err != nil {
			return false, fmt.Errorf("read state of %s: %w", device, err)
		}
		// Devices that have no operational state of their own, such as tunnels, never leave "unknown".
		state := link.Attrs().OperState
		return state == netlink.OperUp || state == netlink.OperUnknown && link.Type() != "veth", nil
	})
}

// awaitAddress6 waits until packets to an IPv6 address of the node are accepted.
//
// Duplicate address detection is off, but what follows it is still left to its worker (addrconf_dad_work,
// net/ipv6/addrconf.c): joining the solicited-node group, by which neighbours find the address, and then the local route,
// without which the node treats the address as somebody else's. Under load this takes milliseconds, in which packets
// are lost. The route comes last, so it tells.
func (rn *runningNode) awaitAddress6(ctx context.Context, device string, address netip.Addr) error {
	options := &netlink.RouteGetOptions{OifIndex: rn.devices[device]}
	return rn.await(ctx, unix.RTNLGRP_IPV6_ROUTE, func() (bool, error) {
		routes, err := rn.route.RouteGetWithOptions(address.AsSlice(), options)
		if errors.Is(err, unix.ENETUNREACH) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look up %s: %w", address, err)
		}
		return len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL, nil
	})
}

// await waits until ready says so. It asks at once, and after every event of a netlink multicast group.
func (rn *runningNode) await(ctx context.Context, group uint, ready func() (bool, error)) error {
	if done, err := ready(); done || err != nil {
		return err
	}
	var events *nl.NetlinkSocket
	err := rn.ns.Do(func() (err error) {
		events, err = nl.Subscribe(unix.NETLINK_ROUTE, group)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe to netlink events: %w", err)
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)() // a Receive under way then returns

	for {
		// After subscribing and after each event, so that no change can be missed.
		if done, err := ready(); done || err != nil {
			return err
		}
		_, _, err := events.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// An overrun means that there were more events than the socket holds: a reason to look, as any event.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("receive netlink event: %w", err)
		}
	}
}
