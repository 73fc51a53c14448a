/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot-time probe: does each intercept that safety depends on really fire on this machine?
 * Emulators have holes that change from version to version, so each is tried by a tiny guest
 * instead of being known by a name. probe.c judges (no instructions, tested by
 * tools/tests/test_probe.c), probe_run.c and probe_guest.S run the guest. */
#pragma once
#include "hv/base/types.h"

/* What follows if an intercept is silent. */
enum probe_class {
    PROBE_MUST,    /* the guest could leave its VM or see the host's state: refused */
    PROBE_CR_READ, /* the same, but another bit of the vector may help */
    PROBE_NOTED,   /* known not to work on emulators, and lived with: a quirk */
    PROBE_SPARED,  /* not to be intercepted: what others need may do it all the same */
};
#define PROBE_NONE 0xffff /* no other code */

/* name of the snippet, words, exit code (APM volume 2, appendix C "SVM Intercept Exit Codes"), a
 * second code that is as good: an exception where the processor refuses the instruction anyway, or
 * a relative with the same handler; class. */
#define PROBE_LIST(X)                                                                              \
    X(vmmcall, "VMMCALL", 0x81, PROBE_NONE, PROBE_MUST)                                            \
    X(cr0_read, "MOV from CR0", 0x00, PROBE_NONE, PROBE_CR_READ)                                   \
    X(smsw, "SMSW", 0x00, PROBE_NONE, PROBE_CR_READ)                                               \
    X(cr2_read, "MOV from CR2", 0x02, PROBE_NONE, PROBE_SPARED)                                    \
    X(cr3_read, "MOV from CR3", 0x03, PROBE_NONE, PROBE_CR_READ)                                   \
    X(cr4_read, "MOV from CR4", 0x04, PROBE_NONE, PROBE_CR_READ)                                   \
    X(cr8_read, "MOV from CR8", 0x08, PROBE_NONE, PROBE_CR_READ)                                   \
    X(cr0_write, "MOV to CR0", 0x10, PROBE_NONE, PROBE_MUST)                                       \
    X(lmsw, "LMSW", 0x10, PROBE_NONE, PROBE_MUST)                                                  \
    X(clts, "CLTS", 0x10, PROBE_NONE, PROBE_MUST)                                                  \
    X(cr3_write, "MOV to CR3", 0x13, PROBE_NONE, PROBE_MUST)                                       \
    X(cr4_write, "MOV to CR4", 0x14, PROBE_NONE, PROBE_MUST)                                       \
    X(cr8_write, "MOV to CR8", 0x18, PROBE_NONE, PROBE_MUST)                                       \
    X(invlpg, "INVLPG", 0x79, PROBE_NONE, PROBE_MUST)                                              \
    X(invlpga, "INVLPGA", 0x7a, PROBE_NONE, PROBE_MUST)                                            \
    X(invpcid, "INVPCID", 0xa2, PROBE_NONE, PROBE_MUST)                                            \
    X(cpuid, "CPUID", 0x72, PROBE_NONE, PROBE_MUST)                                                \
    X(rdmsr_low, "RDMSR of 277", 0x7c, PROBE_NONE, PROBE_MUST)                                     \
    X(wrmsr_low, "WRMSR of 277", 0x7c, PROBE_NONE, PROBE_MUST)                                     \
    X(rdmsr_mid, "RDMSR of C0000080", 0x7c, PROBE_NONE, PROBE_MUST)                                \
    X(wrmsr_mid, "WRMSR of C0000080", 0x7c, PROBE_NONE, PROBE_MUST)                                \
    X(rdmsr_high, "RDMSR of C0010117", 0x7c, PROBE_NONE, PROBE_MUST)                               \
    X(wrmsr_high, "WRMSR of C0010117", 0x7c, PROBE_NONE, PROBE_MUST)                               \
    X(rdmsr_outside, "RDMSR outside the map", 0x7c, 0x4d, PROBE_MUST)                              \
    X(wrmsr_outside, "WRMSR outside the map", 0x7c, 0x4d, PROBE_MUST)                              \
    X(in8, "IN of a byte", 0x7b, PROBE_NONE, PROBE_MUST)                                           \
    X(in16, "IN of a word", 0x7b, PROBE_NONE, PROBE_MUST)                                          \
    X(in32, "IN of a doubleword", 0x7b, PROBE_NONE, PROBE_MUST)                                    \
    X(out8, "OUT of a byte", 0x7b, PROBE_NONE, PROBE_MUST)                                         \
    X(out32, "OUT of a doubleword", 0x7b, PROBE_NONE, PROBE_MUST)                                  \
    X(insb, "INS", 0x7b, PROBE_NONE, PROBE_MUST)                                                   \
    X(outsb, "OUTS", 0x7b, PROBE_NONE, PROBE_MUST)                                                 \
    X(hlt, "HLT", 0x78, PROBE_NONE, PROBE_MUST)                                                    \
    X(monitor, "MONITOR", 0x8a, 0x46, PROBE_MUST)                                                  \
    X(mwait, "MWAIT", 0x8b, 0x8c, PROBE_MUST)                                                      \
    X(wbinvd, "WBINVD", 0x89, PROBE_NONE, PROBE_MUST)                                              \
    X(invd, "INVD", 0x76, 0x89, PROBE_MUST)                                                        \
    X(rdpmc, "RDPMC", 0x6f, 0x4d, PROBE_MUST)                                                      \
    X(rsm, "RSM", 0x73, 0x46, PROBE_MUST)                                                          \
    X(icebp, "INT1", 0x88, 0x41, PROBE_NOTED)                                                      \
    X(xsetbv, "XSETBV", 0x8d, PROBE_NONE, PROBE_NOTED)                                             \
    X(rdpru, "RDPRU", 0x8e, 0x46, PROBE_MUST)                                                      \
    X(invlpgb, "INVLPGB", 0xa0, 0xa1, PROBE_MUST)                                                  \
    X(tlbsync, "TLBSYNC", 0xa4, PROBE_NONE, PROBE_MUST)                                            \
    X(mcommit, "MCOMMIT", 0xa3, 0x46, PROBE_MUST)                                                  \
    X(vmrun, "VMRUN", 0x80, PROBE_NONE, PROBE_MUST)                                                \
    X(vmload, "VMLOAD", 0x82, PROBE_NONE, PROBE_MUST)                                              \
    X(vmsave, "VMSAVE", 0x83, PROBE_NONE, PROBE_MUST)                                              \
    X(stgi, "STGI", 0x84, PROBE_NONE, PROBE_MUST)                                                  \
    X(clgi, "CLGI", 0x85, PROBE_NONE, PROBE_MUST)                                                  \
    X(skinit, "SKINIT", 0x86, 0x46, PROBE_MUST)                                                    \
    X(pf, "#PF", 0x4e, PROBE_NONE, PROBE_MUST)                                                     \
    X(db, "#DB", 0x41, PROBE_NONE, PROBE_MUST)                                                     \
    X(ac, "#AC", 0x51, 0x81, PROBE_MUST) /* VMMCALL: a processor that never checks */              \
    X(ud, "#UD", 0x46, PROBE_NONE, PROBE_MUST)                                                     \
    X(gp, "#GP", 0x4d, PROBE_NONE, PROBE_MUST)                                                     \
    X(shutdown, "shutdown", 0x7f, 0x48, PROBE_MUST) /* or its #DF */                               \
    X(iret, "IRET", 0x74, PROBE_NONE, PROBE_MUST)                                                  \
    X(window, "virtual interrupts", 0x64, PROBE_NONE, PROBE_MUST)                                  \
    X(window_if1, "virtual interrupts, IF set before", 0x64, PROBE_NONE, PROBE_NOTED)              \
    X(intr, "interrupts", 0x60, PROBE_NONE, PROBE_MUST)                                            \
    X(intr_if0, "interrupts, IF clear", 0x60, PROBE_NONE, PROBE_NOTED)                             \
    X(nmi, "NMI", 0x61, PROBE_NONE, PROBE_MUST)                                                    \
    X(db_cause, "#DB with its cause in DR6", 0x41, PROBE_NONE, PROBE_NOTED)                        \
    X(db_exit, "an exit while single-stepping", 0x72, PROBE_NONE, PROBE_NOTED)                     \
    X(task_switch, "hardware task switches", 0x7d, PROBE_NONE, PROBE_NOTED)

