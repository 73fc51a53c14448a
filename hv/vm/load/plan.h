/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMs that the boot loader describes: which modules are whose, which CPUs of the machine and how
 * much memory each gets. Tested by tools/tests/test_plan.c. */
#pragma once
#include "hv/vm/load/load.h"

struct vm_plan {
    char name[VM_NAME_LEN + 1];
    uint32_t ncpus, pcpu[HV_MAX_CPUS]; /* VCPU c is on CPU pcpu[c] */
    uint64_t mem_mib;                  /* asked for, 0: a share of what is left */
    enum vm_onend onend;
    char console[VM_CONSOLE_LEN + 1]; /* its own port, "" none */
    bool out;                         /* it cannot start, which has been said */
    unsigned nmods;
    struct vm_module mod[VM_MAX_MODULES];
    /* by plan_memory: */
    uint64_t ram_mib;    /* what it gets; 0: all that there is (one VM, no mem=) */
    uint64_t priv_bytes; /* private memory of each of its CPUs */
};
struct plan {
    uint32_t n; /* at least 1 */
    struct vm_plan vm[VM_MAX];
};

/* Sorts the modules by their vm= words; one without belongs to the VM of the first module. Logs
 * what is wrong with the remedy. Boot CPU; strings stay where they are. */
void plan_modules(struct plan *p, const struct vm_module *mods, unsigned nmods);
/* CPUs 0..ncpus-1 of the machine to the VMs: first those asked for by cpus=, then what is left over
 * evenly, which is said. A VM whose wish cannot be met, or for which nothing is left, is out. */
void plan_cpus(struct plan *p, uint32_t ncpus);
/* Only `ncpus` came up: the others' VMs lose them. */
void plan_cpus_lost(struct plan *p, uint32_t ncpus);
/* The VM to which that CPU was given, NULL: none. */
struct vm_plan *plan_of(struct plan *p, uint32_t pcpu);
