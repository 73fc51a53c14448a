/* SPDX-License-Identifier: BSD-2-Clause */
/* The private state of one CPU's shadow pager: shadow pages, reverse map, roots, lists. Only hv/mmu
 * uses the fields; hv/vcpu embeds the struct. Tested by tools/tests/test_mmu.c. */
#pragma once
#include "arch-x86/defs/x86.h"
#include "hv/base/assert.h"
#include "hv/coherency/consumer.h"
#include "hv/mmu/mmu.h"

#define SP_NONE UINT32_MAX
#define ENTERED_NONE (UINT32_MAX - 1) /* no slot, and not SP_NONE either */
#define MMU_ROOTS 16                  /* retained roots at most */
#define MMU_HINTS 64                  /* more than roots, so that two seldom share one */
#define MMU_XLATE 32                  /* entries of the software gva -> gpa cache */
#define MMU_PATHS 64                  /* ways of 2 MiB of a root that are remembered */
#define MMU_HOT 64                    /* recently trapped frames remembered */
#define MMU_LOST 256 /* writable mappings remembered for when their frame is no table again */
#ifndef MMU_UNSYNC_OUT
#define MMU_UNSYNC_OUT 64 /* frames this CPU writes unsync */
#endif
/* Writable sptes of one frame, and links to one shadow page, at most: what is found by walking
 * their chain must not grow with the guest. The oldest goes, at the price of a fault. */
#ifndef MMU_ALIASES
#define MMU_ALIASES 64
#define MMU_PARENTS 128
#endif
_Static_assert(MMU_PARENTS > MMU_ROOTS * 4, "links of PAE roots stay while they may be in use");
/* Pages with direct sptes at most, and the steps that the end of one counts as: a cache line each.
 * All must be able to end in one go, for who serves cannot serve. */
#ifndef MMU_DIRECT
#define MMU_DIRECT 12
#endif
#define MMU_DIRECT_WORK 64
/* Steps of work (sptes written, entries looked at) after which inbound requests are answered. */
#ifndef MMU_BATCH
#define MMU_BATCH 1024
#endif
#ifndef MMU_POOL_FLOOR
#define MMU_POOL_FLOOR 64 /* shadow pages without which an instruction might never retire */
#endif

/* What, besides (gfn, level), changes the meaning of a shadow page. One word, compared whole. */
#define ROLE_DIRECT BIT(0) /* no source table: gfn + index is mapped (fragments, unpaged) */
#define ROLE_NXE BIT(1)    /* guest EFER.NXE */
#define ROLE_WP0 BIT(2)    /* guest CR0.WP = 0; then ROLE_ACC_* are the rights inherited */
#define ROLE_ACC_W BIT(3)
#define ROLE_ACC_U BIT(4)
#define ROLE_SMEP0 BIT(5)   /* WP0 with SMEP: U=0 copies of user pages must not execute */
#define ROLE_PAEROOT BIT(6) /* four PDPTEs over direct pages: the root of an unpaged guest */
#define ROLE_PAE BIT(8)     /* source of a PAE guest */
#define ROLE_4B BIT(9)      /* source of 4-byte entries (two-level guest) */
#define ROLE_PSE BIT(10)    /* CR4.PSE there */
#define ROLE_SMAP0 BIT(13)  /* WP0 with SMAP: no U=0 copies of user pages, AC is not seen */
#define ROLE_WC BIT(14)     /* direct, of device memory: write-combining */
#define ROLE_QUAD_MASK MASK(12, 11) /* which part of a 4-byte table */
#define ROLE_QUAD(q) ((uint32_t)(q) << 11)
#define ROLE_QUAD_OF(r) (((r) >> 11) & 3)
#define ROLE_REF BIT(7) /* a table of the reference pager */