enum probe_id {
#define X(id, name, code, also, class) PROBE_##id,
    PROBE_LIST(X)
#undef X
        PROBE_COUNT
};

/* The machine, or a test's idea of one. */
struct probe_env {
    /* false: this processor has no such instruction, or trying it would do harm. */
    bool (*applies)(enum probe_id id);
    /* Runs the snippet with these bits of the CR read intercept vector. Returns the exit code if
     * the guest was stopped where it should be, else PROBE_MISSED. */
    uint32_t (*run)(enum probe_id id, uint16_t cr_reads);
};
#define PROBE_MISSED 0xfffffffeu

struct probe_result {
    uint64_t silent[2];  /* by probe_id: does not fire, even with what helps others */
    uint16_t cr_reads;   /* to be intercepted besides, for the others to fire */
    bool cr_number_lost; /* the exit code of a CR read does not say which register */
    bool cr2_exits;      /* reads of CR2 exit with this set, although not asked for */
    unsigned fire, tried;
};
static inline bool probe_silent(const struct probe_result *r, enum probe_id id)
{
    return r->silent[id / 64] >> id % 64 & 1;
}
/* Tries every intercept and fills *r; logs what does not fire, as lines of the boot check. false:
 * one that safety depends on is silent and nothing helps. */
bool probe_judge(const struct probe_env *e, struct probe_result *r);
extern struct probe_result svm_probe; /* of this machine */
/* Runs the probe on this machine, sets the quirks that follow, stops with a message if no guest
 * can be kept in its VM. Context: boot CPU, interrupts off, after quirks_detect. */
void svm_probe_run(void);
