package topology_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/topology"
)

// The functions below are the examples of docs/topology.md, word for word; TestExamplesAreThoseOfThePage sees to it. Each
// declares a network, which TestExamples brings up where the kernel can.

func router(net *topology.Network) {
	client := net.Add(topology.Node{Name: "client"})
	router := net.Add(topology.Node{Name: "router", Forwarding: true})
	server := net.Add(topology.Node{Name: "server"})
	net.Connect(client, router)
	net.Connect(router, server)
}

func bridge(net *topology.Network) {
	sw := net.Add(topology.Node{Name: "sw", Bridge: &topology.Bridge{}})
	for _, name := range []string{"a", "b", "c"} {
		net.Connect(net.Add(topology.Node{Name: name}), sw)
	}
}

func vlans(net *topology.Network) {
	sw := net.Add(topology.Node{Name: "sw", Bridge: &topology.Bridge{VLANFiltering: true}})
	office := net.Add(topology.Node{Name: "office"})
	router := net.Add(topology.Node{Name: "router", Forwarding: true, Devices: []topology.Device{
		{Name: "office", Kind: topology.VLAN{On: "eth0", ID: 10}, Addrs: []string{"10.0.10.1/24"}},
		{Name: "guests", Kind: topology.VLAN{On: "eth0", ID: 20}, Addrs: []string{"10.0.20.1/24"}},
	}})
	net.Connect(office, sw, topology.LinkOptions{
		First:  topology.Device{Addrs: []string{"10.0.10.2/24"}},
		Second: topology.Device{Port: topology.Port{VLAN: 10}},
	})
	net.Connect(router, sw, topology.LinkOptions{Second: topology.Device{Port: topology.Port{Trunk: []uint16{10, 20}}}})
}

func ports(net *topology.Network) {
	sw := net.Add(topology.Node{Name: "sw", Bridge: &topology.Bridge{}})
	for i, port := range []topology.Port{{Isolated: true}, {Isolated: true}, {State: topology.Listening}} {
		host := net.Add(topology.Node{Name: fmt.Sprint("h", i)})
		net.Connect(host, sw, topology.LinkOptions{Second: topology.Device{Port: port}})
	}
}

func vxlan(net *topology.Network) {
	a, b := net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"})
	net.Connect(a, b)
	a.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: b}, Addrs: []string{"10.0.0.1/24"}}}
	b.Devices = []topology.Device{{Name: "vx0", Kind: topology.VXLAN{ID: 42, Remote: a}, Addrs: []string{"10.0.0.2/24"}}}
}

func vrf(net *topology.Network) {
	router := net.Add(topology.Node{Name: "router", Forwarding: true, Devices: []topology.Device{
		{Name: "red", Kind: topology.VRF{Table: 10, Ports: []string{"eth0", "eth1"}}},
		{Name: "blue", Kind: topology.VRF{Table: 20, Ports: []string{"eth2", "eth3"}}},
	}})
	for _, name := range []string{"red1", "red2", "blue1", "blue2"} {
		net.Connect(router, net.Add(topology.Node{Name: name}))
	}
}

func bond(net *topology.Network) {
	both := []topology.Device{{Name: "bond0", Kind: topology.Bond{Ports: []string{"eth0", "eth1"}}}}
	a, b := net.Add(topology.Node{Name: "a", Devices: both}), net.Add(topology.Node{Name: "b", Devices: both})
	net.Connect(a, b)
	net.Connect(a, b)
}

func line(net *topology.Network) {
	a, b := net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"})
	net.Connect(a, b, topology.LinkOptions{
		MTU:    1400,
		Impair: topology.Impairment{Delay: 20 * time.Millisecond, Loss: 1},
		Second: topology.Device{Features: map[string]bool{"rx-gro": true}},
	})
}

func mirror(net *topology.Network) {
	a := net.Add(topology.Node{Name: "a"})
	router := net.Add(topology.Node{Name: "router", Forwarding: true, TC: `
		qdisc add dev eth0 clsact
		filter add dev eth0 ingress matchall action mirred egress mirror dev eth1
	`})
	net.Connect(a, router)
	net.Connect(router, net.Add(topology.Node{Name: "monitor"}))
}

func routing(net *topology.Network) {
	a := net.Add(topology.Node{Name: "a", Sysctls: map[string]string{"net.ipv4.conf.all.rp_filter": "1"}})
	left := net.Add(topology.Node{Name: "left", Forwarding: true})
	right := net.Add(topology.Node{Name: "right", Forwarding: true})
	net.Connect(a, left)
	net.Connect(a, right)
	a.Routes = []topology.Route{
		{To: "10.1.0.0/16", Hops: []topology.Hop{{Via: left}, {Via: right, Weight: 2}}},
		{To: "10.2.0.0/16", Type: topology.Blackhole},
		{To: "default", Via: right, Table: 100},
		{To: "default", Via: topology.V6(left)},
	}
	a.Rules = []topology.PolicyRule{{Mark: 7, Table: 100}}
	a.Neighbours = []topology.Neighbour{{Addr: left}, {Addr: topology.IP("172.16.42.9"), Failed: true}}
}

