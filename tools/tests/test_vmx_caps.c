/* SPDX-License-Identifier: BSD-2-Clause */
/* Controls computed from capability registers: what must be 1 is 1, what is needed and cannot be is
 * named, what is wanted is taken where it is; the registers of a real model as Bochs has them. */
#include "tools/tests/tap.h"
#include "arch-x86/defs/vmx.h"
#include "arch-x86/vmx/caps.c"

#define MSRS 17
static uint64_t msr[MSRS]; /* from MSR_VMX_BASIC on */
static uint32_t absent;    /* bits: registers that raise #GP */

static bool fake_rdmsr(uint32_t n, uint64_t *out)
{
    uint32_t i = n - MSR_VMX_BASIC;
    if (i >= MSRS || (absent >> i & 1))
        return false;
    *out = msr[i];
    return true;
}
#define R(name) msr[(name) - MSR_VMX_BASIC]
#define ABSENT(name) (absent |= 1u << ((name) - MSR_VMX_BASIC))

/* corei7_skylake_x */
static void skylake(void)
{
    absent = 0;
    memset(msr, 0, sizeof(msr));
    R(MSR_VMX_BASIC) = 0xd810000000002bull;
    R(MSR_VMX_TRUE_PINBASED_CTLS) = 0x7full << 32 | 0x16;
    R(MSR_VMX_TRUE_PROCBASED_CTLS) = 0xfff9fffe04006172ull;
    R(MSR_VMX_TRUE_EXIT_CTLS) = 0x7fffff00036dfbull;
    R(MSR_VMX_TRUE_ENTRY_CTLS) = 0xffff000011fbull;
    R(MSR_VMX_PROCBASED_CTLS2) = 0x2577fffull << 32;
    R(MSR_VMX_MISC) = 0x600401e5;
    R(MSR_VMX_CR0_FIXED0) = 0x80000021;
    R(MSR_VMX_CR0_FIXED1) = 0xffffffff;
    R(MSR_VMX_CR4_FIXED0) = 0x2000;
    R(MSR_VMX_CR4_FIXED1) = 0x3727ff;
    R(MSR_VMX_EPT_VPID_CAP) = 0xf0106734141ull;
}

static void test_model(void)
{
    struct vmx_caps c;

    skylake();
    tap_ok(vmx_caps_read(fake_rdmsr, &c) && c.nmissing == 0, "everything is there");
    tap_eq(c.pin, 0x16 | PIN_INTR | PIN_NMI | PIN_VNMI, "pin-based, without the timer");
    tap_ok((c.proc & 0x04006172) == 0x04006172 && (c.proc & PROC_SECONDARY) &&
               !(c.proc & (PROC_INTR_WINDOW | PROC_NMI_WINDOW | PROC_RDTSC | PROC_MOV_DR)),
           "processor-based");
    tap_eq(c.proc2, PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD | PROC2_INVPCID, "secondary");
    tap_ok(c.vpid && c.rdtscp && c.invpcid && c.timer && c.ins_outs_info && c.timer_shift == 5 &&
               c.revision == 0x2b,
           "what follows");
    tap_eq(c.exit, 0x36dfb | EXIT_CTL_HOST64 | EXIT_CTL_SAVE_DEBUG, "exit");
    tap_eq(c.entry, 0x11fb | ENTRY_CTL_LOAD_DEBUG, "entry, without IA-32e mode");
    R(MSR_VMX_EPT_VPID_CAP) &= ~VPID_SINGLE;
    (void)vmx_caps_read(fake_rdmsr, &c);
    tap_ok(!c.vpid && !(c.proc2 & PROC2_VPID), "VPIDs without a flush of one are of no use");
}

static void misses(const char *name, const char *what)
{
    struct vmx_caps c;
    bool good = vmx_caps_read(fake_rdmsr, &c);
    if (!tap_ok(!good && c.nmissing == 1 && !strcmp(c.missing[0], name), "%s", what))
        tap_note("%u missing, first '%s'", c.nmissing, c.nmissing ? c.missing[0] : "");
}

static void test_missing(void)
{
    struct vmx_caps c;

    skylake();
    R(MSR_VMX_TRUE_PINBASED_CTLS) &= ~((uint64_t)PIN_VNMI << 32);
    misses("virtual NMIs", "no virtual NMIs");
    skylake();
    R(MSR_VMX_TRUE_PROCBASED_CTLS) &= ~((uint64_t)PROC_INTR_WINDOW << 32);
    misses("interrupt-window exiting", "no interrupt window");
    skylake();
    R(MSR_VMX_TRUE_PROCBASED_CTLS) |= PROC_RDTSC;
    misses("RDTSC exiting", "one that cannot be switched off");
    skylake();
    R(MSR_VMX_TRUE_ENTRY_CTLS) &= ~((uint64_t)ENTRY_CTL_IA32E << 32);
    misses("IA-32e mode guest", "no 64-bit guests");
    skylake();
    ABSENT(MSR_VMX_CR4_FIXED1);
    misses("the fixed bits of CR0 and CR4", "a register that is not there");
    ABSENT(MSR_VMX_BASIC);
    misses("the capability registers", "none is there");
    skylake();
    ABSENT(MSR_VMX_TRUE_PROCBASED_CTLS);
    tap_ok(!vmx_caps_read(fake_rdmsr, &c) && c.nmissing > ARRAY_SIZE(c.missing),
           "more are missing than can be named");
}

