package topology

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/golden"
)

func mustParse(tb testing.TB, text string) *Network {
	tb.Helper()
	n, err := Parse("lab.yaml", []byte(text))
	qt.Assert(tb, qt.IsNil(err))
	return n
}

func TestParse(t *testing.T) {
	n := mustParse(t, `
nodes:
  client:
    neighbours:
      - {addr: fw}
  fw:
    forwarding: true
    sysctls:
      net.ipv4.ip_default_ttl: 17
    nft: |
      table inet filter {
      	chain forward { type filter hook forward priority 0; policy drop; }
      }
    devices:
      lo: {addrs: 10.8.0.1/32}
      d0:
        dummy:
      vx0:
        vxlan: {id: 0x2a, remote: v6(server)}
        addrs: [10.0.0.1/24, "fd00::1/64"]
    routes:
      - to: default
        hops: [{via: client}, {via: server, weight: 2}]
      - {to: 10.2.0.0/16, type: blackhole}
  server: {}
links:
  - [client, fw]
  - between: [fw, server]
    mtu: 1400
    impair: {delay: 20ms, loss: 1.5%, rate: 10mbit}
    second:
      name: wan0
      features: {rx-gro: true}
`)
	nodes := n.Nodes()
	qt.Check(t, qt.Equals(fmt.Sprint(nodes, n.Links()), "[client fw server] [client:eth0-fw:eth0 fw:eth1-server:wan0]"))
	client, fw, server := nodes[0], nodes[1], nodes[2]
	qt.Check(t, qt.IsTrue(fw.Forwarding))
	qt.Check(t, qt.Equals(client.Neighbours[0].Addr, Host(fw)))
	qt.Check(t, qt.DeepEquals(fw.Sysctls, map[string]string{"net.ipv4.ip_default_ttl": "17"}))
	qt.Check(t, qt.Equals(fw.NFT, "table inet filter {\n\tchain forward { type filter hook forward priority 0; policy drop; }\n}\n"))
	qt.Assert(t, qt.HasLen(fw.Devices, 3))
	qt.Check(t, qt.DeepEquals(fw.Devices[0], Device{Name: "lo", Addrs: []string{"10.8.0.1/32"}}))
	qt.Check(t, qt.DeepEquals(fw.Devices[1], Device{Name: "d0", Kind: Dummy{}}))
	qt.Check(t, qt.Equals(fw.Devices[2].Kind, Kind(VXLAN{ID: 42, Remote: V6(server)})))
	qt.Check(t, qt.Equals(fw.Routes[0].Hops[1], Hop{Via: server, Weight: 2}))
	qt.Check(t, qt.Equals(fw.Routes[1].Type, Blackhole))
	qt.Check(t, qt.DeepEquals(n.links[1].options, LinkOptions{
		MTU: 1400, Impair: Impairment{Delay: 20 * time.Millisecond, Loss: 1.5, Rate: 10e6},
		Second: Device{Name: "wan0", Features: map[string]bool{"rx-gro": true}},
	}))
}

