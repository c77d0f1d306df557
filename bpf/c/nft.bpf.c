// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// nftables verdicts. While the kernel's trace switch is on, __nft_trace_packet is called for every rule that matched and
// for every policy that decided, whether or not the packet itself is marked for tracing.
#include "include/hook.h"
#include "include/sections.h"

// enum nft_verdicts, include/uapi/linux/netfilter/nf_tables.h
enum { JUMP = -3, GOTO = -4 };

enum { STOLEN = 2 }; // NF_STOLEN, include/uapi/linux/netfilter.h

enum { MAX_RULES = 65536 }; // of a chain, from the matching one to its end

// struct nft_rule_dp of include/net/netfilter/nf_tables.h: one word, and the expressions behind it. clang cannot
// relocate bit-fields as wide as these, so their places are written here; they are the same since rules became blobs
// (Linux 5.17).
struct rule {
	int is_last;
	__u32 length; // of the expressions, bytes
	__u64 handle;
};

static __always_inline void read_rule(struct rule *rule, __u64 address)
{
	__u64 word = 1; // what cannot be read ends the walk

	bpf_probe_read_kernel(&word, sizeof(word), (void *)address);
	rule->is_last = word & 1;
	rule->length = (word >> 1) & 0xfff;
	rule->handle = (word >> 13) & ((1ULL << 42) - 1);
}

static long next_rule(__u32 index, void *ctx)
{
	__u64 *address = ctx;
	struct rule rule;

	read_rule(&rule, *address);
	if (rule.is_last)
		return 1;
	*address += sizeof(__u64) + rule.length;
	return 0;
}

// A chain's rules lie one behind the other, and the pointer to the chain stands behind the last. Linux 6.1 does
// not have that pointer, and needs it not: it names the chain.
static __always_inline const struct nft_chain *chain_of_rule(__u64 rule)
{
	bpf_loop(MAX_RULES, next_rule, &rule, 0);
	return BPF_CORE_READ((const struct nft_rule_dp_last *)rule, chain);
}

// What the kernel says of one decision.
struct decision {
	const struct nft_chain *chain;
	const struct nft_base_chain *base;
	const struct nft_verdict *verdict;
	__u64 rule; // 0 if none matched
	__u8 type;  // enum nft_trace_types
};

// A rule has taken the packet away from its way, as synproxy and fwd do. Who has it now may have freed it, so that it must not be
// looked at. It is the one that nf_hook_slow has in hand, and looks as it did when it was last seen before.
static __always_inline struct nft_event *begin_stolen(void *ctx, __u64 skb)
{
	const struct call *call = work_around(ctx);
	__u64 cookie = bpf_get_attach_cookie(ctx), task = bpf_get_current_pid_tgid();
	struct nft_event *n;

	if (!call || call->skb != skb)
		return 0; // nobody's
	n = reserve(ctx, cookie, sizeof(*n));
	if (!n) {
		lost(call->id.scope, LOSS_RING_FULL);
		return 0;
	}
	fill_header_for(&n->e.h, KIND_EVENT, &call->id, skb, call->id.look, task >> 32);
	n->e.h.probe = cookie;
	n->e.h.has = stack_of(cookie);
	n->e.tid = task;
	n->e.len = call->len;
	return n;
}

// What else the kernel decided is looked at after this: before, the stack has no room for it.
static __always_inline struct nft_event *begin_verdict(void *ctx, struct sk_buff *skb, const struct nft_verdict *verdict)
{
	struct subject s;

	if (BPF_CORE_READ(verdict, code) == STOLEN)
		return begin_stolen(ctx, (__u64)skb);
	return identify(ctx, &s, skb) ? begin_event(ctx, &s, bpf_get_attach_cookie(ctx), sizeof(struct nft_event)) : 0;
}

