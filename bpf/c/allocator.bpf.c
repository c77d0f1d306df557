// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The life of packets on the tier of tracepoints: where no program may be attached to a function. What ends, moves, rests and
// begins is told by the allocator's tracepoints, and by what queues hold when somebody is told of them. See carrier.h for what
// that makes exact.
#include "include/hook.h"
#include "include/identity.h"

// --- The allocator ------------------------------------------------------------------------------------------------------

// Where functions are. Set before anything is attached; what is not there is nowhere.
enum {
	EXCHANGES = 3, // pskb_expand_head, pskb_carve_inside_header, pskb_carve_inside_nonlinear
	RELEASES = 3,  // skb_free_head, skb_kfree_head, skb_release_data
};

struct code {
	__u64 from;
	__u64 to;
};

__u64 text_end;	       // where the kernel's own code ends; modules, and code that BPF makes, are beyond
struct code reserving; // kmalloc_reserve, by which heads are allocated
struct code exchanging[EXCHANGES];
struct code releasing[RELEASES];
__u64 exchanges_from, exchanges_to; // where all of exchanging are

static __always_inline int within(const volatile struct code *c, __u64 address)
{
	return address >= c->from && address < c->to;
}

static __always_inline int exchanges(__u64 address)
{
	return within(&exchanging[0], address) || within(&exchanging[1], address) || within(&exchanging[2], address);
}

static __always_inline int releases(__u64 address)
{
	return within(&releasing[0], address) || within(&releasing[1], address) || within(&releasing[2], address);
}

// key: a stack; value: the head that was last born in an exchange on it. Deleted when that exchange frees the old head, or
// something else frees one there. The size bounds tasks and interrupts in between.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, __u64);
} exchanged SEC(".maps");

// The stack that the program's arguments are on, as a number.
static __always_inline __u64 stack_with(const void *arguments)
{
	return low_half(arguments) >> STACK_SHIFT;
}

enum {
	FRAMES = 12,
	WORDS = 32,  // of the stack, read at once
	PIECES = 3,  // ... and how often, which reaches beyond the caller of kmalloc_reserve
};

// To walk the stack takes a microsecond or two, and heads are allocated for every packet of the machine. If there is no address
// among the words of the stack that could be a return into an exchange, there is none.
static __always_inline int may_be_in_exchange(void *ctx)
{
	__u64 words[WORDS];

#pragma unroll
	for (int piece = 0; piece < PIECES; piece++) {
		if (bpf_probe_read_kernel(words, sizeof(words), ctx + piece * sizeof(words)))
			return 1; // the stack ends here
#pragma unroll
		for (int i = 0; i < WORDS; i++) {
			if (words[i] >= exchanges_from && words[i] < exchanges_to && exchanges(words[i]))
				return 1;
		}
	}
	return 0;
}

// Small heads have a cache of their own since Linux 6.3. Their call site is in kmalloc_reserve, whose caller is on the stack: next to
// it, or beyond the code that BPF makes where somebody's program waits for kmalloc_reserve to return, which goes into it once more.
static __always_inline int reserved_in_exchange(void *ctx, __u64 site)
{
	__u64 frames[FRAMES] = {};
	int reserve = within(&reserving, site);

	bpf_get_stack(ctx, frames, sizeof(frames), 0);
#pragma unroll
	for (int i = 0; i < FRAMES; i++) {
		if (within(&reserving, frames[i]))
			reserve = 2;
		else if (reserve == 2 && frames[i] && frames[i] < text_end)
			return exchanges(frames[i]);
	}
	return reserve; // the kernel did not get as far as to its caller: nobody knows, and that is counted when the packet is seen
}

static __always_inline int released_in_exchange(void *ctx)
{
	__u64 frames[FRAMES] = {};
	int release = 0;

	bpf_get_stack(ctx, frames, sizeof(frames), 0);
#pragma unroll
	for (int i = 0; i < FRAMES; i++) {
		if (exchanges(frames[i]))
			return 1;
		if (releases(frames[i]))
			release = 1;
		else if (release)
			return 0;
	}
	return 0;
}

