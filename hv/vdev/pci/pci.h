/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's PCI bus 0: functions with a configuration space, BARs that the guest may move inside two
 * windows, a list of capabilities, INTx and MSI-X. Knows neither a device nor the PC: interrupts
 * leave through struct pci_irq_ops. Filled at boot, then its set of functions stays.
 * Sources: PCI Local Bus Specification 3.0, chapter 6 "Configuration Space" and 6.8.2 "MSI-X
 * Capability and Table Structures". Tested by tools/tests/test_pci_bus.c. */
#pragma once
#include <stdatomic.h>
#include "hv/base/lock.h"
#include "hv/vdev/vbus.h"

#define PCI_FUNCTIONS 32 /* on the bus, without the host bridge */
#define PCI_BARS 6
#define PCI_CONFIG_BYTES 256
#define PCI_PINS 8             /* interrupt lines of the bus; the PC decides where they end */
#define PCI_NOWHERE UINT64_MAX /* a BAR that is not decoded */
#define PCI_DEVFN(device, function) ((uint8_t)((device) << 3 | (function)))

/* What the DSDT's _CRS names (hv/vm/tables/dsdt.asl). */
#define PCI_WINDOW_LOW 0xc0000000ull
#define PCI_WINDOW_LOW_END 0xfec00000ull
#define PCI_IO_BEGIN 0xc000u
#define PCI_IO_END 0xf000u
/* Configuration space as memory, of bus 0 alone: a page for each device and function. What MCFG
 * names once there is a function. */
#define PCI_ECAM_BASE 0xfef00000ull
#define PCI_ECAM_BYTES 0x100000ull
#define PCI_ECAM_FUNCTION 4096u
struct pci_window {
    uint64_t base, end; /* [base, end); both 0: none */
};

struct pci_bus;
struct pci_function;

/* What a device of the bus does. Each may be NULL. `from` is the CPU we are on. */
struct pci_ops {
    /* Configuration accesses before the bus looks at them: true: done. Does not cross a dword;
     * beyond the first 256 bytes only where pci_function.extended. No lock held. */
    bool (*config_read)(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                        uint32_t *value);
    bool (*config_write)(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                         uint32_t value);
    /* An access inside BAR `bar`, but for the MSI-X structures; io->addr is the offset in the BAR.
     * No lock held, any CPU of the VM, several at once. */
    void (*bar_access)(struct pci_function *f, unsigned bar, struct vio *io);
    /* BAR `bar` is decoded at gpa `at` from now on, PCI_NOWHERE: nowhere. For those who map it.
     * Bus lock held. */
    void (*bar_moved)(struct pci_function *f, unsigned bar, uint64_t at);
    /* The command register, an entry of the MSI-X table or MSI-X's control may have changed. No
     * lock held. */
    void (*interrupts_changed)(struct pci_function *f, uint32_t from);
};

struct pci_bar {
    uint64_t size; /* bytes, a power of two; 0: none, or the upper half of the one before */
    bool io, wide, prefetch; /* port space; 64 bits, so that it takes two; prefetchable */
    _Atomic uint64_t at;     /* gpa or port it is decoded at, PCI_NOWHERE. Set under the lock, read
                              * without: an access meanwhile finds the old place or the new one */
};

/* One entry as the table shows it: 6.8.2.6 "Message Address for MSI-X Table Entries" and on. */
struct pci_msix_entry {
    uint32_t address, address_high, data, control;
};
#define PCI_MSIX_MASKED 1u /* of control; the rest reads 0 */

struct pci_msix {
    unsigned cap;      /* register of the capability, 0: none */
    unsigned count;    /* entries, 1..2048 */
    unsigned bar;      /* where both structures are */
    uint32_t table_at; /* offsets in it, multiples of 8 */
    uint32_t pba_at;
    struct pci_msix_entry *entry; /* [count], the device's memory */
    uint64_t *pending;            /* [(count + 63) / 64], likewise */
};

struct pci_function {
    struct pci_bus *bus;
    const struct pci_ops *ops;
    void *dev;
    uint8_t devfn;
    bool extended; /* its ops answer for 4096 bytes of configuration space; else all ones */
    /* Guarded by the bus's lock. */
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t writable[PCI_CONFIG_BYTES]; /* bits that a plain write changes */
    struct pci_bar bar[PCI_BARS];
    struct pci_msix msix;
    uint8_t cap_last, cap_next; /* where the list ends, and where the next capability goes */
    bool intx;                  /* the device asserts its interrupt */
    bool driven;                /* and its pin is driven: not disabled, no MSI-X */
};

/* How interrupts leave the bus. Called with the bus's lock held: levels below LOCK_PCI only. */
struct pci_irq_ops {
    void (*line)(void *ctx, uint32_t from, unsigned pin, bool level); /* pin 0..PCI_PINS-1 */
    void (*message)(void *ctx, uint32_t from, uint64_t address, uint32_t data);
};

