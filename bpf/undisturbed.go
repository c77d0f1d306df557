package bpf

import (
	"slices"

	"github.com/waybill-dev/waybill/journey"
)

// undisturbed are functions and tracepoints that are reached with softirqs disabled only, on Linux 6.1 to 7.3: nothing that has a
// packet comes in between on their CPU, so one program each is enough (bpf/c/include/hook.h): the second would be loaded, attached
// and entered for nothing. Should one be reached otherwise, and be interrupted, the kernel counts what it skips, and the record is
// inconclusive.
//
// What a device receives is handed on by __netif_receive_skb_core, in softirqs or with them disabled by whoever calls it, like
// tun_get_user (net/core/dev.c, drivers/net/tun.c); what a queue of nfnetlink gives back, by nf_reinject, which disables them
// (net/netfilter/nfnetlink_queue.c). What is given to a device is between rcu_read_lock_bh and its end in __dev_queue_xmit, in
// net_tx_action, which is a softirq, or in __dev_direct_xmit, which disables them.
var undisturbed = []string{
	// Received.
	"net:netif_receive_skb", "netif_receive_skb",
	"br_handle_frame", "br_handle_frame_finish",
	"arp_rcv", "ip_rcv", "ip_rcv_core", "ip_rcv_finish", "ip6_rcv_core", "ipv6_rcv",
	"ip_local_deliver", "ip_local_deliver_finish", "ip6_input", "ip6_input_finish", "ip_forward", "ip6_forward",
	"icmp_rcv", "icmpv6_rcv", "tcp_v4_rcv", "tcp_v6_rcv", "udp_rcv", "udpv6_rcv",
	"udp_queue_rcv_one_skb", "__udp_enqueue_schedule_skb",
	// Given to a device.
	"net:net_dev_queue", "net_dev_queue", "net:net_dev_start_xmit", "net_dev_start_xmit",
	"dev_qdisc_enqueue", "sch_direct_xmit", "dev_hard_start_xmit", "br_dev_xmit", "veth_xmit", "loopback_xmit",
}

func isUndisturbed(p journey.Probe) bool { return slices.Contains(undisturbed, p.Name) }
