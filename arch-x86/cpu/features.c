/* SPDX-License-Identifier: BSD-2-Clause */
/* Feature detection, the check that comes before anything else, and the comparison of processors.
 * Tested by tools/tests/test_features.c and by booting on models that lack something. */
#include "arch-x86/cpu/features.h"
#include "arch-x86/defs/vmx.h"
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/caps.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

struct cpu_features cpu_features;
static struct vmx_caps other_caps; /* of the CPU read last that is not the boot CPU */

#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)
#define LEAF_SVM 0x8000000a
#define CPUID_SVM_BIT 2 /* 80000001 ECX */

enum reg { REG_EAX, REG_EBX, REG_ECX, REG_EDX };
enum need {
    NEEDED, /* nothing runs without */
    USED,   /* used where the boot processor has it: the others must have it, too */
};
struct feature {
    const char *name;
    uint32_t leaf;
    enum reg reg;
    unsigned bit;
    enum need need;
    uint32_t offset;  /* of the bool in struct cpu_features; NO_FIELD: none */
    const char *note; /* NEEDED: what to do; USED: what is different without it */
};
#define NO_FIELD UINT32_MAX
#define FIELD(f) (uint32_t)offsetof(struct cpu_features, f)
/* clang-format off */
/* APM volume 3, appendix E "Obtaining Processor Information Via the CPUID Instruction". */
static const struct feature table[] = {
    {"TSC", 1, REG_EDX, 4, NEEDED, NO_FIELD, "this processor is too old"},
    {"MSR", 1, REG_EDX, 5, NEEDED, NO_FIELD, "this processor is too old"},
    {"PAE", 1, REG_EDX, 6, NEEDED, NO_FIELD, "this processor is too old"},
    {"CX8", 1, REG_EDX, 8, NEEDED, NO_FIELD, "this processor is too old"},
    {"APIC", 1, REG_EDX, 9, NEEDED, NO_FIELD, "enable the local APIC in the firmware setup"},
    {"PAT", 1, REG_EDX, 16, NEEDED, FIELD(pat), "this processor is too old"},
    {"SSE2", 1, REG_EDX, 26, NEEDED, NO_FIELD, "this processor is too old"},
    {"LM", 0x80000001, REG_EDX, 29, NEEDED, NO_FIELD, "a 64-bit processor is needed"},
    {"NX", 0x80000001, REG_EDX, 20, NEEDED, FIELD(nx),
     "enable 'No-Execute' (NX, XD, EDB) in the firmware setup"},
    {"PGE", 1, REG_EDX, 13, USED, FIELD(pge), "the guest has no global pages"},
    {"MCE", 1, REG_EDX, 7, USED, FIELD(mce), "hardware errors are not reported"},
    {"SMEP", 7, REG_EBX, 7, USED, FIELD(smep), "the guest cannot use it"},
    {"SMAP", 7, REG_EBX, 20, USED, FIELD(smap), "the guest cannot use it"},
    {"XSAVE", 1, REG_ECX, 26, USED, FIELD(xsave), "the guest has no AVX"},
    {"1G-pages", 0x80000001, REG_EDX, 26, USED, FIELD(page1g),
     "more page tables; nothing above 4 GiB is reached before paging"},
    {"x2APIC", 1, REG_ECX, 21, USED, FIELD(x2apic),
     "CPUs with APIC ids above 254 stay out; some firmware has a switch 'x2APIC'"},
    {"TSC-deadline", 1, REG_ECX, 24, USED, FIELD(tsc_deadline), "the APIC's timer counts instead"},
    {"invariant-TSC", 0x80000007, REG_EDX, 8, USED, FIELD(invariant_tsc),
     "frequency changes may shift the guest's clock: fix the frequency in the firmware setup"},
    {"NRIP", LEAF_SVM, REG_EDX, 3, USED, NO_FIELD, "instruction lengths are decoded"},
    {"VMCB-clean", LEAF_SVM, REG_EDX, 5, USED, NO_FIELD, "entries load the whole VMCB"},
    {"flush-by-ASID", LEAF_SVM, REG_EDX, 6, USED, NO_FIELD, "a flush drops every ASID"},
    {"decode-assists", LEAF_SVM, REG_EDX, 7, USED, NO_FIELD, "operands are decoded"},
};
/* clang-format on */
_Static_assert(ARRAY_SIZE(table) <= 32, "struct cpu_features.have");

