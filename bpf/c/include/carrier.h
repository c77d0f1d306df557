// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Identity on the tier of tracepoints, where no function tells of the data's end. The allocator does: what skb->head points
// to was allocated by kmalloc or from a cache, and is freed by kfree or kmem_cache_free, each with a tracepoint. So the
// identity of a head ends exactly. What it does not tell by itself:
//
//  - That a packet goes on in another head (pskb_expand_head and its like). The new head is born in there and the old one
//    is freed there, both of which is seen, with the stack: so the identity moves. If a clone still holds the old head, it is
//    not freed. Then the packet is known by its skb, if that was seen before and its packet was not freed since. If it was
//    not seen before, the packet is taken for a new one, and that is counted.
//  - The end of a page fragment, which drivers, XDP and tun make heads of (skb->head_frag). Such a packet is known as long
//    as the skb that it was first seen in carries it there; and since what it was before is never known, each is counted.
#ifndef WAYBILL_CARRIER_H
#define WAYBILL_CARRIER_H

// An skb, and the packet that it carried when it was last seen.
struct carrier {
	__u64 first_seen;
	__u64 first_head;
	__u64 head;
	__u32 scope;
	__u16 state; // enum carrier_state
	__u16 originated;
};

enum carrier_state {
	CARRIER_ENDING = 1, // it is being freed, or has been: what is seen at this address with another head is another skb
	CARRIER_QUEUED = 2, // it was reported to be in a socket's queue
};

// key: skb; value: the packet in it. Deleted when the skb is freed. Not all frees are seen where they happen, so some stay until
// the address is in use again; the size is twice that of the packets alive, for clones and these.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * MAX_PACKETS);
	__type(key, __u64);
	__type(value, struct carrier);
} carriers SEC(".maps");

// A head that was born to take over a packet's data, and was not seen yet, has an identity that began at no time.
static __always_inline int is_exchanged(const struct identity *id) { return !id->first_seen; }

static __always_inline __u8 in_fragment(struct sk_buff *skb) { return BPF_CORE_READ_BITFIELD(skb, head_frag); }

static __always_inline void carry(struct sk_buff *skb, const struct identity *id)
{
	struct carrier c = {
		.first_seen = id->first_seen,
		.first_head = id->first_head,
		.head = (__u64)skb->head,
		.scope = id->scope,
		.originated = id->originated,
	};
	__u64 key = (__u64)skb;

	if (bpf_map_update_elem(&carriers, &key, &c, BPF_ANY))
		lost(id->scope, LOSS_IDENTITIES_FULL);
}

static __always_inline void set_originated(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct carrier *c = bpf_map_lookup_elem(&carriers, &key);

	if (c)
		c->originated = 1;
}

static __always_inline int carries(const struct carrier *c, const struct identity *id)
{
	return c->first_seen == id->first_seen && c->first_head == id->first_head;
}

static __always_inline void report(__u8 kind, const struct identity *id, __u64 skb, __u64 value, __u64 netns);

// Reports that an skb has let go of its packet.
static __always_inline void end_carrying(__u64 skb, struct carrier *c)
{
	struct identity id = {.first_seen = c->first_seen, .first_head = c->first_head, .scope = c->scope};

	if (c->state & CARRIER_ENDING)
		return;
	c->state |= CARRIER_ENDING;
	report(KIND_RELEASED, &id, skb, 0, 0);
}

// The packet of a living skb goes on in a new head.
static __always_inline struct identity *go_on(struct sk_buff *skb, struct carrier *c, struct identity *id)
{
	__u64 head = (__u64)skb->head;

	__builtin_memset(id, 0, sizeof(*id));
	id->first_seen = c->first_seen;
	id->first_head = c->first_head;
	id->scope = c->scope;
	id->originated = c->originated;
	if (keep_identity(head, id, BPF_ANY)) {
		lost(id->scope, LOSS_IDENTITIES_FULL);
		return 0;
	}
	c->head = head;
	return identity_at(head);
}

// An skb may be freed where nobody sees it, but not without its packet, unless a clone has that too.
static __always_inline int lives(const struct carrier *c)
{
	const struct identity *id = identity_at(c->head);

	return !(c->state & CARRIER_ENDING) && id && carries(c, id);
}

static __noinline struct identity *known_by_carrier(struct sk_buff *skb, struct identity *found, struct identity *id)
{
	__u64 key = (__u64)skb;
	struct carrier *c = bpf_map_lookup_elem(&carriers, &key);

	if (found && is_exchanged(found)) {
		if (c && lives(c))
			return go_on(skb, c, id);
	} else if (found && in_fragment(skb) == found->fragment) {
		*id = *found;
		if (c && carries(c, id)) {
			c->head = (__u64)skb->head;
			if (!found->fragment || !(c->state & CARRIER_ENDING))
				return found;
		} else if (!found->fragment) { // a clone, or an skb that has taken over another's data (skb_morph)
			if (c)
				end_carrying(key, c);
			carry(skb, id);
			return found;
		}
	}
	if (c)
		end_carrying(key, c); // it carries something else now
	return 0;
}

// Notes what carries a new packet, and counts it if it may be none.
static __always_inline void begin_carrying(struct sk_buff *skb, struct identity *id)
{
	const struct identity *found = identity_at((__u64)skb->head);

	id->fragment = in_fragment(skb);
	if (id->fragment)
		lost(id->scope, LOSS_FRAGMENT);
	else if (found && is_exchanged(found))
		lost(id->scope, LOSS_EXCHANGED);
	carry(skb, id);
}

#endif
