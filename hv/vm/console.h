/* SPDX-License-Identifier: BSD-2-Clause */
/* One console for several VMs: whose output is shown, and what is kept of the others'. With one VM
 * everything goes straight out. Tested by tools/tests/test_console.c. */
#pragma once
#include "hv/vm/vm.h"

#define VM_KEEP_BYTES 16384u /* of a VM that is not in front */

/* A VM's serial line says something. Any CPU, no lock held. */
void vm_console_out(struct vm *vm, const char *text, size_t n);
/* The VM whose output and keys are the console's. Until somebody types, all are shown: whole lines,
 * with the VM's name before each. Any CPU. */
struct vm *vm_console_front(void);
/* The first key: from now on only the VM in front is shown. The CPU that reads the console. */
void vm_console_typed(void);
/* Puts a VM in front and shows what was kept of it. The CPU that reads the console. */
void vm_console_to_front(struct vm *vm);
/* Gives a VM a serial port of its own (console=com2): the spec, and what it is not called. Boot. */
void vm_console_own(struct vm *vm, const char *spec);
/* The next key of a VM's own port, -1: none, or it has none. The CPU that reads the console. */
int vm_console_read(const struct vm *vm);
/* Forgets everything; boot and host tests. */
void vm_console_start(void);
