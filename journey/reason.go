package journey

import "strings"

// renamedReasons gives drop reasons that were renamed the name that the newest kernel has for them. Found by comparing the
// enumerations in the BTF of Debian's 6.1, 6.12, 6.18, 7.2 and 7.3, and in the kernel's sources between them.
var renamedReasons = map[string]string{
	// By Linux 7.0 the reasons of queueing disciplines moved from enum skb_drop_reason (include/net/dropreason-core.h) to
	// enum qdisc_drop_reason (include/net/dropreason-qdisc.h). At first some were still named for the discipline that
	// used them first; by 7.2 those are named for what they mean.
	"QDISC_OVERLIMIT":             "QDISC_DROP_OVERLIMIT",
	"QDISC_CONGESTED":             "QDISC_DROP_CONGESTED",
	"CAKE_FLOOD":                  "QDISC_DROP_FLOOD_PROTECTION",
	"QDISC_DROP_CAKE_FLOOD":       "QDISC_DROP_FLOOD_PROTECTION",
	"FQ_BAND_LIMIT":               "QDISC_DROP_BAND_LIMIT",
	"QDISC_DROP_FQ_BAND_LIMIT":    "QDISC_DROP_BAND_LIMIT",
	"FQ_HORIZON_LIMIT":            "QDISC_DROP_HORIZON_LIMIT",
	"QDISC_DROP_FQ_HORIZON_LIMIT": "QDISC_DROP_HORIZON_LIMIT",
	"FQ_FLOW_LIMIT":               "QDISC_DROP_FLOW_LIMIT",
	"DUALPI2_STEP_DROP":           "QDISC_DROP_L4S_STEP_NON_ECN",
}

// generalReasons are what older kernels said where newer ones tell several reasons apart.
var generalReasons = map[string]string{
	// Up to 6.12 every queueing discipline said QDISC_DROP (include/net/dropreason-core.h).
	"QDISC_DROP_GENERIC":          "QDISC_DROP",
	"QDISC_DROP_OVERLIMIT":        "QDISC_DROP",
	"QDISC_DROP_CONGESTED":        "QDISC_DROP",
	"QDISC_DROP_MAXFLOWS":         "QDISC_DROP",
	"QDISC_DROP_FLOOD_PROTECTION": "QDISC_DROP",
	"QDISC_DROP_BAND_LIMIT":       "QDISC_DROP",
	"QDISC_DROP_HORIZON_LIMIT":    "QDISC_DROP",
	"QDISC_DROP_FLOW_LIMIT":       "QDISC_DROP",
	"QDISC_DROP_L4S_STEP_NON_ECN": "QDISC_DROP",
	// Up to 6.12 tcp_disordered_ack was part of one check (net/ipv4/tcp_input.c).
	"TCP_RFC7323_PAWS_ACK": "TCP_RFC7323_PAWS",
}

// StableReason gives a drop reason the name that the newest known kernel has for it, so that names of different kernels
// can be compared. It takes names with and without SKB_DROP_REASON_ in front.
func StableReason(name string) string {
	name = strings.TrimPrefix(name, "SKB_DROP_REASON_")
	if stable, ok := renamedReasons[name]; ok {
		return stable
	}
	return name
}

// Is says whether the packet was dropped for a reason, by the name that any kernel from 6.1 to 7.3 has for it. A name
// that older kernels use for several of today's reasons is true of each of them: a drop with QDISC_DROP_OVERLIMIT is
// QDISC_DROP. The reverse is not said: what a kernel reported as QDISC_DROP may have been any of them.
func (d Drop) Is(name string) bool {
	reason, name := StableReason(d.Reason), StableReason(name)
	return reason == name || generalReasons[reason] == name && name != ""
}
