/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulator of SMP shadow paging: the real hv/coherency and hv/mmu on a few simulated CPUs with
 * adversarial TLBs, random guest programs, and the translations x86 allows as the oracle. What its
 * files share. One thread: each CPU is a coroutine, a seed replays a run.
 * Tested by running it on deliberately broken copies of the code it tests. */
#pragma once
#include "arch-x86/defs/x86.h"
#include "hv/coherency/actions.h"
#include "hv/mmu/gmem.h"
#include "hv/mmu/internal.h"
#include "hv/port/cpu.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIM_CPUS 4
#define SIM_VMS 2
#define SIM_GRANULES 4
#define SIM_ARENA 0x10000000ull
#define SIM_HOST_GRANULES (SIM_VMS * SIM_GRANULES + 1)
/* Frames of which two groups of eight words are followed, at the beginning and in the middle, where
 * the second half of a two-level table begins: tables 0..15, then data, both in any role. */
#define SIM_TABLES 16
#define SIM_DATA 8
#define SIM_MAPPED (SIM_TABLES + SIM_DATA) /* by the window */
#define SIM_TRACKED (SIM_MAPPED + 4)
#define SIM_GROUP 8
#define SIM_ENTRIES (2 * SIM_GROUP)
#define SIM_WINDOW_WORD 384   /* of a two-level root: the entry of the window */
#define SIM_MIDDLE 256        /* word where the second group begins */
#define SIM_TABLE_GFN 512ull  /* region 1: large pages map the tables too */
#define SIM_DATA_GFN 1024ull  /* region 2 */
#define SIM_WINDOW_GFN 100ull /* tables that map all; changed only through self-maps */
#define SIM_ROOTS 2           /* tables 0 and 1 are meant as roots */
/* Addresses: four choices in each upper level, eight directory entries, 32 in the last. */
#define SIM_SLOTS (4 * 4 * 8 * 32)
#define SIM_REGIONS (SIM_SLOTS / 32)
#define SIM_HUGE (SIM_REGIONS / 8)
#define SIM_PCIDS 4

enum sim_op {
    OP_LOAD,
    OP_FETCH,
    OP_STORE,    /* MOV of 1, 4 or 8 bytes */
    OP_HALVES,   /* an entry as two 4-byte stores */
    OP_CMPXCHG,  /* against the value read before */
    OP_CLEAR_AD, /* LOCK AND as a compare-exchange */
    OP_ZERO,     /* the first entries of a page, one store each */
    OP_BULK,     /* a device's store */
    OP_PEEK,     /* the emulator reads */
    OP_INVLPG,
    OP_CR3,
    OP_CR3_KEEP, /* MOV CR3 with bit 63: nothing is invalidated */
    OP_INVPCID,
    OP_FLUSH,
    OP_WP,
    OP_SMEP,
    OP_NXE,
    OP_PGE,
    OP_MODE,   /* another paging mode, by way of none */
    OP_PAGING, /* paging off, one access, paging on */
    OP_IDLE,
    OP_PARK,
    OP_RESET,
    OP_EXIT, /* an interrupt: nothing but the exit */
    OP_AGE,  /* the timer's */
    OP_COUNT
};
struct sim_step {
    uint8_t cpu, op, width;
    bool user;
    uint64_t va;    /* 8-byte aligned */
    uint64_t value; /* to store; CR3 */
    uint32_t dice;  /* the machine's choices within this step */
};

enum sim_mode { MODE_LONG, MODE_PAE, MODE_TWO, MODE_MIXED /* changing, each CPU on its own */ };
struct sim_config {
    const char *name, *options;
    unsigned ncpus;
    uint32_t pool_pages;
    uint32_t audit_every; /* steps; 0: never */
    enum sim_mode mode;
    bool drain_at_exit; /* the loop drains at each exit, as hv/vcpu does; else only events do */
    unsigned nvms;      /* among which the CPUs are divided evenly */
};

/* Steps between two looks at requests: a batch, and what is not interrupted: the chains of a
 * frame's few sptes, a patch, a walk; where pages are gone through as a whole, one of them. */
#define STRETCH (MMU_BATCH + MMU_PARENTS + 48u)
#define STRETCH_PAGE 512u

struct sim_tlb {
    uint32_t gen; /* valid while equal to the ASID's */
    uint64_t pfn;
    bool w, u, nx;
    bool direct; /* of a walk that failed: the fault is the guest's without an exit */
};
struct sim_psc { /* a paging-structure-cache entry: rights so far and the next table */
    uint32_t gen, page;
    bool w, u, nx;
};
struct sim_cpu {
    struct coh_cpu coh;
    struct mmu mmu;
    struct mmu_regs regs;
    void *pool;
    bool in_guest, ipi, done;
    uint32_t asid, root; /* of the last entry */
    uint32_t gen[MMU_ROOTS + 1];
    struct sim_tlb tlb[MMU_ROOTS + 1][SIM_SLOTS];
    struct sim_psc psc[MMU_ROOTS + 1][5][SIM_REGIONS];
    uint64_t pdpte[4];           /* the guest's, latched */
    uint64_t hw_pdpte[4];        /* the shadow's, loaded with CR3 at entry */
    const struct sim_step *step; /* being executed */
    unsigned next;               /* index of the step to execute next */
    uint64_t dice;
    /* an emulated store of the guest's is being done through this address */
    bool storing;
    uint64_t store_va;
    gpa_t emulate_at; /* as the last fault said */
    uint32_t store_access;
};

