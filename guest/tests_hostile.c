/* SPDX-License-Identifier: BSD-2-Clause */
/* Group hostile: what no kernel does. Random page-table contents, tables outside of RAM, random
 * control registers and MSRs, random instructions on live tables, huge repeated stores over them.
 * Whatever comes of it for the guest, the hypervisor must go on; each test ends by checking that
 * translations are right again. Hosted only: bare, these would try the emulator. Tested by being
 * run. */
#include "guest/guest.h"

#define USER_CODE (TEST_VA + 2 * SLOT_BYTES)
#define USER_STACK (USER_CODE + 3 * PAGE)
#define USER_TABLE (USER_CODE + 8 * PAGE)
#define PROLOGUE 15 /* bytes that set RFLAGS.TF, so that one instruction follows */

static uint64_t seed_of(unsigned cpu)
{
    return 0x9e3779b97f4a7c15ull * (cpu + 1);
}

static uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static bool only_hosted(void)
{
    bool hosted = options.hosted && !options.bochs;

    if (!hosted)
        test_skip("only under a hypervisor");
    return hosted;
}

/* Frames a hostile entry may name: device pages, holes, beyond RAM, beyond MAXPHYADDR, page 0. */
static uint64_t strange_frame(uint64_t *s)
{
    static const uint64_t fixed[] = {0,           0xa0000,       0xfec00000,
                                     0xfee00000,  0xfffff000,    0xd0000000,
                                     0x100000000, 0x3fffffff000, 0xffffffffff000};
    uint64_t r = rnd(s);
    if (r & 1)
        return fixed[(r >> 8) % (sizeof(fixed) / sizeof(fixed[0]))];
    return (r >> 4) & PTE_ADDR;
}

/* Is the slot a clean one again? Maps a page there and reads it. */
static void expect_sane(uint64_t va, const char *what)
{
    uint64_t v = 0;
    uint64_t *page = tagged_page(0x5a5a), *pte = map(va, pa_of(page), PTE_RW);
    tlb_shootdown(va);
    CHECK(try_read64(va, &v) && v == 0x5a5a, "%s: read %lx", what, v);
    pte_write(pte, 0);
    tlb_shootdown(va);
    CHECK(!try_read64(va, &v), "%s: an unmapped page still reads", what);
}

/* Every level in turn holds random entries; reads go everywhere. Writes would hit our own memory.
 */
static void tables_job(void *arg)
{
    uint64_t s = seed_of(this_cpu()->index), v;
    uint64_t slot = 4 + this_cpu()->index, va = slot * SLOT_BYTES;
    (void)arg;
    for (unsigned r = 0; r < ops(40); r++) {
        uint64_t *t[3] = {page_alloc(), page_alloc(), page_alloc()};
        for (unsigned level = 0; level < 3; level++)
            for (unsigned i = 0; i < 512; i++)
                t[level][i] = (rnd(&s) & 0xfff0000000000fffull) | strange_frame(&s);
        for (unsigned i = 0; i < 512; i += 3) { /* some paths lead on */
            t[0][i] = pa_of(t[1]) | PTE_TABLE;
            t[1][i] = pa_of(rnd(&s) & 1 ? t[2] : t[1]) | PTE_TABLE; /* a table under itself, too */
        }
        pte_write(&boot_pml4[slot], pa_of(t[0]) | PTE_TABLE);
        for (unsigned i = 0; i < 60; i++)
            (void)try_read64(va + (rnd(&s) & (SLOT_BYTES - 1) & ~7ull), &v);
        pte_write(&boot_pml4[slot], 0);
        flush_all_local();
        for (unsigned level = 0; level < 3; level++)
            page_free(t[level]);
        wait_pause();
    }
}

static void test_tables(void)
{
    if (!only_hosted())
        return;
    run_on(ncpus, tables_job, NULL);
    tlb_shootdown_all();
    expect_sane(TEST_VA, "after random tables");
}