// A head is freed. If that is in an exchange, its packet goes on in the head that was born there.
static __always_inline void move_on(void *ctx, __u64 address, const struct identity *old, int refused)
{
	__u64 stack = stack_with(ctx), *born = bpf_map_lookup_elem(&exchanged, &stack), head;
	struct identity id;

	if (!born)
		return;
	head = *born;
	bpf_map_delete_elem(&exchanged, &stack);
	if (head == address || !released_in_exchange(ctx))
		return;
	if (!old) { // nobody's packet
		drop_identity(head);
		if (refused)
			refuse(head);
		return;
	}
	id = *old;
	id.look = 0;
	id.fragment = 0;
	if (keep_identity(head, &id, BPF_ANY))
		lost(id.scope, LOSS_IDENTITIES_FULL);
}

static __always_inline void freed(void *ctx, __u64 site, __u64 address)
{
	struct identity *id = identity_at(address);
	int refused = filters && drop_refusal(address);

	if (releases(site) || exchanges(site))
		move_on(ctx, address, id, refused);
	if (id) // to delete takes a lock, even where nothing is
		drop_identity(address);
}

static __always_inline void freed_skb(__u64 address)
{
	struct carrier *c = bpf_map_lookup_elem(&carriers, &address);

	if (!c)
		return;
	end_carrying(address, c);
	bpf_map_delete_elem(&carriers, &address);
}

// These are raw: before Linux 6.17 or so, no program that knows the types of its arguments may look at a void pointer.

HOOK_IN_INTERRUPTS(PART_ENDS, "raw_tp/kfree", at_kfree, __u64 site, __u64 address)
{
	freed(ctx, site, address);
	return 0;
}

// Of skbs that are allocated in pairs, for TCP, the second lives until the first is freed.
HOOK_IN_INTERRUPTS(PART_ENDS, "raw_tp/kmem_cache_free", at_kmem_cache_free, __u64 site, __u64 address, struct kmem_cache *cache)
{
	freed(ctx, site, address);
	freed_skb(address);
	if (BPF_CORE_READ(cache, object_size) == bpf_core_type_size(struct sk_buff_fclones))
		freed_skb(address + bpf_core_field_offset(struct sk_buff_fclones, skb2));
	return 0;
}

static __always_inline void born_at(__u64 address)
{
	struct identity *id = identity_at(address);
	__u32 scope;

	if (filters)
		drop_refusal(address);
	if (!id)
		return;
	scope = id->scope;
	// Page fragments end unseen.
	if (!is_exchanged(id) && !id->fragment)
		lost(scope, LOSS_MISSED_END);
	drop_identity(address);
}

static __always_inline void born_in_exchange(void *ctx, __u64 address)
{
	struct identity nothing = {};
	__u64 stack = stack_with(ctx);

	// If a map is full, packets cannot be followed at all, and that is counted when one is first seen.
	keep_identity(address, &nothing, BPF_ANY);
	bpf_map_update_elem(&exchanged, &stack, &address, BPF_ANY);
}

static __always_inline int allocated(void *ctx, __u64 site, __u64 address)
{
	if (!address)
		return 0;
	born_at(address);
	if (exchanges(site) ||
	    ((within(&reserving, site) || site >= text_end) && may_be_in_exchange(ctx) && reserved_in_exchange(ctx, site)))
		born_in_exchange(ctx, address);
	return 0;
}

HOOK_IN_INTERRUPTS(PART_ENDS, "raw_tp/kmalloc", at_kmalloc, __u64 site, __u64 address)
{
	return allocated(ctx, site, address);
}

HOOK_IN_INTERRUPTS(PART_ENDS, "raw_tp/kmem_cache_alloc", at_kmem_cache_alloc, __u64 site, __u64 address)
{
	return allocated(ctx, site, address);
}

// Linux 6.1 has tracepoints of their own for allocations near a node.
HOOK_IN_INTERRUPTS(PART_ENDS, "raw_tp/kmalloc_node", at_kmalloc_node, __u64 site, __u64 address)
{
	return allocated(ctx, site, address);
}

