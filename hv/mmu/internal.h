/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls between the files of hv/mmu. All: owner CPU, sub-VMM loop. */
#pragma once
#include "arch-x86/defs/x86.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/coherency/producer.h"
#include "hv/coherency/trace.h"
#include "hv/mmu/state.h"
#include "hv/port/cpu.h"

static inline uint64_t *sp_spte(struct mmu *m, uint32_t page, unsigned idx)
{
    return &m->sptes[((size_t)page << 9) | idx];
}
/* What is there as far as the pager is concerned: 0 if nothing is present, whatever the processor
 * makes of it (direct.c). No spte of a present page has the highest bit of an address. */
static inline uint64_t spte_seen(uint64_t spte)
{
    return spte & BIT(51) ? 0 : spte;
}
static inline uint64_t spte_get(struct mmu *m, uint32_t page, unsigned idx)
{
    return spte_seen(*sp_spte(m, page, idx));
}
static inline bool spte_is_direct(struct mmu *m, uint32_t page, unsigned idx)
{
    return m->absent && !*sp_spte(m, page, idx);
}
static inline hpa_t sp_hpa(const struct mmu *m, uint32_t page)
{
    return hpa(m->cfg.pool_hpa.v + ((uint64_t)page << PAGE_SHIFT));
}
static inline struct sp *sp_at(struct mmu *m, uint32_t page)
{
    ASSERT(page < m->npages);
    return &m->sps[page];
}
/* The shadow page a non-leaf spte points to. */
static inline uint32_t spte_child(const struct mmu *m, uint64_t spte)
{
    return (uint32_t)(((spte & PTE_ADDR) - m->cfg.pool_hpa.v) >> PAGE_SHIFT);
}
static inline bool spte_is_leaf(unsigned level, uint64_t spte)
{
    return level == 1 || (spte & PTE_PS) != 0;
}
static inline unsigned va_index(gva_t va, unsigned level)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.BitwiseShift): 1..4, an entry of level 1 ends each walk */
    return (unsigned)(va.v >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
}
/* Device memory, device.c: a bit of the sptes that software may use. */
#define SPTE_DEVICE BIT(9)
#define MMU_PTE_TYPE (PTE_PWT | PTE_PCD | PTE_PS) /* of a 4 KiB spte; PTE_PS is PAT there */
/* Index 5 of the host's PAT is write-combining (arch-x86/cpu/paging.c). */
#define MMU_PTE_WC (PTE_PS | PTE_PWT)
static inline bool spte_uncached(uint64_t spte)
{
    uint64_t type = spte & MMU_PTE_TYPE;
    return type == MMU_PTE_WC || type == (PTE_PCD | PTE_PWT);
}
/* A writable leaf of RAM, which the reverse map has and whose frame has a writer bit. */
static inline bool spte_mapped_rw(unsigned level, uint64_t spte)
{
    return (spte & (PTE_P | PTE_W | SPTE_DEVICE)) == (PTE_P | PTE_W) && spte_is_leaf(level, spte);
}
/* Frames mapped by one entry of a level. */
static inline uint64_t level_frames(unsigned level)
{
    return 1ull << (9 * (level - 1));
}
/* --- event.c --- */
/* Answers those inbound requests that ask for a drop of writable sptes, in the middle of whatever
 * grows with the guest. Of the pager's state that changes leaf sptes (W lost, a 2 MiB one gone),
 * their chains and mmu.lost, and nothing else: no page is freed, made or listed, no patch taken. So
 * it may be called wherever no leaf spte read, nor a position in such a chain, is used afterwards,
 * and never between the read-modify-write of a trace word and its spte (hv/coherency/README "Trace
 * words"). */