/* Tables in device memory and beyond RAM. */
static void test_far_tables(void)
{
    uint64_t s = seed_of(7), v;

    if (!only_hosted())
        return;
    for (unsigned r = 0; r < ops(100); r++) {
        uint64_t at = strange_frame(&s) & PTE_ADDR;
        uint64_t *t = page_alloc();
        pte_write(&boot_pml4[4], (rnd(&s) & 1) ? at | PTE_TABLE : pa_of(t) | PTE_TABLE);
        t[0] = at | PTE_TABLE | (rnd(&s) & PTE_PS);
        (void)try_read64(4 * SLOT_BYTES, &v);
        (void)try_read64(4 * SLOT_BYTES + (rnd(&s) & 0x7ffffff8), &v);
        pte_write(&boot_pml4[4], 0);
        flush_all_local();
        page_free(t);
    }
    expect_sane(TEST_VA, "after far tables");
}

struct regwrite {
    unsigned what;
    uint64_t value;
};

static void write_register(void *arg)
{
    const struct regwrite *w = arg;
    uint64_t v;
    switch (w->what) {
    case 0:
        asm volatile("mov %0, %%cr0" : : "r"(w->value | CR0_PG | CR0_PE));
        break;
    case 1: /* PAE stays: the kernel runs on it */
        asm volatile("mov %0, %%cr4" : : "r"(w->value | CR4_PAE));
        break;
    case 2:
        asm volatile("mov %0, %%cr8" : : "r"(w->value));
        break;
    case 3: /* LME is in force */
        wrmsr(MSR_EFER, w->value);
        break;
    case 4:
        asm volatile("mov %0, %%dr6" : : "r"(w->value));
        break;
    case 5:
        asm volatile("mov %0, %%dr7" : : "r"(w->value & ~0xffull));
        break;
    case 6:
        asm volatile("mov %%cr1, %0" : "=r"(v));
        break;
    default:
        asm volatile("xsetbv" : : "c"(0), "a"((uint32_t)w->value), "d"(0));
        break;
    }
}

static void registers_job(void *arg)
{
    uint64_t s = seed_of(this_cpu()->index + 20);
    (void)arg;
    for (unsigned r = 0; r < ops(150); r++) {
        struct regwrite w = {.what = (unsigned)(rnd(&s) % 8), .value = rnd(&s)};
        if (rnd(&s) & 1)
            w.value &= 1ull << (rnd(&s) & 63); /* one bit, or none */
        (void)caught(write_register, &w);
        cpu_baseline();
        wait_pause();
    }
}

static void test_registers(void)
{
    if (!only_hosted())
        return;
    run_on(ncpus, registers_job, NULL);
    expect_sane(TEST_VA, "after random control registers");
}

static void read_msr(void *arg)
{
    (void)rdmsr((uint32_t)(uint64_t)arg);
}

static void write_msr(void *arg)
{
    const struct regwrite *w = arg;
    wrmsr(w->what, w->value);
}

/* Those whose value the runtime lives on, or that make the hypervisor write where told. */
static bool msr_spared(uint32_t m)
{
    return m == MSR_APIC_BASE || m == MSR_EFER || m == MSR_TSC || m == MSR_TSC_ADJUST ||
           m == 0x11 || m == 0x12 || (m >= 0x4b564d00 && m < 0x4b564d10) ||
           (m >= MSR_FS_BASE && m <= MSR_KERNEL_GS_BASE) || (m >= 0x800 && m < 0x900) ||
           m == MSR_TSC_DEADLINE;
}

static void msrs_job(void *arg)
{
    static const uint32_t bases[] = {0,          0x170,      0x200,      0x400,
                                     0xc0000080, 0xc0010000, 0xc0010110, 0xc0011020};
    uint64_t s = seed_of(this_cpu()->index + 40);
    (void)arg;
    for (unsigned r = 0; r < ops(300); r++) {
        uint32_t m = bases[rnd(&s) % 8] + (uint32_t)(rnd(&s) & 0x3f);
        if (rnd(&s) % 8 == 0)
            m = (uint32_t)rnd(&s);
        struct regwrite w = {.what = m, .value = rnd(&s)};
        (void)caught(read_msr, (void *)(uint64_t)m);
        if (!msr_spared(m))
            (void)caught(write_msr, &w);
        wait_pause();
    }
    cpu_baseline();
}

