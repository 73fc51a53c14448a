/* SPDX-License-Identifier: BSD-2-Clause */
/* Assertions: our bugs stop the machine with a dump. Never for guest input.
 * Tested by every host test (there PANIC aborts). */
#pragma once
#include "hv/base/types.h"

/* Prints the reason and never returns. Context: any, including NMI and a second panic. Defined by
 * arch-x86/cpu/panic.c, or by tools/tests/fake. */
_Noreturn void hv_panic(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* This machine or its configuration cannot run a guest: says why and what to do, and halts.
 * Nobody's bug, so nothing is dumped, and no reset, which would only come here again. Context: CPU
 * 0, boot. */
_Noreturn void hv_stop(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define PANIC(...) hv_panic(__FILE__, __LINE__, __VA_ARGS__)
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            hv_panic(__FILE__, __LINE__, "assertion failed: %s", #cond);                           \
    } while (0)