// Every fault of a file comes with its line: those of the file, or else those that the same network has in Go, word for word.
func TestParseReportsEverything(t *testing.T) {
	var b strings.Builder
	for _, test := range []struct{ name, text string }{
		{"nothing", ""},
		{"no YAML", "nodes:\n\t- a\n"},
		{"two documents", "nodes: {a: }\n---\nnodes: {b: }\n"},
		{"no nodes", "links: []\n"},
		{"not a mapping", "- nodes\n"},
		{"keys", "node: {}\nnodes:\n  a:\n    fowarding: true\n    xyz: 1\n    devices: {d0: {dumy: }}\n    [x]: y\n"},
		{"twice", "nodes:\n  a: {forwarding: true, forwarding: false}\n  a: {}\n"},
		{"two kinds", "nodes:\n  a:\n    devices:\n      d0:\n        dummy:\n        vlan: {on: eth0}\n"},
		{"another name", "nodes: {a: {devices: {d0: {dummy: , name: d1}}}}\n"},
		{"references", "nodes:\n  server:\n    routes: [{to: default, via: sever}, {to: default, via: v6(clint)}, {to: default, via: [x]}]\n" +
			"  client:\n    devices: {wg0: {wireguard: {peers: [{node: [x]}, {node: serfer}]}}}\nlinks:\n  - [server, cliant]\n  - server\n" +
			"  - {between: server, mtu: 1}\n  - [server]\n  - {mtu: 3}\n"},
		{"an address as a name", "nodes: {10.0.0.1: }\n"},
		{"values", "nodes:\n  a:\n    forwarding: yes\n    devices:\n      d0:\n        dummy:\n        mtu: many\n        addrs: {x: y}\n" +
			"        impair: {delay: 20, loss: some, rate: fast, limit: -1}\n        port: {vlan: 70000, trunk: [1, x]}\n    bridge: 7\n" +
			"    nft:\n    rules: 7\n    sysctls: [x]\n    tc: [x]\n    iptables: {file: }\n    ip6tables: {}\n"},
		{"tags", "nodes: {a: !x {forwarding: !!bool true, nft: !y z}}\n"},
		{"a circle", "nodes: &a {a: *a}\n"},
		{"aliases", bomb()},
		{"another circle", "nodes:\n  a: {routes: [{to: default, hops: &a [*a]}]}\n"},
		{"names", "nodes:\n  a b: {}\n  '': {}\nlinks:\n  - ['a b', 'a b']\n"},
		{"Validate's", "nodes:\n  a:\n    bridge: {vlan_filtering: true}\n    devices:\n      v0:\n        vlan:\n          on: eht0\n          id: 4095\n" +
			"      this-name-is-too-long:\n        dummy: {}\n    routes:\n      - to: x\n        device: eth0\n      - {to: 10.0.0.0/8}\n    nft: {file: no.nft}\n" +
			"  b:\nlinks:\n  - [a, b]\n  - between: [a, b]\n    mtu:\n      40\n    second:\n      xdp: nowhere.o\n      port: {isolated: true}\n"},
	} {
		n, err := Parse("etc/lab.yaml", []byte(test.text))
		qt.Check(t, qt.IsNotNil(err), qt.Commentf("%s", test.name))
		qt.Check(t, qt.IsNil(n))
		fmt.Fprintf(&b, "# %s\n%v\n\n", test.name, err)
	}
	golden.Check(t, "yaml.txt", b.String())
}

// bomb has aliases that would be millions of hops.
func bomb() string {
	many := func(element, alias string) string { return "[" + element + strings.Repeat(", "+alias, 300) + "]" }
	hops := many("&hop {via: 10.0.0.1}", "*hop")
	routes := many("&route {to: default, hops: "+hops+"}", "*route")
	text := "nodes:\n  n: &node {routes: " + routes + "}\n"
	for i := range 300 {
		text += fmt.Sprintf("  n%d: *node\n", i)
	}
	return text
}

func TestReadFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "lab.yaml")
	qt.Assert(t, qt.IsNil(os.WriteFile(filepath.Join(folder, "fw.nft"), []byte("table inet f { }"), 0o600)))
	qt.Assert(t, qt.IsNil(os.WriteFile(path, []byte("nodes: {a: {nft: {file: fw.nft}}}"), 0o600)))
	n, err := ReadFile(path)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(n.nodes[0].NFT, "@"+filepath.Join(folder, "fw.nft")))
	_, err = ReadFile(filepath.Join(folder, "gone.yaml"))
	qt.Check(t, qt.ErrorMatches(err, "read network: open .*/gone.yaml: no such file or directory"))
}

// What a program says about a text comes with the line of the file.
func TestErrorsInTexts(t *testing.T) {
	need(t, "nft", "tc")
	n := mustParse(t, "nodes:\n  a:\n    nft: |\n      table inet f {\n      foo\n      }\n  b:\n    nft: table inet f { foo }\n")
	_, err := Up(t.Context(), n)
	qt.Assert(t, qt.IsNotNil(err))
	lines := strings.Split(err.Error(), "\n")
	qt.Assert(t, qt.HasLen(lines, 2))
	qt.Check(t, qt.Matches(lines[0], `bring up network: node a: lab.yaml:5: nft refuses line 2 of the ruleset, "foo": syntax error.*`))
	qt.Check(t, qt.Matches(lines[1], `node b: lab.yaml:8: nft refuses line 1 of the ruleset, "table inet f { foo }": syntax error.*`))

	n = mustParse(t, "nodes:\n  a:\n    tc: |\n      qdisc show dev lo\n      qdisc add dev lo root pfifo nonsense\n")
	_, err = Up(t.Context(), n)
	qt.Check(t, qt.ErrorMatches(err, `(?s)bring up network: node a: lab.yaml:5: tc refuses line 2, .*`))
}

