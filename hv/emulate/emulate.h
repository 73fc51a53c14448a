/* SPDX-License-Identifier: BSD-2-Clause */
/* Instruction emulator over hv/mmu/gmem.h and the device bus: traced stores, MMIO, string I/O.
 * Tested by tools/tests/test_emulate.c. */
#pragma once
#include "hv/mmu/gmem.h"
#include "hv/vcpu/subvmm.h"

enum emulate_result {
    EMULATE_DONE,     /* performed, registers and RIP updated (or REP advanced, RIP kept) */
    EMULATE_FAULT,    /* v->pending holds the exception to inject; no register changed */
    EMULATE_DECLINED, /* cannot or should not be emulated: mmu_write_fallback and re-execute (RAM),
                         or #UD (MMIO) */
    EMULATE_RETRY,    /* nothing done, too much concurrent change: executed again */
};
/* Fetches (or takes x->insn), decodes and performs the instruction at RIP. x: the exit it is for.
 * at: the gpa that mmu_fault reported; the caller counts. Stores to RAM go through gmem (so traced
 * frames are posted); non-RAM goes to the device bus of s. What has no handler here declines on RAM
 * and is performed by the processor itself otherwise (emulate_native.c). REP is done in
 * bounded batches (at most 32 iterations or until the action word is non-zero) and declines at once
 * for stores to RAM with more than 32 left. */
enum emulate_result emulate_insn(struct subvmm *s, const struct vmexit *x, gpa_t at) HV_MUST_CHECK;
/* The same for a plain store of 8 bytes to RAM, which nearly every store to a table is: `at` is
 * where mmu_fault said that x->gva goes. false: nothing was done, it is emulate_insn's. */
bool emulate_store(struct subvmm *s, const struct vmexit *x, gpa_t at) HV_MUST_CHECK;
/* Takes what emulate_native.c needs off a shadow pool and off the number of its ASIDs, before
 * mmu_init. */
void native_init(struct native *n, void **pool, hpa_t *hpa, uint64_t *bytes, uint32_t *nasids);
/* Linear address of in's memory operand with segment base and checks of the current mode (limit and
 * type checks in legacy modes, canonical in 64-bit; none for INVLPG). HV_FAULT: v->pending is set
 * (#GP/#SS). n: bytes accessed. */
enum hv_err emulate_linear(struct subvmm *s, const struct insn *in, size_t n, bool write,
                           gva_t *out) HV_MUST_CHECK;
/* After an access of n bytes at a port was done and RIP moved: #DB if a breakpoint is there. */
void emulate_watch_port(struct subvmm *s, unsigned port, unsigned n);
/* In place of an entry, right behind a port access: carries the guest's instructions out up to the
 * next one, and describes that in *x as an exit before it. false: not reached; the guest is to be
 * entered where it stands now, and what waits to be injected waits still. Context: as right before
 * vcpu_ops->run, with no event injected yet and no flush due. */
bool ahead_run(struct subvmm *s, struct vmexit *x) HV_MUST_CHECK;
/* String I/O exits (INS/OUTS with REP) after x->io_*: performs a bounded batch. */
enum emulate_result emulate_string_io(struct subvmm *s, const struct vmexit *x) HV_MUST_CHECK;
