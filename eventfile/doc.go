// Package eventfile writes and reads files of events: one JSON object a line, as [Retis] writes them, so that its tools and
// scripts can read what was collected here, and the other way round.
//
// The first line is a startup section: what collected the events, where, and how the clock relates to that of the day. It names the
// version of Retis whose format this is, because readers ask for it. Each further line is an event, with these sections, of which
// the first three must be there:
//
//	common        timestamp (ns of CLOCK_MONOTONIC), smp_id, task {pid, tgid, comm}
//	kernel        symbol, probe_type (kprobe, kretprobe or raw_tracepoint), stack_trace
//	skb-tracking  orig_head, timestamp and skb: the packet's identity, and the sk_buff's address
//	skb-drop      drop_reason, subsys
//	packet        len, capture_len, data (base64), from the header of Ethernet on; if the packet had none, with one of zeros
//	skb           vlan_accel {proto, pcp, dei, vid}, meta, data_ref, gso
//	netns         cookie, inum
//	dev           name, ifindex, rx_ifindex
//	nft           table_name, chain_name, verdict, verdict_chain_name, table_handle, chain_handle, rule_handle, policy
//	ct            state, ct_status, zone_id, zone_dir, orig, reply, proto_state, mark, labels: for TCP, UDP and ICMP
//
// What is known here beyond that is in a section of its own, waybill, which Retis passes over: the socket's cookie, where a
// packet was dropped, what a function returned, verdicts of iptables, and connections of other protocols. Its list "before" tells
// what became of sk_buffs since the event before: that they were cloned or released, that a socket took them, what packets have to
// do with each other. The last line has "end": what was lost. A file without it was cut off.
//
// Files of Retis 1.6 and later are read, sorted ones too. Events without an sk_buff, as those of Open vSwitch in user space, are
// refused line by line.
//
// [Retis]: https://github.com/retis-org/retis
package eventfile