func TestKeys(t *testing.T) {
	for field, want := range map[string]string{
		"MTU": "mtu", "VLANFiltering": "vlan_filtering", "NoMulticastSnooping": "no_multicast_snooping", "TxQueue": "tx_queue",
		"IP6Tables": "ip6tables", "EBTables": "ebtables", "ID": "id", "MAC": "mac", "STP": "stp", "ServiceTag": "service_tag",
	} {
		qt.Check(t, qt.Equals(keyOf(field), want))
	}
}

// everything is a network in which every field that a file can have is used, by a walk over the types.
func everything(t *testing.T) *Network {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	fill(t, reflect.ValueOf(a).Elem(), b)
	a.Devices = nil
	for name, kind := range kinds {
		made := reflect.New(kind).Elem()
		fill(t, made, b)
		device := Device{}
		fill(t, reflect.ValueOf(&device).Elem(), b)
		device.Kind, device.Name = made.Interface().(Kind), name
		a.Devices = append(a.Devices, device)
	}
	options := LinkOptions{}
	fill(t, reflect.ValueOf(&options).Elem(), b)
	n.Connect(a, b, options)
	return &n
}

// fill gives every field a value that is not zero.
func fill(t *testing.T, into reflect.Value, other *Node) {
	t.Helper()
	switch into.Type() {
	case hostType:
		into.Set(reflect.ValueOf(V6(other)))
		return
	case nodeType:
		into.Set(reflect.ValueOf(other))
		return
	case kindType:
		return
	case durationType:
		into.SetInt(int64(1500 * time.Millisecond))
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		_, byKey := fields(into.Type())
		for _, field := range byKey {
			fill(t, into.FieldByIndex(field.Index), other)
		}
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		fill(t, into.Elem(), other)
	case reflect.Slice:
		into.Set(reflect.MakeSlice(into.Type(), 2, 2))
		for i := range 2 {
			fill(t, into.Index(i), other)
		}
	case reflect.Map:
		into.Set(reflect.MakeMap(into.Type()))
		value := reflect.New(into.Type().Elem()).Elem()
		fill(t, value, other)
		into.SetMapIndex(reflect.ValueOf("a.key"), value)
	case reflect.String:
		into.SetString("10.0.0.0/8")
	case reflect.Bool:
		into.SetBool(true)
	case reflect.Float64:
		into.SetFloat(math.Pi)
	default:
		if into.CanUint() {
			into.SetUint(200)
		} else {
			into.SetInt(100)
		}
	}
}

// What is written says all that the network says. The network is none that could be: Validate is left out.
func TestYAMLSaysEverything(t *testing.T) {
	n := everything(t)
	written, err := n.yaml()
	qt.Assert(t, qt.IsNil(err))
	r := &reader{network: &Network{}, names: make(map[string]*Node), source: &source{lines: make(map[string]int)}}
	root, err := r.parse(written)
	qt.Assert(t, qt.IsNil(err))
	r.read(root)
	qt.Assert(t, qt.HasLen(r.faults, 0), qt.Commentf("%s", written))
	again, err := r.network.yaml()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(string(again), string(written)))
	for i, node := range n.nodes {
		same(t, reflect.ValueOf(node).Elem(), reflect.ValueOf(r.network.nodes[i]).Elem(), node.Name)
	}
	same(t, reflect.ValueOf(n.links[0].options), reflect.ValueOf(r.network.links[0].options), "link")
}