static void test_msrs(void)
{
    if (!only_hosted())
        return;
    run_on(ncpus, msrs_job, NULL);
    expect_sane(TEST_VA, "after random MSRs");
}

/* One random instruction in ring 3 with RDI at a live page table. SYSCALL and SYSENTER would enter
 * ring 0 where nobody waits. */
static void random_code(uint8_t *code, uint64_t *s)
{
    static const uint8_t prologue[PROLOGUE] = {0x9c, 0x81, 0x0c, 0x24,
                                               0x00, 0x01, 0x00, 0x00, /* pushfq; or [rsp], TF */
                                               0x48, 0x89, 0xfe,       /* mov rsi, rdi */
                                               0x48, 0x89, 0xf8,       /* mov rax, rdi */
                                               0x9d};                  /* popfq */
    static const uint8_t stores[] = {0x89, 0x88, 0x87, 0x86, 0x01, 0x09, 0x21, 0x31, 0x29, 0xc7,
                                     0xc6, 0xaa, 0xab, 0xa4, 0xa5, 0xff, 0xfe, 0xf6, 0xf7, 0x0f};
    memcpy(code, prologue, PROLOGUE);
    for (unsigned i = PROLOGUE; i < PROLOGUE + 16; i++)
        code[i] = (uint8_t)rnd(s);
    unsigned at = PROLOGUE;
    if (rnd(s) & 1)
        code[at++] = (uint8_t)(rnd(s) & 1 ? 0xf0 : 0x48);
    if (rnd(s) % 4)
        code[at++] = stores[rnd(s) % sizeof(stores)];
    if (rnd(s) & 1)
        code[at] = (uint8_t)((code[at] & 0x38) | 7); /* [rdi] */
    for (unsigned i = PROLOGUE; i < PROLOGUE + 16; i++)
        if (code[i] == 0x0f && (code[i + 1] == 0x05 || code[i + 1] == 0x34))
            code[i] = 0x90;
    code[PROLOGUE + 16] = 0xcd; /* int 0x80 */
    code[PROLOGUE + 17] = 0x80;
}

static void test_instructions(void)
{
    uint64_t s = seed_of(60), v;
    uint8_t *code;
    uint64_t *table;

    if (!only_hosted())
        return;
    code = page_alloc();
    map(USER_CODE, pa_of(code), PTE_P | PTE_U);
    map(USER_STACK - PAGE, pa_of(page_alloc()), PTE_RW | PTE_U);
    table = (uint64_t *)(pa_of(pte_at(boot_pml4, TEST_VA, 1, true)) & ~(PAGE - 1));
    map(USER_TABLE, pa_of(table), PTE_RW | PTE_U);
    for (unsigned r = 0; r < ops(600); r++) {
        random_code(code, &s);
        user_run(USER_CODE, USER_STACK, USER_TABLE + (rnd(&s) & 0x3f8) + (rnd(&s) % 8 == 0));
        if (r % 8 == 0)
            (void)try_read64(TEST_VA + (r & 127) * PAGE, &v); /* keeps it a live table */
        wait_pause();
    }
    for (unsigned i = 0; i < 512; i++)
        pte_write(&table[i], 0);
    tlb_shootdown_all();
    for (unsigned i = 0; i < 128; i++)
        CHECK(!try_read64(TEST_VA + i * PAGE, &v), "page %u reads through an empty table", i);
    expect_sane(TEST_VA, "after random instructions");
}

/* The same through compatibility mode: 64-bit ring-3 code returns far into a 32-bit segment.
 * Everything it needs lies below 4 GiB, in the second GiB, which the kernel does not use. */
#define LOW_VA 0x40000000ull
#define SEL_UCODE32 (SEL_SPARE | 3)
#define UCODE32 0x00cffb000000ffffull

