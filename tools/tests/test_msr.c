/* SPDX-License-Identifier: BSD-2-Clause */
/* What model-specific registers make a system believe: no protection that is not in force, and no
 * switch that reads as thrown when nothing happened. */
#include "tools/tests/exits_rig.h"

static uint64_t read_msr(uint32_t msr)
{
    uint64_t v = 0;
    return msr_read(bsp(), msr, &v) ? v : 0xdead;
}
/* What sticks of all ones. */
static uint64_t sticks(uint32_t msr)
{
    return msr_write(bsp(), msr, ~0ull) ? read_msr(msr) : 0xdead;
}

static void test_protections(void)
{
    static const uint32_t refused[] = {
        0x48,       0x49,       0x10a,
        0x10b,      0xda0,      /* SPEC_CTRL PRED_CMD ARCH_CAPABILITIES FLUSH_CMD XSS */
        0xc0011020,             /* LS_CFG */
        0xc001011f, 0xc00110e3, /* VIRT_SPEC_CTRL, DE_CFG2 */
    };
    uint32_t r[4];
    uint64_t v;

    rig_new(1, true);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        tap_ok(!msr_read(bsp(), refused[i], &v) && !msr_write(bsp(), refused[i], 0),
               "0x%x: #GP both ways", refused[i]);
    cpuid_answer(bsp(), 7, 0, r);
    tap_eq(r[3] & (MASK(31, 26) | BIT(9) | BIT(10)), 0, "no speculation controls in leaf 7");
    cpuid_answer(bsp(), 0x80000008, 0, r);
    tap_eq(r[1], 0, "nor in leaf 80000008, nor what is said not to be needed");
    cpuid_answer(bsp(), 0x80000021, 0, r);
    tap_eq(r[0] | r[1] | r[2] | r[3], 0, "nothing in leaf 80000021");
    cpuid_answer(bsp(), 0x8000001f, 0, r);
    tap_eq(r[0] | r[1] | r[2] | r[3], 0, "no memory encryption");
}

/* What Intel's processors have beside that: their counters, VMX, and how SMM is treated. */
static void test_intel(void)
{
    static const uint32_t refused[] = {
        0x3a,  0x9b,  0xc1,  0xc8,  0x186, 0x18d, /* FEATURE_CONTROL SMM_MONITOR_CTL PMC EVTSEL */
        0x309, 0x345, 0x38d, 0x38f, 0x390, 0x3f1, /* fixed counters, their controls, PEBS */
        0x480, 0x48b, 0x490, 0x600, 0x1c8,        /* VMX, DS_AREA, LBR_SELECT */
    };
    uint32_t r[4];
    uint64_t v;

    rig_new(1, true);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        tap_ok(!msr_read(bsp(), refused[i], &v) && !msr_write(bsp(), refused[i], 0),
               "0x%x: #GP both ways", refused[i]);
    cpuid_answer(bsp(), 0xa, 0, r);
    tap_eq(r[0] | r[1] | r[2] | r[3], 0, "no performance counters in leaf 0Ah");
    cpuid_answer(bsp(), 1, 0, r);
    tap_eq(r[2] & (BIT(2) | BIT(5) | BIT(6) | BIT(15)), 0, "no DTES64, VMX, SMX, PDCM");
    tap_eq(r[3] & BIT(21), 0, "no debug store");
}

static void test_lfence(void)
{
    rig_new(1, true);
    tap_eq(read_msr(0xc0011029), 0, "DE_CFG where the processor's says nothing");
    tap_eq(sticks(0xc0011029), 0, "... and writing does not make it so");
    fake_lfence = true;
    vcpu_power_on(bsp());
    tap_eq(read_msr(0xc0011029), BIT(1), "LFENCE is serialising if the processor's is");
    tap_eq(sticks(0xc0011029), BIT(1), "no other switch of it sticks");
    fake_lfence = false;
}

static void test_switches(void)
{
    rig_new(1, true);
    tap_eq(sticks(0xc0010010) & BIT(23), 0, "SYSCFG: no memory encryption");
    tap_eq(sticks(0xc0010010), MASK(22, 18), "... the MTRRs' switches stick");
    tap_eq(sticks(0xc0010015) & BIT(35), 0, "HWCR: no CPUID faulting");
    tap_ok(sticks(0xc0010015) & BIT(18), "... McStatusWrEn sticks");
    tap_ok(msr_write(bsp(), 0xc0010015, 0) && (read_msr(0xc0010015) & BIT(24)),
           "... the TSC's rate is not the guest's to say");
    fake_set_tsc_constant(false);
    tap_eq(read_msr(0xc0010015) & BIT(24), 0, "... nor ours where it varies");
    fake_set_tsc_constant(true);
    tap_eq(sticks(0xc001001f), 0, "NB_CFG: no extended configuration space by port CF8");
    tap_eq(sticks(0x1a0), 1, "MISC_ENABLE: NX is not switched off");
    tap_eq(sticks(0x1d9), 0, "DEBUGCTL: nothing is recorded");
    tap_eq(sticks(0xc0010000), 0, "performance counters: none");
    tap_eq(sticks(0xc0010114), BIT(4) | BIT(3), "VM_CR: SVM is off and locked");
    for (uint32_t msr = 0xc0011021; msr <= 0xc001102d; msr++)
        if (msr < 0xc0011024 || msr > 0xc0011029)
            tap_eq(sticks(msr), 0, "configuration registers keep nothing");
}

int main(void)
{
    test_protections();
    test_intel();
    test_lfence();
    test_switches();
    return tap_done();
}
