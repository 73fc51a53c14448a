/* SPDX-License-Identifier: BSD-2-Clause */
/* Feature detection and the check that comes before anything else.
 * Tested by booting on models that lack something (qemu64,-svm). */
#include "arch-x86/cpu/features.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

struct cpu_features cpu_features;

#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)

enum reg { REG_EBX, REG_ECX, REG_EDX };
struct need {
    uint32_t leaf;
    enum reg reg;
    unsigned bit;
    const char *name, *remedy;
};
/* APM volume 3, appendix E "Obtaining Processor Information Via the CPUID Instruction". */
static const struct need needs[] = {
    {0x1, REG_EDX, 4, "TSC", "time-stamp counter"},
    {0x1, REG_EDX, 5, "MSR", "model-specific registers"},
    {0x1, REG_EDX, 6, "PAE", "physical address extension"},
    {0x1, REG_EDX, 8, "CX8", "CMPXCHG8B"},
    {0x1, REG_EDX, 9, "APIC", "enable the local APIC in the firmware setup"},
    {0x1, REG_EDX, 16, "PAT", "page attribute table"},
    {0x1, REG_EDX, 26, "SSE2", "for MFENCE and LFENCE"},
    {0x80000001, REG_EDX, 20, "NX", "enable 'No-Execute' (NX, XD) in the firmware setup"},
    {0x80000001, REG_EDX, 29, "LM", "a 64-bit processor"},
};

static uint32_t leaf_reg(uint32_t leaf, enum reg reg)
{
    struct cpuid_regs top = cpuid(leaf & 0x80000000, 0);
    if (top.eax < leaf)
        return 0;
    struct cpuid_regs r = cpuid(leaf, 0);
    return reg == REG_EBX ? r.ebx : reg == REG_ECX ? r.ecx : r.edx;
}

static bool has(uint32_t leaf, enum reg reg, unsigned bit)
{
    return leaf_reg(leaf, reg) >> bit & 1;
}

enum svm_state features_svm_state(bool cpuid_svm, uint64_t vm_cr)
{
    if (!cpuid_svm)
        return SVM_ABSENT;
    if (!(vm_cr & VM_CR_SVMDIS))
        return SVM_READY;
    return vm_cr & VM_CR_LOCK ? SVM_LOCKED : SVM_DISABLED;
}

static void identify(struct cpu_features *f)
{
    struct cpuid_regs r = cpuid(0, 0);
    memcpy(f->vendor, &r.ebx, 4);
    memcpy(f->vendor + 4, &r.edx, 4);
    memcpy(f->vendor + 8, &r.ecx, 4);
    if (cpuid(0x80000000, 0).eax >= 0x80000004)
        for (uint32_t i = 0; i < 3; i++) {
            r = cpuid(0x80000002 + i, 0);
            memcpy(f->brand + 16 * i, &r, 16);
        }
}

void features_detect(void)
{
    struct cpu_features *f = &cpu_features;
    uint64_t vm_cr = 0;

    identify(f);
    f->nx = has(0x80000001, REG_EDX, 20);
    f->page1g = has(0x80000001, REG_EDX, 26);
    f->smep = has(7, REG_EBX, 7);
    f->smap = has(7, REG_EBX, 20);
    f->mce = has(1, REG_EDX, 7);
    f->pge = has(1, REG_EDX, 13);
    f->pat = has(1, REG_EDX, 16);
    f->x2apic = has(1, REG_ECX, 21);
    f->tsc_deadline = has(1, REG_ECX, 24);
    f->hypervisor = has(1, REG_ECX, 31);
    f->invariant_tsc = has(0x80000007, REG_EDX, 8);
    f->phys_bits = cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;
    bool svm = has(0x80000001, REG_ECX, 2);
    /* The register exists only where SVM does; an unreadable one disables nothing. */
    if (svm && !probe_rdmsr(MSR_VM_CR, &vm_cr))
        vm_cr = 0;
    f->svm = features_svm_state(svm, vm_cr);
}

static bool report_svm(void)
{
    bool intel = strcmp(cpu_features.vendor, "GenuineIntel") == 0;
    switch (cpu_features.svm) {
    case SVM_READY:
        log_info("cpu", "needed: SVM found");
        return true;
    case SVM_ABSENT:
        log_err(
            "cpu", "needed: SVM missing: %s",
            intel ? "this is an Intel processor; Patchbay needs AMD-V (SVM) and has no VT-x support"
                  : "this processor, or the hypervisor above it, does not offer AMD-V (SVM); under "
                    "QEMU use -cpu max, under KVM enable nested virtualisation");
        return false;
    case SVM_DISABLED:
        log_err("cpu",
                "needed: SVM disabled by firmware (VM_CR.SVMDIS): enable 'SVM Mode' or 'AMD-V' in "
                "the firmware setup and switch the machine off and on");
        return false;
    case SVM_LOCKED:
        log_err("cpu",
                "needed: SVM disabled and locked (VM_CR.SVMDIS, LOCK): enable 'SVM Mode' in the "
                "firmware setup, or update the firmware; software cannot undo the lock");
        return false;
    }
    return false;
}

bool features_check(void)
{
    bool good = true;
    char found[128];
    size_t n = 0;

    log_info("cpu", "%s %s", cpu_features.vendor, cpu_features.brand);
    found[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        const struct need *d = &needs[i];
        if (has(d->leaf, d->reg, d->bit)) {
            int w = hv_snprintf(found + n, sizeof(found) - n, " %s", d->name);
            n = w > 0 && n + (size_t)w < sizeof(found) ? n + (size_t)w : n;
        } else {
            log_err("cpu", "needed: %s missing (%s)", d->name, d->remedy);
            good = false;
        }
    }
    log_info("cpu", "needed: found%s", found);
    log_info(
        "cpu",
        "optional: SMEP %s, SMAP %s, 1 GiB pages %s, x2APIC %s, TSC-deadline %s, invariant TSC %s",
        cpu_features.smep ? "yes" : "no", cpu_features.smap ? "yes" : "no",
        cpu_features.page1g ? "yes" : "no", cpu_features.x2apic ? "yes" : "no",
        cpu_features.tsc_deadline ? "yes" : "no", cpu_features.invariant_tsc ? "yes" : "no");
    return report_svm() && good;
}