func multicast(net *topology.Network) {
	source := net.Add(topology.Node{Name: "source"})
	router := net.Add(topology.Node{Name: "router", Forwarding: true})
	for _, node := range []*topology.Node{source, net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"})} {
		net.Connect(router, node)
	}
	router.Multicast = []topology.MulticastRoute{
		{Source: source, Group: "239.1.2.3", In: "eth0", Out: []string{"eth1", "eth2"}},
	}
}

func wireguard(net *topology.Network) {
	hub := net.Add(topology.Node{Name: "hub", Forwarding: true})
	spoke := net.Add(topology.Node{Name: "spoke"})
	net.Connect(hub, spoke)
	hub.Devices = []topology.Device{{
		Name: "wg0", Kind: topology.WireGuard{Peers: []topology.Peer{{Node: spoke}}}, Addrs: []string{"10.9.0.1/24"},
	}}
	spoke.Devices = []topology.Device{{
		Name: "wg0", Addrs: []string{"10.9.0.2/24"},
		Kind: topology.WireGuard{Peers: []topology.Peer{{Node: hub, Allowed: []string{"10.9.0.0/24"}}}},
	}}
}

func ipsec(net *topology.Network) {
	a, b := net.Add(topology.Node{Name: "a"}), net.Add(topology.Node{Name: "b"})
	net.Connect(a, b)
	a.ESP, b.ESP = []topology.ESP{{Remote: b}}, []topology.ESP{{Remote: a}}
	a.Devices = []topology.Device{{Name: "ipsec0", Kind: topology.XFRM{Remote: b, ID: 1}, Addrs: []string{"10.0.0.1/24"}}}
	b.Devices = []topology.Device{{Name: "ipsec0", Kind: topology.XFRM{Remote: a, ID: 1}, Addrs: []string{"10.0.0.2/24"}}}
}

var examples = map[string]func(*topology.Network){
	"router": router, "bridge": bridge, "vlans": vlans, "ports": ports, "vxlan": vxlan, "vrf": vrf, "bond": bond,
	"line": line, "mirror": mirror, "routing": routing,
	"multicast": multicast, "wireguard": wireguard, "ipsec": ipsec,
}

func TestExamples(t *testing.T) {
	for name, declare := range examples {
		t.Run(name, func(t *testing.T) {
			var net topology.Network
			declare(&net)
			qt.Assert(t, qt.IsNil(net.Validate()))
			if os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			running, err := topology.Up(context.Background(), &net)
			if missing := (*topology.UnsupportedError)(nil); errors.As(err, &missing) && os.Getenv("WAYBILL_STRICT") != "1" {
				t.Skip(err)
			}
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsNil(running.Close()))
		})
	}
}

// Each example can be a file, and the file means the same.
func TestExamplesAsFiles(t *testing.T) {
	for name, declare := range examples {
		t.Run(name, func(t *testing.T) {
			var net topology.Network
			declare(&net)
			written, err := net.YAML()
			qt.Assert(t, qt.IsNil(err))
			again, err := topology.Parse("lab.yaml", written)
			qt.Assert(t, qt.IsNil(err), qt.Commentf("%s", written))
			rewritten, err := again.YAML()
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(string(rewritten), string(written)))
		})
	}
}

// The files that the page shows are networks.
func TestFilesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/topology.md")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the page is not here") // in the VM
	}
	qt.Assert(t, qt.IsNil(err))
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	qt.Assert(t, qt.Not(qt.HasLen(blocks, 0)))
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		_, err := topology.Parse("page.yaml", []byte(text))
		qt.Check(t, qt.IsNil(err), qt.Commentf("%s", text))
	}
}

// What the page shows is what is tested.
func TestExamplesAreThoseOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/topology.md")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the page is not here") // in the VM
	}
	qt.Assert(t, qt.IsNil(err))
	source, err := os.ReadFile("example_test.go")
	qt.Assert(t, qt.IsNil(err))
	blocks := strings.Split(string(page), "```go\n")[1:]
	qt.Check(t, qt.HasLen(blocks, len(examples)))
	for _, block := range blocks {
		code, _, closed := strings.Cut(block, "```")
		qt.Assert(t, qt.IsTrue(closed))
		var indented strings.Builder
		for line := range strings.Lines(code) {
			if line != "\n" {
				line = "\t" + line
			}
			indented.WriteString(line)
		}
		qt.Check(t, qt.StringContains(string(source), " {\n"+indented.String()+"}\n"))
	}
}
