/* SPDX-License-Identifier: BSD-2-Clause */
/* Group prot: what a page permits (CR0.WP and SMEP: trap 22; NX: trap 23; SMAP: trap 24; inherited
 * rights: trap 16). Tested by running it bare. */
#include "guest/guest.h"

#define CPUID7_SMEP (1u << 7)
#define CPUID7_SMAP (1u << 20)
#define CPUID7_UMIP (1u << 2) /* ECX */

static uint32_t features7(void)
{
    return cpuid(0, 0).eax >= 7 ? cpuid(7, 0).ebx : 0;
}

static uint64_t code_page(void)
{
    uint8_t *p = page_alloc();

    *p = 0xc3; /* ret */
    return pa_of(p);
}

static void test_write_protect(void)
{
    uint64_t frame = pa_of(tagged_page(1));
    pte_t *pte = map(TEST_VA, frame, PTE_P | PTE_A);

    for (unsigned r = 0; r < ops(10); r++) {
        uint64_t user = r & 1 ? PTE_U : 0;
        pte_write(pte, frame | PTE_P | user);
        invlpg(TEST_VA);
        CHECK(!try_write64(TEST_VA, 2) && faulted_at(3, TEST_VA), "store with WP set");
        write_cr0(read_cr0() & ~CR0_WP);
        CHECK(try_write64(TEST_VA, 0x100 + r), "store with WP clear");
        CHECK_EQ(load64(frame), 0x100 + r, "stored");
        CHECK_EQ(pte_read(pte) & (PTE_A | PTE_D), PTE_A | PTE_D, "A and D");
        write_cr0(read_cr0() | CR0_WP);
        CHECK(!try_write64(TEST_VA, 2) && faulted_at(3, TEST_VA), "store with WP set again");
    }
}

static void test_write_protect_large(void)
{
    pte_t *pde = map_2m(TEST_VA, LARGE_BASE_PA, PTE_P | PTE_U);
    uint64_t v;

    CHECK(try_read64(TEST_VA + 0x3000, &v), "load");
    CHECK(!try_write64(TEST_VA + 0x3000, 2) && faulted_at(3, TEST_VA + 0x3000),
          "store with WP set");
    CHECK((pte_read(pde) & PTE_D) == 0, "no D yet: %lx", pte_read(pde));
    write_cr0(read_cr0() & ~CR0_WP);
    CHECK(try_write64(TEST_VA + 0x3000, 0x77), "store with WP clear");
    CHECK(try_write64(TEST_VA + 0x9000, 0x78), "second store with WP clear");
    write_cr0(read_cr0() | CR0_WP);
    CHECK((pte_read(pde) & PTE_D) != 0, "D of the large page: %lx", pte_read(pde));
    CHECK_EQ(load64(LARGE_BASE_PA + 0x9000), 0x78, "stored");
    CHECK(!try_write64(TEST_VA + 0x3000, 2) && faulted_at(3, TEST_VA + 0x3000),
          "store with WP set again");
}

static void test_smep(void)
{
    uint64_t frame = code_page();
    pte_t *pte = map(TEST_VA, frame, PTE_P | PTE_U);

    if ((features7() & CPUID7_SMEP) == 0) {
        test_skip("no SMEP");
        return;
    }
    CHECK(try_exec(TEST_VA), "user page with SMEP clear");
    write_cr4(read_cr4() | CR4_SMEP);
    CHECK(!try_exec(TEST_VA) && faulted_at(0x11, TEST_VA), "user page with SMEP set");
    /* with WP clear a shadow may turn the page into a writable supervisor page: it must not run */
    write_cr0(read_cr0() & ~CR0_WP);
    CHECK(try_write64(TEST_VA + 64, 5), "store with WP clear");
    CHECK(!try_exec(TEST_VA) && faulted_at(0x11, TEST_VA), "SMEP after a store with WP clear");
    write_cr0(read_cr0() | CR0_WP);
    pte_write(pte, frame | PTE_P);
    invlpg(TEST_VA);
    CHECK(try_exec(TEST_VA), "supervisor page with SMEP set");
    pte_write(pte, frame | PTE_P | PTE_U);
    invlpg(TEST_VA);
    write_cr4(read_cr4() & ~CR4_SMEP);
    CHECK(try_exec(TEST_VA), "user page with SMEP clear again");
}

struct ac_access {
    uint64_t va, value;
};
static void load_with_ac(void *arg)
{
    struct ac_access *a = arg;
    uint64_t flags = save_flags();

    load_flags(flags | RFLAGS_AC);
    a->value = load64(a->va);
    load_flags(flags);
}

