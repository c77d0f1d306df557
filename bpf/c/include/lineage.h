// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What packets have to do with each other: one is made of another's data, goes on as a part of another, or is sent because of
// another.
#ifndef WAYBILL_LINEAGE_H
#define WAYBILL_LINEAGE_H

#include "maps.h"

// Where code runs: a task, on its own stack or interrupted on that of interrupts. A softirq that comes when a task enables it again
// runs on the other stack, so what it does is not taken for the task's.
struct place_of_work {
	__u64 task;
	__u64 own_stack;
};

// The packet that the kernel is at work on, and what another one is to it that is first seen there.
struct in_hand {
	struct identity id;
	__u64 skb;
	__u32 relation; // enum relation
	__u32 depth;	// where on the stack that work began, low half of the address
};

enum { MAX_IN_HAND = 1024 }; // places of work, a few for each CPU

// key: where; value: what is in hand there. Deleted when the function returns that has it in hand.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_IN_HAND);
	__type(key, struct place_of_work);
	__type(value, struct in_hand);
} in_hand SEC(".maps");

struct set_aside {
	struct place_of_work place;
	__u64 skb;
};

// key: a packet in hand; value: the one that was in hand before, and will be again. nftables rejects a packet from within its hook
// by sending an ICMP error, which passes hooks of its own.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_IN_HAND);
	__type(key, struct set_aside);
	__type(value, struct in_hand);
} set_aside SEC(".maps");

// How many packets are in hand: without any, nobody needs to look. Counted up before one is put into the map, and down after it was
// taken out.
volatile __u32 hands;

#define OWN_STACK (1 << 14) // THREAD_SIZE, arch/x86/include/asm/page_64_types.h

static __always_inline struct place_of_work place_of(const void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct place_of_work place = {.task = (__u64)task};

	place.own_stack = low_half_of((__u64)ctx) - (__u32)(__u64)BPF_CORE_READ(task, stack) < OWN_STACK;
	return place;
}

static __always_inline void tell_link(const struct identity *id, __u64 skb, enum relation relation, const struct identity *other)
{
	struct link_record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);

	if (!r) {
		lost(id->scope, LOSS_RING_FULL);
		return;
	}
	fill_header(&r->h, KIND_LINKED, id, skb, relation);
	r->first_seen = other->first_seen;
	r->first_head = other->first_head;
	bpf_ringbuf_submit(r, wake(0));
}

// Tells because of which packet another one is sent, that was just seen for the first time.
static __always_inline void tell_cause(const void *ctx, const struct identity *id, __u64 skb)
{
	struct place_of_work place;
	struct in_hand *cause;

	if (!hands)
		return;
	place = place_of(ctx);
	cause = bpf_map_lookup_elem(&in_hand, &place);
	// If the end of that work was missed, it may seem to go on. What is done in it is deeper on the stack.
	if (cause && cause->skb != skb && low_half_of((__u64)ctx) < cause->depth)
		tell_link(id, skb, cause->relation, &cause->id);
}

static __always_inline void take_in_hand(const void *ctx, struct sk_buff *skb, enum relation relation)
{
	struct in_hand now = {.skb = (__u64)skb, .relation = relation, .depth = low_half_of((__u64)ctx)}, *before;
	struct place_of_work place;

	if (!known(skb, &now.id))
		return;
	place = place_of(ctx);
	before = bpf_map_lookup_elem(&in_hand, &place);
	if (before) {
		struct set_aside key = {.place = place, .skb = (__u64)skb};
		struct in_hand copy = *before;

		if (bpf_map_update_elem(&set_aside, &key, &copy, BPF_ANY))
			lost(now.id.scope, LOSS_PENDING_FULL);
	} else {
		__sync_fetch_and_add(&hands, 1);
	}
	if (bpf_map_update_elem(&in_hand, &place, &now, BPF_ANY)) {
		if (!before)
			__sync_fetch_and_add(&hands, -1);
		lost(now.id.scope, LOSS_PENDING_FULL);
	}
}

// The skb may be gone: it is used as a number only.
static __always_inline void lay_down(const void *ctx, struct sk_buff *skb)
{
	struct place_of_work place;
	struct in_hand *now, *before, copy;
	struct set_aside key;

	if (!hands)
		return;
	place = place_of(ctx);
	now = bpf_map_lookup_elem(&in_hand, &place);
	if (!now || now->skb != (__u64)skb)
		return;
	key = (struct set_aside){.place = place, .skb = (__u64)skb};
	before = bpf_map_lookup_elem(&set_aside, &key);
	if (before) {
		copy = *before;
		bpf_map_delete_elem(&set_aside, &key);
		bpf_map_update_elem(&in_hand, &place, &copy, BPF_EXIST);
	} else if (!bpf_map_delete_elem(&in_hand, &place)) {
		__sync_fetch_and_add(&hands, -1);
	}
}

#endif
