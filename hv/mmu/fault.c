/* SPDX-License-Identifier: BSD-2-Clause */
/* The shadow fault handler, Fig. 8, as a sequence of short steps, and translation for the emulator.
 * Tested by tools/tests/test_mmu.c. */
#include "hv/coherency/direct.h"
#include "hv/mmu/internal.h"

#define SPURIOUS_LIMIT 8

_Static_assert((MMU_WHERE & SPTE_DEVICE) != 0, "what becomes device memory is no code");

/* A #PF that the guest gets is a coherency event for its address (SDM vol. 3 4.10.4.1 "Operations
 * that Invalidate TLBs and Paging-Structure Caches"). What the walk read may be a store that is not
 * posted yet: nothing older may be used after the fault. */
static void fault_event(struct mmu *m, gva_t va)
{
    mmu_drain_event(m);
    m->epoch++;
    m->xlate_gen++;
    if (m->cfg.opt->mmu == MMU_REF) {
        ref_drop_va(m, va, false);
    } else {
        unsync_event(m);
        if (!m->upper_count || upper_sync_va(m, va))
            unsync_sync_va(m, va);
    }
}

/* What a walk found in generation `gen`, for the emulator. A is set in every entry walked, so a
 * later change of any of them is posted, and a drain or event moves xlate_gen. */
static void xlate_add(struct mmu *m, const struct walk *w, uint64_t gen)
{
    uint64_t page = w->va.v >> PAGE_SHIFT;

    m->xlate[page % MMU_XLATE] =
        (struct mmu_xlate){.page = page, .gen = gen, .gfn = w->target.v, .access = w->access};
}

/* Steps 804, 806: the guest gets the fault. */
static enum mmu_verdict forward(struct mmu *m, gva_t va, uint32_t pfec, struct mmu_fault_out *out)
{
    fault_event(m, va);
    stat_inc(m->pcpu, STAT_faults_forwarded);
    out->fault = (struct guest_fault){.cr2 = va, .pfec = pfec};
    return MMU_FORWARD;
}

/* A store at va to the traced and synced frame of `at`: emulated, done again, or to be given up to
 * its writer, and with it *fam. */
enum traced { TRACED_EMULATE, TRACED_RESUME, TRACED_GIVE_UP };

static enum traced traced_decide(struct mmu *m, gva_t va, gpa_t at, struct mmu_family *fam)
{
    gfn_t f = gpa_gfn(at);

    if (direct_keeps(m, at))
        return TRACED_EMULATE;
    bool dying = dying_found(m, va, f, fam);
    if (dying && dying_drop(m, va, f, fam))
        return TRACED_RESUME;
    return dying || unsync_wanted(m, f) ? TRACED_GIVE_UP : TRACED_EMULATE;
}

static enum mmu_verdict traced_give_up(struct mmu *m, struct walk *w, gpa_t *at,
                                       const struct mmu_family *fam)
{
    w->give_up = true;
    if (fill_leaf(m, w, at) == FILL_TRACED)
        return MMU_EMULATE;
    dying_give_up(m, w->va, w->target, fam);
    return MMU_RESUME;
}

static enum mmu_verdict traced_write(struct mmu *m, struct walk *w, gpa_t *at)
{
    struct mmu_family fam;

    switch (traced_decide(m, w->va, *at, &fam)) {
    case TRACED_EMULATE:
        return MMU_EMULATE;
    case TRACED_RESUME:
        return MMU_RESUME;
    case TRACED_GIVE_UP:
        break;
    }
    return traced_give_up(m, w, at, &fam);
}

/* The same where no walk was made so far. */
static HV_APART enum mmu_verdict traced_plain(struct mmu *m, gva_t va, uint32_t access, gpa_t *at)
{
    struct mmu_family fam;
    struct walk w;

    switch (traced_decide(m, va, *at, &fam)) {
    case TRACED_EMULATE: /* the emulator may ask for just that */
        m->xlate[(va.v >> PAGE_SHIFT) % MMU_XLATE] = (struct mmu_xlate){.page = va.v >> PAGE_SHIFT,
                                                                        .gen = m->xlate_gen,
                                                                        .gfn = gpa_gfn(*at).v,
                                                                        .access = access};
        return MMU_EMULATE;
    case TRACED_RESUME:
        return MMU_RESUME;
    case TRACED_GIVE_UP:
        break;
    }
    if (walk_guest(m, va, access, &w) != HV_OK || w.target.v != gpa_gfn(*at).v)
        return MMU_RESUME; /* it changes: the store comes again */
    return traced_give_up(m, &w, at, &fam);
}

void mmu_write_fallback(struct mmu *m, gva_t va, gpa_t at)
{
    struct walk w;
    gpa_t filled;
    uint64_t old;

    direct_revoke(m->coh,
                  gpa_gfn(at)); /* it may come to be held anew: then the store comes again */
    /* As a supervisor with AC set: what the store itself may do was decided when it faulted. */
    if (!(m->role & ROLE_WP0) && m->cfg.opt->mmu != MMU_REF &&
        walk_guest(m, va, PFEC_W | ACCESS_AC, &w) == HV_OK && w.target.v == gpa_gfn(at).v) {
        w.give_up = true;
        (void)fill_leaf(m, &w, &filled);
        return;
    }
    /* The re-executed store faults once more and is mapped writable by the fill. */
    m->flip_va = (va.v >> PAGE_SHIFT) + 1;
    if (m->cfg.opt->mmu != MMU_REF && (trace_word(m->coh, gpa_gfn(at)) & TRACE_TRACED) &&
        unsync_enter(m, gpa_gfn(at), &old))
        unsync_announce(m, gpa_gfn(at), old);
}

/* A fault that found everything in place: an implicit access under SMAP with AC=1 faults on
 * hardware for ever (trap 24); the guest must get it. */
