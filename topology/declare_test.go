package topology

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// Host is what package packet asks of a destination.
var _ interface{ Addr() netip.Addr } = (*Node)(nil)

func TestPositionsDecideEverything(t *testing.T) {
	var n Network
	client, fw, server := n.Add(Node{Name: "client"}), n.Add(Node{Name: "fw"}), n.Add(Node{Name: "server"})
	first, second := n.Connect(client, fw), n.Connect(server, fw)

	var got []string
	for _, node := range n.Nodes() {
		for _, i := range node.Interfaces() {
			got = append(got, fmt.Sprintln(i.Node, i.Name, i.MAC, i.Addr, i.Addr6, i.LinkLocal, i.Link))
		}
	}
	qt.Check(t, qt.Equals(strings.Join(got, ""), ""+
		"client eth0 02:00:ac:10:2a:01 172.16.42.1/24 fd42:0:0:42::1/64 fe80::1/64 client:eth0-fw:eth0\n"+
		"fw eth0 02:00:ac:10:2a:02 172.16.42.2/24 fd42:0:0:42::2/64 fe80::2/64 client:eth0-fw:eth0\n"+
		"fw eth1 02:00:ac:10:2b:02 172.16.43.2/24 fd42:0:0:43::2/64 fe80::2/64 server:eth0-fw:eth1\n"+
		"server eth0 02:00:ac:10:2b:01 172.16.43.1/24 fd42:0:0:43::1/64 fe80::1/64 server:eth0-fw:eth1\n"))
	qt.Check(t, qt.Equals(fw.Addr(), netip.MustParseAddr("172.16.42.2")))
	qt.Check(t, qt.Equals(server.Addr6(), netip.MustParseAddr("fd42:0:0:43::1")))
	qt.Check(t, qt.Equals(first.Device(fw), "eth0"))
	qt.Check(t, qt.Equals(second.Device(fw), "eth1"))
	qt.Check(t, qt.Equals(second.Device(client), ""))
	qt.Check(t, qt.Equals(client.String(), "client"))
	qt.Check(t, qt.Equals(fmt.Sprint(n.plan().subnets(1)), "[172.16.43.0/24 fd42:0:0:43::/64]"))
}

func TestLastLinkHasAddresses(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	for range maxLinks {
		n.Connect(a, b)
	}
	qt.Check(t, qt.IsNil(n.Validate()))
	last := n.Links()[maxLinks-1].Ends()[1]
	qt.Check(t, qt.Equals(last.Addr.String(), "172.16.241.2/24"))
	qt.Check(t, qt.Equals(last.Addr6.String(), "fd42:0:0:241::2/64"))
	qt.Check(t, qt.Equals(last.Name, "eth199"))
}

func TestHandlesThatWereNeverAdded(t *testing.T) {
	for _, node := range []*Node{nil, {Name: "stray"}} {
		qt.Check(t, qt.Equals(node.Addr(), netip.Addr{}))
		qt.Check(t, qt.Equals(node.Addr6(), netip.Addr{}))
		qt.Check(t, qt.Equals(node.NetNSCookie(), 0))
		qt.Check(t, qt.HasLen(node.Interfaces(), 0))
	}
	qt.Check(t, qt.Equals((*Node)(nil).String(), "<nil node>"))
}

