/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw VM exits as neutral records. Lengths and most operands come from the processor.
 * Tested by tools/tests/test_vmx.c. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"
#include "hv/base/string.h"

/* By basic exit reason. INSN: caused by an instruction that the handler completes; only for these
 * is the length valid (27.2.5 "Information for VM Exits Due to Instruction Execution"). */
#define INSN 0x80
static const uint8_t vmx_kind[REASON_COUNT] = {
    [REASON_INTR] = EXIT_INTR,
    [REASON_TRIPLE_FAULT] = EXIT_SHUTDOWN,
    [REASON_INIT] = EXIT_INIT,
    [REASON_IO_SMI] = EXIT_SMI,
    [REASON_SMI] = EXIT_SMI,
    [REASON_INTR_WINDOW] = EXIT_IRQ_WINDOW,
    [REASON_NMI_WINDOW] = EXIT_NMI_WINDOW,
    [REASON_TASK_SWITCH] = EXIT_TASK_SWITCH,
    [REASON_CPUID] = INSN | EXIT_CPUID,
    [REASON_GETSEC] = INSN | EXIT_HV_INSN,
    [REASON_HLT] = INSN | EXIT_HLT,
    [REASON_INVD] = INSN | EXIT_INVD,
    [REASON_INVLPG] = INSN | EXIT_INVLPG,
    [REASON_RDPMC] = INSN | EXIT_RDPMC,
    [REASON_RDTSC] = INSN | EXIT_RDTSC,
    [REASON_RSM] = INSN | EXIT_RSM,
    [REASON_VMCALL] = INSN | EXIT_VMMCALL,
    [REASON_CR] = INSN | EXIT_CR_WRITE,
    [REASON_DR] = INSN | EXIT_DR_WRITE,
    [REASON_IO] = INSN | EXIT_IO,
    [REASON_RDMSR] = INSN | EXIT_RDMSR,
    [REASON_WRMSR] = INSN | EXIT_WRMSR,
    [REASON_MWAIT] = INSN | EXIT_MWAIT,
    [REASON_MONITOR] = INSN | EXIT_MONITOR,
    [REASON_PAUSE] = INSN | EXIT_PAUSE,
    [REASON_DT] = INSN | EXIT_DT_ACCESS,
    [REASON_LDT_TR] = INSN | EXIT_DT_ACCESS,
    [REASON_INVEPT] = INSN | EXIT_HV_INSN,
    [REASON_RDTSCP] = INSN | EXIT_RDTSCP,
    [REASON_TIMER] = EXIT_INTR,
    [REASON_INVVPID] = INSN | EXIT_HV_INSN,
    [REASON_WBINVD] = INSN | EXIT_WBINVD,
    [REASON_XSETBV] = INSN | EXIT_XSETBV,
    [REASON_INVPCID] = INSN | EXIT_INVPCID,
    [REASON_VMFUNC] = INSN | EXIT_HV_INSN,
};
#define NO_REGISTER 0xff /* as in struct insn */
_Static_assert(EXIT_UNKNOWN == 0 && EXIT_KIND_COUNT <= INSN, "a reason that is not listed");

static uint64_t qualification(void)
{
    return vmcs_read(VMCS_EXIT_QUALIFICATION);
}

static void translate_exception(const struct vmx_vcpu *a, uint32_t info, struct vmexit *x)
{
    uint32_t type = info & INTR_INFO_TYPE;

    if (type == INTR_TYPE_NMI) {
        x->kind = EXIT_NMI;
        return;
    }
    if (type == INTR_TYPE_PRIV_SOFT) { /* RIP is at the INT1 */
        x->kind = EXIT_ICEBP;
        x->next_rip = vmcs_read(VMCS_GUEST_RIP) + vmcs_read(VMCS_EXIT_LENGTH);
        return;
    }
    x->vector = info & INTR_INFO_VECTOR;
    x->error_valid = info & INTR_INFO_ERROR;
    x->error = x->error_valid ? (uint32_t)vmcs_read(VMCS_EXIT_INTR_ERROR) : 0;
    x->kind = x->vector == VEC_PF ? EXIT_PF : EXIT_EXCEPTION;
    if (x->kind == EXIT_PF) {
        x->gva = gva(qualification());
        x->have_gva = true;
        x->pfec = x->error;
    }
    if (x->vector == VEC_GP && a->real) /* may be what virtual-8086 mode does not have */
        x->kind = EXIT_REAL_GP;
}

