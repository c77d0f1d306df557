// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// One object out of all families of programs, so that they share their maps and the loader reads the kernel's types
// once.
#include "lifetime.bpf.c"
#include "branch.bpf.c"
#include "lineage.bpf.c"
#include "event.bpf.c"
#include "return.bpf.c"
#include "iptables.bpf.c"
#include "nft.bpf.c"
#include "tracepoint.bpf.c"
#include "pulse.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// Types that the Go side uses and no program mentions would be left out of the object.
const struct header *keep_header __attribute__((unused));
const struct event *keep_event __attribute__((unused));
const struct meta *keep_meta __attribute__((unused));
const struct meta_event *keep_meta_event __attribute__((unused));
const struct look *keep_look __attribute__((unused));
const struct told *keep_told __attribute__((unused));
const struct look_event *keep_look_event __attribute__((unused));
const struct look_record *keep_look_record __attribute__((unused));
const enum meta_flag *keep_meta_flag __attribute__((unused));
const struct nft_event *keep_nft_event __attribute__((unused));
const struct iptables_event *keep_iptables_event __attribute__((unused));
const struct stack *keep_stack __attribute__((unused));
const struct symbol_args *keep_symbol_args __attribute__((unused));
const struct drop_event *keep_drop_event __attribute__((unused));
const struct shaped_record *keep_shaped_record __attribute__((unused));
const enum record_kind *keep_record_kind __attribute__((unused));
const enum section *keep_section __attribute__((unused));
const enum loss_cause *keep_loss __attribute__((unused));
const enum part *keep_part __attribute__((unused));
const enum cookie *keep_cookie __attribute__((unused));
const struct link_record *keep_link_record __attribute__((unused));
const enum relation *keep_relation __attribute__((unused));
const enum place *keep_place __attribute__((unused));
const enum limit *keep_limit __attribute__((unused));
const enum filter_kind *keep_filter_kind __attribute__((unused));
