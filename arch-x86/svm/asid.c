/* SPDX-License-Identifier: BSD-2-Clause */
/* The root of an entry: its tables, its ASID, and how the ASID is made clean. No instructions here.
 * Tested by tools/tests/test_svm.c and test_svm_clean.c. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/svm/internal.h"

#define ASIDS 32 /* of the pager, at most */

/* Apart from svm_vcpu, which every exit touches. */
static struct asids {
    uint32_t left;    /* hardware ASIDs not used since the last flush of all */
    uint32_t flushes; /* of all */
    struct {
        uint32_t hw, flushes; /* taken, and when */
    } of[ASIDS];              /* the pager's */
} cpu_asids[HV_MACHINE_CPUS];

/* Without flush by ASID, a clean ASID is one that was not used since all were flushed: a flush of
 * everything, the host's translations too, only when none is left (APM 15.16.1 "TLB Flush"). */
static uint32_t clean_asid(const struct vcpu *v, uint32_t asid, bool flush)
{
    struct svm_vcpu *a = svm_of(v);
    struct asids *t = &cpu_asids[v->cpu];

    if (!flush && asid == a->asid)
        return a->asid_hw;
    a->asid = asid;
    asid %= ASIDS;
    if (flush || t->of[asid].flushes != t->flushes || !t->flushes) {
        if (!t->left) {
            a->vmcb->ctl.tlb_control = TLB_FLUSH_ALL;
            t->left = svm_features.nasids - 1;
            t->flushes++;
        }
        t->of[asid].hw = t->left--;
        t->of[asid].flushes = t->flushes;
    }
    a->asid_hw = t->of[asid].hw;
    return a->asid_hw;
}

void svm_set_root(struct vcpu *v, hpa_t root, uint32_t asid, bool flush_asid, bool flush_all)
{
    struct svm_vcpu *a = svm_of(v);

    /* Outside long mode the processor holds four PDPTEs, which it reads along with CR3 (APM 15.15.3
     * "VMCB Clean Field"): the pager may have written them under the same root. */
    if (a->vmcb->save.cr3 != root.v || !(a->vmcb->save.efer & EFER_LMA))
        svm_save_dirty(a, CLEAN_CRX)->cr3 = root.v;
    if (flush_all)
        a->vmcb->ctl.tlb_control = TLB_FLUSH_ALL;
    else if (flush_asid && svm_features.flush_by_asid && a->vmcb->ctl.tlb_control != TLB_FLUSH_ALL)
        a->vmcb->ctl.tlb_control = TLB_FLUSH_ASID; /* the first entry flushes all */
    if (!svm_features.flush_by_asid)
        asid = clean_asid(v, asid, flush_asid);
    if (a->vmcb->ctl.asid != asid)
        svm_ctl_dirty(a, CLEAN_ASID)->asid = asid;
    a->root = root.v;
}