static void translate_cr(struct vmexit *x)
{
    unsigned type = QUAL_CR_TYPE(qualification());

    x->cr = qualification() & QUAL_CR_NUMBER;
    x->kind = type == QUAL_CR_FROM ? EXIT_CR_READ : EXIT_CR_WRITE;
    if (type == QUAL_CR_TO || type == QUAL_CR_FROM) {
        x->gpr = QUAL_GPR(qualification());
        return;
    }
    x->cr = 0; /* CLTS and LMSW, the latter with its operand: table 27-3 */
    x->known = true;
    x->msw.lmsw = type == QUAL_CR_LMSW;
    x->msw.msw = QUAL_CR_MSW(qualification());
}

/* Table 27-9; the qualification is the displacement, to which RIP is added where that is the base
 * (27.2.1). No check was made of what it names. */
static void translate_invpcid(struct vmexit *x)
{
    uint32_t info = (uint32_t)vmcs_read(VMCS_EXIT_INSN_INFO);

    x->gpr = (uint8_t)INSN_INFO_REG2(info);
    x->known = true;
    x->mem.segment = INSN_INFO_SEGMENT(info);
    x->mem.index = info & INSN_INFO_NO_INDEX ? NO_REGISTER : INSN_INFO_INDEX(info);
    x->mem.base = info & INSN_INFO_NO_BASE ? NO_REGISTER : INSN_INFO_BASE(info);
    x->mem.scale = (uint8_t)(1u << INSN_INFO_SCALE(info));
    x->mem.addrsize = (uint8_t)(2u << INSN_INFO_ADDRSIZE(info));
    x->mem.disp = (int64_t)qualification();
    if (x->mem.segment > SEG_GS || x->mem.addrsize > 8)
        x->kind = EXIT_UNKNOWN;
}

static void translate_dr(struct vmexit *x)
{
    x->cr = qualification() & QUAL_DR_NUMBER;
    x->kind = qualification() & QUAL_DR_FROM ? EXIT_DR_READ : EXIT_DR_WRITE;
    x->gpr = QUAL_GPR(qualification());
}

static void translate_io(struct vmexit *x)
{
    uint64_t q = qualification();

    x->io_port = (uint16_t)(q >> 16);
    x->io_size = (uint8_t)((q & QUAL_IO_SIZE) + 1);
    x->io_in = q & QUAL_IO_IN;
    x->io_string = q & QUAL_IO_STRING;
    x->io_rep = q & QUAL_IO_REP;
    if (x->io_string && vmx_caps.ins_outs_info) {
        x->io_have_addrsize = true;
        x->io_addrsize = (uint8_t)(2u << INSN_INFO_ADDRSIZE(vmcs_read(VMCS_EXIT_INSN_INFO)));
    }
    if (x->io_size != 1 && x->io_size != 2 && x->io_size != 4)
        x->kind = EXIT_UNKNOWN;
}

/* 27.2.1 "Basic VM-Exit Information", table 27-2; for a task gate the event is in the IDT-vectoring
 * information. RF is saved for what happens again. */