void mmu_serve_drops(struct mmu *m);
/* Answers all inbound requests, drains included. */
void serve_now(struct mmu *m);
/* The end of a stretch of work without a look at requests. */
void serve_stretch_end(struct mmu *m);
static inline void serve_point(struct mmu *m)
{
    if (m->work - m->served_at >= MMU_BATCH)
        mmu_serve_drops(m);
}
/* --- gpte.c --- */
/* Rights of a spte that mirrors a guest entry: W U NX, without the frame. */
uint64_t gpte_link_rights(uint32_t role, uint64_t gpte);
/* The guest entry behind a spte of a page with a source table. */
gpa_t sp_entry_gpa(const struct sp *s, unsigned idx);
/* The sptes of page s that the guest entry at `entry` (in its table) stands behind: *first and how
 * many. */
unsigned sp_entry_range(const struct sp *s, gpa_t entry, unsigned *first);
/* gpte_raw of any table: of 4-byte entries, in no RAM, of a page that is not in the pool. */
uint64_t gpte_raw_any(struct mmu *m, const struct sp *s, unsigned idx);
/* One atomic read of the entry in its own width; all ones if the table is not RAM. */
static inline uint64_t gpte_raw(struct mmu *m, const struct sp *s, unsigned idx)
{
    /* Hostile and concurrent: one load, the copy is checked. Partner: any guest store. */
    return s->table ? __atomic_load_n(&s->table[idx], __ATOMIC_SEQ_CST) : gpte_raw_any(m, s, idx);
}
/* In the 64-bit form every other function takes: addresses of 4 MiB pages split in 2 MiB halves. */
uint64_t gpte_norm_4b(const struct sp *s, unsigned idx, uint64_t raw);
static inline uint64_t gpte_norm(const struct sp *s, unsigned idx, uint64_t raw)
{
    return s->role & ROLE_4B ? gpte_norm_4b(s, idx, raw) : raw;
}
static inline uint64_t gpte_of(struct mmu *m, const struct sp *s, unsigned idx)
{
    return gpte_norm(s, idx, gpte_raw(m, s, idx));
}
/* Sets A or D by compare-exchange against the raw value walked; false: it changed, walk again. */
bool gpte_mark(struct mmu *m, const struct sp *s, unsigned idx, uint64_t raw, uint64_t bits);
static inline bool gpte_is_leaf(uint64_t gpte, unsigned level)
{
    return level == 1 || (level <= 3 && (gpte & PTE_PS));
}
bool gpte_reserved(const struct mmu *m, uint32_t role, uint64_t gpte, unsigned level);
/* The same of an entry of level 1, as a mask: what must be 0 in it. */
uint64_t gpte_reserved_4k(const struct mmu *m, uint32_t role);
uint32_t role_child(uint32_t role, uint64_t gpte, unsigned idx);

/* --- set.c: the one writer of sptes --- */
/* Writes one spte. Keeps the reverse map, parent links, present bitmap and writer bits, and bumps
 * the flush generation itself on a downgrade, so that no caller can forget the flush: mmu_enter
 * flushes every ASID that is older than the generation. f: first frame mapped if `spte` is a leaf.
 * Children left without a parent are freed by the caller through sp_orphan(). */
void spte_set(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte, gfn_t f);
/* Drops the read-only ones of the 64 sptes of word w of the bitmap, in a page of level 1. */
void spte_drop_word(struct mmu *m, uint32_t page, unsigned w);
/* Raw table write of the reference pager: no map, no links; same flush generation. */
void spte_set_ref(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte);
/* A spte that is not present becomes direct (direct.c), or is so no more. */
void spte_direct(struct mmu *m, uint32_t page, unsigned idx, bool on);
/* Drops every writable spte of frame f and a writable 2 MiB spte over it, then clears this
 * CPU's writer bits. */
void rmap_drop_writable(struct mmu *m, gfn_t f);
/* Frame f is no table of this CPU any more: what became read-only when it was made one is writable
 * again, which saves the fault of whoever writes the recycled page. */
void rmap_regain(struct mmu *m, gfn_t f);
bool rmap_has_writable(struct mmu *m, gfn_t f);
/* Has the frame at `h` as many writable 4 KiB sptes as it may? Only a fault makes one more then. */
bool rmap_is_full(struct mmu *m, hpa_t h);

