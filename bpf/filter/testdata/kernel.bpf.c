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

static __always_inline void read_snapshot(struct filter_input *in)
{
	__u32 n = in->linear;

	if (n > FILTER_SNAPSHOT)
		n = FILTER_SNAPSHOT;
	if (n && !bpf_probe_read_kernel(in->snapshot, n, (void *)in->start))
		in->have = n;
}

// Reads what is in one piece.
__noinline __u64 filter_read(struct filter_input *in, __u64 offset, __u32 size)
{
	__u8 bytes[4] = {};

	if (!in)
		return FILTER_UNREADABLE;
	if (size > sizeof(bytes) || offset + size > in->len)
		return FILTER_NO_BYTES;
	if (offset + size > in->linear || bpf_probe_read_kernel(bytes, size, (void *)in->start + offset))
		return FILTER_UNREADABLE;
	switch (size) {
	case 1:
		return bytes[0];
	case 2:
		return bytes[0] << 8 | bytes[1];
	}
	return (__u32)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

static __always_inline int packet(void)
{
	struct filter_input in = {};

	if (!fill(&in))
		return -1;
	read_snapshot(&in);
	return filter_packet(&in);
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

// What metadata filters are tried on: a small sk_buff, in the map's data. All that it points to is in there, too.
struct elsewhere; // as types that only a module knows

enum colour { RED, GREEN = 5, NO_COLOUR = -3 };

struct net {
	__u32 pad;
	struct {
		__u32 inum;
	} ns;
	__u64 net_cookie;
};

struct net_device {
	char name[16];
	int ifindex;
	struct {
		struct net *net;
	} nd_net;
	const char *ifalias;
};

struct nf_conn {
	__u32 zone;
	__u32 mark;
};

struct sk_buff {
	union {
		struct net_device *dev;
		unsigned long dev_scratch;
	};
	struct elsewhere *owner;
	unsigned long _nfct;
	__u8 cloned : 1;
	__u8 nohdr : 1;
	__u8 fclone : 2;
	__u8 pkt_type : 3;
	int cold : 5;
	__u32 wide : 19;
	__u32 mark;
	__u16 protocol;
	__s16 delta;
	__s64 tstamp;
	__s8 tiny;
	_Bool flag;
	enum colour colour;
	void *head;
	int numbers[4];
	char cb[48];
	float ratio;
	void (*destructor)(struct sk_buff *skb);
};

#define FAR(to, from) bpf_probe_read_kernel(&(to), sizeof(to), &(from))

// Decides what the expressions of the test decide, in C. The order is the same.
static __always_inline int expected(struct sk_buff *skb, __u32 n)
{
	struct net_device *dev = 0;
	struct net *net = 0;
	const char *alias = 0;
	__u32 number = 0;
	char name[16] = {};

	switch (n) {
	case 0: return skb->mark < 0x40000000;
	case 1: return skb->cloned;
	case 2: return skb->nohdr != 0;
	case 3: return skb->fclone == 2;
	case 4: return skb->pkt_type >= 4;
	case 5: return skb->cold < -3;
	case 6: return skb->cold >= 7;
	case 7: return skb->wide > 300000;
	case 8: return (skb->wide & 0x7) == 5;
	case 9: return skb->protocol == 0x0800;
	case 10: return skb->delta <= -100;
	case 11: return skb->delta > 1000;
	case 12: return skb->tstamp < 0;
	case 13: return skb->tstamp >= -4611686018427387904ll;
	case 14: return skb->tiny == -1;
	case 15: return skb->flag;
	case 16: return skb->colour == GREEN;
	case 17: return skb->colour == NO_COLOUR;
	case 18: return skb->colour == RED;
	case 19: return (skb->mark & 0xff00) >= 0x8000;
	case 20: return (skb->mark & ~0xff) != 0x100;
	case 21: return skb->head != 0;
	case 22: return (__s64)(skb->_nfct & 0x7) == 2;
	case 23: return skb->mark < 0x40000000 || (skb->cloned && skb->nohdr);
	case 24: return (skb->mark < 0x40000000 || skb->cloned) && !skb->nohdr;
	case 25: return !(skb->cloned || skb->nohdr);
	case 26: return skb->cb[0] == 'a' && skb->cb[1] == 'b' && !skb->cb[2];
	case 27: return skb->dev_scratch == 0;
	}
	// What is elsewhere: an address that is zero leads to nothing, one that is wrong to an answer that is not known.
	dev = skb->dev;
	if (n == 36) {
		dev = (void *)(skb->_nfct & ~0x7ul);
		if (!dev)
			return 0;
		return FAR(number, ((struct nf_conn *)dev)->mark) ? 2 : number > 0x80000000;
	}
	if (!dev)
		return n == 34; // not
	switch (n) {
	case 28: return FAR(number, dev->ifindex) ? 2 : (int)number < 0;
	case 29: return FAR(name, dev->name) ? 2 : name[0] == 'e' && name[1] == '0' && !name[2];
	case 30: return FAR(name, dev->name) ? 2 : name[0] != 'e' || name[1] != '0' || name[2];
	case 31: return FAR(number, dev->ifindex) ? 2 : (number & 0xf) == 3;
	}
	if (n == 35) {
		if (FAR(alias, dev->ifalias))
			return 2;
		if (!alias)
			return 0;
		if (bpf_probe_read_kernel_str(name, sizeof(name), alias) < 0)
			return 2;
		return name[0] == 'u' && name[1] == 'p' && !name[2];
	}
	if (FAR(net, dev->nd_net.net))
		return 2;
	if (!net)
		return n == 34;
	switch (n) {
	case 32: return FAR(number, net->ns.inum) ? 2 : number > 0x80000000;
	case 33: return FAR(number, net->ns.inum) ? 2 : number > 0x80000000 && skb->cloned;
	case 34: return FAR(number, net->ns.inum) ? 2 : !(number > 0x80000000);
	}
	return -1;
}

volatile const __u32 question;

SEC("tc")
int expect(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct subject *s = bpf_map_lookup_elem(&subjects, &zero);

	return s ? expected((struct sk_buff *)s->data, question) : -1;
}

// The kernel's own sk_buff, as far as packets are found by it.
struct sk_buff___kernel {
	unsigned int len;
	unsigned int data_len;
	__u16 network_header;
	__u16 mac_header;
	unsigned int tail;
	unsigned char *head;
} __attribute__((preserve_access_index));

volatile const __u32 task;
volatile __u32 packets;
volatile __u32 packet_verdict;
volatile __u32 meta_verdict;

// Asks both filters about a real packet, the first one that the test sends. What follows may be the other end's answer. As
// in the tracker, skb is a pointer to the verifier, and a number to the filters.
SEC("tp_btf/net_dev_queue")
int real(__u64 *ctx)
{
	struct sk_buff___kernel *skb = (void *)ctx[0];
	__u32 mac = skb->mac_header, tail = skb->tail;
	struct filter_input in = {};

	if (bpf_get_current_pid_tgid() >> 32 != task || tail <= mac || packets++)
		return 0;
	in.skb = (__u64)skb;
	in.start = (__u64)skb->head + mac;
	in.linear = tail - mac;
	in.len = in.linear + skb->data_len;
	in.link = FILTER_ETHERNET;
	read_snapshot(&in);
	packet_verdict = filter_packet(&in);
	meta_verdict = filter_meta(&in);
	return 0;
}

// Types that the test looks at and no program mentions would be left out of the object.
const enum filter_verdict *keep_verdict __attribute__((unused));
const enum filter_link *keep_link __attribute__((unused));
const struct sk_buff *keep_sk_buff __attribute__((unused));
const struct net_device *keep_net_device __attribute__((unused));
const struct net *keep_net __attribute__((unused));
const struct nf_conn *keep_nf_conn __attribute__((unused));
