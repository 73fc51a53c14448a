/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw SVM exits as neutral records. Decode assists and next RIP are used where the processor has
 * them; QEMU has neither, Bochs only the latter. Tested by tools/tests/test_svm.c. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/internal.h"
#include "hv/base/string.h"

/* Every exit passes here, so only what its kind has is written: the head of the record (vmexit.h)
 * is always whole, the rest belongs to the kinds that say so there. */

/* By exit code. INSN: caused by an instruction that the handler completes; only for these is the
 * next RIP valid. MORE: the kind alone does not say all. */
#define INSN 0x80
#define MORE 0x40
static const uint8_t svm_kind[256] = {
    [SVM_EXIT_CR0_SEL_WRITE] = INSN | EXIT_CR_WRITE,
    [SVM_EXIT_RDTSC] = INSN | EXIT_RDTSC,
    [SVM_EXIT_RDPMC] = INSN | EXIT_RDPMC,
    [SVM_EXIT_CPUID] = INSN | EXIT_CPUID,
    [SVM_EXIT_RSM] = INSN | EXIT_RSM,
    [SVM_EXIT_IRET] = INSN | EXIT_IRET,
    [SVM_EXIT_INVD] = INSN | EXIT_INVD,
    [SVM_EXIT_PAUSE] = INSN | EXIT_PAUSE,
    [SVM_EXIT_HLT] = INSN | EXIT_HLT,
    [SVM_EXIT_INVLPG] = INSN | MORE | EXIT_INVLPG,
    [SVM_EXIT_INVLPGA] = INSN | EXIT_INVLPGA,
    [SVM_EXIT_IOIO] = INSN | MORE | EXIT_IO,
    [SVM_EXIT_MSR] = INSN | MORE | EXIT_RDMSR,
    [SVM_EXIT_VMRUN] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_VMMCALL] = INSN | EXIT_VMMCALL,
    [SVM_EXIT_VMLOAD] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_VMSAVE] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_STGI] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_CLGI] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_SKINIT] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_RDTSCP] = INSN | EXIT_RDTSCP,
    [SVM_EXIT_ICEBP] = INSN | EXIT_ICEBP,
    [SVM_EXIT_WBINVD] = INSN | EXIT_WBINVD,
    [SVM_EXIT_MONITOR] = INSN | EXIT_MONITOR,
    [SVM_EXIT_MWAIT] = INSN | EXIT_MWAIT,
    [SVM_EXIT_MWAIT_ARMED] = INSN | EXIT_MWAIT,
    [SVM_EXIT_XSETBV] = INSN | EXIT_XSETBV,
    [SVM_EXIT_RDPRU] = INSN | EXIT_RDPRU,
    [SVM_EXIT_INVLPGB] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_INVLPGB_ILLEGAL] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_INVPCID] = INSN | EXIT_INVPCID,
    [SVM_EXIT_MCOMMIT] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_TLBSYNC] = INSN | EXIT_HV_INSN,
    [SVM_EXIT_INTR] = EXIT_INTR,
    [SVM_EXIT_NMI] = EXIT_NMI,
    [SVM_EXIT_SMI] = EXIT_SMI,
    [SVM_EXIT_INIT] = EXIT_INIT,
    [SVM_EXIT_VINTR] = EXIT_IRQ_WINDOW,
    [SVM_EXIT_TASK_SWITCH] = MORE | EXIT_TASK_SWITCH,
    [SVM_EXIT_SHUTDOWN] = EXIT_SHUTDOWN,
    [SVM_EXIT_FERR_FREEZE] = MORE | EXIT_EXCEPTION,
    [SVM_EXIT_IDTR_READ... SVM_EXIT_TR_WRITE] = EXIT_DT_ACCESS,
    [0 ... SVM_EXIT_INTR - 1] = MORE, /* control and debug registers, exceptions */
};
_Static_assert(EXIT_UNKNOWN == 0 && EXIT_KIND_COUNT <= MORE, "a code that is not listed");

/* One-hot 1, 2, 4 -> itself; anything else is an operand the decoder must find. */
static const uint8_t one_hot[8] = {[1] = 1, [2] = 2, [4] = 4};