func TestValidateReportsEverything(t *testing.T) {
	var other Network
	foreign := other.Add(Node{Name: "foreign"})
	tests := []struct {
		name    string
		declare func(n *Network)
		want    string
	}{
		{"empty", func(*Network) {}, "the network has no nodes: add at least one"},
		{"names", func(n *Network) {
			n.Add(Node{})
			n.Add(Node{Name: "fw"})
			n.Add(Node{Name: "a b"})
			n.Add(Node{Name: "fw"})
		}, "node 0 has no name: give every node one\n" +
			`node 2 is called "a b": a name is 1 to 63 letters, digits, dots, hyphens and underscores, ` +
			"and begins with a letter or digit\n" +
			`nodes 1 and 3 are both called "fw": names must differ`},
		{"links", func(n *Network) {
			client := n.Add(Node{Name: "client"})
			n.Connect(client, nil)
			n.Connect(client, client)
			n.Connect(foreign, client)
			n.Connect(client, &Node{Name: "stray"})
			n.Connect(nil, nil)
		}, "link 0: its second node is nil\n" +
			"link 1 (client to client): a link needs two different nodes\n" +
			"link 2 (foreign to client): its first node belongs to another network\n" +
			"link 3 (client to stray): its second node was never added: use the handle that Add returns\n" +
			"link 4: its first node is nil\n" +
			"link 4: its second node is nil"},
		{"too many", func(n *Network) {
			a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
			for range 201 {
				n.Connect(a, b)
			}
		}, "the network has 201 links: at most 200 are possible"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var n Network
			test.declare(&n)
			err := n.Validate()
			qt.Assert(t, qt.IsNotNil(err))
			qt.Check(t, qt.Equals(err.Error(), test.want))
			for _, node := range n.Nodes() {
				_ = node.Interfaces() // faults must not make accessors panic
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	// The first letter of a node's name is R for a router, H for a host.
	tests := []struct {
		name  string
		links string
		from  string
		want  string
	}{
		{"neighbours need none", "Ha-Hb", "Ha", ""},
		{"through a router", "Ha-R R-Hb", "Ha", "172.16.43.0/24 via 172.16.42.2 eth0, fd42:0:0:43::/64 via fd42:0:0:42::2 eth0"},
		{"back", "Ha-R R-Hb", "Hb", "172.16.42.0/24 via 172.16.43.1 eth0, fd42:0:0:42::/64 via fd42:0:0:43::1 eth0"},
		{"further", "Ha-R1 R1-R2 R2-Hb", "Ha",
			"172.16.43.0/24 via 172.16.42.2 eth0, fd42:0:0:43::/64 via fd42:0:0:42::2 eth0, " +
				"172.16.44.0/24 via 172.16.42.2 eth0, fd42:0:0:44::/64 via fd42:0:0:42::2 eth0"},
		{"a router round a host", "Ha-Hx Hx-Hb Ha-R R-R2 R2-Hb", "Ha",
			// Link 1 ends at hosts only, so the shortest way as if all forwarded.
			"172.16.43.0/24 via 172.16.42.2 eth0, fd42:0:0:43::/64 via fd42:0:0:42::2 eth0, " +
				"172.16.45.0/24 via 172.16.44.2 eth1, fd42:0:0:45::/64 via fd42:0:0:44::2 eth1, " +
				"172.16.46.0/24 via 172.16.44.2 eth1, fd42:0:0:46::/64 via fd42:0:0:44::2 eth1"},
		{"a host in the way", "Ha-Hx Hx-Hb", "Ha",
			"172.16.43.0/24 via 172.16.42.2 eth0, fd42:0:0:43::/64 via fd42:0:0:42::2 eth0"},
		{"equal paths: first link wins", "Ha-R1 Ha-R2 R1-Rb R2-Rb Rb-Hc", "Ha",
			"172.16.44.0/24 via 172.16.42.2 eth0, fd42:0:0:44::/64 via fd42:0:0:42::2 eth0, " +
				"172.16.45.0/24 via 172.16.43.2 eth1, fd42:0:0:45::/64 via fd42:0:0:43::2 eth1, " +
				"172.16.46.0/24 via 172.16.42.2 eth0, fd42:0:0:46::/64 via fd42:0:0:42::2 eth0"},
		{"not connected", "Ha-Hb Hc-Hd", "Ha", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var n Network
			nodes := make(map[string]*Node)
			node := func(name string) *Node {
				if nodes[name] == nil {
					nodes[name] = n.Add(Node{Name: name, Forwarding: name[0] == 'R'})
				}
				return nodes[name]
			}
			for link := range strings.FieldsSeq(test.links) {
				a, b, _ := strings.Cut(link, "-")
				n.Connect(node(a), node(b))
			}
			var got []string
			for _, r := range n.plan().routes(node(test.from)) {
				got = append(got, fmt.Sprintf("%v via %v %s", r.to, r.gateway, r.device))
			}
			qt.Check(t, qt.Equals(strings.Join(got, ", "), test.want))
		})
	}
}
