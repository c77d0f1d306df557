// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The maps that all programs share, and the account of what was lost.
#ifndef WAYBILL_MAPS_H
#define WAYBILL_MAPS_H

#include "kernel.h"
#include "record.h"

// Defined as 1 for programs on the tier of tracepoints, where the allocator tells the ends of packets.
#ifndef BY_ALLOCATOR
#define BY_ALLOCATOR 0
#endif

struct identity {
	__u64 first_seen;
	__u64 first_head;
	__u64 look; // mark of the last one that was told, 0 before the first
	__u32 tid;  // of the task at that look
	__u32 scope;
	__u8 originated; // 1 once KIND_ORIGIN was reported
	__u8 parked;	 // 1 from the call that may put it on a neighbour's queue until it is sent
	__u8 fragment;	 // 1 if the data is a page fragment; known on the tier of tracepoints only (carrier.h)
	__u8 waits;	 // 1 once an skb of it was in the map waiting
	__u8 moves;	 // 1 once an skb of it was in the map moving
	__u8 rest[3];
};

// Losses are counted for the scope whose packet suffered them.
enum loss_cause {
	LOSS_RING_FULL,       // a record did not fit
	LOSS_LOOK,	      // what a packet looked like did not fit; it is told with the next event
	LOSS_IDENTITIES_FULL, // a packet could not be given an identity
	LOSS_MISSED_END,      // a head was born while still known: its end went unseen
	LOSS_PENDING_FULL,    // an outcome could not be noted for a call under way
	LOSS_RETURN,	      // a call that was noted never returned
	LOSS_FRAGMENT,	      // a packet first seen in a page fragment, which may be the rest of another (carrier.h)
	LOSS_EXCHANGED,	      // a packet first seen in a buffer that was exchanged for another (carrier.h)
	LOSS_UNDECIDED,	      // a filter needs bytes that cannot be read (filters.h)
	LOSS_INCOMPLETE,      // a filter does not know where the packet begins (filters.h)
	LOSS_CAUSES,
};

enum {
	MAX_PACKETS = 65536,
	MAX_SCOPES = 4096, // namespaces under observation at once
	LOSS_SLOTS = 1024, // scopes share a slot if their numbers are equal modulo this
	MAX_PENDING = 4096,
};

// All records, in the order in which they were reserved. Read by user space, which sets the size.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} records SEC(".maps");

// The bytes that wait for the reader when it is woken even though nobody waits for them. Set before loading, to a quarter
// of the ring.
volatile const __u64 wake_at = 4 << 20;

// Set by user space. What is waited for wakes the reader while somebody waits; all else is read when it gets around to
// it. Metadata make an event nearly twice as long, so they are told only if wanted.
volatile __u32 attended;
volatile __u32 meta_wanted;

// key: skb->head; value: the packet that lives there. Deleted when the head is freed or handed over. The size bounds
// the packets alive at once.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PACKETS);
	__type(key, __u64);
	__type(value, struct identity);
} identities SEC(".maps");

// The numbers of known heads, by class. Most packets of a busy machine are nobody's, and this tells it without a look into
// the map. Counted up before a head is put into the map, and down after it was taken out: never too low. What user space
// deletes is not counted down.
enum { HEAD_CLASSES = 1 << 13 };
volatile __u32 known_heads[HEAD_CLASSES];

// The range of cookies in the next map, set by user space before it adds one; all cookies while there is a scope of everything.
volatile __u64 first_cookie = -1;
volatile __u64 last_cookie;

// The scope of every namespace that is in no other one; 0 if there is none. Set by user space.
volatile __u32 everywhere;

// key: netns cookie; value: number of the scope that it belongs to. Written and deleted by user space.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SCOPES);
	__type(key, __u64);
	__type(value, __u32);
} scopes SEC(".maps");

// An skb on its way into a queue.
enum waits_for {
	WAITS_FOR_TCP,	 // tcp_data_queue is at work on it
	WAITS_FOR_QDISC, // given to a qdisc, and has not left it
};

struct wait {
	struct identity id;
	__u64 netns; // the socket's
	__u32 what;  // enum waits_for
	__u32 pad;
};

// key: skb; value: what it waits for. Deleted when that is over and when the skb is released. The size bounds packets in
// qdiscs.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PACKETS);
	__type(key, __u64);
	__type(value, struct wait);
} waiting SEC(".maps");

// key: skb; value: the packet whose head is being exchanged for another one, without a scope if the filters refused it. Deleted
// when the exchange returns.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PENDING);
	__type(key, __u64);
	__type(value, struct identity);
} moving SEC(".maps");

// key: scope number modulo LOSS_SLOTS; value: counters by cause. Never deleted; user space takes differences.
struct losses {
	__u64 count[LOSS_CAUSES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_SLOTS);
	__type(key, __u32);
	__type(value, struct losses);
} loss_counters SEC(".maps");

// Flags for a record. Waking the reader costs as much as several events.
static __always_inline __u64 wake(__u32 awaited)
{
	if (awaited && attended)
		return BPF_RB_FORCE_WAKEUP; // the default would not: it is for a ring in which each record wakes
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= wake_at ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline void lost(__u32 scope, enum loss_cause cause)
{
	__u32 slot = scope % LOSS_SLOTS;
	struct losses *l = bpf_map_lookup_elem(&loss_counters, &slot);

	// Programs of several kinds may interrupt each other on one CPU.
	if (l)
		__sync_fetch_and_add(&l->count[cause], 1);
}

// To the verifier of 6.18 the head is a pointer, and only its lower half a number.
static __always_inline __u32 low_half_of(__u64 head)
{
	__u32 low;

	asm("r0 = %1\n\tw0 = w0\n\t%0 = r0" : "=r"(low) : "r"(head) : "r0");
	return low;
}

// THREAD_SIZE and IRQ_STACK_SIZE of x86-64 (arch/x86/include/asm/page_64_types.h). Where stacks are larger, one counts as several.
#define STACK_SHIFT 14

static __always_inline volatile __u32 *class_of(__u64 head)
{
	__u32 low = low_half_of(head);

	return &known_heads[((low >> 9) + (low >> 22)) % HEAD_CLASSES]; // heads lie 512 bytes apart and more
}

// Returns where the identity of the packet at a head is kept, NULL if it has none.
static __always_inline struct identity *identity_at(__u64 head)
{
	return *class_of(head) ? bpf_map_lookup_elem(&identities, &head) : 0;
}

// Keeps the identity of the packet at a head. flags are those of bpf_map_update_elem. Its result is an int: before Linux 6.4, the
// upper half of a register in which maps return an error is not set.
static __always_inline int keep_identity(__u64 head, const struct identity *id, __u64 flags)
{
	int error;

	__sync_fetch_and_add(class_of(head), 1);
	error = bpf_map_update_elem(&identities, &head, id, BPF_NOEXIST);
	if (!error)
		return 0;
	__sync_fetch_and_add(class_of(head), -1);
	return error == -EEXIST && flags == BPF_ANY ? bpf_map_update_elem(&identities, &head, id, BPF_EXIST) : error;
}

static __always_inline void drop_identity(__u64 head)
{
	// Looking is cheaper than deleting.
	if (identity_at(head) && !bpf_map_delete_elem(&identities, &head))
		__sync_fetch_and_add(class_of(head), -1);
}

#endif
