/* SPDX-License-Identifier: BSD-2-Clause */
/* The VMX back end on a VMCS made by hand: raw exits as neutral records, the state of entries,
 * segments in both modes, real mode, roots and their flushes, what is said of refused entries. */
#include "tools/tests/tap.h"
#include "tools/tests/vmx_rig.h"

static struct vmexit raw(uint32_t reason, uint64_t qualification)
{
    struct vmexit x;

    fake_vmcs[VMCS_EXIT_REASON] = reason;
    fake_vmcs[VMCS_EXIT_QUALIFICATION] = qualification;
    fake_vmcs[VMCS_EXIT_LENGTH] = 3;
    fake_vmcs[VMCS_GUEST_RIP] = 0x1000;
    vmx_translate(&arch, 0x1000, &x);
    return x;
}

static struct vmexit event(uint32_t info, uint32_t error, uint64_t qualification)
{
    fake_vmcs[VMCS_EXIT_INTR_INFO] = info | INTR_INFO_VALID;
    fake_vmcs[VMCS_EXIT_INTR_ERROR] = error;
    return raw(REASON_EXCEPTION, qualification);
}

/* --- exits --- */

static void test_kinds(void)
{
    static const struct {
        uint16_t reason, kind;
        bool insn;
    } table[] = {
        {1, EXIT_INTR, false},         {2, EXIT_SHUTDOWN, false},   {3, EXIT_INIT, false},
        {6, EXIT_SMI, false},          {7, EXIT_IRQ_WINDOW, false}, {8, EXIT_NMI_WINDOW, false},
        {10, EXIT_CPUID, true},        {11, EXIT_HV_INSN, true},    {12, EXIT_HLT, true},
        {13, EXIT_INVD, true},         {14, EXIT_INVLPG, true},     {15, EXIT_RDPMC, true},
        {16, EXIT_RDTSC, true},        {17, EXIT_RSM, true},        {18, EXIT_VMMCALL, true},
        {19, EXIT_HV_INSN, true},      {27, EXIT_HV_INSN, true},    {31, EXIT_RDMSR, true},
        {32, EXIT_WRMSR, true},        {36, EXIT_MWAIT, true},      {37, EXIT_UNKNOWN, false},
        {39, EXIT_MONITOR, true},      {40, EXIT_PAUSE, true},      {44, EXIT_UNKNOWN, false},
        {46, EXIT_DT_ACCESS, true},    {47, EXIT_DT_ACCESS, true},  {48, EXIT_UNKNOWN, false},
        {50, EXIT_HV_INSN, true},      {51, EXIT_RDTSCP, true},     {52, EXIT_INTR, false},
        {53, EXIT_HV_INSN, true},      {54, EXIT_WBINVD, true},     {55, EXIT_XSETBV, true},
        {58, EXIT_INVPCID, true},      {59, EXIT_HV_INSN, true},    {69, EXIT_UNKNOWN, false},
        {0x4000, EXIT_UNKNOWN, false},
    };

    fresh();
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct vmexit x = raw(table[i].reason, 0);
        tap_ok(x.kind == table[i].kind && x.next_rip == (table[i].insn ? 0x1003 : 0),
               "reason %u: kind %u, next 0x%" PRIx64, table[i].reason, x.kind, x.next_rip);
    }
    tap_eq(raw(REASON_FAILED_ENTRY | REASON_GUEST_STATE, 0).kind, EXIT_INVALID, "entry refused");
    struct vmexit x = raw(REASON_FAILED_ENTRY | REASON_MACHINE_CHECK, 0);
    tap_ok(x.kind == EXIT_EXCEPTION && x.vector == VEC_MC, "machine check at the entry");
}

