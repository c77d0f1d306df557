// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Hooks that the kernel cannot easily make us miss. It skips a program that is entered on a CPU where it is running
// already, which happens whenever a softirq interrupts it and has a packet of its own to free or to send. So a hook is two
// programs at the same place: the second acts where the first was skipped. An interrupt can be inside one of the two only,
// so one of them always runs, unless the interrupt is interrupted in turn; or, where the kernel preempts tasks (7.x), one
// has been preempted in the first program, and another in the second. Disabling interrupts or preemption in a program does
// not help: what is due then happens when they are enabled again, which is still in the program. The kernel counts what it
// skips of the first (recursion_misses), we count where the second stood in, and the difference is what was missed.
#ifndef WAYBILL_HOOK_H
#define WAYBILL_HOOK_H

#include "maps.h"

// What it means that a hook was missed.
enum part {
	PART_REPORTS, // something in a packet's life is untold
	PART_ENDS,    // an identity outlives its packet, or is lost
	PART_EVENTS,  // an event at a probe that a user asked for is untold
	PARTS,
};

enum { STACKS = 256 };

// Notes of first programs to the second ones that follow them. Both find the arguments of the call at the same address,
// which lies on the stack of the task or interrupt that made it. So each stack has a slot, and an interrupt between the two
// does not overwrite what it has interrupted.
struct notes {
	__u64 address; // for a moment, to make a number of a pointer
	__u64 call[STACKS];
	__u64 stood_in[PARTS];
};

// key: 0. Never deleted; user space reads stood_in.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct notes);
} hook_notes SEC(".maps");

// THREAD_SIZE and IRQ_STACK_SIZE of x86-64 (arch/x86/include/asm/page_64_types.h). Where stacks are larger, one has
// several slots.
#define STACK_SHIFT 14

// The low bits of an address of arguments are zero, and its upper ones all the same.
#define CALL_MARK(hook) ((__u64)(hook) << 48)

// Returns the slot for the stack that the arguments are on, and sets call to what a note of this call says.
static __always_inline __u64 *slot_of(struct notes *n, const void *arguments, __u64 hook, __u64 *call)
{
	__u64 address;

	// The verifier does not let us calculate with a pointer. An interrupt may come in between and change the number: then
	// this is another stack's slot, where the note will be missed, and the second program acts too.
	*(volatile __u64 *)&n->address = (__u64)arguments;
	address = *(volatile __u64 *)&n->address;
	*call = address ^ CALL_MARK(hook);
	return &n->call[((address >> STACK_SHIFT) ^ (address >> (STACK_SHIFT + 8))) % STACKS];
}

static __always_inline void leave_note(const void *arguments, __u64 hook)
{
	__u32 zero = 0;
	struct notes *n = bpf_map_lookup_elem(&hook_notes, &zero);
	__u64 *slot, call;

	if (!n)
		return;
	slot = slot_of(n, arguments, hook, &call);
	*slot = call;
}

// Tells whether the first program was skipped.
static __always_inline int stands_in(const void *arguments, __u64 hook, enum part part)
{
	__u32 zero = 0;
	struct notes *n = bpf_map_lookup_elem(&hook_notes, &zero);
	__u64 *slot, call;

	if (!n)
		return 0;
	slot = slot_of(n, arguments, hook, &call);
	if (*slot == call) {
		*slot = 0;
		return 0;
	}
	__sync_fetch_and_add(&n->stood_in[part], 1);
	return 1;
}

// A hook's arguments are numbers to the kernel's caller of programs, and typed to its verifier.
#define HOOK_CALL(name, args...)                                                                                   \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                      \
	return name##_body(___bpf_ctx_cast(args));                                                                 \
	_Pragma("GCC diagnostic pop")

// HOOK is BPF_PROG, twice. The second program has the first one's name and _again.
#define HOOK(part, where, name, args...)                                                                           \
	enum { hook_##name = __COUNTER__ };                                                                        \
	static __always_inline int name##_body(unsigned long long *ctx, ##args);                                   \
	SEC(where) int name(unsigned long long *ctx)                                                               \
	{                                                                                                          \
		leave_note(ctx, hook_##name);                                                                      \
		HOOK_CALL(name, args)                                                                              \
	}                                                                                                          \
	SEC(where) int name##_again(unsigned long long *ctx)                                                       \
	{                                                                                                          \
		if (!stands_in(ctx, hook_##name, part))                                                            \
			return 0;                                                                                  \
		HOOK_CALL(name, args)                                                                              \
	}                                                                                                          \
	static __always_inline int name##_body(unsigned long long *ctx, ##args)

#endif
