package topology

import (
	"bufio"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/golden"
)

// rebuild runs a script in a mount namespace of its own, so that the names of its network namespaces are nobody else's, and
// takes hold of what it built. The declaration must not be up.
func rebuild(t *testing.T, n *Network, script string) *Running {
	t.Helper()
	cmd := exec.Command("sh", "-c", `mount --make-rprivate / && mkdir -p /var/run && mount -t tmpfs none /var/run || exit 1
		sh -c "$0" || exit 1
		cd /var/run && echo built in $(pwd -P)
		read end`, script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	qt.Assert(t, qt.IsNil(err))
	stdout, err := cmd.StdoutPipe()
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.IsNil(cmd.Start()))
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // read ends with the file, as an error
	})
	said, _ := bufio.NewReader(stdout).ReadString('\n')
	folder, built := strings.CutPrefix(strings.TrimSpace(said), "built in ")
	qt.Assert(t, qt.IsTrue(built), qt.Commentf("%s\n%s", &complaints, script))
	r, err := Attach(n, func(node *Node) string {
		return fmt.Sprintf("/proc/%d/root%s/netns/%s", cmd.Process.Pid, folder, node.Name)
	})
	qt.Assert(t, qt.IsNil(err))
	t.Cleanup(func() { qt.Check(t, qt.IsNil(r.Close())) })
	return r
}