static void test_operands(void)
{
    fresh();
    struct vmexit x = raw(REASON_CR, 3 | QUAL_CR_TO << 4 | 12 << 8);
    tap_ok(x.kind == EXIT_CR_WRITE && x.cr == 3 && x.gpr == 12, "MOV to CR3 from R12");
    x = raw(REASON_CR, 8 | QUAL_CR_FROM << 4 | 1 << 8);
    tap_ok(x.kind == EXIT_CR_READ && x.cr == 8 && x.gpr == 1, "MOV from CR8 to RCX");
    x = raw(REASON_CR, QUAL_CR_CLTS << 4);
    tap_ok(x.kind == EXIT_CR_WRITE && x.cr == 0 && x.gpr == VMEXIT_GPR_NONE && x.known &&
               !x.msw.lmsw,
           "CLTS");
    x = raw(REASON_CR, QUAL_CR_LMSW << 4 | 0xbeef0000);
    tap_ok(x.kind == EXIT_CR_WRITE && x.cr == 0 && x.gpr == VMEXIT_GPR_NONE && x.known &&
               x.msw.lmsw && x.msw.msw == 0xbeef,
           "LMSW of a register");
    x = raw(REASON_CR, QUAL_CR_LMSW << 4 | 0x000a0000 | 1 << 6);
    tap_ok(x.known && x.msw.lmsw && x.msw.msw == 0xa, "LMSW of memory: what was read there");
    x = raw(REASON_DR, 7 | 5 << 8);
    tap_ok(x.kind == EXIT_DR_WRITE && x.cr == 7 && x.gpr == 5, "MOV to DR7");
    x = raw(REASON_DR, 6 | QUAL_DR_FROM);
    tap_ok(x.kind == EXIT_DR_READ && x.cr == 6 && x.gpr == 0, "MOV from DR6");
    x = raw(REASON_INVLPG, 0x7fff1234);
    tap_ok(x.have_gva && x.gva.v == 0x7fff1234, "INVLPG's address");
    x = raw(REASON_IO, 0x3f80000 | QUAL_IO_IN);
    tap_ok(x.kind == EXIT_IO && x.io_port == 0x3f8 && x.io_size == 1 && x.io_in && !x.io_string,
           "IN of a byte");
    fake_vmcs[VMCS_EXIT_INSN_INFO] = 2 << 7;
    x = raw(REASON_IO, 0x1f00000 | 1 | QUAL_IO_STRING | QUAL_IO_REP);
    tap_ok(x.io_size == 2 && !x.io_in && x.io_string && x.io_rep && x.io_have_addrsize &&
               x.io_addrsize == 8,
           "REP OUTSW");
    vmx_caps.ins_outs_info = false;
    x = raw(REASON_IO, 0x1f00000 | 3 | QUAL_IO_STRING);
    tap_ok(x.io_size == 4 && !x.io_have_addrsize, "OUTSD without information");
    tap_eq(raw(REASON_IO, 2).kind, EXIT_UNKNOWN, "a size that there is not");
}

/* First r9, fs:[rbx + 8 * r10 - 16]. */
static void test_invpcid(void)
{
    const uint32_t size64 = 2 << 7;

    fresh();
    fake_vmcs[VMCS_EXIT_INSN_INFO] =
        3 | size64 | SEG_FS << 15 | 10 << 18 | RBX << 23 | (uint32_t)R9 << 28;
    struct vmexit x = raw(REASON_INVPCID, (uint64_t)-16);
    tap_ok(x.kind == EXIT_INVPCID && x.known && x.gpr == R9 && x.next_rip == 0x1003, "INVPCID");
    tap_ok(x.mem.segment == SEG_FS && x.mem.base == RBX && x.mem.index == 10 && x.mem.scale == 8 &&
               x.mem.addrsize == 8 && x.mem.disp == -16,
           "... where its descriptor is");
    fake_vmcs[VMCS_EXIT_INSN_INFO] =
        size64 | SEG_DS << 15 | INSN_INFO_NO_INDEX | INSN_INFO_NO_BASE | RAX << 28;
    x = raw(REASON_INVPCID, 0x7000);
    tap_ok(x.known && x.mem.base == 0xff && x.mem.index == 0xff && x.mem.disp == 0x7000,
           "... without base and index, or relative to RIP");
    fake_vmcs[VMCS_EXIT_INSN_INFO] = 1 << 7 | SEG_SS << 15 | INSN_INFO_NO_INDEX | RBP << 23;
    x = raw(REASON_INVPCID, 4);
    tap_ok(x.mem.addrsize == 4 && x.mem.segment == SEG_SS && x.mem.base == RBP, "... of 32 bits");
    fake_vmcs[VMCS_EXIT_INSN_INFO] = size64 | 7 << 15; /* no segment */
    tap_eq(raw(REASON_INVPCID, 0).kind, EXIT_UNKNOWN, "a segment that there is not");
    fake_vmcs[VMCS_EXIT_INSN_INFO] = 3 << 7;
    tap_eq(raw(REASON_INVPCID, 0).kind, EXIT_UNKNOWN, "an address size that there is not");
}

