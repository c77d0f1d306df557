package topology

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// awaitCarrier waits until a device, which is up, can send.
//
// A veth end gets its carrier when both ends are up (veth_open, drivers/net/veth.c). The end that is brought up second
// has it at that moment, and dev_open finds it and activates the queue: no wait. The end that was up already has a queue
// that drops everything until the link watch, a kernel worker, has run (linkwatch_do_dev, net/core/link_watch.c); only
// for that end is this called. The link watch sets the operational state, then activates the queue, both under the
// lock that RTM_GETLINK takes, so whoever reads the state "up" may send.
//
// Since 6.8 RTM_GETLINK makes the link watch run for the device in question (linkwatch_sync_dev), so that the first look
// is enough; before, an event follows within a millisecond or so.
func (rn *runningNode) awaitCarrier(ctx context.Context, device string) error {
	if up, err := rn.isUp(device); up || err != nil {
		return err
	}
	var events *nl.NetlinkSocket
	err := rn.ns.Do(func() (err error) {
		events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe to link events: %w", err)
	}
	defer events.Close()
	defer context.AfterFunc(ctx, events.Close)() // a Receive under way then returns

	for {
		// After subscribing and after each event, so that no change can be missed.
		if up, err := rn.isUp(device); up || err != nil {
			return err
		}
		if _, _, err := events.Receive(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("receive link event: %w", err)
		}
	}
}

func (rn *runningNode) isUp(device string) (bool, error) {
	link, err := rn.route.LinkByIndex(rn.devices[device])
	if err != nil {
		return false, fmt.Errorf("read state of %s: %w", device, err)
	}
	return link.Attrs().OperState == netlink.OperUp, nil
}
