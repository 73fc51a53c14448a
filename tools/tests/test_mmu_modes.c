/* SPDX-License-Identifier: BSD-2-Clause */
/* Directed tests of the pager's modes: CR0.WP, NX, SMEP and SMAP, reserved bits, unpaged, PAE and
 * two-level guests, the emulator's memory accesses, the reference pager, the dumps. */
#include "tools/tests/mmu_rig.h"

#define VA(table, i) ((uint64_t)(table) << 21 | (uint64_t)(i) << 12)

static void mode(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    regs[0].cr0 = cr0;
    regs[0].cr4 = cr4;
    regs[0].efer = efer;
    fake_set_cpu(0);
    mmu_event_mode(&mmu[0], &regs[0]);
}

static void test_wp0(void)
{
    rig_up("batch=off", 128);
    *entry(PT, 1) &= ~PTE_W;
    tap_ok(forwarded(0, VA(0, 1), PFEC_W, PFEC_P | PFEC_W), "WP=1: a supervisor store faults");
    mode(regs[0].cr0 & ~CR0_WP, regs[0].cr4 | CR4_SMEP, regs[0].efer);
    tap_eq(fault(0, VA(0, 1), PFEC_W), MMU_RESUME, "WP=0: it does not");
    tap_eq(leaf(0, VA(0, 1)) & (PTE_W | PTE_U | PTE_NX), PTE_W | PTE_NX,
           "u=0 w=1, and never executed under SMEP");
    tap_eq(fault(0, VA(0, 1), PFEC_U), MMU_RESUME, "then the user reads");
    tap_eq(leaf(0, VA(0, 1)) & (PTE_W | PTE_U | PTE_NX), PTE_U, "u=1 w=0");
    tap_ok(forwarded(0, VA(0, 1), PFEC_W | PFEC_U, PFEC_P | PFEC_W | PFEC_U),
           "a user's store still faults");
    put(0, PT, 1, 0);
    mmu_event_flush(&mmu[0]);
    tap_eq(leaf(0, VA(0, 1)), 0, "repairs drop such entries");
    *entry(PD, 2) = 1ull << 21 | ALL | PTE_PS;
    *entry(PD, 3) = 1ull << 21 | ALL | PTE_PS;
    opt.large = false;
    (void)fault(0, VA(2, 1), PFEC_W);
    (void)fault(0, VA(3, 1), 0);
    unsigned level;
    (void)spte_of(0, VA(3, 1), &level);
    uint32_t pd = mmu[0].roots[mmu[0].root].sp;
    for (unsigned l = 4; l > 2; l--)
        pd = spte_child(&mmu[0], *sp_spte(&mmu[0], pd, va_index(gva(VA(3, 1)), l)));
    tap_ok((*sp_spte(&mmu[0], pd, 2) & PTE_W) && !(*sp_spte(&mmu[0], pd, 3) & PTE_W) && level == 1,
           "fragments shared with a dirty page are not writable under a clean one");
}

