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

	p := n.plan()
	for _, node := range n.nodes {
		if err := r.start(node, step); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
	}
	for _, ends := range p.ends {
		if err := r.connect(ends, step); err != nil {
			return nil, fmt.Errorf("link %s: %w", ends[0].Link, err)
		}
	}
	stages := []stage{
		{"create devices", func(rn *runningNode) error { return rn.createDevices() }},
		{"configure devices", func(rn *runningNode) error { return rn.settleAll() }},
		{"bring up links", func(rn *runningNode) error { return r.bringUpLinks(rn, p) }},
		{"bring up devices", func(rn *runningNode) error { return rn.bringUpDevices(p) }},
		// Only now, so that the kernel had time for its share while we built the rest.
		{"wait for links", func(rn *runningNode) error { return rn.awaitAll(ctx, p) }},
		{"configure ports", func(rn *runningNode) error { return rn.setPorts() }},
		{"set sysctls", func(rn *runningNode) error { return rn.setSysctls() }},
		{"add routes", func(rn *runningNode) error { return rn.addRoutes(p) }},
		{"add multicast routes", func(rn *runningNode) error { return rn.addMulticast() }},
		{"add IPsec", func(rn *runningNode) error { return rn.addESP() }},
		{"add programs", func(rn *runningNode) error { return rn.addPrograms() }},
		{"load texts", func(rn *runningNode) error { return rn.loadTexts(ctx) }},
	}
	for _, stage := range stages {
		for _, node := range n.nodes {
			if err := step(stage.name); err != nil {
				return nil, err
			}
			if err := stage.do(r.nodes[node]); err != nil {
				return nil, fmt.Errorf("node %s: %w", node, err)
			}
		}
	}
	if err := r.loadRulesets(ctx, step); err != nil {
		return nil, err
	}
	for _, node := range n.nodes {
		if err := step("start keepalives"); err != nil {
			return nil, err
		}
		if err := r.nodes[node].startKeepalives(); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
	}
	return r, nil
}

// Attach takes hold of a network that another process, or a script, brought up from the same declaration: path tells the file
// that stands for a node's namespace, such as /run/netns/NAME. Closing what it returns lets go of the network, which lives on
// where something else holds it.
func Attach(n *Network, path func(*Node) string) (_ *Running, err error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	if !n.up.CompareAndSwap(false, true) {
		return nil, errors.New("attach to network: it is up already: close the running one first")
	}
	r := &Running{network: n, nodes: make(map[*Node]*runningNode)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("attach to network: %w", err), r.Close())
		}
	}()
	for _, node := range n.nodes {
		ns, err := netns.Open(path(node))
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
		rn := r.enter(node, ns)
		if err := ns.Do(rn.open); err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
		links, err := rn.route.LinkList()
		if err != nil {
			return nil, fmt.Errorf("node %s: list devices: %w", node, err)
		}
		for _, link := range links {
			rn.devices[link.Attrs().Name] = link.Attrs().Index
		}
	}
	return r, nil
}

// enter notes a node's namespace.
func (r *Running) enter(node *Node, ns *netns.NS) *runningNode {
	rn := &runningNode{node: node, ns: ns, devices: make(map[string]int), rules: &history{ns: ns}}
	// At once, so that Close finds it however far the rest gets.
	r.nodes[node] = rn
	node.place.cookie.Store(ns.Cookie())
	return rn
}

// open opens the node's netlink socket, on a thread in its namespace. The socket stays there, so everything that follows can
// use it from outside.
func (rn *runningNode) open() (err error) {
	if rn.route, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	return nil
}

// stage is a part of the building that is done for every node before the next one begins.
type stage struct {
	name string
	do   func(*runningNode) error
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
	running := r.enter(node, ns)
	if err := step("configure namespace"); err != nil {
		return err
	}
	return ns.Do(func() error {
		if err := writeSysctls(node.Forwarding); err != nil {
			return err
		}
		if err := running.open(); err != nil {
			return err
		}
		// In a new namespace the loopback is always device 1 (LOOPBACK_IFINDEX, include/net/flow.h).
		if err := running.route.LinkSetUp(deviceByIndex(1)); err != nil {
			return fmt.Errorf("bring up loopback: %w", err)
		}
		return nil
	})
}

