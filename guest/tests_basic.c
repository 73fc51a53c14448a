/* SPDX-License-Identifier: BSD-2-Clause */
/* Group basic: identification, exceptions, model-specific and control registers.
 * Tested by running it bare, where the processor itself is the reference. */
#include "guest/guest.h"

static void test_cpuid(void)
{
    struct cpuid_regs id = cpuid(0, 0), f = cpuid(1, 0), x = cpuid(0x80000001, 0);
    /* FPU PSE TSC MSR PAE CX8 APIC PGE FXSR SSE SSE2 */
    const uint32_t need = 1u << 0 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 9 |
                          1u << 13 | 1u << 24 | 1u << 25 | 1u << 26;

    CHECK(id.eax >= 1 && id.ebx != 0, "leaf 0: %x %x", id.eax, id.ebx);
    CHECK((f.edx & need) == need, "leaf 1 EDX %x lacks %x", f.edx, need & ~f.edx);
    CHECK_EQ(f.ebx >> 24, this_cpu()->apic_id, "initial APIC id");
    CHECK((x.edx & 1u << 29) != 0 && (x.edx & 1u << 20) != 0, "long mode and NX: %x", x.edx);
    CHECK(((f.ecx & 1u << 31) != 0) == !options.bochs, "hypervisor bit");
    if (cpuid(0x80000000, 0).eax >= 0x80000008)
        CHECK((cpuid(0x80000008, 0).ebx & 1u << 3) == 0, "INVLPGB must be hidden");
    if (options.hosted && !options.bochs)
        CHECK((x.ecx & 1u << 2) == 0, "SVM is offered but cannot be nested");
}

static struct cpuid_regs features[MAX_CPUS][2];
static void get_features(void *arg)
{
    unsigned i = this_cpu()->index;

    (void)arg;
    features[i][0] = cpuid(1, 0);
    features[i][1] = cpuid(0x80000001, 0);
    if (features[i][0].ebx >> 24 != this_cpu()->apic_id)
        CHECK_EQ(features[i][0].ebx >> 24, this_cpu()->apic_id, "initial APIC id");
}

static void test_cpuid_same(void)
{
    run_on(ncpus, get_features, NULL);
    for (unsigned i = 1; i < ncpus; i++) {
        CHECK_EQ(features[i][0].edx, features[0][0].edx, "leaf 1 EDX");
        CHECK_EQ(features[i][0].ecx, features[0][0].ecx, "leaf 1 ECX");
        CHECK_EQ(features[i][1].edx, features[0][1].edx, "leaf 80000001 EDX");
    }
}

struct msr_access {
    uint32_t msr;
    uint64_t value;
};

static void do_rdmsr(void *arg)
{
    struct msr_access *a = arg;
    a->value = rdmsr(a->msr);
}

static void do_wrmsr(void *arg)
{
    const struct msr_access *a = arg;
    wrmsr(a->msr, a->value);
}

/* Expects #GP(0). Bare QEMU 7.2 ignores many of these. */
static void expect_gp(void (*fn)(void *), void *arg, const char *what)
{
    bool t = caught(fn, arg);

    if (!t && !options.hosted) {
        diag("%s: bare QEMU deviates", what);
        return;
    }
    CHECK(t && trapped(VEC_GP, 0), "%s: no #GP", what);
}

static void test_msr_gp(void)
{
    struct msr_access unknown = {0xdeadbeef, 0}, low = {0x1fff, 0}, efer = {MSR_EFER, 0};
    struct msr_access fs = {MSR_FS_BASE, 0x0123456789abcdef}, pat = {MSR_PAT, 0x0202020202020202};

    expect_gp(do_rdmsr, &unknown, "RDMSR deadbeef");
    expect_gp(do_wrmsr, &unknown, "WRMSR deadbeef");
    expect_gp(do_rdmsr, &low, "RDMSR 1fff");
    efer.value = rdmsr(MSR_EFER) | 1ull << 63;
    expect_gp(do_wrmsr, &efer, "EFER reserved bit");
    efer.value = rdmsr(MSR_EFER) & ~EFER_LME;
    if (options.hosted) /* would end long mode on bare QEMU */
        expect_gp(do_wrmsr, &efer, "EFER.LME cleared with paging on");
    /* not worth an exit: what the processor does, and QEMU takes anything */
    if (!caught(do_wrmsr, &fs)) {
        diag("non-canonical FS base: accepted");
        wrmsr(MSR_FS_BASE, 0);
    } else {
        CHECK(trapped(VEC_GP, 0), "non-canonical FS base");
    }
    expect_gp(do_wrmsr, &pat, "PAT type 2");
}

