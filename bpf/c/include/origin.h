// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Where packets come from.
#ifndef WAYBILL_ORIGIN_H
#define WAYBILL_ORIGIN_H

#include "identity.h"

// Tells the origin of a packet on its way out: there, skb->sk is the sending socket. by_ip says that IP is about to send it, and
// has its lengths still to fill in.
static __always_inline int sending(const void *ctx, struct sk_buff *skb, int by_ip)
{
	struct sock *sk = skb->sk;
	struct subject s;

	if (!identify_for(ctx, &s, skb, by_ip))
		return 0;
	if (s.kept->parked) {
		s.kept->parked = 0;
		report(KIND_RESUMED, &s.id, (__u64)skb, 0, 0);
	}
	if (s.kept->originated)
		return 0;
	s.kept->originated = 1;
#if BY_ALLOCATOR
	set_originated(skb);
#endif
	report(KIND_ORIGIN, &s.id, (__u64)skb, sk ? sk->__sk_common.skc_cookie.counter : 0, s.netns);
	return 0;
}

#endif
