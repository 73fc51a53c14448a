/* SPDX-License-Identifier: BSD-2-Clause */
/* Ticket lock with a level: taken in rising level order only, checked per CPU. For device models
 * and the console; hv/mmu never takes one. Tested by tools/tests/test_base.c. */
#pragma once
#include <stdatomic.h>
#include "hv/base/types.h"

enum lock_level {
    LOCK_VIRTIO = 1, /* a virtio device's registers */
    LOCK_SWITCH,     /* the switch between VMs */
    LOCK_PCI,        /* a VM's PCI bus; its interrupts end in the devices of the PC */
    LOCK_PASS,       /* a function of the machine that a VM owns */
    LOCK_VDEV,
    LOCK_COHERENCY,
    LOCK_PCI_CONFIG, /* registers of the machine's functions, and its IOMMUs */
    LOCK_LOG,
};

struct lock {
    _Atomic uint32_t next;
    _Atomic uint32_t owner;
    enum lock_level level;
};
/* Never held over a printf, an IPI wait or an allocation. Context: interrupts either way; an
 * interrupt handler never takes a lock. */
void lock_take(struct lock *l);
void lock_drop(struct lock *l);