struct sp {    /* a shadow page; its 512 sptes are pool page number (index of this struct) */
    gfn_t gfn; /* source table, or first frame mapped (ROLE_DIRECT) */
    /* Where this CPU reads the source table's 8-byte entries; NULL: by gpte_raw's long way. */
    const uint64_t *table;
    uint32_t role;
    uint8_t level; /* 1..4; entries of a level-1 page are 4 KiB sptes */
    bool used, is_root;
    bool listed;                   /* on the unsync list */
    uint16_t npresent, nlinks;     /* present sptes; of them, links to shadow pages */
    uint32_t hash_next;            /* other pages of the same hash chain */
    uint32_t parent;               /* head of the list of parent entries: location + 1, 0 = none */
    uint32_t list_prev, list_next; /* unsync list */
    uint32_t orphan_next;          /* pages about to be freed */
    bool orphan;
    bool alias;           /* while this page was there, another of its table has been */
    bool claimed;         /* this CPU is a holder of the table's frame for this page: direct.c */
    uint8_t lone;         /* faults forwarded without that neighbours were filled; NEVER: no more */
    uint8_t ahead_of_use; /* stores in a row before the last one's page was used */
    uint16_t ndirect;     /* direct sptes */
    uint16_t touched1;    /* index of the entry stored to last, + 1 */
    uint8_t quiet;        /* re-reads in a row that changed nothing */
    uint8_t ahead;        /* how often the batch of the next fill is doubled */
    uint8_t barren;       /* batches in a row that found nothing */
    uint64_t stamp;       /* walk that used it last */
    uint64_t listed_at;   /* event number when listed or last re-read */
    uint64_t present[8];  /* bitmap of present sptes */
    uint64_t cut;         /* links and 2 MiB sptes lost so far, kept over its lives */
    uint64_t summit_at;   /* mmu.links when the way up from here was single: to page `summit` */
    uint32_t summit;
};

/* A spte's location: shadow page << 9 | index. Links hold location + 1, 0 = end. */
typedef uint32_t sploc_t;

struct mmu_root_slot {
    uint32_t sp;       /* SP_NONE: free */
    uint64_t clean_at; /* downgrades when its ASID (slot + 1) was last flushed; ~0: never */
    uint64_t used_at;
    uint64_t bare_links, bare_lists; /* mmu.links and mmu.lists when nothing listed was below it */
};

struct mmu_xlate {
    uint64_t page; /* gva >> 12 */
    uint64_t gen;  /* valid while equal to mmu.xlate_gen */
    uint64_t gfn;
    uint32_t access; /* the access it was checked for */
};

struct mmu_path {     /* where the links of a root lead for a region of 2 MiB */
    uint64_t region1; /* gva >> 21, + 1; 0: nothing remembered */
    uint64_t cuts;    /* valid while the sum of sp.cut of the pages above level 1, ... */
    uint64_t unlinks; /* ... which stays as it is while mmu.unlinks does */
    uint32_t root;    /* the first of those pages is this root's; */
    uint32_t up[2];   /* the others (the root again: there are fewer) */
    uint32_t sp;
    uint8_t level; /* of sp: 1, or 2 where a 2 MiB spte ends the way */
    bool w, u, nx; /* rights that all links on the way leave */
    /* The same for plain.c: of an entry's PTE_W and PTE_U, and the other low bits. */
    uint8_t grants;
    /* For plain.c. NULL: not of level 1, of another mode, or without a table of 8-byte entries. */
    const uint64_t *table;
    uint64_t must_be_0; /* in an entry */
};
_Static_assert(sizeof(struct mmu_path) == 64, "a cache line");

struct mmu_hot { /* write-trap history of a frame */
    uint64_t gfn, epoch;
    uint32_t count;
};

#define MMU_OWED 16 /* more pages are flushed as everything */

struct mmu_lost { /* a frame that was mapped writable when it became a table */
    uint64_t gfn;
    sploc_t loc; /* of that spte, + 1 */
};

