/* SPDX-License-Identifier: BSD-2-Clause */
/* Device memory that a VM owns, in its shadow: rights, memory types, repairs, fragments, the
 * audit. And tables that something changes without a trace of it, as the DMA of a device can: no
 * assertion may depend on that not happening, and nothing foreign may be mapped. */
#include "tools/tests/mmu_rig.h"

#define BAR 0xfe000000ull
#define BAR_HOST 0x7ffe00000ull /* above 4 GiB on the host */
#define BAR_FRAMES 0x300ull
#define USER (ALL | PTE_A | PTE_D)
#define WC_PAT 0x0007040600070106ull /* entry 1 is WC, as Linux has it */
#define MISS(i) ((i) << 12)

static const struct p2m_device range = {{BAR >> 12}, {BAR_HOST >> 12}, BAR_FRAMES};

static void up(const char *options)
{
    rig_up(options, 128);
    p2m.device = &range;
    p2m.ndevices = 1;
    for (unsigned i = 0; i < 8; i++)
        *entry(PT, i) = (BAR + i * 0x1000ull) | USER;
}

static bool uncached(uint64_t e)
{
    return (e & MMU_PTE_TYPE) == (PTE_PCD | PTE_PWT);
}

static void test_leaf(void)
{
    up("");
    tap_eq(fault(0, MISS(1), PFEC_U | PFEC_W), MMU_RESUME, "a store to a BAR");
    tap_eq(stat_of(0, STAT_fill_single), 1, "one spte");
    uint64_t e = leaf(0, MISS(1));
    tap_ok((e & PTE_ADDR) == BAR_HOST + 0x1000 && (e & PTE_W) && (e & PTE_U), "is mapped there");
    tap_ok((e & PTE_NX) && uncached(e), "uncached, without the right to execute");
    tap_eq(mmu[0].rmap_used, 0, "not in the reverse map");
    tap_eq(fault(0, MISS(1), PFEC_U | PFEC_I), MMU_MMIO, "a fetch is the emulator's");
    tap_ok(!mmu_code(&mmu[0], gva(MISS(1)), &(struct mmu_where){0}), "which has no bytes of it");
    *entry(PT, 9) = (BAR + BAR_FRAMES * 0x1000) | USER;
    tap_eq(fault(0, MISS(9), PFEC_U), MMU_MMIO, "behind its end");
    *entry(PT, 2) = (BAR + 0x2000) | PTE_P | PTE_U;
    tap_eq(fault(0, MISS(2), PFEC_U), MMU_RESUME, "a load");
    tap_ok(!(leaf(0, MISS(2)) & PTE_W), "of a read-only entry");
    tap_eq(fault(0, MISS(2), PFEC_U | PFEC_W), MMU_FORWARD, "which is not written");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "the audit agrees");
}

static void test_repair(void)
{
    up("");
    (void)fault(0, MISS(1), PFEC_U | PFEC_W);
    put(1, PT, 2, (BAR + 0x5000) | USER);
    mmu_event_cr3(&mmu[0], ROOT << 12, false);
    tap_eq(leaf(0, MISS(1)) & PTE_ADDR, BAR_HOST + 0x1000, "its neighbour's change leaves it");
    put(1, PT, 1, (BAR + 0x6000) | (USER & ~PTE_W));
    mmu_event_invlpg(&mmu[0], gva(MISS(1)));
    uint64_t e = leaf(0, MISS(1));
    tap_ok(!e || ((e & PTE_ADDR) == BAR_HOST + 0x6000 && !(e & PTE_W)), "its own is followed");
    put(1, PT, 1, 600ull << 12 | USER);
    mmu_event_invlpg(&mmu[0], gva(MISS(1)));
    (void)fault(0, MISS(1), PFEC_U | PFEC_W);
    e = leaf(0, MISS(1));
    tap_ok((e & PTE_ADDR) == host_of(600) && !(e & (SPTE_DEVICE | PTE_NX)), "to RAM");
    put(1, PT, 1, (BAR + 0x1000) | USER);
    mmu_event_invlpg(&mmu[0], gva(MISS(1)));
    (void)fault(0, MISS(1), PFEC_U | PFEC_W);
    tap_ok(leaf(0, MISS(1)) & SPTE_DEVICE, "and back");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "the audit agrees");
}

