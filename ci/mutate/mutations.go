package main

// mutation is one change of an example.
type mutation struct {
	file     string // of the example
	old, new string // what is changed, once in the file
	says     string // part of the failure's text, whose white space counts as one space
}

var mutations = []mutation{
	{"firewall_test.go", "policy drop", "policy accept", "but it was dropped in namespace server"},
	{"firewall_test.go", `accept comment "the web"`, `reject comment "the web"`, "connection refused"},
	{"firewall_test.go", "DstPort: 22", "DstPort: 443", "but it was"},
	{"firewall_test.go", `comment "the web"`, `comment "the rest"`, "'the web'"},
	{"firewall_test.go", `ByPolicy("forward")`, `ByPolicy("input")`, "but it was dropped by the policy of chain forward"},
	{"nat_test.go", "oif wan masquerade", "oif wan accept", "its source was not translated"},
	{"nat_test.go", "udp dport 8080", "udp dport 8082", "its destination was not translated"},
	{"nat_test.go", "dnat to 172.16.42.1:80", "dnat to 172.16.42.1:81", "but it was translated to 172.16.42.1:81"},
	{"nat_test.go", "lab.Listen(world, 53)", "lab.Listen(world, 54)", "NO_SOCKET"},
	{"nat_test.go", "DstPort: 8081", "DstPort: 8080", "but it was delivered"},
	{"vlan_test.go", `port("printer", 10)`, `port("printer", 20)`, "anybody on the link has the next hop's address"},
	{"vlan_test.go", `port("guest", 20)`, `port("guest", 10)`, "but that is what happened"},
	{"vlan_test.go", "lab.Listen(printer, 631)", "lab.Listen(printer, 632)", "NO_SOCKET"},
	{"vxlan_test.go", `topology.VXLAN{ID: 42, Remote: a}`, `topology.VXLAN{ID: 43, Remote: a}`, "anybody on the link has the next hop's address"},
	{"vxlan_test.go", `"underlay", Forwarding: true`, `"underlay"`, "anybody on the link has the next hop's address"},
	{"vxlan_test.go", `"10.0.0.2/24"`, `"10.0.0.3/24"`, "it never did"},
	{"vxlan_test.go", "lab.Listen(b, 7)", "lab.Listen(b, 8)", "NO_SOCKET"},
	{"rpfilter_test.go", `"does not pass a strict filter", "1"`, `"does not pass a strict filter", "2"`, "but it was delivered"},
	{"rpfilter_test.go", `"passes a loose one", "2"`, `"passes a loose one", "1"`, "but it was dropped with reason IP_RPFILTER"},
	{"rpfilter_test.go", "Via: right, Src: client", "Via: left, Src: client", "it never did"},
	{"wireguard_test.go", `Name: "hub", Forwarding: true`, `Name: "hub"`, "to reach the milestone 'forward'"},
	{"wireguard_test.go", `Allowed: []string{"10.9.0.0/24"}`, `Allowed: []string{"10.9.0.3/32"}`, "wg0"},
	{"wireguard_test.go", "lab.Listen(b.Node, 7)", "lab.Listen(b.Node, 8)", "NO_SOCKET"},
	{"prefix_test.go", "snat prefix to 2001:db8:1::/64", "snat prefix to 2001:db8:2::/64", "but it was translated to [2001:db8:2::2]"},
	{"prefix_test.go", "dnat prefix to fd00:1::/64", "dnat prefix to fd00:2::/64", "fd00:2::2"},
	{"prefix_test.go", "Via: topology.V6(router)", "Via: topology.V6(world)", "world"},
	{"ecmp_test.go", "{Via: left}, {Via: right}", "{Via: left}, {Via: left}", "to have length 2"},
	{"ecmp_test.go", `hash_policy": "1"`, `hash_policy": "0"`, "to have length 2"},
}