struct mmu_out { /* a frame this CPU made unsync */
    uint64_t gfn;
    bool leaf;     /* counted as a leaf table gone unsync, not as a table given up */
    uint8_t stay;  /* full flushes it stays although others read it: it came back so often */
    uint8_t left;  /* of them, those to come */
    bool soon;     /* left at the next event of any kind */
    uint32_t page; /* where its shadow page was last, a guess */
};

struct mmu_left {  /* a frame left not long ago */
    uint64_t gfn1; /* + 1 */
    uint8_t stay;
};

struct mmu {
    struct mmu_config cfg;
    struct coh_cpu *coh;
    uint32_t cpu;         /* VCPU: in trace words */
    uint32_t pcpu;        /* CPU of the machine: statistics, events */
    struct mmu_regs regs; /* guest's view */
    bool paged;           /* CR0.PG */
    unsigned top;         /* level of the hardware root: 4, or 3 for PAE-format roots */
    uint64_t pdpte[4];    /* latched by the last load (mmu_latch_pdptes) */
    uint32_t role;        /* of the current mode */
    uint64_t absent;      /* the spte of what is not present: mmu_config.absent */
    uint32_t ndirect;     /* pages with direct sptes */
    bool direct_unfit;    /* a table leads to one of them that is not claimed */
    uint64_t direct_ends; /* claims ended so far */

    /* pool */
    uint32_t npages, nfree, clock;
    uint64_t *sptes;                  /* [page * 512 + index] */
    uint32_t *rlink;                  /* [location]: next in the reverse-map or parent chain */
    uint32_t *rhash;                  /* heads, location + 1 */
    uint32_t rhash_mask, rhash_shift; /* heads - 1; of a 64-bit hash to them */
    struct sp *sps;                   /* [page] */
    uint32_t *shash;                  /* heads, page or SP_NONE */
    uint32_t shash_mask;
    uint32_t free_head; /* through sp.hash_next */
    uint32_t rmap_used, rmap_high;
    uint32_t orphan_head;
    uint32_t *m2p; /* host granule -> guest granule, P2M_NONE */
    uint64_t nm2p;

    /* roots */
    struct mmu_root_slot roots[MMU_ROOTS];
    uint32_t nroots;
    uint32_t last_root;  /* shadow page of the root used before, or SP_NONE */
    uint32_t root;       /* slot in use, or SP_NONE: to be found before entry */
    uint32_t entered;    /* that of the last entry, while mmu_enter would choose it as it is; ... */
    uint64_t entered_at; /* ... downgrades then */
    uint64_t root_clock;
    uint8_t root_hint[MMU_HINTS]; /* by the frame of the table: where the root was found last */
    uint64_t (*low)[4]; /* [slot]: the PDPTEs of a PAE root, below 4 GiB for a CR3 of 32 bits */
    hpa_t low_hpa;

    uint64_t downgrades;   /* flush generation: bumped by every downgrade of a spte */
    uint64_t sets;         /* sptes changed so far */
    uint64_t links;        /* of them, in pages above level 1 */
    uint64_t unlinks;      /* of these, where something was before */
    uint64_t lists;        /* pages listed so far */
    uint64_t epoch;        /* own coherency events so far */
    uint64_t work;         /* steps so far: sptes written, entries and list members looked at */
    uint64_t served_at;    /* of them, when requests were last looked at */
    uint64_t stretch_high; /* the longest stretch without a look */
    uint64_t walk;         /* walk stamp */
    bool changed;          /* a drain or drop since the walk began */
    uint64_t flip_va;    /* page + 1 whose next store may be made by a spte with U=0 (WP0, SMAP) */
    uint64_t flip_page;  /* page + 1 that was granted last */
    uint32_t flipped[2]; /* location + 1 of such sptes, or 0: they go at the next exit */
    bool flip_entered;   /* the guest ran with them */
    bool draining;
    bool between;  /* between two instructions of the guest: flushes may be answered */
    bool owed_all; /* flushes that were answered and come before the next entry */
    uint32_t nowed;
    uint64_t owed[MMU_OWED]; /* pages */
    bool ref_huge;           /* reference pager: a 1 GiB page was seen */