static void compat_code(uint8_t *code, uint64_t *s)
{
    const uint32_t target = (uint32_t)LOW_VA + 16;
    static const uint8_t prologue[] = {
        0x9c, 0x81, 0x0c, 0x24, 0x00, 0x01, 0x00, 0x00, /* pushfd; or [esp], TF */
        0x89, 0xfe, 0x89, 0xf8, 0x9d};                  /* mov esi, edi; mov eax, edi; popfd */
    uint8_t random[PROLOGUE + 18];

    random_code(random, s);
    code[0] = 0x6a; /* push selector */
    code[1] = SEL_UCODE32;
    code[2] = 0x68; /* push target */
    memcpy(code + 3, &target, 4);
    code[7] = 0x48; /* retfq */
    code[8] = 0xcb;
    memcpy(code + 16, prologue, sizeof(prologue));
    memcpy(code + 16 + sizeof(prologue), random + PROLOGUE, 18);
}

static void test_compat(void)
{
    uint64_t s = seed_of(80), saved = boot_pdpt[1], v;
    uint8_t *code;
    uint64_t *table;

    if (!only_hosted())
        return;
    this_cpu()->gdt[SEL_SPARE / 8] = UCODE32;
    code = page_alloc();
    pte_write(&boot_pdpt[1], pa_of(page_alloc()) | PTE_TABLE);
    boot_pml4[0] |= PTE_U;
    tlb_shootdown_all();
    map(LOW_VA, pa_of(code), PTE_P | PTE_U);
    map(LOW_VA + 2 * PAGE, pa_of(page_alloc()), PTE_RW | PTE_U);
    table = (uint64_t *)(pa_of(pte_at(boot_pml4, TEST_VA, 1, true)) & ~(PAGE - 1));
    map(LOW_VA + 8 * PAGE, pa_of(table), PTE_RW | PTE_U);
    for (unsigned r = 0; r < ops(400); r++) {
        compat_code(code, &s);
        user_run(LOW_VA, LOW_VA + 3 * PAGE, LOW_VA + 8 * PAGE + (rnd(&s) & 0x3fc));
        if (r % 8 == 0)
            (void)try_read64(TEST_VA + (r & 127) * PAGE, &v);
        wait_pause();
    }
    pte_write(&boot_pdpt[1], saved);
    boot_pml4[0] &= ~PTE_U;
    memset(table, 0, PAGE);
    tlb_shootdown_all();
    for (unsigned i = 0; i < 128; i++)
        CHECK(!try_read64(TEST_VA + i * PAGE, &v), "page %u reads through an empty table", i);
    expect_sane(TEST_VA, "after 32-bit instructions");
}

/* Random bytes in real mode, on a CPU that INIT takes back after a while. Port I/O could switch the
 * machine off, LIDT and LGDT lead to its shutdown. */
#define LOW_BYTES 0x9f000u
static uint8_t low_memory[LOW_BYTES];
/* Segments from F001h on reach the beginning of this program above 1 MiB: its code alone, of which
 * nothing is written. */
#define HIGH_PA 0x100000u
#define HIGH_BYTES 0xfff0u
static uint8_t high_memory[HIGH_BYTES];
extern const char text_end[];

static void real_code(uint8_t *page, uint64_t *s)
{
    for (unsigned i = 0; i < PAGE; i++) {
        uint8_t b = (uint8_t)rnd(s);
        if ((b >= 0xe4 && b <= 0xe7) || (b >= 0xec && b <= 0xef) || (b >= 0x6c && b <= 0x6f) ||
            b == 0x0f)
            b = 0x90;
        page[i] = b;
    }
}

/* Vectors lead to code in the ROM area that may reset the machine, as is its right: no code there
 * but HLT while random code runs. */
#define ROM_PA 0xf0000ull
static uint8_t rom[0x10000];

static void rom_halts(bool on)
{
    uint8_t *at = (uint8_t *)ROM_PA;

    if (on) {
        memcpy(rom, at, sizeof(rom));
        memset(at, 0xf4, sizeof(rom));
    } else {
        memcpy(at, rom, sizeof(rom));
    }
}

static void low_memory_back(void)
{
    uint8_t *to = NULL;

    asm("" : "+r"(to));
    memcpy(to, low_memory, LOW_BYTES);
    to += HIGH_PA;
    for (unsigned i = 0; i < HIGH_BYTES; i++)
        if (to[i] != high_memory[i])
            to[i] = high_memory[i];
}

