// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// Two programs that let nothing pass, for the tests of package topology.

__attribute__((section("xdp"), used)) int drop(void *ctx) {
	return 1; /* XDP_DROP */
}

__attribute__((section("tc"), used)) int shot(void *ctx) {
	return 2; /* TC_ACT_SHOT */
}

__attribute__((section("license"), used)) char licence[] = "Dual BSD/GPL";
