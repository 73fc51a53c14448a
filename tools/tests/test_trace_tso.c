/* SPDX-License-Identifier: BSD-2-Clause */
/* The pagers in miniature of test_trace_tsan.c on the machine of tso.h: the same oracle, with store
 * buffers and every interleaving of atomic operations that the seed brings about. */
#define STEPS 150000
#include "tools/tests/tso.h"
/* The machine's macros first. */
#include "tools/tests/test_trace_tsan.c"
