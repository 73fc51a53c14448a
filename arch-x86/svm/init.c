/* SPDX-License-Identifier: BSD-2-Clause */
/* Switching SVM on and building a VCPU's control block with every intercept.
 * Tested by every boot under QEMU and Bochs. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/xsavec.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/internal.h"
#include "arch-x86/svm/svm.h"
#include "hv/base/string.h"
#include "hv/port/cpu.h"

/* Static, so that no allocator is needed; identity-mapped like the whole image. vendor_pages
 * are the struct svm_block of a CPU. */
static _Alignas(4096) uint8_t svm_hsave[HV_MACHINE_CPUS][4096];
static struct svm_vcpu svm_vcpus[HV_MACHINE_CPUS];
struct svm_features svm_features;

static void features_read(void)
{
    struct cpuid_regs r = cpuid(0x8000000a, 0);
    struct cpuid_regs e = cpuid(0x80000001, 0);

    svm_features.nasids = r.ebx;
    svm_features.nrips = r.edx & SVM_EDX_NRIPS;
    svm_features.clean = r.edx & SVM_EDX_CLEAN ? CLEAN_ALL : 0;
    svm_features.flush_by_asid = r.edx & SVM_EDX_FLUSHBYASID;
    svm_features.assists = r.edx & SVM_EDX_ASSISTS;
    svm_features.nx = e.edx & BIT(20);
    svm_features.tsc_aux = e.edx & BIT(27);
    svm_features.pcid = cpuid(1, 0).ecx & BIT(17);
    svm_features.invpcid = cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & BIT(10));
}

enum hv_err svm_enable(void)
{
    uint32_t cpu = port_cpu();
    uint64_t vm_cr;

    if (cpuid(0x80000000, 0).eax < 0x8000000a || !(cpuid(0x80000001, 0).ecx & CPUID_SVM))
        return HV_UNSUPPORTED;
    /* Bochs has SVM without this register: nothing disables it there. */
    if (probe_rdmsr(MSR_VM_CR, &vm_cr) && (vm_cr & VM_CR_SVMDIS))
        return HV_UNSUPPORTED;
    if (cpu == 0) {
        features_read();
        svm_perm_build();
    }
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_VM_HSAVE_PA, (uint64_t)(uintptr_t)svm_hsave[cpu]);
    return HV_OK;
}

uint32_t svm_nasids(void)
{
    return cpuid(0x8000000a, 0).ebx;
}

void svm_intercepts_set(struct vmcb_control *c)
{
    c->intercept_cr_read = svm_cr_reads();    /* CR0 and CR4 while they differ: svm_put */
    c->intercept_cr_write = 0xffff & ~BIT(2); /* CR2 is switched */
    /* DR0..3 are the guest's: the host uses no breakpoints; DR6 and DR7 are switched. */
    c->intercept_exceptions = SVM_EXCEPTIONS;
    c->intercept1 = ICPT1_INTR | ICPT1_NMI | ICPT1_SMI | ICPT1_INIT | ICPT1_RDPMC | ICPT1_CPUID |
                    ICPT1_RSM | ICPT1_INVD | ICPT1_HLT | ICPT1_INVLPG | ICPT1_INVLPGA | ICPT1_IOIO |
                    ICPT1_MSR | ICPT1_TASK_SWITCH | ICPT1_FERR_FREEZE | ICPT1_SHUTDOWN;
    c->intercept2 = ICPT2_VMRUN | ICPT2_VMMCALL | ICPT2_VMLOAD | ICPT2_VMSAVE | ICPT2_STGI |
                    ICPT2_CLGI | ICPT2_SKINIT | ICPT2_ICEBP | ICPT2_WBINVD | ICPT2_MONITOR |
                    ICPT2_MWAIT | ICPT2_MWAIT_ARMED | ICPT2_XSETBV | ICPT2_RDPRU;
    c->intercept3 =
        ICPT3_INVLPGB | ICPT3_INVLPGB_ILLEGAL | ICPT3_INVPCID | ICPT3_MCOMMIT | ICPT3_TLBSYNC;
}

_Static_assert(sizeof(struct vendor_pages) == sizeof(struct svm_block), "two pages");

enum hv_err svm_init(struct vcpu *v)
{
    uint32_t cpu = v->cpu;
    struct svm_vcpu *a = &svm_vcpus[cpu];
    struct svm_block *b = (void *)&vendor_pages[cpu];
    struct vmcb_control *c = &b->guest.ctl;

    if (svm_nasids() < 2)
        return HV_UNSUPPORTED;
    memset(&b->guest, 0, sizeof(b->guest));
    memset(a, 0, sizeof(*a));
    a->vmcb = &b->guest;
    a->block_hpa = (uint64_t)(uintptr_t)b;
    a->once = quirks.dr6_lost;
    svm_intercepts_set(c);
    a->exceptions = c->intercept_exceptions;
    c->iopm_base = v->io_map.v ? v->io_map.v : svm_iopm();
    c->msrpm_base = svm_msrpm();
    c->asid = 1;
    c->tlb_control = TLB_FLUSH_ALL;
    c->vintr = VINTR_MASKING;
    a->vmcb->save.g_pat = 0x0007040600070406ull;
    /* Nothing changes the host's FS, GS, TR and system-call MSRs later: saved once. */
    __asm__ volatile("vmsave %[hpa]" : : [hpa] "a"(b->host) : "memory");
    v->arch = a;
    v->cs_attr = &b->guest.save.cs.attrib;
    return HV_OK;
}

static void svm_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    struct cpuid_regs r = cpuid(leaf, subleaf);

    out[0] = r.eax;
    out[1] = r.ebx;
    out[2] = r.ecx;
    out[3] = r.edx;
    xsavec_filter(leaf, subleaf, out);
}

void svm_panic_dump(void (*emit)(const char *line))
{
    uint32_t cpu = port_cpu();

    if (cpu < HV_MACHINE_CPUS && svm_vcpus[cpu].vmcb) {
        struct vcpu v = {.cpu = cpu, .arch = &svm_vcpus[cpu]};
        svm_dump(&v, emit);
    }
}

const struct vcpu_ops svm_ops = {
    .name = "svm",
    .hypercall = {0x0f, 0x01, 0xd9}, /* VMMCALL */
    .enable = svm_enable,
    .init = svm_init,
    .run = svm_run,
    .get = svm_get,
    .put = svm_put,
    .code = svm_code,
    .mode = svm_mode,
    .inject = svm_inject,
    .set_root = svm_set_root,
    .isolate = svm_isolate,
    .window = svm_window,
    .waits = svm_waits,
    .set_int_shadow = svm_set_int_shadow,
    .nmi_mask = svm_nmi_mask,
    .step = svm_step,
    .nasids = svm_nasids,
    .cpuid = svm_cpuid,
    .dump = svm_dump,
};
