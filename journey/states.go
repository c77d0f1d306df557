package journey

import "fmt"

// TCPState names a state of conntrack's TCP tracker: enum tcp_conntrack of
// include/uapi/linux/netfilter/nf_conntrack_tcp.h, by the names that conntrack(8) prints.
func TCPState(state uint8) string {
	return stateName(state, "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT",
		"CLOSE", "SYN_SENT2")
}

// SCTPState names a state of conntrack's SCTP tracker: enum sctp_conntrack of
// include/uapi/linux/netfilter/nf_conntrack_sctp.h.
func SCTPState(state uint8) string {
	return stateName(state, "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD",
		"SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT", "HEARTBEAT_ACKED")
}

// DCCPState names a state of conntrack's DCCP tracker, which later kernels no longer have: enum ct_dccp_states of
// include/uapi/linux/netfilter/nf_conntrack_dccp.h.
func DCCPState(state uint8) string {
	return stateName(state, "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE",
		"INVALID")
}

// stateName is the state's name, or its number if it has none.
func stateName(state uint8, names ...string) string {
	if int(state) < len(names) {
		return names[state]
	}
	return fmt.Sprint(state)
}

// HookName names a netfilter hook of the IP families: enum nf_inet_hooks of include/uapi/linux/netfilter.h.
func HookName(hook uint8) string {
	return stateName(hook, "prerouting", "input", "forward", "output", "postrouting", "ingress")
}

// Verdict names what a netfilter hook returned: the NF_ values of include/uapi/linux/netfilter.h. The upper half of a
// verdict carries a queue's number or an error and is left out.
func Verdict(verdict uint32) string {
	return stateName(uint8(verdict), "drop", "accept", "stolen", "queue", "repeat", "stop")
}