// connect creates the veth pair, each end directly in its namespace and under its final name.
func (r *Running) connect(ends [2]Interface, step func(string) error) error {
	if err := step("create link"); err != nil {
		return err
	}
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
		return fmt.Errorf("create veth pair: %w", unsupported(err, "devices of type veth", "veth"))
	}
	for i, end := range ends {
		device, err := nodes[i].route.LinkByName(end.Name)
		if err != nil {
			return fmt.Errorf("find %s of %s: %w", end.Name, end.Node, err)
		}
		nodes[i].devices[end.Name] = device.Attrs().Index
	}
	return nil
}

// settleAll configures the node's devices while they are down.
func (rn *runningNode) settleAll() error {
	for name, device := range rn.node.all() {
		if err := rn.settle(name, device); err != nil {
			return err
		}
	}
	return nil
}

// bringUpLinks brings up the links that begin at a node: of each, the end that awaitCarrier is for, then the other.
func (r *Running) bringUpLinks(rn *runningNode, p *plan) error {
	for _, link := range rn.node.place.links {
		if link.ends[0] != rn.node {
			continue
		}
		last := p.last(link)
		for _, end := range []int{1 - last, last} {
			if link.options.ends()[end].Down {
				continue
			}
			i := p.ends[link.index][end]
			far := r.nodes[i.Node]
			if err := far.route.LinkSetUp(deviceByIndex(far.devices[i.Name])); err != nil {
				return fmt.Errorf("bring up link %s at %s: %w", link, i.Node, err)
			}
		}
	}
	return nil
}

// last is the end of a link that is brought up last: the second one, unless it is a port and the first is not, because
// whatever it is a port of would hear late that it works.
func (p *plan) last(link *Link) int {
	ends := p.ends[link.index]
	if ends[1].port() && !ends[0].port() {
		return 0
	}
	return 1
}

// port reports whether the interface is a port of a bridge or bond.
func (i Interface) port() bool { return i.on != i.Name }

// bringUpDevices brings the node's other devices up, and gives all their addresses.
func (rn *runningNode) bringUpDevices(p *plan) error {
	for _, device := range rn.node.devices() {
		if device.Down {
			continue
		}
		if err := rn.route.LinkSetUp(deviceByIndex(rn.devices[device.Name])); err != nil {
			return fmt.Errorf("bring up %s: %w", device.Name, err)
		}
	}
	for device, address := range p.addresses(rn.node) {
		if err := rn.addAddress(device, address); err != nil {
			return err
		}
	}
	return nil
}

// awaitAll waits for what the kernel does about the node's devices on its own time.
func (rn *runningNode) awaitAll(ctx context.Context, p *plan) error {
	wait := func(device string) error {
		if !rn.node.runs(device) {
			return nil
		}
		if err := rn.awaitCarrier(ctx, device); err != nil {
			return fmt.Errorf("wait until %s works: %w", device, err)
		}
		return nil
	}
	for _, link := range rn.node.place.links {
		for end, i := range p.ends[link.index] {
			if i.Node == rn.node && (end != p.last(link) || i.port()) {
				if err := wait(i.Name); err != nil {
					return err
				}
			}
		}
	}
	for _, device := range rn.node.devices() {
		if err := wait(device.Name); err != nil {
			return err
		}
	}
	for device, address := range p.addresses(rn.node) {
		if !address.Addr().Is6() || !rn.node.runs(device) {
			continue
		}
		if err := rn.awaitAddress6(ctx, device, address.Addr()); err != nil {
			return fmt.Errorf("wait until %s has address %s: %w", device, address.Addr(), err)
		}
	}
	return nil
}

// setPorts tells bridges what to do at their ports.
func (rn *runningNode) setPorts() error {
	for name, device := range rn.node.all() {
		_, self := device.Kind.(Bridge)
		if err := rn.setPort(name, device.Port, self); err != nil {
			return err
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
			wait.Go(func() {
				if err := r.nodes[node].rules.load(ctx, node.NFT); err != nil {
					faults[i] = fmt.Errorf("node %s: %w", node, r.network.inText(node, "NFT", err))
				}
			})
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
