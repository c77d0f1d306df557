package topology

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// NeighbourState is an entry of a node's neighbour tables, ARP's and NDP's, as the kernel has it.
type NeighbourState struct {
	Addr netip.Addr
	// MAC is all zero if the neighbour has not answered.
	MAC    MAC
	Device string
	// State is the kernel's, such as REACHABLE, STALE, FAILED or PERMANENT.
	State string
}

// String prints the entry as ip neigh does: 172.16.42.2 dev eth0 lladdr 02:00:ac:10:2a:02 REACHABLE.
func (n NeighbourState) String() string {
	if n.MAC == (MAC{}) {
		return fmt.Sprintf("%s dev %s %s", n.Addr, n.Device, n.State)
	}
	return fmt.Sprintf("%s dev %s lladdr %s %s", n.Addr, n.Device, n.MAC, n.State)
}

// neighbourStates are the names of states (NUD_*, include/uapi/linux/neighbour.h).
var neighbourStates = map[int]string{
	unix.NUD_INCOMPLETE: "INCOMPLETE", unix.NUD_REACHABLE: "REACHABLE", unix.NUD_STALE: "STALE", unix.NUD_DELAY: "DELAY",
	unix.NUD_PROBE: "PROBE", unix.NUD_FAILED: "FAILED", unix.NUD_PERMANENT: "PERMANENT",
}

// Neighbours returns the neighbours that a node knows, or has asked for in vain, by device. Entries that are no neighbours, those
// of groups and of devices without resolution (NOARP), are left out.
func (r *Running) Neighbours(node *Node) ([]NeighbourState, error) {
	rn, links, err := r.links(node)
	if err != nil {
		return nil, err
	}
	var states []NeighbourState
	for _, link := range links {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			entries, err := rn.route.NeighList(link.Attrs().Index, family)
			if err != nil {
				return nil, fmt.Errorf("node %s: list neighbours: %w", node, err)
			}
			for _, entry := range entries {
				name, ok := neighbourStates[entry.State]
				addr, valid := netip.AddrFromSlice(entry.IP)
				if !ok || !valid {
					continue
				}
				state := NeighbourState{Addr: addr.Unmap(), Device: link.Attrs().Name, State: name}
				copy(state.MAC[:], entry.HardwareAddr)
				states = append(states, state)
			}
		}
	}
	return states, nil
}

// NetNS opens the node's network namespace: a descriptor for setns(2), or for a library or a program that takes one. It holds the
// namespace, so the caller must close it.
func (r *Running) NetNS(node *Node) (*os.File, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", rn.ns.Handle()))
	if err != nil {
		return nil, fmt.Errorf("node %s: open its namespace: %w", node, err)
	}
	return file, nil
}