/* --- path.c --- */
/* What path_walk does where nothing is remembered. */
const struct mmu_path *path_find(struct mmu *m, gva_t va, bool *whole);
static inline uint64_t path_cuts(const struct mmu *m, const struct mmu_path *p)
{
    return m->sps[p->root].cut + m->sps[p->up[0]].cut + m->sps[p->up[1]].cut;
}
/* From an entry in its spte, beside W: U, and NX where it is not reserved. */
static inline uint64_t path_mirrored(const struct mmu_path *p)
{
    return PTE_U | (PTE_NX & ~p->must_be_0);
}
/* Roots have a kernel's regions in common: each has its own place for them. */
static inline unsigned path_slot(uint64_t region1, uint32_t root)
{
    return (unsigned)(region1 ^ region1 >> 9 ^ root * 11ull) % MMU_PATHS;
}
/* Nothing that the way leads through was lost: nothing at all, or nothing there. */
static inline bool path_stands(const struct mmu *m, struct mmu_path *p)
{
    if (p->unlinks == m->unlinks)
        return true;
    if (p->cuts != path_cuts(m, p))
        return false;
    p->unlinks = m->unlinks;
    return true;
}
/* The same as far as it is remembered. */
static inline const struct mmu_path *path_known(struct mmu *m, gva_t va)
{
    uint64_t region1 = (va.v >> REGION_SHIFT) + 1;

    if (m->root == SP_NONE)
        return NULL;
    uint32_t root = m->roots[m->root].sp;
    struct mmu_path *p = &m->path[path_slot(region1, root)];
    return p->region1 == region1 && p->root == root && path_stands(m, p) ? p : NULL;
}

/* Where the links of the present root lead for va: to a page of level 1, or to one of level 2 with
 * a 2 MiB spte, or how far they lead: then *whole is false, and the page and level are where they
 * end. NULL: there is no root. Valid until a link or the root changes. */
static inline const struct mmu_path *path_walk(struct mmu *m, gva_t va, bool *whole)
{
    const struct mmu_path *p = path_known(m, va);

    *whole = true;
    return p ? p : path_find(m, va, whole);
}
/* The same; NULL: not so far. */
static inline const struct mmu_path *path_of(struct mmu *m, gva_t va)
{
    bool whole;
    const struct mmu_path *p = path_walk(m, va, &whole);

    return whole ? p : NULL;
}

/* --- pool.c --- */
enum hv_err pool_init(struct mmu *m);
uint32_t sp_chain(const struct mmu *m, gfn_t f); /* chain.c: which one f is in */
uint32_t sp_find(struct mmu *m, gfn_t f, unsigned level, uint32_t role);
/* First page of the chain for gfn f that shadows f (not direct), or the next after `page`. */
uint32_t sp_first(struct mmu *m, gfn_t f);
uint32_t sp_next(struct mmu *m, uint32_t page);
/* Finds or makes the page; a new one with a source table has its trace installed before this
 * returns (step 812). m->changed is set if something was served meanwhile: the walk must restart.
 * HV_NOMEM cannot happen while the floor holds. */
uint32_t sp_get(struct mmu *m, gfn_t f, unsigned level, uint32_t role);
/* Drops a page: parent entries, its sptes, children without another parent, registration. */
void sp_zap(struct mmu *m, uint32_t page);
void sp_zap_all(struct mmu *m);
/* Frees `page` if nothing refers to it any more, and so on downwards. */
void sp_orphan(struct mmu *m, uint32_t page);
/* A non-leaf page without any link left shadows nothing: with it goes its trace, so that tables
 * torn down, or built up again, are written without exits. So upwards, to the root. */
void sp_drop_empty(struct mmu *m, uint32_t page);
/* Puts `spte` at (page, idx) and frees a child that lost its last parent by it. */
void spte_replace(struct mmu *m, uint32_t page, unsigned idx, uint64_t spte, gfn_t f);
bool sp_reaches(struct mmu *m, uint32_t page, uint32_t root);
/* The same, at once where it is known. */
static inline bool sp_below(struct mmu *m, uint32_t page, uint32_t root)
{
    const struct sp *s = &m->sps[page];

    if (s->summit_at != m->links || m->sps[root].parent)
        return sp_reaches(m, page, root);
    m->work++;
    return s->summit == root;
}

