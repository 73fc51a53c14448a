/* SPDX-License-Identifier: BSD-2-Clause */
/* The names of the kinds of exits, for what is printed. Tested by tools/tests/test_stats.c. */
#include "hv/vcpu/vmexit.h"

const char *const vmexit_name[EXIT_KIND_COUNT] = {
#define X(name) #name,
    EXIT_LIST(X)
#undef X
};
