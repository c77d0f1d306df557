// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The bytes of a packet that are not in the skb's linear part but in pages: TCP's payload, what was sent without copying it,
// what drivers receive into pages.
#ifndef WAYBILL_PAGES_H
#define WAYBILL_PAGES_H

#include "kernel.h"
#include "record.h"

#define PAGE_SHIFT 12 // arch/x86/include/asm/page_types.h
#define NET_IOV 1UL   // a netmem with this bit is memory of a device, which cannot be read (include/net/netmem.h)

enum {
	STEP = 16,     // bytes that are read at once
	MOST_STEPS = 16,
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
	struct look *look;
	const struct skb_shared_info *shared;
	__u64 address; // of what is left of the piece under way
	__u32 len;
	__u32 next;	// number of the piece after it
	__u32 pieces;
	__u32 skip; // bytes that are still to be left out
};

// Goes on to the next piece; its length is 0 if it cannot be read. Linux 6.9 and later have struct skb_frag, earlier ones struct
// bio_vec.
static __always_inline void next_piece(struct walk *w)
{
	const struct skb_shared_info *shared = w->shared;
	const struct skb_frag *frag = (void *)&shared->frags + w->next * bpf_core_type_size(struct skb_frag);
	const struct bio_vec *old = (void *)&shared->frags + w->next * bpf_core_type_size(struct bio_vec);
	__u32 offset = 0, len = 0, n;
	__u64 page = 0;

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
}

// Finds the next piece, or captures the next few bytes of one. Returns 1 at the end.
static long one_step(__u32 step, struct walk *w)
{
	__u32 captured = w->look->captured, n = w->len < STEP ? w->len : STEP;

	if (captured > PACKET_BYTES - STEP)
		return 1;
	if (!n) {
		if (w->next >= w->pieces)
			return 1;
		next_piece(w);
		return 0;
	}
	if (bpf_probe_read_kernel(w->look->packet + captured, n, (void *)w->address))
		return 1;
	w->look->captured = captured + n;
	w->address += n;
	w->len -= n;
	return 0;
}

// Always 0, which the verifier does not know: before Linux 6.7 it follows one step only, and takes away as dead code what that one,
// with the walk as it begins, does not come to.
volatile __u32 nothing_yet;

// Captures what is in pages behind the bytes that are captured already, without the first skip bytes of it. Of the last STEP
// bytes for which there is room, some may stay empty: the verifier does not see that what is left is as long as there is room.
// It is a global function, so that l is memory of which the verifier knows no contents: otherwise it would follow every length
// that each step may have.
__noinline int look_at_pages(struct look *l, __u64 shared_info, __u32 skip)
{
	const struct skb_shared_info *shared = (void *)shared_info;
	struct walk w = {.look = l, .shared = shared, .len = nothing_yet, .next = nothing_yet, .skip = skip};

	if (!l || !memory_map || !page_array)
		return 0;
	w.pieces = BPF_CORE_READ(shared, nr_frags);
	bpf_loop(MOST_STEPS, one_step, &w, 0);
	return 0;
}

#endif
