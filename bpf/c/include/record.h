// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What travels through the ring buffer. The Go types are generated from these definitions. Every record begins with a
// header, and is as long as its kind needs.
//
// An event is short. What a packet looks like is told once, with a mark, and again only when it has changed; events name the
// mark of the look that they had. A look comes with the event or before it, as a KIND_LOOK record.
#ifndef WAYBILL_RECORD_H
#define WAYBILL_RECORD_H

enum record_kind {
	KIND_EVENT = 1,
	KIND_LOOK,
	KIND_ORIGIN,
	KIND_CLONED,
	KIND_TAP_ENTER,
	KIND_TAP_EXIT,
	KIND_ENQUEUED,
	KIND_PARKED,
	KIND_RESUMED,
	KIND_RELEASED,
	KIND_RETURNED,
	KIND_BARRIER,
	KIND_SHAPED,
	KIND_ABSORBED,
	KIND_MOVED,
	KIND_LINKED,
};

// Where a packet is parked.
enum place {
	PLACE_NEIGHBOUR,
	PLACE_FRAGMENTS,
};

// What a packet is to the other one of a link.
enum relation {
	RELATION_COPY = 1,
	RELATION_FRAGMENT,
	RELATION_SEGMENT,
	RELATION_PART,
	RELATION_MERGED, // the packet's data is part of the other's from now on
	RELATION_ANSWER,
	RELATION_SOLICITATION,
};

enum limit {
	PACKET_BYTES = 128, // captured, from the MAC header on if there is one, else from the network header
	NAME_BYTES = 64,    // of an nft table or chain; a longer name arrives cut
	LOCATION_BYTES = 96,
	TABLE_BYTES = 32,   // XT_TABLE_MAXNAMELEN, include/uapi/linux/netfilter/x_tables.h
	STACK_FRAMES = 32,
	SYMBOL_BYTES = 192, // a symbol with offset, size and module; a longer one arrives cut
	PROBE_KFREE_SKB = 0xffff, // probe of the drop tracepoint
};

struct header {
	__u64 time;	  // ns, CLOCK_MONOTONIC
	__u64 first_seen; // packet ID, time part
	__u64 first_head; // packet ID, address part
	__u64 skb;
	__u64 value; // EVENT, LOOK: the look's mark; ORIGIN: socket cookie; CLONED, MOVED: new skb; TAP_ENTER: 1 if shared;
		     // BARRIER: its number; RETURNED: what the function returned; PARKED: enum place; SHAPED: device index;
		     // LINKED: enum relation
	__u64 netns; // EVENT, LOOK, ORIGIN, ENQUEUED, RETURNED, SHAPED: cookie, 0 if unknown
	__u32 scope;
	__u32 cpu;
	__u32 pid; // thread group
	__u16 probe; // EVENT, RETURNED: the probe's number
	__u8 kind;
	__u8 has; // EVENT: what follows; RETURNED: 1 if there is a value; both: HAS_STACK
};
_Static_assert(sizeof(struct header) == 64, "header has padding");

// What follows the event; one of them at most.
enum section {
	HAS_META = 1,
	HAS_NFT = 2,
	HAS_DROP = 4,
	HAS_LOOK = 8,
	HAS_IPTABLES = 16,
	HAS_STACK = 128, // beside another: a struct stack stands behind what follows
};

struct event {
	struct header h;
	__u32 tid;
	__u32 len; // skb->len
};

// What may be different at each probe, so it is told with every event, if anybody wants it.
struct meta {
	__u64 tstamp;
	__u32 data_len;
	__u32 hash;
	__u32 csum;
	__u32 mark;
	__u32 priority;
	__u32 users;
	__u32 dataref;
	__u32 gso_type;
	__u16 gso_size;
	__u16 gso_segs;
	__u16 queue_mapping;
	__u8 nr_frags;
	__u8 pkt_type;
	__u8 ip_summed;
	__u8 csum_level;
	__u8 fclone;
	__u8 flags; // enum meta_flag
	__u8 pad[4];
};
_Static_assert(sizeof(struct meta) == 56, "meta has padding");

enum meta_flag {
	META_L4_HASH = 1,
	META_SW_HASH = 2,
	META_CLONED = 4,
	META_NOHDR = 8,
};

struct meta_event {
	struct event e;
	struct meta m;
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

// What is compared to find out whether a packet has changed. Whole words, without padding that is not zero.
struct look {
	__u64 netns;  // cookies, 0 if unknown
	__u64 socket;
	__u32 tid;  // of the task that runs, with pid
	__u32 pid;
	__u32 ifindex; // 0 if there is no device
	__u32 rx_ifindex;
	__u16 protocol;	   // host byte order
	__u8 captured;	   // valid bytes of packet; the others are 0
	__u8 network;	   // where the network header is in packet
	__u16 vlan_proto;  // host byte order, 0 if there is no tag beside the data
	__u16 vlan_tci;
	__u64 nfct; // skb->_nfct, 0 if conntrack has not seen it, and then what follows is 0 too
	__u32 ct_status;
	__u32 ct_mark;
	__u64 labels[2];
	__u8 ct_protocol;
	__u8 ct_proto_state;
	__u8 pad[6];
	__u8 packet[PACKET_BYTES];
};
_Static_assert(sizeof(struct look) == 8 * 5 + 4 * 6 + 2 * 3 + 10 + PACKET_BYTES, "look has padding");

// A look, and what is told along with it.
struct told {
	struct look look;
	char comm[16]; // empty if the packet's last look was in the same task
	char device[16];
	__u32 inum; // of the namespace
	__u16 ct_zone;
	__u16 pad;
	struct tuple ct[2]; // original, reply
};

struct look_record {
	struct header h;
	struct told told;
};

struct look_event {
	struct event e;
	struct told told;
};

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
	char target[NAME_BYTES]; // of a jump or a goto
};

struct iptables_event {
	struct event e;
	__u32 verdict; // what the function returned
	__u8 hook;
	__u8 family;
	__u8 pad[2];
	char table[TABLE_BYTES];
};

struct shaped_record {
	struct header h;
	char device[16]; // of the qdisc
};

struct link_record {
	struct header h;
	__u64 first_seen; // the other packet's
	__u64 first_head;
};

struct drop_event {
	struct event e;
	__u32 reason;
	__u32 pad;
	char location[LOCATION_BYTES]; // as the kernel's %pS prints it
};

// The kernel's stack, innermost first, with the frames of the program itself and of what called it.
struct stack {
	__u32 frames;
	__u32 pad;
	__u64 address[STACK_FRAMES];
};

#endif
