// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What an event tells: what the packet looks like, if that has changed, and where it is.
#ifndef WAYBILL_SECTIONS_H
#define WAYBILL_SECTIONS_H

#include "identity.h"
#include "pages.h"
#include "stack.h"

#define NFCT_INFOMASK 7UL // include/linux/skbuff.h: the low bits of skb->_nfct are the packet's ctinfo

enum {
	IPPROTO_TCP = 6,
	IPPROTO_SCTP = 132,
};

static __always_inline void look_at_packet(struct look *l, struct sk_buff *skb)
{
	__u64 head = (__u64)skb->head;
	// An offset on 64-bit machines (NET_SKBUFF_DATA_USES_OFFSET): the end of the linear data.
	__u32 tail = skb->tail, start = skb->network_header, mac = skb->mac_header, n;

	l->protocol = __builtin_bswap16(skb->protocol);
	if (mac != MAC_UNSET && mac < start && start - mac <= LONGEST_MAC) {
		l->network = start - mac;
		start = mac;
	}
	if (tail > start) {
		n = tail - start;
		if (n > PACKET_BYTES)
			n = PACKET_BYTES;
		if (bpf_probe_read_kernel(l->packet, n, (void *)(head + start)))
			return;
		l->captured = n;
	}
	if (skb->data_len) {
		// As a number: to the verifier, what is loaded from a typed pointer is a pointer, and no argument.
		bpf_core_read(&head, sizeof(head), &skb->head);
		look_at_pages(l, head + skb->end, tail < start ? start - tail : 0);
	}
}

static __always_inline void look_at_vlan(struct look *l, struct sk_buff *skb)
{
	const struct sk_buff___vlan_bit *old = (const void *)skb;

	if (bpf_core_field_exists(old->vlan_present) && !BPF_CORE_READ_BITFIELD_PROBED(old, vlan_present))
		return;
	l->vlan_tci = skb->vlan_tci;
	l->vlan_proto = __builtin_bswap16(skb->vlan_proto);
}

// Connection labels are an extension, which most connections do not have.
static __always_inline void look_at_labels(struct look *l, const struct nf_conn *ct)
{
	const struct nf_ct_ext *ext = BPF_CORE_READ(ct, ext);
	__u8 offset = 0;

	if (!ext || !bpf_core_enum_value_exists(enum nf_ct_ext_id, NF_CT_EXT_LABELS))
		return;
	bpf_probe_read_kernel(&offset, sizeof(offset),
			      &ext->offset[bpf_core_enum_value(enum nf_ct_ext_id, NF_CT_EXT_LABELS)]);
	if (offset)
		bpf_probe_read_kernel(l->labels, sizeof(l->labels), (void *)ext + offset);
}

static __always_inline void look_at_conntrack(struct look *l, struct sk_buff *skb)
{
	unsigned long nfct = skb->_nfct, status = 0;
	const struct nf_conn *ct = (void *)(nfct & ~NFCT_INFOMASK);
	__u32 state = 0;

	l->nfct = nfct;
	if (!ct) // none, or untracked: ctinfo without an entry
		return;
	bpf_core_read(&status, sizeof(status), &ct->status);
	l->ct_status = status;
	if (bpf_core_field_exists(ct->mark))
		bpf_core_read(&l->ct_mark, sizeof(l->ct_mark), &ct->mark);
	// An index must be a constant where it stands, or clang does not relocate it.
	bpf_core_read(&l->ct_protocol, sizeof(l->ct_protocol), &ct->tuplehash[0].tuple.dst.protonum);
	if (l->ct_protocol == IPPROTO_TCP) {
		bpf_core_read(&l->ct_proto_state, sizeof(l->ct_proto_state), &ct->proto.tcp.state);
	} else if (l->ct_protocol == IPPROTO_SCTP && bpf_core_field_exists(ct->proto.sctp.state)) {
		bpf_core_read(&state, sizeof(state), &ct->proto.sctp.state);
		l->ct_proto_state = state;
	}
	look_at_labels(l, ct);
}

