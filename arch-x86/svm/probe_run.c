/* SPDX-License-Identifier: BSD-2-Clause */
/* The probe on this machine: a control block with the intercepts of a real guest, tables that map
 * the first GiB, and one entry for each snippet of probe_guest.S. Tested by every boot. */
#include "arch-x86/cpu/apic.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/internal.h"
#include "arch-x86/svm/probe.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

#define TRIES 4 /* an interrupt or SMI of the machine's own may come instead */
#define DEADMAN_PER_S 50
#define UNMAPPED 0x40000000ull /* the first byte behind the probe's tables */
#define DR6_BS (1ull << 14)
#define SEL_TSS_OLD 0x20
#define ATTR_CODE64 0xa9b
#define ATTR_CODE64_USER 0xafb
#define ATTR_CODE32 0xc9b
#define ATTR_DATA 0xc93
#define ATTR_DATA_USER 0xcf3
#define ATTR_TSS_BUSY 0x8b

#define X(id, name, code, also, class) extern const char probe_##id[], probe_at_##id[];
PROBE_LIST(X)
#undef X
extern const char probe_task_new[];
static const struct {
    const char *start, *at;
} snippet[PROBE_COUNT] = {
#define X(id, name, code, also, class) [PROBE_##id] = {probe_##id, probe_at_##id},
    PROBE_LIST(X)
#undef X
};

/* The 32-bit TSS (APM volume 2, 12.2.4 "Legacy Task-State Segment"). */
struct tss32 {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, iomap;
};

static _Alignas(4096) uint64_t table4[512], table3[512], table2[512], table3_pae[512];
static _Alignas(4096) uint8_t block2[4096], stack[4096], buffer[64];
static struct svm_block own;
static struct tss32 tss_old, tss_new;
static uint64_t gdt[5];
struct probe_result svm_probe;

static void tables_build(void)
{
    const uint64_t rights = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;

    for (uint64_t i = 0; i < 512; i++)
        table2[i] = i << 21 | PTE_PS | rights;
    table3[0] = (uintptr_t)table2 | rights;
    table4[0] = (uintptr_t)table3 | rights;
    table3_pae[0] = (uintptr_t)table2 | PTE_P;
}

static uint64_t tss_descriptor(const struct tss32 *t, uint64_t type)
{
    uint64_t base = (uintptr_t)t;

    return (sizeof(*t) - 1) | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56;
}

/* A task to switch to, on the same tables, so that a switch that is executed does no harm. */
static void tasks_build(void)
{
    tss_new = (struct tss32){.cr3 = (uint32_t)(uintptr_t)table3_pae,
                             .eip = (uint32_t)(uintptr_t)probe_task_new,
                             .eflags = RFLAGS_FIXED1,
                             .esp = (uint32_t)(uintptr_t)(stack + sizeof(stack)),
                             .cs = 0x08,
                             .es = 0x10,
                             .ss = 0x10,
                             .ds = 0x10,
                             .iomap = sizeof(struct tss32)};
    gdt[1] = 0x00cf9b000000ffffull;
    gdt[2] = 0x00cf93000000ffffull;
    gdt[3] = tss_descriptor(&tss_new, 0x89);
    gdt[SEL_TSS_OLD / 8] = tss_descriptor(&tss_old, 0x8b);
}

static bool leaf_bit(uint32_t leaf, int reg, unsigned bit)
{
    if (cpuid(leaf & 0x80000000, 0).eax < leaf)
        return false;
    struct cpuid_regs r = cpuid(leaf, 0);
    return (reg == 'b' ? r.ebx : r.ecx) >> bit & 1;
}

/* APM volume 3, appendix E. Two would do harm if they were executed after all, by throwing away
 * what caches hold and by starting a loader: they are tried where software plays the processor
 * only. */