/* Each control of the table, one at a time: what cannot be and what cannot be otherwise. */
static void test_each(void)
{
    static const uint32_t reg[WORDS] = {MSR_VMX_TRUE_PINBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS,
                                        MSR_VMX_PROCBASED_CTLS2, MSR_VMX_TRUE_EXIT_CTLS,
                                        MSR_VMX_TRUE_ENTRY_CTLS};
    struct vmx_caps c;

    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        uint64_t *word = &msr[reg[controls[i].word] - MSR_VMX_BASIC], bit = controls[i].bit;
        skylake();
        *word &= ~(bit << 32 | bit); /* cannot be 1 */
        if (controls[i].need == CTL_NEEDED || controls[i].need == CTL_LATER)
            misses(controls[i].name, controls[i].name);
        else
            tap_ok(vmx_caps_read(fake_rdmsr, &c), "not needed: %s", controls[i].name);
        skylake();
        *word |= bit << 32 | bit; /* cannot be 0 */
        if (controls[i].need == CTL_OFF)
            misses(controls[i].name, controls[i].name);
        else
            tap_ok(vmx_caps_read(fake_rdmsr, &c), "may be always on: %s", controls[i].name);
    }
}

/* A VPID is of use only with INVVPID and both of its types. */
static void test_vpid(void)
{
    static const uint64_t each[] = {VPID_INVVPID, VPID_SINGLE, VPID_ALL};
    struct vmx_caps c;

    for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
        skylake();
        R(MSR_VMX_EPT_VPID_CAP) &= ~each[i];
        tap_ok(vmx_caps_read(fake_rdmsr, &c) && !c.vpid && !(c.proc2 & PROC2_VPID),
               "no VPIDs without bit 0x%llx", (unsigned long long)each[i]);
    }
}

/* core2_penryn_t9600: no TRUE registers, nothing secondary that is wanted. */
static void test_old(void)
{
    struct vmx_caps c;

    skylake();
    R(MSR_VMX_BASIC) &= ~BASIC_TRUE;
    R(MSR_VMX_PINBASED_CTLS) = 0x3full << 32 | 0x16;
    R(MSR_VMX_PROCBASED_CTLS) = 0x77f9fffe0401e172ull;
    R(MSR_VMX_EXIT_CTLS) = 0x3ffff00036dffull;
    R(MSR_VMX_ENTRY_CTLS) = 0x3fff000011ffull;
    ABSENT(MSR_VMX_PROCBASED_CTLS2);
    ABSENT(MSR_VMX_EPT_VPID_CAP);
    tap_ok(vmx_caps_read(fake_rdmsr, &c), "the minimum suffices");
    tap_ok(!c.proc2 && !c.vpid && !c.rdtscp && !c.invpcid && !c.timer, "nothing that is wanted");
}

static void differ(uint32_t *field, uint32_t bit, struct vmx_caps *other, const char *says)
{
    *field ^= bit;
    const char *got = vmx_caps_differ(&vmx_caps, other);
    tap_ok(got && !strcmp(got, says), "%s", says);
    *field ^= bit;
}

static void test_differ(void)
{
    struct vmx_caps other;

    skylake();
    (void)vmx_caps_read(fake_rdmsr, &vmx_caps);
    other = vmx_caps;
    tap_ok(!vmx_caps_differ(&vmx_caps, &other), "alike");
    differ(&other.proc2, PROC2_VPID, &other, "VMX-controls");
    differ(&other.revision, 1, &other, "VMCS-revision");
    other.cr4_fixed1 &= ~1ull;
    const char *got = vmx_caps_differ(&vmx_caps, &other);
    tap_ok(got && !strcmp(got, "VMX-fixed-bits"), "a bit of CR4 less");
    other.nmissing = 1;
    got = vmx_caps_differ(&vmx_caps, &other);
    tap_ok(got && !strcmp(got, "VMX-controls"), "one that misses something");
}

int main(void)
{
    test_model();
    test_missing();
    test_each();
    test_vpid();
    test_old();
    test_differ();
    return tap_done();
}
