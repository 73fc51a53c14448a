/* SPDX-License-Identifier: BSD-2-Clause */
/* Group cpu: floating-point state across exits, string I/O, ring 3.
 * Tested by running it bare, where the processor itself is the reference. */
#include "guest/guest.h"

#define COM1_SCRATCH 0x3ff /* a byte of storage behind a port */

struct fxarea {
    uint8_t bytes[512];
} __attribute__((aligned(16)));
static struct fxarea fx_load[MAX_CPUS], fx_seen[MAX_CPUS];

static void fx_pattern(struct fxarea *fx, unsigned seed)
{
    memset(fx, 0, sizeof(*fx));
    fx->bytes[0] = 0x7f; /* FCW: extended precision, nearest */
    fx->bytes[1] = 0x03;
    fx->bytes[4] = 0xff;  /* all x87 registers valid */
    fx->bytes[24] = 0x80; /* MXCSR: all masked, round down */
    fx->bytes[25] = 0x3f;
    for (unsigned r = 0; r < 8; r++) {
        for (unsigned i = 0; i < 10; i++)
            fx->bytes[32 + 16 * r + i] = (uint8_t)(seed * 29 + r * 11 + i + 1);
    }
    for (unsigned i = 160; i < 160 + 256; i++)
        fx->bytes[i] = (uint8_t)(seed * 37 + i * 7);
}

/* Loads a pattern, makes exits and faults of several kinds, and looks at the registers. */
static void fpu_job(void *arg)
{
    unsigned i = this_cpu()->index;
    uint64_t va = TEST_VA + i * PAGE_2M, *pte = pte_at(boot_pml4, va, 1, true), v;
    uint64_t *page = tagged_page(7);

    (void)arg;
    for (unsigned round = 0; round < ops(40); round++) {
        fx_pattern(&fx_load[i], i * 50 + round);
        pte_write(pte, 0);
        invlpg(va);
        asm volatile("fxrstor %0" : : "m"(fx_load[i]));
        (void)cpuid(1, 0);
        CHECK(!try_read64(va, &v), "a page that is not there was read");
        pte_write(pte, pa_of(page) | PTE_RW);
        CHECK(try_read64(va, &v) && v == 7, "the page holds %lx", v);
        outb(0x80, 1);
        if (ncpus > 1)
            ipi_send((i + 1) % ncpus, VEC_TEST);
        asm volatile("fxsave %0" : "=m"(fx_seen[i]));
        if (memcmp(fx_load[i].bytes, fx_seen[i].bytes, 8) != 0 ||
            memcmp(fx_load[i].bytes + 24, fx_seen[i].bytes + 24, 2) != 0)
            test_fail(__FILE__, __LINE__, "cpu %u: control words differ", i);
        for (unsigned k = 32; k < 416; k++) {
            bool hole = k < 160 && k % 16 >= 10; /* the upper 6 bytes of an x87 slot are reserved */
            if (!hole && fx_load[i].bytes[k] != fx_seen[i].bytes[k]) {
                test_fail(__FILE__, __LINE__, "cpu %u: byte %u differs", i, k);
                break;
            }
        }
    }
}

static void test_fpu_state(void)
{
    run_on(ncpus, fpu_job, NULL);
}