HOOK_IN_INTERRUPTS(PART_ENDS, "raw_tp/kmem_cache_alloc_node", at_kmem_cache_alloc_node, __u64 site, __u64 address)
{
	return allocated(ctx, site, address);
}

// --- Ends of skbs -------------------------------------------------------------------------------------------------------
// An skb goes back to its cache (kmem_cache_free), or to a store of the CPU's own, which the allocator does not see
// (napi_skb_cache_put in net/core/skbuff.c). Before the latter there is consume_skb or kfree_skb, or GRO says what it did, or
// a process has read it.

// A clone that was never seen, as neigh_probe makes them, says nothing.
HOOK(PART_REPORTS, "tp_btf/consume_skb", at_consume_skb, struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct carrier *c = bpf_map_lookup_elem(&carriers, &key);

	if (c && c->head == (__u64)skb->head)
		end_carrying(key, c);
	return 0;
}

// key: 0; value: the skb that GRO looks at on this CPU, and the packet in it. Never deleted.
struct grown {
	__u64 skb;
	struct identity id;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct grown);
} growing SEC(".maps");

static __always_inline int enter_gro(struct sk_buff *skb)
{
	__u32 zero = 0;
	struct grown *g = bpf_map_lookup_elem(&growing, &zero);

	if (!g)
		return 0;
	g->skb = known(skb, &g->id) ? (__u64)skb : 0;
	return 0;
}

static __always_inline int leave_gro(int result)
{
	__u32 zero = 0;
	struct grown *g = bpf_map_lookup_elem(&growing, &zero);
	int freed = result == bpf_core_enum_value(enum gro_result, GRO_MERGED_FREE);
	struct carrier *c;

	if (!g || !g->skb)
		return 0;
	if (freed || result == bpf_core_enum_value(enum gro_result, GRO_MERGED))
		report(KIND_ABSORBED, &g->id, g->skb, 0, 0);
	c = bpf_map_lookup_elem(&carriers, &g->skb);
	if (c && freed)
		end_carrying(g->skb, c);
	g->skb = 0;
	return 0;
}

HOOK(PART_REPORTS, "tp_btf/napi_gro_receive_entry", at_gro_receive, struct sk_buff *skb)
{
	return enter_gro(skb);
}

HOOK(PART_REPORTS, "tp_btf/napi_gro_receive_exit", at_gro_receive_exit, int result)
{
	return leave_gro(result);
}

HOOK(PART_REPORTS, "tp_btf/napi_gro_frags_entry", at_gro_frags, struct sk_buff *skb)
{
	return enter_gro(skb);
}

HOOK(PART_REPORTS, "tp_btf/napi_gro_frags_exit", at_gro_frags_exit, int result)
{
	return leave_gro(result);
}

// --- Origins ------------------------------------------------------------------------------------------------------------

HOOK(PART_REPORTS, "tp_btf/net_dev_queue", at_net_dev_queue, struct sk_buff *skb)
{
	return sending(ctx, skb, 0);
}

// Frames that bypass the qdisc come here first.
HOOK(PART_REPORTS, "tp_btf/net_dev_start_xmit", at_net_dev_start_xmit, struct sk_buff *skb)
{
	return sending(ctx, skb, 0);
}

// --- Resting places -----------------------------------------------------------------------------------------------------

static __always_inline int known_from(__u64 skb, struct identity *id)
{
	struct sk_buff *at = (void *)skb;
	__u64 head = (__u64)BPF_CORE_READ(at, head);
	struct identity *found = identity_at(head);

	if (!found || is_exchanged(found) || found->fragment)
		return 0;
	*id = *found;
	return 1;
}

enum { MOST_QUEUED = 64 }; // skbs that one call of sk_data_ready tells of

struct queue {
	__u64 end;
	__u64 skb;
	__u64 netns;
	__u32 is_tap;
};