/* The I bit of an error code stands for a fetch only where one can be told (SDM vol. 3 4.7). */
static inline uint32_t pfec_fetch(const struct mmu *m, uint32_t access)
{
    bool nx = (m->regs.cr4 & CR4_PAE) && (m->regs.efer & EFER_NXE);
    return nx || (m->regs.cr4 & CR4_SMEP) ? access & PFEC_I : 0;
}

/* --- walk.c --- */
struct walk {
    gva_t va;
    uint32_t access; /* PFEC_W|U|I, ACCESS_AC */
    uint32_t sp;     /* shadow page of the table holding the leaf entry, or of the failing level */
    unsigned level;  /* of the leaf entry: 1, 2, 3; 4..1 of the failing one */
    uint64_t gpte;   /* leaf entry with A (and D) as set, normalised */
    uint64_t raw;    /* as it stood in memory before A and D */
    bool eff_w, eff_u, eff_nx;
    gfn_t target;  /* 4 KiB frame that va maps to */
    uint32_t pfec; /* for HV_FAULT */
    bool by_links; /* begin below the links the shadow has; a fault may be for want of their rights
                    */
    bool flip;     /* fill_leaf: U=0, W=1 for this once although CR4.SMAP is set (CR0.WP = 0) */
    bool give_up;  /* fill_leaf: map a traced frame writable by making it unsync */
};
/* Walks the guest's tables for va through traced shadow pages, sets A and, for writes, D, links the
 * shadow pages passed. HV_OK; HV_FAULT: forward with w->pfec; HV_AGAIN: bounded restarts exhausted
 * (resume the guest and fault again). */
enum hv_err walk_guest(struct mmu *m, gva_t va, uint32_t access, struct walk *w) HV_MUST_CHECK;

/* --- fill.c --- */
enum fill_result { FILL_DONE, FILL_TRACED, FILL_MMIO };
enum fill_result fill_leaf(struct mmu *m, const struct walk *w, gpa_t *at);
/* Neighbours of (page, idx), just filled, whose entries have A; w: as far as the levels above are
 * asked they may be written. */
void fill_batch(struct mmu *m, bool w, uint32_t page, unsigned idx);
/* Is a batch worth its while? In a page where the last ones found nothing, as in memory that is
 * used for the first time, only if an entry next to the one filled is in use and has no spte. A
 * wrong answer costs a fault or a look, nothing else. */
#define BATCH_BARREN 2
static inline bool batch_likely(const struct mmu *m, const struct sp *s, uint32_t page,
                                unsigned idx)
{
    const uint64_t *spte = &m->sptes[(size_t)page << 9];
    unsigned up = (idx + 1) & 511, down = (idx - 1) & 511;

    if (s->barren < BATCH_BARREN || !s->table)
        return true;
    /* relaxed: a guess */
    return (spte[up] == m->absent && (__atomic_load_n(&s->table[up], __ATOMIC_RELAXED) & PTE_A)) ||
           (spte[down] == m->absent &&
            (__atomic_load_n(&s->table[down], __ATOMIC_RELAXED) & PTE_A));
}
/* The spte made for walk.flip, at location loc1 - 1, is for the next entry ... */
void flip_made(struct mmu *m, uint32_t loc1);

/* --- plain.c --- */
enum mmu_plain {
    PLAIN_NOT,     /* it is not: by the long way */
    PLAIN_FILLED,  /* the spte is made */
    PLAIN_FORWARD, /* out->fault is the guest's */
    PLAIN_TRACED   /* a store to out->gpa, in a frame that is traced and synced */
};
enum mmu_plain plain_fault(struct mmu *m, gva_t va, uint32_t access, struct mmu_fault_out *out);

