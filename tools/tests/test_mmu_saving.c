/* SPDX-License-Identifier: BSD-2-Clause */
/* Directed tests of what hv/mmu does to save exits: a recycled table is writable again without a
 * fault, a new root has the kernel's links at once, a table that only its writer reads is given up
 * at the first store and taken back when re-reads find nothing, walks begin below existing links.
 */
#include "tools/tests/mmu_kernel.h"

static uint64_t faults(unsigned c)
{
    return stat_of(c, STAT_faults_hidden);
}

/* The frame of a leaf table, mapped writable before and after its life as a table. */
static void test_regain(void)
{
    const gva_t window = WINDOW(PT - ROOT);

    kernel_up("batch=off fresh=off");
    tap_eq(fault(0, window.v, PFEC_W), MMU_RESUME, "a page written");
    tap_ok(spte_at(0, window) & PTE_W, "... is writable");
    tap_eq(fault(0, VA(0, 1), 0), MMU_RESUME, "it becomes a table");
    tap_ok(!(spte_at(0, window) & PTE_W), "... and is read-only");
    put(0, PD, 0, 0);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_ok(!(trace_word(&coh[0], gfn(PT)) & TRACE_TRACED), "no table any more");
    tap_ok((spte_at(0, window) & (PTE_W | PTE_D)) == (PTE_W | PTE_D), "writable again at once");
    tap_ok(trace_word(&coh[0], gfn(PT)) & TRACE_WRITER(0), "... and known as such");

    kernel_up("batch=off fresh=off");
    (void)fault(0, window.v, PFEC_W);
    (void)fault(0, VA(0, 1), 0);
    (void)fault(1, VA(0, 1), 0);
    put(0, PD, 0, 0);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_ok(!(spte_at(0, window) & PTE_W), "not while another CPU reads it as a table");

    kernel_up("batch=off fresh=off");
    (void)fault(0, window.v, PFEC_W);
    (void)fault(0, VA(0, 1), 0);
    *entry(PT_K, PT - ROOT) = PT << 12 | PTE_P | PTE_A | PTE_D; /* unseen: no flush yet */
    put(0, PD, 0, 0);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_ok(!(spte_at(0, window) & PTE_W), "not where the guest's entry has no W now");

    kernel_up("batch=off fresh=off");
    (void)fault(0, window.v, PFEC_W);
    (void)fault(0, VA(0, 1), 0);
    put(0, PT_K, PT - ROOT, (ROOT2 + 9) << 12 | PTE_P | PTE_W | PTE_A | PTE_D);
    put(0, PD, 0, 0);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    uint64_t e = spte_at(0, window);
    tap_ok(!(e & PTE_W) || (e & PTE_ADDR) != host_of(PT), "not what maps another frame by now");
}

/* Links of the kernel's half that the old root has and the new one's entries confirm. */
static void test_adopt(void)
{
    for (unsigned way = 0; way < 4; way++) {
        kernel_up(way == 3 ? "batch=off" : "");
        (void)fault(0, WINDOW(3).v, 0);
        memset(entry(ROOT2, 0), 0, PAGE_SIZE);
        *entry(ROOT2, UPPER) = *entry(ROOT, UPPER);
        if (way == 1)
            *entry(ROOT2, UPPER) = (PDPT_K + 8) << 12 | PTE_P | PTE_W | PTE_A;
        if (way == 2)
            *entry(ROOT2, UPPER) &= ~PTE_A;
        mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
        static const char *const what[] = {
            "the kernel is mapped under the new root without a fault",
            "... but not where its entry differs", "... nor where A is not set",
            "... nor with batch=off"};
        tap_eq((spte_at(0, WINDOW(3)) & PTE_P) != 0, way == 0, what[way]);
    }
    kernel_up("");
    (void)fault(0, WINDOW(3).v, 0);
    (void)fault(0, VA(0, 1), 0);
    memcpy(entry(ROOT2, 0), entry(ROOT, 0), PAGE_SIZE);
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    tap_ok(!(spte_at(0, gva(VA(0, 1))) & PTE_P), "the user's half is walked");
    kernel_up("");
    (void)fault(0, WINDOW(3).v, 0);
    *entry(ROOT2, UPPER) = *entry(ROOT, UPPER) & ~PTE_W;
    mmu_event_cr3(&mmu[0], ROOT2 << 12, false);
    tap_eq(fault(0, WINDOW(3).v, PFEC_W), MMU_FORWARD,
           "an adopted link has the new entry's rights");
}