// observe is all that netlink, /proc/sys and nft say of a node, one thing a line, apart from what changes by itself.
func observe(t *testing.T, rn *runningNode) []string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	links, err := rn.allLinks()
	qt.Assert(t, qt.IsNil(err))
	names := map[int]string{0: "-"}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	stp := false
	for _, l := range links {
		stp = stp || l.kind == "bridge" && !isZero(l.data[iflaBRSTPState])
	}
	// What a device is able to do at the moment follows a little later.
	const works = unix.IFF_PROMISC | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	for _, l := range links {
		if fallback[l.Name] {
			continue
		}
		add("link %s %s mtu %d queue %d mac %s flags %x master %s", l.Name, l.kind, l.MTU, l.TxQLen, l.HardwareAddr,
			l.RawFlags&^works, names[l.MasterIndex])
		for _, kind := range slices.Sorted(maps.Keys(l.data)) {
			// Timers and a counter, and flags of an encapsulation that there is none of (IFLA_GRE_ENCAP_FLAGS, IFLA_IPTUN_ENCAP_FLAGS).
			changes := l.kind == "bridge" && (kind >= 16 && kind <= 19 || kind == 48) ||
				strings.Contains(l.kind, "gre") && kind == 15 || slices.Contains([]string{"ipip", "sit", "ip6tnl"}, l.kind) && kind == 16
			if !changes {
				add("link %s option %d %x", l.Name, kind, l.data[kind])
			}
		}
		for _, kind := range slices.Sorted(maps.Keys(l.port)) {
			if kind < 19 && (kind != 1 || !stp) || kind > 23 { // timers, and what waits for them
				add("link %s as a port %d %x", l.Name, kind, l.port[kind])
			}
		}
	}
	addrs, err := rn.route.AddrList(nil, unix.AF_UNSPEC)
	qt.Assert(t, qt.IsNil(err))
	for _, a := range addrs {
		add("addr %s %s flags %x scope %d broadcast %v", names[a.LinkIndex], a.IPNet, a.Flags, a.Scope, a.Broadcast)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := rn.route.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		qt.Assert(t, qt.IsNil(err))
		for _, r := range routes {
			hops := ""
			for _, h := range r.MultiPath {
				hops += fmt.Sprintf(" %v %s %d %v", h.Gw, names[h.LinkIndex], h.Hops, h.Via)
			}
			r.MultiPath = nil
			r.Flags &^= unix.RTNH_F_LINKDOWN | unix.RTNH_F_DEAD
			device := names[r.LinkIndex]
			r.LinkIndex = 0
			add("route %s%s %+v", device, hops, r)
		}
		rules, err := rn.route.RuleList(family)
		qt.Assert(t, qt.IsNil(err))
		types, err := (&dumper{runningNode: rn}).ruleTypes(family)
		qt.Assert(t, qt.IsNil(err))
		for i, r := range rules {
			mask := uint32(0)
			if r.Mask != nil {
				mask = *r.Mask
			}
			r.Mask = nil
			add("rule %d %#x %+v", types[i], mask, r)
		}
		neighbours, err := rn.route.NeighList(0, family)
		qt.Assert(t, qt.IsNil(err))
		proxies, err := rn.route.NeighProxyList(0, family)
		qt.Assert(t, qt.IsNil(err))
		for _, n := range append(neighbours, proxies...) {
			if n.State&(netlink.NUD_PERMANENT|netlink.NUD_FAILED) != 0 || n.State == 0 {
				add("neighbour %s %s %s %d %d", names[n.LinkIndex], n.IP, n.HardwareAddr, n.State, n.Flags)
			}
		}
	}
	entries, err := rn.route.NeighList(0, unix.AF_BRIDGE)
	qt.Assert(t, qt.IsNil(err))
	for _, n := range entries {
		// Groups that a device is a member of come and go with it.
		if n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 && n.HardwareAddr[0]&1 == 0 {
			add("entry %s %s %v %d %d %d", names[n.LinkIndex], n.HardwareAddr, n.IP, n.State, n.Flags, n.Vlan)
		}
	}
	vlans, err := rn.route.BridgeVlanList()
	qt.Assert(t, qt.IsNil(err))
	for index, list := range vlans {
		for _, v := range list {
			add("vlan %s %d %x", names[int(index)], v.Vid, v.Flags)
		}
	}
	impairments, err := (&dumper{runningNode: rn}).impairments()
	qt.Assert(t, qt.IsNil(err))
	for index, words := range impairments {
		add("qdiscs %s %s", names[index], words)
	}
	settings, err := (&dumper{runningNode: rn}).readSettings()
	qt.Assert(t, qt.IsNil(err))
	for path, value := range settings {
		if _, device, _, _ := deviceSetting(path); !strings.HasSuffix(path, "tcp_fastopen_key") && !fallback[device] {
			add("setting %s %s", path, value)
		}
	}
	if (&dumper{runningNode: rn}).hasRuleset() {
		text, _, err := runNFT(t.Context(), rn.ns, "", "-s", "list", "ruleset")
		qt.Assert(t, qt.IsNil(err))
		// Restoring makes all chains of a table, those that were not there included.
		for _, s := range saved {
			if s.text(rn.node) != "" {
				rules, err := outputOf(t.Context(), rn.ns, s.tool+"-save")
				qt.Assert(t, qt.IsNil(err))
				add("%s %s", s.tool, withoutComments(rules))
				text = withoutSaved(text, s.family, rules)
			}
		}
		add("nft %s", text)
	}
	for _, l := range links {
		if l.kind == "veth" {
			qt.Assert(t, qt.IsNil(rn.ns.Do(func() error {
				features, err := wantedFeatures(l.Name)
				add("features %s %v", l.Name, features)
				return err
			})))
		}
	}
	s := &script{}
	qt.Assert(t, qt.IsNil((&dumper{runningNode: rn, script: s}).ipsec()))
	for _, l := range links {
		if l.kind == "wireguard" {
			state, err := rn.wireGuardState(l.Index)
			qt.Assert(t, qt.IsNil(err))
			add("wireguard %+v", state)
		}
	}
	add("ipsec %s", s)
	slices.Sort(lines)
	return lines
}

