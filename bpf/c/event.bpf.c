// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Events: the functions that a user asked for. One program for each position of the skb among the arguments, so that
// nothing switches over registers; the attach cookie is the number of the probe.
//
// There are two families. Programs of kprobe.multi are loaded once and attach to any number of functions in the time of
// a few others; they share one busy flag per CPU, and the kernel counts what it skips for that reason. They are for
// patterns, and for what the others cannot be attached to. A program of the fentry family is loaded once more for each
// function, and it is a hook: nothing is skipped. Its runs cost less, too.
#include "include/hook.h"
#include "include/sections.h"

static __always_inline int observe(void *ctx, struct sk_buff *skb)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct meta_event *m;
	struct event *e;
	struct subject s;

	if (!identify_for(ctx, &s, skb, !!(cookie & COOKIE_ON_WAY_OUT)))
		return 0;
	if (meta_wanted) {
		m = begin_event(ctx, &s, cookie, sizeof(*m));
		if (!m)
			return 0;
		m->e.h.has |= HAS_META;
		fill_meta(&m->m, skb);
		bpf_ringbuf_submit(m, wake(0));
		return 0;
	}
	if (cookie & COOKIE_STACK) {
		e = begin_event(ctx, &s, cookie, sizeof(*e));
		if (e)
			bpf_ringbuf_submit(e, wake(0));
		return 0;
	}
	report_event(&s, cookie);
	return 0;
}

static __always_inline int observe_register(void *ctx, unsigned long argument)
{
	return argument ? observe(ctx, typed(struct sk_buff, argument)) : 0;
}

// The verifier knows the types of a function's arguments.
static __always_inline int observe_argument(void *ctx, __u64 argument)
{
	return argument ? observe(ctx, (struct sk_buff *)argument) : 0;
}

// Shows whether the kernel knows this way of attaching, in no time.
SEC("kprobe.multi")
int nothing(struct pt_regs *ctx)
{
	return 0;
}

SEC("kprobe.multi")
int function_arg0(struct pt_regs *ctx)
{
	return observe_register(ctx, PT_REGS_PARM1(ctx));
}

SEC("kprobe.multi")
int function_arg1(struct pt_regs *ctx)
{
	return observe_register(ctx, PT_REGS_PARM2(ctx));
}

SEC("kprobe.multi")
int function_arg2(struct pt_regs *ctx)
{
	return observe_register(ctx, PT_REGS_PARM3(ctx));
}

SEC("kprobe.multi")
int function_arg3(struct pt_regs *ctx)
{
	return observe_register(ctx, PT_REGS_PARM4(ctx));
}

SEC("kprobe.multi")
int function_arg4(struct pt_regs *ctx)
{
	return observe_register(ctx, PT_REGS_PARM5(ctx));
}

HOOK(PART_EVENTS, "fentry/function", entry_arg0)
{
	return observe_argument(ctx, ctx[0]);
}

HOOK(PART_EVENTS, "fentry/function", entry_arg1)
{
	return observe_argument(ctx, ctx[1]);
}

HOOK(PART_EVENTS, "fentry/function", entry_arg2)
{
	return observe_argument(ctx, ctx[2]);
}

HOOK(PART_EVENTS, "fentry/function", entry_arg3)
{
	return observe_argument(ctx, ctx[3]);
}

HOOK(PART_EVENTS, "fentry/function", entry_arg4)
{
	return observe_argument(ctx, ctx[4]);
}