static void test_exceptions(void)
{
    fresh();
    struct vmexit x = event(INTR_TYPE_HARD | INTR_INFO_ERROR | VEC_PF, 6, 0xffff800012345678);
    tap_ok(x.kind == EXIT_PF && x.have_gva && x.gva.v == 0xffff800012345678 && x.pfec == 6, "#PF");
    x = event(INTR_TYPE_HARD | VEC_DB, 99, 0x4000);
    tap_ok(x.kind == EXIT_EXCEPTION && x.vector == VEC_DB && !x.error_valid && !x.error, "#DB");
    x = event(INTR_TYPE_HARD | INTR_INFO_ERROR | VEC_GP, 0x18, 0);
    tap_ok(x.kind == EXIT_EXCEPTION && x.error_valid && x.error == 0x18, "#GP");
    tap_eq(event(INTR_TYPE_NMI | VEC_NMI, 0, 0).kind, EXIT_NMI, "NMI");
    x = event(INTR_TYPE_PRIV_SOFT | VEC_DB, 0, 0);
    tap_ok(x.kind == EXIT_ICEBP && x.next_rip == 0x1003, "INT1");
    arch.real = true;
    tap_eq(event(INTR_TYPE_HARD | INTR_INFO_ERROR | VEC_GP, 0, 0).kind, EXIT_REAL_GP,
           "#GP in real mode");
}

static void test_task(void)
{
    fresh();
    struct vmexit x = raw(REASON_TASK_SWITCH, 0x28);
    tap_ok(x.kind == EXIT_TASK_SWITCH && x.task.source == TASK_CALL && x.task.selector == 0x28 &&
               !x.task.external,
           "by CALL");
    tap_eq(raw(REASON_TASK_SWITCH, 1u << 30).task.source, TASK_IRET, "by IRET");
    tap_eq(raw(REASON_TASK_SWITCH, 2u << 30).task.source, TASK_JMP, "by JMP");
    fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | INTR_TYPE_HARD | INTR_INFO_ERROR | VEC_TS;
    fake_vmcs[VMCS_IDT_ERROR] = 0x1234;
    x = raw(REASON_TASK_SWITCH, 3u << 30);
    tap_ok(x.task.source == TASK_EVENT && x.task.external && x.task.has_error &&
               x.task.error == 0x1234 && x.task.rf,
           "by a fault with an error code");
    fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | INTR_TYPE_EXTERNAL | 0x40;
    x = raw(REASON_TASK_SWITCH, 3u << 30);
    tap_ok(x.task.source == TASK_EVENT && !x.task.has_error && !x.task.rf, "by an interrupt");
    fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | INTR_TYPE_SOFT_INT | 0x80;
    tap_eq(raw(REASON_TASK_SWITCH, 3u << 30).task.source, TASK_CALL, "by INT n");
    fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | INTR_TYPE_SOFT | VEC_BP;
    tap_eq(raw(REASON_TASK_SWITCH, 3u << 30).task.source, TASK_CALL, "by INT3");
}

/* --- events --- */

static struct vmexit run(uint32_t reason)
{
    struct vmexit x;

    fake_reason = reason;
    vmx_run(&vcpu, &x);
    return x;
}

static void inject(enum event_type type, uint8_t vector, bool has_error, uint32_t error)
{
    const struct vcpu_event e = {
        .type = type, .vector = vector, .has_error = has_error, .error = error, .cr2 = 0x77};
    vmx_inject(&vcpu, &e);
}

static void test_redeliver(void)
{
    static const uint32_t ours[] = {INTR_TYPE_EXTERNAL | 0x40, INTR_TYPE_NMI | VEC_NMI,
                                    INTR_TYPE_HARD | VEC_UD};
    static const enum event_type types[] = {EVENT_INTR, EVENT_NMI, EVENT_EXCEPTION};

    for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
        fresh();
        inject(types[i], (uint8_t)(ours[i] & 0xff), false, 0);
        fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | ours[i];
        tap_ok(run(REASON_INTR).redeliver, "ours was not delivered: type %zu", i);
        fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | ours[i];
        tap_ok(!run(REASON_INTR).redeliver, "... and is not ours in the next entry");
        inject(types[i], (uint8_t)(ours[i] & 0xff), false, 0);
        fake_vmcs[VMCS_IDT_INFO] = ours[i];
        tap_ok(!run(REASON_INTR).redeliver, "delivered");
        inject(types[i], (uint8_t)(ours[i] & 0xff), false, 0);
        fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | (ours[i] ^ 1);
        tap_ok(!run(REASON_INTR).redeliver, "another vector is the guest's own");
        inject(types[i], (uint8_t)(ours[i] & 0xff), false, 0);
        fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | (ours[i] ^ INTR_TYPE_SOFT_INT);
        tap_ok(!run(REASON_INTR).redeliver, "another type is the guest's own");
        inject(types[i], (uint8_t)(ours[i] & 0xff), false, 0);
        fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | ours[i];
        fake_exit_rip = 0x2000;
        tap_ok(!run(REASON_INTR).redeliver, "elsewhere it is another one");
    }
}

