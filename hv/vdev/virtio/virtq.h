/* SPDX-License-Identifier: BSD-2-Clause */
/* Split virtqueues, the device's half: takes descriptor chains from guest memory, which is hostile
 * and changes meanwhile, and gives them back. "Virtual I/O Device (VIRTIO) Version 1.2", 2.7 "Split
 * Virtqueues". Tested by tools/tests/test_virtq.c and tools/tests/fuzz_virtq.c. */
#pragma once
#include "hv/base/types.h"

/* Guest memory as a back end sees it; on the machine gmem of the CPU we are on, so that each store
 * is a producer's: a ring or a buffer may lie in a page table. HV_RANGE: not all of it is the VM's
 * RAM, nothing was copied. Context: the CPU's loop, no lock held (a store may wait for other CPUs).
 */
struct vmem {
    void *ctx;
    /* Aligned pieces of up to 8 bytes are read once each, by acquire loads: what a driver stored
     * before its index is seen by who reads that first. */
    enum hv_err (*read)(void *ctx, gpa_t at, void *buf, size_t n);
    enum hv_err (*write)(void *ctx, gpa_t at, const void *buf, size_t n);
    /* One aligned value of 2, 4 or 8 bytes in one piece, and a full fence. */
    enum hv_err (*store)(void *ctx, gpa_t at, unsigned width, uint64_t value);
};

#define VIRTQ_MAX 128u /* entries of a queue, and of a chain */

struct virtq {
    /* As the driver programmed them; fixed while the device runs. */
    uint16_t max, size; /* size: a power of two up to max */
    uint16_t vector;
    bool enabled;
    uint64_t desc, avail, used; /* gpas */
    /* The runner's. */
    bool indirect, event_idx; /* negotiated */
    uint16_t next_avail;      /* entry of the available ring to look at next */
    uint16_t next_used;       /* index of the used ring */
    uint16_t told_used;       /* as it was when an interrupt was last thought of */
};

struct virtq_segment {
    gpa_t at;
    uint32_t len;
};
/* A chain: segments that the device reads come first. */
struct virtq_chain {
    uint16_t head;
    unsigned nread, nwrite;
    uint64_t read_bytes, write_bytes; /* sums */
    struct virtq_segment seg[VIRTQ_MAX];
};

/* The driver has set up and started the queue. */
void virtq_start(struct virtq *q, bool indirect, bool event_idx);
/* Takes the next chain. HV_AGAIN: there is none. HV_INVALID: the ring is broken: an index further
 * ahead than the queue is long, a descriptor that is not there, a chain longer than the queue, an
 * indirect table in another or of a wrong length, a read after a write, memory that is no RAM. */
enum hv_err virtq_pop(struct virtq *q, const struct vmem *m, struct virtq_chain *c) HV_MUST_CHECK;
/* The same, and when there is none asks for a notification of the next and looks again. HV_AGAIN:
 * none came. */
enum hv_err virtq_next(struct virtq *q, const struct vmem *m, struct virtq_chain *c) HV_MUST_CHECK;
/* Gives the chain with this head back, of which `written` bytes were written from its first
 * writable byte on. HV_INVALID: the ring is no RAM. */
enum hv_err virtq_push(struct virtq *q, const struct vmem *m, uint16_t head,
                       uint32_t written) HV_MUST_CHECK;
/* After pushes: does the driver want an interrupt for them (2.7.7 "Used Buffer Notification
 * Suppression")? HV_INVALID as above. */
enum hv_err virtq_wants(struct virtq *q, const struct vmem *m, bool *want) HV_MUST_CHECK;
/* Copies n bytes at `offset` of what the device reads, or into what it writes. HV_RANGE: beyond its
 * end. HV_INVALID: not RAM, part may have been copied. */
enum hv_err virtq_read(const struct virtq_chain *c, const struct vmem *m, uint64_t offset,
                       void *buf, size_t n) HV_MUST_CHECK;
enum hv_err virtq_write(const struct virtq_chain *c, const struct vmem *m, uint64_t offset,
                        const void *buf, size_t n) HV_MUST_CHECK;