/* Its own memory, square of the matrix, and words; CPU first + i of the machine is its VCPU i. */
struct sim_vm {
    struct coherency co;
    struct p2m p2m;
    uint32_t granule[SIM_GRANULES];
    uint32_t ungranule[SIM_HOST_GRANULES];
    void *words, *holders;
    struct channel (*matrix)[HV_MAX_CPUS];
    unsigned first, ncpus;
    unsigned life, stopped, left; /* resets so far; its CPUs that wait for the next life; ended */
    bool ends;                    /* a reset has been asked for */
};

struct sim {
    const struct sim_config *cfg;
    const struct sim_step *steps;
    unsigned nsteps, executed;
    struct hv_options opt;
    struct sim_vm vm[SIM_VMS];
    unsigned nvms;
    uint64_t resets;
    unsigned cur, ncpus;
    uint64_t sched_rng;
    uint32_t until_switch, relaxes;
    uint64_t switches, points, checks, faults, direct;
    bool bad;
    char why[512];
};
extern struct sim sim;
static inline unsigned sim_vm_number(unsigned c)
{
    return c * sim.nvms / sim.ncpus;
}
static inline struct sim_vm *sim_vm(unsigned c)
{
    return &sim.vm[sim_vm_number(c)];
}
extern bool sim_quiet; /* while a program is minimised */
extern struct sim_cpu sim_cpu[SIM_CPUS];

/* --- sim_sched.c: coroutines --- */
void sim_point(void);
void sim_run_fibers(void (*body)(unsigned cpu));
uint64_t sim_random(uint64_t *state, uint64_t n);
/* Records the first failure and leaves the run at once, from any coroutine. */
_Noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sim_step_end(void);

/* --- sim_hw.c: TLB, paging-structure caches, the walk of the shadow tables --- */
/* false: a fault; *direct: one that does not exit. */
bool sim_hw_access(unsigned c, uint64_t va, uint32_t access, uint64_t *gfn, bool *direct);
/* That one, after a walk that began at `since`. */
void sim_hw_fault(unsigned c, uint64_t va, uint32_t access, uint32_t since);
void sim_hw_flush(unsigned c, uint32_t asid);
/* Fills the TLB with everything the current shadow offers and checks all of it. */
void sim_hw_sweep(unsigned c);
/* Fails if it is not a frame of the CPU's VM. */
uint64_t sim_gfn_of(unsigned c, uint64_t pfn);
unsigned sim_slot(uint64_t va);

/* --- sim_modes.c --- */
enum sim_mode sim_mode(const struct mmu_regs *r);
unsigned sim_pcid(const struct mmu_regs *r);
/* An address and a CR3 of a program, in the mode of the CPU. */
uint64_t sim_va(unsigned c, uint64_t va);
uint64_t sim_cr3(unsigned c, uint64_t value);
void sim_latch(unsigned c); /* what loads the PDPTEs of a PAE guest */
void sim_regs(struct mmu_regs *r, enum sim_mode mode);

/* --- sim_machine.c: a CPU's loop --- */
void sim_cpu_up(unsigned c);
/* Executes a program; true if nothing was wrong, else sim.why. */
bool sim_execute(const struct sim_config *cfg, const struct sim_step *steps, unsigned n,
                 uint64_t sched_seed);

/* --- sim_vm.c --- */
void sim_vms_up(void);
void sim_vms_down(void);
/* A CPU's VM is to begin anew: each of its CPUs does its part when it comes to sim_vm_look. */
void sim_vm_reset(unsigned c);
void sim_vm_look(unsigned c);
/* The CPU has come to the end of the program: its VM does not wait for it. */
void sim_vm_leave(unsigned c);

/* --- sim_oracle.c --- */
void oracle_reset(void);
/* A VM begins anew, with the memory it has now. */
void oracle_reset_vm(unsigned vm);
void oracle_done(unsigned c); /* the CPU runs no guest any more */
void oracle_wrote(unsigned c, uint64_t gpa);
void oracle_invlpg(unsigned c, uint64_t va);
void oracle_page_fault(unsigned c, uint64_t va, uint32_t since);
void oracle_flush(unsigned c); /* of all PCIDs */
void oracle_flush_pcid(unsigned c, unsigned pcid);
void oracle_invpcid_address(unsigned c, unsigned pcid, uint64_t va);
uint32_t oracle_now(void);
/* Could the CPU use a translation of va to this frame for such an access now? */
bool oracle_allows(unsigned c, uint64_t va, uint32_t access, uint64_t gfn);
/* Does some walk since `since` end in this fault (want_pfec), or in this frame outside RAM? */
bool oracle_faults(unsigned c, uint64_t va, uint32_t access, uint32_t since, uint32_t pfec);
bool oracle_reaches(unsigned c, uint64_t va, uint32_t access, uint32_t since, uint64_t gfn);
void oracle_print(uint64_t va, unsigned c);

/* --- sim_program.c --- */
void program_generate(struct sim_step *s, unsigned n, unsigned ncpus, uint64_t seed);
/* The guest's memory before the first step. */
void program_memory(struct sim_vm *vm);
void program_print(const struct sim_step *s, unsigned n);

/* --- sim_minimise.c --- */
/* Removes steps as long as one of a few schedules still fails; returns the new length. */
unsigned program_minimise(const struct sim_config *cfg, struct sim_step *s, unsigned n,
                          uint64_t *sched_seed);