// same compares two declarations; nodes are the same if they have one name.
func same(t *testing.T, a, b reflect.Value, path string) {
	t.Helper()
	switch a.Type() {
	case hostType, nodeType:
		qt.Check(t, qt.Equals(fmt.Sprint(a), fmt.Sprint(b)), qt.Commentf("%s", path))
		return
	}
	switch a.Kind() {
	case reflect.Struct:
		for field := range a.Type().Fields() {
			if field.IsExported() && field.Name != "Loaded" {
				same(t, a.FieldByIndex(field.Index), b.FieldByIndex(field.Index), path+"."+field.Name)
			}
		}
	case reflect.Interface:
		qt.Assert(t, qt.Equals(a.IsNil(), b.IsNil()))
		if !a.IsNil() {
			qt.Assert(t, qt.Equals(a.Elem().Type(), b.Elem().Type()), qt.Commentf("%s", path))
			same(t, a.Elem(), b.Elem(), path)
		}
	case reflect.Pointer:
		if !a.IsNil() {
			same(t, a.Elem(), b.Elem(), path)
		}
	case reflect.Slice:
		qt.Assert(t, qt.Equals(a.Len(), b.Len()), qt.Commentf("%s", path))
		for i := range a.Len() {
			same(t, a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		qt.Check(t, qt.DeepEquals(a.Interface(), b.Interface()), qt.Commentf("%s", path))
	}
}

func TestYAMLOfWhatCannotBeInAFile(t *testing.T) {
	program := verdict(t, ebpf.SchedCLS, 0)
	var n Network
	a := n.Add(Node{Name: "a", NFT: "table inet f { comment \"\xff\"; }"})
	_, err := n.YAML()
	qt.Check(t, qt.ErrorMatches(err, `Nodes\[0\].NFT: it is no UTF-8, which YAML must be`))
	a.NFT = ""
	a.Devices = []Device{{Name: "lo", Ingress: Program{Loaded: program}}}
	_, err = n.YAML()
	qt.Check(t, qt.ErrorMatches(err, `Nodes\[0\].Devices\[0\].Ingress: a program that was loaded cannot be in a file: give the ELF file that it is in`))
	a.Name = ""
	_, err = n.YAML()
	qt.Check(t, qt.ErrorMatches(err, `node 0 has no name: give every node one`))
}

// Whatever is taken can be written, and means the same then.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"nodes: {a: , b: {forwarding: true}}\nlinks: [[a, b]]\n",
		"nodes:\n  a:\n    nft: |\n      table inet f {\n      }\n    devices:\n      d0: {dummy: , addrs: [10.0.0.1/24]}\n",
		"nodes:\n  a: &x {sysctls: {net.a: ' 1\\t'}}\n  b: *x\nlinks:\n- between: [a, b]\n  impair: {delay: 1ms, rate: 1mbit}\n",
		"nodes:\n  a: {routes: [{to: default, via: v6(b)}], ESP: x}\n  b: {esp: [{remote: a, near: 10.0.0.0/8, far: 11.0.0.0/8}]}\nlinks: [[a, b]]",
		"nodes: {a: {bridge: {vlan_filtering: true}}, b: }\nlinks: [{between: [a, b], first: {port: {vlan: 10, trunk: [20, 30]}}}]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse("fuzz.yaml", []byte(text))
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "fuzz.yaml:") && !strings.Contains(text, "\\n") {
					t.Errorf("%q begins with no place", line)
				}
			}
			return
		}
		written, err := n.YAML()
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		again, err := Parse("fuzz.yaml", written)
		if err != nil {
			t.Fatalf("what was written is not taken: %v\n%s", err, written)
		}
		rewritten, err := again.YAML()
		if err != nil || string(rewritten) != string(written) {
			t.Fatalf("it changed: %v\n%s\n%s", err, written, rewritten)
		}
		for i, node := range n.nodes {
			same(t, reflect.ValueOf(node).Elem(), reflect.ValueOf(again.nodes[i]).Elem(), node.Name)
		}
	})
}

func TestFileErrorsUnwrap(t *testing.T) {
	_, err := Parse("lab.yaml", []byte("nodes: {a: {routes: [{to: x, device: lo}]}}"))
	place, ok := errors.AsType[*FileError](err)
	qt.Assert(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(place.Line, 1))
	fault, ok := errors.AsType[*Fault](err)
	qt.Assert(t, qt.IsTrue(ok))
	qt.Check(t, qt.Equals(fault.Path, "Nodes[0].Routes[0].To"))
}