static void test_first_store(void)
{
    kernel_up("");
    (void)fault(0, VA(0, 1), 0);
    tap_eq(fault(0, WINDOW(PT - ROOT).v, PFEC_W), MMU_RESUME,
           "a table that only its writer reads: unsync at the first store");
    tap_ok(trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC, "... and known as such");
    kernel_up("");
    (void)fault(0, VA(0, 1), 0);
    (void)fault(1, VA(0, 1), 0);
    tap_eq(fault(0, WINDOW(PT - ROOT).v, PFEC_W), MMU_EMULATE, "... but not if another CPU does");
}

/* After what makes a frame quiet, the next load of CR3 without a flush looks at all of them. */
static void test_hushed(void)
{
    kernel_up("");
    (void)fault(0, VA(0, 1), 0);
    regs[0].cr4 |= CR4_PCIDE, mmu_event_mode(&mmu[0], &regs[0]);
    mmu_event_cr3(&mmu[0], ROOT << 12, true);
    tap_ok(!mmu[0].hushed, "a load of CR3 has looked");
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    tap_ok(mmu[0].nout == 1 && mmu[0].hushed, "a frame given up is to be looked at");
    mmu_event_cr3(&mmu[0], ROOT << 12, true);
    tap_ok(mmu[0].nout == 1 && !mmu[0].hushed, "looked at, and not quiet yet");
    unsync_unlist(&mmu[0], sp_first(&mmu[0], gfn(PT)));
    tap_ok(mmu[0].hushed, "its page leaves the list: to be looked at again");
}

/* Flushes that find nothing changed in an unsync table end its being written without exits. */
static void test_quiet(bool noflush)
{
    unsigned n = 0;

    kernel_up("");
    if (noflush)
        regs[0].cr4 |= CR4_PCIDE, mmu_event_mode(&mmu[0], &regs[0]);
    (void)fault(0, VA(0, 1), 0);
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    while (n < 50 && (trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC)) {
        mmu_event_cr3(&mmu[0], ROOT << 12, noflush);
        n++;
    }
    tap_ok(n > 2 && n < 10, "left after some flushes that found nothing: %u", n);
    mmu_event_cr3(&mmu[0], ROOT << 12, noflush);
    uint64_t reread = stat_of(0, STAT_unsync_reread);
    mmu_event_cr3(&mmu[0], ROOT << 12, noflush);
    tap_eq(stat_of(0, STAT_unsync_reread), reread, "... and no longer re-read");
    tap_ok(!(spte_at(0, WINDOW(PT - ROOT)) & PTE_W), "... and read-only");

    kernel_up("");
    (void)fault(0, VA(0, 1), 0);
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    for (n = 0; n < 20; n++) {
        *entry(PT, 1) = (600ull + n) << 12 | ALL | PTE_A;
        mmu_event_cr3(&mmu[0], ROOT << 12, false);
    }
    tap_ok(trace_word(&coh[0], gfn(PT)) & TRACE_UNSYNC, "a table that changes stays unsync");
}

/* A walk that begins below the shadow's links grants no more and denies no more than the tables. */
static void test_links(void)
{
    kernel_up("batch=off");
    (void)fault(0, VA(0, 1), PFEC_U);
    put(0, PD, 0, PT << 12 | PTE_P | PTE_W | PTE_A);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 1)));
    tap_ok(forwarded(0, VA(0, 2), PFEC_U, PFEC_P | PFEC_U), "a link that lost U denies");
    put(0, PD, 0, PT << 12 | ALL | PTE_A);
    tap_eq(fault(0, VA(0, 2), PFEC_U), MMU_RESUME, "... and one that gained it grants");
    put(0, PD, 0, PT << 12 | ALL | PTE_A | PTE_NX);
    mmu_event_invlpg(&mmu[0], gva(VA(0, 2)));
    tap_ok(forwarded(0, VA(0, 2), PFEC_U | PFEC_I, PFEC_P | PFEC_U | PFEC_I), "NX of a link");
    uint64_t before = faults(0);
    *entry(PT, 5) = 605ull << 12 | PTE_P;
    tap_ok(forwarded(0, VA(0, 5), PFEC_W, PFEC_P | PFEC_W), "no W in the leaf");
    tap_eq(faults(0), before, "... is the guest's fault");
}

