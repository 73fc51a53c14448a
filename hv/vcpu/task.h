/* SPDX-License-Identifier: BSD-2-Clause */
/* A task switch in steps, each of which may end it with a fault. Private to hv/vcpu.
 * Tested by tools/tests/test_task.c. */
#pragma once
#include "hv/vcpu/rules.h"

/* The dynamic part of a TSS in one form for both sizes. */
struct task_image {
    uint32_t cr3, ip, flags, gpr[8]; /* RAX RCX RDX RBX RSP RBP RSI RDI */
    uint16_t sel[6];                 /* ES CS SS DS FS GS, as enum seg */
    uint16_t ldt;
    bool debug_trap;
};
struct task {
    struct subvmm *s;
    const struct vmexit *x;
    struct vcpu_segs segs; /* the outgoing task's, then the incoming one's */
    uint64_t next_ip;      /* where the outgoing task goes on */
    struct segment tss;    /* the incoming one */
    struct task_image in;
    bool wide; /* the incoming TSS is a 32-bit one */
    uint32_t ext;
};

/* How a step ended: HV_OK; HV_FAULT: an exception is pending; anything else: not supported. */
enum hv_err task_raise(struct task *t, uint8_t vector, uint32_t error) HV_MUST_CHECK;
enum hv_err task_read(struct task *t, uint64_t lin, void *buf, size_t n) HV_MUST_CHECK;
enum hv_err task_write(struct task *t, uint64_t lin, const void *buf, size_t n,
                       uint32_t access) HV_MUST_CHECK;
/* A descriptor of the GDT or LDT and its linear address; *present: within the table's limit. */
enum hv_err task_descriptor(struct task *t, uint16_t sel, uint64_t *lin, uint64_t *desc,
                            bool *present) HV_MUST_CHECK;
struct segment task_segment(uint16_t sel, uint64_t desc);
/* Loads LDTR and the six segments of the incoming task, checking each (SDM vol. 3 7.3). */
enum hv_err task_load_segments(struct task *t) HV_MUST_CHECK;
