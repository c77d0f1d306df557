// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The sections that every event has: packet, device, namespace, conntrack.
#ifndef WAYBILL_SECTIONS_H
#define WAYBILL_SECTIONS_H

#include "identity.h"

#define NFCT_INFOMASK 7UL // include/linux/skbuff.h: the low bits of skb->_nfct are the packet's ctinfo

static __always_inline void fill_packet(struct event *e, struct sk_buff *skb)
{
	__u64 head = (__u64)skb->head;
	// An offset on 64-bit machines (NET_SKBUFF_DATA_USES_OFFSET): the end of the linear data.
	__u32 tail = skb->tail, network = skb->network_header, n;

	e->len = skb->len;
	e->protocol = __builtin_bswap16(skb->protocol);
	e->captured = 0;
	if (tail <= network)
		return;
	n = tail - network;
	if (n > PACKET_BYTES)
		n = PACKET_BYTES;
	if (bpf_probe_read_kernel(e->packet, n, (void *)(head + network)))
		return;
	e->captured = n;
	e->h.has |= HAS_PACKET;
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

static __always_inline void fill_conntrack(struct event *e, struct sk_buff *skb)
{
	unsigned long nfct = skb->_nfct, status = 0;
	const struct nf_conn *ct = (void *)(nfct & ~NFCT_INFOMASK);

	e->ct_info = nfct & NFCT_INFOMASK;
	if (!nfct)
		return;
	e->h.has |= HAS_CONNTRACK;
	if (!ct) { // untracked: ctinfo without an entry
		__builtin_memset(e->ct, 0, sizeof(e->ct));
		e->ct_status = e->ct_mark = e->ct_zone = 0;
		return;
	}
	// An index must be a constant where it stands, or clang does not relocate it.
	fill_tuple(&e->ct[0], &ct->tuplehash[0].tuple);
	fill_tuple(&e->ct[1], &ct->tuplehash[1].tuple);
	bpf_core_read(&status, sizeof(status), &ct->status);
	e->ct_status = status;
	e->ct_mark = 0;
	if (bpf_core_field_exists(ct->mark))
		bpf_core_read(&e->ct_mark, sizeof(e->ct_mark), &ct->mark);
	e->ct_zone = 0;
	if (bpf_core_field_exists(ct->zone))
		bpf_core_read(&e->ct_zone, sizeof(e->ct_zone), &ct->zone.id);
}

static __always_inline void fill_event(struct event *e, const struct subject *s, __u16 probe)
{
	fill_header(&e->h, KIND_EVENT, &s->id, (__u64)s->skb, 0);
	e->h.probe = probe;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->ifindex = 0;
	if (s->dev) {
		e->h.has |= HAS_DEVICE;
		e->ifindex = s->dev->ifindex;
		bpf_probe_read_kernel(e->device, sizeof(e->device), s->dev->name);
	}
	e->rx_ifindex = s->skb->skb_iif;
	e->inum = 0;
	e->pad = 0;
	if (s->net) {
		e->h.netns = s->net->net_cookie;
		e->inum = s->net->ns.inum;
	}
	fill_packet(e, s->skb);
	fill_conntrack(e, s->skb);
}

// Reserves a record of a constant size. The caller fills and submits it; NULL has been counted.
static __always_inline void *reserve(const struct subject *s, __u64 size)
{
	void *record = bpf_ringbuf_reserve(&records, size, 0);

	if (!record)
		lost(s->id.scope, LOSS_RING_FULL);
	return record;
}

#endif