struct pci_bus {
    struct lock lock; /* LOCK_PCI */
    struct pci_function *fn[PCI_FUNCTIONS];
    unsigned count;
    struct pci_window low, high;
    uint64_t told_low; /* where the window below 4 GiB begins for the guest: at low.base, or below
                        * it, where functions are that place themselves */
    uint64_t next_low, next_high; /* where the next BAR is placed at boot */
    uint32_t next_io;
    const struct pci_irq_ops *irq;
    void *ctx;
    uint32_t drivers[PCI_PINS]; /* functions that drive a line: bit = index in fn */
};

/* --- bus.c --- */
void pci_bus_init(struct pci_bus *b, const struct pci_irq_ops *irq, void *ctx);
/* The window above 4 GiB, a multiple of 2 MiB; before functions are added. */
void pci_bus_window(struct pci_bus *b, uint64_t base, uint64_t end);
/* BARs placed from now on lie below gpa `low_end`, above 4 GiB from gpa `high` and from port `io`
 * on: the rest of the windows is for functions that place themselves. Before functions are added.
 */
void pci_bus_leave(struct pci_bus *b, uint64_t low_end, uint32_t io, uint64_t high);
/* Adds a function that pci_function_init and the calls below have made: its BARs are placed in the
 * windows and decoded, as firmware would. Boot, one CPU. HV_NOMEM: no room; HV_INVALID: the place
 * is taken, or function 0 of the device is missing. */
enum hv_err pci_bus_add(struct pci_bus *b, struct pci_function *f) HV_MUST_CHECK;
/* A configuration access of 1, 2 or 4 bytes that does not cross a dword. bus_devfn: 15:8 the bus,
 * 7:0 device and function. reg: below 4096. Nobody there: all ones; the caller answers for the host
 * bridge. */
uint32_t pci_config_read(struct pci_bus *b, uint32_t from, unsigned bus_devfn, unsigned reg,
                         unsigned size);
void pci_config_write(struct pci_bus *b, uint32_t from, unsigned bus_devfn, unsigned reg,
                      unsigned size, uint32_t value);
/* Memory and port accesses inside the windows: finds the BAR. Unclaimed ones are left alone. */
void pci_bus_mmio(void *bus, struct vio *io);
bool pci_bus_pio(struct pci_bus *b, struct vio *io);

/* --- function.c --- */
/* id: vendor 15:0, device 31:16. subsystem likewise. class: 23:0. pin: 0 none, 1..4 INTA..INTD. */
struct pci_identity {
    uint32_t id, subsystem, class_code;
    uint8_t revision, pin, devfn;
};
void pci_function_init(struct pci_function *f, const struct pci_identity *id,
                       const struct pci_ops *ops, void *dev);
/* Declares a BAR. wide ones take `bar` and the next. */
void pci_bar_declare(struct pci_function *f, unsigned bar, uint64_t size, bool wide, bool prefetch);
void pci_bar_declare_io(struct pci_function *f, unsigned bar, uint32_t size);
/* Appends a capability of len bytes (with its two first, which are filled in here) and returns its
 * register. writable: as in struct pci_function, NULL: read-only. */
unsigned pci_capability(struct pci_function *f, uint8_t id, const uint8_t *body, unsigned len,
                        const uint8_t *writable);
/* Appends MSI-X: m's fields but cap are given; both structures must lie in the declared BAR. */
void pci_msix_declare(struct pci_function *f, const struct pci_msix *m);
/* config.c: the registers as the bus has them, without ops. Lock held, or boot. */
uint32_t pci_config_get(const struct pci_function *f, unsigned reg, unsigned size);
void pci_config_put(struct pci_function *f, unsigned reg, unsigned size, uint32_t value);
/* What the bus itself does with a write: BARs, command, MSI-X control, writable bits. For ops that
 * take some registers over and leave the rest. Takes the lock. */
void pci_config_default_write(struct pci_function *f, uint32_t from, unsigned reg, unsigned size,
                              uint32_t value);
uint32_t pci_config_default_read(struct pci_function *f, unsigned reg, unsigned size);

/* --- interrupt.c; each takes the lock --- */
/* The device asserts or releases its interrupt pin, a level. */
void pci_intx_set(struct pci_function *f, uint32_t from, bool level);
/* Sends MSI-X vector n: at once, or, if it or the function is masked, by its pending bit when that
 * ends. Beyond the table or MSI-X off: nothing. */
void pci_msix_send(struct pci_function *f, uint32_t from, unsigned n);
bool pci_msix_enabled(struct pci_function *f);
/* What waits for a mask to go is void: the device was reset (6.8.3.5 "Per-vector Masking and
 * Function Masking": its pending bits are cleared with their cause). */
void pci_msix_forget(struct pci_function *f);
/* An access to the table or the pending bits, offset in the BAR. false: neither is there. */
bool pci_msix_access(struct pci_function *f, uint32_t offset, struct vio *io);
/* Command, MSI-X control or the table changed: pins and messages follow. Lock held. */
void pci_interrupt_update(struct pci_function *f, uint32_t from);
