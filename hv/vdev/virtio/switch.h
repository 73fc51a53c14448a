/* SPDX-License-Identifier: BSD-2-Clause */
/* A learning Ethernet switch in the hypervisor, the one thing that VMs share. A frame is copied
 * into the switch once, however many ports it goes to, and from there into each receiver's memory
 * by a CPU of that VM. A port that takes nothing loses what comes for it and holds nobody else up.
 * Tested by tools/tests/test_switch.c and test_switch_tsan.c. */
#pragma once
#include <stdatomic.h>
#include "hv/base/lock.h"

#define SWITCH_PORTS 8
#define SWITCH_INBOX 64       /* frames that wait at a port */
#define SWITCH_FRAME_MIN 14   /* the header */
#define SWITCH_FRAME_MAX 1518 /* with one VLAN tag, without the checksum */
#define SWITCH_LEARNED 8      /* addresses remembered a port, beside its own */
/* A staging frame for each port and all that can wait. */
#define SWITCH_FRAMES (SWITCH_PORTS * (SWITCH_INBOX + 1))

struct switch_frame {
    uint16_t refs; /* guarded by the lock */
    uint16_t len;
    uint8_t data[SWITCH_FRAME_MAX];
};

struct switch_mac {
    uint8_t byte[6];
};

struct switch_port {
    bool used; /* some device's, whether or not its VM is on */
    bool up;
    struct switch_mac own; /* what its VM was given: belongs to it whoever sends from it */
    struct switch_mac learned[SWITCH_LEARNED];
    unsigned nlearned, next_learned;
    uint16_t inbox[SWITCH_INBOX]; /* frames, by number */
    unsigned head, count;
    /* Something came. Any CPU, with the lock held: takes none, and waits for nobody. */
    void (*arrived)(void *ctx);
    void *ctx;                     /* whose port it is */
    uint64_t sent, received, lost; /* lost: its inbox was full */
};

struct vswitch {
    struct lock lock; /* LOCK_SWITCH */
    struct switch_port port[SWITCH_PORTS];
    uint16_t free[SWITCH_FRAMES];
    unsigned nfree;
    struct switch_frame frame[SWITCH_FRAMES];
};

/* Zeroed memory. Boot. */
void switch_init(struct vswitch *s);
/* Takes a port, *port, whose own address is switch_mac_of; the one that ctx had before, if it had
 * one: its VM starts again. Down at first. HV_NOMEM: all are taken. */
enum hv_err switch_attach(struct vswitch *s, void (*arrived)(void *ctx), void *ctx,
                          unsigned *port) HV_MUST_CHECK;
/* From here on frames are delivered to the port, and it is told. */
void switch_up(struct vswitch *s, unsigned port);
/* Nothing is delivered to the port any more, and nobody is in or will come to its `arrived`: its
 * VM's memory may go. What waits there is thrown away. */
void switch_detach(struct vswitch *s, unsigned port);
/* The address that a port's VM is given. */
struct switch_mac switch_mac_of(unsigned port);
/* A frame to be filled in by the caller, who holds no lock meanwhile; one at a time a port. NULL:
 * none is free, which a port with its staging frame in order does not see. */
struct switch_frame *switch_begin(struct vswitch *s);
/* Sends it from `port` (len is set), or throws it away. The frame is the switch's afterwards. */
void switch_send(struct vswitch *s, unsigned port, struct switch_frame *f);
void switch_discard(struct vswitch *s, struct switch_frame *f);
/* Does anything wait at `port`? */
bool switch_waits(struct vswitch *s, unsigned port);
/* The next frame that waits at `port`, NULL none: to be given back by switch_discard. */
struct switch_frame *switch_receive(struct vswitch *s, unsigned port);
/* Throws away what waits at `port`: its driver went. */
void switch_flush(struct vswitch *s, unsigned port);