static bool spurious(struct mmu *m, const struct walk *w, uint64_t sets)
{
    if (m->sets != sets || m->spurious_va != w->va.v) {
        m->spurious_va = w->va.v;
        m->spurious_count = 0;
        return false;
    }
    return ++m->spurious_count > SPURIOUS_LIMIT && (w->access & ACCESS_AC) && w->eff_u &&
           !(w->access & PFEC_U);
}

/* What is not plain. sets: of m when the fault came. */
static HV_APART enum mmu_verdict fault_walked(struct mmu *m, gva_t va, uint32_t pfec,
                                              uint32_t access, uint64_t sets,
                                              struct mmu_fault_out *out)
{
    struct walk w;

    switch (walk_guest(m, va, access, &w)) {
    case HV_OK:
        break;
    case HV_FAULT: {
        enum mmu_verdict verdict = forward(m, va, w.pfec, out);
        if (w.level == 1 && !(w.pfec & PFEC_P))
            direct_consider(m, w.sp, access);
        return verdict;
    }
    default:
        return MMU_RESUME; /* too much concurrent change: the guest faults again */
    }
    if (flip_needed(m, &w)) {
        out->gpa = gpa((w.target.v << PAGE_SHIFT) | (w.va.v & PAGE_MASK));
        hpa_t h; /* the emulator can do nothing with device memory of the VM's own */
        w.flip = flip_granted(m, &w) || (!m->flipped[0] && p2m_device(m->cfg.p2m, out->gpa, &h));
        if (!w.flip)
            return p2m_ptr(m->cfg.p2m, out->gpa) ? MMU_EMULATE : MMU_MMIO;
    }
    uint64_t gen = m->xlate_gen;
    switch (fill_leaf(m, &w, &out->gpa)) {
    case FILL_MMIO:
        return MMU_MMIO;
    case FILL_TRACED:
        xlate_add(m, &w, gen); /* the emulator will ask for just that */
        return traced_write(m, &w, &out->gpa);
    case FILL_DONE:
        break;
    }
    if (spurious(m, &w, sets))
        return forward(m, va, PFEC_P | (pfec & PFEC_W), out);
    stat_inc(m->pcpu, STAT_faults_hidden);
    return MMU_RESUME;
}

enum mmu_verdict mmu_fault(struct mmu *m, gva_t va, uint32_t pfec, bool rflags_ac,
                           struct mmu_fault_out *out)
{
    uint32_t access = (pfec & (PFEC_W | PFEC_U | PFEC_I)) | (rflags_ac ? ACCESS_AC : 0);
    uint64_t sets = m->sets;

    /* permission promotion needs no flush: never forward what only a stale shadow caused */
    mmu_drain_event(m);
    if (m->cfg.opt->mmu == MMU_REF) {
        ring_add(m->pcpu, RING_PF, va.v, pfec);
        return ref_fault(m, va, access, out);
    }
    switch (plain_fault(m, va, access, out)) {
    case PLAIN_FILLED:
        return MMU_RESUME; /* RING_FILL says it all */
    case PLAIN_FORWARD:
        ring_put(m->pcpu, RING_PF, va.v, pfec);
        return MMU_FORWARD;
    case PLAIN_TRACED:
        ring_put(m->pcpu, RING_PF, va.v, pfec);
        return traced_plain(m, va, access, &out->gpa);
    case PLAIN_NOT:
        break;
    }
    ring_add(m->pcpu, RING_PF, va.v, pfec);
    return fault_walked(m, va, pfec, access, sets, out);
}

const void *mmu_code(struct mmu *m, gva_t va, struct mmu_where *where)
{
    const struct mmu_path *p;

    where->loc1 = 0;
    if (m->cfg.opt->mmu == MMU_REF)
        return NULL;
    if (m->top == 3)
        va = gva(va.v & 0xffffffffu);
    p = path_of(m, va);
    if (!p)
        return NULL;
    unsigned idx = va_index(va, p->level);
    uint64_t e = spte_get(m, p->sp, idx);
    uint64_t mask = p->level == 1 ? PAGE_MASK : REGION_MASK;
    if (!(e & PTE_P) || (e & SPTE_DEVICE))
        return NULL;
    *where = (struct mmu_where){
        .root = m->last_root,
        .loc1 = m->cfg.opt->shortcuts ? (p->sp << 9 | idx) + 1 : 0,
        .unlinks = m->unlinks,
        .frame = e & MMU_WHERE,
    };
    return port_ptr(hpa((e & PTE_ADDR & ~mask) | (va.v & mask)));
}

enum hv_err mmu_translate(struct mmu *m, gva_t va, uint32_t access, gpa_t *out,
                          struct guest_fault *fault)
{
    struct mmu_xlate *x = &m->xlate[(va.v >> PAGE_SHIFT) % MMU_XLATE];
    struct walk w;
    enum hv_err err;

    if (x->page == va.v >> PAGE_SHIFT && x->gen == m->xlate_gen && x->access == access && x->gen) {
        *out = gpa((x->gfn << PAGE_SHIFT) | (va.v & PAGE_MASK));
        return HV_OK;
    }
    mmu_drain_event(m);
    err = m->cfg.opt->mmu == MMU_REF ? ref_walk(m, va, access, &w) : walk_guest(m, va, access, &w);
    if (err == HV_FAULT) {
        fault_event(m, va); /* it will be forwarded */
        *fault = (struct guest_fault){.cr2 = va, .pfec = w.pfec};
        return HV_FAULT;
    }
    TRY(err);
    w.va = va;
    xlate_add(m, &w, m->xlate_gen);
    *out = gpa((w.target.v << PAGE_SHIFT) | (va.v & PAGE_MASK));
    return HV_OK;
}