/* A link that loses U gives the supervisor rights by SMAP that no older entry below may have. */
static void test_link_loses_user(void)
{
    kernel_up("");
    (void)fault(0, VA(0, 1), PFEC_U);
    (void)fault(0, WINDOW(PT - ROOT).v, PFEC_W);
    *entry(PT, 1) &= ~PTE_A; /* unseen: no flush yet */
    put(0, PD, 0, PT << 12 | PTE_P | PTE_W | PTE_A);
    mmu_drain(&mmu[0]);
    tap_ok(!(spte_at(0, gva(VA(0, 1))) & PTE_P), "a link that lost U is walked anew");
    (void)fault(0, VA(0, 1), 0);
    tap_ok(*entry(PT, 1) & PTE_A, "... and A set");
}

/* The shadow of an upper table goes with its last link, and so upwards. */
static void test_empty(void)
{
    kernel_up("");
    *entry(PDPT, 0) = PD << 12 | ALL;
    *entry(PD, 1) = 0;
    (void)fault(0, VA(0, 1), 0);
    tap_ok(trace_word(&coh[0], gfn(PD)) & TRACE_TRACED, "a directory with one link is traced");
    put(0, PD, 0, 0);
    mmu_drain(&mmu[0]);
    tap_ok(!(trace_word(&coh[0], gfn(PD)) & TRACE_TRACED), "... and without it no longer");
    tap_ok(!(trace_word(&coh[0], gfn(PDPT)) & TRACE_TRACED), "... nor the table above");
    tap_ok(trace_word(&coh[0], gfn(ROOT)) & TRACE_TRACED, "the root is");
    *entry(PD, 0) = PT << 12 | ALL;
    tap_eq(fault(0, VA(0, 1), 0), MMU_RESUME, "a walk makes all of it again");
    tap_ok(trace_word(&coh[0], gfn(PD)) & TRACE_TRACED, "... traced");
    kernel_up("");
    (void)fault(0, VA(0, 1), 0);
    (void)fault(0, VA(1, 1), 0);
    put(0, PD, 0, 0);
    mmu_drain(&mmu[0]);
    tap_ok(trace_word(&coh[0], gfn(PD)) & TRACE_TRACED, "a directory with another link stays");
}

/* Faults of a CPU that goes through a whole table, every `step`th entry of which is in use. */
static unsigned whole_table(const char *options, unsigned step)
{
    unsigned n = 0;

    kernel_up(options);
    for (unsigned i = 0; i < 512; i++)
        *entry(PT, i) = (512ull + i) << 12 | ALL | (i % step ? 0 : PTE_A | PTE_D);
    for (unsigned i = 0; i < 512; i += step)
        if (!(spte_at(0, gva(VA(0, i))) & PTE_P)) {
            (void)fault(0, VA(0, i), PFEC_U);
            n++;
        }
    return n;
}

static void test_ahead(void)
{
    tap_eq(whole_table("", 1), 8, "a table in use everywhere: 8, 16, 32, 64 and 128 at a time");
    tap_eq(whole_table("", 4), 64, "a table in use here and there: 8 at a time");
    tap_eq(whole_table("batch=off", 1), 512, "batch=off: one at a time");
}

int main(void)
{
    test_ahead();
    test_empty();
    test_regain();
    test_adopt();
    test_first_store();
    test_hushed();
    test_quiet(false);
    test_quiet(true);
    test_links();
    test_link_loses_user();
    return tap_done();
}