static void test_inject(void)
{
    fresh();
    inject(EVENT_EXCEPTION, VEC_PF, true, 0x12345);
    run(REASON_INTR);
    tap_eq(fake_entered_info, INTR_INFO_VALID | INTR_TYPE_HARD | INTR_INFO_ERROR | VEC_PF, "#PF");
    tap_ok(fake_vmcs[VMCS_ENTRY_ERROR] == 0x2345 && vcpu.regs.cr2 == 0x77,
           "its error code has 16 bits; CR2");
    inject(EVENT_EXCEPTION, VEC_UD, false, 0);
    run(REASON_INTR);
    tap_eq(fake_entered_info, INTR_INFO_VALID | INTR_TYPE_HARD | VEC_UD, "#UD has no error code");
    arch.blocking = BLOCKING_MOV_SS;
    fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_MOV_SS;
    fake_vmcs[VMCS_GUEST_PENDING_DEBUG] = PENDING_DEBUG_BS;
    inject(EVENT_INTR, 0x40, false, 0);
    run(REASON_INTR);
    tap_ok(!fake_entered_blocking && !fake_vmcs[VMCS_GUEST_PENDING_DEBUG],
           "delivery ends the shadow and what was pending in it");
    arch.blocking = BLOCKING_NMI;
    inject(EVENT_NMI, VEC_NMI, false, 0);
    tap_eq(arch.blocking, 0, "an NMI that is injected again is not blocked by itself");
}

static void test_blocking(void)
{
    fresh();
    vmx_set_int_shadow(&vcpu, true);
    tap_eq(arch.blocking, BLOCKING_STI, "a shadow with IF = 1 is STI's");
    vcpu.regs.rflags |= RFLAGS_TF;
    fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = arch.blocking;
    run(REASON_INTR);
    tap_eq(fake_vmcs[VMCS_GUEST_PENDING_DEBUG], PENDING_DEBUG_BS, "TF in a shadow: BS is pending");
    vmx_set_int_shadow(&vcpu, false);
    tap_ok(!arch.blocking && !fake_vmcs[VMCS_GUEST_PENDING_DEBUG], "both end together");
    vcpu.regs.rflags &= ~(RFLAGS_IF | RFLAGS_TF);
    vmx_set_int_shadow(&vcpu, true);
    tap_eq(arch.blocking, BLOCKING_MOV_SS, "with IF = 0 it is MOV SS's");
    fresh();
    fake_vmcs[VMCS_EXIT_INTR_INFO] =
        INTR_INFO_VALID | INTR_TYPE_HARD | INTR_INFO_ERROR | INTR_INFO_IRET_NMI | VEC_PF;
    run(REASON_EXCEPTION);
    tap_eq(fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY], BLOCKING_NMI,
           "an IRET that faulted has unblocked NMIs too early");
    fresh();
    vmx_nmi_mask(&vcpu, true);
    tap_ok(arch.proc & PROC_NMI_WINDOW, "the NMI window");
    arch.blocking = BLOCKING_NMI;
    vmx_nmi_mask(&vcpu, false);
    tap_ok(!(arch.proc & PROC_NMI_WINDOW) && !arch.blocking, "... closed, nothing blocked");
    vmx_window(&vcpu, true);
    tap_ok(fake_vmcs[VMCS_PROC_CTLS] & PROC_INTR_WINDOW, "the interrupt window");
    fake_kick = true;
    run(REASON_NMI_WINDOW);
    tap_ok(fake_entered_proc & PROC_NMI_WINDOW, "a doorbell to itself opens the NMI window");
}

static void test_not_entered(void)
{
    fresh();
    fake_nmis = fake_stis = 0;
    inject(EVENT_INTR, 0x40, false, 0);
    fake_how = VMX_SKIPPED;
    struct vmexit x = run(0);
    tap_ok(x.kind == EXIT_INTR && x.redeliver && !fake_vmcs[VMCS_ENTRY_INTR_INFO] && fake_stis == 1,
           "an NMI before the entry: what was to be injected waits");
    tap_ok(!run(0).redeliver, "... once");
    fake_how = VMX_FAIL_VALID;
    fake_vmcs[VMCS_INSN_ERROR] = 7;
    x = run(0);
    tap_ok(x.kind == EXIT_INVALID && x.code == 7 && !arch.launched, "VMfailValid");
    fake_how = VMX_EXITED;
    x = run(REASON_FAILED_ENTRY | 33);
    tap_ok(x.kind == EXIT_INVALID && !arch.launched, "refused for its state: not launched by it");
    fake_vmcs[VMCS_EXIT_INTR_INFO] = INTR_INFO_VALID | INTR_TYPE_NMI | VEC_NMI;
    run(REASON_EXCEPTION);
    tap_ok(fake_nmis == 1 && arch.launched, "an NMI that exits is handled, which unblocks NMIs");
}