static uint32_t leaf_reg(const struct cpu_probe *p, uint32_t leaf, enum reg reg)
{
    uint32_t r[4];
    p->cpuid(leaf & 0x80000000, 0, r);
    if (r[REG_EAX] < leaf)
        return 0;
    p->cpuid(leaf, 0, r);
    return r[reg];
}

static void identify(const struct cpu_probe *p, struct cpu_features *f)
{
    uint32_t r[4];
    p->cpuid(0, 0, r);
    memcpy(f->vendor, &r[REG_EBX], 4);
    memcpy(f->vendor + 4, &r[REG_EDX], 4);
    memcpy(f->vendor + 8, &r[REG_ECX], 4);
    p->cpuid(0x80000000, 0, r);
    for (uint32_t i = 0; i < 3 && r[REG_EAX] >= 0x80000004; i++) {
        uint32_t text[4];
        p->cpuid(0x80000002 + i, 0, text);
        memcpy(f->brand + (size_t)16 * i, text, 16);
    }
}

/* APM volume 2, 15.4 "Enabling SVM" and 15.30.1 "VM_CR MSR": SVMDIS can be cleared unless LOCK is
 * set. The register exists only where SVM does; an unreadable one disables nothing. */
static void svm_read(const struct cpu_probe *p, struct cpu_features *f)
{
    uint64_t vm_cr = 0;

    f->svm = SVM_ABSENT;
    if (!(leaf_reg(p, 0x80000001, REG_ECX) >> CPUID_SVM_BIT & 1) ||
        leaf_reg(p, LEAF_SVM, REG_EAX) == 0)
        return;
    f->nasids = leaf_reg(p, LEAF_SVM, REG_EBX);
    f->svm = SVM_READY;
    if (!p->rdmsr(MSR_VM_CR, &vm_cr) || !(vm_cr & VM_CR_SVMDIS))
        return;
    f->svm = vm_cr & VM_CR_LOCK ? SVM_LOCKED : SVM_DISABLED;
    if (f->svm == SVM_DISABLED && p->wrmsr(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS) &&
        p->rdmsr(MSR_VM_CR, &vm_cr) && !(vm_cr & VM_CR_SVMDIS)) {
        f->svm = SVM_READY;
        f->svm_switched_on = true;
    }
}

/* SDM volume 3, 23.7 "Enabling and Entering VMX Operation": VMXON needs the register locked with
 * the bit for it set. Firmware that left it open lets us decide. */
static void vmx_read(const struct cpu_probe *p, struct cpu_features *f, struct vmx_caps *caps)
{
    uint64_t control = 0;

    f->vmx = VMX_ABSENT;
    if (!(leaf_reg(p, 1, REG_ECX) & CPUID_VMX))
        return;
    if (p->rdmsr(MSR_FEATURE_CONTROL, &control) && !(control & FEATURE_CONTROL_LOCK) &&
        p->wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMXON | FEATURE_CONTROL_LOCK)) {
        f->vmx_switched_on = true;
        (void)p->rdmsr(MSR_FEATURE_CONTROL, &control);
    }
    if (!(control & FEATURE_CONTROL_VMXON)) {
        f->vmx = control & FEATURE_CONTROL_VMXON_IN_SMX ? VMX_SMX_ONLY : VMX_LOCKED;
        return;
    }
    f->vmx = vmx_caps_read(p->rdmsr, caps) ? VMX_READY : VMX_CRIPPLED;
}

