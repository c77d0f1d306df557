// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The kernel's types, as far as the tracker looks at them. Only the names of types and fields matter: the loader
// relocates every access by the BTF of the running kernel, so order, size and neighbours of fields here mean nothing.
#ifndef WAYBILL_KERNEL_H
#define WAYBILL_KERNEL_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define EEXIST 17 // include/uapi/asm-generic/errno-base.h

// include/linux/socket.h
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17

#define MAC_UNSET 0xffff // skb_mac_header_was_set, include/linux/skbuff.h
#define LONGEST_MAC 32	 // a MAC header that is further away is an old one

// The argument registers of a kprobe; this one is an ABI and is not relocated.
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	unsigned long rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
};
#endif
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	long long counter;
} atomic64_t;

struct refcount_struct {
	atomic_t refs;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	__u64 net_cookie;
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct task_struct {
	void *stack;
};

struct net_device {
	char name[16];
	int ifindex;
	unsigned short type;
	possible_net_t nd_net;
};

struct sock_common {
	unsigned short skc_family;
	possible_net_t skc_net;
	atomic64_t skc_cookie;
};

struct sk_buff;

struct sk_buff_head {
	struct sk_buff *prev;
};

struct sock {
	struct sock_common __sk_common;
	struct sk_buff_head sk_receive_queue;
};

struct neighbour {
	struct sk_buff_head arp_queue;
};

struct kmem_cache {
	unsigned int object_size;
};

struct page {
	unsigned long flags;
};

struct skb_frag {
	unsigned long netmem;
	unsigned int len;
	unsigned int offset;
};

struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
};

struct skb_shared_info {
	struct sk_buff *frag_list;
	__u8 nr_frags;
	unsigned short gso_size;
	unsigned short gso_segs;
	unsigned int gso_type;
	atomic_t dataref;
	struct bio_vec frags[17];
};

struct sk_buff {
	struct sk_buff *next;
	struct sk_buff *prev;
	struct net_device *dev;
	struct sock *sk;
	long long tstamp;
	unsigned long _nfct;
	unsigned long _skb_refdst;
	unsigned int len;
	unsigned int data_len;
	__u16 queue_mapping;
	__u8 cloned : 1;
	__u8 nohdr : 1;
	__u8 fclone : 2;
	__u8 head_frag : 1;
	__u8 pkt_type : 3;
	__u8 ip_summed : 2;
	__u8 l4_hash : 1;
	__u8 sw_hash : 1;
	__u8 csum_level : 2;
	unsigned int csum;
	__u32 priority;
	int skb_iif;
	__u32 hash;
	__u16 vlan_proto;
	__u16 vlan_tci;
	__u32 mark;
	__u16 protocol;
	__u16 network_header;
	__u16 mac_header;
	unsigned int tail;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
	struct refcount_struct users;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff_fclones {
	struct sk_buff skb1;
	struct sk_buff skb2;
};

enum gro_result { GRO_MERGED, GRO_MERGED_FREE };

// Linux 6.1 says with a bit whether there is a tag; later ones, whether the tag is all zeros.
struct sk_buff___vlan_bit {
	__u8 vlan_present : 1;
};

union nf_inet_addr {
	__u32 all[4];
};

union nf_conntrack_man_proto {
	__u16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	__u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__u16 all;
		} u;
		__u8 protonum;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conntrack_zone {
	__u16 id;
};

struct ip_ct_tcp {
	__u8 state;
};

enum sctp_conntrack { SCTP_CONNTRACK_NONE };

struct ip_ct_sctp {
	enum sctp_conntrack state;
};

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
	struct ip_ct_sctp sctp;
};

struct nf_ct_ext {
	__u8 offset[1];
};

enum nf_ct_ext_id { NF_CT_EXT_LABELS = 1 };

struct nf_conn {
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	struct nf_ct_ext *ext;
	union nf_conntrack_proto proto;
	__u32 mark;
};

struct nft_table {
	__u64 handle;
	char *name;
};

struct nft_chain {
	struct nft_table *table;
	__u64 handle;
	char *name;
};

struct nft_base_chain {
	__u8 policy;
	struct nft_chain chain;
};

struct nft_verdict {
	__u32 code;
	struct nft_chain *chain; // of a jump or a goto
};

struct nft_pktinfo {
	struct sk_buff *skb;
};

struct nft_traceinfo {
	_Bool nf_trace;
	const struct nft_base_chain *basechain;
};

struct nft_traceinfo___with_packet {
	const struct nft_pktinfo *pkt;
	const struct nft_base_chain *basechain;
	const struct nft_rule_dp *rule;
	const struct nft_verdict *verdict;
};

struct nft_rule_dp_last {
	const struct nft_chain *chain;
};

struct nf_hook_state {
	__u8 hook;
	__u8 pf;
};

struct xt_table {
	char name[32];
};

enum nft_trace_types {
	NFT_TRACETYPE_UNSPEC,
	NFT_TRACETYPE_POLICY,
	NFT_TRACETYPE_RETURN,
	NFT_TRACETYPE_RULE,
};

#pragma clang attribute pop

// An argument of a function as a number. The verifier would follow it as a typed pointer, through every step along a
// chain's rules.
static __always_inline __u64 number(__u64 *ctx, __u32 position)
{
	__u64 value = 0;

	bpf_get_func_arg(ctx, position, &value);
	return value;
}

// bpf_rdonly_cast makes an address a typed pointer whose fields can be loaded directly; a bad address reads as zero.
// Linux 6.2 and later.
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

#define typed(type, address) ((type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type)))

#endif
