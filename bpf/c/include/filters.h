// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Filters: which of the packets in scope are followed. They are asked once, when a packet is first seen. What they refuse is
// remembered as long as its head lives: so NAT makes nothing new of it, and it is not asked about again at each hop.
#ifndef WAYBILL_FILTERS_H
#define WAYBILL_FILTERS_H

#include "maps.h"
#include "pages.h"

enum filter_kind {
	FILTER_BY_PACKET = 1,
	FILTER_BY_META = 2,
};

// Which there are. Set before loading, so that programs without filters are as if this file were empty.
volatile const __u32 filters;

// --- Refusals -----------------------------------------------------------------------------------------------------------

// Heads of packets that were refused, each in the slot of its class, where it is found with one look. If another head is in
// there, it goes into the map behind.
enum { REFUSALS = 1 << 14 };
volatile __u64 refusals[REFUSALS];

// key: skb->head; value: nothing. Deleted when the head is freed. The size is what two packets of one class make unlikely.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PACKETS);
	__type(key, __u64);
	__type(value, __u32);
} more_refusals SEC(".maps");

// How many are in that map, or more: what user space deletes is not counted down.
volatile __u32 refused_more;

// Refusals that were not remembered, so that the packet may be asked about again, and taken for one that was not seen before.
// Read by user space.
volatile __u64 forgotten_refusals;

static __always_inline volatile __u64 *refusal_of(__u64 head)
{
	__u32 low = low_half_of(head), slot = (low >> 6) ^ (low >> 18);

	asm volatile("" : "+r"(slot)); // or the compiler mixes it with other arithmetic, and 6.1 does not see the bound
	return &refusals[slot % REFUSALS];
}

static __always_inline int is_refused(__u64 head)
{
	return *refusal_of(head) == head || (refused_more && bpf_map_lookup_elem(&more_refusals, &head));
}

static __always_inline void refuse(__u64 head)
{
	__u64 old = __sync_val_compare_and_swap(refusal_of(head), 0, head);
	__u32 nothing = 0;
	int error; // see keep_identity

	if (!old || old == head)
		return;
	__sync_fetch_and_add(&refused_more, 1);
	error = bpf_map_update_elem(&more_refusals, &head, &nothing, BPF_NOEXIST);
	if (!error)
		return;
	__sync_fetch_and_add(&refused_more, -1);
	if (error != -EEXIST)
		__sync_fetch_and_add(&forgotten_refusals, 1);
}

// Forgets a refusal. Returns whether there was one.
static __always_inline int drop_refusal(__u64 head)
{
	volatile __u64 *slot = refusal_of(head);
	int found = 0;

	if (*slot == head) {
		*slot = 0;
		found = 1;
	}
	if (refused_more && !bpf_map_delete_elem(&more_refusals, &head)) {
		__sync_fetch_and_add(&refused_more, -1);
		found = 1;
	}
	return found;
}

// --- What is asked about ------------------------------------------------------------------------------------------------

#define ETH_HLEN 14	     // include/uapi/linux/if_ether.h
#define ARPHRD_ETHER 1	     // include/uapi/linux/if_arp.h
#define ARPHRD_LOOPBACK 772
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

enum { LONGEST_PACKET = 65535 }; // that a header of IP can tell

static __always_inline int has_tag(struct sk_buff *skb)
{
	const struct sk_buff___vlan_bit *old = (const void *)skb;

	if (bpf_core_field_exists(old->vlan_present))
		return BPF_CORE_READ_BITFIELD_PROBED(old, vlan_present);
	return skb->vlan_proto || skb->vlan_tci;
}

static __always_inline int encloses(__u32 mac, __u32 network)
{
	return mac + ETH_HLEN <= network && network - mac <= LONGEST_MAC;
}

