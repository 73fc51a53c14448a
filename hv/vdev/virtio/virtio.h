/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio device on the VM's PCI bus ("Virtual I/O Device (VIRTIO) Version 1.2", 2 "Basic
 * Facilities", 4.1 "Virtio Over PCI Bus"): registers, life and interrupts; what it does with its
 * queues is its back end's. Registers change under the device's lock; queues are worked on by one
 * CPU at a time, the runner, which holds none (README "Virtio"). Tested by
 * tools/tests/test_virtio.c. */
#pragma once
#include <stdatomic.h>
#include "hv/coherency/coherency.h"
#include "hv/vdev/pci/pci.h"
#include "hv/vdev/virtio/virtq.h"

#define VIRTIO_DEVICES 8 /* of a VM */
#define VIRTIO_QUEUES 2
#define VIRTIO_VECTORS (VIRTIO_QUEUES + 1)
#define VIRTIO_CONFIG_BYTES 64
/* Chains, and bytes, that a back end works on before the guest gets its turn again. */
#define VIRTIO_CHAINS 64u
#define VIRTIO_BYTES (2u << 20)

/* 6 "Reserved Feature Bits" */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)

/* 5 "Device Types" */
enum virtio_type { VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RNG = 4 };

struct virtio;
struct virtio_ops {
    /* Works on queue q until it is empty (HV_OK) or the bounds are reached (HV_AGAIN: it is called
     * again). HV_INVALID: the ring is broken, the device needs a reset. Runner, no lock. */
    enum hv_err (*queue)(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q);
    /* The driver reset the device. May be NULL. Runner, no lock. */
    void (*reset)(struct virtio *v);
    /* The VM has ended, its memory may go: nobody outside calls the device after this. May be NULL.
     * Any CPU, no lock. */
    void (*stop)(struct virtio *v);
    /* A line more for people. May be NULL. Any CPU, no lock. */
    void (*say)(const struct virtio *v, char *line, size_t size);
};

/* What a device is made of. */
struct virtio_kind {
    enum virtio_type type;
    const char *name;
    uint32_t class_code; /* of the PCI function */
    unsigned nqueues;
    uint64_t features; /* beside those that every device offers */
    const struct virtio_ops *ops;
};

struct virtio_host;
struct virtio {
    const struct virtio_kind *kind;
    void *back; /* the back end's state */
    struct virtio_host *host;
    struct pci_function fn;
    struct pci_msix_entry entry[VIRTIO_VECTORS];
    uint64_t pending[1];
    unsigned cfg_cap; /* register of the PCI configuration access capability */

    struct lock lock; /* LOCK_VIRTIO; guards what follows */
    uint64_t offered, accepted;
    uint32_t device_feature_select, driver_feature_select;
    uint8_t status, generation, isr;
    bool resetting; /* a reset was asked for and waits for the runner */
    bool quiet;     /* it leaves memory alone: Bus Master is off, or was since the driver last
                     * started or notified it */
    uint16_t config_vector, queue_select;
    struct virtq q[VIRTIO_QUEUES];
    uint8_t config[VIRTIO_CONFIG_BYTES]; /* device-specific, read-only for the driver */
    unsigned config_bytes;

    /* WORK_* below, and bit q: queue q was notified. Whoever sets RUNNING is the runner; bits set
     * meanwhile make it, or the next, look again. */
    _Atomic uint32_t work;
    _Atomic uint32_t runner;                     /* CPU that ran it last, to be called by others */
    struct virtq_chain chain;                    /* the runner's */
    _Atomic uint64_t chains, interrupts, broken; /* counters for people */
};
#define VIRTIO_WORK_RESET BIT(30)
#define VIRTIO_WORK_RUNNING BIT(31)

/* The virtio devices of one VM. */
struct virtio_host {
    struct pci_bus *bus;
    struct coherency *co; /* to call a CPU of this VM */
    unsigned count;
    struct virtio *dev[VIRTIO_DEVICES];
    bool todo[HV_MAX_CPUS]; /* [cpu] is that CPU's own: something was notified by it, or is left */
};

/* --- virtio.c --- */
void virtio_host_init(struct virtio_host *h, struct pci_bus *bus, struct coherency *co);
/* Makes v a device of this kind in slot `devfn`, with config_bytes of configuration at config. The
 * caller adds v->fn to the bus. HV_NOMEM: the VM has VIRTIO_DEVICES. Boot. */
