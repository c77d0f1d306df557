package harness

// milestones are the functions that every trace arms by itself, where the kernel has them: the places by which a
// packet's way through the stack is told. Beside them there are those of iptables' tables, once there are tables.
var milestones = []string{
	"__ip_local_out",
	"__ip6_local_out",
	"ip_output",
	"ip6_output",
	"veth_xmit",
	"br_handle_frame_finish",
	"arp_rcv",
	"ip_rcv",
	"ipv6_rcv",
	"ip_forward",
	"ip6_forward",
	"ip_local_deliver",
	"ip6_input",
	"icmp_rcv",
	"icmpv6_rcv",
	"tcp_v4_rcv",
	"tcp_v6_rcv",
	"udp_queue_rcv_one_skb",
	"udpv6_queue_rcv_one_skb",
	verdicts,
}

// verdicts is the function by which nftables reports its verdicts; see package bpf.
const verdicts = "__nft_trace_packet"
