/* SPDX-License-Identifier: BSD-2-Clause */
/* AMD-Vi: one device table, one set of I/O page tables a VM, a command buffer and an event log for
 * each unit, an interrupt remapping table for each function that a guest owns. AMD I/O
 * Virtualization Technology (IOMMU) Specification 3.07: 2.2 "IOMMU Logical Topology and Data
 * Structures", 2.4 "Commands", 2.5 "Event Logging", 3.4 "IOMMU MMIO Registers".
 * Tested by tools/tests/test_amdvi.c and the steps of tools/steps/devices.py. */
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/pci.h"
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/plat/kept.h"
#include "hv/base/lock.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/machine.h"

enum {
    DEV_TABLE = 0x00,
    CMD_BASE = 0x08,
    EVENT_BASE = 0x10,
    CONTROL = 0x18,
    EXCLUSION = 0x20,
    CMD_HEAD = 0x2000,
    CMD_TAIL = 0x2008,
    EVENT_HEAD = 0x2010,
    EVENT_TAIL = 0x2018,
    STATUS = 0x2020,
};
#define REGISTERS 0x4000u
#define CONTROL_ENABLE BIT(0)
#define CONTROL_EVENT_LOG BIT(2)
#define CONTROL_EVENT_INT BIT(3)
#define CONTROL_COHERENT BIT(10)
#define CONTROL_CMD BIT(12)
#define STATUS_OVERFLOW 1u
#define STATUS_EVENT_INT 2u
#define LENGTH_256 (8ull << 56)
#define ENTRIES 256u
#define RING_MASK (ENTRIES * 16 - 1)

/* 2.2.2.1 "Device Table Entry Format", four quadwords of which three are used. */
#define DTE_WORDS 4
#define DTE_COUNT 65536u
#define DTE_V BIT(0)
#define DTE_TV BIT(1)
#define DTE_MODE_SHIFT 9
#define DTE_READ BIT(61)
#define DTE_WRITE BIT(62)
#define DTE2_IV BIT(0)
#define DTE2_INT_LENGTH_SHIFT 1
#define DTE2_INT_REMAP (2ull << 60) /* IntCtl 10b: fixed and arbitrated ones are remapped */
#define INT_LENGTH 8ull             /* 2^8 entries */
#define INT_BYTES PAGE_SIZE         /* of 4 bytes; the rest is unused */
/* 2.2.5 "Interrupt Remapping Tables", basic format */
#define IRTE_ENABLE 1u
#define IRTE_DEST_SHIFT 8
#define IRTE_VECTOR_SHIFT 16
/* 2.2.3 "I/O Page Tables for Host Translations" */
#define PTE_PRESENT BIT(0)
#define PTE_LEVEL_SHIFT 9
#define LEVELS 4u
/* 2.4 "Commands": the opcode is in 63:60 of the first quadword */
enum { CMD_WAIT = 1, CMD_DTE = 2, CMD_PAGES = 3, CMD_INTERRUPTS = 5 };
#define CMD(op) ((uint64_t)(op) << 60)
#define WAIT_STORE 1ull
#define PAGES_ALL (MASK(62, 12) | 3ull) /* S and PDE: everything of the domain */
/* 2.5 "Event Logging" */
enum { EVENT_DTE = 1, EVENT_PAGE_FAULT = 2 };
#define EVENT_CODE(hi) ((unsigned)((hi) >> 60))
#define EVENT_RW BIT(53)

struct unit {
    uint8_t *regs;
    uint64_t *commands, *events;
    uint32_t tail, head;
    _Alignas(8) _Atomic uint64_t done; /* written by the unit */
};
static struct unit units[IOMMU_UNITS];
static unsigned nunits;
static uint64_t *dte; /* [bdf * DTE_WORDS] */
static struct {
    pci_bdf_t f;
    uint32_t *table;
    hpa_t at;
} remapped[64];
static unsigned nremapped;
static struct lock lock = {.level = LOCK_PCI_CONFIG};

