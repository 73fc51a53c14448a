/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio devices a VM can have. Each is the memory its struct names, given by the caller, who
 * also adds dev.fn to the bus. Tested by tools/tests/test_virtio_dev.c and test_virtio_net.c. */
#pragma once
#include "hv/vdev/virtio/switch.h"
#include "hv/vdev/virtio/virtio.h"

/* --- rng.c: entropy device, VIRTIO 1.2, 5.4 --- */
struct vrng {
    struct virtio dev;
    bool seeded;     /* no RDRAND: a generator, seeded once */
    uint32_t key[8]; /* of the generator */
    uint64_t counter;
};
/* Logs where its numbers come from. */
enum hv_err vrng_init(struct vrng *r, struct virtio_host *h, uint8_t devfn) HV_MUST_CHECK;

/* --- console.c: console device, 5.3 --- */
#define VCONSOLE_FIFO 256u
struct vconsole {
    struct virtio dev;
    void (*output)(void *ctx, const char *text, size_t n);
    void *ctx;
    struct virtq_chain out; /* being put out, with more than fits a turn; the runner's */
    uint64_t out_at;
    bool out_open;
    /* Guarded by dev.lock. */
    uint8_t fifo[VCONSOLE_FIFO];
    unsigned head, count;
    uint32_t starved; /* CPU of the machine + 1 of the one whose character was refused, 0 none */
    bool listens;     /* the driver has buffers for input */
};
/* output: text of the guest, no lock held. */
enum hv_err vconsole_init(struct vconsole *c, struct virtio_host *h, uint8_t devfn,
                          void (*output)(void *ctx, const char *text, size_t n),
                          void *ctx) HV_MUST_CHECK;
/* Is there a driver that waits for input? Any CPU. */
bool vconsole_listens(struct vconsole *c);
/* One byte of input. false: there is no room, keep it; when there is, this CPU gets ACTION_INPUT.
 * Any CPU, its loop, no lock held. */
bool vconsole_input(struct vconsole *c, uint8_t byte);

/* --- blk.c: block device, 5.2 --- */
struct vblk {
    struct virtio dev;
    const uint8_t *base; /* the image */
    uint64_t bytes;      /* a multiple of 512 */
    bool read_only;
    /* Copy on write, by pages: map[page] is 0 or the overlay's page, from 1. */
    uint32_t *map;
    uint8_t *overlay;
    uint32_t overlay_pages, overlay_used;
    bool full_said;
    char id[20];
};
struct vblk_image {
    const void *base;
    uint64_t bytes;
    bool read_only;
    uint32_t *map; /* zeroed, an entry for each page of the image; NULL with read_only */
    void *overlay;
    uint32_t overlay_pages;
    unsigned number; /* for its name */
};
enum hv_err vblk_init(struct vblk *b, struct virtio_host *h, uint8_t devfn,
                      const struct vblk_image *image) HV_MUST_CHECK;

/* --- net.c: network device, 5.1 --- */
struct vnet {
    struct virtio dev;
    struct vswitch *sw;
    unsigned port;
    _Atomic uint64_t dropped; /* frames that no buffer was long enough for, or that are none */
};
/* Takes a port of the switch. HV_NOMEM: none is left. */
enum hv_err vnet_init(struct vnet *n, struct virtio_host *h, uint8_t devfn,
                      struct vswitch *sw) HV_MUST_CHECK;
