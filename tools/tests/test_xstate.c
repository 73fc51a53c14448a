/* SPDX-License-Identifier: BSD-2-Clause */
/* XSAVE and AVX: what CPUID shows and how leaf 0Dh follows XCR0, XSETBV where it exits and where it
 * does not, what power-on and INIT leave, and processors that lack a part. */
#include "tools/tests/exits_rig.h"

#define V1_ECX_AVX (BIT(12) | BIT(28) | BIT(29)) /* FMA AVX F16C */
#define ALL_SHOWN (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

static uint32_t leaf(uint32_t n, uint32_t sub_leaf, unsigned reg)
{
    uint32_t r[4];
    cpuid_answer(bsp(), n, sub_leaf, r);
    return r[reg];
}

static uint64_t xcr0(void)
{
    return fake_cpu[0].xcr0;
}

/* XSETBV as an exit. */
static void xsetbv(uint32_t index, uint64_t value)
{
    rig_code("\x0f\x01\xd1", 3);
    *gpr(RCX) = index;
    *gpr(RAX) = (uint32_t)value | 0xabcdull << 32; /* upper halves do not count */
    *gpr(RDX) = value >> 32;
    rig_exit(EXIT_XSETBV);
}
static bool set(uint64_t value)
{
    xsetbv(0, value);
    return quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 3 && xcr0() == value &&
           bsp()->vcpu.xcr0 == value;
}
static bool refused(uint32_t index, uint64_t value)
{
    uint64_t before = xcr0();
    xsetbv(index, value);
    return took(VEC_GP) && bsp()->vcpu.regs.rip == RIG_CODE && xcr0() == before;
}

static void test_shown(void)
{
    rig_new(1, false);
    tap_ok(leaf(0, 0, 0) >= 0xd, "there is a leaf 0Dh");
    tap_eq(leaf(1, 0, 2) & (BIT(26) | BIT(27)), BIT(26), "XSAVE, not OSXSAVE");
    tap_eq(leaf(1, 0, 2) & V1_ECX_AVX, V1_ECX_AVX, "FMA, AVX, F16C");
    tap_ok((leaf(7, 0, 1) & BIT(5)) && (leaf(7, 0, 1) & BIT(16)), "AVX2, AVX-512");
    tap_ok(cr_write(bsp(), 4, CR4_OSXSAVE), "CR4.OSXSAVE");
    tap_ok(leaf(1, 0, 2) & BIT(27), "... is in leaf 1");
    tap_ok(vendor[0].ctl.cr4 & CR4_OSXSAVE, "... and the vendor is told");
    tap_ok(cr_write(bsp(), 4, 0) && !(leaf(1, 0, 2) & BIT(27)), "... and gone again");
    tap_eq(leaf(7, 0, 2) & (BIT(3) | BIT(4) | BIT(7) | BIT(16)), 0, "PKU, CET, LA57 stay hidden");
    tap_eq(leaf(7, 0, 3) & (BIT(22) | BIT(24) | BIT(25)), 0, "so does AMX");
    /* What insn_extent leaves out because it is hidden: tools/tests/test_extent.c. */
    tap_eq(leaf(7, 1, 0), BIT(4) | BIT(5) | BIT(23), "sub-leaf 1: AVX-VNNI, BF16, AVX-IFMA only");
    tap_eq(leaf(7, 1, 1) | leaf(7, 1, 2) | leaf(7, 1, 3), 0, "... nothing in EBX, ECX, EDX");
}