static void test_msr_values(void)
{
    static const uint32_t plain[] = {MSR_FS_BASE,      MSR_KERNEL_GS_BASE, MSR_LSTAR,
                                     MSR_CSTAR,        MSR_STAR,           MSR_SFMASK,
                                     MSR_SYSENTER_EIP, MSR_SYSENTER_ESP};

    for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        uint64_t old = rdmsr(plain[i]),
                 v = plain[i] == MSR_SFMASK ? 0x47700 : 0xffff812345678000 + i;
        wrmsr(plain[i], v);
        (void)cpuid(0, 0);
        CHECK(rdmsr(plain[i]) == v, "msr %x: %lx, want %lx", plain[i], rdmsr(plain[i]), v);
        wrmsr(plain[i], old);
    }
    CHECK_EQ(rdmsr(MSR_GS_BASE), (uint64_t)this_cpu(), "GS base");
    CHECK((rdmsr(MSR_EFER) & (EFER_LMA | EFER_LME)) == (EFER_LMA | EFER_LME), "EFER %lx",
          rdmsr(MSR_EFER));
    CHECK((rdmsr(MSR_APIC_BASE) & 0xfffff900) == 0xfee00900, "APIC base of the first CPU: %lx",
          rdmsr(MSR_APIC_BASE));
}

/* Trap 31: PAT is a register like any other, and RAM goes on working. */
static void test_pat(void)
{
    uint64_t old = rdmsr(MSR_PAT), v = 0x0007040600070401; /* entry 1: WC */
    uint64_t *page = tagged_page(0x31);

    wrmsr(MSR_PAT, v);
    CHECK_EQ(rdmsr(MSR_PAT), v, "PAT");
    map(TEST_VA, pa_of(page), PTE_RW | PTE_PWT);
    store64(TEST_VA, 0x3131);
    CHECK_EQ(load64(pa_of(page)), 0x3131, "store through a write-combining mapping");
    wrmsr(MSR_PAT, old);
    CHECK_EQ(rdmsr(MSR_PAT), old, "PAT");
}

static void do_div(void *arg)
{
    uint32_t lo = 1, hi = 0;
    asm volatile("divl %2" : "+a"(lo), "+d"(hi) : "r"(0) : "cc");
    (void)arg;
}
static void do_ud2(void *arg)
{
    (void)arg;
    asm volatile("ud2");
}
static void do_int3(void *arg)
{
    (void)arg;
    asm volatile("int3");
}
static void do_noncanonical(void *arg)
{
    (void)load64(0x8000000000000000 + (uint64_t)arg);
}
static void do_stack_fault(void *arg)
{
    (void)arg;
    asm volatile("push %%rbp; mov %0, %%rbp; mov 8(%%rbp), %%rax; pop %%rbp"
                 :
                 : "r"(0x8000000000000000)
                 : "rax", "memory");
}
static void do_bad_selector(void *arg)
{
    asm volatile("mov %0, %%fs" : : "r"((uint16_t)(uint64_t)arg));
}
static void do_int_dpl(void *arg)
{
    (void)arg;
    asm volatile("int $0x81"); /* gate present, from ring 0: delivered */
}

static bool count_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector != VEC_TEST && f->vector != 0x81)
        return false;
    ++*(unsigned *)this_cpu()->hook_arg;
    return true;
}

