package harness

import (
	"flag"
	"fmt"
	"slices"

	"github.com/waybill-dev/waybill/topology/named"
)

// keepFlag is for whoever wants to look into a network in which a test failed.
var keepFlag = flag.Bool("waybill.keep", false, "keep the networks of tests that fail, for use by hand, and say how")

// keepNetwork gives the network a name under which it outlives the test, as it is now.
func (l *Lab) keepNetwork() error {
	name, err := l.freeName()
	if err != nil {
		return fmt.Errorf("keep the network: %w", err)
	}
	kept, err := named.Keep(name, l.running)
	if err != nil {
		return fmt.Errorf("keep the network: %w", err)
	}
	l.show("the network is kept", fmt.Sprintf("waybill lab exec --lab %s %s -- sh    enters it; or ip netns exec %s sh\n"+
		"waybill lab down %s    takes it down", kept.Name, kept.Nodes[0], kept.Namespace(kept.Nodes[0]), kept.Name))
	return nil
}

// freeName is the name of the test, or what comes closest to it and is not taken.
func (l *Lab) freeName() (string, error) {
	name := "lab"
	if t, ok := l.t.(interface{ Name() string }); ok {
		name = t.Name()
	}
	name = named.NameFor(name)
	labs, err := named.List()
	if err != nil {
		return "", err
	}
	free := name
	for n := 2; slices.ContainsFunc(labs, func(l named.Lab) bool { return l.Name == free }); n++ {
		suffix := fmt.Sprintf("-%d", n)
		free = named.NameFor(name[:min(len(name), named.LongestName-len(suffix))] + suffix)
	}
	return free, nil
}