// Each network is brought up, changed, dumped, taken down, and built again by its own script. Then netlink says the same.
func TestDumpRebuilds(t *testing.T) {
	file, err := filepath.Abs("testdata/programs.o")
	qt.Assert(t, qt.IsNil(err))
	for name, test := range map[string]struct {
		tools   []string
		declare func(n *Network)
		change  func(t *testing.T, r *Running)
	}{
		"row": {declare: func(n *Network) {
			nodes := chain(n, 3)
			nodes[1].NFT = "table inet f {\n\tset s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }\n" +
				"\tchain c { type filter hook forward priority 0; policy drop; ip saddr @s counter accept comment \"it's 'quoted'\"; }\n}"
		}},
		"changed": {declare: func(n *Network) { chain(n, 3) }, change: func(t *testing.T, r *Running) {
			nodes := r.network.nodes
			qt.Assert(t, qt.IsNil(r.SetDown(nodes[0], "eth0")))
			qt.Assert(t, qt.IsNil(r.LoadNFT(t.Context(), nodes[2], "table ip late { chain c { }; }")))
			qt.Assert(t, qt.IsNil(r.SetFeatures(nodes[1], "eth0", map[string]bool{"rx-gro": true})))
			qt.Assert(t, qt.IsNil(r.nodes[nodes[1]].route.RouteAdd(&netlink.Route{
				Dst: ipNet(netip.MustParsePrefix("10.77.0.0/16")), LinkIndex: r.nodes[nodes[1]].devices["eth1"], Scope: unix.RT_SCOPE_LINK,
				Protocol: 77, Priority: 5, Tos: 4, AdvMSS: 1000,
			})))
		}, tools: []string{"ethtool"}},
		"bridge": {declare: func(n *Network) {
			sw, _ := star(n, Bridge{VLANFiltering: true, NoMulticastSnooping: true}, Port{VLAN: 10, Trunk: []uint16{20, 30}}, Port{Isolated: true, Hairpin: true},
				Port{NoFlood: true, NoLearning: true, State: Learning}, Port{Trunk: []uint16{1}, VLAN: 7})
			sw.Devices = []Device{{Name: "br0.7", Kind: VLAN{On: "br0", ID: 7}, Addrs: []string{"10.7.0.1/24"}}}
		}},
		"plain bridge":  {declare: func(n *Network) { star(n, Bridge{}, Port{}, Port{State: Listening}) }},
		"spanning tree": {declare: func(n *Network) { star(n, Bridge{STP: true}, Port{}) }},
		"line": {declare: func(n *Network) {
			nodes := chain(n, 2)
			n.links[0].options = LinkOptions{MTU: 1400, Second: Device{Name: "wan.0", TxQueue: -1, MAC: "02:00:00:00:00:99"},
				First: Device{Addrs: []string{"10.0.0.1/24", "10.0.1.1/32", "fd00::1/64"}, TxQueue: 10, MTU: 1300}}
			nodes[1].Devices = []Device{{Name: "lo", Addrs: []string{"10.8.0.1/32"}}}
			nodes[1].Sysctls = map[string]string{"net/ipv4/conf/wan.0/rp_filter": "2", "net.ipv4.ip_default_ttl": "17",
				"net.ipv4.ip_local_port_range": "20000 30000", "net.ipv6.conf.all.forwarding": "1"}
		}},
		"impaired": {declare: func(n *Network) {
			chain(n, 2)
			n.links[0].options.Impair = Impairment{Delay: 1600 * time.Microsecond, Jitter: 64 * time.Microsecond, Loss: 1.3, Duplicate: 0.1, Corrupt: 2, Reorder: 33.3, Rate: 12345672}
			n.links[0].options.First.Impair = Impairment{Delay: 270 * time.Second, Limit: 5, Rate: 80e9}
		}},
		"bursts": {declare: func(n *Network) {
			chain(n, 2)
			n.links[0].options.Impair = Impairment{Rate: 8e6, Burst: 3000, Limit: 7}
		}},
		"delayed bursts": {declare: func(n *Network) {
			chain(n, 2)
			n.links[0].options.Impair = Impairment{Rate: 80e9, Burst: 1 << 20, Delay: time.Millisecond, Loss: 5}
		}},
		"routes": {declare: func(n *Network) {
			nodes := chain(n, 4)
			a := nodes[1]
			a.Routes = []Route{
				{To: "10.1.0.0/16", Type: Blackhole}, {To: "10.2.0.0/16", Type: Unreachable}, {To: "10.3.0.1", Type: Prohibit, Metric: 7},
				{To: "fd01::/16", Type: Blackhole}, {To: "fd03::/16", Type: Prohibit}, {To: "10.6.0.0/16", Type: Throw},
				{To: "10.4.0.0/16", Hops: []Hop{{Via: nodes[0]}, {Via: nodes[2], Weight: 3}}}, {To: "10.8.1.1", Type: Local},
				{To: "fd04::/16", Hops: []Hop{{Via: nodes[0]}, {Via: V6(nodes[2])}}}, {To: "10.9.0.0/16", Via: V6(nodes[2])},
				{To: "default", Via: nodes[2], Table: 100, Src: IP("172.16.42.2")}, {To: "default", Via: V6(nodes[2]), Metric: 50},
				{To: "10.5.0.0/16", Device: "eth1"}, {To: "fd05::/16", Device: "eth1"}, {To: "172.16.44.0/24", Via: nodes[2], MTU: 1400},
			}
			a.Rules = []PolicyRule{{From: "172.16.42.1", Table: 100, Priority: 50}, {Mark: 7, Mask: 0xf, Type: Prohibit, Priority: 60},
				{To: "fd00::/8", In: "eth0", Not: true, Table: 5}, {Out: "eth1", Table: 1000, Priority: 70}, {Mark: 9, Table: 3}}
			a.Neighbours = []Neighbour{{Addr: nodes[0]}, {Addr: IP("172.16.42.9"), MAC: "02:00:00:00:00:09"},
				{Addr: IP("172.16.42.10"), Failed: true}, {Addr: V6(nodes[2])}, {Addr: IP("10.7.0.1"), Device: "eth0", Proxy: true},
				{Addr: IP("fd07::1"), Device: "eth1", Proxy: true}}
		}},
		"vxlan": {declare: func(n *Network) {
			a, b := tunnel(n, func(b *Node) Kind { return VXLAN{ID: 42, Remote: b} }, func(a *Node) Kind { return VXLAN{ID: 42, Remote: V6(a), Port: 4790} })
			a.Devices = append(a.Devices, Device{Name: "vx1", Kind: VXLAN{ID: 7, Port: 4791}}, Device{Name: "vx2", Kind: VXLAN{External: true, Port: 4792}})
			_ = b
		}, change: func(t *testing.T, r *Running) {
			a := r.nodes[r.network.nodes[0]]
			qt.Assert(t, qt.IsNil(a.route.NeighAppend(&netlink.Neigh{Family: unix.AF_BRIDGE, LinkIndex: a.devices["vx1"], State: netlink.NUD_PERMANENT | netlink.NUD_NOARP,
				Flags: netlink.NTF_SELF, HardwareAddr: make([]byte, 6), IP: []byte{172, 16, 43, 2}})))
		}},
		"macvlan": {declare: func(n *Network) {
			nodes := chain(n, 2)
			nodes[0].Devices = []Device{{Name: "m0", Kind: MACVLAN{On: "eth0"}, Addrs: []string{"10.0.0.1/24"}}, {Name: "m1", Kind: MACVLAN{On: "eth0", Mode: "vepa"}, Down: true}}
		}},
		"ipvlan": {declare: func(n *Network) {
			chain(n, 2)[0].Devices = []Device{{Name: "i0", Kind: IPVLAN{On: "eth0", Mode: "l3"}}}
		}},
		"vlans": {declare: func(n *Network) {
			chain(n, 2)[0].Devices = []Device{{Name: "v0", Kind: VLAN{On: "v1", ID: 7}}, {Name: "v1", Kind: VLAN{On: "eth0", ID: 8, ServiceTag: true}}}
		}},
		"vrf": {declare: func(n *Network) {
			nodes := chain(n, 3)
			nodes[1].Devices = []Device{{Name: "red", Kind: VRF{Table: 10, Ports: []string{"eth0", "eth1"}}}}
		}},
		"bond": {declare: func(n *Network) {
			nodes := chain(n, 2)
			n.Connect(nodes[0], nodes[1])
			for _, node := range nodes {
				node.Devices = []Device{{Name: "bond0", Kind: Bond{Ports: []string{"eth0", "eth1"}}}}
			}
		}},
		"dummy": {declare: func(n *Network) {
			n.Add(Node{Name: "a", Devices: []Device{{Name: "d0", Kind: Dummy{}, Addrs: []string{"10.0.0.1/24"}}}})
		}},
		"geneve": {declare: both(func(remote *Node) Kind { return Geneve{ID: 42, Remote: remote} }, func(remote *Node) Kind { return Geneve{ID: 7, Remote: V6(remote), Port: 77} })},
		"gre":    {declare: both(func(remote *Node) Kind { return GRE{Remote: remote, Key: 7} }, func(remote *Node) Kind { return GRETAP{Remote: remote} })},
		"gre6":   {declare: both(func(remote *Node) Kind { return GRE{Remote: V6(remote)} }, func(remote *Node) Kind { return GRETAP{Remote: V6(remote), Key: 9} })},
		"ipip":   {declare: both(func(remote *Node) Kind { return IPIP{Remote: remote} }, func(remote *Node) Kind { return SIT{Remote: remote} })},
		"ip6tnl": {declare: both(func(remote *Node) Kind { return IP6Tunnel{Remote: V6(remote)} }, func(remote *Node) Kind { return IP6Tunnel{Remote: V6(remote)} })},
		"texts": {tools: []string{"iptables-save", "ebtables-save"}, declare: func(n *Network) {
			nodes := chain(n, 3)
			nodes[1].IPTables = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
			nodes[1].IP6Tables = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"
			nodes[1].NFT = "table ip ours { chain c { ip daddr 10.0.0.1 drop; }; }"
			nodes[1].TC = "qdisc add dev eth0 clsact\nfilter add dev eth0 ingress matchall action drop"
			nodes[0].EBTables = "*filter\n:FORWARD DROP\n"
		}},
		"programs": {declare: func(n *Network) {
			chain(n, 2)
			n.links[0].options = LinkOptions{First: Device{XDP: Program{File: file, Name: "drop"}}, Second: Device{Ingress: Program{File: file, Name: "shot"}}}
		}},
		"esp": {declare: func(n *Network) {
			a, b := secured(n)
			a.ESP = []ESP{{Remote: b}, {Remote: V6(b), Tunnel: true, Cipher: AESCBC}, {Remote: b, Cipher: NullCipher, Near: []string{"10.1.0.0/16"}, Far: []string{"10.2.0.0/16"}, ID: 5}}
			a.Devices = []Device{{Name: "ipsec0", Kind: XFRM{Remote: b, ID: 9, Cipher: ChaCha20}, Addrs: []string{"10.9.0.1/24"}}}
		}},
		"wireguard": {tools: []string{"wg"}, declare: func(n *Network) {
			hub, a, _ := wireGuardHub(n)
			k := a.Devices[0].Kind.(WireGuard)
			k.Mark, k.Peers[0].Keepalive, k.Peers[0].Preshared = 7, 25*time.Second, "4Glq8Vd6QF6OzFzfKsNLYbuSCjV2bnkTyIVlhOYHi28="
			a.Devices[0].Kind = k
			_ = hub
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, tool := range append(test.tools, "sh", "mount", "ip", "bridge", "tc", "sysctl", "nft") {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skip(err)
				}
			}
			var n Network
			test.declare(&n)
			r := tryUp(t, &n)
			if test.change != nil {
				test.change(t, r)
			}
			script, err := r.Dump(t.Context())
			qt.Assert(t, qt.IsNil(err))
			want := make(map[string][]string)
			for node, rn := range r.nodes {
				want[node.Name] = observe(t, rn)
			}
			qt.Assert(t, qt.IsNil(r.Close()))

			again := rebuild(t, &n, script)
			for node, rn := range again.nodes {
				missing, more := difference(want[node.Name], observe(t, rn))
				if len(missing)+len(more) > 0 {
					t.Errorf("%s is not the same again: it lacks\n%s\nand has instead\n%s\nby\n%s", node,
						strings.Join(missing, "\n"), strings.Join(more, "\n"), script)
				}
			}
			second, err := again.Dump(t.Context())
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.Equals(second, script))
		})
	}
}

