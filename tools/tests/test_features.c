/* SPDX-License-Identifier: BSD-2-Clause */
/* Feature detection on processors that exist here only: SVM absent, disabled, locked, an MSR that
 * cannot be read, and processors that are not alike. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
/* Pure: compiled here, since the machine's folder is not in the host library. */
#include "arch-x86/cpu/features.c"
#include "arch-x86/vmx/caps.c"

/* A complete processor; each test takes something away. */
struct model {
    uint32_t max_basic, max_extended;
    uint32_t l1_ecx, l1_edx, l7_ebx, x1_ecx, x1_edx, x7_edx, x8_eax, xa_ebx, xa_edx;
    uint64_t vm_cr, control, no_pin, no_secondary;
    bool vm_cr_gp, vm_cr_ignores;
    const char *vendor;
};
static const struct model complete = {.max_basic = 0xd,
                                      .max_extended = 0x8000001f,
                                      .l1_ecx = BIT(21) | BIT(24),
                                      .l1_edx = UINT32_MAX,
                                      .l7_ebx = UINT32_MAX,
                                      .x1_ecx = BIT(2),
                                      .x1_edx = UINT32_MAX,
                                      .x7_edx = BIT(8),
                                      .x8_eax = 48 << 8 | 44,
                                      .xa_ebx = 32768,
                                      .xa_edx = UINT32_MAX,
                                      .vendor = "AuthenticAMD"};
static struct model m;

static void fake_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    (void)subleaf;
    memset(r, 0, 16);
    switch (leaf) {
    case 0:
        r[0] = m.max_basic;
        memcpy(&r[1], m.vendor, 4);
        memcpy(&r[3], m.vendor + 4, 4);
        memcpy(&r[2], m.vendor + 8, 4);
        break;
    case 1:
        r[2] = m.l1_ecx;
        r[3] = m.l1_edx;
        break;
    case 7:
        r[1] = m.l7_ebx;
        break;
    case 0x80000000:
        r[0] = m.max_extended;
        break;
    case 0x80000001:
        r[2] = m.x1_ecx;
        r[3] = m.x1_edx;
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        r[0] = 0x41414141;
        break;
    case 0x80000007:
        r[3] = m.x7_edx;
        break;
    case 0x80000008:
        r[0] = m.x8_eax;
        break;
    case 0x8000000a:
        r[0] = 1;
        r[1] = m.xa_ebx;
        r[3] = m.xa_edx;
        break;
    default:
        break;
    }
}

/* Everything may be set and nothing must. */
static bool fake_vmx(uint32_t msr, uint64_t *out)
{
    switch (msr) {
    case MSR_FEATURE_CONTROL:
        *out = m.control;
        return true;
    case MSR_VMX_BASIC:
        *out = BASIC_TRUE | 0x2b;
        return true;
    case MSR_VMX_TRUE_PINBASED_CTLS:
        *out = (0xffffffffull & ~m.no_pin) << 32;
        return true;
    case MSR_VMX_PROCBASED_CTLS2:
        *out = (0xffffffffull & ~m.no_secondary) << 32;
        return true;
    case MSR_VMX_TRUE_PROCBASED_CTLS:
    case MSR_VMX_TRUE_EXIT_CTLS:
    case MSR_VMX_TRUE_ENTRY_CTLS:
        *out = 0xffffffffull << 32;
        return true;
    case MSR_VMX_MISC:
    case MSR_VMX_CR0_FIXED0:
    case MSR_VMX_CR4_FIXED0:
        *out = 0;
        return true;
    case MSR_VMX_EPT_VPID_CAP:
    case MSR_VMX_CR0_FIXED1:
    case MSR_VMX_CR4_FIXED1:
        *out = ~0ull;
        return true;
    default:
        return false;
    }
}

static bool fake_rdmsr(uint32_t msr, uint64_t *out)
{
    if (m.l1_ecx & CPUID_VMX && fake_vmx(msr, out))
        return true;
    if (msr != MSR_VM_CR || m.vm_cr_gp)
        return false;
    *out = m.vm_cr;
    return true;
}

/* LOCK makes writes to LOCK and SVMDIS vanish (APM volume 2, 15.30.1 "VM_CR MSR"). */
static bool fake_wrmsr(uint32_t msr, uint64_t v)
{
    if (msr == MSR_FEATURE_CONTROL && !(m.control & FEATURE_CONTROL_LOCK)) {
        m.control = v;
        return true;
    }
    if (msr != MSR_VM_CR)
        return false;
    if (!(m.vm_cr & VM_CR_LOCK) && !m.vm_cr_ignores)
        m.vm_cr = v;
    return true;
}