static void test_rights(void)
{
    rig_up("batch=off", 128);
    *entry(PT, 1) |= PTE_NX;
    tap_ok(forwarded(0, VA(0, 1), PFEC_I, PFEC_P | PFEC_I), "no fetch from an NX page");
    (void)fault(0, VA(0, 1), 0);
    tap_ok(leaf(0, VA(0, 1)) & PTE_NX, "NX is mirrored");
    mode(regs[0].cr0, regs[0].cr4, regs[0].efer & ~EFER_NXE);
    tap_eq(leaf(0, VA(0, 1)), 0, "NXE=0 has shadow pages of its own");
    tap_ok(forwarded(0, VA(0, 1), 0, PFEC_P | PFEC_RSVD), "where NX is a reserved bit");
    put(0, PT, 2, 600ull << 12 | ALL | PTE_A | PTE_NX);
    mode(regs[0].cr0, regs[0].cr4, regs[0].efer | EFER_NXE);
    (void)fault(0, VA(0, 2), 0);
    mode(regs[0].cr0, regs[0].cr4, regs[0].efer & ~EFER_NXE);
    put(0, PT, 2, 601ull << 12 | ALL | PTE_A | PTE_NX);
    mmu_event_flush(&mmu[0]);
    mode(regs[0].cr0, regs[0].cr4, regs[0].efer | EFER_NXE);
    uint64_t e = leaf(0, VA(0, 2));
    tap_ok(e == 0 || (e & PTE_NX), "a repair in NXE=0 keeps NX of the pages of NXE=1");
    mode(regs[0].cr0, regs[0].cr4 | CR4_SMEP, regs[0].efer);
    tap_ok(forwarded(0, VA(0, 3), PFEC_I, PFEC_P | PFEC_I), "SMEP: no supervisor fetch");
    mode(regs[0].cr0, regs[0].cr4 | CR4_SMAP, regs[0].efer);
    tap_ok(forwarded(0, VA(0, 3), PFEC_W, PFEC_P | PFEC_W), "SMAP: no supervisor access");
    tap_eq(mmu_fault(&mmu[0], gva(VA(0, 3)), 0, true, &out), MMU_RESUME, "but with AC");
    unsigned n = 0;
    while (n < 20 && mmu_fault(&mmu[0], gva(VA(0, 3)), 0, true, &out) == MMU_RESUME)
        n++;
    tap_ok(n > 2 && n < 20 && out.fault.pfec == PFEC_P, "an implicit access faults in the end");
    *entry(ROOT, 1) = PDPT << 12 | ALL | PTE_PS;
    tap_ok(forwarded(0, 1ull << 39, 0, PFEC_P | PFEC_RSVD), "PS in the top level");
    *entry(PDPT, 1) = BIT(13) | ALL | PTE_PS;
    tap_ok(forwarded(0, 1ull << 30, 0, PFEC_P | PFEC_RSVD), "an unaligned 1 GiB page");
    *entry(PD, 7) = BIT(13) | ALL | PTE_PS;
    tap_ok(forwarded(0, VA(7, 0), 0, PFEC_P | PFEC_RSVD), "an unaligned 2 MiB page");
    *entry(PT, 7) = BIT(45) | ALL;
    tap_ok(forwarded(0, VA(0, 7), 0, PFEC_P | PFEC_RSVD), "beyond MAXPHYADDR");
    *entry(PD, 8) = 0x3000ull << 12 | ALL;
    tap_ok(forwarded(0, VA(8, 0), 0, PFEC_P | PFEC_RSVD), "a table outside RAM");
    *entry(PDPT, 2) = ALL | PTE_PS;
    tap_eq(fault(0, (2ull << 30) | VA(1, 5), PFEC_W | PFEC_U), MMU_RESUME, "a 1 GiB page");
    tap_ok(leaf(0, (2ull << 30) | VA(1, 5)) & PTE_W, "in fragments or 2 MiB sptes");
}

/* The spte of CPU 0 that mirrors the directory's entry i. */
static uint64_t link_of(unsigned i)
{
    uint32_t page = mmu[0].roots[mmu[0].root].sp;
    for (unsigned l = 4; l > 2; l--)
        page = spte_child(&mmu[0], *sp_spte(&mmu[0], page, va_index(gva(VA(i, 0)), l)));
    return *sp_spte(&mmu[0], page, i);
}

/* A table is written without exits, then its directory entry gets more rights: old translations
 * must not be had with the new rights, which never stood together in the guest's tables. */
static void test_link_rights(void)
{
    rig_up("batch=off", 128);
    *entry(PD, 0) = PT << 12 | PTE_P | PTE_NX;
    (void)fault(0, VA(0, 1), 0);
    mmu_write_fallback(&mmu[0], gva(PT << 12), gpa(PT << 12));
    *entry(PT, 1) = 601ull << 12 | ALL | PTE_A | PTE_D;
    put(0, PD, 0, PT << 12 | PTE_P | PTE_A | PTE_W);
    mmu_drain(&mmu[0]);
    tap_eq(link_of(0) & (PTE_P | PTE_NX | PTE_W), PTE_P | PTE_NX,
           "a link repaired gets no more rights while what is below may be old");
    tap_eq(fault(0, VA(0, 1), PFEC_I), MMU_RESUME, "the walk gives them");
    tap_eq(link_of(0) & (PTE_P | PTE_NX | PTE_W), PTE_P | PTE_W, "all");
    tap_eq(leaf(0, VA(0, 1)) & PTE_ADDR, host_of(601), "and what is below is new");
    put(0, PD, 0, PT << 12 | PTE_P | PTE_A | PTE_W | PTE_U);
    mmu_drain(&mmu[0]);
    tap_eq(link_of(0), 0, "what becomes the user's is dropped");
}