static void translate_io(const struct vmcb_control *c, struct vmexit *x)
{
    uint64_t i = c->exitinfo1;

    x->io_port = (uint16_t)(i >> 16);
    x->io_size = one_hot[i >> IOIO_SIZE_SHIFT & 7];
    x->io_in = i & IOIO_IN;
    x->io_string = i & IOIO_STR;
    x->io_rep = i & IOIO_REP;
    x->io_addrsize = (uint8_t)(2 * one_hot[i >> IOIO_ADDR_SHIFT & 7]);
    x->io_have_addrsize = x->io_addrsize != 0;
    x->next_rip = c->exitinfo2;
    if (!x->io_size)
        x->kind = EXIT_UNKNOWN;
}

static void translate_cr(const struct vmcb_control *c, const struct svm_features *f,
                         struct vmexit *x)
{
    bool write = x->code & 0x10;

    x->cr = x->code & 0xf;
    x->kind = x->code < SVM_EXIT_DR_READ ? (write ? EXIT_CR_WRITE : EXIT_CR_READ)
                                         : (write ? EXIT_DR_WRITE : EXIT_DR_READ);
    if (x->kind == EXIT_CR_READ && f->cr_number_lost) /* the instruction says which */
        return;
    if (f->assists &&
        (x->kind == EXIT_DR_READ || x->kind == EXIT_DR_WRITE || (c->exitinfo1 & CRX_MOV)))
        x->gpr = c->exitinfo1 & CRX_GPR;
}

static void translate_exception(const struct svm_vcpu *a, struct vmexit *x)
{
    const struct vmcb_control *c = &a->vmcb->ctl;

    x->vector = x->code & 0x1f;
    x->kind = EXIT_EXCEPTION;
    x->error_valid =
        x->vector == VEC_DF || (x->vector >= VEC_TS && x->vector <= VEC_GP) || x->vector == VEC_AC;
    x->error = x->error_valid ? (uint32_t)c->exitinfo1 : 0; /* undefined for the others */
    /* A contributory exception of the guest's own; #PF and #GP come only as injected by us. */
    if (x->vector == VEC_GP && !a->injected && (c->exitintinfo & EVENT_V) &&
        (c->exitintinfo & EVENT_TYPE_MASK) == EVENT_TYPE_EXCEPTION)
        x->delivering = (uint8_t)((c->exitintinfo & EVENT_VECTOR) + 1);
}

static void translate_bytes(const struct vmcb_control *c, const struct svm_features *f,
                            struct vmexit *x)
{
    /* The byte count is advisory (APM 15.33.4 "Nested and intercepted #PF"): 0 means fetch. */
    if (!f->assists || c->insn_len == 0 || c->insn_len > sizeof(x->insn))
        return;
    x->insn_len = c->insn_len;
    memcpy(x->insn, c->insn, sizeof(x->insn));
}

static HV_INLINE void translate_pf(const struct vmcb_control *c, const struct svm_features *f,
                                   struct vmexit *x)
{
    x->kind = EXIT_PF;
    x->vector = VEC_PF;
    x->error_valid = x->have_gva = true;
    x->error = x->pfec = (uint32_t)c->exitinfo1;
    x->gva = gva(c->exitinfo2);
    translate_bytes(c, f, x);
}

static void translate_task(const struct vmcb_control *c, struct vmexit *x)
{
    uint64_t type = c->exitintinfo & EVENT_TYPE_MASK, vector = c->exitintinfo & EVENT_VECTOR;
    bool trap = vector == VEC_BP || vector == VEC_OF; /* INT3 and INTO: instructions, type 3 */
    bool soft = type == EVENT_TYPE_SOFT || (type == EVENT_TYPE_EXCEPTION && trap);

    x->task.selector = (uint16_t)c->exitinfo1;
    x->task.error = (uint32_t)c->exitinfo2;
    x->task.has_error = c->exitinfo2 & TASK_ERROR;
    x->task.rf = c->exitinfo2 & TASK_RF;
    if (c->exitinfo2 & TASK_BY_IRET)
        x->task.source = TASK_IRET;
    else if (c->exitinfo2 & TASK_BY_JMP)
        x->task.source = TASK_JMP;
    else
        x->task.source = (c->exitintinfo & EVENT_V) && !soft ? TASK_EVENT : TASK_CALL;
    x->task.external = x->task.source == TASK_EVENT;
}

