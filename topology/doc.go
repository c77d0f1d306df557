// Package topology turns a declared network into a running one.
//
// A [Network] is plain data: nodes, and links between two of them.
//
//	var net topology.Network
//	client := net.Add(topology.Node{Name: "client"})
//	fw := net.Add(topology.Node{Name: "fw", Forwarding: true, NFT: ruleset})
//	server := net.Add(topology.Node{Name: "server"})
//	net.Connect(client, fw)
//	net.Connect(fw, server)
//
//	running, err := topology.Up(ctx, &net)
//	if err != nil {
//		return err
//	}
//	defer running.Close()
//	err = running.Do(client, func() error { … })
//
// Every node is a network namespace, every link a veth pair. What else a network can have, with an example of each, is in
// docs/topology.md.
//
// # What follows from the declaration
//
// Names and addresses depend on positions only, so they are known before the network runs and are the same in every
// run. In each node the devices are eth0, eth1 … in the order in which its links were declared. Link i, counted from
// 0, is the subnet 172.16.(42+i).0/24 and fd42:0:0:(42+i)::/64, in which the first node given to [Network.Connect] has
// .1 and ::1, the second .2 and ::2. The fourth group of the IPv6 prefix is written with the digits of the third IPv4
// octet: 172.16.42.1 and fd42:0:0:42::1. Links that meet at bridges are one subnet, that of the first of them, in
// which the ends that are not ports have .1, .2, .3 … in the order of the links. A MAC address is 02:00 followed by
// the four IPv4 octets; a link-local address is fe80::1, fe80::2 … A network has at most 200 links.
//
// Every node has routes, IPv4 and IPv6, to every subnet: over the shortest path through forwarding nodes, or, where there
// is none, over the shortest path as if all were, so that what a missing Forwarding does can be observed. Between paths of
// equal length the link declared first wins.
//
// Nothing is left to the machine's own configuration: forwarding, reverse path filter and redirects have fixed values.
// IPv6 is on; duplicate address detection, router advertisements and redirects are off. What a node sends by itself is ARP
// and neighbour discovery when there is traffic, and a few multicast listener reports (MLDv2) in the first two seconds.
//
// # Rulesets
//
// The text in [Node.NFT] is loaded by the nft program, as users would do it. [Running] keeps a history of each node's
// rulesets: every state with the interval of time in which it is known to have been in force, so that [Running.Rule]
// tells the text of a rule that judged a packet at some moment, or says why it cannot be vouched for.
package topology
