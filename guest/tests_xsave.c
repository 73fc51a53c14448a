/* SPDX-License-Identifier: BSD-2-Clause */
/* Group xsave: CPUID leaf 0Dh against XCR0, what XSETBV and XGETBV refuse, AVX registers across
 * exits, XSAVE on every CPU and the compacted form. Tested by running it bare, where the processor
 * itself is the reference. */
#include "guest/guest.h"

#define L1_ECX_XSAVE (1u << 26)
#define L1_ECX_OSXSAVE (1u << 27)
#define L1_ECX_AVX (1u << 28)
#define YMMS 8 /* that every mode has */

struct xcr {
    uint32_t index;
    uint64_t value;
};
struct ymm {
    uint64_t q[4];
};
struct area {
    uint8_t bytes[4096];
} __attribute__((aligned(64)));
static struct area areas[MAX_CPUS];

static void do_xgetbv(void *arg)
{
    struct xcr *x = arg;
    uint32_t lo, hi;
    asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(x->index) : "memory");
    x->value = (uint64_t)hi << 32 | lo;
}

static void do_xsetbv(void *arg)
{
    const struct xcr *x = arg;
    asm volatile("xsetbv"
                 :
                 : "c"(x->index), "a"((uint32_t)x->value), "d"((uint32_t)(x->value >> 32))
                 : "memory");
}

static void do_vmovups(void *arg)
{
    asm volatile("vmovups (%0), %%ymm0" : : "r"(arg) : "memory");
}

static uint64_t xcr0(void)
{
    struct xcr x = {0, 0};
    do_xgetbv(&x);
    return x.value;
}

static void xcr0_set(uint64_t value)
{
    struct xcr x = {0, value};
    do_xsetbv(&x);
}

static bool xsetbv_gp(uint32_t index, uint64_t value)
{
    struct xcr x = {index, value};
    return caught(do_xsetbv, &x) && trapped(VEC_GP, 0);
}

static uint64_t components(void)
{
    struct cpuid_regs r = cpuid(0xd, 0);
    return (uint64_t)r.edx << 32 | r.eax;
}

/* Also switches CR4.OSXSAVE on; the runner takes it back. */
static bool have_avx(void)
{
    if ((cpuid(1, 0).ecx & (L1_ECX_XSAVE | L1_ECX_AVX)) != (L1_ECX_XSAVE | L1_ECX_AVX)) {
        test_skip("no AVX");
        return false;
    }
    write_cr4(read_cr4() | CR4_OSXSAVE);
    return true;
}

/* --- CPUID --- */

/* Largest end of the components of XCR0, as the sub-leaves tell it. */
static uint32_t area_end(uint64_t set)
{
    uint32_t end = 576;
    for (unsigned i = 2; i < 63; i++) {
        struct cpuid_regs r = cpuid(0xd, i);
        if ((set >> i & 1) != 0 && r.ebx + r.eax > end)
            end = r.ebx + r.eax;
    }
    return end;
}

static void test_cpuid(void)
{
    if (!have_avx())
        return;
    uint64_t all = components(), old = xcr0();

    CHECK((cpuid(1, 0).ecx & L1_ECX_OSXSAVE) != 0, "OSXSAVE follows CR4");
    CHECK_EQ(all & 7, 7, "x87, SSE, AVX");
    for (uint64_t set = 1; set <= 7; set = set * 2 + 1) {
        xcr0_set(set);
        CHECK_EQ(xcr0(), set, "XCR0");
        CHECK_EQ(cpuid(0xd, 0).ebx, area_end(set), "size in force");
        /* These have no gaps. Bochs 2.7 tells no size at all. */
        if ((cpuid(0xd, 1).eax & 2) != 0 && (on_patchbay() || cpuid(0xd, 1).ebx != 0))
            CHECK_EQ(cpuid(0xd, 1).ebx, area_end(set), "compacted size");
    }
    CHECK_EQ(cpuid(0xd, 0).ecx, area_end(all), "largest size");
    CHECK_EQ(cpuid(0xd, 2).ebx, 576, "place of the AVX state");
    CHECK_EQ(cpuid(0xd, 2).eax, 256, "its size");
    if (on_patchbay()) {
        CHECK_EQ(all & 0x218, 0, "no bounds registers, no PKRU");
        CHECK_EQ(cpuid(0xd, 9).eax, 0, "nothing of PKRU");
        CHECK_EQ(cpuid(7, 0).ecx & 0x18, 0, "no PKU, no OSPKE");
        CHECK_EQ(cpuid(0xd, 1).eax & 8, 0, "no XSAVES");
    }
    xcr0_set(old);
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    CHECK_EQ(cpuid(1, 0).ecx & L1_ECX_OSXSAVE, 0, "OSXSAVE without it");
}

