// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Identity: which packet an skb carries. The key is skb->head, which clones share and header rewrites leave alone.
#ifndef WAYBILL_IDENTITY_H
#define WAYBILL_IDENTITY_H

#include "filters.h"
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
// So the device counts only if it leads to what can be a namespace. Loads through a wrong address read zero; if it is no
// address at all, by way of a fault, which costs as much as a whole event. The kernel's addresses are in the upper half.
static __always_inline struct net_device *device_of(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;

	return (__s64)dev < 0 && plausible(dev->nd_net.net) ? dev : 0;
}

// Netlink and unix sockets send skbs too, and those are not packets.
static __always_inline int sends_packets(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

#if BY_ALLOCATOR
#include "carrier.h"
#endif

// One packet at one probe.
struct subject {
	struct sk_buff *skb;
	struct net_device *dev; // NULL if unknown
	__u64 netns;		// cookie, 0 if unknown
	struct identity id;
	// Where the identity is kept: for notes about it, not for reading it again. If the packet ends on another CPU meanwhile, it
	// is another packet's by now.
	struct identity *kept;
};

#define DST_NOREF 1UL // SKB_DST_NOREF, include/linux/skbuff.h

// The namespace where an skb was routed; NULL if that is not known.
static __always_inline const struct net *routed_in(const struct sk_buff *skb)
{
	unsigned long dst = skb->_skb_refdst & ~DST_NOREF; // what TCP has queued has links of a list there
	const struct net *net;

	if ((__s64)dst >= 0)
		return 0;
	net = BPF_CORE_READ((struct dst_entry *)dst, dev, nd_net.net);
	return BPF_CORE_READ(net, ns.inum) >= FIRST_NS_INUM ? net : 0;
}

// Finds the namespace: the device's, or that of the socket that sends, or where the packet was routed. The last is all that there is
// of a reset by IPv6 before it is given to a device.
static __always_inline void find_netns(struct subject *s)
{
	const struct sock *sk;
	const struct net *net;

	if (s->dev) {
		s->netns = s->dev->nd_net.net->net_cookie;
		return;
	}
	s->netns = 0;
	sk = s->skb->sk;
	if (!sk) {
		net = routed_in(s->skb);
		s->netns = BPF_CORE_READ(net, net_cookie);
	} else if (sends_packets(sk) && plausible(sk->__sk_common.skc_net.net)) {
		s->netns = sk->__sk_common.skc_net.net->net_cookie;
	}
}

// The inode of the namespace that find_netns found.
static __always_inline __u32 inum_of(const struct subject *s)
{
	const struct sock *sk;
	const struct net *net;

	if (!s->netns)
		return 0;
	if (s->dev)
		return s->dev->nd_net.net->ns.inum;
	sk = s->skb->sk;
	if (sk)
		return sk->__sk_common.skc_net.net->ns.inum;
	net = routed_in(s->skb);
	return BPF_CORE_READ(net, ns.inum);
}

// Returns where the packet's identity is kept, after a copy of it was made; NULL if it has none.
static __always_inline struct identity *known(struct sk_buff *skb, struct identity *id)
{
	struct identity *found = identity_at((__u64)skb->head);

#if BY_ALLOCATOR
	return known_by_carrier(skb, found, id);
#endif
	if (found)
		*id = *found;
	return found;
}

#if !BY_ALLOCATOR
#include "lineage.h"
#endif

// Returns the scope that a namespace belongs to, 0 if to none.
static __always_inline __u32 scope_of(__u64 cookie)
{
	__u32 *scope;

	if (cookie < first_cookie || cookie > last_cookie)
		return 0;
	scope = bpf_map_lookup_elem(&scopes, &cookie);
	return scope ? *scope : everywhere;
}

// Finds the packet's identity, or gives it one if its namespace is in scope and the filters admit it. A known packet is
// followed wherever it is. Returns 0 if the packet is nobody's. on_way_out says that IP is about to send it (filters.h).
static __always_inline int identify_for(const void *ctx, struct subject *s, struct sk_buff *skb, int on_way_out)
{
	__u64 head = (__u64)skb->head;
	__u32 scope;
	int error;

	if (!BY_ALLOCATOR && filters && is_refused(head))
		return 0;
	s->skb = skb;
	s->dev = device_of(skb);
	find_netns(s);
	s->kept = known(skb, &s->id);
	if (s->kept)
		return 1;
	if (BY_ALLOCATOR && filters && is_refused(head)) // not earlier: what the skb carried before has ended
		return 0;
	scope = s->netns ? scope_of(s->netns) : 0;
	if (!scope || (filters && !admits(skb, s->dev, scope, on_way_out)))
		return 0;
	__builtin_memset(&s->id, 0, sizeof(s->id));
	s->id.first_seen = bpf_ktime_get_ns();
	s->id.first_head = head;
	s->id.scope = scope;
#if BY_ALLOCATOR
	begin_carrying(skb, &s->id);
#endif
	error = keep_identity(head, &s->id, BY_ALLOCATOR ? BPF_ANY : BPF_NOEXIST);
	if (error && error != -EEXIST) {
		lost(s->id.scope, LOSS_IDENTITIES_FULL);
		return 0;
	}
	if (filters)
		drop_refusal(head); // if another CPU asked about a clone, whose metadata may differ
	// If another CPU was first, with a clone, its identity counts.
	s->kept = BY_ALLOCATOR ? identity_at(head) : known(skb, &s->id);
#if !BY_ALLOCATOR
	if (!error)
		tell_cause(ctx, &s->id, (__u64)skb);
#endif
	return s->kept != 0;
}

static __always_inline int identify(const void *ctx, struct subject *s, struct sk_buff *skb)
{
	return identify_for(ctx, s, skb, 0);
}

#if BY_ALLOCATOR
// On the tier of tracepoints, a drop is the end of the skb. And what came from no device and is first seen here was sent by its
// socket: elsewhere, where it is sent, a function tells that.
static __always_inline void drop_carried(const struct subject *s)
{
	__u64 key = (__u64)s->skb;
	struct carrier *c = bpf_map_lookup_elem(&carriers, &key);
	struct sock *sk = s->skb->sk;

	if (!c)
		return;
	c->state |= CARRIER_ENDING;
	if (c->originated || s->skb->skb_iif || !sk)
		return;
	c->originated = 1;
	report(KIND_ORIGIN, &s->id, key, sk->__sk_common.skc_cookie.counter, s->netns);
}
#endif

#endif