static void test_unpaged(void)
{
    unsigned level;
    rig_up("unsync=off", 128);
    (void)fault(0, VA(0, 1), 0);
    mode(CR0_PE, CR4_PAE, EFER_LME);
    tap_eq(fault(0, 0x403123, PFEC_W), MMU_RESUME, "paging off");
    tap_ok((spte_of(0, 0x403123, &level) & PTE_W) && level == 2, "the identity, in 2 MiB pieces");
    tap_eq(fault(0, PT << 12, PFEC_W), MMU_EMULATE, "a table that shadows of paging are kept of");
    mmu_idle(&mmu[0], true);
    tap_eq(fault(0, PT << 12, PFEC_W), MMU_RESUME, "and none");
    tap_eq(fault(0, 0x3000000, 0), MMU_MMIO, "no RAM");
}

/* PDPTEs in frame 40, directory 41, table 42. */
static void pae_up(const char *options)
{
    uint64_t latched[4] = {41ull << 12 | PTE_P, 0, 0x3000ull << 12 | PTE_P, 0};
    rig_up(options, 128);
    *entry(41, 0) = 42ull << 12 | ALL;
    *entry(41, 1) = 1ull << 21 | ALL | PTE_PS;
    *entry(42, 1) = 600ull << 12 | ALL;
    regs[0].cr3 = 40ull << 12;
    mmu_latch_pdptes(&mmu[0], latched);
    mode(CR0_PE | CR0_PG | CR0_WP, CR4_PAE, EFER_NXE);
}

static void test_pae(const char *options)
{
    uint64_t latched[4] = {43ull << 12 | PTE_P, 0, 0, 0};
    pae_up(options);
    tap_eq(fault(0, VA(0, 1), PFEC_W | PFEC_U), MMU_RESUME, "PAE: a 4 KiB page");
    tap_eq(leaf(0, VA(0, 1)) & (PTE_ADDR | PTE_W), host_of(600) | PTE_W, "mapped");
    tap_eq(fault(0, VA(1, 9), 0), MMU_RESUME, "a 2 MiB page");
    tap_ok(forwarded(0, 1ull << 30, 0, 0), "a PDPTE that is not present");
    tap_ok(forwarded(0, 2ull << 30, 0, PFEC_P | PFEC_RSVD), "a directory outside RAM");
    *entry(42, 2) = BIT(60) | 600ull << 12 | ALL;
    tap_ok(forwarded(0, VA(0, 2), 0, PFEC_P | PFEC_RSVD), "bits 62..52 are reserved");
    *entry(43, 0) = 42ull << 12 | ALL;
    *entry(42, 3) = 601ull << 12 | ALL;
    mmu_latch_pdptes(&mmu[0], latched);
    mmu_event_cr3(&mmu[0], regs[0].cr3, false);
    tap_ok(leaf(0, VA(1, 9)) == 0 && forwarded(0, VA(1, 9), 0, 0), "the PDPTEs are those latched");
    tap_eq(fault(0, VA(0, 3), 0), MMU_RESUME, "through the new directory");
    latched[0] = 44ull << 12 | PTE_P;
    *entry(44, 0) = 45ull << 12 | ALL;
    *entry(45, 3) = 602ull << 12 | ALL;
    mmu_latch_pdptes(&mmu[0], latched); /* by CR0.CD: no event follows */
    tap_ok(leaf(0, VA(0, 3)) == 0 && fault(0, VA(0, 3), 0) == MMU_RESUME &&
               (leaf(0, VA(0, 3)) & PTE_ADDR) == host_of(602),
           "PDPTEs loaded by what is no event count at once");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "the audit agrees");
}

static void put4(uint64_t f, unsigned i, uint32_t v)
{
    (void)producer_exchange(&coh[0], gpa((f << 12) + i * 4ull), (uint32_t *)entry(f, 0) + i, 4, v);
}
static uint32_t get4(uint64_t f, unsigned i)
{
    return ((uint32_t *)entry(f, 0))[i];
}

