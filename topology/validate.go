package topology

import (
	"errors"
	"fmt"
	"regexp"
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Fault is something wrong with a declaration.
type Fault struct {
	// Path is the field that it is about, such as Nodes[1].Devices[0].MTU; empty for the network as a whole.
	Path string

	text string
}

// Error is one sentence, with the path or the names of what it is about.
func (f *Fault) Error() string { return f.text }

// Validate reports every fault of the declaration, one [*Fault] and one sentence a line, or nil. It does not touch the
// kernel; [Up] calls it first.
func (n *Network) Validate() error {
	var faults []error
	var path string
	fault := func(format string, args ...any) {
		faults = append(faults, &Fault{Path: path, text: fmt.Sprintf(format, args...)})
	}

	if len(n.nodes) == 0 {
		fault("the network has no nodes: add at least one")
	}
	first := make(map[string]int)
	for i, node := range n.nodes {
		path = fmt.Sprintf("Nodes[%d]", i)
		earlier, taken := first[node.Name]
		switch {
		case node.Name == "":
			fault("node %d has no name: give every node one", i)
		case !validName.MatchString(node.Name):
			fault("node %d is called %q: a name is 1 to 63 letters, digits, dots, hyphens and underscores, "+
				"and begins with a letter or digit", i, node.Name)
		case taken:
			fault("nodes %d and %d are both called %q: names must differ", earlier, i, node.Name)
		}
		if !taken {
			first[node.Name] = i
		}
	}

	for i, link := range n.links {
		path = fmt.Sprintf("Links[%d]", i)
		named := fmt.Sprintf("link %d (%v to %v)", i, link.ends[0], link.ends[1])
		for end, node := range link.ends {
			which := [2]string{"first", "second"}[end]
			switch {
			case node == nil:
				fault("link %d: its %s node is nil", i, which)
			case node.place == nil:
				fault("%s: its %s node was never added: use the handle that Add returns", named, which)
			case !node.in(n):
				fault("%s: its %s node belongs to another network", named, which)
			}
		}
		if link.ends[0] != nil && link.ends[0] == link.ends[1] {
			fault("%s: a link needs two different nodes", named)
		}
	}
	path = ""
	if len(n.links) > maxLinks {
		fault("the network has %d links: at most %d are possible", len(n.links), maxLinks)
	}
	if len(faults) > 0 {
		return errors.Join(faults...) // what follows takes nodes and links for granted
	}
	return n.checkDetails()
}
