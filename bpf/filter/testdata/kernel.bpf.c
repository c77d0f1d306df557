// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Programs that ask filters about what a test has put into a map, in the way in which the tracker asks about packets.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../filter.h"

struct subject {
	__u64 start; // 0: data
	__u64 skb;   // 0: data
	__u32 linear;
	__u32 len;
	__u16 vlan_tci;
	__u8 vlan;
	__u8 link;
	__u32 pad;
	__u64 itself; // where data is, for pointers in it; written by the program
	__u8 data[8192];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct subject);
} subjects SEC(".maps");

static __always_inline struct subject *fill(struct filter_input *in)
{
	__u32 zero = 0;
	struct subject *s = bpf_map_lookup_elem(&subjects, &zero);

	if (!s)
		return 0;
	s->itself = (__u64)s->data;
	in->start = s->start ? s->start : *(volatile __u64 *)&s->itself;
	in->skb = s->skb ? s->skb : *(volatile __u64 *)&s->itself;
	in->linear = s->linear;
	in->len = s->len;
	in->vlan_tci = s->vlan_tci;
	in->vlan = s->vlan;
	in->link = s->link;
	return s;
}

static __always_inline int packet(void)
{
	struct filter_input in = {};

	return fill(&in) ? filter_packet(&in) : -1;
}

static __always_inline int meta(void)
{
	struct filter_input in = {};

	return fill(&in) ? filter_meta(&in) : -1;
}

SEC("tc")
int ask_packet(struct __sk_buff *ctx)
{
	return packet();
}

SEC("tc")
int ask_meta(struct __sk_buff *ctx)
{
	return meta();
}

// What the test run and the lookup cost without a filter.
SEC("tc")
int ask_nothing(struct __sk_buff *ctx)
{
	struct filter_input in = {};

	return fill(&in) ? in.link : -1;
}

// As the tracker's programs are.
SEC("raw_tp")
int trace(void *ctx)
{
	return packet() + meta();
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// Types that the test looks at and no program mentions would be left out of the object.
const enum filter_verdict *keep_verdict __attribute__((unused));
const enum filter_link *keep_link __attribute__((unused));
