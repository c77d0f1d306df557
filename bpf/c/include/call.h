// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Calls under way: what a program at a function's entry found, for the one at its return, when the skb may be gone and must not be
// looked at. A call is known by its frame, the place on the stack where the kernel's trampoline keeps the arguments: both programs
// have it as their context. So the table is one that is indexed by the frame, which costs a fraction of a hash map of the kernel's.
#ifndef WAYBILL_CALL_H
#define WAYBILL_CALL_H

#include "maps.h"

struct call {
	volatile __u32 frame; // low half of its address; 0 if nobody uses this
	__u32 relation;	      // enum relation: what a packet that is first seen meanwhile is to this one
	__u64 skb;
	struct identity id;
	__u32 outer; // of those that are in hand on one stack: the number, from 1, of the next outer one; 0 if there is none
	__u32 len;   // of those that are in hand: the skb's
	__u64 head;  // of those that are pending: the skb's
};

enum {
	CALLS = 1 << 10,
	CALL_TRIES = 4, // calls that meet at one place of the table
};

static __always_inline struct call *call_number(struct call *table, __u32 n)
{
	return &table[n % CALLS];
}

static __always_inline __u32 place_of(__u32 frame)
{
	return frame * 0x9e3779b1u >> 22; // 2^32 over the golden ratio (Knuth 6.4)
}

// Takes a place for a call that begins. Returns its number in the table, from 1, or 0 if there is none. A call whose return was not
// seen may have stood in the same frame: its place is taken over.
static __always_inline __u32 begin_call(struct call *table, __u32 frame)
{
	__u32 first = place_of(frame), old;

#pragma unroll
	for (__u32 i = 0; i < CALL_TRIES; i++) {
		old = __sync_val_compare_and_swap(&call_number(table, first + i)->frame, 0, frame);
		if (!old || old == frame)
			return (first + i) % CALLS + 1;
	}
	return 0;
}

// Returns the number, from 1, of the call that stands in a frame, 0 if that was not noted.
static __always_inline __u32 call_in(struct call *table, __u32 frame)
{
	__u32 first = place_of(frame);

#pragma unroll
	for (__u32 i = 0; i < CALL_TRIES; i++)
		if (call_number(table, first + i)->frame == frame)
			return (first + i) % CALLS + 1;
	return 0;
}

#endif