static const struct cpu_probe fake_probe = {fake_cpuid, fake_rdmsr, fake_wrmsr};

static struct cpu_features read_model(const struct model *with)
{
    struct cpu_features f;
    m = *with;
    features_read(&fake_probe, &f);
    return f;
}

static void check(const struct model *with, bool good, const char *mention, const char *what)
{
    struct cpu_features f = read_model(with);
    fake_console_clear();
    bool got = features_check(&f);
    if (!tap_ok(got == good && strstr(fake_console(), mention), "%s: '%s'", what, mention))
        tap_note("%s", fake_console());
}

static void test_detect(void)
{
    struct cpu_features f = read_model(&complete);
    tap_ok(f.nx && f.smep && f.smap && f.pge && f.page1g && f.x2apic && f.tsc_deadline &&
               f.invariant_tsc && f.pat && f.mce && !f.hypervisor,
           "everything is found");
    tap_ok(f.phys_bits == 44 && f.nasids == 32768 && !strcmp(f.vendor, "AuthenticAMD"),
           "sizes and vendor");
    struct model old = complete;
    old.max_basic = 1;
    old.max_extended = 0x80000001;
    f = read_model(&old);
    tap_ok(!f.smep && !f.smap && !f.invariant_tsc && f.phys_bits == 36 && f.brand[0] == 0,
           "leaves beyond the maximum are not believed");
    tap_eq(f.svm, SVM_ABSENT, "SVM without its leaf is none");
}

static void test_svm(void)
{
    struct model with = complete;
    check(&with, true, "SVM        ready, 32768 ASIDs", "complete");
    with.x1_ecx = 0;
    check(&with, false, "SVM        MISSING: neither this processor", "no SVM on AMD");
    with.vendor = "GenuineIntel";
    check(&with, false, "on an Intel processor enable", "no VMX on Intel");
    with = complete;
    with.vm_cr = VM_CR_SVMDIS;
    check(&with, true, "not locked: switched on", "disabled, not locked");
    tap_eq(m.vm_cr, 0, "... SVMDIS was cleared");
    with.vm_cr_ignores = true;
    check(&with, false, "DISABLED by the firmware", "disabled, and the write has no effect");
    with = complete;
    with.vm_cr = VM_CR_SVMDIS | VM_CR_LOCK;
    check(&with, false, "DISABLED AND LOCKED", "disabled and locked");
    tap_eq(m.vm_cr, VM_CR_SVMDIS | VM_CR_LOCK, "... nothing was written");
    with.vm_cr = VM_CR_LOCK;
    check(&with, true, "ready", "locked but enabled");
    with = complete;
    with.vm_cr_gp = true;
    check(&with, true, "ready", "VM_CR that cannot be read disables nothing");
    with = complete;
    with.xa_ebx = 1;
    check(&with, false, "no ASID but the host's", "one ASID");
}

static struct cpu_features read_boot(const struct model *with)
{
    m = *with;
    features_read(&fake_probe, &cpu_features);
    return cpu_features;
}

static void check_vmx(const struct model *with, bool good, const char *mention, const char *what)
{
    struct cpu_features f = read_boot(with);
    fake_console_clear();
    bool got = features_check(&f);
    if (!tap_ok(got == good && features_vmx(&f) == good && strstr(fake_console(), mention),
                "%s: '%s'", what, mention))
        tap_note("%s", fake_console());
}

static struct model intel(void)
{
    struct model with = complete;
    with.vendor = "GenuineIntel";
    with.x1_ecx = with.xa_edx = 0;
    with.l1_ecx |= (uint32_t)CPUID_VMX;
    with.control = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON;
    return with;
}

static void test_vmx(void)
{
    struct model with = intel();
    check_vmx(&with, true, "VMX        ready, a VPID for each root\n", "complete");
    tap_ok(!strstr(fake_console(), "NRIP"), "nothing of SVM is missed");
    with.control = 0;
    check_vmx(&with, true, "switched on and locked", "FEATURE_CONTROL open");
    tap_eq(m.control, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON, "... is set and locked");
    with.control = FEATURE_CONTROL_LOCK;
    check_vmx(&with, false, "VMX        DISABLED AND LOCKED", "locked without VMXON");
    with.control = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON_IN_SMX;
    check_vmx(&with, false, "VMX        LOCKED to SMX operation", "locked, in SMX only");
    with = intel();
    with.no_pin = PIN_VNMI;
    check_vmx(&with, false, "VMX        MISSING: 'virtual NMIs'", "a control is missing");
    with = intel();
    with.no_secondary = PROC2_VPID | PROC2_INVPCID;
    check_vmx(&with, true, "no VPIDs: each exit drops the TLB", "without VPIDs");
    tap_ok(strstr(fake_console(), "without INVPCID") && strstr(fake_console(), "with RDTSCP"),
           "what is wanted is named");
    with = intel();
    with.x1_ecx = BIT(2);
    read_boot(&with);
    tap_ok(!features_vmx(&cpu_features), "SVM where there are both");
}

