// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The branches of a packet: its clones, the copies that packet sockets take, and the places where an skb comes to rest.
// Always attached, and fentry and fexit for the same reason as the lifetimes. What only runs with softirqs disabled does with one
// program (hook.h): where packets are received or given to a device.
#include "include/call.h"
#include "include/hook.h"
#include "include/identity.h"

#define EINPROGRESS 115 // include/uapi/asm-generic/errno.h

// The calls whose ends are told.
struct call pending[CALLS];

static __always_inline void enter(const void *ctx, struct sk_buff *skb, const struct identity *id)
{
	__u32 number = begin_call(pending, low_half_of((__u64)ctx));
	struct call *call = call_number(pending, number - 1);

	if (!number) {
		lost(id->scope, LOSS_PENDING_FULL);
		return;
	}
	call->skb = (__u64)skb;
	call->id = *id;
	call->head = (__u64)skb->head;
}

// Reports how the call ended. The skb may be gone already: it is used as a number only.
static __always_inline void leave_with(const void *ctx, struct sk_buff *skb, __u8 kind, int happened, __u64 value, __u64 netns)
{
	__u32 number = call_in(pending, low_half_of((__u64)ctx));
	struct call *call = call_number(pending, number - 1);
	struct identity id;
	int same;

	if (!number)
		return;
	id = call->id;
	same = call->skb == (__u64)skb; // it is not, if the return of an earlier call was not seen, and the packet of this one is unknown
	call->frame = 0;
	if (same && happened)
		report(kind, &id, (__u64)skb, value, netns);
}

static __always_inline void leave(const void *ctx, struct sk_buff *skb, __u8 kind, int happened, __u64 netns)
{
	leave_with(ctx, skb, kind, happened, 0, netns);
}

static __always_inline int enter_known(const void *ctx, struct sk_buff *skb)
{
	struct identity id;

	if (known(skb, &id))
		enter(ctx, skb, &id);
	return 0;
}

HOOK(PART_REPORTS, "fexit/skb_clone", skb_clone, struct sk_buff *skb, unsigned int gfp, struct sk_buff *clone)
{
	struct identity id;

	if (clone && known(skb, &id))
		report(KIND_CLONED, &id, (__u64)skb, (__u64)clone, 0);
	return 0;
}

// --- Packet sockets ---------------------------------------------------------------------------------------------------
// If others hold the skb too, the socket keeps a clone of it; if not, it keeps the skb itself.

static __always_inline int enter_tap(const void *ctx, struct sk_buff *skb)
{
	struct identity id;

	if (!known(skb, &id))
		return 0;
	report(KIND_TAP_ENTER, &id, (__u64)skb, skb->users.refs.counter > 1, 0);
	enter(ctx, skb, &id);
	return 0;
}

SEC("fentry/packet_rcv")
int BPF_PROG(packet_rcv, struct sk_buff *skb)
{
	return enter_tap(ctx, skb);
}

SEC("fexit/packet_rcv")
int BPF_PROG(packet_rcv_exit, struct sk_buff *skb)
{
	leave(ctx, skb, KIND_TAP_EXIT, 1, 0);
	return 0;
}

SEC("fentry/tpacket_rcv")
int BPF_PROG(tpacket_rcv, struct sk_buff *skb)
{
	return enter_tap(ctx, skb);
}

SEC("fexit/tpacket_rcv")
int BPF_PROG(tpacket_rcv_exit, struct sk_buff *skb)
{
	leave(ctx, skb, KIND_TAP_EXIT, 1, 0);
	return 0;
}

// --- Resting places -----------------------------------------------------------------------------------------------------

SEC("fentry/__udp_enqueue_schedule_skb")
int BPF_PROG(udp_enqueue, struct sock *sk, struct sk_buff *skb)
{
	return enter_known(ctx, skb);
}

SEC("fexit/__udp_enqueue_schedule_skb")
int BPF_PROG(udp_enqueue_exit, struct sock *sk, struct sk_buff *skb, int error)
{
	leave(ctx, skb, KIND_ENQUEUED, !error, sk->__sk_common.skc_net.net->net_cookie);
	return 0;
}

HOOK(PART_REPORTS, "fentry/__sock_queue_rcv_skb", sock_queue, struct sock *sk, struct sk_buff *skb)
{
	return enter_known(ctx, skb);
}

HOOK(PART_REPORTS, "fexit/__sock_queue_rcv_skb", sock_queue_exit, struct sock *sk, struct sk_buff *skb, int error)
{
	leave(ctx, skb, KIND_ENQUEUED, !error, sk->__sk_common.skc_net.net->net_cookie);
	return 0;
}

// Sets or clears the mark by which the packet's next transmission is recognized as its way out of a neighbour's queue.
static __always_inline void set_parked(__u64 head, __u16 parked)
{
	struct identity *id = identity_at(head);

	if (id)
		id->parked = parked;
}