enum hv_err virtio_init(struct virtio *v, struct virtio_host *h, const struct virtio_kind *kind,
                        uint8_t devfn, const void *config, unsigned config_bytes,
                        void *back) HV_MUST_CHECK;
/* Has `cpu` device work to do? Its own, or called for by ACTION_DEVICE (the caller knows). */
static inline bool virtio_todo(const struct virtio_host *h, uint32_t cpu)
{
    return h->todo[cpu];
}
/* Does what waits, within bounds; true: something is left, come again soon. Owner CPU, its loop, no
 * lock held. */
bool virtio_run(struct virtio_host *h, uint32_t cpu, const struct vmem *m);
/* The VM has ended. */
void virtio_stop(struct virtio_host *h);
/* Queue bits have work: by the CPU `cpu` of this VM, which will run it in this round of its loop.
 */
static inline void virtio_notify(struct virtio *v, uint32_t cpu, uint32_t bits)
{
    /* acq_rel: the next runner sees what we wrote before; pairs with its own RMWs in run_one */
    atomic_fetch_or_explicit(&v->work, bits, memory_order_acq_rel);
    v->host->todo[cpu] = true;
}
/* The same from anywhere, also another VM's CPU: the CPU that ran it last is called. Waits for
 * nobody. */
void virtio_call(struct virtio *v, uint32_t bits);
/* For back ends, as the runner: takes chains of queue q, up to `most` of them or VIRTIO_BYTES, and
 * has each done: fn works on v->chain, gives it back by virtq_push, and adds to *bytes what it
 * moved. Then the driver is told. What fn returns but HV_OK ends it: HV_AGAIN, the chain is not
 * finished; else the ring is broken. Returns as virtio_ops.queue. */
typedef enum hv_err (*virtio_chain_fn)(struct virtio *v, const struct vmem *m, unsigned q,
                                       uint64_t *bytes);
enum hv_err virtio_drain(struct virtio *v, const struct vmem *m, uint32_t from, unsigned q,
                         unsigned most, virtio_chain_fn fn) HV_MUST_CHECK;
/* Interrupts the driver for queue q if it wants that. */
enum hv_err virtio_tell(struct virtio *v, const struct vmem *m, uint32_t from,
                        unsigned q) HV_MUST_CHECK;
/* Changes the configuration the driver sees, and tells it. Any CPU of the VM, no lock. */
void virtio_config_change(struct virtio *v, uint32_t from, unsigned at, const void *data,
                          unsigned n);
/* The driver has started the device, it is not broken, and may reach memory. */
bool virtio_live(struct virtio *v);

/* --- dump.c: each device's state and counters, a line or more. Any CPU, no lock. --- */
void virtio_dump(const struct virtio_host *h, void (*emit)(const char *line));

/* --- registers.c; inside the room --- */
/* Power-on values. Lock held, or boot. */
void virtio_registers_reset(struct virtio *v);
/* Whether the device may reach memory, after Bus Master or what it waits for changed: off, it may
 * not; on, only if the driver calls for it (called). What was left in a ring by whoever took the
 * bit away, before another kernel came, is not touched. Lock held. */
void virtio_quiet_update(struct virtio *v, bool called);
/* An access to BAR 0, offset io->addr. */
void virtio_bar_access(struct pci_function *f, unsigned bar, struct vio *io);

/* 2.1 "Device Status Field" */
#define VIRTIO_ACKNOWLEDGE 1u
#define VIRTIO_DRIVER 2u
#define VIRTIO_DRIVER_OK 4u
#define VIRTIO_FEATURES_OK 8u
#define VIRTIO_NEEDS_RESET 64u
#define VIRTIO_FAILED 128u
#define VIRTIO_NO_VECTOR 0xffffu
#define VIRTIO_ISR_QUEUE 1u
#define VIRTIO_ISR_CONFIG 2u

/* BAR 0 */
#define VIRTIO_BAR_BYTES 0x8000u
#define VIRTIO_COMMON_AT 0x0000u
#define VIRTIO_COMMON_BYTES 0x38u
#define VIRTIO_ISR_AT 0x1000u
#define VIRTIO_CONFIG_AT 0x2000u
#define VIRTIO_NOTIFY_AT 0x3000u
#define VIRTIO_NOTIFY_STEP 4u
#define VIRTIO_MSIX_AT 0x4000u
#define VIRTIO_PBA_AT 0x5000u
