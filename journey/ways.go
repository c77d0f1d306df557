package journey

// otherWays lists functions and tracepoints that are one of several ways to a milestone: those which packets of the same kind
// may meet instead of one another. Who asks for one of them may mean the place.
var otherWays = []struct {
	milestone Milestone
	names     []string
}{
	{DeviceReceive, []string{
		"net:netif_receive_skb", "netif_receive_skb", "netif_receive_skb_core", "__netif_receive_skb",
		"__netif_receive_skb_one_core", "net:netif_rx", "netif_rx", "napi_gro_receive", "eth_type_trans",
	}},
	{Bridge, []string{"br_handle_frame_finish", "br_dev_xmit"}},
	{IPReceive, []string{"ip_rcv_core", "ip_rcv", "ip_list_rcv"}},
	{IPReceive, []string{"ip6_rcv_core", "ipv6_rcv", "ipv6_list_rcv"}},
	{Prerouting, []string{"ip_rcv_finish"}},
	{Prerouting, []string{"ip6_rcv_finish"}},
	{LocalOut, []string{"__ip6_local_out", "ip6_local_out", "ip6_xmit"}},
	{Postrouting, []string{"ip_output", "ip_mc_output"}},
	{SocketDeliver, []string{"__udp_enqueue_schedule_skb", "__sock_queue_rcv_skb", "sock_queue_rcv_skb_reason", "tcp_queue_rcv"}},
	{Qdisc, []string{"dev_qdisc_enqueue", "sch_direct_xmit"}},
	{DeviceTransmit, []string{
		"net:net_dev_start_xmit", "__dev_direct_xmit", "dev_hard_start_xmit", "veth_xmit", "loopback_xmit", "net:net_dev_xmit",
	}},
}

// MilestoneOf returns the milestone to which a function or tracepoint is one of several ways; ok is false if it is none.
func MilestoneOf(name string) (m Milestone, ok bool) {
	for _, o := range otherWays {
		for _, n := range o.names {
			if n == name {
				return o.milestone, true
			}
		}
	}
	return "", false
}

// Instead lists the visits of a milestone that were not by a probe but by others that packets of the same kind may meet
// instead of it.
func (j *Journey) Instead(name string) []Visit {
	for _, o := range otherWays {
		for _, n := range o.names {
			if n != name {
				continue
			}
			var others []Visit
			for _, v := range j.Visits(o.milestone) {
				if o.milestone == Prerouting || o.milestone == SocketDeliver || v.among(j, o.names) {
					others = append(others, v)
				}
			}
			return others
		}
	}
	return nil
}

func (v Visit) among(j *Journey, names []string) bool {
	for _, n := range names {
		if v.Event >= 0 && j.Events[v.Event].Probe.Name == n {
			return true
		}
	}
	return false
}