// difference are the lines that only one of two has.
func difference(want, got []string) (missing, more []string) {
	without := func(all, others []string) (rest []string) {
		for _, line := range all {
			if !slices.Contains(others, line) {
				rest = append(rest, line)
			}
		}
		return rest
	}
	return without(want, got), without(got, want)
}

// both is a declaration of a tunnel with different ends, for what they look like only.
func both(first, second func(remote *Node) Kind) func(*Network) {
	return func(n *Network) { tunnel(n, first, second) }
}

func TestDumpText(t *testing.T) {
	need(t, "nft")
	var n Network
	nodes := chain(&n, 3)
	nodes[1].NFT = "table inet f {\n\tchain c { type filter hook forward priority 0; policy drop; }\n}"
	nodes[0].Multicast = nil
	nodes[1].Multicast = []MulticastRoute{{Source: nodes[0], Group: "239.1.2.3", In: "eth0", Out: []string{"eth1"}}}
	r := mustUp(t, &n)
	text, err := r.Dump(t.Context())
	qt.Assert(t, qt.IsNil(err))
	golden.Check(t, "dump.sh", text)
}

func TestDumpOfWhatTcCannotSay(t *testing.T) {
	var n Network
	chain(&n, 2)
	n.links[0].options.First.Impair = Impairment{Delay: time.Hour, Loss: 1}
	r := tryUp(t, &n)
	text, err := r.Dump(t.Context())
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.StringContains(text, "\ntc -n n0 qdisc replace dev eth0 root netem limit 1000 loss 1%\n"))
	qt.Check(t, qt.StringContains(text, "\n# - the delay of 3600s by eth0 in n0: tc knows none beyond 274 seconds\n"))
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"eth0": "eth0", "fd00::1/64": "fd00::1/64", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "rfc4106(gcm(aes))": "'rfc4106(gcm(aes))'",
	} {
		qt.Check(t, qt.Equals(quote(word), want))
	}
	s := &script{}
	s.give("EOF\nx", "cat")
	qt.Check(t, qt.Equals(s.String(), "cat <<'EOFF'\nEOF\nx\nEOFF\n"))
}

func TestWithoutSaved(t *testing.T) {
	const nft = "# Generated by iptables-save v1.8.9 (nf_tables) on Sat\n*filter\n:INPUT ACCEPT\nCOMMIT\n*nat\nCOMMIT\n"
	for i, test := range []struct{ text, saved, want string }{
		{"", nft, ""},
		{"table ip a {\n}\n", nft, "table ip a {\n}\n"},
		{"table ip filter {\n\tchain c {\n\t}\n}\n", nft, ""},
		{"table ip filter {\n}\n", "# Generated by iptables-save v1.8.9 on Sat\n*filter\n", "table ip filter {\n}\n"},
		{"table ip a {\n}\ntable ip nat {\n\tx\n}\ntable ip6 nat {\n}\ntable ip filter {\n}\ntable ip b {\n}\n", nft,
			"table ip a {\n}\ntable ip6 nat {\n}\ntable ip b {\n}\n"},
	} {
		qt.Check(t, qt.Equals(withoutSaved(test.text, "ip", test.saved), test.want), qt.Commentf("%d", i))
	}
	qt.Check(t, qt.Equals(withoutComments("# a\n*filter\n# b\n"), "*filter\n"))
}
