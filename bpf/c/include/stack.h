// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The kernel's stack, behind records of probes that were armed with /stack. User space asks what the addresses are named.
#ifndef WAYBILL_STACK_H
#define WAYBILL_STACK_H

#include "cookie.h"
#include "maps.h"

// Set by user space while somebody wants the stacks of drops, whose programs have no cookies.
volatile __u32 drop_stacks;

// Reserves a record of a constant size, and behind it the stack if the probe wants it. The caller fills in the rest, and
// says with stack_of that the stack is there.
static __always_inline void *reserve(void *ctx, __u64 cookie, __u64 size)
{
	struct stack *stack;
	void *record;
	long bytes;

	if (!(cookie & COOKIE_STACK))
		return bpf_ringbuf_reserve(&records, size, 0);
	// Two calls, or clang makes one of them with a size that is not a constant to the verifier.
	asm volatile("" ::: "memory");
	record = bpf_ringbuf_reserve(&records, size + sizeof(*stack), 0);
	if (!record)
		return 0;
	stack = record + size;
	bytes = bpf_get_stack(ctx, stack->address, sizeof(stack->address), 0);
	stack->frames = bytes > 0 ? bytes / sizeof(stack->address[0]) : 0;
	stack->pad = 0;
	return record;
}

static __always_inline __u8 stack_of(__u64 cookie)
{
	return cookie & COOKIE_STACK ? HAS_STACK : 0;
}

struct symbol_args {
	__u64 address;
	__u64 called; // 1: where a call will return to, which may be behind the end of the function that called
	char text[SYMBOL_BYTES];
};

// Run on demand by user space: the kernel knows best what is where, modules that come and go included, and does not hide
// it as /proc/kallsyms may.
SEC("syscall")
int name_symbol(struct symbol_args *args)
{
	__u64 address[] = {args->address};
	char text[SYMBOL_BYTES] = {}; // helpers do not write into arguments

	if (args->called)
		bpf_snprintf(text, sizeof(text), "%pB", address, sizeof(address));
	else
		bpf_snprintf(text, sizeof(text), "%pS", address, sizeof(address));
	__builtin_memcpy(args->text, text, sizeof(text));
	return 0;
}

#endif
