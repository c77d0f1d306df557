package topology

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// SetDown takes a device of a node down, as ip link set down does. The kernel forgets the routes over it and its IPv6
// addresses; [Running.SetUp] brings them back.
func (r *Running) SetDown(node *Node, device string) error {
	rn, err := r.device(node, device)
	if err != nil {
		return err
	}
	if err := rn.route.LinkSetDown(deviceByIndex(rn.devices[device])); err != nil {
		return fmt.Errorf("node %s: take %s down: %w", node, device, err)
	}
	return nil
}

// SetUp brings a device of a node up again, restores the addresses and routes that were declared or derived, and waits
// until it can send. It does not wait if what is at the other end of the device's link is down.
func (r *Running) SetUp(ctx context.Context, node *Node, device string) error {
	rn, err := r.device(node, device)
	if err != nil {
		return err
	}
	if err := r.setUp(ctx, rn, device); err != nil {
		return fmt.Errorf("node %s: bring %s up: %w", node, device, err)
	}
	return nil
}

func (r *Running) setUp(ctx context.Context, rn *runningNode, device string) error {
	p := r.network.plan()
	if err := rn.route.LinkSetUp(deviceByIndex(rn.devices[device])); err != nil {
		return err
	}
	for owner, address := range p.addresses(rn.node) {
		if owner == device {
			if err := rn.addAddress(device, address); err != nil {
				return err
			}
		}
	}
	far, name, err := r.opposite(rn.node, device)
	switch {
	case err != nil:
		return err
	case far == nil: // not the end of a link
		err = rn.awaitCarrier(ctx, device)
	case name == "": // the other end is down
		return nil
	default:
		// The other end is the one that was up already: see awaitCarrier.
		err = far.awaitCarrier(ctx, name)
	}
	if master, _ := rn.node.master(device); err == nil && master.Kind != nil {
		err = rn.awaitCarrier(ctx, device) // its master has to hear of it too
	}
	if err != nil {
		return err
	}
	for owner, address := range p.addresses(rn.node) {
		if owner == device && address.Addr().Is6() {
			if err := rn.awaitAddress6(ctx, device, address.Addr()); err != nil {
				return err
			}
		}
	}
	return rn.restoreRoutes(p)
}

// opposite finds the other end of a device's link: the node, and the name of its device there, which is empty if that is
// down. Without a link it finds no node.
func (r *Running) opposite(node *Node, device string) (far *runningNode, name string, err error) {
	for _, link := range node.place.links {
		for end := range link.ends {
			if link.ends[end] != node || link.name(end) != device {
				continue
			}
			far, name := r.nodes[link.ends[1-end]], link.name(1-end)
			found, err := far.route.LinkByIndex(far.devices[name])
			if err != nil {
				return nil, "", fmt.Errorf("look at the other end: %w", err)
			}
			if found.Attrs().RawFlags&unix.IFF_UP == 0 {
				name = ""
			}
			return far, name, nil
		}
	}
	return nil, "", nil
}

// Impair changes what happens to packets that leave a node by a device; the zero Impairment makes the line good again.
// Packets that wait in it are lost when it is taken away.
func (r *Running) Impair(node *Node, device string, i Impairment) error {
	rn, err := r.device(node, device)
	if err != nil {
		return err
	}
	c := &checker{node: node}
	if c.checkImpairment("Impairment", i); len(c.faults) > 0 {
		return fmt.Errorf("node %s: %w", node, c.faults[0])
	}
	if i != (Impairment{}) {
		err = rn.impair(device, i)
	} else {
		err = rn.unimpair(device)
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return nil
}

// SetPortState sets the spanning tree state of a node's device, which is the port of a bridge that does not run the
// protocol.
func (r *Running) SetPortState(node *Node, device string, state PortState) error {
	rn, err := r.device(node, device)
	if err != nil {
		return err
	}
	if _, ok := portStates[state]; !ok {
		return fmt.Errorf("node %s: %q is no state of a port: give one of the constants, such as topology.Listening", node, state)
	}
	if err := rn.setPortState(device, state); err != nil {
		return fmt.Errorf("node %s: set %s to %s: %w", node, device, state, err)
	}
	return nil
}

// SetFeatures turns features of a device on and off, as [Device.Features].
func (r *Running) SetFeatures(node *Node, device string, features map[string]bool) error {
	rn, err := r.device(node, device)
	if err != nil {
		return err
	}
	if err := rn.ns.Do(func() error { return setFeatures(device, features) }); err != nil {
		return fmt.Errorf("node %s: %s: %w", node, device, err)
	}
	return nil
}

// device finds a running node, and makes sure that it has a device.
func (r *Running) device(node *Node, device string) (*runningNode, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return nil, err
	}
	if _, ok := rn.devices[device]; ok {
		return rn, nil
	}
	// A device that the test itself made may have come later.
	found, err := rn.route.LinkByName(device)
	if err != nil {
		var names []string
		for name := range node.all() {
			names = append(names, name)
		}
		return nil, fmt.Errorf("node %s has no device %q%s", node, device, meant(device, names))
	}
	return &runningNode{node: rn.node, ns: rn.ns, route: rn.route, rules: rn.rules,
		devices: map[string]int{device: found.Attrs().Index}}, nil
}

// restoreRoutes adds the routes that are missing.
func (rn *runningNode) restoreRoutes(p *plan) error {
	routes, err := rn.routes(p)
	if err != nil {
		return err
	}
	for _, route := range routes {
		device, err := rn.route.LinkByIndex(route.LinkIndex)
		if route.LinkIndex != 0 && (err != nil || device.Attrs().RawFlags&unix.IFF_UP == 0) {
			continue // its own turn will come
		}
		if err := rn.route.RouteReplace(route); err != nil {
			return fmt.Errorf("restore route to %s: %w", route.Dst, err)
		}
	}
	return nil
}