static void test_types(void)
{
    struct mmu_types t = {.pat = WC_PAT};

    up("");
    mmu_memory_types(&mmu[0], &t);
    *entry(PT, 1) |= PTE_PWT;
    (void)fault(0, MISS(1), PFEC_U | PFEC_W);
    (void)fault(0, MISS(2), PFEC_U | PFEC_W);
    tap_ok((leaf(0, MISS(1)) & MMU_PTE_TYPE) == MMU_PTE_WC, "write-combining where PAT says so");
    tap_ok(uncached(leaf(0, MISS(2))), "write-back is not believed");
    t.base[0] = BAR;
    t.mask[0] = 0xff000000;
    mmu_memory_types(&mmu[0], &t);
    tap_eq(leaf(0, MISS(2)), 0, "a change is an event");
    (void)fault(0, MISS(2), PFEC_U | PFEC_W);
    tap_ok((leaf(0, MISS(2)) & MMU_PTE_TYPE) == MMU_PTE_WC, "write-combining by an MTRR");
    *entry(PT, 3) |= PTE_PCD | PTE_PWT;
    (void)fault(0, MISS(3), PFEC_U | PFEC_W);
    tap_ok(uncached(leaf(0, MISS(3))), "but not against PAT's UC");
    put(0, PT, 1, *entry(PT, 1) | PTE_PCD);
    mmu_event_invlpg(&mmu[0], gva(MISS(1)));
    (void)fault(0, MISS(1), PFEC_U | PFEC_W);
    tap_ok(uncached(leaf(0, MISS(1))), "an entry's own change of type is followed");
    *entry(PD, 1) = BAR | USER | PTE_PS | PTE_PWT;
    t.mask[0] = 0;
    mmu_memory_types(&mmu[0], &t);
    (void)fault(0, 0x200000 + 0x3000, PFEC_U | PFEC_W);
    uint64_t e = leaf(0, 0x200000 + 0x3000);
    tap_ok((e & PTE_ADDR) == BAR_HOST + 0x3000 && (e & MMU_PTE_TYPE) == MMU_PTE_WC,
           "a fragment of a large page");
    *entry(PD, 2) = BAR | USER | PTE_PS | PTE_PCD | PTE_PWT;
    (void)fault(0, 0x400000 + 0x3000, PFEC_U | PFEC_W);
    tap_ok(uncached(leaf(0, 0x400000 + 0x3000)) && leaf(0, 0x200000 + 0x3000) == e,
           "of another type has its own");
    tap_eq(mmu_audit(&mmu[0], 3), 0, "the audit agrees");
}

/* A supervisor's store to a user's read-only page, CR0.WP = 0 with SMAP (flip_needed). */
static void test_flip(void)
{
    up("");
    regs[0].cr0 &= ~CR0_WP;
    regs[0].cr4 |= CR4_SMAP;
    mmu_event_mode(&mmu[0], &regs[0]);
    *entry(PT, 1) = (BAR + 0x1000) | (USER & ~PTE_W);
    tap_eq(mmu_fault(&mmu[0], gva(MISS(1)), PFEC_P | PFEC_W, true, &out), MMU_RESUME,
           "a store that needs other rights for once");
    tap_ok((leaf(0, MISS(1)) & (PTE_W | PTE_U)) == PTE_W, "has them");
    mmu[0].flip_entered = true;
    (void)mmu_serve(&mmu[0]);
    tap_ok(!leaf(0, MISS(1)), "... until the next exit");
}

static void planted(void *arg)
{
    uint32_t page = sp_first(&mmu[0], gfn(PT));

    spte_set(&mmu[0], page, 5, *(uint64_t *)arg, gfn((BAR >> 12) + 5));
}

