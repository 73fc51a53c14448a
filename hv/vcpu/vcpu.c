/* SPDX-License-Identifier: BSD-2-Clause */
/* Architectural states of a VCPU (power-on, INIT, SIPI, loader entry) and the helpers every exit
 * handler uses: injecting exceptions, moving RIP. Tested by tools/tests/test_exits.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"
#include "hv/vcpu/fetch.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

const struct vcpu_ops *vcpu_ops;

/* Attributes in the VMCB's layout: see struct segment. */
#define ATTR_CODE64 0xa9b
#define ATTR_CODE32 0xc9b
#define ATTR_DATA32 0xc93
#define ATTR_CODE16 0x9b
#define ATTR_DATA16 0x93
#define ATTR_LDT 0x82
#define ATTR_TSS 0x8b
#define ATTR_L BIT(9)
#define ATTR_DB BIT(10)
#define DR6_RESET 0xffff0ff0ull
#define DR6_BS BIT(14)
#define DR7_RESET 0x400ull
#define SELECTOR_CODE 0x10 /* Linux boot protocol: __BOOT_CS and __BOOT_DS */
#define SELECTOR_DATA 0x18

struct mmu_regs vcpu_mmu_regs(const struct vcpu *v)
{
    return (struct mmu_regs){v->ctl.cr0, v->ctl.cr3, v->ctl.cr4, v->ctl.efer};
}

bool vcpu_long_mode(const struct vcpu *v)
{
    return v->ctl.efer & EFER_LMA;
}

unsigned vcpu_code_size(struct subvmm *s)
{
    uint16_t attr = VCPU_MODE_ATTR(vcpu_ops->mode(&s->vcpu));

    if (vcpu_long_mode(&s->vcpu) && (attr & ATTR_L))
        return 8;
    return attr & ATTR_DB ? 4 : 2;
}

unsigned vcpu_cpl(struct subvmm *s)
{
    return VCPU_MODE_CPL(vcpu_ops->mode(&s->vcpu));
}

void vcpu_ctl_commit(struct subvmm *s)
{
    uint64_t cr4 = s->vcpu.ctl.cr4 | CR4_PGE; /* sptes carry no G: the host keeps its own setting */

    if (!(s->vcpu.ctl.cr0 & CR0_PG))
        cr4 &= ~(CR4_SMEP | CR4_SMAP);
    port_host_cr4_follow(cr4);
    vcpu_ops->put(&s->vcpu, VCPU_CTL, &s->vcpu.ctl);
}

/* --- states --- */

/* APM 14.1.3 "Processor Initialization State": what INIT leaves behind. */
static void reset_registers(struct vcpu *v)
{
    struct vcpu_segs segs = {.gdtr = {0, 0xffff}, .idtr = {0, 0xffff}};
    struct vcpu_debug debug = {.dr6 = DR6_RESET, .dr7 = DR7_RESET};
    uint32_t id[4];

    for (unsigned i = 0; i < SEG_COUNT; i++)
        segs.seg[i] = (struct segment){0, ATTR_DATA16, 0xffff, 0};
    segs.seg[SEG_CS] = (struct segment){0xf000, ATTR_CODE16, 0xffff, 0xffff0000};
    segs.seg[SEG_LDTR].attr = ATTR_LDT;
    segs.seg[SEG_TR].attr = ATTR_TSS;
    memset(&v->regs, 0, sizeof(v->regs));
    vcpu_ops->cpuid(1, 0, id);
    v->regs.gpr[RDX] = id[0];
    v->regs.rip = 0xfff0;
    v->regs.rflags = RFLAGS_FIXED1;
    /* INIT leaves the cache control bits alone (table 14-1 "Initial Processor State") */
    v->ctl = (struct vcpu_ctl){.cr0 = (v->ctl.cr0 & (CR0_CD | CR0_NW)) | CR0_ET};
    vcpu_ops->put(v, VCPU_SEGS, &segs);
    vcpu_ops->put(v, VCPU_DEBUG, &debug);
}

static void reset_events(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    v->pending = (struct vcpu_event){.type = EVENT_NONE};
    s->injected = v->pending;
    v->nmi_pending = v->nmi_blocked = false;
    v->int_shadow = v->intr = v->iret = false;
    v->iret_rip = UINT64_MAX;
    v->step_iret = false;
    vcpu_ops->window(v, false);
    vcpu_ops->nmi_mask(v, false);
    vcpu_ops->set_int_shadow(v, false);
}

