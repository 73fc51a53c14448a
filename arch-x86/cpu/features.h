/* SPDX-License-Identifier: BSD-2-Clause */
/* What the processor can do, and whether that is enough. Tested by booting on models that lack
 * something (qemu64,-svm). */
#pragma once
#include "hv/base/types.h"

enum svm_state { SVM_READY, SVM_ABSENT, SVM_DISABLED, SVM_LOCKED };
struct cpu_features {
    bool nx, smep, smap, pge, page1g, x2apic, tsc_deadline, invariant_tsc, hypervisor, pat, mce;
    unsigned phys_bits;
    enum svm_state svm;
    char vendor[13], brand[49];
};
extern struct cpu_features cpu_features;

/* Fills cpu_features from CPUID and VM_CR. Context: BSP, after the IDT is loaded. */
void features_detect(void);
/* Logs each needed feature as found or missing, with what to do. false: Patchbay cannot run here.
 */
bool features_check(void);
/* APM 15.4 "Enabling SVM": CPUID bit, VM_CR, and the lock feature bit tell the three cases apart.
 */
enum svm_state features_svm_state(bool cpuid_svm, uint64_t vm_cr);
