// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Verdicts of iptables: what the tables' functions, ipt_do_table and ip6t_do_table, return. A verdict is known when the
// packet may be gone, or be somebody else's; so it is an event of the packet as it was when the table was entered. See
// return.bpf.c for how the return finds the call.
//
// The arguments are (struct xt_table *, struct sk_buff *, const struct nf_hook_state *) since Linux 5.16.

HOOK(PART_EVENTS, "fentry/function", table_entry)
{
	return begin_work(ctx, ctx[1], 1);
}

HOOK(PART_EVENTS, "fexit/function", table_return)
{
	struct frame frame = frame_of(ctx);
	struct work *found = bpf_map_lookup_elem(&works, &frame);
	const struct nf_hook_state *state;
	const struct xt_table *table;
	struct iptables_event *i;
	__u64 verdict = 0;
	struct work work;

	if (!found)
		return 0;
	work = *found;
	bpf_map_delete_elem(&works, &frame);
	i = reserve(ctx, frame.probe, sizeof(*i));
	if (!i) {
		lost(work.id.scope, LOSS_RING_FULL);
		return 0;
	}
	fill_header(&i->e.h, KIND_EVENT, &work.id, work.skb, work.id.look);
	i->e.h.probe = frame.probe;
	i->e.h.netns = work.netns;
	i->e.h.has = HAS_IPTABLES | stack_of(frame.probe);
	i->e.tid = bpf_get_current_pid_tgid();
	i->e.len = work.len;
	table = (const void *)number(ctx, 0);
	state = (const void *)number(ctx, 2);
	bpf_get_func_ret(ctx, &verdict);
	i->verdict = verdict;
	i->hook = BPF_CORE_READ(state, hook);
	i->family = BPF_CORE_READ(state, pf);
	__builtin_memset(i->pad, 0, sizeof(i->pad));
	bpf_probe_read_kernel_str(i->table, sizeof(i->table), &table->name);
	bpf_ringbuf_submit(i, wake(0));
	return 0;
}