/* --- faults --- */

static const uint8_t user_xsetbv[] = {0x31, 0xc9, 0x31, 0xd2, 0xb8, 7,    0,
                                      0,    0,    0x0f, 0x01, 0xd1, 0xcd, 0x80}; /* XCR0 = 7 */
static const uint8_t user_xgetbv[] = {0x31, 0xc9, 0x0f, 0x01, 0xd0, 0xcd, 0x80};

static void user(const uint8_t *code, size_t n)
{
    uint64_t page = pa_of(page_alloc());
    memcpy((void *)(uintptr_t)page, code, n);
    map(TEST_VA, page, PTE_P | PTE_U);
    map(TEST_VA + PAGE, pa_of(page_alloc()), PTE_RW | PTE_U);
    invlpg(TEST_VA);
    user_run(TEST_VA, TEST_VA + 2 * PAGE, 0);
}

static void test_faults(void)
{
    static struct ymm y;
    struct xcr x = {0, 7};

    if (!have_avx())
        return;
    uint64_t old = xcr0();
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    CHECK(caught(do_xgetbv, &x) && trapped(VEC_UD, 0), "XGETBV without CR4.OSXSAVE");
    x.value = 7;
    CHECK(caught(do_xsetbv, &x) && trapped(VEC_UD, 0), "XSETBV without it");
    CHECK(caught(do_vmovups, &y) && trapped(VEC_UD, 0), "VMOVUPS without it");
    write_cr4(read_cr4() | CR4_OSXSAVE);
    xcr0_set(3);
    CHECK(caught(do_vmovups, &y) && trapped(VEC_UD, 0), "VMOVUPS without XCR0.AVX");
    CHECK(xsetbv_gp(0, 0) && xsetbv_gp(0, 6), "x87 state cannot go");
    CHECK(xsetbv_gp(0, 5), "AVX without SSE");
    CHECK(xsetbv_gp(0, 3 | 1ull << 63) && xsetbv_gp(0, 3 | 1ull << 40), "reserved bits");
    CHECK(xsetbv_gp(1, 3) && xsetbv_gp(0x80000000, 3), "another XCR");
    CHECK_EQ(xcr0(), 3, "XCR0 afterwards");
    x.index = 7;
    CHECK(caught(do_xgetbv, &x) && trapped(VEC_GP, 0), "XGETBV of another XCR");
    user(user_xsetbv, sizeof(user_xsetbv));
    CHECK(trapped(VEC_GP, 0), "XSETBV in ring 3");
    CHECK_EQ(xcr0(), 3, "XCR0 after that");
    user(user_xgetbv, sizeof(user_xgetbv));
    CHECK(trapped(VEC_USER_RETURN, 0), "XGETBV in ring 3");
    xcr0_set(7);
    CHECK(!caught(do_vmovups, &y), "VMOVUPS");
    xcr0_set(old);
}

/* Bits that the processor may have and the hypervisor does not show: refused, or without effect
 * from the next exit on. */
static void test_foreign(void)
{
    if (!have_avx())
        return;
    if (!on_patchbay()) {
        test_skip("shown by the processor");
        return;
    }
    uint64_t old = xcr0();
    xcr0_set(7);
    for (unsigned bit = 3; bit < 63; bit++) {
        struct xcr x = {0, 7 | 1ull << bit};
        if ((components() & x.value) == x.value || caught(do_xsetbv, &x))
            continue;
        (void)cpuid(0, 0);
        CHECK_EQ(xcr0(), 7, "after a bit that is not shown");
    }
    xcr0_set(old);
}

/* --- registers --- */

static void pattern(struct ymm y[YMMS], uint64_t seed)
{
    for (unsigned r = 0; r < YMMS; r++)
        for (unsigned i = 0; i < 4; i++)
            y[r].q[i] = (seed * 31 + r * 5 + i + 1) * 0x9e3779b97f4a7c15u;
}

static void ymm_load(const struct ymm y[YMMS])
{
    asm volatile("vmovups (%0), %%ymm0; vmovups 32(%0), %%ymm1; vmovups 64(%0), %%ymm2;"
                 "vmovups 96(%0), %%ymm3; vmovups 128(%0), %%ymm4; vmovups 160(%0), %%ymm5;"
                 "vmovups 192(%0), %%ymm6; vmovups 224(%0), %%ymm7"
                 :
                 : "r"(y)
                 : "memory");
}