static void test_two_level(const char *options)
{
    bool shadow;
    rig_up(options, 128);
    shadow = opt.mmu == MMU_SHADOW;
    put4(40, 0, 41u << 12 | ALL);
    put4(40, 1, 4u << 20 | ALL | PTE_PS);           /* 4 MiB at 4 MiB */
    put4(40, 2, 4u << 20 | BIT(21) | ALL | PTE_PS); /* reserved */
    put4(40, 3, 4u << 20 | BIT(20) | ALL | PTE_PS); /* PSE-36: beyond MAXPHYADDR or RAM */
    put4(40, 515, 42u << 12 | ALL);                 /* the third quarter */
    put4(41, 1, 600u << 12 | ALL);
    put4(41, 513, 601u << 12 | ALL); /* the second half of the table */
    put4(42, 600, 602u << 12 | ALL);
    regs[0].cr3 = 40ull << 12;
    mode(CR0_PE | CR0_PG | CR0_WP, CR4_PSE, 0);
    tap_eq(fault(0, VA(0, 1), PFEC_W | PFEC_U), MMU_RESUME, "two-level: a page");
    tap_eq(leaf(0, VA(0, 1)) & (PTE_ADDR | PTE_W), host_of(600) | PTE_W, "mapped");
    tap_eq(get4(41, 1) & (PTE_A | PTE_D), PTE_A | PTE_D, "A and D in the 4-byte entry");
    tap_eq(fault(0, VA(1, 1), 0), MMU_RESUME, "second half of a table");
    tap_eq(leaf(0, VA(1, 1)) & PTE_ADDR, host_of(601), "mapped");
    tap_eq(fault(0, 515ull << 22 | 600ull << 12, 0), MMU_RESUME, "another quarter");
    tap_eq(leaf(0, 515ull << 22 | 600ull << 12) & PTE_ADDR, host_of(602), "mapped");
    tap_eq(fault(0, VA(2, 5), PFEC_W), MMU_RESUME, "a 4 MiB page, first half");
    tap_eq(fault(0, VA(3, 5), 0), MMU_RESUME, "second half");
    tap_ok((leaf(0, VA(2, 5)) & PTE_ADDR & ~REGION_MASK) == host_of(1024) &&
               (leaf(0, VA(3, 5)) & PTE_ADDR & ~REGION_MASK) == host_of(1536),
           "both 2 MiB sptes");
    tap_ok(forwarded(0, VA(4, 0), 0, PFEC_P | PFEC_RSVD), "bit 21 of a 4 MiB page");
    tap_ok(fault(0, VA(6, 0), 0) != MMU_RESUME, "PSE-36 reaches no RAM");
    put4(40, 1, 0);
    put4(41, 513, 603u << 12 | ALL | PTE_A);
    mmu_event_flush(&mmu[0]);
    tap_ok(!leaf(0, VA(2, 5)) && !leaf(0, VA(3, 5)), "one entry, two sptes repaired");
    uint64_t e = leaf(0, VA(1, 1));
    tap_ok(shadow ? (e & PTE_ADDR) == host_of(603) : !e, "a 4-byte entry repaired");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "the audit agrees");
    mode(CR0_PE | CR0_PG | CR0_WP, 0, 0);
    put4(40, 1, 41u << 12 | ALL | PTE_PS);
    tap_eq(fault(0, VA(2, 1), 0), MMU_RESUME, "without CR4.PSE the bit means nothing");
    tap_eq(leaf(0, VA(2, 1)) & PTE_ADDR, host_of(600), "a table");
}

/* Bit 21 of a 4 MiB page's entry is reserved on a processor with 52 address bits as on any other.
 */
static void test_widest(const char *options)
{
    rig_up(options, 128);
    mmu[0].cfg.phys_bits = 52;
    put4(40, 2, 4u << 20 | BIT(21) | ALL | PTE_PS);
    put4(40, 3, 4u << 20 | ALL | PTE_PS);
    regs[0].cr3 = 40ull << 12;
    mode(CR0_PE | CR0_PG | CR0_WP, CR4_PSE, 0);
    tap_ok(forwarded(0, VA(4, 0), PFEC_U, PFEC_P | PFEC_U | PFEC_RSVD), "52 bits: bit 21");
    tap_eq(fault(0, VA(6, 0), PFEC_U), MMU_RESUME, "... and without it");
}

