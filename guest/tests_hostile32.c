/* SPDX-License-Identifier: BSD-2-Clause */
/* Group hostile, 32-bit images: what no kernel does with two-level and PAE tables and with control
 * registers outside of long mode. Whatever comes of it for the guest, the hypervisor must go on;
 * each test ends by checking that translations are right again. Hosted only: bare, these would try
 * the emulator. Tested by being run. */
#include "guest/guest.h"
#include "guest/modes32.h"

static uint32_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 16);
}

static uint64_t seed_of(unsigned n)
{
    return 0x9e3779b97f4a7c15ull * (n + 1 + this_cpu()->index * 16);
}

static bool only_hosted(void)
{
    if (!on_patchbay())
        test_skip("only under a hypervisor");
    return on_patchbay();
}

static void expect_sane(const char *what)
{
    uint64_t v = 0;
    pte_t *pte = map(TEST_VA, pa_of(tagged_page(0x5a5a)), PTE_RW);

    tlb_shootdown_all();
    CHECK(try_read64(TEST_VA, &v) && v == 0x5a5a, "%s: read %lx", what, v);
    pte_write(pte, 0);
    tlb_shootdown(TEST_VA);
    CHECK(!try_read64(TEST_VA, &v), "%s: an unmapped page still reads", what);
}

static void do_look(void *arg)
{
    (void)*(volatile uint32_t *)arg;
}

/* Reads somewhere in the two GiB that are not the kernel's: memory, a device, or nothing. */
static void look(uint64_t *s)
{
    (void)caught(do_look, (void *)(uintptr_t)(TEST_VA + (next_random(s) & 0x7ffffffc)));
}

/* Frames a hostile entry may name: devices, holes, beyond RAM, page 0. */
static uint64_t strange_frame(uint64_t *s, bool wide)
{
    static const uint32_t fixed[] = {0, 0xa0000, 0xfec00000, 0xfee00000, 0xfffff000, 0xd0000000};
    uint64_t r = next_random(s);

    if (r & 1)
        return fixed[(r >> 8) % (sizeof(fixed) / sizeof(fixed[0]))];
    return (r << 12 | (wide ? (uint64_t)next_random(s) << 32 : 0)) &
           (wide ? PTE_ADDR : 0xfffff000ull);
}

/* A table of random entries, every third of which leads to `next`, or to the table itself. */
static void fill(uint64_t *s, void *table, bool wide, const void *next)
{
    for (unsigned i = 0; i < (wide ? 512 : 1024); i++) {
        uint64_t e = strange_frame(s, wide) | (next_random(s) & 0xfff);
        if (i % 3 == 0)
            e = pa_of(next_random(s) & 1 ? next : table) | PTE_TABLE;
        if (wide && (next_random(s) & 7) == 0)
            e |= PTE_NX;
        if (wide)
            ((uint64_t *)table)[i] = e;
        else
            ((uint32_t *)table)[i] = (uint32_t)e;
    }
}

/* Makes the second and third GiB of a root lead to random tables. */
static void spoil(uint64_t *s, enum paging_mode mode, uint64_t root, void *a, void *b)
{
    uint64_t *r8 = (uint64_t *)(uintptr_t)root;
    uint32_t *r4 = (uint32_t *)(uintptr_t)root;

    fill(s, a, mode != PAGING_TWO_LEVEL, b);
    fill(s, b, mode != PAGING_TWO_LEVEL, a);
    if (mode == PAGING_PAE) {
        r8[1] = pa_of(a) | PTE_P;
        r8[2] = next_random(s) & 1 ? strange_frame(s, false) | PTE_P : pa_of(b) | PTE_P;
        return;
    }
    for (unsigned i = 256; i < 768; i++)
        r4[i] = ((uint32_t *)a)[i];
}

