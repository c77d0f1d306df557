// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The pulse: a program at a function that is called whenever user space runs the program itself (BPF_PROG_TEST_RUN), and
// otherwise never. If it does not run then, no program at a function does.
#include "include/kernel.h"

__u64 pulses;

SEC("fentry/bpf_fentry_test1")
int pulse(void *ctx)
{
	__sync_fetch_and_add(&pulses, 1);
	return 0;
}