static __always_inline void look_at(struct look *l, const struct subject *s)
{
	struct sock *sk = s->skb->sk;
	__u64 task = bpf_get_current_pid_tgid();

	__builtin_memset(l, 0, sizeof(*l));
	l->netns = s->netns;
	if (sk && sends_packets(sk))
		l->socket = sk->__sk_common.skc_cookie.counter;
	l->tid = task;
	l->pid = task >> 32;
	if (s->dev)
		l->ifindex = s->dev->ifindex;
	l->rx_ifindex = s->skb->skb_iif;
	look_at_packet(l, s->skb);
	look_at_vlan(l, s->skb);
	look_at_conntrack(l, s->skb);
}

static __always_inline __u64 mix(__u64 mark, __u64 word)
{
	mark = (mark ^ word) * 0x9e3779b97f4a7c15; // 2^64 over the golden ratio (Knuth 6.4)
	return mark ^ mark >> 32;
}

// The mark of a look: a hash, and never 0. It covers the time of first sight, so that packets never share one, not even if an
// identity's place in the map is given to another packet at this moment.
static __always_inline __u64 mark_of(const struct look *l, const struct identity *id)
{
	const __u64 *word = (const __u64 *)l;
	__u64 mark = id->first_seen;

#pragma unroll
	for (__u32 i = 0; i < offsetof(struct look, ct_status) / sizeof(*word); i++)
		mark = mix(mark, word[i]);
	if (l->nfct)
#pragma unroll
		for (__u32 i = offsetof(struct look, ct_status) / sizeof(*word); i < offsetof(struct look, packet) / sizeof(*word); i++)
			mark = mix(mark, word[i]);
#pragma unroll
	for (__u32 i = 0; i < PACKET_BYTES / sizeof(*word); i++) {
		if (i * sizeof(*word) >= l->captured)
			break;
		mark = mix(mark, word[offsetof(struct look, packet) / sizeof(*word) + i]);
	}
	return mark | 1;
}

static __always_inline void fill_tuple(struct tuple *t, const struct nf_conntrack_tuple *from)
{
	bpf_core_read(t->src, sizeof(t->src), &from->src.u3.all);
	bpf_core_read(t->dst, sizeof(t->dst), &from->dst.u3.all);
	bpf_core_read(&t->src_port, sizeof(t->src_port), &from->src.u.all);
	bpf_core_read(&t->dst_port, sizeof(t->dst_port), &from->dst.u.all);
	bpf_core_read(&t->l3num, sizeof(t->l3num), &from->src.l3num);
	bpf_core_read(&t->protonum, sizeof(t->protonum), &from->dst.protonum);
	t->pad = 0;
}

static __always_inline void tell_conntrack(struct told *t)
{
	const struct nf_conn *ct = (void *)(t->look.nfct & ~NFCT_INFOMASK);

	t->ct_zone = 0;
	__builtin_memset(t->ct, 0, sizeof(t->ct));
	if (!ct)
		return;
	fill_tuple(&t->ct[0], &ct->tuplehash[0].tuple);
	fill_tuple(&t->ct[1], &ct->tuplehash[1].tuple);
	if (bpf_core_field_exists(ct->zone))
		bpf_core_read(&t->ct_zone, sizeof(t->ct_zone), &ct->zone.id);
}

static __always_inline void tell(struct told *t, const struct subject *s, const struct look *l)
{
	t->look = *l;
	t->inum = inum_of(s);
	t->pad = 0;
	if (l->tid && l->tid == s->id.tid) // each CPU has an idle task 0, with a name of its own
		t->comm[0] = 0;
	else
		bpf_get_current_comm(t->comm, sizeof(t->comm));
	if (s->dev)
		bpf_probe_read_kernel(t->device, sizeof(t->device), s->dev->name);
	else
		t->device[0] = 0;
	tell_conntrack(t);
}

// Notes that a look was told. Not earlier: events that only name it must come after it.
static __always_inline void set_told(const struct subject *s, const struct look *l, __u64 mark)
{
	s->kept->tid = l->tid;
	s->kept->look = mark;
}

static __always_inline void tell_apart(const struct subject *s, const struct look *l, __u64 mark)
{
	struct look_record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);

	if (!r) {
		lost(s->id.scope, LOSS_LOOK);
		return;
	}
	fill_header_for(&r->h, KIND_LOOK, &s->id, (__u64)s->skb, mark, l->pid);
	r->h.netns = l->netns;
	tell(&r->told, s, l);
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	set_told(s, l, mark);
}