/* --- device.c --- */
/* Does the guest's entry, of such a level, ask for write-combining? */
bool device_wc(const struct mmu *m, uint64_t gpte, unsigned level, gfn_t f);
uint64_t device_spte(hpa_t h, uint64_t rights, bool wc);
/* The 4 KiB spte of device memory in a page of level 1; FILL_MMIO: the VM owns none there. */
enum fill_result device_fill(struct mmu *m, const struct walk *w, uint32_t page, uint64_t rights);
/* What a re-read entry, of a page whose spte was one of device memory, makes of it. */
void device_repair(struct mmu *m, uint32_t page, unsigned idx, uint64_t gpte);

/* --- repair.c --- */
void repair_init(struct mmu *m);
void repair_spte(struct mmu *m, uint32_t page, unsigned idx);
void repair_entry(struct mmu *m, gpa_t entry);
/* This CPU's own patch for an entry that it has just stored, in place of a post and a drain. */
void repair_own(struct mmu *m, gpa_t entry);
/* repair_spte in a page of level 1 with 8-byte entries, which are mostly as they were. */
void repair_leaf(struct mmu *m, uint32_t page, unsigned idx);
/* Re-reads every present spte of a page. */
void repair_page(struct mmu *m, uint32_t page);

/* Would repair_4k make of entry `g` the very spte that is there? What it may have now and has not
 * (W, where the frame was traced) it is asked for. */
static inline bool is_repaired(const struct mmu *m, uint64_t must_be_0, uint64_t mirrored,
                               uint64_t spte, uint64_t g)
{
    uint64_t want = PTE_P | PTE_A | (g & mirrored);
    hpa_t h;

    if ((g & (PTE_W | PTE_D)) == (PTE_W | PTE_D))
        want |= PTE_W | PTE_D;
    return (g & (PTE_P | PTE_A)) == (PTE_P | PTE_A) && !(g & must_be_0) &&
           p2m_lookup(m->cfg.p2m, gpa(g & PTE_ADDR), &h) && (h.v | want) == spte;
}

/* --- upper.c --- */
/* Is this non-leaf page, once it is listed, re-read as one of leaves is? */
static inline bool upper_rereads(const struct mmu *m, const struct sp *s)
{
    return m->cfg.opt->upper && !m->absent && (s->level == 2 || s->level == 3) && s->table &&
           !(s->role & ~(uint32_t)ROLE_NXE);
}
/* Does the link at (page, idx) of such a page say what the guest's entry says? */
static inline bool upper_stands(struct mmu *m, uint32_t page, unsigned idx)
{
    const uint64_t same = PTE_P | PTE_A | PTE_W | PTE_U | PTE_NX | PTE_PS;
    const struct sp *s = &m->sps[page];
    uint64_t e = *sp_spte(m, page, idx);
    /* Hostile and concurrent: one load, the copy is checked. Partner: any guest store. */
    uint64_t g = __atomic_load_n(&s->table[idx], __ATOMIC_SEQ_CST);

    if (((e ^ g) & same) || (e & (PTE_P | PTE_PS)) != PTE_P)
        return false;
    const struct sp *c = &m->sps[spte_child(m, e)];
    return c->gfn.v == (g & PTE_ADDR) >> PAGE_SHIFT && !(c->role & ROLE_DIRECT);
}
/* Do all links that the way of `p` to va leads through? One that was stored over since the last
 * event may still be used, but a fault must not be the guest's for its sake. Looks that find
 * nothing count as re-reads in vain. */
bool upper_path_stands(struct mmu *m, const struct mmu_path *p, gva_t va);
/* Events: re-reads the listed ones below the present root; ... */
void upper_sync(struct mmu *m);
/* ... those on the way to va. false: it does not lead to a page of leaves. */
bool upper_sync_va(struct mmu *m, gva_t va);

/* --- unsync_list.c --- */
/* Is it dropped at the next event in place of re-read? With unsync=off every page, else a non-leaf
 * one that upper_rereads does not say otherwise of. Never changes in a page's life. */