static void translate_task(uint32_t idt, struct vmexit *x)
{
    uint32_t type = idt & INTR_INFO_TYPE, vector = idt & INTR_INFO_VECTOR;
    bool soft = type == INTR_TYPE_SOFT_INT || type == INTR_TYPE_PRIV_SOFT || type == INTR_TYPE_SOFT;
    bool valid = idt & INTR_INFO_VALID;

    x->task.selector = (uint16_t)qualification();
    switch (QUAL_TASK_SOURCE(qualification())) {
    case QUAL_TASK_IRET:
        x->task.source = TASK_IRET;
        break;
    case QUAL_TASK_JMP:
        x->task.source = TASK_JMP;
        break;
    case QUAL_TASK_GATE:
        x->task.source = valid && !soft ? TASK_EVENT : TASK_CALL;
        break;
    default:
        x->task.source = TASK_CALL;
        break;
    }
    x->task.external = x->task.source == TASK_EVENT;
    if (!x->task.external)
        return;
    x->task.has_error = idt & INTR_INFO_ERROR;
    x->task.error = x->task.has_error ? (uint32_t)vmcs_read(VMCS_IDT_ERROR) : 0;
    x->task.rf = type == INTR_TYPE_HARD && vector != VEC_DB && vector != VEC_DF && vector != VEC_MC;
}

static void translate_insn(struct vmexit *x)
{
    x->next_rip = vmcs_read(VMCS_GUEST_RIP) + vmcs_read(VMCS_EXIT_LENGTH);
    switch (x->code) {
    case REASON_CR:
        translate_cr(x);
        break;
    case REASON_DR:
        translate_dr(x);
        break;
    case REASON_IO:
        translate_io(x);
        break;
    case REASON_INVPCID:
        translate_invpcid(x);
        break;
    case REASON_INVLPG:
        x->have_gva = true;
        x->gva = gva(qualification());
        break;
    default:
        break;
    }
}

/* Was it `ours` (0: none) that the processor was delivering when the guest exited? What else is
 * there is the guest's own: an INT n or a fault, which happens again by itself. */
static bool same_event(uint32_t ours, uint32_t idt)
{
    return ours && ((ours ^ idt) & (INTR_INFO_VALID | INTR_INFO_TYPE | INTR_INFO_VECTOR)) == 0;
}

void vmx_translate(const struct vmx_vcpu *a, uint64_t entry_rip, struct vmexit *x)
{
    uint32_t reason = (uint32_t)vmcs_read(VMCS_EXIT_REASON);
    uint32_t idt = (uint32_t)vmcs_read(VMCS_IDT_INFO);

    memset(x, 0, sizeof(*x));
    x->kind = EXIT_UNKNOWN;
    x->gpr = VMEXIT_GPR_NONE;
    x->code = reason & 0xffff;
    x->window_shadow = a->blocking & (BLOCKING_STI | BLOCKING_MOV_SS);
    if ((reason & REASON_FAILED_ENTRY) && x->code != REASON_MACHINE_CHECK) {
        x->code = reason;
        x->kind = EXIT_INVALID;
        return;
    }
    uint64_t at = a->set_aside ? (entry_rip - 1) & 0xffff : entry_rip;
    x->redeliver = same_event(a->injected, idt) && vmcs_read(VMCS_GUEST_RIP) == at;
    if (x->code == REASON_MACHINE_CHECK) {
        x->kind = EXIT_EXCEPTION;
        x->vector = VEC_MC;
        return;
    }
    if (x->code == REASON_EXCEPTION) {
        translate_exception(a, (uint32_t)vmcs_read(VMCS_EXIT_INTR_INFO), x);
        return;
    }
    if (x->code >= REASON_VMCLEAR && x->code <= REASON_VMXON)
        x->kind = EXIT_HV_INSN;
    else if (x->code < ARRAY_SIZE(vmx_kind))
        x->kind = vmx_kind[x->code] & ~INSN;
    if (x->kind == EXIT_TASK_SWITCH)
        translate_task(idt, x);
    else if (x->kind == EXIT_HV_INSN ||
             (x->code < ARRAY_SIZE(vmx_kind) && (vmx_kind[x->code] & INSN)))
        translate_insn(x);
}
