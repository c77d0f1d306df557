// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Identity: which packet an skb carries. The key is skb->head, which clones share and header rewrites leave alone.
#ifndef WAYBILL_IDENTITY_H
#define WAYBILL_IDENTITY_H

#include "maps.h"

static __always_inline void fill_header_for(struct header *h, __u8 kind, const struct identity *id, __u64 skb, __u64 value,
					    __u32 pid)
{
	h->time = bpf_ktime_get_ns();
	h->first_seen = id->first_seen;
	h->first_head = id->first_head;
	h->skb = skb;
	h->value = value;
	h->netns = 0;
	h->scope = id->scope;
	h->cpu = bpf_get_smp_processor_id();
	h->pid = pid;
	h->probe = 0;
	h->kind = kind;
	h->has = 0;
}

static __always_inline void fill_header(struct header *h, __u8 kind, const struct identity *id, __u64 skb, __u64 value)
{
	fill_header_for(h, kind, id, skb, value, bpf_get_current_pid_tgid() >> 32);
}

// Reports something in the life of a packet.
static __always_inline void report(__u8 kind, const struct identity *id, __u64 skb, __u64 value, __u64 netns)
{
	struct header *h = bpf_ringbuf_reserve(&records, sizeof(*h), 0);

	if (!h) {
		lost(id->scope, LOSS_RING_FULL);
		return;
	}
	fill_header(h, kind, id, skb, value);
	h->netns = netns;
	bpf_ringbuf_submit(h, wake(1));
}

// The lowest inode number that the kernel gives to a namespace (PROC_DYNAMIC_FIRST, fs/proc/generic.c); the initial
// ones are just below (include/uapi/linux/nsfs.h).
#define FIRST_NS_INUM 0xEFFFFFF0u

static __always_inline int plausible(const struct net *net)
{
	return net && net->ns.inum >= FIRST_NS_INUM;
}

// skb->dev shares its place with other things: UDP keeps lengths there once the datagram is queued, TCP a tree node.
// So the device counts only if it leads to what can be a namespace. Loads through a wrong address read zero.
static __always_inline struct net_device *device_of(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;

	return dev && plausible(dev->nd_net.net) ? dev : 0;
}

// Netlink and unix sockets send skbs too, and those are not packets.
static __always_inline int sends_packets(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

static __always_inline struct net *netns_of(struct sk_buff *skb, struct net_device *dev)
{
	struct sock *sk;

	if (dev)
		return dev->nd_net.net;
	sk = skb->sk;
	if (!sk || !sends_packets(sk) || !plausible(sk->__sk_common.skc_net.net))
		return 0;
	return sk->__sk_common.skc_net.net;
}

// One packet at one probe.
struct subject {
	struct sk_buff *skb;
	struct net_device *dev; // NULL if unknown
	struct net *net;	// NULL if unknown
	struct identity id;
	// Where the identity is kept: for notes about it, not for reading it again. If the packet ends on another CPU meanwhile, it
	// is another packet's by now.
	struct identity *kept;
};

static __always_inline struct identity *known(struct sk_buff *skb, struct identity *id)
{
	__u64 head = (__u64)skb->head;
	struct identity *found = bpf_map_lookup_elem(&identities, &head);

	if (found)
		*id = *found;
	return found;
}

// Finds the packet's identity, or gives it one if its namespace is in scope. A known packet is followed wherever it is.
// Returns 0 if the packet is nobody's.
static __always_inline int identify(struct subject *s, struct sk_buff *skb)
{
	__u64 head, netns;
	__u32 *scope;

	s->skb = skb;
	s->dev = device_of(skb);
	s->net = netns_of(skb, s->dev);
	s->kept = known(skb, &s->id);
	if (s->kept)
		return 1;
	if (!s->net)
		return 0;
	netns = s->net->net_cookie;
	scope = bpf_map_lookup_elem(&scopes, &netns);
	if (!scope)
		return 0;
	head = (__u64)skb->head;
	s->id.first_seen = bpf_ktime_get_ns();
	s->id.first_head = head;
	s->id.scope = *scope;
	s->id.look = 0;
	s->id.tid = s->id.pad = 0;
	s->id.originated = s->id.parked = s->id.waits = s->id.moves = 0;
	if (bpf_map_update_elem(&identities, &head, &s->id, BPF_ANY)) {
		lost(s->id.scope, LOSS_IDENTITIES_FULL);
		return 0;
	}
	s->kept = bpf_map_lookup_elem(&identities, &head);
	return s->kept != 0;
}

#endif