static inline bool unsync_must_zap(const struct mmu *m, const struct sp *s)
{
    return !m->cfg.opt->unsync || (s->level > 1 && !upper_rereads(m, s));
}
/* m->out: f goes to its end; leaf: as a leaf table, else as a table given up. */
void unsync_out_add(struct mmu *m, gfn_t f, bool leaf);
void unsync_out_remove(struct mmu *m, uint32_t i);
bool unsync_is_out(const struct mmu *m, uint32_t i);
/* Gives the frame of m->out[i] up as writer. */
void unsync_leave_one(struct mmu *m, uint32_t i);

/* --- unsync.c, unsync_list.c --- */
void unsync_list(struct mmu *m, uint32_t page);
void unsync_unlist(struct mmu *m, uint32_t page);
/* At events of any kind: listed non-leaf pages (registered while unsync) go, and frames that are to
 * be left soon are left. */
void unsync_event_now(struct mmu *m);
static inline void unsync_event(struct mmu *m)
{
    if (m->zap_count || m->leave_soon)
        unsync_event_now(m);
}
/* f, which this CPU writes as a leaf table, is a table of tables as well: a guest that maps its
 * tables by themselves. It is left at the next event, or what is above would be made anew after
 * each. */
void unsync_leave_soon(struct mmu *m, gfn_t f);
/* One listed page, which may be dropped by it. Not for those that wait for their zap. */
void unsync_reread(struct mmu *m, uint32_t page);
/* Re-reads listed pages reachable from the current root (all: every one). */
void unsync_sync(struct mmu *m, bool all);
/* `page` was linked below another: what is listed under it may be staler than the last event. */
void unsync_sync_under(struct mmu *m, uint32_t page);
/* Re-reads only the leaf entries of va. */
void unsync_sync_va(struct mmu *m, gva_t va);
/* `page`, just made, shadows a leaf table that this CPU will write without exits. false: it is not
 * such a table, and not registered. */
bool unsync_fresh(struct mmu *m, uint32_t page);
/* Frame f is written by this CPU without further exits: RMW, list or zap own pages; the caller maps
 * it writable and then calls unsync_announce with the word, *old. false: not now, others hold it
 * (direct.h). */
bool unsync_enter(struct mmu *m, gfn_t f, uint64_t *old) HV_MUST_CHECK;
/* This CPU stops to write f without exits, and re-reads it. false: others do. */
bool unsync_settle(struct mmu *m, gfn_t f);
void unsync_announce(struct mmu *m, gfn_t f, uint64_t old);
/* Full flush or idle: leave what other CPUs consume, unless it is to stay, and what is quiet. */
void unsync_leave(struct mmu *m, bool idle);
/* An address space is loaded without a flush: leave what was re-read for nothing of late. */
void unsync_leave_quiet(struct mmu *m);
/* Policy: should the trapped store to f be emulated (false) or the frame be given up (true)? */
bool unsync_wanted(struct mmu *m, gfn_t f);

/* --- unsync_policy.c: costs time when it is wrong, and nothing else --- */
/* A store to traced f was trapped: is it time to give f up? Counts the trap. kept: a table of
 * tables (upper) whose pages would be re-read and not dropped, and have few links. */
bool policy_gives_up(struct mmu *m, gfn_t f, bool upper, bool kept);
bool policy_few(const struct sp *s);
/* Full flushes that f, entered now, stays for others' sake: more each time it comes back. */
uint8_t policy_stay(struct mmu *m, gfn_t f);
/* f was left, having been entered with `stay`; or is a new table now. */
void policy_left(struct mmu *m, gfn_t f, uint8_t stay);
void policy_forget(struct mmu *m, gfn_t f);
/* A listed page was re-read, and did it change? Were its re-reads of late for nothing? */
void policy_reread(struct sp *s, bool changed);
bool policy_quiet(const struct sp *s);
/* Has nothing reached a listed page for long? */
bool policy_stale(const struct mmu *m, const struct sp *s);
struct policy_use { /* who re-reads a frame, and of this CPU's pages: for nothing? */
    bool by_others, by_self, quiet;
};
/* At a full flush, or going idle: does the frame stay unsync? Counts the flush. */
bool policy_stays(struct mmu_out *o, struct policy_use use, bool idle);

