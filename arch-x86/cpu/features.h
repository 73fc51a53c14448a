/* SPDX-License-Identifier: BSD-2-Clause */
/* What the processor can do, whether that is enough, and whether all processors are alike.
 * Tested by tools/tests/test_features.c and by booting on models that lack something. */
#pragma once
#include "hv/base/types.h"

enum svm_state { SVM_READY, SVM_ABSENT, SVM_DISABLED, SVM_LOCKED };
/* LOCKED: FEATURE_CONTROL forbids it; SMX_ONLY: it allows VMXON in SMX operation only; CRIPPLED: a
 * control that is needed is missing, by whoever is below. */
enum vmx_state { VMX_ABSENT, VMX_READY, VMX_LOCKED, VMX_SMX_ONLY, VMX_CRIPPLED };
struct cpu_features {
    bool nx, smep, smap, pge, page1g, x2apic, tsc_deadline, invariant_tsc, hypervisor, pat, mce,
        xsave;
    unsigned phys_bits;
    uint32_t nasids;
    uint32_t have; /* one bit for each line of the table in features.c */
    enum svm_state svm;
    enum vmx_state vmx;
    bool vmx_switched_on; /* FEATURE_CONTROL was open: set and locked */
    bool svm_switched_on; /* the firmware had disabled it, but not locked */
    char vendor[13], brand[49];
};
extern struct cpu_features cpu_features; /* the boot processor's */

/* How to ask a processor: itself, or a test's idea of one. */
struct cpu_probe {
    void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t out[4]); /* EAX EBX ECX EDX */
    bool (*rdmsr)(uint32_t msr, uint64_t *out);                      /* false: #GP */
    bool (*wrmsr)(uint32_t msr, uint64_t v);
};
extern const struct cpu_probe cpu_probe_self;
/* A signed division of 128 by 64 bits; its quotient. */
typedef int64_t (*cpu_divide)(int64_t high, uint64_t low, int64_t by, int64_t *rest);
int64_t cpu_divide_self(int64_t high, uint64_t low, int64_t by, int64_t *rest);
/* Are divisions right whose results are known? Bochs 3.1 has some wrong: kernels compute with these
 * from their first second on and die of it. Logs the first that is not. */
bool features_divide_check(cpu_divide divide);

/* The vendor a guest runs on: SVM where there is both. */
static inline bool features_vmx(const struct cpu_features *f)
{
    return f->svm != SVM_READY && f->vmx == VMX_READY;
}
/* Fills *f. SVM that the firmware disabled without locking it is switched on. Context: the CPU that
 * is asked, its IDT loaded. */
void features_read(const struct cpu_probe *p, struct cpu_features *f);
/* Logs the processor's part of the boot check, each missing feature with what to do. false:
 * Patchbay cannot run here. */
bool features_check(const struct cpu_features *f);
/* false: `other` lacks something that is used because the boot processor has it; lacks: its names.
 */
bool features_alike(const struct cpu_features *boot, const struct cpu_features *other, char *lacks,
                    size_t size);