static void test_debug(void)
{
    fresh();
    fake_dr[6] = 0xffff0ff3;
    fake_vmcs[VMCS_GUEST_DR7] = 0x2400;
    fake_vmcs[VMCS_EXIT_INTR_INFO] = INTR_INFO_VALID | INTR_TYPE_HARD | VEC_DB;
    fake_vmcs[VMCS_EXIT_QUALIFICATION] = QUAL_DB_BD | 4;
    run(REASON_EXCEPTION);
    tap_ok(fake_dr[6] == (0xffff0ff4 | QUAL_DB_BD) && fake_vmcs[VMCS_GUEST_DR7] == 0x400,
           "the causes of #DB reach DR6, GD ends: %" PRIx64, fake_dr[6]);
}

/* --- state --- */

static void test_control(void)
{
    fresh();
    vcpu.ctl = (struct vcpu_ctl){.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_CD | CR0_TS,
                                 .cr4 = CR4_PAE | CR4_PCIDE | CR4_SMEP,
                                 .efer = EFER_LME | EFER_LMA | EFER_SCE};
    vcpu.tsc_adjust = 0x5555;
    vmx_put(&vcpu, VCPU_CTL, &vcpu.ctl);
    tap_eq(fake_vmcs[VMCS_GUEST_CR0], CR0_PE | CR0_PG | CR0_ET | CR0_TS | CR0_NE | CR0_WP, "CR0");
    tap_eq(fake_vmcs[VMCS_CR0_SHADOW], vcpu.ctl.cr0, "... as it is read");
    tap_ok(fake_vmcs[VMCS_CR0_MASK] == ~(CR0_TS | CR0_MP | CR0_EM | CR0_AM),
           "... the guest's own bits");
    tap_eq(fake_vmcs[VMCS_GUEST_CR4], CR4_PAE | CR4_SMEP | CR4_VMXE | CR4_PGE | CR4_MCE, "CR4");
    tap_ok(fake_vmcs[VMCS_CR4_SHADOW] == vcpu.ctl.cr4 && fake_vmcs[VMCS_CR4_MASK] == ~0ull,
           "... as it is read, all ours");
    tap_ok(fake_vmcs[VMCS_ENTRY_CTLS] == ENTRY_CTL_IA32E && (fake_efer & EFER_SCE), "EFER");
    tap_eq(fake_vmcs[VMCS_TSC_OFFSET], 0x5555, "TSC offset");
    tap_eq(fake_vmcs[VMCS_EXCEPTION_BITMAP],
           1u << VEC_PF | 1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC | 1u << VEC_MF,
           "exceptions, #MF with NE = 0");
    fake_vmcs[VMCS_GUEST_CR0] &= ~CR0_TS;
    run(REASON_INTR);
    tap_ok(!(vcpu.ctl.cr0 & CR0_TS) && (vcpu.ctl.cr0 & CR0_CD),
           "what the guest changed without an exit");
    vcpu.invpcid = true;
    vmx_caps.invpcid = false;
    vcpu.ctl.efer = vcpu.ctl.cr4 = 0;
    vcpu.ctl.cr0 = CR0_PE | CR0_NE;
    vmx_put(&vcpu, VCPU_CTL, &vcpu.ctl);
    tap_ok(fake_vmcs[VMCS_EXCEPTION_BITMAP] >> VEC_UD & 1, "#UD for an INVPCID that is only shown");
    tap_ok(!fake_vmcs[VMCS_ENTRY_CTLS] && !(fake_efer & EFER_SCE), "EFER without SCE and LME");
    tap_ok(!(fake_vmcs[VMCS_EXCEPTION_BITMAP] >> VEC_MF & 1), "#MF is the guest's with NE = 1");
    vmx_isolate(&vcpu, true);
    tap_eq(fake_vmcs[VMCS_EXCEPTION_BITMAP], ~0u, "isolated");
    vmx_isolate(&vcpu, false);
    vmx_step(&vcpu);
    tap_eq(fake_vmcs[VMCS_EXCEPTION_BITMAP], ~0u, "a single step");
    run(REASON_INTR);
    tap_ok(fake_vmcs[VMCS_EXCEPTION_BITMAP] != ~0u, "... lasts for one entry");
}

static bool direct(void)
{
    return fake_vmcs[VMCS_PFEC_MASK] == PFEC_P && fake_vmcs[VMCS_PFEC_MATCH] == PFEC_P &&
           (fake_vmcs[VMCS_EXCEPTION_BITMAP] >> VEC_PF & 1);
}

/* Every page fault exits, whatever its error code. */
static bool all_exit(void)
{
    return !fake_vmcs[VMCS_PFEC_MASK] && !fake_vmcs[VMCS_PFEC_MATCH] &&
           (fake_vmcs[VMCS_EXCEPTION_BITMAP] >> VEC_PF & 1);
}

