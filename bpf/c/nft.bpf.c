// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// nftables verdicts. While the kernel's trace switch is on, __nft_trace_packet is called for every rule that matched and
// for every policy that decided, whether or not the packet itself is marked for tracing.
#include "include/sections.h"

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

// A chain's rules lie one behind the other, and the pointer to the chain stands behind the last. Base chains are named
// by the trace info; a rule may also be in a chain that was jumped to.
static __always_inline const struct nft_chain *chain_of(__u64 rule, const struct nft_traceinfo *info)
{
	const struct nft_base_chain *base = BPF_CORE_READ(info, basechain);

	if (!rule)
		return (void *)base + bpf_core_field_offset(struct nft_base_chain, chain);
	bpf_loop(MAX_RULES, next_rule, &rule, 0);
	return BPF_CORE_READ((const struct nft_rule_dp_last *)rule, chain);
}

// Linux 6.3 and later: __nft_trace_packet(pkt, verdict, rule, info, type).
SEC("kprobe.multi")
int nft_trace_packet(struct pt_regs *ctx)
{
	const struct nft_pktinfo *pkt = (void *)PT_REGS_PARM1(ctx);
	const struct nft_verdict *verdict = (void *)PT_REGS_PARM2(ctx);
	__u64 rule = PT_REGS_PARM3(ctx);
	const struct nft_traceinfo *info = (void *)PT_REGS_PARM4(ctx);
	const struct nft_chain *chain;
	const struct nft_table *table;
	struct nft_event *n;
	struct subject s;

	if (!identify(&s, typed(struct sk_buff, BPF_CORE_READ(pkt, skb))))
		return 0;
	n = reserve(&s, sizeof(*n));
	if (!n)
		return 0;
	fill_event(&n->e, &s, bpf_get_attach_cookie(ctx));
	n->e.h.has |= HAS_NFT;
	n->type = PT_REGS_PARM5(ctx);
	n->policy = BPF_CORE_READ(info, basechain, policy);
	n->verdict = BPF_CORE_READ(verdict, code);
	if (n->type == NFT_TRACETYPE_POLICY)
		rule = 0;
	n->rule_handle = 0;
	if (rule) {
		struct rule matched;

		read_rule(&matched, rule);
		if (!matched.is_last)
			n->rule_handle = matched.handle;
	}
	chain = chain_of(rule, info);
	table = BPF_CORE_READ(chain, table);
	n->chain_handle = BPF_CORE_READ(chain, handle);
	n->table_handle = BPF_CORE_READ(table, handle);
	bpf_probe_read_kernel_str(n->chain, sizeof(n->chain), BPF_CORE_READ(chain, name));
	bpf_probe_read_kernel_str(n->table, sizeof(n->table), BPF_CORE_READ(table, name));
	bpf_ringbuf_submit(n, 0);
	return 0;
}