void features_read(const struct cpu_probe *p, struct cpu_features *f)
{
    memset(f, 0, sizeof(*f));
    identify(p, f);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct feature *t = &table[i];
        bool there = leaf_reg(p, t->leaf, t->reg) >> t->bit & 1;
        f->have |= (uint32_t)there << i;
        if (t->offset != NO_FIELD)
            memcpy((char *)f + t->offset, &there, sizeof(there));
    }
    f->hypervisor = leaf_reg(p, 1, REG_ECX) >> 31;
    f->phys_bits = leaf_reg(p, 0x80000008, REG_EAX) & 0xff;
    if (f->phys_bits == 0)
        f->phys_bits = 36;
    svm_read(p, f);
    if (f->svm == SVM_ABSENT)
        vmx_read(p, f, f == &cpu_features ? &vmx_caps : &other_caps);
}

/* Why there is no SVM to use, with where to enable it; NULL if there is. */
static const char *svm_problem(const struct cpu_features *f)
{
    switch (f->svm) {
    case SVM_READY:
        break;
    case SVM_ABSENT:
        return "MISSING: neither this processor nor a hypervisor above it offers AMD-V (SVM) or "
               "VT-x (VMX); under QEMU use -cpu max, under KVM enable nested virtualisation, on an "
               "Intel processor enable 'Virtualization Technology' in the firmware setup";
    case SVM_DISABLED:
        return "DISABLED by the firmware (VM_CR.SVMDIS), and it stays so: enable 'SVM Mode' or "
               "'AMD-V' in the firmware setup, then switch the machine off and on";
    case SVM_LOCKED:
        return "DISABLED AND LOCKED by the firmware (VM_CR.SVMDIS, LOCK): enable 'SVM Mode' or "
               "'AMD-V' in the firmware setup, or update the firmware";
    }
    return NULL;
}

static bool report_svm(const struct cpu_features *f)
{
    const char *problem = svm_problem(f);

    if (problem)
        log_err("check", "SVM        %s", problem);
    else
        log_info("check", "SVM        ready, %u ASIDs%s", f->nasids,
                 f->svm_switched_on ? " (disabled by the firmware, not locked: switched on)" : "");
    if (!problem && f->nasids < 2)
        log_err("check", "SVM        offers no ASID but the host's: update the firmware");
    return !problem && f->nasids >= 2;
}

static void report_vmx_ready(const struct cpu_features *f)
{
    log_info("check", "VMX        ready%s%s",
             vmx_caps.vpid ? ", a VPID for each root" : ", no VPIDs: each exit drops the TLB",
             f->vmx_switched_on ? " (FEATURE_CONTROL was open: switched on and locked)" : "");
    log_info("check", "VMX        %s RDTSCP, %s INVPCID, %s preemption timer",
             vmx_caps.rdtscp ? "with" : "without", vmx_caps.invpcid ? "with" : "without",
             vmx_caps.timer ? "with" : "without");
}

static bool report_vmx(const struct cpu_features *f)
{
    switch (f->vmx) {
    case VMX_ABSENT:
        return report_svm(f);
    case VMX_READY:
        report_vmx_ready(f);
        return true;
    case VMX_LOCKED:
        log_err("check",
                "VMX        DISABLED AND LOCKED by the firmware (FEATURE_CONTROL): enable "
                "'Virtualization Technology' (VT-x, VMX) in the firmware setup, then switch "
                "the machine off and on");
        return false;
    case VMX_SMX_ONLY:
        log_err("check", "VMX        LOCKED to SMX operation by the firmware (FEATURE_CONTROL): "
                         "disable 'Trusted Execution' (TXT) in the firmware setup, or enable VT-x "
                         "without it");
        return false;
    case VMX_CRIPPLED:
        for (unsigned i = 0; i < vmx_caps.nmissing && i < ARRAY_SIZE(vmx_caps.missing); i++)
            log_err(
                "check",
                "VMX        MISSING: '%s'; under another hypervisor let it pass that control on",
                vmx_caps.missing[i]);
        return false;
    }
    return false;
}

