// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What a program is told of the probe that it runs for.
#ifndef WAYBILL_COOKIE_H
#define WAYBILL_COOKIE_H

// An attach cookie. The lowest 16 bits are the probe's number. User space makes cookies constants of the programs that it
// loads for one probe alone, so they have 31 bits.
enum cookie {
	COOKIE_STACK = 1 << 16,	 // events come with the kernel's stack
	COOKIE_VALUE = 1 << 17,	 // a return probe, and the function returns a number
	COOKIE_SIGNED = 1 << 18, // ... that may be negative
	COOKIE_ON_WAY_OUT = 1 << 19, // packets come here when IP is about to send them
	COOKIE_ALONE = 1 << 20, // the hook has no second program
	COOKIE_SHIFT = 1 << 24,	 // ... of 64 bits less this field, which has 6 bits
};

#endif