/* --- dying.c --- */
/* Tables given up at once, of a larger space the others trap: all must have room in mmu.out. */
#define MMU_FAMILY (MMU_UNSYNC_OUT / 2)
struct mmu_family {
    gfn_t table[MMU_FAMILY];
    unsigned n;
    bool lived; /* there are leaf tables, or entries for large pages */
};
/* A store at va to the traced table f, of which nothing is done yet: belongs f to an address space
 * without any user page left? Then *fam holds its tables above the leaves, f among them; else none.
 */
bool dying_found(struct mmu *m, gva_t va, gfn_t f, struct mmu_family *fam);
/* Where no other CPU has them either: drops all their shadow pages, so that the store, done again,
 * and those that follow exit no more. But the present root is given up, and dropped at the next
 * event as any other. false: nothing was done. */
bool dying_drop(struct mmu *m, gva_t va, gfn_t f, const struct mmu_family *fam);
/* Gives up those but f, which the caller has given up. */
void dying_give_up(struct mmu *m, gva_t va, gfn_t f, const struct mmu_family *fam);

/* --- claim.c, direct.c, direct_end.c --- */
#define DIRECT_ROLE ROLE_NXE /* 4 levels, CR0.WP = 1 and EFER.NXE: error codes are the guest's */
/* Claims the page's table and whatever leads to it. What was claimed when one cannot be stays so:
 * that costs who stores there a question. */
bool claim_up(struct mmu *m, uint32_t page);
void direct_end_all(struct mmu *m);
/* A fault was found to be the guest's, by a not-present entry behind `page` of level 1: perhaps
 * those to come need no exit. May drop pages, and says so in m->changed. */
void direct_consider(struct mmu *m, uint32_t page, uint32_t access);
/* A fault's fill found neighbours that the guest had filled too. */
void direct_neighbours(struct sp *s);
/* A store to the traced entry at `at` was trapped: is it one after which its table stays traced? */
bool direct_keeps(struct mmu *m, gpa_t at);
/* A link from a page to another was made. */
void direct_linked(struct mmu *m, uint32_t parent, uint32_t child);
/* Before the guest runs: those that may not stay go. */
void direct_enter(struct mmu *m);
/* No entry of f, as this CPU shadows it, is left to the guest: another CPU asks, or it is listed.
 */
void direct_end(struct mmu *m, gfn_t f);
/* The page goes; nothing leads to it any more. */
void direct_dropped(struct mmu *m, uint32_t page);

/* --- fault.c --- */
/* CR0.WP = 0 with CR4.SMAP, and the supervisor stores to a user's page that is not writable. A spte
 * with U=0 would let it do so with RFLAGS.AC clear as well, and AC changes without exits: it is
 * emulated, or performed alone (emulate_native.c). What the emulator declines all the same, mostly
 * what is locked (mmu_write_fallback), has such a spte for one entry; and if the next fault is for
 * the page beside, both have one, for a store over the border needs both. */
bool flip_needed(const struct mmu *m, const struct walk *w);
bool flip_granted(struct mmu *m, const struct walk *w);

/* --- root.c --- */
/* Page of the current root, made if need be; m->changed as for sp_get. */
uint32_t root_page(struct mmu *m);
/* The root of the present mode and CR3, if it is in the cache, becomes the current one. */
bool root_retained(struct mmu *m);
void root_invalidate(struct mmu *m); /* CR3 or mode changed */

/* --- ref.c: reference pager --- */
enum mmu_verdict ref_fault(struct mmu *m, gva_t va, uint32_t access, struct mmu_fault_out *out);
uint32_t ref_root(struct mmu *m);
void ref_drop_all(struct mmu *m);
void ref_drop_va(struct mmu *m, gva_t va, bool invlpg);
enum hv_err ref_walk(struct mmu *m, gva_t va, uint32_t access, struct walk *w) HV_MUST_CHECK;
