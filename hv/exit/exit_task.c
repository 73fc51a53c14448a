/* SPDX-License-Identifier: BSD-2-Clause */
/* Hardware task switches where the processor lets them be intercepted: CALL, JMP, IRET and task
 * gates, between 16- and 32-bit TSSs (SDM volume 3 7.2 "Task Management Data Structures", 7.3 "Task
 * Switching"; APM volume 2 15.14.1 "Task Switch Intercept"). What the processor checked before the
 * intercept is checked again, since other CPUs may have changed it. Tested by
 * tools/tests/test_task.c. */
#include "arch-x86/defs/x86.h"
#include "hv/base/string.h"
#include "hv/exit/exit.h"
#include "hv/vcpu/fetch.h"
#include "hv/vcpu/task.h"
#include "hv/vm/vm.h"

#define TYPE_BUSY BIT(1) /* of a TSS descriptor's type: 1 and 3, 9 and 11 */
#define TYPE_WIDE BIT(3)
#define ATTR_P BIT(7)
#define ATTR_B BIT(10)
#define FLAGS_LOADED 0x3f7fd5u /* what a TSS can set in EFLAGS */
#define DR6_BT BIT(15)
#define DR7_LOCAL 0x155ull /* L0..L3 and LE */
#define TSS16_MIN 43
#define TSS32_MIN 103

/* Offsets in both layouts, up to the last field that is saved. */
enum { T16_IP = 14, T16_GPR = 18, T16_SEG = 34, T16_LDT = 42, T16_BYTES = 44 };
enum { T32_CR3 = 28, T32_IP = 32, T32_GPR = 40, T32_SEG = 72, T32_LDT = 96, T32_BYTES = 104 };

static bool is_wide(const struct segment *tss)
{
    return tss->attr & TYPE_WIDE;
}

static uint32_t load(const uint8_t *p, size_t n)
{
    uint32_t v = 0;
    memcpy(&v, p, n);
    return v;
}

/* --- before the switch: faults belong to the outgoing task --- */

/* Behind the instruction for all but faults and external events. */
static enum hv_err next_ip(struct task *t)
{
    struct insn in;

    t->next_ip = t->s->vcpu.regs.rip;
    if (t->x->task.source == TASK_EVENT)
        return HV_OK;
    TRY(fetch_decode(t->s, t->x, &in));
    t->next_ip = (t->next_ip + in.length) & (vcpu_code_size(t->s) == 2 ? 0xffff : 0xffffffff);
    return HV_OK;
}

static enum hv_err incoming_descriptor(struct task *t, uint64_t *lin)
{
    uint16_t sel = t->x->task.selector;
    bool iret = t->x->task.source == TASK_IRET, present;
    uint64_t desc;

    TRY(task_descriptor(t, sel, lin, &desc, &present));
    t->tss = task_segment(sel, desc);
    t->wide = is_wide(&t->tss);
    unsigned type = t->tss.attr & 0x1f; /* with S, which is 0 */
    if (!present || (sel & 4) || (type & ~(TYPE_WIDE | TYPE_BUSY)) != 1 ||
        iret != !!(type & TYPE_BUSY))
        return task_raise(t, iret ? VEC_TS : VEC_GP, sel & ~3u);
    if (!(t->tss.attr & ATTR_P))
        return task_raise(t, VEC_NP, sel & ~3u);
    if (t->tss.limit < (t->wide ? TSS32_MIN : TSS16_MIN))
        return task_raise(t, VEC_TS, sel & ~3u);
    return HV_OK;
}

static enum hv_err incoming_image(struct task *t)
{
    struct task_image *in = &t->in;
    uint8_t b[T32_BYTES] = {0};

    TRY(task_read(t, t->tss.base, b, t->wide ? 64 : T16_BYTES));
    if (t->wide)
        TRY(task_read(t, t->tss.base + 64, b + 64, T32_BYTES - 64));
    size_t width = t->wide ? 4 : 2, ip = t->wide ? T32_IP : T16_IP;
    in->ip = load(b + ip, width);
    in->flags = load(b + ip + width, width);
    for (unsigned i = 0; i < 8; i++) /* the upper halves of a 16-bit task's registers are ones */
        in->gpr[i] = load(b + (t->wide ? T32_GPR : T16_GPR) + i * width, width) |
                     (t->wide ? 0 : 0xffff0000u);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (t->wide || i <= SEG_DS)
            in->sel[i] = (uint16_t)load(b + (t->wide ? T32_SEG : T16_SEG) + i * width, 2);
    in->ldt = (uint16_t)load(b + (t->wide ? T32_LDT : T16_LDT), 2);
    in->cr3 = t->wide ? load(b + T32_CR3, 4) : 0;
    in->debug_trap = t->wide && (load(b + 100, 2) & 1);
    return HV_OK;
}

static enum hv_err outgoing_save(struct task *t)
{
    const struct segment *tr = &t->segs.seg[SEG_TR];
    const struct vcpu_regs *r = &t->s->vcpu.regs;
    bool wide = is_wide(tr);
    size_t width = wide ? 4 : 2, n = 0;
    uint32_t flags = (uint32_t)r->rflags;
    uint8_t b[T32_BYTES] = {0};

    flags &= t->x->task.source == TASK_IRET ? ~(uint32_t)RFLAGS_NT : ~0u;
    flags = t->x->task.rf ? flags | (uint32_t)RFLAGS_RF : flags & ~(uint32_t)RFLAGS_RF;
    memcpy(b, &t->next_ip, width);
    memcpy(b + (n += width), &flags, width);
    for (unsigned i = 0; i < 8; i++)
        memcpy(b + (n += width), &r->gpr[i], width);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (wide || i <= SEG_DS)
            memcpy(b + (n += width), &t->segs.seg[i].sel, 2);
    n += width;
    return task_write(t, tr->base + (wide ? T32_IP : T16_IP), b, n, 0);
}

