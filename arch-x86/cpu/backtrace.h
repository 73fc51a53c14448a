/* SPDX-License-Identifier: BSD-2-Clause */
/* Symbols of the image and walks along frame pointers. Tested by every panic. */
#pragma once
#include "hv/base/types.h"

#define BACKTRACE_MAX 24
/* "name+0x12" of a text address, or "?" if the image has no table or the address is not ours. */
void symbol_format(uint64_t at, char *buf, size_t size);
/* Return addresses from frame pointer `rbp` on, newest first; reads hypervisor stacks only. */
unsigned backtrace(uint64_t rbp, uint64_t out[BACKTRACE_MAX]);
