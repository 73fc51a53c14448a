/* SPDX-License-Identifier: BSD-2-Clause */
/* The root of an entry: its tables, its ASID, and how the ASID is made clean. No instructions here.
 * Tested by tools/tests/test_svm.c. */
#include "arch-x86/svm/internal.h"

/* Without flush by ASID, a clean ASID is one that was not used since all were flushed: a flush of
 * everything, the host's translations too, only when none is left (APM 15.16.1 "TLB Flush"). */
static uint32_t clean_asid(struct svm_vcpu *a, uint32_t asid, bool flush)
{
    struct svm_asid *s = &a->asids[asid % SVM_ASIDS];

    if (!flush && s->flush == a->asid_flushes && s->hw)
        return s->hw;
    if (!a->asid_left) {
        a->vmcb->ctl.tlb_control = TLB_FLUSH_ALL;
        a->asid_left = svm_features.nasids - 1;
        a->asid_flushes++;
    }
    *s = (struct svm_asid){.hw = a->asid_left--, .flush = a->asid_flushes};
    return s->hw;
}

void svm_set_root(struct vcpu *v, hpa_t root, uint32_t asid, bool flush_asid, bool flush_all)
{
    struct svm_vcpu *a = svm_of(v);

    if (a->vmcb->save.cr3 != root.v)
        svm_save_dirty(a, CLEAN_CRX)->cr3 = root.v;
    if (flush_all)
        a->vmcb->ctl.tlb_control = TLB_FLUSH_ALL;
    else if (flush_asid && svm_features.flush_by_asid)
        a->vmcb->ctl.tlb_control = TLB_FLUSH_ASID;
    if (!svm_features.flush_by_asid)
        asid = clean_asid(a, asid, flush_asid);
    if (a->vmcb->ctl.asid != asid)
        svm_ctl_dirty(a, CLEAN_ASID)->asid = asid;
    a->root = root.v;
}