static void test_leaf(void)
{
    rig_new(1, false);
    tap_eq(leaf(0xd, 0, 0), ALL_SHOWN, "the components: not PKRU, bounds, AMX");
    tap_eq(leaf(0xd, 0, 3), 0, "none above 31");
    tap_eq(leaf(0xd, 0, 1), 576, "size for XCR0 = 1");
    tap_eq(leaf(0xd, 0, 2), 1664 + 1024, "largest size, without what is hidden behind it");
    tap_eq(leaf(0xd, 1, 0), 7, "XSAVEOPT, XSAVEC, XGETBV of 1; no XSAVES");
    tap_eq(leaf(0xd, 1, 1), 576, "compacted size for XCR0 = 1");
    tap_eq(leaf(0xd, 1, 2) | leaf(0xd, 1, 3), 0, "no supervisor state");
    tap_ok(leaf(0xd, 2, 0) == 256 && leaf(0xd, 2, 1) == 576, "AVX: size and place");
    tap_ok(leaf(0xd, 7, 0) == 1024 && leaf(0xd, 7, 1) == 1664, "upper ZMM registers");
    tap_ok(!leaf(0xd, 9, 0) && !leaf(0xd, 17, 0) && !leaf(0xd, 17, 2), "PKRU, AMX: nothing");
    tap_ok(!leaf(0xd, 63, 0) && !leaf(0xd, 64, 0) && !leaf(0xd, ~0u, 0), "sub-leaves beyond");
    (void)cr_write(bsp(), 4, CR4_OSXSAVE);
    tap_ok(set(7) && leaf(0xd, 0, 1) == 832, "AVX on: 832 bytes");
    tap_eq(leaf(0xd, 1, 1), 832, "... compacted as well");
    tap_ok(set(ALL_SHOWN) && leaf(0xd, 0, 1) == 2688, "AVX-512 on: 2688");
    tap_eq(leaf(0xd, 1, 1), 576 + 256 + 64 + 512 + 1024, "... compacted without the gap");
    tap_ok(set(3) && leaf(0xd, 0, 1) == 576, "off again");
}

static void test_xsetbv(void)
{
    rig_new(1, false);
    xsetbv(0, 7);
    tap_ok(took(VEC_UD), "XSETBV without CR4.OSXSAVE");
    (void)cr_write(bsp(), 4, CR4_OSXSAVE);
    tap_ok(set(1) && set(3) && set(7) && set(ALL_SHOWN), "legal values");
    tap_ok(refused(0, 0) && refused(0, 6), "x87 state cannot go");
    tap_ok(refused(0, 5), "AVX without SSE");
    tap_ok(refused(0, 7 | BIT(5)) && refused(0, 7 | BIT(6) | BIT(7)), "a part of AVX-512");
    tap_ok(refused(0, 3 | XCR0_AVX512), "AVX-512 without AVX");
    tap_ok(refused(0, 7 | XCR0_PKRU) && refused(0, 7 | 0x18),
           "PKRU, bounds: the processor has them");
    tap_ok(refused(0, 7 | BIT(17) | BIT(18)) && refused(0, 7 | BIT(63)), "AMX; bit 63");
    tap_ok(refused(1, 7) && refused(~0u, 7), "another XCR");
    vendor[0].segs.cpl = 3;
    tap_ok(refused(0, 7), "for users");
}

/* One round of the loop in which the guest executed XSETBV without an exit. */
static void native(uint64_t value)
{
    fake_cpu[0].xcr0 = value;
    subvmm_round(bsp());
}

static void test_native(void)
{
    rig_new(1, false);
    rig_code("\x90", 1);
    native(7);
    tap_eq(bsp()->vcpu.xcr0, 1, "without CR4.OSXSAVE nobody looks");
    fake_cpu[0].xcr0 = 1;
    (void)cr_write(bsp(), 4, CR4_OSXSAVE);
    native(7);
    tap_ok(bsp()->vcpu.xcr0 == 7 && xcr0() == 7, "a legal value is taken over");
    tap_eq(leaf(0xd, 0, 1), 832, "... and leaf 0Dh knows");
    native(7 | XCR0_PKRU);
    tap_ok(bsp()->vcpu.xcr0 == 7 && xcr0() == 7, "one that was not offered is put back");
    tap_ok(strstr(fake_console(), "XCR0 to 0x207") != NULL, "... and said");
    native(0x1f);
    tap_eq(xcr0(), 7, "bounds registers too");
    tap_eq(vendor[0].runs, 4, "the guest runs on");
}

