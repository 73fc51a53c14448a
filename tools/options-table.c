/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints the hypervisor's option table for the README. Tested by tools/lint.py, which compares. */
#include <stdio.h>
#include "hv/base/options.h"

static void emit(const char *line)
{
    puts(line);
}

int main(void)
{
    options_describe(emit);
    return 0;
}