static void tables_job(void *arg)
{
    const struct paging kernel = {PAGING_KERNEL, 0};
    uint64_t s = seed_of(1);
    void *a = page_alloc(), *b = page_alloc();
    uint64_t roots[2] = {paging_root(PAGING_TWO_LEVEL), paging_root(PAGING_PAE)};

    (void)arg;
    for (unsigned r = 0; r < ops(24); r++) {
        enum paging_mode mode = r & 1 ? PAGING_PAE : PAGING_TWO_LEVEL;
        struct paging p = {mode, roots[r & 1]};
        spoil(&s, mode, p.root, a, b);
        paging_set(&p);
        for (unsigned i = 0; i < 40; i++)
            look(&s);
        ((uint32_t *)a)[next_random(&s) % 1024] = next_random(&s); /* while it is live */
        for (unsigned i = 0; i < 10; i++)
            look(&s);
        paging_set(&kernel);
        if (test_abandoned())
            job_abort();
    }
}

static void test_tables(void)
{
    if (!only_hosted())
        return;
    run_on(ncpus, tables_job, NULL);
    expect_sane("after random tables");
}

struct regwrite {
    unsigned what;
    uint32_t value, high;
};

/* PE stays, and so does the mode that the kernel's tables are made for. */
static void write_register(void *arg)
{
    const struct regwrite *w = arg;
    uint32_t v;

    switch (w->what) {
    case 0:
        write_cr0(w->value | CR0_PE);
        break;
    case 1:
        write_cr4((w->value & ~(CR4_PAE | CR4_PSE)) | BOOT_CR4);
        break;
    case 2:
        wrmsr(MSR_EFER, (uint64_t)w->high << 32 | w->value);
        break;
    case 3:
        write_cr3(pa_of(kernel_root) | (w->value & 0x1f));
        break;
    case 4:
        asm volatile("lmsw %0" : : "r"((uint16_t)w->value) : "memory");
        break;
    case 5:
        asm volatile("mov %0, %%dr7" : : "r"(w->value & ~0xffu));
        break;
    default:
        asm volatile("mov %%cr1, %0" : "=r"(v));
        break;
    }
}

static void registers_job(void *arg)
{
    uint64_t s = seed_of(2);

    (void)arg;
    for (unsigned r = 0; r < ops(120); r++) {
        struct regwrite w = {next_random(&s) % 7, next_random(&s), next_random(&s)};
        if (next_random(&s) & 1) {
            w.value &= 1u << (next_random(&s) & 31); /* one bit, or none */
            w.high = 0;
        }
        cli();
        (void)caught(write_register, &w);
        cpu_baseline();
        sti();
        wait_pause();
    }
}

static void test_registers(void)
{
    if (!only_hosted())
        return;
    run_on(ncpus, registers_job, NULL);
    expect_sane("after random control registers");
}

static void load_cr3(void *arg)
{
    write_cr3((uintptr_t)arg);
}

/* Random PDPTEs, most of them refused. */
static void pdptes_job(void *arg)
{
    const struct paging kernel = {PAGING_KERNEL, 0};
    struct paging p = {PAGING_PAE, paging_root(PAGING_PAE)};
    uint64_t s = seed_of(3), *root = (uint64_t *)(uintptr_t)p.root;

    (void)arg;
    paging_set(&p);
    for (unsigned r = 0; r < ops(60); r++) {
        for (unsigned i = 1; i < 3; i++) {
            root[i] =
                strange_frame(&s, true) | (next_random(&s) & (next_random(&s) & 1 ? 0xfff : 1));
            if (next_random(&s) & 1)
                root[i] &= 0xffffffff;
        }
        if (next_random(&s) & 1)
            invlpg(TEST_VA);
        else
            (void)caught(load_cr3, root);
        for (unsigned i = 0; i < 6; i++)
            look(&s);
    }
    root[1] = root[2] = 0;
    paging_set(&kernel);
}

static void test_pdptes(void)
{
    if (!only_hosted())
        return;
    run_on(ncpus, pdptes_job, NULL);
    expect_sane("after random PDPTEs");
}

static const struct test tests[] = {
    {"hostile.tables", test_tables, 1},
    {"hostile.registers", test_registers, 1},
    {"hostile.pdptes", test_pdptes, 1},
};
const struct test_group tests_hostile32 = GROUP(tests);