static void test_exceptions(void)
{
    unsigned n = 0;

    CHECK(caught(do_div, NULL) && trapped(VEC_DE, 0), "#DE");
    CHECK(caught(do_ud2, NULL) && trapped(VEC_UD, 0), "#UD");
    CHECK(caught(do_int3, NULL) && trapped(VEC_BP, 0), "#BP");
    CHECK(caught(do_noncanonical, NULL) && trapped(VEC_GP, 0), "#GP");
    /* #SS by the manuals (APM vol. 2, 8.2.13 "#SS"); QEMU 7.2 raises #GP */
    CHECK(caught(do_stack_fault, NULL) && (this_cpu()->trap.vector == VEC_GP || trapped(VEC_SS, 0)),
          "#SS");
    CHECK(caught(do_bad_selector, (void *)0x1230) && trapped(VEC_GP, 0x1230),
          "selector beyond the GDT");
    this_cpu()->gdt[8] = 0x00cf13000000ffff; /* data, not present */
    CHECK(caught(do_bad_selector, (void *)SEL_SPARE) && trapped(VEC_NP, SEL_SPARE), "#NP");
    this_cpu()->hook_arg = &n;
    this_cpu()->hook = count_hook;
    do_int_dpl(NULL);
    this_cpu()->hook = NULL;
    CHECK_EQ(n, 1, "INT n");
}

struct step_log {
    unsigned n;
    uint64_t rip[24], dr6;
};

static bool step_hook(struct trapframe *f, uint64_t cr2)
{
    struct step_log *log = this_cpu()->hook_arg;

    (void)cr2;
    if (f->vector != VEC_DB)
        return false;
    log->dr6 = read_dr6();
    if (log->n < 24)
        log->rip[log->n] = f->rip;
    if (++log->n > 40)
        f->rflags &= ~RFLAGS_TF;
    return true;
}

/* Each instruction between the POPF that sets TF and the one that clears it, exiting ones included,
 * must end in exactly one #DB. */
static void test_single_step(void)
{
    struct step_log log = {0};
    uint64_t a, b, c, d;

    write_dr6(0xffff0ff0);
    this_cpu()->hook_arg = &log;
    this_cpu()->hook = step_hook;
    asm volatile("pushfq; pushfq; orq $0x100, (%%rsp); popfq\n\t"
                 "nop; cpuid; movl $0x277, %%ecx; rdmsr; movb $0, %%al; outb %%al, $0x80\n\t"
                 "movq %%cr3, %%rax; movq %%rax, %%cr3; invlpg (%%rsp); movq %%cr0, %%rax\n\t"
                 "popfq; nop"
                 : "=a"(a), "=b"(b), "=c"(c), "=d"(d)
                 : "0"(0), "2"(0)
                 : "memory", "cc");
    this_cpu()->hook = NULL;
    CHECK_EQ(log.n, 11, "single steps");
    CHECK((log.dr6 & 1 << 14) != 0, "DR6.BS: %lx", log.dr6);
    for (unsigned i = 1; i < log.n && i < 24; i++)
        CHECK(log.rip[i] > log.rip[i - 1], "step %u: rip %lx after %lx", i, log.rip[i],
              log.rip[i - 1]);
    write_dr6(0xffff0ff0);
}

struct cr_write {
    unsigned reg;
    uint64_t value;
};

static void do_cr_write(void *arg)
{
    const struct cr_write *w = arg;

    if (w->reg == 0)
        write_cr0(w->value);
    else if (w->reg == 3)
        write_cr3(w->value);
    else if (w->reg == 4)
        write_cr4(w->value);
    else
        write_cr8(w->value);
}

static void test_cr_rules(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4(), cr3 = read_cr3();
    const struct {
        struct cr_write w;
        const char *what;
    } bad[] = {
        {{0, cr0 & ~CR0_PE}, "CR0.PG without PE"},
        {{0, cr0 | CR0_NW}, "CR0.NW without CD"},
        {{0, cr0 & ~CR0_PG}, "CR0.PG cleared in 64-bit code"},
        {{0, cr0 | 1ull << 32}, "CR0 bit 32"},
        {{4, cr4 & ~CR4_PAE}, "CR4.PAE cleared in long mode"},
        {{4, cr4 | 1ull << 15}, "CR4 bit 15"},
        {{4, cr4 | 1ull << 40}, "CR4 bit 40"},
        {{4, cr4 | CR4_LA57}, "CR4.LA57 in long mode"},
        {{3, cr3 | 1ull << 60}, "CR3 bit 60"},
        {{8, 16}, "CR8 16"},
    };

    if (!options.hosted) {
        test_skip("bare QEMU does not check control registers");
        return;
    }
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cr_write w = bad[i].w;
        CHECK(caught(do_cr_write, &w) && trapped(VEC_GP, 0), "%s: no #GP", bad[i].what);
        CHECK(read_cr0() == cr0 && read_cr4() == cr4 && read_cr3() == cr3, "%s: changed something",
              bad[i].what);
    }
}