/* The names of those of `need` that are there, for one line. */
static void names_of(const struct cpu_features *f, enum need need, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].need == need && f->have >> i & 1 && n < size) {
            int w = hv_snprintf(buf + n, size - n, "%s%s", n ? " " : "", table[i].name);
            n += w > 0 ? (size_t)w : 0;
        }
}

bool features_check(const struct cpu_features *f)
{
    char names[192];
    bool good = true;

    log_info("check", "processor  %s %s", f->vendor, f->brand);
    names_of(f, NEEDED, names, sizeof(names));
    log_info("check", "needed     %s", names);
    names_of(f, USED, names, sizeof(names));
    log_info("check", "used       %s", names);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if ((f->have >> i & 1) || (table[i].leaf == LEAF_SVM && f->svm == SVM_ABSENT))
            continue;
        if (table[i].need == NEEDED) {
            log_err("check", "%-10s MISSING: %s", table[i].name, table[i].note);
            good = false;
        } else {
            log_info("check", "without    %s: %s", table[i].name, table[i].note);
        }
    }
    good = (f->svm == SVM_ABSENT ? report_vmx(f) : report_svm(f)) && good;
    return good;
}

bool features_divide_check(cpu_divide divide)
{
    /* dividend (high, low), divisor, quotient, remainder, which has the dividend's sign */
    static const struct {
        int64_t high;
        uint64_t low;
        int64_t by, quotient, rest;
    } known[] = {
        {0, 100, 7, 14, 2},
        {-1, (uint64_t)-100, 7, -14, -2},
        {0, 100, -7, -14, 2},
        {-1, (uint64_t)-100, -7, 14, -2},
        {0, 1ull << 63, 3, 3074457345618258602, 2},
        {-1, 1ull << 63, 1, INT64_MIN, 0},
        {-1, (uint64_t)-1000000007, 1000000007, -1, 0},
        {1, 0, 1ll << 32, 1ll << 32, 0},
        {-2, 0, 1ll << 32, -(1ll << 33), 0},
        {0x1234, 5, 0x7fffffffffff, 610795520, 610795525},
        {-1, 0, 3, -6148914691236517205, -1},
        {-(1ll << 40), 0, 1ll << 42, -(1ll << 62), 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        int64_t rest, quotient = divide(known[i].high, known[i].low, known[i].by, &rest);
        if (quotient == known[i].quotient && rest == known[i].rest)
            continue;
        log_err("check",
                "IDIV       WRONG: 0x%llx:%016llx by %lld gives %lld rest %lld, not %lld rest %lld",
                (unsigned long long)known[i].high, (unsigned long long)known[i].low,
                (long long)known[i].by, (long long)quotient, (long long)rest,
                (long long)known[i].quotient, (long long)known[i].rest);
        return false;
    }
    return true;
}

static void lack(char *buf, size_t size, const char *name)
{
    size_t n = strlen(buf);
    if (n < size)
        (void)hv_snprintf(buf + n, size - n, "%s%s", n ? " " : "", name);
}

bool features_alike(const struct cpu_features *boot, const struct cpu_features *other, char *lacks,
                    size_t size)
{
    lacks[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if ((boot->have & ~other->have) >> i & 1)
            lack(lacks, size, table[i].name);
    if (features_vmx(boot)) {
        const char *differs =
            other->vmx == VMX_READY ? vmx_caps_differ(&vmx_caps, &other_caps) : "VMX";
        if (differs)
            lack(lacks, size, differs);
    } else if (other->svm != SVM_READY)
        lack(lacks, size, "SVM");
    else if (other->nasids < boot->nasids)
        lack(lacks, size, "ASIDs");
    if (other->phys_bits < boot->phys_bits)
        lack(lacks, size, "address-bits");
    return lacks[0] == 0;
}