void vcpu_init_reset(struct subvmm *s)
{
    struct mmu_regs regs;

    reset_registers(&s->vcpu);
    reset_events(s);
    s->vcpu.pveoi = 0; /* the local APIC it speaks of is reset as well */
    s->vcpu.pveoi_armed = false;
    s->vcpu.steal = s->vcpu.hv_assist = s->vcpu.hv_icr = 0;
    s->vcpu.steal_halted = false;
    vcpu_ctl_commit(s);
    regs = vcpu_mmu_regs(&s->vcpu);
    mmu_reset(&s->mmu, &regs);
    s->vcpu.state = VCPU_WAIT_SIPI;
    vm_set_active(s->vm, s->cpu, false);
}

void vcpu_start_real(struct subvmm *s, uint16_t cs, uint16_t ip)
{
    struct vcpu *v = &s->vcpu;
    struct vcpu_segs segs;

    vcpu_ops->get(v, VCPU_SEGS, &segs);
    segs.seg[SEG_CS].sel = cs;
    segs.seg[SEG_CS].base = (uint64_t)cs << 4;
    vcpu_ops->put(v, VCPU_SEGS, &segs);
    v->regs.rip = ip;
    v->state = VCPU_RUNNING;
    vm_set_active(s->vm, s->cpu, true);
}

/* Real mode as a boot sector finds it: CS:IP within the first 64 KiB if it can be, others 0. */
static uint64_t start_real(struct vcpu_segs *segs, uint64_t entry)
{
    uint64_t cs = entry < 0x10000 ? 0 : entry >> 4;

    for (unsigned i = 0; i <= SEG_GS; i++)
        segs->seg[i] = (struct segment){0, ATTR_DATA16, 0xffff, 0};
    segs->seg[SEG_CS] = (struct segment){(uint16_t)cs, ATTR_CODE16, 0xffff, cs << 4};
    segs->idtr = (struct dtable){0, 0x3ff};
    return entry - (cs << 4);
}

static void start_flat(struct vcpu_segs *segs, bool wide)
{
    for (unsigned i = 0; i <= SEG_GS; i++)
        segs->seg[i] = (struct segment){SELECTOR_DATA, ATTR_DATA32, 0xffffffff, 0};
    segs->seg[SEG_CS] =
        (struct segment){SELECTOR_CODE, wide ? ATTR_CODE64 : ATTR_CODE32, 0xffffffff, 0};
}

/* The boot processor starts where the loader says: on its page tables, flat and unpaged, or in real
 * mode. */
static void start_bsp(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    const struct vm *vm = s->vm;
    struct vcpu_segs segs;
    struct mmu_regs regs;

    vcpu_ops->get(v, VCPU_SEGS, &segs);
    v->regs.rip = vm->entry_rip;
    v->ctl.cr0 = CR0_ET;
    if (vm->entry_real) {
        v->regs.rip = start_real(&segs, vm->entry_rip);
    } else {
        start_flat(&segs, vm->entry_long);
        v->ctl.cr0 |= CR0_PE | CR0_NE;
    }
    vcpu_ops->put(v, VCPU_SEGS, &segs);
    if (vm->entry_long) {
        v->ctl.cr0 |= CR0_PG | CR0_WP;
        v->ctl.cr3 = vm->entry_cr3;
        v->ctl.cr4 = CR4_PAE;
        v->ctl.efer = EFER_LME | EFER_LMA;
    }
    v->regs.gpr[RDX] = 0;
    v->regs.gpr[RAX] = vm->entry_rax;
    v->regs.gpr[RBX] = vm->entry_rbx;
    v->regs.gpr[RSI] = vm->entry_rsi;
    v->regs.gpr[RSP] = vm->entry_rsp;
    vcpu_ctl_commit(s);
    regs = vcpu_mmu_regs(v);
    mmu_reset(&s->mmu, &regs);
    v->state = VCPU_RUNNING;
    vm_set_active(s->vm, s->cpu, true);
}

void vcpu_power_on(struct subvmm *s)
{
    s->vcpu.is_bsp = s->cpu == 0;
    cpuid_power_on(s);
    msr_power_on(s);
    xstate_power_on(s);
    s->vcpu.ctl.cr0 = CR0_CD | CR0_NW;
    vcpu_init_reset(s);
    if (s->vcpu.is_bsp)
        start_bsp(s);
}

