package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
)

// Up validates the network and builds it: namespaces, links, addresses, routes, rulesets. When it returns, every node can
// send. The context bounds the building only. If anything fails, everything that was built is gone again. It needs root.
func Up(ctx context.Context, n *Network) (*Running, error) {
	return up(ctx, n, func(string) error { return ctx.Err() })
}

// up builds the network and calls step, with the name of what comes next, before each thing it does to the kernel. Tests
// fail there.
func up(ctx context.Context, n *Network, step func(name string) error) (_ *Running, err error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	if !n.up.CompareAndSwap(false, true) {
		return nil, errors.New("bring up network: it is up already: close the running one first")
	}
	r := &Running{network: n, nodes: make(map[*Node]*runningNode)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("bring up network: %w", err), r.Close())
		}
	}()

	for _, node := range n.nodes {
		if err := r.start(node, step); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
	}
	for _, link := range n.links {
		if err := r.connect(link, step); err != nil {
			return nil, fmt.Errorf("link %s: %w", link, err)
		}
	}
	// Only now, so that the kernel had time for its share while we built the rest.
	for _, link := range n.links {
		if err := step("wait for link"); err != nil {
			return nil, err
		}
		if err := r.await(ctx, link); err != nil {
			return nil, fmt.Errorf("link %s: wait until it works: %w", link, err)
		}
	}
	for _, node := range n.nodes {
		if err := step("add routes"); err != nil {
			return nil, err
		}
		if err := r.nodes[node].addRoutes(n.routes(node)); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
	}
	if err := r.loadRulesets(ctx, step); err != nil {
		return nil, err
	}
	return r, nil
}

// start makes the node's namespace and prepares it for links.
func (r *Running) start(node *Node, step func(string) error) error {
	if err := step("create namespace"); err != nil {
		return err
	}
	ns, err := netns.New()
	if err != nil {
		return err
	}
	running := &runningNode{node: node, ns: ns, devices: make(map[string]int)}
	running.rules = &history{ns: ns}
	// Entered at once, so that Close finds it however far the rest gets.
	r.nodes[node] = running
	node.place.cookie.Store(ns.Cookie())

	if err := step("configure namespace"); err != nil {
		return err
	}
	return ns.Do(func() error {
		if err := writeSysctls(node.Forwarding); err != nil {
			return err
		}
		// The socket stays in the namespace, so everything that follows can use it from outside.
		running.route, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		// In a new namespace the loopback is always device 1 (LOOPBACK_IFINDEX, include/net/flow.h).
		if err := running.route.LinkSetUp(deviceByIndex(1)); err != nil {
			return fmt.Errorf("bring up loopback: %w", err)
		}
		return nil
	})
}

// connect creates the veth pair, each end directly in its namespace and under its final name, so that its index there is
// the next free one; gives the ends their addresses; and brings up the second end last.
func (r *Running) connect(link *Link, step func(string) error) error {
	if err := step("create link"); err != nil {
		return err
	}
	ends := link.Ends()
	nodes := [2]*runningNode{r.nodes[ends[0].Node], r.nodes[ends[1].Node]}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.NewLinkAttrs(),
		PeerName:         ends[1].Name,
		PeerHardwareAddr: ends[1].MAC[:],
		PeerTxQLen:       -1, // the kernel's default; 0 would mean none
		PeerNamespace:    netlink.NsFd(nodes[1].ns.Handle()),
	}
	veth.Name, veth.HardwareAddr = ends[0].Name, ends[0].MAC[:]
	if err := nodes[0].route.LinkAdd(veth); err != nil {
		return fmt.Errorf("create veth pair: %w", err)
	}
	for i, end := range ends {
		if err := step("configure link"); err != nil {
			return err
		}
		if err := nodes[i].configure(end); err != nil {
			return fmt.Errorf("%s of %s: %w", end.Name, end.Node, err)
		}
	}
	return nil
}

// configure brings one end of a link up and gives it its addresses.
func (rn *runningNode) configure(end Interface) error {
	device, err := rn.route.LinkByName(end.Name)
	if err != nil {
		return fmt.Errorf("find device: %w", err)
	}
	rn.devices[end.Name] = device.Attrs().Index
	if err := rn.route.LinkSetUp(device); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	for _, address := range end.addresses() {
		if err := rn.route.AddrAdd(device, address); err != nil {
			return fmt.Errorf("add address %s: %w", address.IPNet, err)
		}
	}
	return nil
}

// addresses are those of the device, as netlink takes them.
func (i Interface) addresses() []*netlink.Addr {
	return []*netlink.Addr{
		{IPNet: ipNet(i.Addr)},
		{IPNet: ipNet(i.Addr6), Flags: unix.IFA_F_NODAD},
		{IPNet: ipNet(i.LinkLocal), Flags: unix.IFA_F_NODAD, Scope: unix.RT_SCOPE_LINK},
	}
}

// await waits for what the kernel does about a link on its own time.
func (r *Running) await(ctx context.Context, link *Link) error {
	ends := link.Ends()
	if err := r.nodes[ends[0].Node].awaitCarrier(ctx, ends[0].Name); err != nil {
		return err
	}
	for _, end := range ends {
		for _, address := range end.addresses() {
			if address.IP.To4() != nil {
				continue
			}
			if err := r.nodes[end.Node].awaitAddress6(ctx, end, address); err != nil {
				return err
			}
		}
	}
	return nil
}

func (rn *runningNode) addRoutes(routes []route) error {
	for _, route := range routes {
		err := rn.route.RouteAdd(&netlink.Route{
			LinkIndex: rn.devices[route.device],
			Dst:       ipNet(route.to),
			Gw:        route.gateway.AsSlice(),
		})
		if err != nil {
			return fmt.Errorf("add route to %s via %s: %w", route.to, route.gateway, err)
		}
	}
	return nil
}

// loadRulesets loads the declared rulesets, side by side, and reports what is wrong with any of them.
func (r *Running) loadRulesets(ctx context.Context, step func(string) error) error {
	faults := make([]error, len(r.network.nodes))
	var wait sync.WaitGroup
	for i, node := range r.network.nodes {
		if node.NFT == "" {
			continue
		}
		if faults[i] = step("load ruleset"); faults[i] == nil {
			wait.Go(func() { faults[i] = r.LoadNFT(ctx, node, node.NFT) })
		}
	}
	wait.Wait()
	return errors.Join(faults...)
}

// deviceByIndex refers to a device whose index is known; netlink looks at nothing else.
func deviceByIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}