// Says whether the packet of the call that ends has the mark still.
static __always_inline int still_parked(const void *ctx)
{
	__u32 number = call_in(pending, low_half_of((__u64)ctx));
	const struct call *call = call_number(pending, number - 1);
	const struct identity *id = number ? identity_at(call->head) : 0;

	return id && id->parked && id->first_seen == call->id.first_seen && id->first_head == call->id.first_head;
}

// Returns 1 if the skb was queued until the neighbour answers, or was dropped because it does not; the drop is reported
// by itself, earlier. The mark is set before the call: from within it, another CPU may already send the packet on.
HOOK(PART_REPORTS, "fentry/__neigh_event_send", neigh_event_send, void *neigh, struct sk_buff *skb)
{
	struct identity id;

	if (!skb || !known(skb, &id))
		return 0;
	set_parked((__u64)skb->head, 1);
	enter(ctx, skb, &id);
	take_in_hand(ctx, skb, RELATION_SOLICITATION);
	return 0;
}

// With 0 the caller still has the skb in hand, and goes on to send it. With 1 it may have been sent by now: before this returns, it
// enables softirqs, and the first one brings the neighbour's answer. The packet may wait for something else then.
HOOK(PART_REPORTS, "fexit/__neigh_event_send", neigh_event_send_exit, void *neigh, struct sk_buff *skb, _Bool immediate, int held)
{
	lay_down(ctx);
	if (skb && !held)
		set_parked((__u64)skb->head, 0);
	leave(ctx, skb, KIND_PARKED, held && still_parked(ctx), 0);
	return 0;
}

// --- TCP's queues -------------------------------------------------------------------------------------------------------
// net/ipv4/tcp_input.c of 6.1, 6.12, 7.2 and 7.3. What comes in order goes through tcp_queue_rcv, from tcp_rcv_established or
// tcp_data_queue; what comes early is put into the out-of-order queue by tcp_data_queue_ofo, which is a part of
// tcp_data_queue by the compiler. Both functions hold the socket, so no reader has the skb before they return.

// The data is in the socket's queue: as this skb, or appended to the last one there. In the latter case the skb is freed by
// the caller (kfree_skb_partial), so it is alive now.
HOOK(PART_REPORTS, "fexit/tcp_queue_rcv", tcp_queue_rcv_exit, struct sock *sk, struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct identity id;

	if (!known(skb, &id))
		return 0;
	bpf_map_delete_elem(&waiting, &key);
	report(KIND_ENQUEUED, &id, (__u64)skb, 0, sk->__sk_common.skc_net.net->net_cookie);
	return 0;
}

// Notes that an skb of the packet waits, if the packet is known, and returns where its identity is kept.
static __always_inline struct identity *wait_for(struct sk_buff *skb, struct identity *id, __u32 what, __u64 netns)
{
	struct identity *kept = known(skb, id);
	__u64 key = (__u64)skb;

	if (kept) {
		struct wait w = {.id = *id, .netns = netns, .what = what};

		kept->waits = 1; // before the skb can be let go
		if (bpf_map_update_elem(&waiting, &key, &w, BPF_ANY))
			lost(id->scope, LOSS_PENDING_FULL);
	}
	return kept;
}

HOOK(PART_REPORTS, "fentry/tcp_data_queue", tcp_data_queue, struct sock *sk, struct sk_buff *skb)
{
	struct identity id;

	wait_for(skb, &id, WAITS_FOR_TCP, sk->__sk_common.skc_net.net->net_cookie);
	return 0;
}

// What was acknowledgement only, or refused, has been released, and what was appended to another skb has been reported then
// (absorb). What still waits is in the out-of-order queue.
HOOK(PART_REPORTS, "fexit/tcp_data_queue", tcp_data_queue_exit, struct sock *sk, struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct wait *found = bpf_map_lookup_elem(&waiting, &key), w;

	if (!found)
		return 0;
	w = *found;
	bpf_map_delete_elem(&waiting, &key);
	if (w.what == WAITS_FOR_TCP)
		report(KIND_ENQUEUED, &w.id, (__u64)skb, 0, w.netns);
	return 0;
}

// --- Qdiscs -------------------------------------------------------------------------------------------------------------
// The tracepoints qdisc_enqueue and qdisc_dequeue do not serve: the first comes when the packet may have left already, and
// the second tells the first packet of a batch only. dev_qdisc_enqueue is out of line on 6.1, 6.12, 7.2 and 7.3
// (net/core/dev.c); a packet that finds its qdisc empty may bypass it. Whatever leaves for a device comes through
// dev_hard_start_xmit, where net_dev_start_xmit is.