static void test_smap(void)
{
    struct ac_access a = {TEST_VA, 0};
    uint64_t v;

    map(TEST_VA, pa_of(tagged_page(0x24)), PTE_RW | PTE_U);
    if ((features7() & CPUID7_SMAP) == 0) {
        test_skip("no SMAP");
        return;
    }
    CHECK(try_read64(TEST_VA, &v), "user page with SMAP clear");
    write_cr4(read_cr4() | CR4_SMAP);
    CHECK(!try_read64(TEST_VA, &v) && faulted_at(1, TEST_VA), "load with SMAP set");
    CHECK(!try_write64(TEST_VA, 1) && faulted_at(3, TEST_VA), "store with SMAP set");
    CHECK(!caught(load_with_ac, &a) && a.value == 0x24, "load with AC set: %lx", a.value);
    CHECK(!try_read64(TEST_VA, &v) && faulted_at(1, TEST_VA), "load with AC clear again");
    write_cr4(read_cr4() & ~CR4_SMAP);
    CHECK(try_read64(TEST_VA, &v), "user page with SMAP clear again");
}

static void store_with_ac(void *arg)
{
    struct ac_access *a = arg;
    uint64_t flags = save_flags();

    load_flags(flags | RFLAGS_AC);
    *(volatile uintptr_t *)(uintptr_t)a->va = (uintptr_t)a->value; /* one MOV, also in 32 bits */
    load_flags(flags);
}

/* CR0.WP clear lets the supervisor write a user's read-only page, with AC set under SMAP; what it
 * does without AC is refused before and after. */
static void test_smap_wp(void)
{
    struct ac_access a = {TEST_VA, 0};
    uint64_t v, frame = pa_of(tagged_page(0x24));

    map(TEST_VA, frame, PTE_P | PTE_U);
    if ((features7() & CPUID7_SMAP) == 0) {
        test_skip("no SMAP");
        return;
    }
    write_cr0(read_cr0() & ~CR0_WP);
    CHECK(try_write64(TEST_VA, 0x25), "store with WP and SMAP clear");
    write_cr4(read_cr4() | CR4_SMAP);
    CHECK(!try_read64(TEST_VA, &v) && faulted_at(1, TEST_VA), "load with AC clear");
    for (unsigned r = 0; r < ops(10); r++) {
        a.value = 0x100 + r;
        CHECK(!caught(store_with_ac, &a), "store with AC set");
        CHECK_EQ(load64(frame), 0x100 + r, "stored");
        CHECK(!try_read64(TEST_VA, &v) && faulted_at(1, TEST_VA), "load with AC clear again");
        CHECK(!try_write64(TEST_VA, 1) && faulted_at(3, TEST_VA), "store with AC clear");
        CHECK(!caught(load_with_ac, &a) && a.value == 0x100 + r, "load with AC set");
    }
    write_cr4(read_cr4() & ~CR4_SMAP);
    CHECK(try_write64(TEST_VA, 0x26), "store with SMAP clear again");
    write_cr0(read_cr0() | CR0_WP);
    CHECK(!try_write64(TEST_VA, 2) && faulted_at(3, TEST_VA), "store with WP set again");
}

static void load_ldt_selector(void *arg)
{
    uint64_t flags = save_flags();

    (void)arg;
    load_flags(flags | RFLAGS_AC);
    asm volatile("mov %0, %%fs" : : "r"((uint16_t)0x0c) : "memory");
    load_flags(flags);
}

/* Trap 24: an implicit supervisor access (LDT) to a user page. The manuals say #PF even with AC set
 * (SDM vol. 3, 4.6.1); QEMU 7.2 lets it pass. What must not happen is an endless fault. */
static void test_smap_implicit(void)
{
    uint64_t *ldt = page_alloc(), va = TEST_VA;

    if ((features7() & CPUID7_SMAP) == 0) {
        test_skip("no SMAP");
        return;
    }
    ldt[1] = 0x00cf93000000ffff;
    map(TEST_VA, pa_of(ldt), PTE_RW | PTE_U);
    this_cpu()->gdt[8] = 0xfff | (va & 0xffffff) << 16 | 0x82ull << 40 | (va >> 24 & 0xff) << 56;
    this_cpu()->gdt[9] = va >> 32;
    asm volatile("lldt %0" : : "r"((uint16_t)SEL_SPARE));
    write_cr4(read_cr4() | CR4_SMAP);
    if (caught(load_ldt_selector, NULL))
        CHECK(trapped(VEC_PF, 1), "LDT in a user page");
    write_cr4(read_cr4() & ~CR4_SMAP);
    CHECK(!caught(load_ldt_selector, NULL), "LDT in a user page, SMAP clear");
    asm volatile("mov %0, %%fs; lldt %0" : : "r"((uint16_t)0));
}

