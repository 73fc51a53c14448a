/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot framebuffer in the hands of the guest. Tested by tools/tests/test_screen.c. */
#pragma once
#include "hv/vm/vm.h"

/* The guest gets the framebuffer `s`, at its own address. Before vm_memory_init: RAM ends below it.
 * NULL, or why not, and what to do. Boot, one CPU. */
const char *vm_screen_give(struct vm *vm, const struct vm_screen *s);