SEC("fentry/dev_qdisc_enqueue")
int BPF_PROG(dev_qdisc_enqueue, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct shaped_record *r;
	struct identity id;

	if (!wait_for(skb, &id, WAITS_FOR_QDISC, 0))
		return 0;
	r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	if (!r) {
		lost(id.scope, LOSS_RING_FULL);
		return 0;
	}
	fill_header(&r->h, KIND_SHAPED, &id, (__u64)skb, dev->ifindex);
	r->h.netns = dev->nd_net.net->net_cookie;
	bpf_probe_read_kernel(r->device, sizeof(r->device), dev->name);
	bpf_ringbuf_submit(r, wake(1));
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(net_dev_start_xmit, struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct wait *found = bpf_map_lookup_elem(&waiting, &key);
	struct identity id, queued;

	if (!found)
		return 0;
	queued = found->id;
	bpf_map_delete_elem(&waiting, &key);
	// The address may be in use by another packet, if the end of the one that was in the qdisc was missed.
	if (known(skb, &id) && id.first_seen == queued.first_seen && id.first_head == queued.first_head)
		report(KIND_RESUMED, &id, (__u64)skb, 0, 0);
	return 0;
}

// --- Fragments ----------------------------------------------------------------------------------------------------------
// net/ipv4/ip_fragment.c, net/ipv6/reassembly.c and net/ipv4/inet_fragment.c of 6.1, 6.12, 7.2 and 7.3. The functions that
// reassemble return -EINPROGRESS if they kept the fragment to wait for others; ip_frag_queue and ip6_frag_queue, which decide
// that, are parts of them by the compiler. Another CPU may have completed the datagram by the time of the return.

HOOK(PART_REPORTS, "fentry/ip_defrag", ip_defrag, void *net, struct sk_buff *skb)
{
	return enter_known(ctx, skb);
}

HOOK(PART_REPORTS, "fexit/ip_defrag", ip_defrag_exit, void *net, struct sk_buff *skb, __u32 user, int error)
{
	leave_with(ctx, skb, KIND_PARKED, error == -EINPROGRESS, PLACE_FRAGMENTS, 0);
	return 0;
}

SEC("fentry/ipv6_frag_rcv")
int BPF_PROG(ipv6_frag_rcv, struct sk_buff *skb)
{
	return enter_known(ctx, skb);
}

SEC("fexit/ipv6_frag_rcv")
int BPF_PROG(ipv6_frag_rcv_exit, struct sk_buff *skb, int error)
{
	leave_with(ctx, skb, KIND_PARKED, error == -EINPROGRESS, PLACE_FRAGMENTS, 0);
	return 0;
}

// Reassembly puts the datagram together in the skb that completed it. If that is not the first fragment, it goes on as a clone
// (inet_frag_reasm_prepare calls skb_clone), and the skb becomes what the first fragment's was, which is freed.
HOOK(PART_REPORTS, "fentry/skb_morph", skb_morph, struct sk_buff *to, struct sk_buff *from)
{
	struct identity id;

	if (known(to, &id))
		report(KIND_MOVED, &id, (__u64)to, 0, 0);
	return 0;
}

HOOK(PART_REPORTS, "fexit/skb_morph", skb_morph_exit, struct sk_buff *to, struct sk_buff *from)
{
	struct identity id;

	if (known(from, &id))
		report(KIND_MOVED, &id, (__u64)from, (__u64)to, 0);
	return 0;
}

// The datagram is complete. Fragments that could not be appended to the first one's data hang on its list, for as long as it
// lives. Of 64 KiB, fragments of the least size that IPv4 demands (68 bytes, 48 of data) make 1366.
enum { MAX_FRAGMENTS = 1366 };

struct fragments {
	const struct sk_buff *next;
	struct identity datagram;
};

static long absorb_next(__u32 i, struct fragments *f)
{
	const struct sk_buff *fragment = f->next;
	struct identity *found, id;
	__u64 head;

	if (!fragment)
		return 1;
	head = (__u64)BPF_CORE_READ(fragment, head);
	found = identity_at(head);
	if (found) {
		id = *found;
		report(KIND_ABSORBED, &id, (__u64)fragment, 0, 0);
		if (f->datagram.scope)
			tell_link(&id, (__u64)fragment, RELATION_MERGED, &f->datagram);
	}
	f->next = BPF_CORE_READ(fragment, next);
	return 0;
}

HOOK(PART_REPORTS, "fexit/inet_frag_reasm_finish", inet_frag_reasm_finish_exit, void *queue, struct sk_buff *skb)
{
	const struct skb_shared_info *shared;
	struct fragments rest = {};

	if (known(skb, &rest.datagram))
		report(KIND_RESUMED, &rest.datagram, (__u64)skb, 0, 0); // first, so that the datagram does not seem to be at rest
	shared = (void *)skb->head + skb->end;
	rest.next = BPF_CORE_READ(shared, frag_list);
	bpf_loop(MAX_FRAGMENTS, absorb_next, &rest, 0); // Linux 5.17
	return 0;
}