static bool applies(enum probe_id id)
{
    switch (id) {
    case PROBE_invpcid:
        return leaf_bit(7, 'b', 10);
    case PROBE_monitor:
    case PROBE_mwait:
        return leaf_bit(1, 'c', 3);
    case PROBE_xsetbv:
        return leaf_bit(1, 'c', 26);
    case PROBE_invlpgb:
    case PROBE_tlbsync:
        return leaf_bit(0x80000008, 'b', 3);
    case PROBE_rdpru:
        return leaf_bit(0x80000008, 'b', 4);
    case PROBE_mcommit:
        return leaf_bit(0x80000008, 'b', 8);
    case PROBE_skinit:
        return leaf_bit(0x80000001, 'c', 12) && cpu_features.hypervisor;
    case PROBE_invd:
        return cpu_features.hypervisor;
    default:
        return true;
    }
}

static void state_long(struct vmcb_save *s, bool user)
{
    const struct vmcb_segment data = {
        .selector = user ? 0x13 : 0x10, .attrib = user ? ATTR_DATA_USER : ATTR_DATA, .limit = ~0u};

    s->cs = (struct vmcb_segment){.selector = user ? 0x0b : 0x08,
                                  .attrib = user ? ATTR_CODE64_USER : ATTR_CODE64,
                                  .limit = ~0u};
    s->ss = s->ds = s->es = data;
    s->cpl = user ? 3 : 0;
    s->cr3 = (uintptr_t)table4;
    s->efer = EFER_SVME | EFER_LME | EFER_LMA;
}

static void state_task(struct vmcb_save *s)
{
    state_long(s, false);
    s->cs.attrib = ATTR_CODE32;
    s->cr3 = (uintptr_t)table3_pae;
    s->efer = EFER_SVME;
    tasks_build();
}

static void state_build(enum probe_id id)
{
    struct vmcb_save *s = &own.guest.save;

    if (id == PROBE_task_switch)
        state_task(s);
    else
        state_long(s, id == PROBE_ac);
    s->gdtr = (struct vmcb_segment){.limit = sizeof(gdt) - 1, .base = (uintptr_t)gdt};
    s->tr =
        (struct vmcb_segment){SEL_TSS_OLD, ATTR_TSS_BUSY, sizeof(tss_old) - 1, (uintptr_t)&tss_old};
    s->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE | (id == PROBE_ac ? CR0_AM : 0);
    s->cr4 = CR4_PAE | (read_cr4() & (CR4_PSE | CR4_PGE | CR4_MCE)) |
             (applies(PROBE_xsetbv) ? CR4_OSXSAVE : 0);
    s->dr6 = 0xffff0ff0;
    s->dr7 = 0x400;
    s->rflags = RFLAGS_FIXED1 | RFLAGS_IF;
    if (id == PROBE_window || id == PROBE_intr_if0)
        s->rflags &= ~RFLAGS_IF;
    if (id == PROBE_db || id == PROBE_db_cause)
        s->rflags |= RFLAGS_TF;
    if (id == PROBE_ac)
        s->rflags |= RFLAGS_AC;
    s->rip = (uintptr_t)snippet[id].start;
    s->rsp = (uintptr_t)(stack + sizeof(stack));
    s->g_pat = rdmsr(MSR_PAT);
}

static void control_build(enum probe_id id, uint16_t cr_reads)
{
    struct vmcb_control *c = &own.guest.ctl;

    svm_intercepts_set(c);
    c->intercept_cr_read = cr_reads;
    /* A shutdown is what comes of exceptions that nobody wants, the last of them #DF. */
    c->intercept_exceptions = id == PROBE_shutdown ? 1u << VEC_DF : ~0u;
    c->iopm_base = svm_iopm();
    c->msrpm_base = svm_msrpm();
    c->asid = 1;
    c->tlb_control = TLB_FLUSH_ALL;
    c->vintr = VINTR_MASKING;
    if (id == PROBE_iret)
        c->intercept1 |= ICPT1_IRET;
    if (id == PROBE_window || id == PROBE_window_if1) {
        c->intercept1 |= ICPT1_VINTR;
        c->vintr |= VINTR_V_IRQ | VINTR_PRIO_15 | VINTR_IGN_TPR;
    }
}

