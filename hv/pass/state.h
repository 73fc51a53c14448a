/* SPDX-License-Identifier: BSD-2-Clause */
/* State of the functions a VM owns. Private to hv/pass. */
#pragma once
#include "arch-x86/defs/pci.h"
#include "hv/base/lock.h"
#include "hv/pass/pass.h"
#include "hv/vdev/pci/pci.h"

struct pass_fn;
/* An entry of the MSI-X table, or the one message of MSI, as the guest has it, and what the
 * hardware was given for it. Guarded by the function's lock. */
struct pass_irq {
    struct pass_fn *fn;
    uint32_t address, address_high, data, control; /* the guest's */
    uint8_t vector; /* the hardware's, for ever, the same on every CPU; 0: none yet */
    bool live;      /* the hardware may send, ... */
    bool table;     /* ... by its MSI-X table */
    bool late;      /* came while the guest had it masked: shown as pending, sent when unmasked */
    bool stopped;   /* a storm: masked until pass_fn.storm_until */
    uint32_t cpu;   /* the hardware's destination */
    uint32_t came;  /* in this window of time */
};

/* An extended capability that the guest sees. */
#define PASS_EXT 8
struct pass_ext {
    uint32_t at, bytes;
    uint32_t id; /* and version: 19:0 of its header */
};

struct pass_fn {
    struct pass *pass;
    struct lock lock; /* LOCK_PASS */
    pci_bdf_t host;
    uint8_t devfn; /* on the guest's bus 0 */
    uint16_t vendor, device;
    struct pci_function pci;
    struct port_pci_bar bar[PCI_BAR_COUNT];
    /* Of each byte of configuration space: bits that reads take from the hardware; that writes
     * change there, or clear there by a 1; the rest as the guest sees it, and what it may write of
     * that. */
    uint8_t hw_read[PCI_SPACE], hw_write[PCI_SPACE], hw_clear[PCI_SPACE];
    uint8_t own[PCI_SPACE], own_write[PCI_SPACE];
    uint8_t pm, msi, msix, express, af; /* registers of these capabilities, 0: none */
    struct pass_ext ext[PASS_EXT];
    unsigned ext_count;
    bool msi_64, msi_masking;
    unsigned nirq; /* entries of irq: MSI-X's, else one */
    struct pass_irq *irq;
    unsigned table_bar;
    uint32_t table_at, pba_at; /* offsets in their BARs */
    unsigned pba_bar;
    uint8_t *table_page; /* the hardware's pages with the table, and their offset in the BAR */
    uint32_t table_first, table_bytes;
    uint8_t *small[PCI_BAR_COUNT]; /* BARs that share their page with others, mapped here */
    uint64_t storm_window, storm_until;
    _Atomic bool no_vector; /* to be said; set with the lock, taken by pass_complain without */
    uint64_t storms, arrivals, lines; /* counters; rate limit of lines */
};

struct pass {
    struct vpc *pc;
    const struct coherency *co; /* which CPU of the machine a VCPU is on */
    unsigned nfns;
    bool started;
    struct pass_fn *fn[PASS_FUNCTIONS];
    struct pass_fn store[PASS_FUNCTIONS];
    struct p2m_device range[PASS_RANGES];
    unsigned nranges;
    hpa_t ports; /* of its I/O BARs: as vcpu.io_map, 0: it has none */
    struct pass_irq *_Atomic by_vector[256];
    _Atomic uint32_t next_vector; /* each is given once */
    _Atomic uint64_t deadline;    /* of the next storm to go on, UINT64_MAX: none; release in
                                   * irq.c pairs with its acquire in pass_timers */
};

/* --- rules.c: the allow-list --- */
/* Fills the masks, own values and capability registers from the function's registers. */
void pass_rules(struct pass_fn *f);
uint32_t pass_get(const uint8_t *bytes, unsigned reg, unsigned size);
void pass_put(uint8_t *bytes, unsigned reg, unsigned size, uint32_t value);

/* --- extended.c --- */
/* The list of extended capabilities; after pass_rules. */
void pass_extended_rules(struct pass_fn *f);
/* A register beyond the first 256 bytes, inside a dword. Lock held. */
uint32_t pass_extended_read(const struct pass_fn *f, unsigned reg, unsigned size);

/* --- config.c --- */
/* The guest's view after a reset of the function: nothing decoded, no message. Lock held, or nobody
 * else there. */
void pass_forget(struct pass_fn *f);

/* --- irq.c; lock held unless said --- */
/* Command, MSI or MSI-X registers changed: the hardware follows. from: this CPU. */
void pass_irq_follow(struct pass_fn *f, uint32_t from);
/* An access of the pages with the MSI-X table. Takes the lock. */
void pass_table_access(void *fn, struct vio *io);
/* What went wrong and could not be said with the lock held. */
void pass_complain(struct pass_fn *f);
/* The hardware forgot: everything is written again. */
void pass_irq_restore(struct pass_fn *f, uint32_t from);

/* --- bus.c --- */
enum hv_err pass_bus_add(struct pass_fn *f) HV_MUST_CHECK;
void pass_bus_leave(struct pass *p);

/* --- ports.c; before the VM's CPUs run --- */
/* No port is the guest's. HV_NOMEM: there is no room for the map, every access exits. */
enum hv_err pass_ports_close(struct pass *p) HV_MUST_CHECK;
/* The ports of an I/O BAR are. */
void pass_ports_open(struct pass *p, const struct port_pci_bar *b);

/* --- reset.c --- */
void pass_bars_restore(const struct pass_fn *f);
/* No bus master, no message, then FLR where there is one. Boot or end, no lock held. */
void pass_reset(struct pass_fn *f);
