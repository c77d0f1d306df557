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

#include "cookie.h"
#include "maps.h"

// What it means that a hook was missed.
enum part {
	PART_REPORTS, // something in a packet's life is untold
	PART_ENDS,    // an identity outlives its packet, or is lost
	PART_EVENTS,  // an event at a probe that a user asked for is untold
	PARTS,
};

// Notes of first programs to the second ones that follow them. Both find the arguments of the call at the same address, which
// lies on the stack of the task or interrupt that made it. So each stack has a slot, whatever CPU it is on: between the two
// programs a task may be interrupted, or preempted and moved to another CPU.
enum { NOTES = 1 << 14 };
volatile __u64 hook_notes[NOTES];

// Read by user space. How often second programs acted, and how often a note that was another stack's was overwritten: stacks whose
// numbers collide share a slot, and the other stack's second program may not know then that the first one acted.
volatile __u64 stood_in[PARTS];
volatile __u64 overwritten_notes;

// The low half of an address, as a number: the verifier lets nobody calculate with a pointer, but once half of it is moved, that
// is none any more. Stacks lie within a few hundred megabytes.
static __always_inline __u32 low_half(const void *arguments)
{
	__u32 low;

	asm volatile("%[low] = %[whole]" : [low] "=w"(low) : [whole] "w"((__u32)(__u64)arguments));
	return low;
}

static __always_inline volatile __u64 *slot_of(__u32 address)
{
	return &hook_notes[((address >> STACK_SHIFT) * 0x9e3779b1u >> 18) % NOTES]; // 2^32 over the golden ratio (Knuth 6.4)
}

static __always_inline void leave_note(const void *arguments, __u32 hook)
{
	__u32 address = low_half(arguments);
	volatile __u64 *slot = slot_of(address);
	__u64 old = *slot;

	// A note that was left behind by the same stack is of a call whose second program was skipped.
	if (old && ((__u32)old ^ address) >> STACK_SHIFT)
		__sync_fetch_and_add(&overwritten_notes, 1);
	*slot = (__u64)hook << 32 | address;
}

enum { PASSED_ON = 1u << 31 }; // of a note's hook: the second program has seen it, and leaves it to the third

// Tells whether the programs before this one were skipped. If a third program follows a second, it is left a note too, which is not
// the first one's: if the third is skipped, because it is what the interrupt came upon, the note stays, and the next interrupt may
// have a call at the same address of its stack, and the first program skipped.
static __always_inline int stands_in(const void *arguments, __u32 hook, enum part part, int another)
{
	__u32 address = low_half(arguments);
	volatile __u64 *slot = slot_of(address);
	__u64 first = (__u64)hook << 32 | address, second = (__u64)(hook | PASSED_ON) << 32 | address;
	__u64 note = *slot;
	int told = note == first || (!another && note == second);

	if (another)
		leave_note(arguments, hook | PASSED_ON);
	else if (told)
		*slot = 0;
	if (!told)
		__sync_fetch_and_add(&stood_in[part], 1);
	return !told;
}

// A hook's arguments are numbers to the kernel's caller of programs, and typed to its verifier.
#define HOOK_CALL(name, args...)                                                                                   \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                      \
	return name##_body(___bpf_ctx_cast(args));                                                                 \
	_Pragma("GCC diagnostic pop")

// HOOK is BPF_PROG, twice. The second program has the first one's name and _again. The programs of a probe know by their cookie, which
// is a constant of each, whether the second one is there.
#define HOOK(part, where, name, args...)                                                                           \
	enum { hook_##name = __COUNTER__ + 1 };                                                                       \
	static __always_inline int name##_body(unsigned long long *ctx, ##args);                                   \
	SEC(where) int name(unsigned long long *ctx)                                                               \
	{                                                                                                          \
		if (part != PART_EVENTS || !(bpf_get_attach_cookie(ctx) & COOKIE_ALONE))                            \
			leave_note(ctx, hook_##name);                                                              \
		HOOK_CALL(name, args)                                                                              \
	}                                                                                                          \
	HOOK_AGAIN(part, where, name, name##_again, 0, args)                                                       \
	static __always_inline int name##_body(unsigned long long *ctx, ##args)

#define HOOK_AGAIN(part, where, name, program, another, args...)                                                   \
	SEC(where) int program(unsigned long long *ctx)                                                            \
	{                                                                                                          \
		if (!stands_in(ctx, hook_##name, part, another))                                                   \
			return 0;                                                                                  \
		HOOK_CALL(name, args)                                                                              \
	}

// HOOK_IN_INTERRUPTS is HOOK with a third program, for what interrupts of devices do too, as an interrupt may come while a softirq
// is in the second program that had interrupted a task in the first one. Its name ends in _yet_again.
#define HOOK_IN_INTERRUPTS(part, where, name, args...)                                                             \
	enum { hook_##name = __COUNTER__ + 1 };                                                                    \
	static __always_inline int name##_body(unsigned long long *ctx, ##args);                                   \
	SEC(where) int name(unsigned long long *ctx)                                                               \
	{                                                                                                          \
		leave_note(ctx, hook_##name);                                                                      \
		HOOK_CALL(name, args)                                                                              \
	}                                                                                                          \
	HOOK_AGAIN(part, where, name, name##_again, 1, args)                                                       \
	HOOK_AGAIN(part, where, name, name##_yet_again, 0, args)                                                   \
	static __always_inline int name##_body(unsigned long long *ctx, ##args)

#endif
