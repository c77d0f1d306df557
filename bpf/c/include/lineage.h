// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What packets have to do with each other: one is made of another's data, goes on as a part of another, or is sent because of
// another.
#ifndef WAYBILL_LINEAGE_H
#define WAYBILL_LINEAGE_H

#include "call.h"

// The packets that the kernel is at work on, and what others are to them that are first seen meanwhile.
struct call in_hand[CALLS];

// By the stack that they are on: the number of the innermost of them, from 1, 0 if there is none. nftables rejects a packet from within
// its hook by sending an ICMP error, which passes hooks of its own. A softirq that comes when a task enables it again runs on another
// stack, so what it does is not taken for the task's.
enum { STACKS = 1 << 14 };
__u32 innermost[STACKS];

static __always_inline volatile __u32 *innermost_at(__u32 frame)
{
	return &innermost[((frame >> STACK_SHIFT) * 0x9e3779b1u >> 18) % STACKS];
}

static __always_inline int same_stack(__u32 one, __u32 other)
{
	return one >> STACK_SHIFT == other >> STACK_SHIFT;
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

// Returns the call in which the kernel is at work on a packet, that the program runs in; NULL if there is none.
static __always_inline const struct call *work_around(const void *ctx)
{
	__u32 frame = low_half_of((__u64)ctx), number = *innermost_at(frame);
	const struct call *call = call_number(in_hand, number - 1);

	// If the end of that work was missed, it may seem to go on. What is done in it is deeper on the stack.
	return number && same_stack(call->frame, frame) && frame < call->frame ? call : 0;
}

// Tells because of which packet another one is sent, that was just seen for the first time.
static __always_inline void tell_cause(const void *ctx, const struct identity *id, __u64 skb)
{
	const struct call *cause = work_around(ctx);

	if (cause && cause->skb != skb)
		tell_link(id, skb, cause->relation, &cause->id);
}

static __always_inline void take_in_hand(const void *ctx, struct sk_buff *skb, enum relation relation)
{
	__u32 frame = low_half_of((__u64)ctx), number, outer;
	struct call *now, *other;
	struct identity id;

	if (!known(skb, &id))
		return;
	number = begin_call(in_hand, frame);
	if (!number) {
		lost(id.scope, LOSS_PENDING_FULL);
		return;
	}
	now = call_number(in_hand, number - 1);
	now->skb = (__u64)skb;
	now->relation = relation;
	now->len = skb->len;
	now->id = id;
	outer = __sync_lock_test_and_set(innermost_at(frame), number);
	now->outer = outer == number ? 0 : outer;
	// If the numbers of two stacks collide, the links of one of them are not told.
	other = call_number(in_hand, outer - 1);
	if (outer && other->frame && !same_stack(other->frame, frame)) {
		lost(id.scope, LOSS_PENDING_FULL);
		lost(other->id.scope, LOSS_PENDING_FULL);
	}
}

static __always_inline void lay_down(const void *ctx)
{
	__u32 frame = low_half_of((__u64)ctx), number = call_in(in_hand, frame);
	struct call *call = call_number(in_hand, number - 1);

	if (!number)
		return;
	*innermost_at(frame) = call->outer;
	call->frame = 0;
}

#endif
