// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Events: the functions that a user asked for, by kprobe.multi. One program for each position of the skb among the
// arguments, so that nothing switches over registers; the attach cookie is the number of the probe.
#include "include/sections.h"

static __always_inline int observe(void *ctx, unsigned long argument)
{
	struct subject s;
	struct event *e;

	if (!argument || !identify(&s, typed(struct sk_buff, argument)))
		return 0;
	e = reserve(&s, sizeof(*e));
	if (!e)
		return 0;
	fill_event(e, &s, bpf_get_attach_cookie(ctx));
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("kprobe.multi")
int function_arg0(struct pt_regs *ctx)
{
	return observe(ctx, PT_REGS_PARM1(ctx));
}

SEC("kprobe.multi")
int function_arg1(struct pt_regs *ctx)
{
	return observe(ctx, PT_REGS_PARM2(ctx));
}

SEC("kprobe.multi")
int function_arg2(struct pt_regs *ctx)
{
	return observe(ctx, PT_REGS_PARM3(ctx));
}

SEC("kprobe.multi")
int function_arg3(struct pt_regs *ctx)
{
	return observe(ctx, PT_REGS_PARM4(ctx));
}

SEC("kprobe.multi")
int function_arg4(struct pt_regs *ctx)
{
	return observe(ctx, PT_REGS_PARM5(ctx));
}