static void regs_build(struct vcpu_regs *r)
{
    *r = (struct vcpu_regs){.gpr = {[R8] = own.guest.save.cr0,
                                    [R9] = own.guest.save.cr3,
                                    [R10] = own.guest.save.cr4,
                                    [R11] = own.guest.save.g_pat,
                                    [R12] = own.guest.save.efer,
                                    [R13] = (uintptr_t)block2,
                                    [R14] = (uintptr_t)buffer,
                                    [R15] = UNMAPPED,
                                    [RBX] = rdmsr(MSR_VM_HSAVE_PA)}};
}

/* An event that is to come in the guest: it waits from here on, since GIF is clear. */
static void event_raise(enum probe_id id)
{
    __asm__ volatile("clgi" : : : "memory");
    if (id == PROBE_intr || id == PROBE_intr_if0)
        apic_ipi(percpus[0].apic_id, APIC_ICR_FIXED | APIC_ICR_ASSERT | VECTOR_DOORBELL);
    if (id == PROBE_nmi)
        apic_ipi(percpus[0].apic_id, APIC_ICR_NMI | APIC_ICR_ASSERT);
}

/* Where the guest must have been stopped; events come anywhere. */
static bool at_place(enum probe_id id)
{
    switch (id) {
    case PROBE_shutdown:
    case PROBE_window:
    case PROBE_window_if1:
    case PROBE_intr:
    case PROBE_intr_if0:
    case PROBE_nmi:
        return true;
    case PROBE_ac: /* VMMCALL behind it is an answer, too */
        return own.guest.ctl.exitcode == SVM_EXIT_VMMCALL ||
               own.guest.save.rip == (uintptr_t)snippet[id].at;
    default:
        return own.guest.save.rip == (uintptr_t)snippet[id].at;
    }
}

static bool by_itself(enum probe_id id, uint64_t code)
{
    return (code == SVM_EXIT_INTR && id != PROBE_intr && id != PROBE_intr_if0) ||
           (code == SVM_EXIT_NMI && id != PROBE_nmi) || code == SVM_EXIT_SMI;
}

static uint32_t run(enum probe_id id, uint16_t cr_reads)
{
    struct svm_vcpu arch = {.vmcb = &own.guest};
    struct vcpu v = {.arch = &arch};
    struct vmexit x;

    for (unsigned i = 0; i < TRIES; i++) {
        memset(&own.guest, 0, sizeof(own.guest));
        state_build(id);
        control_build(id, cr_reads);
        regs_build(&v.regs);
        if (id == PROBE_hlt || id == PROBE_mwait) /* one that sleeps after all is woken */
            apic_timer_arm(rdtsc() + tsc_hz / DEADMAN_PER_S);
        quirks.traps_ignored = 0;
        event_raise(id);
        svm_enter(&v, &x, (uintptr_t)&own);
        cpu_cli();
        apic_timer_arm(UINT64_MAX);
        if (!by_itself(id, own.guest.ctl.exitcode))
            break;
    }
    bool good = at_place(id);
    good &= id != PROBE_db_cause || (own.guest.save.dr6 & DR6_BS);
    good &= id != PROBE_db_exit || !quirks.traps_ignored;
    return good ? (uint32_t)own.guest.ctl.exitcode : PROBE_MISSED;
}

static const struct probe_env machine = {.applies = applies, .run = run};

void svm_probe_run(void)
{
    uint64_t start = rdtsc();

    if (svm_enable() != HV_OK)
        hv_stop("SVM cannot be switched on");
    tables_build();
    __asm__ volatile("vmsave %[hpa]" : : [hpa] "a"(own.host) : "memory");
    memcpy(block2, own.host, sizeof(block2));
    quirks = (struct quirks){.trap_after_exit = true, .probing = true};
    bool fit = probe_judge(&machine, &svm_probe);
    quirks_detect(&svm_probe);
    svm_features.cr_number_lost = svm_probe.cr_number_lost;
    log_info("check", "probe      took %llu us",
             (unsigned long long)((rdtsc() - start) / (tsc_hz / 1000000)));
    if (!fit)
        hv_stop("this machine does not intercept what a guest must not do unseen (see above): use "
                "another version of the emulator, or report this log");
}