static void test_directpf(void)
{
    const struct vcpu_ctl wide = {.cr0 = CR0_PE | CR0_PG, .cr4 = CR4_PAE, .efer = EFER_LME};
    struct vcpu_ctl other = wide;

    fresh();
    vmx_put(&vcpu, VCPU_CTL, &wide);
    tap_ok(all_exit(), "directpf=off: every page fault exits");
    vcpu.directpf = true;
    vmx_put(&vcpu, VCPU_CTL, &wide);
    tap_ok(direct(), "directpf=on, 64-bit mode: those of present entries alone");
    unsigned writes = fake_writes[VMCS_PFEC_MASK];
    vmx_put(&vcpu, VCPU_CTL, &wide);
    tap_eq(fake_writes[VMCS_PFEC_MASK], writes, "... written where it changes");
    vmx_isolate(&vcpu, true);
    tap_ok(all_exit(), "an instruction that runs alone: all");
    vmx_isolate(&vcpu, false);
    tap_ok(direct(), "... and as before");
    vmx_step(&vcpu);
    tap_ok(all_exit(), "a single step: all");
    run(REASON_INTR);
    tap_ok(direct(), "... for one entry");
    other.efer = 0;
    vmx_put(&vcpu, VCPU_CTL, &other);
    tap_ok(all_exit(), "PAE: all, since no PDPTE has a reserved bit");
    other = wide;
    other.cr0 = CR0_PE;
    vmx_put(&vcpu, VCPU_CTL, &other);
    tap_ok(all_exit(), "unpaged: all");
    other.cr0 = 0;
    vmx_put(&vcpu, VCPU_CTL, &other);
    tap_ok(all_exit(), "real mode: all");
    vcpu.directpf = false;
}

static struct vcpu_segs flat(void)
{
    struct vcpu_segs s = {.gdtr = {0x1000, 0x12ffff}, .idtr = {0x2000, 0xfff}};

    for (unsigned i = 0; i <= SEG_GS; i++)
        s.seg[i] = (struct segment){0x18, 0xc93, 0xffffffff, 0};
    s.seg[SEG_CS] = (struct segment){0x10, 0xc9b, 0xffffffff, 0};
    s.seg[SEG_LDTR] = (struct segment){0, 0, 0, 0};
    s.seg[SEG_TR] = (struct segment){0x40, 0x8b, 0x67, 0x3000};
    return s;
}

static void test_segments(void)
{
    struct vcpu_segs in = flat(), out;

    fresh();
    vmx_put(&vcpu, VCPU_SEGS, &in);
    vmx_get(&vcpu, VCPU_SEGS, &out);
    in.gdtr.limit = 0xffff;
    tap_ok(!memcmp(in.seg, out.seg, sizeof(in.seg)) && in.gdtr.base == out.gdtr.base &&
               in.gdtr.limit == out.gdtr.limit && out.cpl == 0,
           "what goes in comes out");
    tap_eq(fake_vmcs[VMCS_GUEST_CS_AR], 0xc09b, "rights of CS");
    tap_ok(fake_vmcs[VMCS_GUEST_ES_AR + 2 * SEG_LDTR] & AR_UNUSABLE, "no LDT");
    in = flat();
    in.cpl = 3;
    in.seg[SEG_SS] = (struct segment){0x3, 0, 0, 0};
    in.seg[SEG_CS] = (struct segment){0x33, 0xafb, 0xffffffff, 0};
    vmx_put(&vcpu, VCPU_SEGS, &in);
    vmx_get(&vcpu, VCPU_SEGS, &out);
    tap_ok(fake_vmcs[VMCS_GUEST_SS_AR] == (AR_UNUSABLE | 0x60) && out.cpl == 3,
           "an unusable SS keeps the CPL");
    /* what real mode leaves behind in protected mode */
    in = flat();
    in.seg[SEG_CS] = (struct segment){0x9a03, 0x9b, 0xffff, 0x9a030};
    in.seg[SEG_SS] = (struct segment){0x9a02, 0x93, 0xffff, 0x9a020};
    in.seg[SEG_DS] = (struct segment){0x7c1, 0x93, 0xffffffff, 0x7c10};
    vmx_put(&vcpu, VCPU_SEGS, &in);
    tap_ok(fake_vmcs[VMCS_GUEST_CS_SEL] == 0x9a00 && fake_vmcs[VMCS_GUEST_SS_SEL] == 0x9a00 &&
               fake_vmcs[VMCS_GUEST_ES_SEL + 2 * SEG_DS] == 0x7c0,
           "RPLs that the processor would refuse");
    tap_ok(fake_vmcs[VMCS_GUEST_ES_AR + 2 * SEG_DS] & BIT(15), "a limit of 4 GiB has G");
    struct vcpu_code c;
    vmx_code(&vcpu, &c);
    tap_ok(c.base == 0x9a030 && c.limit == 0xffff && c.attr == 0x9b && c.cpl == 0, "CS alone");
}

