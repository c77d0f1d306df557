// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Returns: what the functions that a user asked for gave back. When a function returns, the packet that it was called
// with may be freed, and its memory be another packet's. So the packet is identified at the entry, and what was found is
// kept for the return, which uses the skb as a number only.
//
// A call is known by the place on the stack where the kernel's trampoline keeps the arguments: it is the context of the
// entry's program and of the return's alike, and no two calls under way have the same, however they nest and on whatever
// CPU they end. That holds for fentry and fexit only, wherever the tracker works (5.17, for bpf_get_func_ret).
#include "include/hook.h"
#include "include/sections.h"

struct frame {
	__u64 ctx;
	__u64 task;
	__u64 probe; // of several at one function
};

// A function at work on a packet.
struct work {
	struct identity id;
	__u64 skb;
	__u64 netns; // cookie, 0 if unknown
	__u64 len;   // skb->len
};

// key: a call under way; value: the packet it was called with. Deleted when it returns. The size bounds calls under way,
// those that sleep included.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, struct frame);
	__type(value, struct work);
} works SEC(".maps");

static __always_inline struct frame frame_of(__u64 *ctx)
{
	struct frame frame = {
		.ctx = (__u64)ctx,
		.task = bpf_get_current_task(),
		.probe = bpf_get_attach_cookie(ctx),
	};

	return frame;
}

// With tells, what the packet looks like is told now, because it cannot be at the return.
static __always_inline int begin_work(__u64 *ctx, __u64 argument, int tells)
{
	struct sk_buff *skb = (struct sk_buff *)argument;
	struct frame frame = frame_of(ctx);
	struct work *stale;
	struct subject s;

	// A call whose return was not seen stood here. The kernel skips the programs of calls that are under way when
	// somebody else attaches to their function.
	stale = bpf_map_lookup_elem(&works, &frame);
	if (stale) {
		lost(stale->id.scope, LOSS_RETURN);
		bpf_map_delete_elem(&works, &frame);
	}
	if (!argument || !identify_for(ctx, &s, skb, !!(frame.probe & COOKIE_ON_WAY_OUT)))
		return 0;
	if (tells) {
		struct look l;

		s.id.look = tell_news(&s, &l);
	}
	{
		struct work work = {
			.id = s.id,
			.skb = argument,
			.netns = s.netns,
			.len = s.skb->len,
		};

		if (bpf_map_update_elem(&works, &frame, &work, BPF_ANY))
			lost(s.id.scope, LOSS_PENDING_FULL);
	}
	return 0;
}

HOOK(PART_EVENTS, "fentry/function", call_arg0)
{
	return begin_work(ctx, ctx[0], 0);
}

HOOK(PART_EVENTS, "fentry/function", call_arg1)
{
	return begin_work(ctx, ctx[1], 0);
}

HOOK(PART_EVENTS, "fentry/function", call_arg2)
{
	return begin_work(ctx, ctx[2], 0);
}

HOOK(PART_EVENTS, "fentry/function", call_arg3)
{
	return begin_work(ctx, ctx[3], 0);
}

HOOK(PART_EVENTS, "fentry/function", call_arg4)
{
	return begin_work(ctx, ctx[4], 0);
}

// What a register holds beyond the width of the function's type means nothing.
static __always_inline __u64 as_declared(__u64 value, __u64 cookie)
{
	__u64 shift = cookie / COOKIE_SHIFT & 63;

	value <<= shift;
	return cookie & COOKIE_SIGNED ? (__u64)((__s64)value >> shift) : value >> shift;
}

HOOK(PART_EVENTS, "fexit/function", call_return)
{
	struct frame frame = frame_of(ctx);
	__u64 cookie = frame.probe, value = 0;
	struct work *found = bpf_map_lookup_elem(&works, &frame);
	struct work work;
	struct header *h;

	if (!found)
		return 0;
	work = *found;
	bpf_map_delete_elem(&works, &frame);
	h = reserve(ctx, cookie, sizeof(*h));
	if (!h) {
		lost(work.id.scope, LOSS_RING_FULL);
		return 0;
	}
	if (cookie & COOKIE_VALUE) {
		bpf_get_func_ret(ctx, &value);
		value = as_declared(value, cookie);
	}
	fill_header(h, KIND_RETURNED, &work.id, work.skb, value);
	h->has = !!(cookie & COOKIE_VALUE) | stack_of(cookie);
	h->probe = cookie;
	h->netns = work.netns;
	bpf_ringbuf_submit(h, 0);
	return 0;
}