// Finds out where the packet begins, and what with. On its way out it has no protocol until its headers are complete, and in
// places of its headers there may be anything; but on_way_out says that only the lengths are missing. On its way in, the
// network header may not be set yet; then the data begins where it will be. What a device is given begins with its header
// earlier than that is noted.
static __noinline void find_start(struct filter_input *in, struct sk_buff *skb, struct net_device *dev, int on_way_out)
{
	__u32 network = skb->network_header, mac = skb->mac_header, tail = skb->tail, start = network;
	__u64 head = 0, data = 0;
	__u16 protocol = __builtin_bswap16(skb->protocol);
	int ethernet = !dev || dev->type == ARPHRD_ETHER || dev->type == ARPHRD_LOOPBACK;

	in->link = FILTER_NO_LINK;
	in->shared = 0;
	in->linear = in->skip = in->len = in->have = 0;

	bpf_core_read(&head, sizeof(head), &skb->head);
	bpf_core_read(&data, sizeof(data), &skb->data);
	data -= head;
	if (on_way_out) {
		in->link = FILTER_IP;
	} else if (ethernet && mac != MAC_UNSET && (data == mac || data == mac + ETH_HLEN || (protocol && encloses(mac, network)))) {
		in->link = FILTER_ETHERNET;
		start = mac;
	} else if (!protocol) {
		return;
	} else if (ethernet && data + ETH_HLEN == network) {
		in->link = FILTER_ETHERNET;
		start = data;
	} else if (protocol == ETH_P_IP || protocol == ETH_P_IPV6) {
		in->link = FILTER_IP;
	} else {
		return;
	}
	in->start = head + start;
	if (tail > start)
		in->linear = tail - start;
	else
		in->skip = start - tail;
	in->len = in->linear;
	if (skb->data_len > in->skip) {
		in->len += skb->data_len - in->skip;
		in->shared = head + skb->end;
	}
	in->vlan = has_tag(skb);
	in->vlan_tci = skb->vlan_tci;
}

// Fills in the lengths that IP fills in just afterwards (__ip_local_out in net/ipv4/ip_output.c, __ip6_local_out in
// net/ipv6/output_core.c).
static __always_inline void complete(struct filter_input *in)
{
	__u32 len = in->len;

	if (in->snapshot[0] >> 4 == 4) {
		*(__u16 *)&in->snapshot[2] = len > LONGEST_PACKET ? 0 : __builtin_bswap16(len);
	} else {
		len -= 40;
		*(__u16 *)&in->snapshot[4] = len > LONGEST_PACKET ? 0 : __builtin_bswap16(len);
	}
}

// Where no function tells the end of page fragments, what the next packet in one is must not depend on this one: it is asked
// about at each sight.
static __noinline void remember_refusal(struct sk_buff *skb)
{
	__u64 head = (__u64)skb->head;
	const struct identity *id;

	if (BY_ALLOCATOR && BPF_CORE_READ_BITFIELD(skb, head_frag))
		return;
	refuse(head);
	// Another CPU may have asked about a clone meanwhile, whose metadata may differ. Then the packet is followed.
	id = identity_at(head);
	if (id && id->first_seen)
		drop_refusal(head);
}

// What the filters are asked about, for which there is no room on the stack. Each CPU has a few, because a program may be
// interrupted, or where the kernel preempts (7.x) put off, by others that ask too; many CPUs share them.
enum {
	QUESTIONS = 4,
	QUESTION_CPUS = 64,
};

struct question {
	__u64 busy;
	__u32 scope;
	__u32 on_way_out;
	struct filter_input in;
};
struct question questions[QUESTIONS][QUESTION_CPUS];

static __always_inline struct question *take_question(void)
{
	__u32 cpu = bpf_get_smp_processor_id() % QUESTION_CPUS;

#pragma unroll
	for (int i = 0; i < QUESTIONS; i++)
		if (!__sync_val_compare_and_swap(&questions[i][cpu].busy, 0, 1))
			return &questions[i][cpu];
	return 0;
}

// If one of the filters says no, it does not matter what the other does not know.
static __always_inline int ask(struct question *q, struct sk_buff *skb, struct net_device *dev)
{
	struct filter_input *in = &q->in;
	int verdict = FILTER_MATCH, other;

	in->skb = (__u64)skb;
	in->link = FILTER_IP;
	if (filters & FILTER_BY_META)
		verdict = filter_meta(in);
	if (filters & FILTER_BY_PACKET && verdict != FILTER_NO_MATCH) {
		find_start(in, skb, dev, q->on_way_out);
		read_snapshot(in);
		if (q->on_way_out)
			complete(in);
		other = filter_packet(in);
		if (other != FILTER_MATCH)
			verdict = other;
	}
	return verdict;
}

// Tells whether the packet is to be followed. A no is remembered; if the answer is not known, the next sight is another chance.
// It is no part of its callers, whose stacks are full.
static __noinline int admits(struct sk_buff *skb, struct net_device *dev, __u32 scope, int on_way_out)
{
	struct question *q = take_question();
	int verdict;

	if (!q) {
		lost(scope, LOSS_UNDECIDED);
		return 0;
	}
	q->scope = scope;
	q->on_way_out = on_way_out;
	verdict = ask(q, skb, dev);
	if (verdict == FILTER_NO_MATCH)
		remember_refusal(skb);
	else if (verdict != FILTER_MATCH)
		lost(q->scope, q->in.link ? LOSS_UNDECIDED : LOSS_INCOMPLETE);
	asm volatile("" ::: "memory");
	q->busy = 0;
	return verdict == FILTER_MATCH;
}

#endif