static bool no_nx(void)
{
    if (NX_LEVEL == 0)
        test_skip("entries without NX");
    return NX_LEVEL == 0;
}

static void test_nx(void)
{
    uint64_t frame = code_page(), v;
    pte_t *pte = map(TEST_VA, frame, PTE_P), *upper;

    if (no_nx())
        return;
    CHECK(try_exec(TEST_VA), "without NX");
    pte_write(pte, frame | PTE_P | PTE_NX);
    invlpg(TEST_VA);
    CHECK(!try_exec(TEST_VA) && faulted_at(0x11, TEST_VA), "with NX");
    CHECK(try_read64(TEST_VA, &v), "load with NX");
    pte_write(pte, frame | PTE_P); /* promotion: needs no flush, may fault once */
    if (!try_exec(TEST_VA))
        CHECK(try_exec(TEST_VA), "NX gone");
    upper = pte_at(kernel_root, TEST_VA, NX_LEVEL, false);
    pte_write(upper, pte_read(upper) | PTE_NX);
    invlpg(TEST_VA);
    CHECK(!try_exec(TEST_VA) && faulted_at(0x11, TEST_VA), "NX inherited from above");
}

/* Trap 23: with EFER.NXE clear, bit 63 is reserved. QEMU 7.2 leaves P out of the error code. */
static void test_nxe_off(void)
{
    uint64_t frame = code_page(), v, error;

    if (no_nx())
        return;
    map(TEST_VA, frame, PTE_P | PTE_NX);
    map(TEST_VA + PAGE, frame, PTE_P);
    for (unsigned r = 0; r < ops(4); r++) {
        CHECK(try_read64(TEST_VA, &v), "NXE set: data");
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
        flush_all_local(); /* EFER.NXE flushes nothing by itself */
        CHECK(!try_read64(TEST_VA, &v), "NXE clear: the entry is malformed");
        error = this_cpu()->trap.error;
        CHECK(this_cpu()->trap.vector == VEC_PF && (error == 9 || (!options.hosted && error == 8)),
              "vector %lu error %lx", this_cpu()->trap.vector, error);
        CHECK(try_exec(TEST_VA + PAGE), "NXE clear: another page");
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
        flush_all_local();
        CHECK(!try_exec(TEST_VA) && faulted_at(0x11, TEST_VA), "NXE set again: execution");
    }
}

static void test_reserved_bits(void)
{
    unsigned phys = cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;
    pte_t *pte = map(TEST_VA, pa_of(tagged_page(1)), PTE_RW);
    uint64_t good = pte_read(pte), bad[2] = {0, LARGE_RESERVED}, v;

    if (phys < 52 && sizeof(pte_t) == 8)
        bad[0] = 1ull << 51;
    for (unsigned i = 0; i < 2; i++) {
        pte_t *e = i == 0 ? pte : pte_at(kernel_root, TEST_VA, 2, false);
        uint64_t old = pte_read(e);
        if (bad[i] == 0)
            continue;
        pte_write(e, i == 0 ? old | bad[0] : (LARGE_BASE_PA | bad[1] | PTE_RW | PTE_PS));
        invlpg(TEST_VA);
        CHECK(!try_read64(TEST_VA, &v), "entry %lx was used", pte_read(e));
        CHECK(this_cpu()->trap.vector == VEC_PF &&
                  (this_cpu()->trap.error == 9 || (!options.hosted && this_cpu()->trap.error == 8)),
              "entry %lx: vector %lu error %lx", pte_read(e), this_cpu()->trap.vector,
              this_cpu()->trap.error);
        pte_write(e, old);
        invlpg(TEST_VA);
    }
    CHECK(try_read64(TEST_VA, &v) && v == 1, "the entry %lx is good again", good);
}

/* Trap 16: the same table under two directory entries with different rights. */
static void test_inherited(void)
{
    uint64_t rw = TEST_VA, ro = TEST_VA + LARGE_PAGE, frame = pa_of(tagged_page(0x16)), v;
    pte_t *pte = map(rw, frame, PTE_RW), *pde_rw, *pde_ro;

    pde_rw = pte_at(kernel_root, rw, 2, true);
    pde_ro = pte_at(kernel_root, ro, 2, true);
    pte_write(pde_ro, (pte_read(pde_rw) & PTE_ADDR) | PTE_P | PTE_U);
    for (unsigned r = 0; r < ops(10); r++) {
        CHECK(try_write64(rw, r), "store through the writable entry");
        CHECK(try_read64(ro, &v) && v == r, "load through the read-only entry: %lx", v);
        CHECK(!try_write64(ro, 1) && faulted_at(3, ro), "store through the read-only entry");
        CHECK(try_write64(rw, r + 1), "store through the writable entry, again");
        pte_write(pde_rw, pte_read(pde_rw) & ~PTE_W);
        pte_write(pde_ro, pte_read(pde_ro) | PTE_W);
        tlb_shootdown_all();
        CHECK(!try_write64(rw, 1) && faulted_at(3, rw), "exchanged: store");
        CHECK(try_write64(ro, r), "exchanged: store through the other");
        pte_write(pte, frame | PTE_P);
        tlb_shootdown(ro);
        tlb_shootdown(rw);
        CHECK(!try_write64(ro, 1) && faulted_at(3, ro), "both read-only");
        pte_write(pte, frame | PTE_RW);
        pte_write(pde_rw, pte_read(pde_rw) | PTE_W);
        pte_write(pde_ro, pte_read(pde_ro) & ~PTE_W);
        tlb_shootdown_all();
    }
}

