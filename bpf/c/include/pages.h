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

// A piece of paged data.
struct piece {
	__u64 address;
	__u32 len;
};

// Finds piece number n; its length is 0 if it cannot be read. Linux 6.9 and later have struct skb_frag, earlier ones struct
// bio_vec.
static __always_inline void find_piece(struct piece *p, const struct skb_shared_info *shared, __u32 n)
{
	const struct skb_frag *frag = (void *)&shared->frags + n * bpf_core_type_size(struct skb_frag);
	const struct bio_vec *old = (void *)&shared->frags + n * bpf_core_type_size(struct bio_vec);
	__u64 page = 0;
	__u32 offset = 0;

	p->len = 0;
	if (bpf_core_type_exists(struct skb_frag)) {
		bpf_core_read(&page, sizeof(page), &frag->netmem);
		bpf_core_read(&offset, sizeof(offset), &frag->offset);
		if (!(page & NET_IOV))
			bpf_core_read(&p->len, sizeof(p->len), &frag->len);
	} else {
		bpf_core_read(&page, sizeof(page), &old->bv_page);
		bpf_core_read(&offset, sizeof(offset), &old->bv_offset);
		bpf_core_read(&p->len, sizeof(p->len), &old->bv_len);
	}
	p->address = memory_map + ((page - page_array) / bpf_core_type_size(struct page) << PAGE_SHIFT) + offset;
}

// Captures what is in pages behind the bytes that are captured already, without the first skip bytes of it. Of the last STEP
// bytes for which there is room, some may stay empty: the verifier does not see that what is left is as long as there is room.
// It is a global function, so that it is verified once by itself, and l is memory of which the verifier knows no contents:
// otherwise it would follow every length that each step may have.
__noinline int look_at_pages(struct look *l, __u64 shared_info, __u32 skip)
{
	const struct skb_shared_info *shared = (void *)shared_info;
	__u32 pieces = BPF_CORE_READ(shared, nr_frags), next = 0, n;
	struct piece p = {};

	if (!l || !memory_map || !page_array)
		return 0;
	for (__u32 step = 0; step < MOST_STEPS; step++) {
		__u32 captured = l->captured;

		if (captured > PACKET_BYTES - STEP)
			break;
		if (!p.len) {
			if (next >= pieces)
				break;
			find_piece(&p, shared, next++);
			n = skip < p.len ? skip : p.len;
			skip -= n;
			p.address += n;
			p.len -= n;
			continue;
		}
		n = p.len < STEP ? p.len : STEP;
		if (bpf_probe_read_kernel(l->packet + captured, n, (void *)p.address))
			break;
		l->captured = captured + n;
		p.address += n;
		p.len -= n;
	}
	return 0;
}

#endif