static void ymm_store(struct ymm y[YMMS])
{
    asm volatile("vmovups %%ymm0, (%0); vmovups %%ymm1, 32(%0); vmovups %%ymm2, 64(%0);"
                 "vmovups %%ymm3, 96(%0); vmovups %%ymm4, 128(%0); vmovups %%ymm5, 160(%0);"
                 "vmovups %%ymm6, 192(%0); vmovups %%ymm7, 224(%0)"
                 :
                 : "r"(y)
                 : "memory");
}

static void ymm_job(void *arg)
{
    struct ymm want[YMMS], got[YMMS];
    unsigned me = this_cpu()->index;
    uint8_t *area = areas[me].bytes;
    uint64_t mine = 3 | (me % 2 == 0 ? 4 : 0); /* every CPU has its own XCR0 */

    (void)arg;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    uint64_t old = xcr0();
    for (unsigned n = 0; n < ops(100); n++) {
        xcr0_set(7);
        pattern(want, n * MAX_CPUS + me);
        ymm_load(want);
        (void)cpuid(n & 0xf, 0);
        outb(0x80, 1);
        if (ncpus > 1)
            ipi_send((me + 1) % ncpus, ICR_ASSERT | VEC_TEST);
        invlpg(TEST_VA);
        ymm_store(got);
        CHECK(memcmp(want, got, sizeof(want)) == 0, "cpu %u: registers after exits", me);
        asm volatile("xsave (%0); vzeroall" : : "r"(area), "a"(7), "d"(0) : "memory");
        xcr0_set(mine);
        (void)cpuid(0xd, 0);
        CHECK_EQ(xcr0(), mine, "this CPU's XCR0");
        xcr0_set(7);
        asm volatile("xrstor (%0)" : : "r"(area), "a"(7), "d"(0) : "memory");
        ymm_store(got);
        CHECK(memcmp(want, got, sizeof(want)) == 0, "cpu %u: registers after XRSTOR", me);
    }
    xcr0_set(old);
}

static void test_registers(void)
{
    if (have_avx())
        run_on(ncpus, ymm_job, NULL);
}

static void do_xrstor(void *area)
{
    asm volatile("xrstor (%0)" : : "r"(area), "a"(7), "d"(0) : "memory");
}

#define XSAVEC_MISPLACED 416 /* where Bochs 2.7 has the AVX state */

static void test_compacted(void)
{
    static const uint8_t zero[48];
    struct ymm want[YMMS], got[YMMS];
    uint8_t *area = areas[0].bytes;
    uint64_t old, header[2], upper[2 * YMMS];

    if (!have_avx())
        return;
    if ((cpuid(0xd, 1).eax & 2) == 0) {
        test_skip("no XSAVEC");
        return;
    }
    old = xcr0();
    xcr0_set(7);
    memset(area, 0, sizeof(areas[0].bytes));
    pattern(want, 1);
    ymm_load(want);
    asm volatile("xsavec (%0); vzeroall" : : "r"(area), "a"(7), "d"(0) : "memory");
    for (unsigned r = 0; r < YMMS; r++)
        memcpy(&upper[2 * r], &want[r].q[2], 16);
    if (!on_patchbay() && memcmp(area + XSAVEC_MISPLACED, upper, 16) == 0) {
        test_skip("the emulator has the AVX state elsewhere");
    } else {
        CHECK(memcmp(area + 576, upper, sizeof(upper)) == 0, "place of the AVX state");
        memcpy(header, area + 512, sizeof(header));
        CHECK_EQ(header[0] & 6, 6, "SSE and AVX are in use");
        CHECK_EQ(header[1], 7 | 1ull << 63, "XCOMP_BV");
        CHECK(memcmp(area + 528, zero, sizeof(zero)) == 0, "the rest of the header");
        CHECK(!caught(do_xrstor, area), "XRSTOR of it");
        ymm_store(got);
        CHECK(memcmp(want, got, sizeof(want)) == 0, "registers after it");
    }
    xcr0_set(old);
}

static const struct test tests[] = {
    {"xsave.cpuid", test_cpuid, 1},         {"xsave.faults", test_faults, 1},
    {"xsave.foreign", test_foreign, 1},     {"xsave.registers", test_registers, 1},
    {"xsave.compacted", test_compacted, 1},
};
const struct test_group tests_xsave = GROUP(tests);
