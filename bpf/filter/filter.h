// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Filters: what they are asked about, and what they answer. The functions here match everything; before the programs are
// loaded, package filter puts what it has compiled in their place.
#ifndef WAYBILL_FILTER_H
#define WAYBILL_FILTER_H

enum filter_verdict {
	FILTER_NO_MATCH,
	FILTER_MATCH,
	FILTER_UNKNOWN, // it depends on what cannot be read here
};

// What a packet begins with.
enum filter_link {
	FILTER_NO_LINK, // nothing that a filter knows: the verdict is unknown
	FILTER_ETHERNET,
	FILTER_IP, // no header of a link in front of the one of IPv4 or IPv6
};

// The beginning of a packet is read once, before the filter is asked. What is behind that is read when it is needed.
enum { FILTER_SNAPSHOT = 128 };

// Addresses are numbers here, because the memory that they are read from may be gone. The caller sets all but the snapshot and
// what filter_read fills in; on Linux before 6.3, which does not let functions write to what is not initialized, it sets memory
// on the stack to zero.
struct filter_input {
	__u64 skb;    // for filter_meta
	__u64 start;  // of the packet
	__u64 shared; // its struct skb_shared_info, which leads to what is not in one piece with start; 0 if all is
	__u32 linear; // bytes from start on that are in one piece
	__u32 skip;   // bytes elsewhere that are in front of the packet
	__u32 len;    // bytes from start on, with those that are elsewhere; not less than linear
	__u16 vlan_tci;
	__u8 vlan; // 1 if there is a tag beside the data, which vlan_tci is of
	__u8 link; // enum filter_link, of what is at start
	__u32 have; // bytes in the snapshot: all that fit, as far as they can be read
	__u32 pad;
	__u64 walk[5]; // for those who read the packet
	__u8 snapshot[FILTER_SNAPSHOT];
};
_Static_assert(sizeof(struct filter_input) == 88 + FILTER_SNAPSHOT, "filter_input has padding");

// What filter_read returns in place of bytes.
#define FILTER_NO_BYTES (1ULL << 32)	// the packet ends before
#define FILTER_UNREADABLE (2ULL << 32)

// Reads the packet, wherever its bytes are: 1, 2 or 4 of them at an offset, which it returns as a number in the order of the
// host. Defined by whoever includes this file, and called by the functions below.
__u64 filter_read(struct filter_input *in, __u64 offset, __u32 size);

// Weak, so that the compiler does not look into them. A function that nothing calls would not be in the program.
__attribute__((weak, noinline)) int filter_packet(struct filter_input *in)
{
	return filter_read(in, 0, 1) ? FILTER_MATCH : FILTER_UNKNOWN;
}

__attribute__((weak, noinline)) int filter_meta(struct filter_input *in)
{
	return in ? FILTER_MATCH : FILTER_UNKNOWN;
}

#endif
