// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The object for kernels that allow no programs at functions.
#define BY_ALLOCATOR 1

#include "include/hook.h"
#include "include/origin.h"
#include "event.bpf.c"
#include "tracepoint.bpf.c"
#include "allocator.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
