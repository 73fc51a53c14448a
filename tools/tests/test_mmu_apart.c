/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUs of one VM whose memory maps differ: each may have moved its APIC over a page of RAM. What
 * one CPU tells others, patches with derived values, WHOLE, requests and trace words, must not make
 * them map a page that they do not have, and never reaches an assertion. */
#include "tools/tests/mmu_rig.h"

#define USER (ALL | PTE_A | PTE_D)

static struct p2m own[RIG_CPUS];

static void apart_up(const char *options)
{
    rig_up(options, 128);
    for (unsigned c = 0; c < RIG_CPUS; c++) {
        own[c] = p2m;
        mmu[c].cfg.p2m = &own[c];
    }
}

/* As hv/vcpu does when the guest moves the APIC's page of CPU c; 0: away from RAM. */
static void cover(unsigned c, uint64_t f)
{
    fake_set_cpu(c);
    own[c].hole = f ? f << 12 | 1 : 0;
    mmu_reset(&mmu[c], &regs[c]);
}

static void test_derived(void)
{
    apart_up("derived=on");
    (void)fault(0, 0, PFEC_W);
    (void)fault(1, 0, PFEC_W);
    cover(1, 700);
    (void)fault(1, 0, 0);
    tap_eq(leaf(1, 0) & PTE_ADDR, host_of(512), "a page is mapped");
    put(0, PT, 0, 700ull << 12 | USER);
    fake_set_cpu(1);
    mmu_event_flush(&mmu[1]);
    tap_eq(leaf(1, 0), 0,
           "its entry now leads to the page under the APIC: no spte by a derived value");
    tap_eq(fault(1, 0, PFEC_W), MMU_MMIO, "... and an access is the APIC's");
    tap_eq(fault(0, 0, PFEC_W), MMU_RESUME, "the other CPU has RAM there");
    put(0, PT, 0, 701ull << 12 | USER);
    fake_set_cpu(1);
    mmu_event_flush(&mmu[1]);
    (void)fault(1, 0, 0);
    put(0, PT, 0, 702ull << 12 | USER);
    mmu_event_flush(&mmu[1]);
    tap_ok(stat_of(1, STAT_derived_used) == 1 && (leaf(1, 0) & PTE_ADDR) == host_of(702),
           "beside that page derived values are used");
}

static uint64_t rng = 1;
static unsigned rnd(unsigned n)
{
    rng = rng * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)((rng >> 33) % n);
}

/* Tables and pages, each of which may be under an APIC. */
static uint64_t some_frame(void)
{
    static const uint64_t tables[] = {ROOT, PDPT, PD, PT, PT + 1};
    return rnd(2) ? tables[rnd(ARRAY_SIZE(tables))] : 512 + rnd(8);
}

static uint64_t some_entry(uint64_t f)
{
    uint64_t bits = USER & ~(rnd(4) ? 0 : PTE_W) & ~(rnd(4) ? 0 : PTE_A);
    if (rnd(6) == 0)
        return 0;
    return (f == ROOT ? PDPT : f == PDPT ? PD : f == PD ? PT + rnd(2) : some_frame()) << 12 | bits;
}

static void some_access(unsigned c)
{
    uint64_t va = (uint64_t)rnd(2) << 21 | (uint64_t)rnd(8) << 12;
    enum mmu_verdict v = fault(c, va, rnd(2) ? PFEC_W : 0);
    if (v == MMU_EMULATE && rnd(2))
        mmu_write_fallback(&mmu[c], gva(va), out.gpa);
}

static void some_event(unsigned c)
{
    switch (rnd(5)) {
    case 0:
        mmu_event_flush(&mmu[c]);
        break;
    case 1:
        mmu_event_invlpg(&mmu[c], gva((uint64_t)rnd(8) << 12));
        break;
    case 2:
        mmu_event_cr3(&mmu[c], ROOT << 12, false);
        break;
    case 3:
        mmu_drain(&mmu[c]);
        break;
    default:
        mmu_idle(&mmu[c], rnd(4) == 0);
    }
}

static void some_store(unsigned c)
{
    uint64_t f = some_frame(), v = some_entry(f);
    unsigned i = rnd(8);
    if (!p2m_ptr(&own[c], gpa(f << 12)))
        return;
    if (rnd(4)) /* else a device's */
        put(c, f, i, v);
    else if (gmem_write_gpa(&mmu[c], gpa((f << 12) + i * 8ull), &v, 8) != HV_OK)
        tap_ok(false, "a device's store to RAM is refused");
}

static void test_any(const char *options)
{
    unsigned findings = 0;
    apart_up(options);
    for (unsigned n = 0; n < 20000; n++) {
        unsigned c = rnd(RIG_CPUS);
        fake_set_cpu(c);
        switch (rnd(12)) {
        case 0:
            cover(c, rnd(2) ? some_frame() : 0);
            break;
        case 1:
        case 2:
            some_event(c);
            break;
        case 3:
        case 4:
        case 5:
            some_store(c);
            break;
        default:
            some_access(c);
        }
        (void)mmu_serve(&mmu[c]);
        if (n % 64 == 0)
            findings += mmu_audit(&mmu[c], 3);
    }
    tap_eq(findings, 0, *options ? options : "by default");
}

int main(void)
{
    test_derived();
    test_any("derived=on");
    test_any("derived=on interest=off consumers=all");
    test_any("derived=on coherency=locked");
    test_any("derived=on coherency=shootdown");
    test_any("derived=on unsync=off batch=off");
    test_any("");
    return tap_done();
}
