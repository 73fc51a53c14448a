/* SPDX-License-Identifier: BSD-2-Clause */
/* The shadow pager of one CPU, private to it: no lock, no atomics of its own. Public interface for
 * hv/vcpu. Tested by tools/tests/test_mmu*.c. */
#pragma once
#include "hv/coherency/coherency.h"
#include "hv/mem/p2m.h"

struct mmu; /* layout in hv/mmu/state.h, private to hv/mmu (hv/vcpu embeds it in struct subvmm) */

/* The guest's view of the registers that shape translation. */
struct mmu_regs {
    uint64_t cr0, cr3, cr4, efer;
};
/* Access kinds, in the bit layout of a page-fault error code. */
#define PFEC_P BIT(0)
#define PFEC_W BIT(1)
#define PFEC_U BIT(2)
#define PFEC_RSVD BIT(3)
#define PFEC_I BIT(4)
/* Ours, for mmu_translate only: an implicit supervisor access (descriptor table), or EFLAGS.AC set.
 */
#define ACCESS_AC BIT(16) /* explicit supervisor access with RFLAGS.AC=1: SMAP does not apply */

struct guest_fault { /* what to inject: #PF with cr2 and error code */
    gva_t cr2;
    uint32_t pfec;
};

enum mmu_verdict {
    MMU_RESUME,  /* shadow repaired: run the guest again */
    MMU_FORWARD, /* fault->cr2/pfec go to the guest */
    MMU_EMULATE, /* store to a traced frame: emulate the instruction (out->gpa is where it hit) */
    MMU_MMIO,    /* not RAM: emulate against the device bus */
};
struct mmu_fault_out {
    struct guest_fault fault;
    gpa_t gpa;
};

/* Present, with all address bits set: one beyond MAXPHYADDR is reserved, and those within name no
 * memory that could be cached (trap 34). */
#define MMU_ABSENT (MASK(51, 12) | 1)

struct mmu_config {
    struct coh_cpu *coh;
    const struct p2m *p2m;
    const struct hv_options *opt;
    uint32_t cpu;
    void *pool;     /* page-aligned private memory for shadow pages and their bookkeeping */
    hpa_t pool_hpa; /* its host-physical address, contiguous */
    uint64_t pool_bytes;
    uint32_t nasids;    /* usable ASIDs are 1..nasids-1 */
    unsigned phys_bits; /* guest MAXPHYADDR for reserved bits */
    /* 0: every page fault exits, and what is not present is 0. Else faults by an entry that is not
     * present (P=0) reach a guest in 64-bit mode, all others exit: this value, MMU_ABSENT, makes
     * the processor report a reserved bit. */
    uint64_t absent;
};
/* Size of struct mmu, to be embedded. */
size_t mmu_sizeof(void);
/* Bytes of memory for a pool of so many pages with their bookkeeping, on a machine whose memory
 * spans so many granules of 2 MiB. */
uint64_t mmu_pool_bytes(uint64_t pages, uint64_t granules);
/* Context: owner CPU, before its loop. Returns HV_NOMEM if the pool is below the floor. */
enum hv_err mmu_init(struct mmu *m, const struct mmu_config *cfg) HV_MUST_CHECK;
/* INIT/SIPI and power-on: forgets the guest's translations (a coherency event), sets the mode. */
void mmu_reset(struct mmu *m, const struct mmu_regs *regs);

/* --- hv/coherency/README "Coherency events". Each drains, repairs and schedules the flush. --- */
/* After the guest changed CR0/CR4/EFER: `regs` is the new view. */
void mmu_event_mode(struct mmu *m, const struct mmu_regs *regs);
/* PAE guests: the four PDPTEs that this MOV CR3 or mode change loads, already checked by the
 * caller; before the event itself. They stay in force until the next load (SDM vol. 3 4.4.1). */
void mmu_latch_pdptes(struct mmu *m, const uint64_t pdpte[4]);
/* MOV CR3. noflush: bit 63 with PCIDE. */
void mmu_event_cr3(struct mmu *m, uint64_t cr3, bool noflush);
void mmu_event_invlpg(struct mmu *m, gva_t va);
/* INVPCID, operands checked by the caller; type 0..3, pcid and va as its descriptor has them. */
void mmu_event_invpcid(struct mmu *m, unsigned type, uint64_t pcid, gva_t va);
/* CR4.PGE toggles and the like: everything of all roots is synchronised. */
void mmu_event_flush(struct mmu *m);

/* A #PF exit (Fig. 8). pfec: as the hardware reported it; rflags_ac: RFLAGS.AC; cpl 0..3. */
enum mmu_verdict mmu_fault(struct mmu *m, gva_t va, uint32_t pfec, bool rflags_ac,
                           struct mmu_fault_out *out) HV_MUST_CHECK;
/* The emulator could not perform the store that mmu_fault returned MMU_EMULATE for (or declines:
 * REP over much of the page, wide SIMD): the frame goes unsync (leaf) or is zapped (non-leaf) and
 * the instruction can be re-executed. */
