/* SPDX-License-Identifier: BSD-2-Clause */
/* A sub-VMM (301): code and private state of one physical CPU hosting one VCPU. Lives in the CPU's
 * private window; other CPUs cannot address it. */
#pragma once
#include "hv/coherency/coherency.h"
#include "hv/mmu/mmu.h"
#include "hv/mmu/state.h"
#include "hv/insn/decode.h"
#include "hv/vcpu/vcpu.h"

#define INPUT_QUEUE 512 /* keys typed ahead of the guest */
struct input {          /* of a CPU that reads the console */
    bool ready;         /* the console may have more */
    bool waits;         /* keys are in the queue and the guest's UART is full */
};

#define FETCHED 64
struct fetched { /* an instruction that exited and how it was decoded */
    _Alignas(64) uint64_t rip;
    uint64_t bytes[2];
    unsigned mode; /* code size 2, 4, 8; 0: empty */
    /* Where the bytes lie, and of which root and after how many losses the shadow said so */
    uint32_t root;
    uint64_t losses; /* UINT64_MAX: not known, and `where` says so as well */
    const uint8_t *code;
    struct insn in;
    struct mmu_where where; /* asked after losses */
};
_Static_assert(offsetof(struct fetched, where) <= 128, "two cache lines, and a seldom one");

#define DECODED 32
struct decoded { /* what some bytes mean, wherever they are */
    uint64_t bytes[2];
    unsigned mode; /* 0: empty */
    struct insn in;
};

#define AHEAD_PLACES 16
struct ahead_place {
    uint64_t rip;  /* right behind a port access */
    uint16_t skip; /* times to come that are let pass */
    uint8_t fails; /* in a row: no other access was reached from here */
};
struct ahead { /* emulate/ahead.c */
    bool due;  /* the guest stands right behind a port access */
    struct ahead_place place[AHEAD_PLACES];
};

#define CPUID_TABLE 23 /* leaves 0 to D and 80000000 to 80000008 */

#define NATIVE_AREA_PAGES 17
/* Memory for one instruction to run alone in (emulate_native.c); area NULL: there is none. */
struct native {
    uint8_t *area;
    hpa_t hpa;
    uint32_t asid;      /* not the pager's */
    bool machine_check; /* one came meanwhile, and is to be dealt with */
};

#define LOOK_PLACES 4u
struct guestwatch {   /* how this CPU looks whether its guest gets anywhere */
    uint64_t dead_at; /* TSC of the second look after it found all dead, 0 none */
    uint32_t wakes;
    /* the boot processor's */
    unsigned looks, places;
    uint64_t place[LOOK_PLACES];
    bool over;
};

struct vm;
/* What every exit touches comes first and lies in one page; arrays follow. */
struct subvmm {
    uint32_t cpu;  /* VCPU of its VM: in sets, channels, devices; virtual APIC id */
    uint32_t pcpu; /* CPU of the machine: statistics, events, hv/port */
    bool paused;
    bool kick_soon; /* an event waits that no window can announce: exit soon */
    bool kick_now;  /* ... as soon as what this entry injects is delivered */
    union {         /* loop.c: all of them, or the next round is a whole one */
        struct {
            bool calm;     /* nothing but the VCPU was touched since the guest exited: rule 2 */
            bool quiet;    /* events_prepare found nothing that waits, and no window is open */
            bool root_set; /* the vendor's last root is that of the last entry */
        };
        uint32_t quick;
    };
    uint32_t audit; /* the option */
    struct vm *vm;
    uint32_t epoch;   /* which life of the VM this is: struct vm.epoch */
    bool finished;    /* it was the finisher, and is done */
    uint64_t entries; /* VMRUNs so far */
    uint64_t last_audit;
    uint64_t timer_armed;       /* deadline of the physical timer, UINT64_MAX none */
    uint64_t kick_rip;          /* where the guest was made to exit soon ... */
    unsigned kick_tries;        /* ... in vain so often */
    uint64_t watch_at;          /* TSC of the next look at what the guest does, UINT64_MAX none */
    bool devices_called;        /* by another CPU: virtual devices have work */
    bool devices_more;          /* some was left, to be gone on with soon */
    bool dead;                  /* counted among the VCPUs in HLT with interrupts off */
    struct guestwatch look;     /* guestwatch.c */
    uint64_t debug_lines;       /* rate limit of lines the guest can cause */
    uint64_t entered_tsc;       /* of the last entry, for the event ring */
    struct vcpu_event injected; /* what the last entry injected */
    struct p2m p2m; /* the VM's, less the page where this CPU's local APIC lies over RAM */
    struct coh_cpu coh;
    struct vcpu vcpu;
    struct input input;
    struct mmu mmu;
    struct native native;
    uint32_t cpuid_computed; /* a bit a place: it holds nothing (cpuid.c) */
    uint32_t cpuid[CPUID_TABLE][4];
    struct ahead ahead;
    struct fetched fetched[FETCHED];
    struct decoded decoded[DECODED];
};
_Static_assert(offsetof(struct subvmm, calm) == offsetof(struct subvmm, quick) &&
                   offsetof(struct subvmm, root_set) == offsetof(struct subvmm, quick) + 2,
               "one word");
/* Fixes the origin of a VM's paravirtual clock, before its VCPUs run. */
void kvmclock_init(struct vm *vm);
/* Failure class 3: the guest did something unsupported. Dumps everything, parks the VCPU. */
void subvmm_park(struct subvmm *s, const char *why);

/* --- helpers of those who carry out what the guest did --- */
struct vcpu_fault { /* an exception that is decided on and not pending yet */
    uint8_t vector;
    bool has_error;
    uint32_t error;
    struct guest_fault pf; /* vector VEC_PF */
};
/* One without an error code other than 0, which real mode does not push (APM volume 2 8.2
 * "Vectors"). */
struct vcpu_fault vcpu_fault(const struct vcpu *v, uint8_t vector, bool has_error);
void vcpu_inject_fault(struct subvmm *s, const struct vcpu_fault *f);
void vcpu_inject_exception(struct subvmm *s, uint8_t vector, bool has_error, uint32_t error);
void vcpu_inject_gp0(struct subvmm *s);
void vcpu_inject_ud(struct subvmm *s);
void vcpu_inject_pf(struct subvmm *s, const struct guest_fault *f);
/* #MC and #MF that came as an exit, wherever the instruction ran: the host's banks are emptied and
 * the guest gets what concerns it; #MF, or with CR0.NE=0 the PC's interrupt. */
void vcpu_machine_check(struct subvmm *s);
void vcpu_x87_error(struct subvmm *s);
/* Moves RIP behind the instruction: x->next_rip if known, else RIP + length. Ends the STI shadow;
 * raises #DB if RFLAGS.TF. */
void vcpu_skip(struct subvmm *s, const struct vmexit *x, unsigned length);
/* The same in 64-bit code, where RIP has all its bits: behind fetch_known. */
void vcpu_skip_long(struct subvmm *s, unsigned length);
/* Length of the instruction when only that is needed: next_rip or decode. HV_FAULT: pending set. */
enum hv_err vcpu_skip_decoded(struct subvmm *s, const struct vmexit *x) HV_MUST_CHECK;
/* Current code size 2, 4, 8 and CPL. */
unsigned vcpu_code_size(struct subvmm *s);
unsigned vcpu_cpl(struct subvmm *s);
