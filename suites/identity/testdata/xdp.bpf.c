// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// Two programs that give every packet the same verdict.

__attribute__((section("xdp"), used)) int drop(void *ctx) {
	return 1; /* XDP_DROP */
}

__attribute__((section("xdp"), used)) int pass(void *ctx) {
	return 2; /* XDP_PASS */
}

__attribute__((section("license"), used)) char licence[] = "Dual BSD/GPL";
