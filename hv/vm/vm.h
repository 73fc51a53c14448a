/* SPDX-License-Identifier: BSD-2-Clause */
/* One virtual machine: a partition of CPUs and memory, its life. Tested by
 * tools/tests/test_loader.c. */
#pragma once
#include "hv/coherency/coherency.h"
#include "hv/mem/p2m.h"
#include "hv/pass/pass.h"
#include "hv/vdev/pc/vpc.h"

struct vm_module { /* a boot module in host memory */
    hpa_t base;
    uint64_t len;
    const char *string; /* "role=linux ... -- guest command line" */
};
#define VM_MAX_MODULES 8
/* The boot framebuffer, if it is the guest's: true colour, linear. base 0: it is not. */
struct vm_screen {
    uint64_t base;
    uint32_t pitch, width, height;
    uint8_t bpp;
    uint8_t colour[6]; /* red's lowest bit and number of bits, green's, blue's */
};

struct vm {
    uint32_t ncpus; /* CPUs 0..ncpus-1 */
    struct p2m p2m;
    uint64_t ram_bytes;    /* total guest RAM */
    uint64_t ram_low_end;  /* end of RAM below the PCI hole (at most 0xC0000000) */
    uint64_t ram_high_end; /* end of RAM above 4 GiB, 0 none */
    struct coherency *co;
    struct vpc *pc;
    struct pass *pass; /* the machine's functions it owns, NULL: none */
    bool own_only;     /* DMA is not translated: RAM lies at its own address or is not shown */
    struct vm_screen screen; /* display=guest */
    const struct hv_options *opt;
    /* BSP start state, set by the loader */
    uint64_t entry_rip, entry_rsi, entry_rsp, entry_cr3;
    uint64_t entry_rax, entry_rbx; /* multiboot: magic and information structure */
    bool entry_long;        /* 64-bit entry with paging on; else 32-bit flat protected mode */
    bool entry_real;        /* real mode: entry_rip is CS * 16 + IP */
    _Atomic uint32_t ended; /* 0 running, 1 power-off, 2 reset, 3 parked */
};
/* Carves guest RAM: opt->mem_mib or all that is free less `keep_bytes`; gpa = hpa per 2 MiB granule
 * where the host granule is free, else any other free one. Fills p2m, ram_*. HV_NOMEM: less than 64
 * MiB. */
enum hv_err vm_memory_init(struct vm *vm, const struct hv_options *opt,
                           uint64_t keep_bytes) HV_MUST_CHECK;
/* Is [base, end) RAM that the guest is told of (own_only: with its own address)? */
bool vm_ram_shown(const struct vm *vm, uint64_t base, uint64_t end);
/* Copy into guest RAM at load time (before any VCPU runs). HV_RANGE: not all RAM. */
enum hv_err vm_copy_in(struct vm *vm, gpa_t at, const void *src, size_t n) HV_MUST_CHECK;
/* test=1: takes what host memory is left over and fills it with a pattern; the last allocation
 * before phys_seal. */
void vm_poison_place(void);
/* When the VM has ended: host-physical address of the first word that changed, 0 none. */
uint64_t vm_poison_damage(void);

/* --- life.c; any CPU --- */
/* Has this CPU a guest to run, be it halted: not before SIPI, not parked? Each says it of itself.
 */
void vm_set_active(uint32_t cpu, bool active);
bool vm_any_active(void);
cpuset_t vm_active_set(void);
/* Ends the VM: how is 1 power-off, 2 reset, 3 parked (struct vm.ended). Marks it and tells the
 * other CPUs; the loop of this CPU, the finisher, does the rest. The first call counts. */
void vm_end(struct vm *vm, uint32_t cpu, uint32_t how);
/* CPUs that left the guest for good, as each says of itself. */
cpuset_t vm_stopped_set(void);
void vm_mark_stopped(uint32_t cpu);
/* Is it this CPU that called vm_end first? */
bool vm_is_finisher(uint32_t cpu);