static const uint8_t user_load[] = {USER_LOAD_CODE};

/* U/S of any level, in ring 3 and in ring 0, on one address. */
static void test_user_bit(void)
{
    uint64_t code = TEST_VA, data = TEST_VA + SLOT_BYTES, frame = pa_of(tagged_page(0x55)), v;
    uint64_t *page = page_alloc();

    memcpy(page, user_load, sizeof(user_load));
    map(code, pa_of(page), PTE_P | PTE_U);
    map(data, frame, PTE_RW | PTE_U);
    for (int level = 1; level <= TOP_FLAGS_LEVEL; level++) {
        pte_t *e = pte_at(kernel_root, data, level, false);
        user_run(code, 0, data);
        CHECK(trapped(VEC_USER_RETURN, 0), "level %d: ring 3 load", level);
        pte_write(e, pte_read(e) & ~PTE_U);
        tlb_shootdown_all();
        user_run(code, 0, data);
        CHECK(faulted_at(5, data), "level %d: ring 3 load without U", level);
        CHECK(try_read64(data, &v) && v == 0x55, "level %d: ring 0 load", level);
        user_run(code, 0, data);
        CHECK(faulted_at(5, data), "level %d: ring 3 load after a ring 0 load", level);
        pte_write(e, pte_read(e) | PTE_U);
        user_run(code, 0, data);
        if (this_cpu()->trap.vector == VEC_PF) /* promotion without a flush: one fault is allowed */
            user_run(code, 0, data);
        CHECK(trapped(VEC_USER_RETURN, 0), "level %d: U again", level);
        tlb_shootdown_all();
    }
}

/* CR4.UMIP keeps SGDT and SMSW from ring 3. */
static void test_umip(void)
{
    static const uint8_t user_sgdt[] = {0x0f, 0x01, 0x07, 0xcd, 0x80}; /* sgdt [rdi]; int 0x80 */
    static const uint8_t user_smsw[] = {0x0f, 0x01, 0xe0, 0xcd, 0x80}; /* smsw eax; int 0x80 */
    static const uint8_t *const code[] = {user_sgdt, user_smsw};
    uint64_t at = TEST_VA, data = TEST_VA + PAGE;
    uint64_t *page = page_alloc();

    if (cpuid(0, 0).eax < 7 || (cpuid(7, 0).ecx & CPUID7_UMIP) == 0) {
        test_skip("no UMIP");
        return;
    }
    map(at, pa_of(page), PTE_P | PTE_U);
    map(data, pa_of(page_alloc()), PTE_RW | PTE_U);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(page, code[i], sizeof(user_sgdt));
        user_run(at, data, data);
        CHECK(trapped(VEC_USER_RETURN, 0), "instruction %u with UMIP clear", i);
        write_cr4(read_cr4() | CR4_UMIP);
        user_run(at, data, data);
        CHECK(trapped(VEC_GP, 0), "instruction %u with UMIP set", i);
        write_cr4(read_cr4() & ~CR4_UMIP);
        user_run(at, data, data);
        CHECK(trapped(VEC_USER_RETURN, 0), "instruction %u with UMIP clear again", i);
    }
}

static const struct test tests[] = {
    {"prot.write_protect", test_write_protect, 1},
    {"prot.write_protect_large", test_write_protect_large, 1},
    {"prot.smep", test_smep, 1},
    {"prot.smap", test_smap, 1},
    {"prot.smap_wp", test_smap_wp, 1},
    {"prot.smap_implicit", test_smap_implicit, 1},
    {"prot.nx", test_nx, 1},
    {"prot.nxe_off", test_nxe_off, 1},
    {"prot.reserved_bits", test_reserved_bits, 1},
    {"prot.inherited", test_inherited, 1},
    {"prot.user_bit", test_user_bit, 1},
    {"prot.umip", test_umip, 1},
};
const struct test_group tests_prot = GROUP(tests);
