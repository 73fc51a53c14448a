/* SPDX-License-Identifier: BSD-2-Clause */
/* Group store: every kind of store instruction to a live page-table entry (trap 9). Each is run on
 * plain memory and on the entry with the same inputs: memory, registers and defined flags must come
 * out equal, and the translations must follow. Tested by running it bare. */
#include "guest/guest.h"

struct regs {
    uint64_t rax, rbx, rcx, rdx, flags;
};
struct op {
    const char *name;
    void (*fn)(struct regs *r, uint64_t p, const void *src);
    uint64_t flags; /* those the instruction defines */
};

#define F_ALL (RFLAGS_CF | RFLAGS_PF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define F_CF RFLAGS_CF
#ifdef __x86_64__
#include "guest/store_ops64.h"
#else
#include "guest/store_ops32.h"
#endif
OPS(DEFINE)
#define ENTRY(name, flags_, text) {#name, op_##name, flags_},
static const struct op all_ops[] = {OPS(ENTRY)};
#define NOPS (sizeof(all_ops) / sizeof(all_ops[0]))

#define SPOT 8 /* the entry under test; 16-byte aligned */
static uint64_t frame[4];
static pte_t plain[16] __attribute__((aligned(64)));

/* An entry that this test's pages make sense of: not present, or within RAM and without reserved
 * bits. */
static bool sane(uint64_t e)
{
    return (e & PTE_P) == 0 || ((e & PTE_ADDR) >= POOL_BASE_PA && (e & PTE_ADDR) < LARGE_BASE_PA);
}

static void compare(const struct op *op, const pte_t *table, const struct regs *want,
                    const struct regs *got)
{
    for (unsigned i = 4; i < 12; i++)
        CHECK(table[SPOT - 6 + i] == plain[2 + i], "%s: entry %d is %lx, plain memory %lx",
              op->name, (int)i - 6, (uint64_t)table[SPOT - 6 + i], (uint64_t)plain[2 + i]);
    CHECK(want->rax == got->rax && want->rbx == got->rbx && want->rcx == got->rcx &&
              want->rdx == got->rdx,
          "%s: rax %lx rbx %lx rcx %lx rdx %lx", op->name, got->rax, got->rbx, got->rcx, got->rdx);
    CHECK(((want->flags ^ got->flags) & op->flags) == 0, "%s: flags %lx, on plain memory %lx",
          op->name, got->flags, want->flags);
}

/* The word at p, as wide as a register. */
static uint64_t word(const void *p)
{
    uintptr_t w;

    memcpy(&w, p, sizeof(w));
    return w;
}

static void run_op(const struct op *op, pte_t *table)
{
    pte_t src[16 / sizeof(pte_t)];
    const uint8_t *spot = (const uint8_t *)&table[SPOT], *from = (const uint8_t *)src;
    struct regs in = {0}, want, got;

    for (unsigned i = 0; i < sizeof(src) / sizeof(src[0]); i++)
        src[i] = (pte_t)(frame[2 + (i & 1)] | PTE_P | PTE_A | (i & 1 ? 0 : PTE_W | PTE_D));
    for (unsigned i = 0; i < 16; i++)
        pte_write(&table[i], frame[i & 1] | PTE_RWAD);
    in.rbx = word(from);
    in.rcx = word(from + sizeof(uintptr_t));
    in.rax = word(spot);
    in.rdx = word(spot + sizeof(uintptr_t));
    memcpy(plain, table, sizeof(plain));
    flush_all_local();
    CHECK(verify_range(kernel_root, TEST_VA, 16) == 0, "%s: before", op->name);
    want = got = in;
    cli(); /* the stack may be in the table */
    op->fn(&want, pa_of(&plain[SPOT]), src);
    op->fn(&got, pa_of(&table[SPOT]), src);
    sti();
    compare(op, table, &want, &got);
    flush_all_local();
    if (sane(table[SPOT]) && sane(table[SPOT + 1]))
        CHECK(verify_range(kernel_root, TEST_VA, 16) == 0, "%s: translations", op->name);
}

static pte_t *store_setup(void)
{
    pte_t *table;

    for (unsigned k = 0; k < 4; k++)
        frame[k] = pa_of(tagged_page(0x900 + k));
    (void)tagged_page(0x904); /* what an addition to the last frame's number reaches */
    (void)tagged_page(0x905);
    table = (pte_t *)(uintptr_t)(pa_of(pte_at(kernel_root, TEST_VA, 1, true)) & ~(PAGE - 1));
    return table;
}

static void test_opcodes(void)
{
    pte_t *table = store_setup();

    for (unsigned r = 0; r < options.scale; r++) {
        for (unsigned i = 0; i < NOPS; i++)
            run_op(&all_ops[i], table);
    }
}

/* The same while every other CPU uses, and so shadows, the table. */
struct user_of_table {
    _Atomic bool stop;
};
static void use_job(void *arg)
{
    struct user_of_table *u = arg;
    uint64_t v;

    /* pairs with test_opcodes_shared */
    while (!atomic_load_explicit(&u->stop, memory_order_acquire)) {
        for (unsigned i = 0; i < 16; i++)
            (void)try_read64(TEST_VA + i * PAGE, &v); /* entries may be malformed for a while */
        write_cr3(read_cr3());
        for (unsigned k = 0; k < 200; k++)
            wait_pause();
    }
}

static void test_opcodes_shared(void)
{
    pte_t *table = store_setup();
    struct user_of_table u = {false};

    for (unsigned i = 0; i < 16; i++)
        pte_write(&table[i], frame[i & 1] | PTE_RWAD);
    for (unsigned c = 1; c < ncpus; c++)
        cpu_start(c, use_job, &u);
    for (unsigned i = 0; i < NOPS; i++)
        run_op(&all_ops[i], table);
    atomic_store_explicit(&u.stop, true, memory_order_release);
    cpu_join_all();
}

static const struct test tests[] = {
    {"store.opcodes", test_opcodes, 1},
    {"store.opcodes_shared", test_opcodes_shared, 2},
};
const struct test_group tests_store = GROUP(tests);
