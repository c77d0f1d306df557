// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Drops, and the barrier that tells how far the reader has come.
#include "include/hook.h"
#include "include/sections.h"

// Linux 6.11 added the receiving socket behind the reason; it is not needed.
HOOK(PART_REPORTS, "tp_btf/kfree_skb", kfree_skb, struct sk_buff *skb, void *location, __u32 reason)
{
	__u64 args[] = {(__u64)location};
	struct drop_event *d;
	struct subject s;

	if (!identify(ctx, &s, skb))
		return 0;
#if BY_ALLOCATOR
	drop_carried(&s);
#endif
	d = begin_event(ctx, &s, PROBE_KFREE_SKB | (drop_stacks ? COOKIE_STACK : 0), sizeof(*d));
	if (!d)
		return 0;
	d->e.h.has |= HAS_DROP;
	d->reason = reason;
	d->pad = 0;
	bpf_snprintf(d->location, sizeof(d->location), "%pS", args, sizeof(args));
	bpf_ringbuf_submit(d, wake(1));
	return 0;
}

// Only with filters, so that what a device receives is asked about as it is received, and not as NAT or a tunnel has made it
// when it comes by a probe.
HOOK(PART_REPORTS, "tp_btf/netif_receive_skb", at_netif_receive_skb, struct sk_buff *skb)
{
	struct subject s;

	identify(ctx, &s, skb);
	return 0;
}

struct barrier_args {
	__u64 number;
};

// Run on demand by user space, which has the reader read it: what was reserved before this record is read before it.
SEC("syscall")
int submit_barrier(struct barrier_args *args)
{
	struct header *h = bpf_ringbuf_reserve(&records, sizeof(*h), 0);
	struct identity nobody = {};

	if (!h)
		return 1;
	fill_header(h, KIND_BARRIER, &nobody, 0, args->number);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 0;
}