/* RAM at 4 GiB, which a 4 MiB page reaches by bits 20..13 of its entry (PSE-36). */
static void test_pse36(const char *options)
{
    enum { HIGH = 2048, N = HIGH + 2 };
    static uint32_t high[N];
    rig_up(options, 128);
    for (unsigned g = 0; g < N; g++)
        high[g] = g < 2 ? granule[g] : g >= HIGH ? granule[g - HIGH + 2] : P2M_NONE;
    p2m = (struct p2m){.granule = high, .ngranules = N};
    rig_down();
    words = calloc(1, coherency_bytes(N * 512));
    coherency_init(&co, RIG_CPUS, N * 512, words, matrix, &opt);
    for (unsigned c = 0; c < RIG_CPUS; c++)
        rig_cpu(c, 128);
    put4(40, 1, BIT(13) | ALL | PTE_PS);
    regs[0].cr3 = 40ull << 12;
    mode(CR0_PE | CR0_PG | CR0_WP, CR4_PSE, EFER_NXE);
    tap_eq(fault(0, VA(2, 5), PFEC_W), MMU_RESUME, "PSE-36: the first half of 4 MiB at 4 GiB");
    tap_eq(fault(0, VA(3, 5), PFEC_W), MMU_RESUME, "the second half");
    tap_ok((leaf(0, VA(2, 5)) & PTE_ADDR & ~REGION_MASK) == (uint64_t)high[HIGH] << REGION_SHIFT &&
               (leaf(0, VA(3, 5)) & PTE_ADDR & ~REGION_MASK) == (uint64_t)high[HIGH + 1]
                                                                    << REGION_SHIFT,
           "both are what lies there");
    tap_eq(get4(40, 1) & (PTE_A | PTE_D), PTE_A | PTE_D, "A and D in the one entry");
    put4(40, 2, BIT(20) | ALL | PTE_PS);
    tap_ok(fault(0, VA(4, 0), 0) == MMU_MMIO && out.gpa.v == BIT(39), "bit 20 is address bit 39");
    tap_ok(forwarded(0, VA(6, 0), PFEC_I, 0), "no I bit without PAE, whatever EFER.NXE");
    mode(regs[0].cr0, CR4_PSE | CR4_SMEP, EFER_NXE);
    tap_ok(forwarded(0, VA(6, 0), PFEC_I, PFEC_I), "unless there is SMEP");
    mode(regs[0].cr0, CR4_PSE, EFER_NXE);
    mmu[0].cfg.phys_bits = 36;
    put4(40, 2, BIT(17) | ALL | PTE_PS); /* address bit 36 */
    mmu_event_flush(&mmu[0]);
    tap_ok(forwarded(0, VA(4, 0), 0, PFEC_P | PFEC_RSVD), "beyond a MAXPHYADDR of 36: reserved");
}

static void test_gmem_checks(void)
{
    struct guest_fault gf;
    gpa_t at;
    uint8_t buf[80] = {0};
    uint64_t old;
    bool stored;
    struct mmu *m = &mmu[0];
    rig_up("", 128);
    tap_eq(gmem_read(m, gva(0), buf, 0, 0, &gf, &at), HV_RANGE, "no byte");
    tap_eq(gmem_write(m, gva(0), buf, 65, 0, &gf, &at), HV_RANGE, "too many");
    tap_eq(gmem_xchg(m, gva(0x1000), 3, 1, 0, &old, &gf, &at), HV_RANGE, "an odd width");
    tap_eq(gmem_xchg(m, gva(0x1005), 4, 1, 0, &old, &gf, &at), HV_UNSUPPORTED, "across 8 bytes");
    tap_eq(gmem_cmpxchg(m, gva(0x1004), 8, 0, 1, 0, &old, &stored, &gf, &at), HV_UNSUPPORTED,
           "compare-exchange too");
    *entry(PT, 7) = 0;
    memset(entry(512 + 6, 0), 0x11, 4096);
    memset(buf, 0x22, sizeof(buf));
    tap_ok(gmem_write(m, gva(VA(0, 7) - 3), buf, 8, 0, &gf, &at) == HV_FAULT &&
               gf.cr2.v == VA(0, 7) && gf.pfec == PFEC_W,
           "a crossing whose second page is missing");
    tap_eq(*entry(512 + 6, 511), 0x1111111111111111ull, "writes nothing");
    *entry(PT, 8) = 0x3000ull << 12 | ALL;
    tap_ok(gmem_read(m, gva(VA(0, 8) + 16), buf, 4, 0, &gf, &at) == HV_MMIO &&
               at.v == (0x3000ull << 12) + 16,
           "not RAM");
    tap_eq(gmem_write(m, gva(VA(0, 8)), buf, 4, 0, &gf, &at), HV_MMIO, "nor for a store");
    tap_eq(gmem_write(m, gva(VA(0, 1)), buf, 4, PFEC_U, &gf, &at), HV_OK, "the user may");
    *entry(PT, 2) &= ~PTE_U;
    tap_ok(gmem_read(m, gva(VA(0, 2)), buf, 4, PFEC_U, &gf, &at) == HV_FAULT &&
               gf.pfec == (PFEC_P | PFEC_U),
           "unless the page is the supervisor's");
}