/* The busy bit of the descriptor behind sel. */
static enum hv_err set_busy(struct task *t, uint64_t lin, bool busy)
{
    uint8_t type;

    TRY(task_read(t, lin + 5, &type, 1));
    type = (uint8_t)(busy ? type | TYPE_BUSY : type & ~TYPE_BUSY);
    return task_write(t, lin + 5, &type, 1, 0);
}

static enum hv_err outgoing_busy(struct task *t)
{
    enum task_source from = t->x->task.source;
    uint64_t lin = t->segs.gdtr.base + (t->segs.seg[SEG_TR].sel & ~7u);

    return from == TASK_JMP || from == TASK_IRET ? set_busy(t, lin, false) : HV_OK;
}

static bool nests(const struct task *t)
{
    return t->x->task.source != TASK_JMP && t->x->task.source != TASK_IRET;
}

static enum hv_err before(struct task *t)
{
    uint64_t lin;

    TRY(next_ip(t));
    TRY(incoming_descriptor(t, &lin));
    TRY(incoming_image(t));
    TRY(outgoing_save(t));
    if (nests(t))
        TRY(task_write(t, t->tss.base, &t->segs.seg[SEG_TR].sel, 2, 0));
    TRY(outgoing_busy(t));
    return t->x->task.source == TASK_IRET ? HV_OK : set_busy(t, lin, true);
}

/* --- the switch, and faults of the incoming task --- */

static void commit_registers(struct task *t)
{
    struct vcpu_regs *r = &t->s->vcpu.regs;
    uint32_t flags = (t->in.flags & FLAGS_LOADED) | (uint32_t)RFLAGS_FIXED1;

    if (nests(t))
        flags |= (uint32_t)RFLAGS_NT;
    t->in.flags = flags;
    for (unsigned i = 0; i < 8; i++)
        r->gpr[i] = t->in.gpr[i];
    r->rip = t->in.ip;
    r->rflags = flags;
    t->tss.attr |= TYPE_BUSY;
    t->segs.seg[SEG_TR] = t->tss;
    t->s->vcpu.int_shadow = false;
    vcpu_ops->set_int_shadow(&t->s->vcpu, false);
}

static enum hv_err commit_control(struct task *t)
{
    struct subvmm *s = t->s;
    struct vcpu_debug d;

    vcpu_ops->get(&s->vcpu, VCPU_DEBUG, &d);
    d.dr7 &= ~DR7_LOCAL;
    if (t->in.debug_trap)
        d.dr6 |= DR6_BT;
    vcpu_ops->put(&s->vcpu, VCPU_DEBUG, &d);
    if (!cr_write(s, 0, s->vcpu.ctl.cr0 | CR0_TS))
        return HV_UNSUPPORTED;
    if (t->wide && (s->vcpu.ctl.cr0 & CR0_PG) && !cr_write(s, 3, t->in.cr3))
        return task_raise(t, VEC_GP, 0); /* a PDPTE with reserved bits */
    return HV_OK;
}

static enum hv_err push_error(struct task *t)
{
    const struct segment *ss = &t->segs.seg[SEG_SS];
    uint64_t mask = ss->attr & ATTR_B ? 0xffffffffull : 0xffff;
    uint64_t *rsp = &t->s->vcpu.regs.gpr[RSP];
    size_t width = t->wide ? 4 : 2;
    uint64_t sp = (*rsp - width) & mask;

    if (!t->x->task.has_error)
        return HV_OK;
    TRY(task_write(t, ss->base + sp, &t->x->task.error, width, t->segs.cpl == 3 ? PFEC_U : 0));
    *rsp = (*rsp & ~mask) | sp;
    return HV_OK;
}

static enum hv_err after(struct task *t)
{
    commit_registers(t);
    enum hv_err err = commit_control(t);
    if (err == HV_OK)
        err = task_load_segments(t);
    vcpu_ops->put(&t->s->vcpu, VCPU_SEGS, &t->segs); /* as far as they are loaded */
    TRY(err);
    TRY(push_error(t));
    if (t->in.debug_trap)
        vcpu_inject_exception(t->s, VEC_DB, false, 0);
    return HV_OK;
}

void exit_task_switch(struct subvmm *s, const struct vmexit *x)
{
    struct task t = {.s = s, .x = x, .ext = x->task.external};
    enum hv_err err;

    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &t.segs);
    if (!(s->vcpu.ctl.cr0 & CR0_PE) || vcpu_long_mode(&s->vcpu)) {
        subvmm_park(s, "a task switch in a mode that has none");
        return;
    }
    err = before(&t); /* with the event pending that leads here: its faults may be double faults */
    if (err == HV_OK) {
        s->vcpu.pending.type = EVENT_NONE;
        err = after(&t);
    }
    if (err != HV_OK && err != HV_FAULT)
        subvmm_park(s, "a task switch whose tables are not in memory");
}

/* The processor ran on tables of the guest's own as if they were the hypervisor's: whatever it
 * reached meanwhile, no VCPU goes on. */
void exit_foreign_cr3(struct subvmm *s, const struct vmexit *x)
{
    (void)x;
    subvmm_park(s, "a hardware task switch, which this machine (QEMU's emulation) does not let a "
                   "hypervisor intercept: the guest's CR3 was loaded raw");
    vm_end(s->vm, s->cpu, 3);
}