/* Next level 0: a page of the size that the table's level gives. */
static uint64_t leaf(uint64_t hpa, unsigned level)
{
    (void)level;
    return hpa | PTE_PRESENT | DTE_READ | DTE_WRITE;
}

static uint64_t link(uint64_t hpa, unsigned level)
{
    return hpa | PTE_PRESENT | DTE_READ | DTE_WRITE | (uint64_t)level << PTE_LEVEL_SHIFT;
}

static const struct iommu_format *amdvi_format(void)
{
    static const struct iommu_format format = {LEVELS, true, leaf, link};
    return &format;
}

static void submit(struct unit *u, uint64_t lo, uint64_t hi)
{
    uint64_t *c = u->commands + u->tail / 8;

    c[0] = lo;
    c[1] = hi;
    u->tail = (u->tail + 16) & RING_MASK;
}

/* What was submitted has happened when this returns true. */
static bool complete(struct unit *u)
{
    uint64_t until = rdtsc() + tsc_hz / 1000 * IOMMU_WAIT_MS;

    atomic_store_explicit(&u->done, 0, memory_order_relaxed);
    submit(u, CMD(CMD_WAIT) | (uint64_t)(uintptr_t)&u->done | WAIT_STORE, 1);
    fence_mfence();
    mmio_write(u->regs + CMD_TAIL, 8, u->tail);
    /* acquire: written by the unit behind the others' effect */
    while (!atomic_load_explicit(&u->done, memory_order_acquire))
        if (rdtsc() > until)
            return false;
    return true;
}

static bool flush(pci_bdf_t f, uint32_t domain)
{
    bool good = true;

    cpu_wbinvd(); /* units that do not snoop see the tables */
    for (unsigned i = 0; i < nunits; i++) {
        submit(&units[i], CMD(CMD_DTE) | f, 0);
        submit(&units[i], CMD(CMD_PAGES) | (uint64_t)domain << 32, PAGES_ALL);
        submit(&units[i], CMD(CMD_INTERRUPTS) | f, 0);
        good &= complete(&units[i]);
    }
    if (!good)
        log_err("iommu", "an AMD-Vi unit does not answer: what it cached may still be in force");
    return good;
}

/* Zeroed memory for a unit. */
static enum hv_err pages(uint64_t bytes, hpa_t *at)
{
    TRY(phys_alloc(bytes, bytes < REGION_SIZE ? bytes : PAGE_SIZE, 0, at));
    memset(port_ptr(*at), 0, bytes);
    return HV_OK;
}

/* The unit's own MSI, by which it tells of events (3.2 "Capability Block Registers"). */
static void events_route(pci_bdf_t self)
{
    unsigned at = port_pci_read(self, PCI_CAPABILITIES, 1) & 0xfc;

    for (unsigned n = 0; at >= 0x40 && n < 48; n++) {
        if (port_pci_read(self, at, 1) == PCI_CAP_MSI) {
            uint32_t control = port_pci_read(self, at + PCI_MSI_CONTROL, 2);
            unsigned reg = at + PCI_MSI_ADDRESS;
            port_pci_write(self, reg, 4,
                           APIC_MSI_BASE | (percpus[0].apic_id & 0xff) << APIC_MSI_DEST_SHIFT);
            if (control & PCI_MSI_64)
                port_pci_write(self, reg += 4, 4, 0);
            port_pci_write(self, reg + 4, 2, VECTOR_IOMMU);
            port_pci_write(self, at + PCI_MSI_CONTROL, 2, (control & ~0x70u) | PCI_MSI_ENABLE);
            port_pci_write(self, PCI_COMMAND, 2,
                           port_pci_read(self, PCI_COMMAND, 2) | PCI_COMMAND_MASTER);
            return;
        }
        at = port_pci_read(self, at + 1, 1) & 0xfc;
    }
}

static enum hv_err unit_start(const struct iommu_unit *t, hpa_t table)
{
    struct unit *u = &units[nunits];
    hpa_t commands, events;