/* What the other codes marked MORE have beside their kind. */
static void translate_other(const struct svm_vcpu *a, const struct svm_features *f,
                            struct vmexit *x)
{
    const struct vmcb_control *c = &a->vmcb->ctl;

    if (x->code < SVM_EXIT_EXCEPTION) {
        if (f->nrips)
            x->next_rip = c->nrip;
        translate_cr(c, f, x);
        return;
    }
    if (x->code < SVM_EXIT_INTR) {
        translate_exception(a, x);
        return;
    }
    switch (x->code) {
    case SVM_EXIT_IOIO:
        translate_io(c, x);
        break;
    case SVM_EXIT_MSR:
        x->kind = c->exitinfo1 & 1 ? EXIT_WRMSR : EXIT_RDMSR;
        break;
    case SVM_EXIT_TASK_SWITCH:
        translate_task(c, x);
        break;
    default: /* FERR_FREEZE: with NE=0 only, and that the processor never has */
        x->vector = VEC_MF;
        x->error_valid = false;
        x->error = 0;
        break;
    }
}

/* The two that are most frequent come first. */
static HV_INLINE void translate_more(const struct svm_vcpu *a, const struct vmcb_control *c,
                                     const struct svm_features *f, struct vmexit *x)
{
    if (x->code == SVM_EXIT_EXCEPTION + VEC_PF) {
        translate_pf(c, f, x);
    } else if (x->code == SVM_EXIT_INVLPG) {
        x->have_gva = f->assists;
        x->gva = gva(c->exitinfo1);
    } else {
        translate_other(a, f, x);
    }
}

/* Was `ours` (0: none) what the processor was delivering when the guest exited? The handler of the
 * event may begin where the guest was entered, and be about another event of the guest's own. */
static bool same_event(uint64_t ours, uint64_t exitintinfo)
{
    return (ours & EVENT_V) &&
           ((ours ^ exitintinfo) & (EVENT_V | EVENT_TYPE_MASK | EVENT_VECTOR)) == 0;
}

void svm_translate_event(const struct svm_vcpu *a, uint64_t entry_rip, struct vmexit *x)
{
    const struct vmcb_control *c = &a->vmcb->ctl;
    bool begun;

    /* Only what this entry injected, and only if nothing was delivered: anything else in
     * EXITINTINFO belongs to the guest, may be stale, and happens again by itself. */
    x->redeliver = same_event(a->injected, c->exitintinfo) && a->vmcb->save.rip == entry_rip;
    /* An exception while our #DF was being delivered: shutdown (APM 8.2.9 "Double-Fault"). */
    if (a->injecting_df && x->redeliver && x->kind == EXIT_EXCEPTION)
        x->kind = EXIT_SHUTDOWN;
    if (!a->offered)
        return;
    /* An interrupt offered as V_IRQ: its delivery began and met what made the guest exit (QEMU
     * leaves V_IRQ set then as well), or it still waits. */
    begun = same_event(a->offered, c->exitintinfo);
    x->redeliver |= begun;
    x->untaken = begun ? x->code != SVM_EXIT_TASK_SWITCH : !!(c->vintr & VINTR_V_IRQ);
}

void svm_translate(const struct svm_vcpu *a, const struct svm_features *f, struct vmexit *x)
{
    const struct vmcb *b = a->vmcb;
    uint64_t code = b->ctl.exitcode;
    uint8_t kind = svm_kind[code & (ARRAY_SIZE(svm_kind) - 1)];

    /* The head of the record: everything that handlers ask of exits of any kind. */
    memset(x, 0, offsetof(struct vmexit, code));
    x->gpr = VMEXIT_GPR_NONE;
    x->code = code;
    if (b->ctl.int_shadow & 1)
        x->window_shadow = true;
    x->kind = kind & ~(INSN | MORE);
    if ((kind & INSN) && f->nrips)
        x->next_rip = b->ctl.nrip;
    if (kind & MORE)
        translate_more(a, &b->ctl, f, x);
    if (code >= ARRAY_SIZE(svm_kind)) /* INVALID: QEMU writes a 32-bit -1 */
        x->kind = (int32_t)code < 0 ? EXIT_INVALID : EXIT_UNKNOWN;
    /* A hardware task switch loads CR3 from the TSS where the emulator cannot intercept it. */
    else if (b->save.cr3 != a->root)
        x->kind = EXIT_FOREIGN_CR3;
}