static void test_real(void)
{
    struct vcpu_segs in = flat(), out;

    fresh();
    vmx_put(&vcpu, VCPU_SEGS, &in);
    vcpu.ctl.cr0 = CR0_ET;
    vmx_put(&vcpu, VCPU_CTL, &vcpu.ctl);
    tap_ok(arch.real && (fake_vmcs[VMCS_GUEST_CR4] & CR4_VME), "real mode is virtual-8086 mode");
    tap_eq(fake_vmcs[VMCS_EXCEPTION_BITMAP], ~0u, "... every exception exits");
    vmx_get(&vcpu, VCPU_SEGS, &out);
    tap_ok(out.seg[SEG_DS].limit == 0xffffffff && out.seg[SEG_DS].sel == 0x18 && out.cpl == 0,
           "segments are kept with their limits");
    in.seg[SEG_CS] = (struct segment){0xf000, 0x9b, 0xffff, 0xf0000};
    in.seg[SEG_DS] = (struct segment){0x10, 0x93, 0xffffffff, 0x20000};
    vmx_put(&vcpu, VCPU_SEGS, &in);
    tap_ok(fake_vmcs[VMCS_GUEST_CS_BASE] == 0xf0000 && fake_vmcs[VMCS_GUEST_CS_AR] == 0xf3 &&
               fake_vmcs[VMCS_GUEST_ES_SEL + 2 * SEG_DS] == 0x2000 &&
               fake_vmcs[VMCS_GUEST_ES_LIMIT + 2 * SEG_DS] == 0xffff,
           "as virtual-8086 mode has them");
    tap_eq(fake_vmcs[VMCS_GUEST_ES_BASE + 2 * SEG_TR], REAL_TSS_LINEAR, "TR");
    fake_vmcs[VMCS_GUEST_ES_SEL + 2 * SEG_DS] = 0x3000; /* the guest loads it */
    vmx_get(&vcpu, VCPU_SEGS, &out);
    tap_ok(out.seg[SEG_DS].base == 0x30000 && out.seg[SEG_DS].limit == 0xffffffff,
           "a load changes selector and base alone");
    vcpu.regs.rip = 0;
    inject(EVENT_EXCEPTION, VEC_GP, false, 0);
    run(REASON_INTR);
    tap_ok(fake_entered_info == (INTR_INFO_VALID | INTR_TYPE_SOFT_INT | VEC_GP) &&
               fake_entered_rip == 0xffff && fake_vmcs[VMCS_ENTRY_LENGTH] == 1,
           "events go by the vector table");
    tap_ok((fake_entered_rflags & RFLAGS_VM) &&
               (fake_entered_rflags & RFLAGS_IOPL) == RFLAGS_IOPL &&
               !(vcpu.regs.rflags & (RFLAGS_VM | RFLAGS_IOPL)),
           "RFLAGS");
    vcpu.regs.rip = 0;
    inject(EVENT_INTR, 0x40, false, 0);
    fake_vmcs[VMCS_IDT_INFO] = INTR_INFO_VALID | INTR_TYPE_SOFT_INT | 0x40;
    struct vmexit x = run(REASON_INTR);
    tap_ok(x.redeliver && vcpu.regs.rip == 0, "one that was not delivered: RIP is as before");
    fake_vmcs[VMCS_IDT_INFO] = 0;
    inject(EVENT_NMI, VEC_NMI, false, 0);
    tap_eq(arch.blocking, BLOCKING_NMI, "an NMI blocks others");
    run(REASON_INTR);
    vcpu.regs.rip = 0x100;
    fake_vmcs[VMCS_EXIT_INTR_INFO] = INTR_INFO_VALID | INTR_TYPE_SOFT | VEC_BP;
    fake_vmcs[VMCS_EXIT_LENGTH] = 1;
    run(REASON_EXCEPTION);
    tap_eq(vcpu.regs.rip, 0x101, "INT3 exits in front of itself");
    fake_vmcs[VMCS_EXIT_INTR_INFO] = 0;
    vcpu.ctl.cr0 |= CR0_PE;
    vmx_put(&vcpu, VCPU_CTL, &vcpu.ctl);
    tap_ok(!arch.real && fake_vmcs[VMCS_GUEST_CS_AR] == 0x9b &&
               fake_vmcs[VMCS_GUEST_ES_BASE + 2 * SEG_DS] == 0x30000 &&
               fake_vmcs[VMCS_EXCEPTION_BITMAP] != ~0u,
           "protected mode with what real mode left");
}

