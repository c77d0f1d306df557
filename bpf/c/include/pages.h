// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The bytes of a packet that are not in the skb's linear part but in pages: TCP's payload, what was sent without copying it,
// what drivers receive into pages.
#ifndef WAYBILL_PAGES_H
#define WAYBILL_PAGES_H

#include "kernel.h"
#include "record.h"
#include "../../filter/filter.h"

#define PAGE_SHIFT 12 // arch/x86/include/asm/page_types.h
#define NET_IOV 1UL   // a netmem with this bit is memory of a device, which cannot be read (include/net/netmem.h)

enum {
	STEP = 16,	     // bytes that are read at once
	MOST_STEPS = 16,     // for what a packet looks like
	MOST_PIECES = 17,    // MAX_SKB_FRAGS, include/linux/skbuff.h, if nobody has raised it
	SNAPSHOT_STEPS = FILTER_SNAPSHOT / STEP - 1 + STEP + 2 * MOST_PIECES,
	NUMBER_STEPS = 4 + MOST_PIECES,
};

// Where the kernel has all memory mapped, and its array of struct page: page_offset_base and vmemmap_base of x86-64
// (arch/x86/include/asm/page_64.h). 0 if the kernel does not tell, and then bytes in pages are not captured: not all of its
// symbols have names to it (CONFIG_KALLSYMS_ALL), or they are hidden from this user.
volatile __u64 memory_map;
volatile __u64 page_array;