    uint32_t unsync_head, unsync_tail, unsync_count;
    uint32_t zap_count;   /* of them, pages that wait for their zap: they come first */
    uint32_t upper_count; /* of them, other non-leaf pages: they come before those of leaves */
    bool upper_listed;    /* the table above the page asked for is one of them */
    uint32_t age_next;    /* where mmu_age goes on */
    uint64_t aged_at;     /* TSC */
    uint32_t list_next;   /* where whoever goes through the list goes on; moves on with the list */
    uint32_t nout;
    bool leave_soon; /* some of them */
    bool hushed;     /* re-reads of one of them may have come to be for nothing */

    uint64_t xlate_gen;
    struct mmu_types wc;

    uint64_t dying_epoch;  /* event after which dying.c looked at so many entries; tables may be */
    uint32_t dying_looked; /* linked in many places */
    uint64_t dropped_epoch1; /* epoch + 1 of the last address space dropped */
    sploc_t alive_loc1;      /* + 1: a user page found alive last, a guess; 0: none */

    struct patch_sink sink;
    const struct patch_payload *dv; /* derived value of the patch being applied */
    bool event_invlpg;              /* the drain is for one address */
    gva_t event_va;

    uint64_t spurious_va; /* last fault that found nothing to do */
    uint32_t spurious_count;
    uint32_t audit_cursor;

    /* arrays last: the fields above share a page with what every exit touches */
    struct mmu_xlate xlate[MMU_XLATE];
    struct mmu_path path[MMU_PATHS];
    struct mmu_out out[MMU_UNSYNC_OUT]; /* the oldest first */
    struct mmu_left left[MMU_HOT];
    struct mmu_hot hot[MMU_HOT];
    struct mmu_lost lost[MMU_LOST];
};

/* What mmu_code said holds while both stay what they are: the page of the root that was chosen
 * last, and the number of sptes that lost something. A page that is freed loses all of them first.
 */
static inline uint32_t mmu_code_root(const struct mmu *m)
{
    return m->last_root;
}
static inline uint64_t mmu_code_losses(const struct mmu *m)
{
    return m->downgrades;
}
/* And after losses, where no link was among them, if the spte still maps the same: a page of it
 * that is freed is unlinked first. */
#define MMU_WHERE (PTE_P | PTE_ADDR | PTE_PS | BIT(9)) /* BIT(9): SPTE_DEVICE */
static inline bool mmu_code_there(const struct mmu *m, const struct mmu_where *w)
{
    return w->loc1 && w->unlinks == m->unlinks && w->root == m->last_root &&
           (m->sptes[w->loc1 - 1] & MMU_WHERE) == w->frame;
}

/* --- the loop's quick round --- */
/* Nothing came in for this CPU's tables, no flush was promised while a handler served requests, and
 * nothing is to be taken back before an entry; then
 * inbound requests count as looked at (the caller looks at the action word before it enters). */
static inline bool mmu_quick(struct mmu *m)
{
    if (consumer_pending(m->coh) || m->flipped[0] || m->owed_all || m->nowed)
        return false;
    if (m->work != m->served_at)
        mmu_served(m);
    return true;
}
/* Would mmu_enter say what it said at the last entry, with nothing to flush? */
static inline bool mmu_same(const struct mmu *m)
{
    return m->root == m->entered && m->entered_at == m->downgrades &&
           !(m->ndirect && (m->direct_unfit || consumer_pending(m->coh)));
}
/* mmu_entered where mmu_same was true, and nothing of mmu_* ran since. */
static inline void mmu_entered_same(struct mmu *m)
{
    ASSERT(m->entered_at == m->downgrades);
    m->flip_entered = true;
}