static __always_inline int report_verdict(struct nft_event *n, const struct decision *d)
{
	// BPF_CORE_READ would relocate the access to the decision too.
	const struct nft_base_chain *base = d->base;
	const struct nft_verdict *verdict = d->verdict;
	const struct nft_chain *chain = d->chain;
	const struct nft_table *table;
	struct rule matched = {};

	n->e.h.has |= HAS_NFT;
	n->type = d->type;
	n->policy = BPF_CORE_READ(base, policy);
	n->verdict = BPF_CORE_READ(verdict, code);
	n->rule_handle = 0;
	if (d->rule) {
		read_rule(&matched, d->rule);
		if (!matched.is_last)
			n->rule_handle = matched.handle;
	}
	table = BPF_CORE_READ(chain, table);
	n->chain_handle = BPF_CORE_READ(chain, handle);
	n->table_handle = BPF_CORE_READ(table, handle);
	bpf_probe_read_kernel_str(n->chain, sizeof(n->chain), BPF_CORE_READ(chain, name));
	bpf_probe_read_kernel_str(n->table, sizeof(n->table), BPF_CORE_READ(table, name));
	n->target[0] = 0;
	if (n->verdict == JUMP || n->verdict == GOTO)
		bpf_probe_read_kernel_str(n->target, sizeof(n->target), BPF_CORE_READ(verdict, chain, name));
	bpf_ringbuf_submit(n, wake(0));
	return 0;
}

// Linux 6.12: __nft_trace_packet(pkt, verdict, rule, info, type). Base chains are named by the trace info; a
// rule may also be in a chain that was jumped to.
static __always_inline int verdict_of_packet(struct nft_event *n, const struct nft_verdict *verdict, __u64 rule,
					     const struct nft_traceinfo *info, __u8 type)
{
	struct decision d = {.verdict = verdict, .rule = rule, .type = type, .base = BPF_CORE_READ(info, basechain)};

	if (type == NFT_TRACETYPE_POLICY)
		d.rule = 0;
	if (d.rule)
		d.chain = chain_of_rule(d.rule);
	else
		d.chain = (void *)d.base + bpf_core_field_offset(struct nft_base_chain, chain);
	return report_verdict(n, &d);
}

// Linux 6.1: __nft_trace_packet(info, chain, type), with the rest in the info. The function itself writes chain and type
// there, but later.
static __always_inline int verdict_of_info(struct nft_event *n, const struct nft_traceinfo___with_packet *info,
					   const struct nft_chain *chain, __u8 type)
{
	struct decision d = {
		.chain = chain,
		.base = BPF_CORE_READ(info, basechain),
		.verdict = BPF_CORE_READ(info, verdict),
		.rule = type == NFT_TRACETYPE_POLICY ? 0 : (__u64)BPF_CORE_READ(info, rule),
		.type = type,
	};

	return report_verdict(n, &d);
}

SEC("kprobe.multi")
int function_nft(struct pt_regs *ctx)
{
	const struct nft_pktinfo *pkt = (void *)PT_REGS_PARM1(ctx);
	struct nft_event *n = begin_verdict(ctx, typed(struct sk_buff, BPF_CORE_READ(pkt, skb)),
					    (void *)PT_REGS_PARM2(ctx));

	return n ? verdict_of_packet(n, (void *)PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx), (void *)PT_REGS_PARM4(ctx),
				     PT_REGS_PARM5(ctx))
		 : 0;
}

HOOK(PART_EVENTS, "fentry/__nft_trace_packet", entry_nft)
{
	const struct nft_pktinfo *pkt = (void *)ctx[0];
	struct nft_event *n = begin_verdict(ctx, pkt->skb, (void *)number(ctx, 1));

	return n ? verdict_of_packet(n, (void *)number(ctx, 1), number(ctx, 2), (void *)number(ctx, 3), number(ctx, 4)) : 0;
}

SEC("kprobe.multi")
int function_nft_info(struct pt_regs *ctx)
{
	const struct nft_traceinfo___with_packet *info = (void *)PT_REGS_PARM1(ctx);
	struct nft_event *n = begin_verdict(ctx, typed(struct sk_buff, BPF_CORE_READ(info, pkt, skb)),
					    BPF_CORE_READ(info, verdict));

	return n ? verdict_of_info(n, info, (void *)PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx)) : 0;
}

HOOK(PART_EVENTS, "fentry/__nft_trace_packet", entry_nft_info)
{
	const struct nft_traceinfo___with_packet *info = (void *)ctx[0];
	struct nft_event *n = begin_verdict(ctx, info->pkt->skb, info->verdict);

	return n ? verdict_of_info(n, (void *)number(ctx, 0), (void *)number(ctx, 1), number(ctx, 2)) : 0;
}