static void test_string_io(void)
{
    static uint8_t buf[16] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t in[8];
    uint64_t si = (uint64_t)buf, di = (uint64_t)in, n = 8;

    asm volatile("rep outsb" : "+S"(si), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
    CHECK(si == (uint64_t)buf + 8 && n == 0, "REP OUTSB: RSI %lx RCX %lx", si, n);
    CHECK_EQ(inb(COM1_SCRATCH), 8, "last byte written");
    n = 8;
    asm volatile("rep insb" : "+D"(di), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
    CHECK(di == (uint64_t)in + 8 && n == 0, "REP INSB: RDI %lx RCX %lx", di, n);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(in[i], 8, "byte read");
    si = (uint64_t)(buf + 7);
    n = 4;
    asm volatile("std; rep outsb; cld" : "+S"(si), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
    CHECK(si == (uint64_t)(buf + 3) && n == 0, "backward: RSI %lx RCX %lx", si, n);
    CHECK_EQ(inb(COM1_SCRATCH), 5, "last byte written backward");
    n = 0;
    asm volatile("rep outsb" : "+S"(si), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
    CHECK_EQ(inb(COM1_SCRATCH), 5, "count 0 does nothing");
    si = (uint64_t)buf;
    n = 3;
    asm volatile("rep outsw" : "+S"(si), "+c"(n) : "d"(0x80) : "memory");
    CHECK(si == (uint64_t)buf + 6 && n == 0, "REP OUTSW: RSI %lx RCX %lx", si, n);
    asm volatile("outsl" : "+S"(si) : "d"(0x80) : "memory");
    CHECK(si == (uint64_t)buf + 10, "OUTSL: RSI %lx", si);
}

struct rep_state {
    uint64_t di, n;
};

static bool rep_hook(struct trapframe *f, uint64_t cr2)
{
    struct rep_state *s = this_cpu()->hook_arg;

    if (f->vector != VEC_PF || s->di != 0)
        return false;
    *s = (struct rep_state){f->rdi, f->rcx};
    map(cr2, pa_of(page_alloc()), PTE_RW);
    return true;
}

/* INS that runs into a missing page stops there with RDI, RCX and RIP to go on. */
static void test_string_io_fault(void)
{
    struct rep_state s = {0, 0};
    uint64_t di = TEST_VA + PAGE - 3, n = 8;

    map(TEST_VA, pa_of(page_alloc()), PTE_RW);
    outb(COM1_SCRATCH, 0x5a);
    this_cpu()->hook_arg = &s;
    this_cpu()->hook = rep_hook;
    asm volatile("rep insb" : "+D"(di), "+c"(n) : "d"(COM1_SCRATCH) : "memory");
    this_cpu()->hook = NULL;
    CHECK(s.di == TEST_VA + PAGE && s.n == 5, "at the fault: RDI %lx RCX %lu", s.di, s.n);
    CHECK(di == TEST_VA + PAGE + 5 && n == 0, "at the end: RDI %lx RCX %lu", di, n);
    CHECK_EQ(load64(TEST_VA + PAGE - 3), 0x5a5a5a5a5a5a5a5a, "bytes read");
}

/* Ring-3 code is copied into a user page; it ends in INT 0x80. */
/* rax = rdi + 1 */
static const uint8_t user_ok[] = {0x48, 0x89, 0xf8, 0x48, 0xff, 0xc0, 0xcd, 0x80};
static const uint8_t user_hlt[] = {0xf4, 0xcd, 0x80};                /* hlt */
static const uint8_t user_cr3[] = {0x0f, 0x20, 0xd8, 0xcd, 0x80};    /* mov rax, cr3 */
static const uint8_t user_load[] = {0x48, 0x8b, 0x07, 0xcd, 0x80};   /* mov rax, [rdi] */
static const uint8_t user_in[] = {0xe4, 0x80, 0xcd, 0x80};           /* in al, 0x80 */
static const uint8_t user_invlpg[] = {0x0f, 0x01, 0x3f, 0xcd, 0x80}; /* invlpg [rdi] */
static const uint8_t user_cpuid[] = {0x0f, 0xa2, 0xcd, 0x80};        /* cpuid */
/* syscall; rdi = rax */
static const uint8_t user_syscall[] = {0x0f, 0x05, 0x48, 0x89, 0xc7, 0xcd, 0x80};

static uint64_t user_code; /* identity address of the code page */
#define USER_CODE TEST_VA
#define USER_STACK (TEST_VA + 2 * PAGE)

static void user_setup(void)
{
    user_code = pa_of(page_alloc());
    map(USER_CODE, user_code, PTE_P | PTE_U);
    map(USER_STACK - PAGE, pa_of(page_alloc()), PTE_RW | PTE_U | PTE_NX);
}

static void run_user(const uint8_t *code, size_t n, uint64_t arg)
{
    memcpy((void *)user_code, code, n);
    user_run(USER_CODE, USER_STACK, arg);
}
#define RUN_USER(code, arg) run_user(code, sizeof(code), arg)

static void test_user_mode(void)
{
    user_setup();
    RUN_USER(user_ok, 41);
    CHECK(trapped(VEC_USER_RETURN, 0), "ring 3 and back");
    CHECK_EQ(this_cpu()->trap.rip, USER_CODE + sizeof(user_ok), "RIP after INT");
    RUN_USER(user_hlt, 0);
    CHECK(trapped(VEC_GP, 0), "HLT in ring 3");
    RUN_USER(user_cr3, 0);
    CHECK(trapped(VEC_GP, 0), "MOV from CR3 in ring 3");
    RUN_USER(user_in, 0);
    CHECK(trapped(VEC_GP, 0), "IN in ring 3");
    RUN_USER(user_invlpg, USER_CODE);
    CHECK(trapped(VEC_GP, 0), "INVLPG in ring 3");
    RUN_USER(user_cpuid, 0);
    CHECK(trapped(VEC_USER_RETURN, 0), "CPUID in ring 3");
    RUN_USER(user_load, USER_STACK - 8);
    CHECK(trapped(VEC_USER_RETURN, 0), "load from a user page");
    RUN_USER(user_load, POOL_BASE_PA);
    CHECK(faulted_at(5, POOL_BASE_PA), "load from a supervisor page");
    RUN_USER(user_load, TEST_VA + SLOT_BYTES);
    CHECK(faulted_at(4, TEST_VA + SLOT_BYTES), "load from nowhere");
}

/* Ring 3 writes to one page after the other, none of which is there before: as a process that uses
 * new memory. What that takes is noted, not judged. */
#define TOUCH_PAGES 384u
#define TOUCH_VA (TEST_VA + 2 * TABLE_BYTES) /* tables of its own */

/* rsi = rdi + TOUCH_PAGES * 4096; do { *rdi = 1; rdi += 4096; } while (rdi != rsi) */
static const uint8_t user_touch[] = {0x48, 0x8d, 0xb7, 0x00, 0x00, 0x18, 0x00, 0xc6,
                                     0x07, 0x01, 0x48, 0x81, 0xc7, 0x00, 0x10, 0x00,
                                     0x00, 0x48, 0x39, 0xf7, 0x75, 0xf1, 0xcd, 0x80};
_Static_assert(TOUCH_PAGES * 4096 == 0x180000, "as in its first instruction");

struct touching {
    uint64_t frame[TOUCH_PAGES];
    unsigned faults, wrong;
};

static bool touch_pf(struct trapframe *f, uint64_t cr2)
{
    struct touching *t = this_cpu()->hook_arg;

    if (f->vector != VEC_PF)
        return false;
    uint64_t va = TOUCH_VA + t->faults * PAGE;
    t->wrong += cr2 != va || f->error != 6 || pte_read(pte_at(kernel_root, va, 1, true));
    if (t->wrong || t->faults == TOUCH_PAGES)
        return false;
    pte_write(pte_at(kernel_root, va, 1, true), t->frame[t->faults] | PTE_RWAD | PTE_U);
    t->faults++;
    return true;
}

static void test_first_touch(void)
{
    static struct touching t;
    unsigned lost = 0;

    user_setup();
    t.faults = t.wrong = 0;
    for (unsigned i = 0; i < TOUCH_PAGES; i++)
        t.frame[i] = pa_of(page_alloc());
    map(TOUCH_VA, 0, 0); /* the tables, with nothing in them */
    this_cpu()->hook_arg = &t;
    this_cpu()->hook = touch_pf;
    uint64_t from = rdtsc();
    RUN_USER(user_touch, TOUCH_VA);
    uint64_t ticks = rdtsc() - from;
    this_cpu()->hook = NULL;
    CHECK(trapped(VEC_USER_RETURN, 0), "all pages touched");
    CHECK(!t.wrong && t.faults == TOUCH_PAGES, "%u faults, %u wrong", t.faults, t.wrong);
    for (unsigned i = 0; i < TOUCH_PAGES; i++)
        lost += *(volatile uint8_t *)t.frame[i] != 1;
    CHECK_EQ(lost, 0, "pages whose store went elsewhere");
    diag("%lu ticks a first touch", (unsigned long)(ticks / TOUCH_PAGES));
}

static uint64_t syscall_seen[2] __attribute__((used)); /* written by syscall_target */
/* RCX = return RIP, R11 = RFLAGS: kept across; answers 42 in RAX. */
void syscall_target(void);
asm(".text; syscall_target: movq %rcx, syscall_seen(%rip); movq %r11, syscall_seen+8(%rip);"
    "movl $42, %eax; sysretq");

static bool syscall_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector == VEC_USER_RETURN)
        *(uint64_t *)this_cpu()->hook_arg = f->rdi;
    return false;
}

static void test_syscall(void)
{
    uint64_t result = 0;

    user_setup();
    RUN_USER(user_syscall, 0);
    CHECK(trapped(VEC_UD, 0), "SYSCALL with EFER.SCE clear");
    wrmsr(MSR_STAR, 0x0018000800000000);
    wrmsr(MSR_LSTAR, (uint64_t)syscall_target);
    wrmsr(MSR_SFMASK, RFLAGS_IF | RFLAGS_TF | RFLAGS_DF);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    this_cpu()->hook_arg = &result;
    this_cpu()->hook = syscall_hook;
    RUN_USER(user_syscall, 0);
    this_cpu()->hook = NULL;
    CHECK(trapped(VEC_USER_RETURN, 0), "SYSCALL and SYSRET");
    CHECK_EQ(result, 42, "result");
    CHECK_EQ(__atomic_load_n(&syscall_seen[0], __ATOMIC_RELAXED), USER_CODE + 2,
             "RCX in the kernel");
}

/* The same ring-3 page on every CPU at once, with exits. */
static void user_job(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ops(50); i++) {
        user_run(USER_CODE, USER_STACK, 0);
        CHECK(trapped(VEC_USER_RETURN, 0), "cpu %u", this_cpu()->index);
    }
}

static void test_user_smp(void)
{
    user_setup();
    memcpy((void *)user_code, user_cpuid, sizeof(user_cpuid));
    run_on(ncpus, user_job, NULL);
}

static const struct test tests[] = {
    {"cpu.fpu_state", test_fpu_state, 1},
    {"cpu.string_io", test_string_io, 1},
    {"cpu.string_io_fault", test_string_io_fault, 1},
    {"cpu.user_mode", test_user_mode, 1},
    {"cpu.first_touch", test_first_touch, 1},
    {"cpu.syscall", test_syscall, 1},
    {"cpu.user_smp", test_user_smp, 2},
};
const struct test_group tests_cpu = GROUP(tests);