/* INIT takes its time where the CPU that runs the code is not running itself, and what it stores
 * until then hits the trampoline: so it is given another chance. */
static void take_back(unsigned cpu)
{
    for (unsigned i = 0; i < 10; i++) {
        smp_init_sipi(cpu, AP_TRAMPOLINE_PA >> 12);
        uint64_t start = rdtsc();
        while (rdtsc() - start < 2500000000) {
            if (atomic_load_explicit(&cpus[cpu].state, memory_order_acquire) == CPU_IDLE)
                return; /* pairs with ap_main */
            pause();
        }
        low_memory_back();
    }
    smp_restart(cpu);
}

static void test_real_mode(void)
{
    uint64_t s = seed_of(90);
    unsigned cpu = ncpus - 1;
    const uint8_t *from = NULL;

    if (!only_hosted())
        return;
    asm("" : "+r"(from)); /* address 0 is RAM here */
    memcpy(low_memory, from, LOW_BYTES);
    memcpy(high_memory, from + HIGH_PA, HIGH_BYTES);
    CHECK((uintptr_t)text_end >= HIGH_PA + HIGH_BYTES, "data below %x", HIGH_PA + HIGH_BYTES);
    /* What is put back must not be code that enters protected mode: a CPU whose INIT comes late
     * still runs there. */
    memset(low_memory + REAL_MODE_PA, 0xf4, PAGE);
    rom_halts(true);
    for (unsigned r = 0; r < ops(40); r++) {
        real_code((uint8_t *)REAL_MODE_PA, &s);
        smp_init_sipi(cpu, REAL_MODE_PA >> 12);
        for (unsigned i = 0; i < 20000; i++)
            pause();
        ipi_send(cpu, ICR_INIT | ICR_ASSERT);
        for (unsigned i = 0; i < 300; i++)
            pause();
        low_memory_back();
        if (test_abandoned())
            break;
    }
    take_back(cpu);
    rom_halts(false);
    expect_sane(TEST_VA, "after random real-mode code");
}

/* REP STOS over many live tables and over the directory that leads to them. */
static void test_repeated(void)
{
    enum { TABLES = 8 };
    uint64_t *t[TABLES], v, *first = NULL;

    if (!only_hosted())
        return;
    for (unsigned i = 0; i < TABLES; i++) {
        t[i] = page_alloc();
        first = i == 0 ? t[0] : first;
        CHECK_EQ(pa_of(t[i]), pa_of(first) + i * PAGE, "neighbours");
    }
    for (unsigned r = 0; r < ops(4); r++) {
        uint64_t *pde = pte_at(boot_pml4, TEST_VA, 2, true), frame = pa_of(tagged_page(0x77));
        for (unsigned i = 0; i < TABLES; i++)
            pte_write(pde + i, pa_of(t[i]) | PTE_TABLE);
        stosq(pa_of(first), frame | PTE_RW, TABLES * 512);
        for (unsigned i = 0; i < TABLES * 512; i += 97)
            CHECK(try_read64(TEST_VA + i * PAGE, &v) && v == 0x77, "page %u", i);
        memset(first, 0, TABLES * PAGE); /* REP STOSB */
        tlb_shootdown_all();
        for (unsigned i = 0; i < TABLES * 512; i += 97)
            CHECK(!try_read64(TEST_VA + i * PAGE, &v), "page %u still reads", i);
        for (unsigned i = 0; i < TABLES; i++)
            pte_write(pde + i, 0);
        tlb_shootdown_all();
    }
    expect_sane(TEST_VA, "after repeated stores");
}

static const struct test tests[] = {
    {"hostile.tables", test_tables, 1},
    {"hostile.far_tables", test_far_tables, 1},
    {"hostile.registers", test_registers, 1},
    {"hostile.msrs", test_msrs, 1},
    {"hostile.instructions", test_instructions, 1},
    {"hostile.compat", test_compat, 1},
    {"hostile.real_mode", test_real_mode, 2},
    {"hostile.repeated", test_repeated, 1},
};
const struct test_group tests_hostile = GROUP(tests);
