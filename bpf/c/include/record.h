// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What travels through the ring buffer. The Go types are generated from these definitions. Every record begins with a
// header; only KIND_EVENT is longer, and only as long as its probe needs.
#ifndef WAYBILL_RECORD_H
#define WAYBILL_RECORD_H

enum record_kind {
	KIND_EVENT = 1,
	KIND_ORIGIN,
	KIND_CLONED,
	KIND_TAP_ENTER,
	KIND_TAP_EXIT,
	KIND_ENQUEUED,
	KIND_PARKED,
	KIND_RESUMED,
	KIND_RELEASED,
	KIND_BARRIER,
};

enum limit {
	PACKET_BYTES = 128, // captured from the network header on
	NAME_BYTES = 64,    // of an nft table or chain; a longer name arrives cut
	LOCATION_BYTES = 96,
	PROBE_KFREE_SKB = 0xffff, // probe of the drop tracepoint
};

struct header {
	__u64 time;       // ns, CLOCK_MONOTONIC
	__u64 first_seen; // packet ID, time part
	__u64 first_head; // packet ID, address part
	__u64 skb;
	__u64 value; // ORIGIN: socket cookie; CLONED: new skb; TAP_ENTER: 1 if shared; BARRIER: its number
	__u64 netns; // ORIGIN, ENQUEUED and EVENT: cookie, 0 if unknown
	__u32 scope;
	__u32 cpu;
	__u32 pid;
	__u16 probe; // EVENT: the probe's number
	__u8 kind;
	__u8 has; // EVENT: which sections are filled
};
_Static_assert(sizeof(struct header) == 64, "header has padding");

enum section {
	HAS_PACKET = 1,
	HAS_DEVICE = 2,
	HAS_CONNTRACK = 4,
	HAS_NFT = 8,
	HAS_DROP = 16,
};

struct tuple {
	__u32 src[4];
	__u32 dst[4];
	__u16 src_port; // network byte order, like all of the tuple
	__u16 dst_port;
	__u16 l3num;
	__u8 protonum;
	__u8 pad;
};

struct event {
	struct header h;
	char comm[16];
	char device[16];
	__u32 inum;
	__u32 ifindex;
	__u32 rx_ifindex;
	__u32 len;
	__u16 protocol; // host byte order
	__u16 captured; // valid bytes of packet
	__u32 ct_status;
	__u32 ct_mark;
	__u16 ct_zone;
	__u8 ct_info;
	__u8 pad;
	struct tuple ct[2]; // original, reply
	__u8 packet[PACKET_BYTES];
};
_Static_assert(sizeof(struct event) % 8 == 0, "event is not aligned");

struct nft_event {
	struct event e;
	__u64 table_handle;
	__u64 chain_handle;
	__u64 rule_handle;
	__s32 verdict;
	__u8 type;
	__u8 policy;
	__u8 pad[2];
	char table[NAME_BYTES];
	char chain[NAME_BYTES];
};

struct drop_event {
	struct event e;
	__u32 reason;
	__u32 pad;
	char location[LOCATION_BYTES]; // as the kernel's %pS prints it
};

#endif
