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

// A filter reads the beginning of a packet once. What is behind that is read when it is needed.
enum { FILTER_SNAPSHOT = 128 };

// Addresses are numbers here, because the memory that they are read from may be gone. The caller sets all but the snapshot; on
// Linux before 6.3, which does not let functions write to what is not initialized, it sets that to zero.
struct filter_input {
	__u64 skb;    // for filter_meta
	__u64 start;  // of the packet
	__u32 linear; // bytes from start on that are in one piece
	__u32 len;    // bytes from start on, with those that are elsewhere; not less than linear
	__u16 vlan_tci;
	__u8 vlan; // 1 if there is a tag beside the data, which vlan_tci is of
	__u8 link; // enum filter_link, of what is at start
	__u32 pad;
	__u8 snapshot[FILTER_SNAPSHOT]; // written by the filter
};
_Static_assert(sizeof(struct filter_input) == 32 + FILTER_SNAPSHOT, "filter_input has padding");

// Weak, so that the compiler does not look into them.
__attribute__((weak, noinline)) int filter_packet(struct filter_input *in)
{
	return in ? FILTER_MATCH : FILTER_UNKNOWN;
}

__attribute__((weak, noinline)) int filter_meta(struct filter_input *in)
{
	return in ? FILTER_MATCH : FILTER_UNKNOWN;
}

#endif