static void test_foreign(void)
{
    uint64_t e;

    up("");
    (void)fault(0, MISS(1), PFEC_U | PFEC_W);
    e = device_spte(hpa(BAR_HOST + 0x6000), PTE_P | PTE_W, false);
    tap_eq(fake_run(planted, &e), FAKE_PANIC, "another frame than the address has");
    e = device_spte(hpa(BAR_HOST + 0x5000), PTE_P | PTE_W, false) & ~(PTE_PCD | PTE_PWT);
    tap_eq(fake_run(planted, &e), FAKE_PANIC, "a cached one");
    e = (BAR_HOST + 0x5000) | PTE_P | PTE_W;
    tap_eq(fake_run(planted, &e), FAKE_PANIC, "one that says it is RAM");
}

/* --- trap 21 --- */
static uint64_t seed = 3;
static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed >> 33) % n;
}

/* As a device would: no trace, no patch, not even a whole entry. */
static void dma(void)
{
    static const uint64_t frames[] = {ROOT, PDPT, PD, PT, PT + 1};
    uint64_t f = frames[rnd(ARRAY_SIZE(frames))];
    uint8_t *p = (uint8_t *)entry(f, rnd(24));
    uint64_t v = (uint64_t)(rnd(2) ? 512 + rnd(1536) : ROOT + rnd(8)) << 12 | USER;

    v = rnd(4) ? v : rnd(2) ? (BAR + rnd(0x400) * 0x1000ull) | USER : (uint64_t)rnd(~0u) << 20;
    v ^= rnd(3) ? 0 : 1ull << rnd(13);
    memcpy(p, &v, rnd(3) ? 8 : 4);
}

static bool owned(struct mmu *m)
{
    for (uint32_t page = 0; page < m->npages; page++)
        for (unsigned i = 0; m->sps[page].used && i < 512; i++) {
            uint64_t e = *sp_spte(m, page, i);
            uint64_t g = (e & PTE_ADDR) >> REGION_SHIFT;
            if (!(e & PTE_P) || !spte_is_leaf(m->sps[page].level, e))
                continue;
            if (e & SPTE_DEVICE ? (e & PTE_ADDR) - BAR_HOST >= BAR_FRAMES << 12
                                : g >= m->nm2p || m->m2p[g] == P2M_NONE)
                return false;
        }
    return true;
}

static void behind_the_back(void *arg)
{
    unsigned *foreign = arg;

    for (unsigned i = 0; i < 60000; i++) {
        unsigned c = rnd(RIG_CPUS);
        uint64_t va = (uint64_t)rnd(3) * 0x200000 + rnd(24) * 0x1000ull;
        fake_set_cpu(c);
        switch (rnd(10)) {
        case 0:
        case 1:
            dma();
            break;
        case 2:
            mmu_event_invlpg(&mmu[c], gva(va));
            break;
        case 3:
            mmu_event_cr3(&mmu[c], ROOT << 12, false);
            break;
        case 4:
            put(c, rnd(2) ? PT : PD, rnd(24), (512ull + rnd(64)) << 12 | USER);
            break;
        case 5:
            if (i % 16 == 0)
                (void)mmu_audit(&mmu[c], 2); /* it may find something, and says so */
            break;
        case 6:
            mmu_idle(&mmu[c], false);
            break;
        default:
            if (fault(c, va, rnd(2) ? PFEC_U | PFEC_W : PFEC_U) == MMU_EMULATE)
                mmu_write_fallback(&mmu[c], gva(va), out.gpa);
            break;
        }
        if (i % 64 == 0)
            *foreign += !owned(&mmu[0]) || !owned(&mmu[1]);
    }
}

static void test_dma(void)
{
    static const char *const options[] = {"", "unsync=off", "coherency=locked",
                                          "large=off derived=on", "fresh=off dying=off batch=off"};

    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        unsigned foreign = 0;
        up(options[i]);
        tap_ok(fake_run(behind_the_back, &foreign) == FAKE_RETURNED,
               "tables changed by DMA break no assertion (%s) %s", options[i], fake_panic_text());
        tap_eq(foreign, 0, "... and lead nowhere but into the VM");
    }
}

int main(void)
{
    test_leaf();
    test_repair();
    test_types();
    test_flip();
    test_foreign();
    test_dma();
    rig_down();
    return tap_done();
}
