// Package shape compares journeys by what happened to the packet, whatever kernel, CPU or moment it happened on.
//
// [Of] brings a journey into a normal form: for each way that the packet took, the places by which it came, who judged it, what
// was changed in it, and what became of it. [Compare] aligns two of them. [Records] does so with all packets of two records.
// The normal form is text that people review ([Shape.String]), and is read back ([Parse]).
//
//	172.16.42.1.* > 172.16.42.2.53 UDP
//	  client  -     postrouting
//	  client  eth0  device transmit
//	  fw      eth0  device receive
//	  fw      eth0  ip receive
//	  fw      eth0  nft ip nat prerouting   accept: udp dport 53 dnat to 172.16.43.2:8053
//	  fw      eth0  forward                 destination now 172.16.43.2.8053
//	  …
//	  server  -     delivered               to a socket
//
// A line is a hop: node, device, place, and what is to be said of it. The last line of a way is the packet's end. A packet
// that was cloned has several ways, each told from the beginning, in an order that does not depend on the kernel's.
//
// # What is normal
//
//   - Places are milestones where a function is one of the ways to one, and functions otherwise. Probes that mean the same place
//     and follow each other are one hop. That the packet was made by the node that it begins in goes without saying: how a kernel
//     tells that depends on the protocol, so local out is no hop there.
//   - Rules are told by their table, chain and text, policies by their chain. Only of a rule whose text is not known the handle
//     is given.
//   - Drops have their reason by the name that the newest kernel has for it. A name that older kernels use for several of
//     today's reasons equals each of them. Where in the kernel's code a packet was dropped is left out.
//   - Ports from 32768 to 60999, which kernels choose from, are *, a second one *2, and so on. The destination of a packet that
//     the test sent is the test's choice and stays. MAC addresses, which ARP and neighbour discovery tell, are *.
//   - Namespaces that have no name are called by the order in which the packet came by them.
//   - Left out are identities, times, CPUs, tasks, sockets, addresses of memory, IP IDs, checksums, sequence numbers, lengths,
//     connection tracking, and what became of copies for sniffers.
package shape
