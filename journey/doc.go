// Package journey turns observations of packets into journeys, and journeys into outcomes and text.
//
// An observer (package bpf) reports [Observation] values in the order in which the kernel made them. An [Assembler]
// groups them by packet [ID], follows every skb of a packet as a [Branch], and knows at each moment which branches
// are still moving. Sealing it, with the [Evidence] of how completely the kernel was observed, yields a [Record]. Its
// journeys say what happened to each packet ([Journey.Outcome], [Journey.Sentence]) and print themselves as text, in the
// line format that users of Retis read already, or as JSON.
//
// The package is pure Go, needs no kernel and imports nothing else of this project.
//
// # Sections
//
// What an [Event] tells is in sections, which are nil where the probe had nothing to say: [Packet], [Meta], [Sharing],
// [GSO], [Device], [NetNS], [Conntrack], [NFT], [IPTables], [Drop], a stack of [Frame] values. Numbers stay as the kernel has
// them; what has names is printed by name, and by number where this package knows no name.
//
// # Text
//
// An event is a line, and its sections are indented below it, in this order:
//
//	<time> (<cpu>) [<comm>] <pid> [<kind>] <probe> #<id> (skb <address>) n <index>
//	    <function>+<offset> [<module>]
//	  returned <value>
//	  drop (reason [<subsystem>/]<reason>)
//	  <source MAC> > <destination MAC> ethertype <name> (<number>) [vlan <id> p <priority> [DEI] ethertype …]
//	  <source>.<port> > <destination>.<port> tos … proto <name> (<number>) <what the transport says>
//	  ns <cookie>/<inode> if <index> (<name>) rxif <index> socket <cookie>
//	  skb [len … hash … mark …]
//	  refs [users … dataref … cloned]
//	  gso [size … segs … type … frags …]
//	  ct_state <state> status <bits> <protocol> (<its state>) orig [<tuple>] reply [<tuple>] zone … mark … labels …
//	  iptables table <name> hook <name> <verdict>
//	  table <name> (<handle>) chain <name> (<handle>) handle <rule> <verdict> [(policy)] [chain <target>]
//
// Kinds are k for the entry of a function, kr for its return, tp and rtp for tracepoints. The number is the
// process's; JSON has the thread's too. Packets that a tunnel carries, packets that an ICMP error is about, and long lists of
// options follow the line of the packet, two columns further in for each level. "(truncated)" and "…" say that the
// captured bytes end there.
//
// # JSON
//
// [Journey] and [Record] can be written as JSON and read back without loss. Names are stable; new ones may be added.
// Cookies, addresses, marks, hashes and sets of bits are strings in hex with 0x before them, and everything else that is a
// number is one. Times are nanoseconds of CLOCK_MONOTONIC. What is marked * is computed, and not read.
//
//	record    evidence, journeys [journey without evidence], earlier_sockets
//	journey   id *, first_seen, head, origin {time, socket_cookie, netns}, outcome *, sentence *, events [event],
//	          branches [branch], links [{relation, to *, first_seen, head}], evidence
//	event     time, cpu, pid, tid, comm, probe_kind, probe, skb, branch *, socket_cookie, return, and the sections:
//	  stack      [{symbol, offset, module}]
//	  drop       reason, subsystem, location
//	  packet     proto, len, network, vlan {proto, tci}, text *, data (the bytes in hex)
//	  netns      cookie, inum, node
//	  device     index, name, rx_index
//	  skb_meta   len, data_len, hash, l4_hash, sw_hash, pkt_type (name), ip_summed (name), csum, csum_level, mark, priority,
//	             queue_mapping, tstamp
//	  skb_sharing  users, cloned, dataref, nohdr, fclone (name)
//	  gso        size, segs, type, type_names *, frags
//	  conntrack  state, status, proto, proto_state, orig, reply {src, src_port, dst, dst_port}, zone, mark, labels
//	  iptables   family, table, hook, verdict
//	  nft        family, table, table_handle, chain, chain_handle, rule_handle, rule_text, comment, verdict, target, policy
//	branch    skb, parent (index or null), role, auxiliary, taken_at, outcome, events [index], since,
//	          accepted {after, netns, device}
//	outcome   kind, event (index), rule_event (index), place, netns, device, last_netns, last_device, blind, unvouched,
//	          went_on, sentence *
//	evidence  complete *, sealed, settled, moving, loss [{cause, count}], probes [{kind, name}],
//	          milestones {name: {probes, blind}}, nodes {cookie: name}, devices, chains {cookie: [name]},
//	          reasons, sockets, artifacts, no_functions, unlinked, unvouched {cookie: why}
package journey
