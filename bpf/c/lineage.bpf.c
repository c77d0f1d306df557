// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Lineage: the links between packets. Always attached, by fentry and fexit like the lifetimes. Some of these functions run with
// softirqs disabled always, so that no other packet's can interrupt them on their CPU: they do with one program.
#include "include/hook.h"
#include "include/identity.h"

// --- Data that is copied or divided -------------------------------------------------------------------------------------

// The new skb has its own data, made of that of a known packet. What becomes of it is followed, whatever the filters say.
static __always_inline void derive(__u64 skb, __u64 head, enum relation relation, const struct identity *of)
{
	struct identity *kept = identity_at(head), id;

	if (kept) {
		id = *kept;
		if (id.first_seen == of->first_seen && id.first_head == of->first_head)
			return; // a clone
	} else {
		__builtin_memset(&id, 0, sizeof(id));
		id.first_seen = bpf_ktime_get_ns();
		id.first_head = head;
		id.scope = of->scope;
		if (filters)
			drop_refusal(head);
		if (keep_identity(head, &id, BPF_NOEXIST)) {
			lost(id.scope, LOSS_IDENTITIES_FULL);
			return;
		}
	}
	tell_link(&id, skb, relation, of);
}

static __always_inline int derived(struct sk_buff *skb, enum relation relation, struct sk_buff *of)
{
	struct identity id;

	if (known(of, &id))
		derive((__u64)skb, (__u64)skb->head, relation, &id);
	return 0;
}

// Called with the new skb complete, for every copy with data of its own: skb_copy, pskb_copy, skb_copy_expand, and where veth gives
// XDP a packet that it may write to (net/core/skbuff.c, drivers/net/veth.c).
HOOK(PART_REPORTS, "fentry/skb_copy_header", skb_copy_header, struct sk_buff *new, struct sk_buff *old)
{
	return derived(new, RELATION_COPY, old);
}

HOOK(PART_REPORTS, "fentry/ip_copy_metadata", ip_copy_metadata, struct sk_buff *to, struct sk_buff *from)
{
	return derived(to, RELATION_FRAGMENT, from);
}

HOOK(PART_REPORTS, "fentry/ip6_copy_metadata", ip6_copy_metadata, struct sk_buff *to, struct sk_buff *from)
{
	return derived(to, RELATION_FRAGMENT, from);
}

// TCP divides what it has to send, or to send again.
HOOK(PART_REPORTS, "fentry/skb_split", skb_split, struct sk_buff *skb, struct sk_buff *rest)
{
	return derived(rest, RELATION_PART, skb);
}

// A packet of 512 KiB in segments of 128 bytes makes as many; who makes more loses the rest.
enum { MAX_SEGMENTS = 4096 };

struct segments {
	const struct sk_buff *next;
	struct identity of;
};

static long derive_next(__u32 i, struct segments *s)
{
	const struct sk_buff *segment = s->next;

	if (!segment)
		return 1;
	derive((__u64)segment, (__u64)BPF_CORE_READ(segment, head), RELATION_SEGMENT, &s->of);
	s->next = BPF_CORE_READ(segment, next);
	return 0;
}

#define MAX_ERRNO 4095 // include/linux/err.h

HOOK(PART_REPORTS, "fexit/skb_segment", skb_segment_exit, struct sk_buff *skb, __u64 features, struct sk_buff *list)
{
	struct segments s = {};

	if (!list || (__u64)list >= (__u64)-MAX_ERRNO || !known(skb, &s.of))
		return 0;
	s.next = list;
	bpf_loop(MAX_SEGMENTS, derive_next, &s, 0);
	return 0;
}

// --- Data that becomes part of another packet's ---------------------------------------------------------------------------

static __always_inline int merged(struct sk_buff *into, struct sk_buff *skb)
{
	struct identity id, other;

	if (known(skb, &id) && known(into, &other) &&
	    (id.first_seen != other.first_seen || id.first_head != other.first_head))
		tell_link(&id, (__u64)skb, RELATION_MERGED, &other);
	return 0;
}

// TCP's queues, and reassembly.
HOOK(PART_REPORTS, "fexit/skb_try_coalesce", skb_try_coalesce_exit, struct sk_buff *to, struct sk_buff *from, void *stolen, void *delta,
     _Bool done)
{
	return done ? merged(to, from) : 0;
}

// GRO, which is NAPI's.
SEC("fexit/skb_gro_receive")
int BPF_PROG(skb_gro_receive_exit, struct sk_buff *into, struct sk_buff *skb, int error)
{
	return error ? 0 : merged(into, skb);
}

// --- What is sent because of a packet ------------------------------------------------------------------------------------

// While a protocol receives a packet, what it sends is an answer: echo replies, acknowledgements, resets, SYN-ACKs, neighbour
// advertisements. These are called by softirqs.
#define RECEIVES(function)                                                                                            \
	SEC("fentry/" #function) int BPF_PROG(function, struct sk_buff *skb)                                         \
	{                                                                                                             \
		take_in_hand(ctx, skb, RELATION_ANSWER);                                                              \
		return 0;                                                                                             \
	}                                                                                                             \
	SEC("fexit/" #function) int BPF_PROG(function##_exit, struct sk_buff *skb)                                   \
	{                                                                                                             \
		lay_down(ctx);                                                                                   \
		return 0;                                                                                             \
	}

RECEIVES(arp_rcv)
RECEIVES(icmp_rcv)
RECEIVES(icmpv6_rcv)
RECEIVES(tcp_v4_rcv)
RECEIVES(tcp_v6_rcv)

// The same for what is done with a packet by others, in whatever context.
#define HANDLES(function)                                                                                             \
	HOOK(PART_REPORTS, "fentry/" #function, function, struct sk_buff *skb)                                       \
	{                                                                                                             \
		take_in_hand(ctx, skb, RELATION_ANSWER);                                                              \
		return 0;                                                                                             \
	}                                                                                                             \
	HOOK(PART_REPORTS, "fexit/" #function, function##_exit, struct sk_buff *skb)                                 \
	{                                                                                                             \
		lay_down(ctx);                                                                                   \
		return 0;                                                                                             \
	}

// What came while the socket was in use is received by whoever used it.
HOOK(PART_REPORTS, "fentry/tcp_v4_do_rcv", tcp_v4_do_rcv, struct sock *sk, struct sk_buff *skb)
{
	take_in_hand(ctx, skb, RELATION_ANSWER);
	return 0;
}

HOOK(PART_REPORTS, "fexit/tcp_v4_do_rcv", tcp_v4_do_rcv_exit, struct sock *sk, struct sk_buff *skb)
{
	lay_down(ctx);
	return 0;
}

HOOK(PART_REPORTS, "fentry/tcp_v6_do_rcv", tcp_v6_do_rcv, struct sock *sk, struct sk_buff *skb)
{
	take_in_hand(ctx, skb, RELATION_ANSWER);
	return 0;
}

HOOK(PART_REPORTS, "fexit/tcp_v6_do_rcv", tcp_v6_do_rcv_exit, struct sock *sk, struct sk_buff *skb)
{
	lay_down(ctx);
	return 0;
}

// Errors.
HANDLES(__icmp_send)
HANDLES(icmp6_send)
// Rules that reject, and synproxy.
HANDLES(nf_hook_slow)