/* --- exceptions --- */

static bool contributory(uint8_t vector)
{
    return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP);
}

/* APM 8.2.9 "#DF-Double-Fault Exception": a fault while `first` was being delivered. */
static bool makes_double_fault(uint8_t first, uint8_t second)
{
    if (contributory(first))
        return contributory(second);
    return first == VEC_PF && (second == VEC_PF || contributory(second));
}

/* Something is pending already. */
static HV_RARE void inject_second(struct subvmm *s, struct vcpu_event e)
{
    struct vcpu_event *p = &s->vcpu.pending;

    if (p->type == EVENT_EXCEPTION && p->vector == VEC_DF) {
        subvmm_triple_fault(s);
        return;
    }
    if (p->type == EVENT_EXCEPTION && makes_double_fault(p->vector, e.vector))
        e = (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_DF, .has_error = true};
    *p = e;
}

static HV_INLINE void inject(struct subvmm *s, struct vcpu_event e)
{
    e.type = EVENT_EXCEPTION;
    if (s->vcpu.pending.type != EVENT_NONE)
        inject_second(s, e);
    else
        s->vcpu.pending = e;
}

void vcpu_inject_exception(struct subvmm *s, uint8_t vector, bool has_error, uint32_t error)
{
    inject(s, (struct vcpu_event){.vector = vector, .has_error = has_error, .error = error});
}

void vcpu_inject_gp0(struct subvmm *s)
{
    vcpu_inject_exception(s, VEC_GP, true, 0);
}

void vcpu_inject_ud(struct subvmm *s)
{
    vcpu_inject_exception(s, VEC_UD, false, 0);
}

void vcpu_inject_pf(struct subvmm *s, const struct guest_fault *f)
{
    inject(s, (struct vcpu_event){
                  .vector = VEC_PF, .has_error = true, .error = f->pfec, .cr2 = f->cr2.v});
}

/* --- RIP --- */

static HV_RARE void shadow_end(struct subvmm *s)
{
    s->vcpu.int_shadow = false;
    vcpu_ops->set_int_shadow(&s->vcpu, false);
}

static HV_RARE void step_trap(struct subvmm *s)
{
    struct vcpu_debug d;

    if (s->vcpu.pending.type != EVENT_NONE)
        return;
    vcpu_ops->get(&s->vcpu, VCPU_DEBUG, &d);
    d.dr6 |= DR6_BS;
    vcpu_ops->put(&s->vcpu, VCPU_DEBUG, &d);
    vcpu_inject_exception(s, VEC_DB, false, 0);
}

/* The instruction is done and RIP behind it. */
static inline void skipped(struct subvmm *s, uint64_t rip)
{
    struct vcpu *v = &s->vcpu;

    v->regs.rip = rip;
    v->regs.rflags &= ~RFLAGS_RF;
    if (v->int_shadow) /* where it is false the processor has none either: run_guest in loop.c */
        shadow_end(s);
    if (v->regs.rflags & RFLAGS_TF)
        step_trap(s);
}

void vcpu_skip(struct subvmm *s, const struct vmexit *x, unsigned length)
{
    unsigned size = vcpu_code_size(s);
    uint64_t rip = x && x->next_rip ? x->next_rip : s->vcpu.regs.rip + length;

    if (size == 4)
        rip &= 0xffffffff;
    else if (size == 2)
        rip &= 0xffff;
    skipped(s, rip);
}

void vcpu_skip_long(struct subvmm *s, unsigned length)
{
    skipped(s, s->vcpu.regs.rip + length);
}

static HV_RARE enum hv_err skip_long_way(struct subvmm *s, const struct vmexit *x)
{
    struct insn in = {0};

    if (!x->next_rip)
        TRY(fetch_decode(s, x, &in));
    vcpu_skip(s, x, in.length);
    return HV_OK;
}

enum hv_err vcpu_skip_decoded(struct subvmm *s, const struct vmexit *x)
{
    const struct insn *known = x->next_rip ? NULL : fetch_known(s, x);

    if (!known)
        return skip_long_way(s, x);
    skipped(s, s->vcpu.regs.rip + known->length); /* 64-bit code: RIP has all its bits */
    return HV_OK;
}