static void test_states(void)
{
    rig_new(2, false);
    tap_ok(xcr0() == 1 && bsp()->vcpu.xcr0 == 1, "power-on: x87 only");
    tap_eq(fake_cpu[0].xstate_reset, ALL_SHOWN, "... and every component initial");
    (void)cr_write(bsp(), 4, CR4_OSXSAVE);
    (void)set(7);
    vcpu_init_reset(bsp());
    tap_ok(xcr0() == 7 && bsp()->vcpu.xcr0 == 7, "INIT leaves XCR0");
    tap_eq(leaf(1, 0, 2) & BIT(27), 0, "... but CR4.OSXSAVE is off");
    vcpu_power_on(bsp());
    tap_eq(xcr0(), 1, "a new start does not");
}

/* --- lesser processors --- */

static uint64_t host_components;
static uint32_t host_max = 0x20, host_l1_ecx = ~0u;
static void lesser_cpuid(uint32_t n, uint32_t sub_leaf, uint32_t out[4])
{
    fv_cpuid(n, sub_leaf, out);
    if (n == 0)
        out[0] = host_max;
    if (n == 1)
        out[2] = host_l1_ecx;
    if (n == 0xd && sub_leaf == 0)
        out[0] = (uint32_t)host_components;
}

static void lesser(uint64_t components)
{
    static struct vcpu_ops ops;
    rig_new(1, false);
    ops = fake_ops;
    ops.cpuid = lesser_cpuid;
    vcpu_ops = &ops;
    host_components = components;
    fake_cpu[0].xstate_reset = 99;
    vcpu_power_on(bsp());
}

static void test_lesser(void)
{
    lesser(7 | XCR0_PKRU);
    tap_eq(leaf(0xd, 0, 0), 7, "AVX without AVX-512");
    tap_eq(leaf(7, 0, 1) & (BIT(16) | BIT(17) | BIT(30) | BIT(31)), 0, "... which is hidden");
    tap_eq(leaf(7, 0, 2) & (BIT(1) | BIT(6) | BIT(11)), 0, "... with its relatives");
    tap_ok(leaf(7, 0, 1) & BIT(5), "... AVX2 is not");
    tap_eq(leaf(7, 1, 0) & BIT(5), 0, "... BF16 is");
    lesser(7 | BIT(5) | BIT(6));
    tap_eq(leaf(0xd, 0, 0), 7, "half of AVX-512 is none");
    lesser(3);
    tap_eq(leaf(0xd, 0, 0), 3, "no AVX");
    tap_eq(leaf(1, 0, 2) & V1_ECX_AVX, 0, "no AVX, FMA, F16C");
    tap_eq(leaf(7, 0, 1) & BIT(5), 0, "no AVX2");
    tap_eq(leaf(7, 1, 0), 0, "no AVX-VNNI");
    tap_ok(leaf(1, 0, 2) & BIT(26), "XSAVE all the same");
    host_l1_ecx = ~(uint32_t)BIT(26);
    lesser(7);
    tap_eq(leaf(1, 0, 2) & (BIT(26) | V1_ECX_AVX), 0, "no XSAVE: no AVX");
    tap_ok(!leaf(0xd, 0, 0) && !leaf(0xd, 0, 1) && !leaf(0xd, 1, 0) && !leaf(0xd, 2, 0),
           "an empty leaf 0Dh");
    tap_ok(!cr_write(bsp(), 4, CR4_OSXSAVE), "CR4.OSXSAVE is reserved");
    tap_eq(fake_cpu[0].xstate_reset, 99, "nothing of it is touched");
    host_l1_ecx = ~0u;
    host_max = 7;
    lesser(7);
    tap_ok(!leaf(0xd, 0, 0) && !leaf(0xd, 1, 0), "no leaf 0Dh in the processor: none");
    host_max = 0x20;
}

int main(void)
{
    test_shown();
    test_leaf();
    test_xsetbv();
    test_native();
    test_states();
    test_lesser();
    return tap_done();
}