    u->regs = paging_map_mmio(hpa(t->base), REGISTERS);
    kept_add(t->base, REGISTERS, false);
    if (mmio_read(u->regs + CONTROL, 8) == ~0ull) {
        log_warn("iommu", "the AMD-Vi unit at 0x%llx does not answer: none is used",
                 (unsigned long long)t->base);
        return HV_UNSUPPORTED;
    }
    TRY(pages(ENTRIES * 16, &commands));
    TRY(pages(ENTRIES * 16, &events));
    u->commands = port_ptr(commands);
    u->events = port_ptr(events);
    mmio_write(u->regs + CONTROL, 8, 0);
    mmio_write(u->regs + DEV_TABLE, 8, table.v | (DTE_COUNT * 32 / PAGE_SIZE - 1));
    mmio_write(u->regs + CMD_BASE, 8, commands.v | LENGTH_256);
    mmio_write(u->regs + EVENT_BASE, 8, events.v | LENGTH_256);
    mmio_write(u->regs + EXCLUSION, 8, 0);
    mmio_write(u->regs + CMD_HEAD, 8, 0);
    mmio_write(u->regs + CMD_TAIL, 8, 0);
    mmio_write(u->regs + EVENT_HEAD, 8, 0);
    mmio_write(u->regs + EVENT_TAIL, 8, 0);
    events_route(t->self);
    /* IVHD's flags 7:0 say how its HyperTransport side is to be set up: HtTunEn 1, PassPW 8,
     * ResPassPW 9, Isoc 11 of the control register (5.2.2.1, table 96) */
    uint64_t link_flags = (t->flags & 1u ? BIT(1) : 0) | (t->flags & 2u ? BIT(8) : 0) |
                          (t->flags & 4u ? BIT(9) : 0) | (t->flags & 8u ? BIT(11) : 0);
    mmio_write(u->regs + CONTROL, 8,
               link_flags | CONTROL_COHERENT | CONTROL_CMD | CONTROL_EVENT_LOG | CONTROL_EVENT_INT |
                   CONTROL_ENABLE);
    nunits++;
    if (complete(u))
        return HV_OK;
    log_err(
        "iommu",
        "the AMD-Vi unit at 0x%llx executes no commands: none is used; iommu=off leaves it alone",
        (unsigned long long)t->base);
    return HV_UNSUPPORTED;
}

/* As a machine without: a unit that blocks what is behind it cannot be left beside one that
 * fails. */
static enum hv_err give_up(void)
{
    for (unsigned i = 0; i < nunits; i++)
        mmio_write(units[i].regs + CONTROL, 8, 0);
    return HV_UNSUPPORTED;
}

static enum hv_err amdvi_start(const struct iommu_tables *t)
{
    hpa_t table;

    TRY(pages(DTE_COUNT * 32ull, &table));
    dte = port_ptr(table);
    for (unsigned f = 0; f < DTE_COUNT; f++) /* translated, and to nowhere */
        dte[f * DTE_WORDS] = DTE_V | DTE_TV;
    cpu_wbinvd();
    for (unsigned i = 0; i < t->nunits; i++)
        if (unit_start(&t->unit[i], table) != HV_OK)
            return give_up();
    log_info("iommu", "AMD-Vi: %u units, %u levels, interrupts %s", nunits, LEVELS,
             hv_opt.intremap ? "remapped" : "not remapped");
    return HV_OK;
}

/* The interrupt table of f, with nothing in it. */
static enum hv_err int_table(pci_bdf_t f, hpa_t *at)
{
    for (unsigned i = 0; i < nremapped; i++)
        if (remapped[i].f == f) { /* a second owner */
            memset(remapped[i].table, 0, INT_BYTES);
            *at = remapped[i].at;
            return HV_OK;
        }
    if (nremapped == ARRAY_SIZE(remapped))
        return HV_NOMEM;
    TRY(pages(INT_BYTES, at));
    remapped[nremapped].table = port_ptr(*at);
    remapped[nremapped].at = *at;
    remapped[nremapped++].f = f;
    return HV_OK;
}

