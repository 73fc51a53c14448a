/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of the machine by our own bug: everything that helps to find it, on the console.
 * Tested by tools/tests of `make check` that provoke one, and by hand. */
#pragma once
#include "arch-x86/cpu/trap.h"

/* Set by arch-x86/svm: prints this CPU's VMCB and guest registers. Must not take locks. */
extern void (*panic_dump_hook)(void (*emit)(const char *line));
/* An exception of the hypervisor itself. */
_Noreturn void panic_trap(const struct trap_frame *f);
/* From the NMI handler: does nothing unless another CPU panics and asks this one to dump and stop.
 */
void panic_nmi(const struct trap_frame *f);