static void test_roots(void)
{
    static _Alignas(32) uint64_t pdpt[4] = {0x11001, 0x12001, 0x13001, 0x14001};

    fresh();
    vmx_set_root(&vcpu, hpa(0x5000), 3, true, false);
    tap_ok(fake_vmcs[VMCS_GUEST_CR3] == 0x5000 && fake_vmcs[VMCS_VPID] == 3 &&
               fake_flushes_single[3] == 1 && fake_flushes_all == 0,
           "a root, its VPID, its flush");
    vmx_set_root(&vcpu, hpa(0x5000), 3, false, false);
    tap_ok(fake_writes[VMCS_GUEST_CR3] == 1 && fake_writes[VMCS_VPID] == 1 &&
               fake_flushes_single[3] == 1,
           "the same again costs nothing");
    vmx_set_root(&vcpu, hpa(0x6000), 4, false, true);
    tap_ok(fake_flushes_all == 1 && fake_vmcs[VMCS_VPID] == 4, "all");
    arch.real = true;
    vcpu.ctl.cr0 = CR0_ET;
    vmx_set_root(&vcpu, hpa((uintptr_t)pdpt), 5, true, false);
    const uint64_t *own = (const uint64_t *)(uintptr_t)fake_vmcs[VMCS_GUEST_CR3];
    tap_ok(own != pdpt && !memcmp(own, pdpt, 24) && own[3] != pdpt[3] && (own[3] & PTE_P),
           "real mode: the pager's tables, and the processor's own above");
    tap_ok(fake_vmcs[VMCS_VPID] == (5 | VPID_REAL) && fake_flushes_single[5] == 1 &&
               fake_flushes_single[5 | VPID_REAL] == 1,
           "... under a VPID of its own, flushed with the other");
    pdpt[0] = 0x21001;
    vmx_set_root(&vcpu, hpa((uintptr_t)pdpt), 5, false, false);
    tap_eq(own[0], 0x21001, "... read anew with each entry");
    vcpu.cpu = HV_MACHINE_CPUS - 1; /* numbers are the machine's, not the VM's */
    vmx_set_root(&vcpu, hpa((uintptr_t)pdpt), 5, false, false);
    tap_ok(fake_vmcs[VMCS_GUEST_CR3] != (uintptr_t)own, "... of each CPU that there can be");
    vcpu.cpu = 0;
    vmx_caps.vpid = arch.real = false;
    fake_flushes_all = 0;
    vmx_set_root(&vcpu, hpa(0x7000), 6, true, true);
    tap_ok(fake_flushes_all == 0 && fake_vmcs[VMCS_VPID] == (5 | VPID_REAL), "without VPIDs");
}

/* --- refused entries --- */

static char said[1024];
static void hear(const char *line)
{
    strncat(said, line, sizeof(said) - strlen(said) - 2);
    strcat(said, "\n");
}

static void test_check(void)
{
    struct vcpu_segs in = flat();
    static const struct {
        uint32_t field;
        uint64_t value;
        const char *says;
    } bad[] = {
        {VMCS_GUEST_RFLAGS, 0, "reserved bits of RFLAGS"},
        {VMCS_GUEST_CS_AR, 0x1009b, "CS unusable"},
        {VMCS_GUEST_SS_SEL, 0x13, "SS.DPL is not SS.RPL"},
        {VMCS_GUEST_TR_AR, 0x89, "TR"},
        {VMCS_GUEST_ES_LIMIT, 0xfffff000, "limit and G"},
        {VMCS_GUEST_INTERRUPTIBILITY, 3, "blocked by STI and MOV SS"},
        {VMCS_GUEST_FS_BASE, 1ull << 60, "not canonical"},
        {VMCS_GUEST_RIP, 1ull << 32, "RIP"},
    };

    fresh();
    vmx_caps.cr0_fixed1 = vmx_caps.cr4_fixed1 = ~0ull;
    vmx_put(&vcpu, VCPU_SEGS, &in);
    fake_vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_FIXED1 | RFLAGS_IF;
    said[0] = 0;
    vmx_check_guest(hear);
    if (!tap_ok(!said[0], "nothing is said of a good state"))
        tap_note("%s", said);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t before = fake_vmcs[bad[i].field];
        fake_vmcs[bad[i].field] = bad[i].value;
        said[0] = 0;
        vmx_check_guest(hear);
        tap_ok(strstr(said, bad[i].says), "%s", bad[i].says);
        fake_vmcs[bad[i].field] = before;
    }
}

int main(void)
{
    test_kinds();
    test_operands();
    test_invpcid();
    test_exceptions();
    test_directpf();
    test_task();
    test_redeliver();
    test_inject();
    test_blocking();
    test_not_entered();
    test_debug();
    test_control();
    test_segments();
    test_real();
    test_roots();
    test_check();
    return tap_done();
}
