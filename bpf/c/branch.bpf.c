// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The branches of a packet: its clones, the copies that packet sockets take, and the places where an skb comes to rest.
// Always attached, and fentry and fexit for the same reason as the lifetimes.
#include "include/hook.h"
#include "include/identity.h"

static __always_inline void enter(struct sk_buff *skb, const struct identity *id)
{
	struct call call = {.skb = (__u64)skb, .task = bpf_get_current_task()};

	if (bpf_map_update_elem(&pending, &call, id, BPF_ANY))
		lost(id->scope, LOSS_PENDING_FULL);
}

// Reports how the call ended. The skb may be gone already: it is used as a number only.
static __always_inline void leave(struct sk_buff *skb, __u8 kind, int happened, __u64 netns)
{
	struct call call = {.skb = (__u64)skb, .task = bpf_get_current_task()};
	struct identity *found = bpf_map_lookup_elem(&pending, &call), id;

	if (!found)
		return;
	id = *found;
	bpf_map_delete_elem(&pending, &call);
	if (happened)
		report(kind, &id, (__u64)skb, 0, netns);
}

static __always_inline int enter_known(struct sk_buff *skb)
{
	struct identity id;

	if (known(skb, &id))
		enter(skb, &id);
	return 0;
}

HOOK(PART_REPORTS, "fexit/skb_clone", skb_clone, struct sk_buff *skb, unsigned int gfp, struct sk_buff *clone)
{
	struct identity id;

	if (clone && known(skb, &id))
		report(KIND_CLONED, &id, (__u64)skb, (__u64)clone, 0);
	return 0;
}

// --- Packet sockets ---------------------------------------------------------------------------------------------------
// If others hold the skb too, the socket keeps a clone of it; if not, it keeps the skb itself.

static __always_inline int enter_tap(struct sk_buff *skb)
{
	struct identity id;

	if (!known(skb, &id))
		return 0;
	report(KIND_TAP_ENTER, &id, (__u64)skb, skb->users.refs.counter > 1, 0);
	enter(skb, &id);
	return 0;
}

HOOK(PART_REPORTS, "fentry/packet_rcv", packet_rcv, struct sk_buff *skb)
{
	return enter_tap(skb);
}

HOOK(PART_REPORTS, "fexit/packet_rcv", packet_rcv_exit, struct sk_buff *skb)
{
	leave(skb, KIND_TAP_EXIT, 1, 0);
	return 0;
}

HOOK(PART_REPORTS, "fentry/tpacket_rcv", tpacket_rcv, struct sk_buff *skb)
{
	return enter_tap(skb);
}

HOOK(PART_REPORTS, "fexit/tpacket_rcv", tpacket_rcv_exit, struct sk_buff *skb)
{
	leave(skb, KIND_TAP_EXIT, 1, 0);
	return 0;
}

// --- Resting places -----------------------------------------------------------------------------------------------------

HOOK(PART_REPORTS, "fentry/__udp_enqueue_schedule_skb", udp_enqueue, struct sock *sk, struct sk_buff *skb)
{
	return enter_known(skb);
}

HOOK(PART_REPORTS, "fexit/__udp_enqueue_schedule_skb", udp_enqueue_exit, struct sock *sk, struct sk_buff *skb, int error)
{
	leave(skb, KIND_ENQUEUED, !error, sk->__sk_common.skc_net.net->net_cookie);
	return 0;
}

HOOK(PART_REPORTS, "fentry/__sock_queue_rcv_skb", sock_queue, struct sock *sk, struct sk_buff *skb)
{
	return enter_known(skb);
}

HOOK(PART_REPORTS, "fexit/__sock_queue_rcv_skb", sock_queue_exit, struct sock *sk, struct sk_buff *skb, int error)
{
	leave(skb, KIND_ENQUEUED, !error, sk->__sk_common.skc_net.net->net_cookie);
	return 0;
}

// Sets or clears the mark by which the packet's next transmission is recognized as its way out of a neighbour's queue.
static __always_inline void set_parked(__u64 head, __u16 parked)
{
	struct identity *id = bpf_map_lookup_elem(&identities, &head);

	if (id)
		id->parked = parked;
}

// Returns 1 if the skb was queued until the neighbour answers, or was dropped because it does not; the drop is reported
// by itself, earlier. The mark is set before the call: from within it, another CPU may already send the packet on.
HOOK(PART_REPORTS, "fentry/__neigh_event_send", neigh_event_send, void *neigh, struct sk_buff *skb)
{
	struct identity id;

	if (!skb || !known(skb, &id))
		return 0;
	set_parked((__u64)skb->head, 1);
	enter(skb, &id);
	return 0;
}

// With 0 the caller still has the skb in hand, and goes on to send it.
HOOK(PART_REPORTS, "fexit/__neigh_event_send", neigh_event_send_exit, void *neigh, struct sk_buff *skb, _Bool immediate, int held)
{
	if (skb && !held)
		set_parked((__u64)skb->head, 0);
	leave(skb, KIND_PARKED, held, 0);
	return 0;
}
