/* SPDX-License-Identifier: BSD-2-Clause */
/* One VCPU and the table of what a vendor folder must be able to do for it.
 * Tested by tools/tests/test_exits.c with a fake vendor. */
#pragma once
#include "hv/base/types.h"
#include "hv/insn/regs.h"
#include "hv/vcpu/vmexit.h"

/* VMCB attribute layout: type 3..0, S 4, DPL 6..5, P 7, AVL 8, L 9, D/B 10, G 11 (APM 15.5.1). */
struct segment {
    uint16_t sel, attr;
    uint32_t limit; /* bytes, expanded */
    uint64_t base;
};
struct dtable {
    uint64_t base;
    uint32_t limit;
};
/* Always current in memory while the VCPU is out of the guest. */
struct vcpu_regs {
    uint64_t gpr[16];
    uint64_t rip, rflags, cr2;
};
/* Fetched and stored in groups by ops->get/put. */
struct vcpu_segs {
    struct segment seg[SEG_COUNT];
    struct dtable gdtr, idtr;
    uint8_t cpl;
};
/* What nearly every exit asks of the segments: CS and the privilege level. */
struct vcpu_code {
    uint64_t base;
    uint32_t limit; /* bytes, expanded */
    uint16_t attr;
    uint8_t cpl;
    bool breakpoints; /* DR7 enables one */
};
struct vcpu_msrs { /* natively switched ones */
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
};
struct vcpu_debug {
    uint64_t dr[4], dr6, dr7;
};
/* The guest's view of control state; hv/vcpu owns it, ops->put(VCPU_CTL) derives the VMCB's. */
struct vcpu_ctl {
    uint64_t cr0, cr3, cr4, efer;
    uint8_t cr8;
};
enum vcpu_group { VCPU_SEGS, VCPU_MSRS, VCPU_DEBUG, VCPU_CTL };

enum vcpu_state {
    VCPU_WAIT_SIPI, /* after power-on (APs) and INIT */
    VCPU_RUNNING,
    VCPU_HALTED,  /* HLT: until an interrupt, NMI, INIT */
    VCPU_PARKED,  /* unsupported guest state; serves requests, never enters */
    VCPU_STOPPED, /* the VM ended */
};
enum event_type { EVENT_NONE, EVENT_INTR, EVENT_NMI, EVENT_EXCEPTION };
struct vcpu_event {
    enum event_type type;
    uint8_t vector;
    bool has_error;
    bool lapic; /* INTR: accepted from the local APIC, which can have it back */
    uint32_t error;
    uint64_t cr2; /* #PF */
};

/* What every exit touches comes first, in six cache lines (README "The way of an exit"). */
struct vcpu {
    uint32_t cpu; /* the CPU of the machine that hosts it */
    enum vcpu_state state;
    bool is_bsp;
    struct vcpu_regs regs;
    struct vcpu_ctl ctl;
    struct vcpu_event pending; /* to inject at the next entry, ahead of interrupts */
    bool nmi_pending, nmi_blocked;
    bool window_armed;
    bool directpf; /* faults of P=0 do not exit while the guest is in 64-bit mode */
    union {        /* any of them: the loop looks closer behind an exit */
        struct {
            bool int_shadow;  /* STI / MOV SS shadow; cleared when an instruction is skipped or
                                 emulated */
            bool pveoi_armed; /* the guest may clear the word instead of EOI */
            bool intr;        /* the entry injected an interrupt */
            bool iret;        /* iret_rip is set */
        };
        uint32_t unsettled;
    };
    void *arch;              /* the vendor's, struct svm_vcpu */
    const uint16_t *cs_attr; /* attributes of CS, while it is out of the guest; NULL: ask mode() */
    hpa_t io_map;            /* PORT_IO_MAP_BYTES, set before init; 0: every port exits */
    uint64_t xcr0;
    uint64_t shadow_rip; /* RIP at the exit at which int_shadow was found */
    uint64_t iret_rip;   /* RIP of the IRET that ends NMI blocking, while it has not run */
    uint64_t pat, mtrr_def, tsc_aux, misc_enable, apic_base, tsc_adjust;
    uint64_t mtrr_fixed[11], mtrr_var[16];
    bool step_iret;        /* the next entry single-steps that IRET: an NMI waits behind it */
    bool step_tf;          /* ... and the guest single-steps itself */
    uint64_t step_dr6;     /* ... DR6 before */
    uint64_t xcr0_allowed; /* the same, of XCR0; 0: no XSAVE */
    uint64_t cr4_allowed, efer_allowed; /* bits this machine shows, fixed at power-on */
    unsigned phys_bits;                 /* MAXPHYADDR shown to the guest */
    bool pcid, invpcid;                 /* shown to the guest, whatever the host has */
    uint64_t mcg_status;                /* MCG_STATUS as the guest sees it */
    bool lfence;                        /* DE_CFG says that LFENCE is serialising, and it is */
    uint64_t msr_scratch[2];            /* plain storage registers, enum msr_scratch */
    uint64_t kvmclock;                  /* system-time MSR as written */
    uint64_t pveoi;                     /* PV EOI MSR as written */
    uint64_t steal;                     /* steal-time MSR as written */
    bool steal_halted;                  /* its word says that this VCPU does not run */
    uint64_t hv_icr;                    /* the last command by Hyper-V's ICR MSR */
    uint64_t hv_assist;                 /* Hyper-V's assist page MSR as written */
    uint64_t kvm_wall;                  /* wall-clock MSR as written */
};