static __always_inline void fill_event(struct event *e, const struct subject *s, const struct look *l, __u64 mark,
				       __u16 probe)
{
	fill_header_for(&e->h, KIND_EVENT, &s->id, (__u64)s->skb, mark, l->pid);
	e->h.probe = probe;
	e->h.netns = l->netns;
	e->tid = l->tid;
	e->len = s->skb->len;
}

// Looks at the packet, and tells what it looks like if that has changed. Returns the look's mark.
static __always_inline __u64 tell_news(const struct subject *s, struct look *l)
{
	__u64 mark;

	look_at(l, s);
	mark = mark_of(l, &s->id);
	if (mark != s->id.look)
		tell_apart(s, l, mark);
	return mark;
}

// Reserves a record of a constant size for an event that is more than a sight, and fills in what all events have, and the
// stack behind it if the cookie wants it. The caller submits it; NULL has been counted.
static __always_inline void *begin_event(void *ctx, const struct subject *s, __u64 cookie, __u64 size)
{
	struct event *e;
	struct look l;
	__u64 mark = tell_news(s, &l);

	e = reserve(ctx, cookie, size);
	if (!e) {
		lost(s->id.scope, LOSS_RING_FULL);
		return 0;
	}
	fill_event(e, s, &l, mark, cookie);
	e->h.has = stack_of(cookie);
	return e;
}

// Reports the sight of a packet.
static __always_inline void report_event(const struct subject *s, __u16 probe)
{
	struct look_event *told;
	struct event *e;
	struct look l;
	__u64 mark;

	look_at(&l, s);
	mark = mark_of(&l, &s->id);
	if (mark == s->id.look) {
		e = bpf_ringbuf_reserve(&records, sizeof(*e), 0);
		if (!e) {
			lost(s->id.scope, LOSS_RING_FULL);
			return;
		}
		fill_event(e, s, &l, mark, probe);
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP); // others look how full the ring is: each packet has some
		return;
	}
	told = bpf_ringbuf_reserve(&records, sizeof(*told), 0);
	if (!told) {
		lost(s->id.scope, LOSS_RING_FULL);
		return;
	}
	fill_event(&told->e, s, &l, mark, probe);
	told->e.h.has = HAS_LOOK;
	tell(&told->told, s, &l);
	bpf_ringbuf_submit(told, wake(0));
	set_told(s, &l, mark);
}

static __always_inline void fill_meta(struct meta *m, struct sk_buff *skb)
{
	const struct skb_shared_info *shared = (void *)skb->head + skb->end;

	m->tstamp = skb->tstamp;
	m->data_len = skb->data_len;
	m->hash = skb->hash;
	m->csum = skb->csum;
	m->mark = skb->mark;
	m->priority = skb->priority;
	m->users = skb->users.refs.counter;
	m->dataref = (__u32)BPF_CORE_READ(shared, dataref.counter) & 0xffff; // the upper half counts holders of the payload
	m->gso_type = BPF_CORE_READ(shared, gso_type);
	m->gso_size = BPF_CORE_READ(shared, gso_size);
	m->gso_segs = BPF_CORE_READ(shared, gso_segs);
	m->nr_frags = BPF_CORE_READ(shared, nr_frags);
	m->queue_mapping = skb->queue_mapping;
	m->pkt_type = BPF_CORE_READ_BITFIELD(skb, pkt_type);
	m->ip_summed = BPF_CORE_READ_BITFIELD(skb, ip_summed);
	m->csum_level = BPF_CORE_READ_BITFIELD(skb, csum_level);
	m->fclone = BPF_CORE_READ_BITFIELD(skb, fclone);
	m->flags = (BPF_CORE_READ_BITFIELD(skb, l4_hash) ? META_L4_HASH : 0) |
		   (BPF_CORE_READ_BITFIELD(skb, sw_hash) ? META_SW_HASH : 0) |
		   (BPF_CORE_READ_BITFIELD(skb, cloned) ? META_CLONED : 0) |
		   (BPF_CORE_READ_BITFIELD(skb, nohdr) ? META_NOHDR : 0);
	__builtin_memset(m->pad, 0, sizeof(m->pad));
}

#endif