static void unlike_vmx(const struct model *with, bool alike, const char *lacks)
{
    struct model first = intel();
    struct cpu_features boot = read_boot(&first), other = read_model(with);
    char text[64];
    bool got = features_alike(&boot, &other, text, sizeof(text));
    tap_ok(got == alike && !strcmp(text, lacks), "alike: %d '%s'", got, text);
}

static void test_vmx_alike(void)
{
    struct model with = intel();
    unlike_vmx(&with, true, "");
    with.control = FEATURE_CONTROL_LOCK;
    unlike_vmx(&with, false, "VMX");
    with = intel();
    with.no_secondary = PROC2_VPID;
    unlike_vmx(&with, false, "VMX-controls");
    with = intel();
    with.no_pin = PIN_VNMI;
    unlike_vmx(&with, false, "VMX");
    with = complete;
    unlike_vmx(&with, false, "VMX");
}

static void test_missing(void)
{
    struct model with = complete;
    with.x1_edx &= ~(uint32_t)BIT(20);
    check(&with, false, "NX         MISSING: enable 'No-Execute'", "no NX");
    with = complete;
    with.l1_edx &= ~(uint32_t)BIT(9);
    check(&with, false, "APIC       MISSING: enable the local APIC", "no APIC");
    with = complete;
    with.l1_ecx = 0;
    check(&with, true, "without    x2APIC: CPUs with APIC ids above 254", "no x2APIC");
    check(&with, true, "without    TSC-deadline: ", "no TSC-deadline");
}

static void unlike(const struct model *with, bool alike, const char *lacks)
{
    struct cpu_features boot = read_model(&complete), other = read_model(with);
    char text[64];
    bool got = features_alike(&boot, &other, text, sizeof(text));
    tap_ok(got == alike && !strcmp(text, lacks), "alike: %d '%s'", got, text);
}

static void test_alike(void)
{
    struct model with = complete;
    unlike(&with, true, "");
    with.l7_ebx = 0;
    unlike(&with, false, "SMEP SMAP");
    with = complete;
    with.vm_cr = VM_CR_SVMDIS | VM_CR_LOCK;
    unlike(&with, false, "SVM");
    with = complete;
    with.xa_ebx = 16;
    with.x8_eax = 40;
    unlike(&with, false, "ASIDs address-bits");
    struct cpu_features rich = read_model(&complete), poor;
    with = complete;
    with.l1_ecx = with.l7_ebx = 0;
    poor = read_model(&with);
    char text[4];
    tap_ok(features_alike(&poor, &rich, text, sizeof(text)), "a CPU that has more is welcome");
    tap_ok(!features_alike(&rich, &poor, text, sizeof(text)) && strlen(text) < sizeof(text),
           "a short buffer is not overrun");
}

static int64_t divide(int64_t high, uint64_t low, int64_t by, int64_t *rest)
{
    __int128 n = (__int128)((unsigned __int128)(uint64_t)high << 64 | low);

    *rest = (int64_t)(n % by);
    return (int64_t)(n / by);
}

static bool halved; /* the upper half of the dividend is taken for its sign alone */
static int64_t wrong(int64_t high, uint64_t low, int64_t by, int64_t *rest)
{
    if (halved)
        return divide(high < 0 ? -1 : 0, low, by, rest);
    int64_t quotient = divide(high, low, by, rest);
    *rest = *rest < 0 ? -*rest : *rest; /* a remainder without its sign */
    return quotient;
}

static void test_divide(void)
{
    fake_console_clear();
    tap_ok(features_divide_check(divide) && !*fake_console(), "right quotients and remainders");
    tap_ok(!features_divide_check(wrong) && strstr(fake_console(), "IDIV       WRONG"),
           "wrong remainders are named");
    halved = true;
    fake_console_clear();
    tap_ok(!features_divide_check(wrong) && strstr(fake_console(), "IDIV       WRONG"),
           "a dividend of 64 bits only");
}

int main(void)
{
    test_divide();
    test_detect();
    test_svm();
    test_vmx();
    test_vmx_alike();
    test_missing();
    test_alike();
    return tap_done();
}
