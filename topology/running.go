package topology

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
)

// Running is a network that is up. Its methods may be called from any goroutine.
type Running struct {
	network *Network
	nodes   map[*Node]*runningNode
	once    sync.Once
	closing error
}

// runningNode is the runtime twin of a Node.
type runningNode struct {
	node    *Node
	ns      *netns.NS
	route   *netlink.Handle
	devices map[string]int // name to interface index
	rules   *history
	// multicast are the sockets that hold the multicast routes.
	multicast []*os.File
}

// Do runs f inside the node's network namespace, on a thread of its own, and returns f's error as it is. Sockets that f
// opens and processes that it starts belong to the node; goroutines that it starts do not run there.
func (r *Running) Do(node *Node, f func() error) error {
	rn, err := r.lookup(node)
	if err != nil {
		return err
	}
	entered := false
	err = rn.ns.Do(func() error {
		entered = true
		return f()
	})
	if err != nil && !entered {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return err
}

// In returns [Running.Do] for one node, in the form that package packet takes.
func (r *Running) In(node *Node) func(f func() error) error {
	return func(f func() error) error { return r.Do(node, f) }
}

// Pin gives the node's namespace a name: a file that stands for it, such as /run/netns/NAME, and holds it until the file is
// unmounted.
func (r *Running) Pin(node *Node, path string) error {
	rn, err := r.lookup(node)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return fmt.Errorf("node %s: name its namespace: %w", node, err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", rn.ns.Handle()), path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("node %s: name its namespace %s: %w", node, path, err), os.Remove(path))
	}
	return nil
}

// Network is the declaration that is running.
func (r *Running) Network() *Network { return r.network }

// NetNSInum is the inode number of the node's network namespace, as in /proc/PID/ns/net; 0 if the node is not part of
// the network.
func (r *Running) NetNSInum(node *Node) uint32 {
	rn, err := r.lookup(node)
	if err != nil {
		return 0
	}
	return rn.ns.Inum()
}

// DeviceIndex is the interface index of the node's end of the link; 0 if the link does not reach the node.
func (r *Running) DeviceIndex(node *Node, link *Link) int {
	rn, err := r.lookup(node)
	if err != nil {
		return 0
	}
	return rn.devices[link.Device(node)]
}

// LoadNFT gives a text to nft inside the node's namespace, with the meaning of nft -f: it adds to what is there, unless
// the text itself says flush or delete, and takes effect completely or not at all. A text that nft refuses is an error
// of type [*NFTError].
func (r *Running) LoadNFT(ctx context.Context, node *Node, text string) error {
	rn, err := r.lookup(node)
	if err != nil {
		return err
	}
	if err := rn.rules.load(ctx, text); err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return nil
}

// CheckRulesets compares the rulesets of all nodes with what is known about them, so that [Running.Rule] can vouch for
// the time up to now. Call it after the traffic in question. Nodes into which [Running.LoadNFT] never loaded anything
// are left out.
func (r *Running) CheckRulesets(ctx context.Context) error {
	var faults []error
	for _, node := range r.network.nodes {
		rn, err := r.lookup(node)
		if err != nil {
			continue // added after Up
		}
		if err := rn.rules.check(ctx); err != nil {
			faults = append(faults, fmt.Errorf("node %s: check ruleset: %w", node, err))
		}
	}
	return errors.Join(faults...)
}

// Rule tells the text of the rule, or policy, that was in force in the node at a moment given in nanoseconds of
// CLOCK_MONOTONIC. If it cannot be vouched for, the error says why and wraps [ErrRuleUnknown].
func (r *Running) Rule(node *Node, at uint64, ref RuleRef) (Rule, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return Rule{}, err
	}
	rule, err := rn.rules.rule(at, ref)
	if err != nil {
		return Rule{}, fmt.Errorf("node %s: %w", node, err)
	}
	return rule, nil
}

// Rulesets returns every state in which the node's ruleset is known to have been, in order of time.
func (r *Running) Rulesets(node *Node) []Ruleset {
	rn, err := r.lookup(node)
	if err != nil {
		return nil
	}
	return rn.rules.rulesets()
}

// Close takes the network down. Namespaces in which nobody holds a socket any more, and with them links and rulesets, are
// removed by the kernel soon after. The declaration can be brought up again. Calling Close again does nothing.
func (r *Running) Close() error {
	r.once.Do(func() {
		var faults []error
		for _, node := range r.network.nodes {
			rn, ok := r.nodes[node]
			if !ok {
				continue // an Up that failed did not get this far
			}
			node.place.cookie.Store(0)
			rn.rules.close()
			for _, socket := range rn.multicast {
				if err := socket.Close(); err != nil {
					faults = append(faults, fmt.Errorf("node %s: close multicast routes: %w", node, err))
				}
			}
			if rn.route != nil {
				rn.route.Close()
			}
			if err := rn.ns.Close(); err != nil {
				faults = append(faults, fmt.Errorf("node %s: %w", node, err))
			}
		}
		r.network.up.Store(false)
		r.closing = errors.Join(faults...)
	})
	return r.closing
}

func (r *Running) lookup(node *Node) (*runningNode, error) {
	if node == nil {
		return nil, errors.New("the node is nil: use a handle that Network.Add returned")
	}
	rn, ok := r.nodes[node]
	if !ok {
		return nil, fmt.Errorf("node %s is not part of the running network: add it before Up", node)
	}
	return rn, nil
}