static __always_inline __u64 kernel_variable(const char *name, __u32 size)
{
	__u64 address = 0, value = 0;

	if (bpf_kallsyms_lookup_name(name, size, 0, &address) || !address)
		return 0;
	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

// Run once by user space; returns whether bytes in pages can be captured.
SEC("syscall")
int find_pages(void *ctx)
{
	const char map[] = "page_offset_base", array[] = "vmemmap_base";

	memory_map = kernel_variable(map, sizeof(map));
	page_array = kernel_variable(array, sizeof(array));
	return memory_map && page_array;
}

// A walk along an skb's paged data.
struct walk {
	const struct skb_shared_info *shared;
	__u64 address; // of what is left of the piece under way
	__u32 len;
	__u32 next;   // number of the piece after it
	__u32 pieces;
	__u32 skip;   // bytes that are still to be left out
};

// Always 0, which the verifier does not know: before Linux 6.7 it follows one step only, and takes away as dead code what that one,
// with the walk as it begins, does not come to.
volatile __u32 nothing_yet;

static __always_inline void walk_along(struct walk *w, __u64 shared_info, __u32 skip)
{
	const struct skb_shared_info *shared = (void *)shared_info;

	w->shared = shared;
	w->address = 0;
	w->len = nothing_yet;
	w->next = nothing_yet;
	w->pieces = BPF_CORE_READ(shared, nr_frags);
	w->skip = skip;
}

// Goes on to the next piece, and returns 1 if there is none. Its length is 0 if it cannot be read. Linux 6.9 and later have
// struct skb_frag, earlier ones struct bio_vec.
static __always_inline long next_piece(struct walk *w)
{
	const struct skb_shared_info *shared = w->shared;
	const struct skb_frag *frag = (void *)&shared->frags + w->next * bpf_core_type_size(struct skb_frag);
	const struct bio_vec *old = (void *)&shared->frags + w->next * bpf_core_type_size(struct bio_vec);
	__u32 offset = 0, len = 0, n;
	__u64 page = 0;

	if (w->next >= w->pieces)
		return 1;
	if (bpf_core_type_exists(struct skb_frag)) {
		bpf_core_read(&page, sizeof(page), &frag->netmem);
		bpf_core_read(&offset, sizeof(offset), &frag->offset);
		if (!(page & NET_IOV))
			bpf_core_read(&len, sizeof(len), &frag->len);
	} else {
		bpf_core_read(&page, sizeof(page), &old->bv_page);
		bpf_core_read(&offset, sizeof(offset), &old->bv_offset);
		bpf_core_read(&len, sizeof(len), &old->bv_len);
	}
	n = w->skip < len ? w->skip : len;
	w->skip -= n;
	w->len = len - n;
	w->address = memory_map + ((page - page_array) / bpf_core_type_size(struct page) << PAGE_SHIFT) + offset + n;
	w->next++;
	return 0;
}

// Reads the next n bytes of the piece under way, which has that many.
static __always_inline long read_piece(struct walk *w, void *to, __u32 n)
{
	if (bpf_probe_read_kernel(to, n, (void *)w->address))
		return 1;
	w->address += n;
	w->len -= n;
	return 0;
}

// --- What a packet looks like -------------------------------------------------------------------------------------------

struct look_walk {
	struct walk w;
	struct look *look;
};

// Finds the next piece, or captures the next few bytes of one. Returns 1 at the end.
static long look_step(__u32 step, struct look_walk *walk)
{
	__u32 captured = walk->look->captured, n = walk->w.len < STEP ? walk->w.len : STEP;

	if (captured > PACKET_BYTES - STEP)
		return 1;
	if (!n)
		return next_piece(&walk->w);
	if (read_piece(&walk->w, walk->look->packet + captured, n))
		return 1;
	walk->look->captured = captured + n;
	return 0;
}

// Captures what is in pages behind the bytes that are captured already, without the first skip bytes of it. Of the last STEP
// bytes for which there is room, some may stay empty: the verifier does not see that what is left is as long as there is room.
// It is a global function, so that l is memory of which the verifier knows no contents: otherwise it would follow every length
// that each step may have.
__noinline int look_at_pages(struct look *l, __u64 shared_info, __u32 skip)
{
	struct look_walk walk = {.look = l};

	if (!l || !memory_map || !page_array)
		return 0;
	walk_along(&walk.w, shared_info, skip);
	bpf_loop(MOST_STEPS, look_step, &walk, 0);
	return 0;
}

// --- What filters look at -----------------------------------------------------------------------------------------------
// These walk in memory of the input, because stacks are full.

struct number_walk {
	struct walk w;
	__u32 wanted; // bytes that are still to be read
	__u32 number; // what those before make
};
_Static_assert(sizeof(struct number_walk) == sizeof(((struct filter_input *)0)->walk), "a filter's input has no room");

struct reading {
	struct filter_input *in;
};

// As look_step, but byte for byte where there is little room left, so that none stays empty.
static long snapshot_step(__u32 step, struct reading *reading)
{
	struct filter_input *in = reading->in;
	struct walk *w = (void *)in->walk;
	__u32 have = in->have, n = w->len < STEP ? w->len : STEP;

	if (have >= FILTER_SNAPSHOT)
		return 1;
	if (!n)
		return next_piece(w);
	if (have > FILTER_SNAPSHOT - STEP)
		n = 1;
	if (read_piece(w, in->snapshot + have, n))
		return 1;
	in->have = have + n;
	return 0;
}

static __always_inline int begin_reading(struct filter_input *in)
{
	struct walk *w = (void *)in->walk;

	if (!in->shared || !memory_map || !page_array)
		return 0;
	walk_along(w, in->shared, in->skip);
	return 1;
}

// Fills in the snapshot.
__noinline int read_snapshot(struct filter_input *in)
{
	struct reading reading = {in};
	__u32 n;

	if (!in)
		return 0;
	n = in->linear;
	asm volatile("" : "+r"(n)); // one register for all of it, because the bound is known of that one only before 6.7
	if (n > FILTER_SNAPSHOT)
		n = FILTER_SNAPSHOT;
	asm volatile("" : "+r"(n));
	if (n && bpf_probe_read_kernel(in->snapshot, n, (void *)in->start))
		return 0;
	in->have = n;
	if (n < FILTER_SNAPSHOT && begin_reading(in))
		bpf_loop(SNAPSHOT_STEPS, snapshot_step, &reading, 0);
	return 0;
}

static long number_step(__u32 step, struct reading *reading)
{
	struct number_walk *walk = (void *)reading->in->walk;
	__u8 byte = 0;

	if (!walk->wanted)
		return 1;
	if (!walk->w.len)
		return next_piece(&walk->w);
	if (read_piece(&walk->w, &byte, 1))
		return 1;
	walk->number = walk->number << 8 | byte;
	walk->wanted--;
	return 0;
}

// Reads bytes of which some or all are in pages: the linear part is the first piece.
static __always_inline __u64 read_number(struct filter_input *in, __u64 offset, __u32 size)
{
	struct number_walk *walk = (void *)in->walk;
	struct reading reading = {in};

	if (!begin_reading(in))
		return FILTER_UNREADABLE;
	walk->wanted = size;
	walk->number = 0;
	if (offset < in->linear) {
		walk->w.address = in->start + offset;
		walk->w.len = in->linear - offset;
	} else {
		walk->w.skip += offset - in->linear;
	}
	bpf_loop(NUMBER_STEPS, number_step, &reading, 0);
	return walk->wanted ? FILTER_UNREADABLE : walk->number;
}

// See filter.h.
__noinline __u64 filter_read(struct filter_input *in, __u64 offset, __u32 size)
{
	__u64 number = 0;

	if (!in)
		return FILTER_UNREADABLE;
	size &= 7; // a bound that every verifier sees
	if (offset + size > in->len)
		return FILTER_NO_BYTES;
	if (offset + size > in->linear)
		return read_number(in, offset, size);
	if (bpf_probe_read_kernel(&number, size, (void *)in->start + offset))
		return FILTER_UNREADABLE;
	return __builtin_bswap32(number) >> (32 - 8 * size);
}

#endif
