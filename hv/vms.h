/* SPDX-License-Identifier: BSD-2-Clause */
/* Between hv/main.c, hv/make.c, hv/last.c and hv/ending.c: making a VM, making it anew, and its
 * end. Tested by tools/tests/test_vms.c and the vms group of `make check`. */
#pragma once
#include "hv/vm/load/plan.h"

/* The VMs that the boot loader described; hv_plan filled it. */
extern struct plan hv_vms;
/* The boot framebuffer, filled in by hv_plan for make.c; base 0: none that a guest can be given. */
extern struct vm_screen hv_screen;

/* make.c. Boot CPU, before phys_seal: coherency state, memory, devices and image of vm_table[id].
 * false: it cannot start, which has been said. */
bool vm_make(struct vm *vm, const struct vm_plan *p) HV_MUST_CHECK;
/* Makes a VM that has stopped as it was at boot: RAM, trace words, channels, devices, clock, and
 * its modules loaded again. On one of its CPUs while all others are in subvmm_off. false: as above.
 */
bool vm_make_again(struct vm *vm) HV_MUST_CHECK;

/* ending.c: the hooks of hv/subvmm. */
void vm_ended(struct vm *vm, uint32_t how);
void vm_start_again(struct vm *vm);

/* last.c. At the end of a VM, on one of its CPUs: its devices stop, output goes out, host memory
 * around the guest is checked (test=1), statistics are printed. */
void vm_last_words(struct vm *vm);
/* Off, with what the guests wrote to port F4. */
_Noreturn void vm_machine_off(void);
/* test=1, port F4 of a guest. */
void vm_debug_exit(struct vm *vm, uint32_t value);
/* Ends a VM from one of its own CPUs. */
void vm_end_here(struct vm *vm, uint32_t how);
