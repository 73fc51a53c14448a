/* SPDX-License-Identifier: BSD-2-Clause */
/* The instruction that exited: its bytes and what they say. Below the emulator, because moving RIP
 * past an instruction needs its length already. Tested by tools/tests/test_emulate.c. */
#pragma once
#include "hv/insn/decode.h"
#include "hv/vcpu/subvmm.h"

#define INSN_MAX 15u /* bytes of the longest instruction: APM volume 3 1.1 */

/* Decodes the instruction at RIP for exit handlers that need operands or the length. HV_FAULT:
 * v->pending is set (fetch fault or #UD). HV_UNSUPPORTED: the code is not in RAM. */
enum hv_err fetch_decode(struct subvmm *s, const struct vmexit *x, struct insn *out) HV_MUST_CHECK;
/* The same where only a look is needed: the instruction kept from last time, if it is still that,
 * or `buf` with it; NULL: an exception is pending, or the code is not in RAM. Valid until the next
 * call of any function here. */
const struct insn *fetch_look(struct subvmm *s, const struct vmexit *x, struct insn *buf);
/* The instruction at RIP kept from last time, in 64-bit code. NULL: not kept, or no longer that.
 * Valid as above. */
const struct insn *fetch_known(struct subvmm *s, const struct vmexit *x);
/* The instruction at RIP, if it can be had without a fault, a fill or a second page; else false.
 * For what follows an instruction that was just skipped. */
bool fetch_peek(struct subvmm *s, struct insn *out) HV_MUST_CHECK;

/* --- the parts --- */
unsigned fetch_mode(const struct vcpu *v, const struct vcpu_code *c); /* code size: 2, 4, 8 */
/* The instruction at RIP through this CPU's own shadow tables, decoded anew only when its bytes are
 * not those of last time. HV_AGAIN: not to be had this way, take fetch_bytes. */
enum hv_err fetch_insn(struct subvmm *s, const struct vcpu_code *c, unsigned mode,
                       struct insn *out) HV_MUST_CHECK;
struct fetch { /* one fetch_bytes: what it needs, then where the results go */
    const struct vmexit *x;
    const struct vcpu_code *code;
    unsigned mode; /* fetch_mode */
    uint64_t rip;
    uint8_t *bytes; /* INSN_MAX */
    struct insn *in;
    struct vcpu_fault *fault; /* on HV_FAULT */
    bool busy;                /* HV_UNSUPPORTED for concurrent change only */
};
/* From the processor's decode assist or from memory, as the guest's own fetch would read it.
 * HV_FAULT: *f->fault. HV_UNSUPPORTED: code outside RAM, or an instruction not known. */
enum hv_err fetch_bytes(struct subvmm *s, struct fetch *f) HV_MUST_CHECK;