static void do_x87(void *arg)
{
    (void)arg;
    asm volatile("fnop");
}

static void test_cr_values(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4();
    uint16_t msw;

    write_cr0(cr0 | CR0_TS);
    CHECK_EQ(read_cr0(), cr0 | CR0_TS, "CR0 with TS");
    CHECK(caught(do_x87, NULL) && trapped(VEC_NM, 0), "#NM");
    asm volatile("clts" : : : "memory");
    CHECK_EQ(read_cr0(), cr0, "CR0 after CLTS");
    asm volatile("smsw %0" : "=r"(msw));
    CHECK_EQ(msw, cr0 & 0xffff, "SMSW");
    asm volatile("lmsw %0" : : "r"((uint16_t)(msw | CR0_TS)) : "memory");
    CHECK_EQ(read_cr0(), cr0 | CR0_TS, "CR0 after LMSW");
    asm volatile("lmsw %0" : : "r"((uint16_t)(msw & ~CR0_PE)) : "memory");
    CHECK_EQ(read_cr0(), cr0, "LMSW clears TS but not PE");
    write_cr0(cr0 | CR0_AM);
    CHECK_EQ(read_cr0(), cr0 | CR0_AM, "CR0 with AM");
    write_cr0(cr0 & ~CR0_WP);
    CHECK_EQ(read_cr0(), cr0 & ~CR0_WP, "CR0 without WP");
    write_cr0(cr0);
    write_cr4(cr4 | CR4_TSD | CR4_PCE);
    CHECK_EQ(read_cr4(), cr4 | CR4_TSD | CR4_PCE, "CR4 with TSD, PCE");
    write_cr4(cr4);
    CHECK_EQ(read_cr4(), cr4, "CR4");
    asm volatile("mov %0, %%cr2" : : "r"(0x123456789000ull));
    (void)cpuid(0, 0);
    CHECK_EQ(read_cr2(), 0x123456789000ull, "CR2 across an exit");
}

static void test_debug_registers(void)
{
    struct step_log log = {0};
    static uint64_t watched;
    uint64_t dr7;

    write_dr0(0x1111);
    write_dr1(0x2222);
    write_dr2(0x3333);
    write_dr3((uint64_t)&watched);
    (void)cpuid(0, 0);
    CHECK(read_dr0() == 0x1111 && read_dr1() == 0x2222 && read_dr2() == 0x3333, "DR0 to DR2");
    write_dr6(0xffff0ff0);
    write_dr7(0x400 | 1 << 6 | 0xd0000000); /* DR3: 4 bytes, write */
    this_cpu()->hook_arg = &log;
    this_cpu()->hook = step_hook;
    __atomic_store_n((uint32_t *)&watched, 1, __ATOMIC_SEQ_CST);
    asm volatile("nop");
    this_cpu()->hook = NULL;
    dr7 = read_dr7();
    write_dr7(0x400);
    CHECK_EQ(dr7, 0x400 | 1 << 6 | 0xd0000000, "DR7");
    CHECK_EQ(log.n, 1, "data breakpoints");
    CHECK((log.dr6 & 8) != 0, "DR6.B3: %lx", log.dr6);
    write_dr6(0xffff0ff0);
}

static void test_tsc(void)
{
    uint64_t last = rdtsc();

    for (unsigned i = 0; i < ops(200); i++) {
        uint64_t now;
        if (i % 4 == 0)
            (void)cpuid(0, 0);
        now = rdtsc();
        CHECK(now >= last, "TSC went back from %lx to %lx", last, now);
        last = now;
    }
}

static const struct test tests[] = {
    {"basic.cpuid", test_cpuid, 1},
    {"basic.cpuid_same", test_cpuid_same, 2},
    {"basic.msr_gp", test_msr_gp, 1},
    {"basic.msr_values", test_msr_values, 1},
    {"basic.pat", test_pat, 1},
    {"basic.exceptions", test_exceptions, 1},
    {"basic.single_step", test_single_step, 1},
    {"basic.cr_rules", test_cr_rules, 1},
    {"basic.cr_values", test_cr_values, 1},
    {"basic.debug_registers", test_debug_registers, 1},
    {"basic.tsc", test_tsc, 1},
};
const struct test_group tests_basic = GROUP(tests);