/* What hv/vcpu needs of a vendor; one constant table a vendor. Context: owner CPU. */
struct vcpu_ops {
    const char *name;
    uint8_t hypercall[3]; /* the instruction that exits as EXIT_VMMCALL */
    /* Enables the extension on this CPU (EFER.SVME, host save area). After the feature check. */
    enum hv_err (*enable)(void);
    /* Builds the VCPU's control block with all intercepts but the ports of v->io_map; registers
     * undefined until reset/put. */
    enum hv_err (*init)(struct vcpu *v);
    /* Enters the guest with root, ASID and flush as last set by set_root, injects v->... nothing by
     * itself, returns on the next VMEXIT with *x filled and v->regs current. Called with interrupts
     * off (RFLAGS.IF=0); returns with interrupts on and the physical interrupt that caused the
     * exit, if any, already taken. */
    void (*run)(struct vcpu *v, struct vmexit *x);
    void (*get)(struct vcpu *v, enum vcpu_group g, void *out);
    void (*put)(struct vcpu *v, enum vcpu_group g, const void *in);
    /* As get(VCPU_SEGS), of CS alone. */
    void (*code)(const struct vcpu *v, struct vcpu_code *out);
    /* Of it what nearly every exit asks: attributes of CS in bits 15:0, CPL in 17:16. */
    uint32_t (*mode)(const struct vcpu *v);
    /* Places an event for the next run. Exceptions with error codes etc. already decided. */
    void (*inject)(struct vcpu *v, const struct vcpu_event *e);
    void (*set_root)(struct vcpu *v, hpa_t root, uint32_t asid, bool flush_asid, bool flush_all);
    /* Every exception exits, while one instruction runs alone. */
    void (*isolate)(struct vcpu *v, bool on);
    /* Arms or disarms the interrupt window. */
    void (*window)(struct vcpu *v, bool on);
    /* Does an injected INTR wait in the guest for RFLAGS.IF, while no window is armed? Then
     * vmexit.untaken says of each whether it waited in vain. Else inject it with IF=1 only. */
    bool (*waits)(void);
    /* true if the guest is in the shadow of STI or MOV SS; set clears or sets it. */
    void (*set_int_shadow)(struct vcpu *v, bool on);
    /* NMI window: IRET interception while an NMI is being handled. */
    void (*nmi_mask)(struct vcpu *v, bool on);
    /* Every exception exits, for the next entry alone: RFLAGS.TF is the hypervisor's in it. */
    void (*step)(struct vcpu *v);
    uint32_t (*nasids)(void);
    /* mmu_config.absent for vcpu.directpf: what an spte that is not present must be for its fault
     * to exit, while those of P=0 reach a 64-bit guest. NULL, or 0: they cannot. */
    uint64_t (*absent)(void);
    /* CPUID of the processor itself: out[0..3] = EAX EBX ECX EDX. */
    void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
    void (*dump)(struct vcpu *v, void (*emit)(const char *line));
};
#define VCPU_MODE_ATTR(m) ((uint16_t)(m))
#define VCPU_MODE_CPL(m) ((uint8_t)((m) >> 16))
extern const struct vcpu_ops *vcpu_ops; /* set once at boot by boot/main.c */
