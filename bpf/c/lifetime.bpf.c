// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Birth, movement and end of packets: always attached, whatever is asked for. All are fentry and fexit programs, because
// kprobe programs share one busy flag per CPU, and one that is interrupted by another's softirq would be skipped.
#include "include/hook.h"
#include "include/origin.h"

// --- Ends -----------------------------------------------------------------------------------------------------------

static __always_inline int is_moving(struct sk_buff *skb, const struct identity *id)
{
	__u64 key = (__u64)skb;

	return id->moves && bpf_map_lookup_elem(&moving, &key);
}

static __always_inline void forget(struct sk_buff *skb)
{
	__u64 head = (__u64)skb->head;

	if (filters && drop_refusal(head))
		return;
	drop_identity(head);
}

static __always_inline void release(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct identity id;

	if (!known(skb, &id) || is_moving(skb, &id))
		return;
	if (id.waits)
		bpf_map_delete_elem(&waiting, &key);
	report(KIND_RELEASED, &id, (__u64)skb, 0, 0);
}

// Another skb takes over the data. If TCP is at work on this one, that one is in the socket's queue.
static __always_inline void absorb(struct sk_buff *skb)
{
	__u64 key = (__u64)skb, netns;
	struct identity id;
	struct wait *w;

	if (!known(skb, &id))
		return;
	w = bpf_map_lookup_elem(&waiting, &key);
	if (!w || w->what != WAITS_FOR_TCP) {
		report(KIND_ABSORBED, &id, (__u64)skb, 0, 0);
		return;
	}
	netns = w->netns;
	bpf_map_delete_elem(&waiting, &key);
	report(KIND_ENQUEUED, &id, (__u64)skb, 0, netns);
}

// Every way of freeing an skb comes through here, clones included; the data lives on while other clones hold it. While
// a head is being exchanged, the skb lets go of the old one only.
HOOK(PART_REPORTS, "fentry/skb_release_data", skb_release_data, struct sk_buff *skb)
{
	release(skb);
	return 0;
}

// The last holder let go: what is allocated at this address next is another packet.
HOOK(PART_ENDS, "fentry/skb_free_head", skb_free_head, struct sk_buff *skb)
{
	forget(skb);
	return 0;
}

// Called after skb_try_coalesce has moved the data to another skb, by TCP, by reassembly and by TCP's backlog. If the head is
// stolen, it becomes a page fragment of the other skb, and this one is freed without it.
HOOK(PART_ENDS, "fentry/kfree_skb_partial", kfree_skb_partial, struct sk_buff *skb, _Bool head_stolen)
{
	absorb(skb);
	if (head_stolen) {
		release(skb);
		forget(skb);
	}
	return 0;
}

// This and the next are NAPI's, and run in softirqs.
SEC("fentry/napi_skb_free_stolen_head")
int BPF_PROG(napi_skb_free_stolen_head, struct sk_buff *skb)
{
	absorb(skb);
	release(skb);
	forget(skb);
	return 0;
}

// The driver takes the skb back, head and all, for its next packet.
SEC("fentry/napi_reuse_skb")
int BPF_PROG(napi_reuse_skb, void *napi, struct sk_buff *skb)
{
	release(skb);
	forget(skb);
	return 0;
}

// A read skb is parked for the CPU that allocated it, and freed by a softirq there, any time later. Its journey is over.
HOOK(PART_REPORTS, "fentry/skb_attempt_defer_free", skb_attempt_defer_free, struct sk_buff *skb)
{
	release(skb);
	return 0;
}

// --- Births: a head that is born while still known is an end that went unseen -----------------------------------------

static __always_inline void born(__u64 head)
{
	struct identity *id;
	__u32 scope;

	if (!head)
		return;
	if (filters)
		drop_refusal(head); // nobody lost anything
	id = identity_at(head);
	if (!id)
		return;
	scope = id->scope;
	drop_identity(head);
	lost(scope, LOSS_MISSED_END);
}

SEC("fexit/kmalloc_reserve")
int kmalloc_reserve(__u64 *ctx)
{
	__u64 head = 0;

	bpf_get_func_ret(ctx, &head);
	born(head);
	return 0;
}

SEC("fentry/__build_skb_around")
int BPF_PROG(build_skb_around, struct sk_buff *skb, void *data)
{
	born((__u64)data);
	return 0;
}

// --- Moves: the packet gets a new head, on success only -----------------------------------------------------------------

static __always_inline void begin_move(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct identity id, *kept;

	if (filters && is_refused((__u64)skb->head)) {
		__builtin_memset(&id, 0, sizeof(id));
		if (bpf_map_update_elem(&moving, &key, &id, BPF_ANY))
			__sync_fetch_and_add(&forgotten_refusals, 1);
		return;
	}
	kept = known(skb, &id);
	if (!kept)
		return;
	if (bpf_map_update_elem(&moving, &key, &id, BPF_ANY))
		lost(id.scope, LOSS_PENDING_FULL);
	else
		kept->moves = 1;
}

static __always_inline void end_move(struct sk_buff *skb, int error)
{
	__u64 key = (__u64)skb, head;
	struct identity *old = bpf_map_lookup_elem(&moving, &key), id;

	if (!old)
		return;
	id = *old;
	bpf_map_delete_elem(&moving, &key);
	if (error)
		return;
	head = (__u64)skb->head;
	if (!id.scope)
		refuse(head);
	else if (keep_identity(head, &id, BPF_ANY))
		lost(id.scope, LOSS_IDENTITIES_FULL);
}

HOOK(PART_ENDS, "fentry/pskb_expand_head", pskb_expand_head, struct sk_buff *skb)
{
	begin_move(skb);
	return 0;
}

HOOK(PART_ENDS, "fexit/pskb_expand_head", pskb_expand_head_exit, struct sk_buff *skb, int nhead, int ntail, unsigned int gfp, int error)
{
	end_move(skb, error);
	return 0;
}

HOOK(PART_ENDS, "fentry/pskb_carve_inside_header", pskb_carve_inside_header, struct sk_buff *skb)
{
	begin_move(skb);
	return 0;
}

HOOK(PART_ENDS, "fexit/pskb_carve_inside_header", pskb_carve_inside_header_exit, struct sk_buff *skb, __u32 off, int headlen, unsigned int gfp, int error)
{
	end_move(skb, error);
	return 0;
}

HOOK(PART_ENDS, "fentry/pskb_carve_inside_nonlinear", pskb_carve_inside_nonlinear, struct sk_buff *skb)
{
	begin_move(skb);
	return 0;
}

HOOK(PART_ENDS, "fexit/pskb_carve_inside_nonlinear", pskb_carve_inside_nonlinear_exit, struct sk_buff *skb, __u32 off, int pos, unsigned int gfp, int error)
{
	end_move(skb, error);
	return 0;
}

// --- Origins: on the way out, skb->sk is the sending socket ---------------------------------------------------------------
// A probe at the same function may have run before and given the identity; it does not matter which is first.

HOOK(PART_REPORTS, "fentry/__ip_local_out", ip_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return sending(ctx, skb, 1);
}

HOOK(PART_REPORTS, "fentry/__ip6_local_out", ip6_local_out, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return sending(ctx, skb, 1);
}

// Frames sent raw, ARP, and whatever else does not come through IP.
HOOK(PART_REPORTS, "fentry/__dev_queue_xmit", dev_queue_xmit, struct sk_buff *skb)
{
	return sending(ctx, skb, 0);
}

HOOK(PART_REPORTS, "fentry/__dev_direct_xmit", dev_direct_xmit, struct sk_buff *skb)
{
	return sending(ctx, skb, 0);
}