static enum hv_err amdvi_set(pci_bdf_t f, hpa_t root, uint32_t domain)
{
    uint64_t *e = &dte[f * DTE_WORDS];
    hpa_t ints;

    if (root.v) {
        TRY(int_table(f, &ints));
        e[2] = hv_opt.intremap
                   ? DTE2_IV | INT_LENGTH << DTE2_INT_LENGTH_SHIFT | ints.v | DTE2_INT_REMAP
                   : 0;
        e[1] = domain;
        __atomic_store_n(&e[0],
                         DTE_V | DTE_TV | (uint64_t)LEVELS << DTE_MODE_SHIFT | root.v | DTE_READ |
                             DTE_WRITE,
                         __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(&e[0], DTE_V | DTE_TV, __ATOMIC_SEQ_CST);
    }
    lock_take(&lock);
    bool good = flush(f, domain);
    lock_drop(&lock);
    return good ? HV_OK : HV_UNSUPPORTED;
}

static void amdvi_faults(void (*emit)(pci_bdf_t f, uint64_t at, bool write, uint32_t reason))
{
    for (unsigned i = 0; i < nunits; i++) {
        struct unit *u = &units[i];
        uint32_t tail = (uint32_t)mmio_read(u->regs + EVENT_TAIL, 8) & RING_MASK;

        for (unsigned n = 0; u->head != tail && n < ENTRIES; n++) {
            uint64_t lo = u->events[u->head / 8], at = u->events[u->head / 8 + 1];
            emit((pci_bdf_t)lo, at, lo & EVENT_RW, EVENT_CODE(lo));
            u->head = (u->head + 16) & RING_MASK;
        }
        mmio_write(u->regs + EVENT_HEAD, 8, u->head);
        uint32_t status = mmio_read32(u->regs + STATUS);
        mmio_write32(u->regs + STATUS, status & (STATUS_OVERFLOW | STATUS_EVENT_INT));
        if (status & STATUS_OVERFLOW) { /* 2.5.1: logging starts again when it is switched on */
            uint64_t control = mmio_read(u->regs + CONTROL, 8);
            mmio_write(u->regs + CONTROL, 8, control & ~CONTROL_EVENT_LOG);
            mmio_write(u->regs + EVENT_HEAD, 8, 0);
            mmio_write(u->regs + EVENT_TAIL, 8, 0);
            u->head = 0;
            mmio_write(u->regs + CONTROL, 8, control);
        }
    }
}

/* 2.2.5: the index is the message's data. */
static bool amdvi_message(pci_bdf_t f, uint8_t vector, uint32_t apic_id, uint64_t *address,
                          uint32_t *data)
{
    uint32_t *table = NULL;
    uint32_t entry =
        IRTE_ENABLE | apic_id << IRTE_DEST_SHIFT | (uint32_t)vector << IRTE_VECTOR_SHIFT;

    for (unsigned i = 0; i < nremapped; i++)
        if (remapped[i].f == f)
            table = remapped[i].table;
    if (!table || !hv_opt.intremap || apic_id > APIC_MSI_ID_MAX)
        return false;
    lock_take(&lock);
    if (__atomic_exchange_n(&table[vector], entry, __ATOMIC_SEQ_CST) != entry) {
        for (unsigned i = 0; i < nunits; i++) {
            submit(&units[i], CMD(CMD_INTERRUPTS) | f, 0);
            (void)complete(&units[i]);
        }
    }
    lock_drop(&lock);
    *address = APIC_MSI_BASE;
    *data = vector;
    return true;
}

static bool amdvi_remaps(void)
{
    return hv_opt.intremap;
}

const struct iommu_ops amdvi_ops = {
    .name = "AMD-Vi",
    .start = amdvi_start,
    .format = amdvi_format,
    .set = amdvi_set,
    .faults = amdvi_faults,
    .message = amdvi_message,
    .remaps = amdvi_remaps,
};
