/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loaders offer. Tested by tools/tests/test_loader.c. */
#pragma once
#include "hv/vm/vm.h"

/* The value of pci= in the first of the modules' strings that has one; false: none. Before
 * vm_memory_init, which depends on it. */
bool vm_pci_words(const struct vm_module *mods, unsigned nmods, const char **words, size_t *len);
/* Does a module's string say display=guest? */
bool vm_screen_asked(const struct vm_module *mods, unsigned nmods);
/* Loads the kernel (role=linux or role=raw, or the first module), whatever kind it is, the other
 * modules and the command line, builds memory map, boot data and ACPI tables in guest RAM, sets
 * entry_*. Errors are logged with the remedy. */
enum hv_err vm_load(struct vm *vm, const struct vm_module *mods, unsigned nmods) HV_MUST_CHECK;

/* --- devices.c: the VM's virtio devices, before vm_load --- */
/* What they take beside guest RAM, for the modules and the option. Boot, before memory is divided.
 */
uint64_t vm_devices_bytes(const struct hv_options *opt, const struct vm_module *mods,
                          unsigned nmods);
/* Makes them and puts them on the bus: disks in the modules' order, entropy, console, network. What
 * finds no memory is left out with a line that says so. */
void vm_devices_make(struct vm *vm, const struct vm_module *mods, unsigned nmods);
/* The VM has ended: from here on no CPU of another comes to its devices. Any CPU, no lock. */
void vm_devices_stop(struct vm *vm);