static void test_gmem_copies(void)
{
    struct guest_fault gf;
    gpa_t at;
    uint8_t in[64], got[64], big[9000], back[9000];
    uint64_t old;
    bool stored, same = true;
    struct mmu *m = &mmu[0];
    rig_up("", 128);
    for (unsigned i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 7 + 1);
    for (unsigned n = 1; n <= 64; n++)
        for (unsigned off = 4096 - 70; off < 4096; off += 3) {
            memset(got, 0, sizeof(got));
            same &= gmem_write(m, gva(VA(0, 3) + off), in, n, 0, &gf, &at) == HV_OK &&
                    gmem_read(m, gva(VA(0, 3) + off), got, n, 0, &gf, &at) == HV_OK &&
                    !memcmp(in, got, n);
        }
    tap_ok(same, "every length, within a page and across two");
    tap_eq(gmem_xchg(m, gva(0x1006), 2, 0xabcd, 0, &old, &gf, &at), HV_OK, "exchange");
    tap_eq(gmem_cmpxchg(m, gva(0x1006), 2, 0xabcd, 0x1234, 0, &old, &stored, &gf, &at), HV_OK,
           "compare-exchange");
    tap_ok(stored && old == 0xabcd && *entry(513, 0) >> 48 == 0x1234, "stored");
    tap_ok(gmem_cmpxchg(m, gva(0x1006), 2, 1, 2, 0, &old, &stored, &gf, &at) == HV_OK && !stored &&
               old == 0x1234,
           "not stored");
    for (unsigned i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 13 + i / 256);
    tap_eq(gmem_write_gpa(m, gpa(0x301001), big, sizeof(big)), HV_OK, "bulk by physical address");
    tap_eq(gmem_read_gpa(m, gpa(0x301001), back, sizeof(back)), HV_OK, "and back");
    tap_ok(!memcmp(big, back, sizeof(big)), "the same bytes");
    uint64_t end = RIG_GRANULES * REGION_SIZE;
    tap_eq(gmem_write_gpa(m, gpa(end - 5), big, 6), HV_RANGE, "beyond RAM");
    tap_eq(gmem_read_gpa(m, gpa(~0ull - 3), back, 8), HV_RANGE, "around the end");
    (void)fault(0, VA(0, 1), 0);
    uint64_t zero[2] = {0};
    fake_set_cpu(1);
    tap_eq(gmem_write_gpa(&mmu[1], gpa(PT << 12), zero, 16), HV_OK, "bulk over a table");
    fake_set_cpu(0);
    mmu_event_flush(m);
    tap_ok(stat_of(1, STAT_stores_bulk) && !leaf(0, VA(0, 1)), "reaches its consumer");
}