// Reports one skb that is in a socket's queue, and goes on to the one before it.
static long queued(__u32 i, struct queue *q)
{
	struct carrier *c = bpf_map_lookup_elem(&carriers, &q->skb), fresh = {};
	struct sk_buff *skb = (void *)q->skb;
	struct identity id;

	if (!q->skb || q->skb == q->end || (c && c->state & CARRIER_QUEUED))
		return 1;
	if (c) {
		id.first_seen = c->first_seen;
		id.first_head = c->first_head;
		id.scope = c->scope;
		c->state |= CARRIER_QUEUED;
	} else if (known_from(q->skb, &id)) {
		fresh.first_seen = id.first_seen;
		fresh.first_head = id.first_head;
		fresh.head = (__u64)BPF_CORE_READ(skb, head);
		fresh.scope = id.scope;
		fresh.originated = id.originated;
		fresh.state = CARRIER_QUEUED;
		if (bpf_map_update_elem(&carriers, &q->skb, &fresh, BPF_ANY))
			lost(id.scope, LOSS_IDENTITIES_FULL);
	} else {
		return 1; // nobody's, or one that the reader has taken out
	}
	if (q->is_tap) {
		report(KIND_TAP_ENTER, &id, q->skb, 0, 0);
		report(KIND_TAP_EXIT, &id, q->skb, 0, 0);
	} else {
		report(KIND_ENQUEUED, &id, q->skb, 0, q->netns);
	}
	q->skb = (__u64)BPF_CORE_READ(skb, prev);
	return 0;
}

// A socket's owner is told that there is something to be read: what is in the queue, from its end on, was put there since
// the last time. Linux 6.3.
HOOK(PART_REPORTS, "tp_btf/sk_data_ready", at_sk_data_ready, struct sock *sk)
{
	struct queue q = {};

	if (!sends_packets(sk))
		return 0;
	q.end = (__u64)sk + bpf_core_field_offset(struct sock, sk_receive_queue);
	q.skb = (__u64)sk->sk_receive_queue.prev;
	q.netns = sk->__sk_common.skc_net.net->net_cookie;
	q.is_tap = sk->__sk_common.skc_family == AF_PACKET;
	bpf_loop(MOST_QUEUED, queued, &q, 0); // Linux 5.17
	return 0;
}

// A process reads the skb, so a socket had it; unless it reads a tun device, which the skb still belongs to then.
HOOK(PART_REPORTS, "tp_btf/skb_copy_datagram_iovec", at_skb_copy, struct sk_buff *skb)
{
	__u64 key = (__u64)skb, netns = 0;
	struct carrier *c = bpf_map_lookup_elem(&carriers, &key);
	struct sock *sk = skb->sk;
	struct identity id = {};

	if (!c || c->state & (CARRIER_QUEUED | CARRIER_ENDING) || c->head != (__u64)skb->head)
		return 0;
	if (sk ? !sends_packets(sk) : !!device_of(skb))
		return 0;
	c->state |= CARRIER_QUEUED;
	id.first_seen = c->first_seen;
	id.first_head = c->first_head;
	id.scope = c->scope;
	if (sk && sk->__sk_common.skc_family == AF_PACKET) {
		report(KIND_TAP_ENTER, &id, key, 0, 0);
		report(KIND_TAP_EXIT, &id, key, 0, 0);
		return 0;
	}
	if (sk)
		netns = sk->__sk_common.skc_net.net->net_cookie;
	report(KIND_ENQUEUED, &id, key, 0, netns);
	return 0;
}

// 1 says that a packet was put on the neighbour's queue, and it is the last one there; or that it was dropped because the
// neighbour does not answer.
HOOK(PART_REPORTS, "tp_btf/neigh_event_send_done", at_neigh_event_send, struct neighbour *n, int rc)
{
	__u64 skb = (__u64)n->arp_queue.prev, head;
	struct identity id, *found;
	struct sk_buff *at;

	if (rc != 1 || skb == (__u64)n + bpf_core_field_offset(struct neighbour, arp_queue) || !known_from(skb, &id))
		return 0;
	at = (void *)skb;
	head = (__u64)BPF_CORE_READ(at, head);
	found = identity_at(head);
	if (found)
		found->parked = 1;
	report(KIND_PARKED, &id, skb, PLACE_NEIGHBOUR, 0);
	return 0;
}