void mmu_write_fallback(struct mmu *m, gva_t va, gpa_t at);
/* Host address of the byte at va by this CPU's own shadow tables, valid to the end of its 4 KiB
 * page: for bytes the processor has itself just fetched there, so no rights are checked and nothing
 * is filled. NULL: no translation at hand. */
struct mmu_where { /* what that was taken from: mmu_code_there */
    uint32_t root, loc1;
    uint64_t unlinks, frame;
};
const void *mmu_code(struct mmu *m, gva_t va, struct mmu_where *where);
/* Host address of the byte at va as this CPU's processor would reach it for the supervisor, valid
 * to the end of its 4 KiB page. access: 0, PFEC_W or PFEC_I. NULL: where the processor would fault
 * or set A or D, a user's page, other than RAM, or not 4 levels. Changes, serves and waits for
 * nothing. Context: MODE_GUEST, in place of the guest (APM volume 2, 5.4 "Page-Translation-Table
 * Entry Fields"). */
void *mmu_reach(struct mmu *m, gva_t va, uint32_t access);
/* gva -> gpa for the emulator through the software cache, with the guest's permission checks and
 * A/D updates. access: PFEC_W|U|I and ACCESS_*. HV_FAULT: *fault. HV_OK: *out, valid to its page's
 * end. */
enum hv_err mmu_translate(struct mmu *m, gva_t va, uint32_t access, gpa_t *out,
                          struct guest_fault *fault) HV_MUST_CHECK;
/* Invalidates permission knowledge when CPL-independent state did not change: none needed. */

/* What of the guest's PAT and MTRRs decides how device memory of its own is mapped: the PAT, and
 * the variable ranges of type WC, mask 0: none. Guest RAM is write-back whatever they say. A change
 * is a coherency event where the VM owns device memory. */
#define MMU_WC 8
struct mmu_types {
    uint64_t pat, base[MMU_WC], mask[MMU_WC];
};
void mmu_memory_types(struct mmu *m, const struct mmu_types *t);

/* --- entry and idle --- */
struct mmu_root {
    hpa_t root; /* for VMCB.CR3; below 4 GiB for a guest outside long mode */
    uint32_t asid;
    bool flush;          /* TLB_CONTROL must flush this ASID (or all if flush_all) at this entry */
    bool flush_all;      /* ASIDs were recycled */
    uint64_t downgrades; /* flush-generation assertion: compare at VMRUN, see mmu_entered() */
};
/* Just before VMRUN, nothing of mmu_* may run between this and mmu_entered() but serving nothing.
 */
void mmu_enter(struct mmu *m, struct mmu_root *out);
/* Asserts that nothing was downgraded since mmu_enter without a flush; right before VMRUN. */
void mmu_entered(struct mmu *m, const struct mmu_root *r);
/* Inbound requests are looked at by the caller: the stretch of work without a look ends. */
void mmu_served(struct mmu *m);
/* Serves inbound requests; true if anything changed. Called by the loop and while waiting. */
bool mmu_serve(struct mmu *m);
/* The same between two instructions of the guest, by the loop alone: answers other CPUs' flushes
 * too, and does what is owed of them. May wait. */
void mmu_between(struct mmu *m);
/* Other CPUs forget translations before their guest goes on (hv/coherency/README "Remote flushes");
 * returns when that is certain. Context: exit handler of the guest's hypercall, at its end. */
struct flush_what;
void mmu_flush_others(struct mmu *m, cpuset_t to, const struct flush_what *what);
void mmu_flush_self(struct mmu *m, const struct flush_what *what);
/* MODE_HALTED was left: takes over what was asked meanwhile. Before anything of the guest. */
void mmu_woken(struct mmu *m);
/* A flush of everything before the next entry. */
void mmu_owe_flush(struct mmu *m);
/* Drains if anything is pending: idle loop, any exit. */
void mmu_drain(struct mmu *m);
/* As what a coherency event begins with: also what others store at this moment and have not posted
 * yet, which the guest may have seen. */
void mmu_drain_event(struct mmu *m);
/* At a timer exit: where the guest cleared A of a leaf entry without a flush, in a table that it
 * writes without exits, the spte goes, so that the next access sets A again as a processor's would
 * once the TLB has lost the entry. (In a traced table the patch does it at the next exit.) Of the
 * tables that the current root reaches, AGE_PAGES at most in AGE_HZ of a second; so many listed
 * ones are asked whether it does. */
#define AGE_PAGES 32
#define AGE_SEEN 512
#define AGE_HZ 500
void mmu_age(struct mmu *m);
/* Before a long HLT: leaves unsync pages; a parked VCPU deregisters everything (park=true). */
void mmu_idle(struct mmu *m, bool park);
/* audit=1..3 or on demand; findings are logged and counted. Returns their number. */
unsigned mmu_audit(struct mmu *m, unsigned level);
/* Text dump of the walk of va, guest beside shadow, for monitor and park dumps. */
void mmu_dump_walk(struct mmu *m, gva_t va, void (*emit)(const char *line));
void mmu_dump(struct mmu *m, void (*emit)(const char *line));