static void test_reference(void)
{
    unsigned level;
    rig_up("mmu=ref", 128);
    tap_eq(fault(0, VA(0, 1), PFEC_W), MMU_RESUME, "mmu=ref: a store");
    tap_eq(spte_of(0, VA(0, 1), &level) & (PTE_ADDR | PTE_W), host_of(513) | PTE_W, "mapped");
    *entry(PT, 1) = 0;
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_eq(leaf(0, VA(0, 1)), 0, "INVLPG drops it");
    tap_ok(forwarded(0, VA(0, 1), 0, 0), "and the fault is the guest's");
    struct guest_fault gf;
    gpa_t at;
    tap_eq(mmu_translate(&mmu[0], gva(VA(0, 1)), 0, &at, &gf), HV_FAULT, "for the emulator too");
    tap_eq(mmu_translate(&mmu[0], gva(VA(0, 2)), 0, &at, &gf), HV_OK, "translated");
    tap_eq(at.v, 514ull << 12, "to its frame");
    *entry(PDPT, 1) = ALL | PTE_PS;
    tap_eq(fault(0, (1ull << 30) | VA(1, 5), 0), MMU_RESUME, "a 1 GiB page");
    mmu_event_invlpg(&mmu[0], gva(1ull << 30));
    tap_eq(leaf(0, (1ull << 30) | VA(1, 5)), 0, "one INVLPG drops all of it");
    for (unsigned t = 0; t < 200; t++)
        *entry(PD, t) = PT << 12 | ALL;
    bool good = true;
    for (unsigned t = 0; t < 200; t++)
        good &= fault(0, VA(t, 2), 0) == MMU_RESUME &&
                (leaf(0, VA(t, 2)) || (fault(0, VA(t, 2), 0) == MMU_RESUME && leaf(0, VA(t, 2))));
    tap_ok(good, "more tables than the pool holds");
    *entry(PT, 3) &= ~PTE_W;
    *entry(PT, 4) |= PTE_NX;
    *entry(PT, 5) |= BIT(45);
    tap_ok(forwarded(0, VA(0, 3), PFEC_W, PFEC_P | PFEC_W), "rights");
    tap_ok(forwarded(0, VA(0, 4), PFEC_I, PFEC_P | PFEC_I), "NX");
    tap_ok(forwarded(0, VA(0, 5), 0, PFEC_P | PFEC_RSVD), "reserved bits");
    *entry(PT, 6) = 0x3000ull << 12 | ALL;
    tap_eq(fault(0, VA(0, 6), 0), MMU_MMIO, "no RAM");
    mode(regs[0].cr0 & ~CR0_WP, regs[0].cr4 | CR4_SMEP, regs[0].efer);
    tap_eq(fault(0, VA(0, 3), PFEC_W), MMU_RESUME, "WP=0");
    tap_eq(leaf(0, VA(0, 3)) & (PTE_W | PTE_U | PTE_NX), PTE_W | PTE_NX, "u=0 w=1 nx=1");
    mode(regs[0].cr0 | CR0_WP, regs[0].cr4 | CR4_SMAP, regs[0].efer);
    tap_ok(forwarded(0, VA(0, 7), 0, PFEC_P), "SMAP");
    mode(CR0_PE, CR4_PAE, EFER_LME);
    tap_eq(fault(0, 0x403123, PFEC_W), MMU_RESUME, "paging off");
    tap_eq(leaf(0, 0x403123) & PTE_ADDR, host_of(0x403), "the identity");
    mmu_idle(&mmu[0], true);
    tap_eq(mmu_audit(&mmu[0], 3), 0, "it has nothing to audit");
}

static char dumped[8192];
static void emit(const char *line)
{
    strncat(dumped, line, sizeof(dumped) - strlen(dumped) - 2);
    strcat(dumped, "\n");
}

static void test_dump(void)
{
    static const char *const modes[] = {"", "mmu=ref"};
    for (unsigned k = 0; k < 2; k++) {
        rig_up(modes[k], 128);
        (void)fault(0, VA(0, 1), PFEC_W);
        dumped[0] = 0;
        mmu_dump_walk(&mmu[0], gva(VA(0, 1)), emit);
        tap_ok(strstr(dumped, "0x0000000000001000"), "a dump names the address");
        if (k == 0)
            tap_ok(strstr(dumped, "level 1") && strstr(dumped, "level 4"), "and every level");
        dumped[0] = 0;
        mmu_dump(&mmu[0], emit);
        tap_ok(strstr(dumped, "mmu:") && strstr(dumped, "downgrades"), "a dump of the state");
    }
    pae_up("");
    (void)fault(0, VA(0, 1), 0);
    dumped[0] = 0;
    mmu_dump_walk(&mmu[0], gva(VA(0, 1)), emit);
    tap_ok(strlen(dumped) > 20, "a PAE guest's walk");
    mode(CR0_PE, 0, 0);
    dumped[0] = 0;
    mmu_dump_walk(&mmu[0], gva(VA(0, 1)), emit);
    tap_ok(strlen(dumped) > 20, "nothing to walk without paging");
}

int main(void)
{
    fake_reset();
    test_wp0();
    test_rights();
    test_link_rights();
    test_unpaged();
    test_pae("batch=off");
    test_two_level("");
    test_two_level("mmu=ref");
    test_widest("");
    test_widest("mmu=ref");
    test_pae("mmu=ref");
    test_pse36("");
    test_pse36("mmu=ref");
    test_gmem_checks();
    test_gmem_copies();
    test_reference();
    test_dump();
    rig_down();
    return tap_done();
}
