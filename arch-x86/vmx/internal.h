/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of arch-x86/vmx share: the state behind vcpu.arch and the operations that vmx_ops
 * is made of. Only this folder includes it. */
#pragma once
#include "arch-x86/vmx/caps.h"
#include "arch-x86/vmx/quirks.h"
#include "arch-x86/vmx/vmcs.h"
#include "hv/vcpu/vcpu.h"

struct vmx_vcpu {
    bool launched;
    bool real;           /* the guest is in real mode, the processor in virtual-8086 mode: real.c */
    bool set_aside;      /* real mode: the instruction pointer was moved for the injection */
    bool isolated;       /* every exception exits, until told otherwise */
    bool stepping;       /* so it does, for one entry */
    bool direct;         /* the guest is in 64-bit mode and has its faults of P=0 itself ... */
    bool direct_on;      /* ... in the VMCS */
    uint32_t exceptions; /* intercepted ones */
    uint32_t proc;       /* primary processor-based controls in force */
    uint32_t blocking;   /* the interruptibility field */
    uint32_t injected;   /* the interruption information of this entry, 0 none */
    uint64_t root;       /* what the VMCS has as CR3 */
    uint16_t vpid;
    uint64_t cr0_mask;              /* bits of CR0 that are the hypervisor's */
    struct segment kept[SEG_COUNT]; /* real mode: as the guest has them */
    uint16_t loaded[SEG_COUNT];     /* ... the selectors that stand for them */
    uint32_t fail; /* why the last entry did not happen: VM-instruction error, 0 none */
};

static inline struct vmx_vcpu *vmx_of(const struct vcpu *v)
{
    return v->arch;
}

/* init.c */
enum hv_err vmx_enable(void);
enum hv_err vmx_init(struct vcpu *v);
uint32_t vmx_nasids(void);
/* perm.c */
void vmx_perm_build(void);
/* The bitmaps' fields. ports: vcpu.io_map, 0: every port exits. */
void vmx_perm_write(uint64_t ports);
/* state.c */
void vmx_get(struct vcpu *v, enum vcpu_group g, void *out);
void vmx_put(struct vcpu *v, enum vcpu_group g, const void *in);
void vmx_code(const struct vcpu *v, struct vcpu_code *out);
uint32_t vmx_mode(const struct vcpu *v);
/* The neutral attributes as access rights of the VMCS and back. */
uint32_t vmx_ar(uint16_t attr);
uint16_t vmx_attr(uint32_t ar);
/* segs.c */
void vmx_segs_get(struct vmx_vcpu *a, struct vcpu_segs *out);
void vmx_segs_put(struct vmx_vcpu *a, const struct vcpu_segs *in);
/* real.c */
void vmx_real_segs_get(struct vmx_vcpu *a, struct vcpu_segs *out);
void vmx_real_segs_put(struct vmx_vcpu *a, const struct vcpu_segs *in);
/* The root for virtual-8086 mode: the pager's and the task state segment the processor needs. */
uint64_t vmx_real_root(uint32_t cpu, uint64_t root);
/* entry.c */
void vmx_run(struct vcpu *v, struct vmexit *x);
void vmx_inject(struct vcpu *v, const struct vcpu_event *e);
void vmx_window(struct vcpu *v, bool on);
void vmx_isolate(struct vcpu *v, bool on);
bool vmx_waits(void);
void vmx_set_int_shadow(struct vcpu *v, bool on);
void vmx_nmi_mask(struct vcpu *v, bool on);
void vmx_step(struct vcpu *v);
void vmx_exceptions_set(struct vmx_vcpu *a);
/* root.c */
void vmx_set_root(struct vcpu *v, hpa_t root, uint32_t asid, bool flush_asid, bool flush_all);
/* translate.c: raw exit -> neutral record. Reads the VMCS, writes *x. */
void vmx_translate(const struct vmx_vcpu *a, uint64_t entry_rip, struct vmexit *x);
/* check.c: what the processor finds wrong with the guest's state, a line each (SDM volume 3, 26.3
 * "Checking and Loading Guest State"). */
void vmx_check_guest(void (*emit)(const char *line));
/* dump.c */
void vmx_dump(struct vcpu *v, void (*emit)(const char *line));

/* enter.S. IF=0 on entry and on return. All GPRs but RSP, and CR2, through regs. */
enum vmx_entry {
    VMX_EXITED,
    VMX_FAIL_INVALID,
    VMX_FAIL_VALID,
    VMX_SKIPPED /* an NMI came first */
};
uint32_t vmx_enter(struct vcpu_regs *regs, bool launched);
extern const char vmx_exit_point[];
extern uint32_t vmx_verw_on; /* init.c; enter.S reads bit 0 */
extern const uint16_t vmx_verw_selector;

/* The task state segment of virtual-8086 mode: real.c. */
#define REAL_TSS_LINEAR 0xfffb0000u
#define REAL_TSS_LIMIT (104u + 32 + 8192)
