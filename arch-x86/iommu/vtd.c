/* SPDX-License-Identifier: BSD-2-Clause */
/* VT-d: one root table, one set of I/O page tables a VM, queued invalidation, interrupt remapping.
 * All units have the same root table; each sees its own functions' requests only. Intel
 * Virtualization Technology for Directed I/O 4.1: chapters 3 "DMA Remapping" (legacy mode), 5
 * "Interrupt Remapping", 6.5 "Invalidation of Translation Caches", 11.4 "Register Descriptions".
 * Tested by tools/tests/test_vtd.c and the steps of tools/steps/devices.py. */
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/paging.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/trap.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/plat/kept.h"
#include "hv/base/lock.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/machine.h"

enum {
    CAP = 0x08,
    ECAP = 0x10,
    GCMD = 0x18,
    GSTS = 0x1c,
    RTADDR = 0x20,
    FSTS = 0x34,
    FECTL = 0x38,
    FEDATA = 0x3c,
    FEADDR = 0x40,
    FEUADDR = 0x44,
    PMEN = 0x64,
    IQH = 0x80,
    IQT = 0x88,
    IQA = 0x90,
    IRTA = 0xb8,
};
#define GCMD_TE BIT(31)
#define GCMD_SRTP BIT(30)
#define GCMD_WBF BIT(27)
#define GCMD_QIE BIT(26)
#define GCMD_IRE BIT(25)
#define GCMD_SIRTP BIT(24)
#define GCMD_CFI BIT(23)
#define GSTS_KEPT 0x96ffffffu /* the rest are commands that are done once */
#define CAP_RWBF BIT(4)
#define CAP_SAGAW(c) ((unsigned)((c) >> 8) & 0x1f)
#define SAGAW_39 BIT(1)
#define SAGAW_48 BIT(2)
#define CAP_FRO(c) (((unsigned)((c) >> 24) & 0x3ff) * 16)
#define CAP_2M BIT(34)
#define CAP_NFR(c) (((unsigned)((c) >> 40) & 0xff) + 1)
#define ECAP_COHERENT BIT(0)
#define ECAP_QI BIT(1)
#define REGISTERS 0x2000u /* faults are recorded beyond the first page on some */

/* Second-stage entries: 9.8 "Second-Stage Paging Entries". */
#define SS_READ BIT(0)
#define SS_WRITE BIT(1)
#define SS_LARGE BIT(7)
#define ENTRY_P BIT(0)
#define CONTEXT_DOMAIN_SHIFT 8
/* Descriptors: 6.5.2. */
#define QI_CONTEXT (1u | 1u << 4)         /* all of them */
#define QI_IOTLB (2u | 1u << 4 | 3u << 6) /* all of them, reads and writes drained */
#define QI_IEC 4u
#define QI_WAIT (5u | 1u << 5)
#define QUEUE_ENTRIES 256u
#define QUEUE_BYTES (QUEUE_ENTRIES * 16u)
/* Interrupt remapping table entries: 9.10. */
#define IRTE_VECTOR_SHIFT 16
#define IRTE_XAPIC_SHIFT 40
#define IRTE_X2APIC_SHIFT 32
#define IRTE_VERIFY (BIT(2) << 16) /* SVT 01: the whole source */
#define IRTE_COUNT 65536u
#define IRTE_PER_FUNCTION 256u
#define IRTA_SIZE 15u /* 2^(15 + 1) entries */
#define IRTA_EIME BIT(11)
#define REMAPPED_FORMAT BIT(4)

struct unit {
    uint8_t *regs;
    uint64_t cap;
    uint64_t *queue;
    hpa_t queue_at;
    uint32_t tail;
    _Atomic uint32_t done; /* written by the unit */
};
static struct unit units[IOMMU_UNITS];
static unsigned nunits;
static uint64_t *root; /* [bus * 2] */
static hpa_t root_at, irt_at;
static uint64_t *irt;       /* [index * 2], NULL: no remapping */
static bool eime, coherent; /* the latter: the units snoop tables and queue */
static const struct iommu_tables *firmware;
static pci_bdf_t irt_owner[IRTE_COUNT / IRTE_PER_FUNCTION];
static unsigned irt_blocks = 1; /* block 0 is the I/O APICs' */
static struct lock lock = {.level = LOCK_PCI_CONFIG};

static uint64_t leaf(uint64_t hpa, unsigned level)
{
    return hpa | SS_READ | SS_WRITE | (level > 1 ? SS_LARGE : 0);
}

static uint64_t link(uint64_t hpa, unsigned level)
{
    (void)level;
    return hpa | SS_READ | SS_WRITE;
}

static struct iommu_format format = {.leaf = leaf, .link = link};

static const struct iommu_format *vtd_format(void)
{
    return &format;
}

static bool wait_bits(struct unit *u, uint32_t mask, uint32_t want)
{
    uint64_t until = rdtsc() + tsc_hz / 1000 * IOMMU_WAIT_MS;

    while ((mmio_read32(u->regs + GSTS) & mask) != want)
        if (rdtsc() > until)
            return false;
    return true;
}

/* 11.4.4.1 "Global Command Register": one command at a time, the status of the others with it. */
static bool command(struct unit *u, uint32_t bit, bool on)
{
    uint32_t keep = mmio_read32(u->regs + GSTS) & GSTS_KEPT;

    mmio_write32(u->regs + GCMD, on ? keep | bit : keep & ~bit);
    return wait_bits(u, bit, on ? bit : 0);
}

static void submit(struct unit *u, uint64_t lo, uint64_t hi)
{
    u->queue[u->tail * 2] = lo;
    u->queue[u->tail * 2 + 1] = hi;
    if (!coherent)
        cpu_clflush(&u->queue[u->tail * 2]);
    u->tail = (u->tail + 1) % QUEUE_ENTRIES;
}

/* What was submitted has happened when this returns true. */
static bool complete(struct unit *u)
{
    uint64_t until = rdtsc() + tsc_hz / 1000 * IOMMU_WAIT_MS;

    if (u->cap & CAP_RWBF) {
        uint32_t keep = mmio_read32(u->regs + GSTS) & GSTS_KEPT;
        mmio_write32(u->regs + GCMD, keep | GCMD_WBF);
    }
    atomic_store_explicit(&u->done, 0, memory_order_relaxed);
    submit(u, QI_WAIT | 1ull << 32, (uint64_t)(uintptr_t)&u->done); /* virtual = physical */
    fence_mfence();
    mmio_write(u->regs + IQT, 8, (uint64_t)u->tail << 4);
    /* acquire: written by the unit behind the others' effect */
    while (!atomic_load_explicit(&u->done, memory_order_acquire))
        if (rdtsc() > until)
            return false;
    return true;
}

/* Everything cached is forgotten. */
static bool flush(struct unit *u)
{
    submit(u, QI_CONTEXT, 0);
    submit(u, QI_IOTLB, 0);
    if (irt)
        submit(u, QI_IEC, 0);
    return complete(u);
}

/* Entries of interrupts alone. */
static bool flush_interrupts(struct unit *u)
{
    submit(u, QI_IEC, 0);
    return complete(u);
}

static bool flush_all(bool (*what)(struct unit *u))
{
    bool good = true;

    for (unsigned i = 0; i < nunits; i++)
        good &= what(&units[i]);
    if (!good)
        log_err("iommu", "a VT-d unit does not answer: what it cached may still be in force");
    return good;
}

/* Zeroed memory for a unit. */
static enum hv_err pages(uint64_t bytes, hpa_t *at)
{
    TRY(phys_alloc(bytes, bytes < REGION_SIZE ? bytes : PAGE_SIZE, 0, at));
    memset(port_ptr(*at), 0, bytes);
    return HV_OK;
}

static uint8_t *registers(const struct iommu_tables *t, unsigned i)
{
    if (!units[i].regs)
        units[i].regs = paging_map_mmio(hpa(t->unit[i].base), REGISTERS);
    return units[i].regs;
}

bool vtd_wants_xapic(const struct iommu_tables *t)
{
    uint64_t ecap[IOMMU_UNITS] = {0};

    for (unsigned i = 0; i < t->nunits; i++)
        ecap[i] = mmio_read(registers(t, i) + ECAP, 8);
    return dmar_wants_xapic(t, ecap);
}

static enum hv_err unit_map(const struct iommu_tables *t, unsigned i)
{
    struct unit *u = &units[i];

    (void)registers(t, i);
    kept_add(t->unit[i].base, REGISTERS, false);
    u->cap = mmio_read(u->regs + CAP, 8);
    if (u->cap == ~0ull || !(mmio_read(u->regs + ECAP, 8) & ECAP_QI) ||
        !(CAP_SAGAW(u->cap) & (SAGAW_39 | SAGAW_48))) {
        log_warn("iommu",
                 "the unit at 0x%llx has no queued invalidation or page tables of 3 or 4 "
                 "levels: no IOMMU is used",
                 (unsigned long long)t->unit[i].base);
        return HV_UNSUPPORTED;
    }
    TRY(pages(QUEUE_BYTES, &u->queue_at));
    u->queue = port_ptr(u->queue_at);
    nunits++;
    return HV_OK;
}

/* What all units have in common. */
static enum hv_err common(const struct iommu_tables *t)
{
    unsigned sagaw = SAGAW_39 | SAGAW_48;
    bool remap = t->intr_remap && hv_opt.intremap, x2 = apic_is_x2();

    format.large = coherent = true;
    for (unsigned i = 0; i < nunits; i++) {
        uint64_t ecap = mmio_read(units[i].regs + ECAP, 8);
        coherent &= (ecap & ECAP_COHERENT) != 0;
        sagaw &= CAP_SAGAW(units[i].cap);
        format.large &= (units[i].cap & CAP_2M) != 0;
        remap = remap && (ecap & VTD_ECAP_IR) && (!x2 || (ecap & VTD_ECAP_EIM));
    }
    if (!sagaw) {
        log_warn("iommu", "the VT-d units have no depth of page tables in common: none is used");
        return HV_UNSUPPORTED;
    }
    format.levels = sagaw & SAGAW_48 ? 4 : 3;
    eime = x2;
    TRY(pages(PAGE_SIZE, &root_at));
    root = port_ptr(root_at);
    if (remap) {
        TRY(pages(IRTE_COUNT * 16ull, &irt_at));
        irt = port_ptr(irt_at);
    }
    return HV_OK;
}

static bool unit_start(struct unit *u)
{
    if (mmio_read32(u->regs + PMEN) >> 31)
        mmio_write32(u->regs + PMEN, 0); /* firmware's protected ranges end with it */
    if (mmio_read32(u->regs + GSTS) & GCMD_IRE && !command(u, GCMD_IRE, false))
        return false;
    if (mmio_read32(u->regs + GSTS) & GCMD_QIE && !command(u, GCMD_QIE, false))
        return false;
    mmio_write(u->regs + IQT, 8, 0);
    mmio_write(u->regs + IQA, 8, u->queue_at.v);
    mmio_write(u->regs + RTADDR, 8, root_at.v);
    if (!command(u, GCMD_QIE, true) || !command(u, GCMD_SRTP, true))
        return false;
    if (irt) {
        mmio_write(u->regs + IRTA, 8, irt_at.v | IRTA_SIZE | (eime ? IRTA_EIME : 0));
        if (!command(u, GCMD_SIRTP, true))
            return false;
    }
    if (!flush(u) || !command(u, GCMD_TE, true))
        return false;
    if (irt && (!command(u, GCMD_IRE, true) || !command(u, GCMD_CFI, false)))
        return false;
    /* faults to CPU 0 */
    mmio_write32(u->regs + FEDATA, VECTOR_IOMMU);
    mmio_write32(u->regs + FEADDR, APIC_MSI_BASE | (percpus[0].apic_id & 0xff)
                                                       << APIC_MSI_DEST_SHIFT);
    mmio_write32(u->regs + FEUADDR, percpus[0].apic_id & ~0xffu);
    mmio_write32(u->regs + FECTL, 0);
    return true;
}

/* As a machine without: a unit that blocks what is behind it, or leads its interrupts elsewhere,
 * cannot be left beside one that fails. */
static enum hv_err give_up(void)
{
    for (unsigned i = 0; i < nunits; i++)
        if (!command(&units[i], GCMD_IRE, false) || !command(&units[i], GCMD_TE, false) ||
            !command(&units[i], GCMD_QIE, false))
            log_err("iommu", "VT-d unit %u cannot be switched off: devices behind it are lost", i);
    irt = NULL;
    return HV_UNSUPPORTED;
}

static enum hv_err vtd_start(const struct iommu_tables *t)
{
    firmware = t;
    for (unsigned i = 0; i < t->nunits; i++)
        TRY(unit_map(t, i));
    TRY(common(t));
    cpu_wbinvd();
    for (unsigned i = 0; i < nunits; i++)
        if (!unit_start(&units[i])) {
            log_err("iommu",
                    "the VT-d unit at 0x%llx does not do what it is told: none is used; "
                    "iommu=off leaves it alone",
                    (unsigned long long)t->unit[i].base);
            return give_up();
        }
    log_info("iommu", "VT-d: %u units, %u levels, %s pages, interrupts %s", nunits, format.levels,
             format.large ? "2 MiB" : "4 KiB", irt ? "remapped" : "not remapped");
    return HV_OK;
}

static enum hv_err vtd_set(pci_bdf_t f, hpa_t tables, uint32_t domain)
{
    uint64_t *slot = &root[(f >> 8) * 2], *context;
    hpa_t at;

    if (!(*slot & ENTRY_P)) {
        if (!tables.v)
            return HV_OK;
        TRY(pages(PAGE_SIZE, &at));
        *slot = at.v | ENTRY_P;
    }
    context = (uint64_t *)port_ptr(hpa(*slot & ~PAGE_MASK)) + (f & 0xff) * 2;
    /* 3.4.3: not present while it changes */
    __atomic_store_n(&context[0], 0, __ATOMIC_SEQ_CST);
    if (tables.v) {
        context[1] = (uint64_t)domain << CONTEXT_DOMAIN_SHIFT | (format.levels - 2);
        __atomic_store_n(&context[0], tables.v | ENTRY_P, __ATOMIC_SEQ_CST);
    }
    if (!coherent)
        cpu_wbinvd(); /* the tables, too, which may be new */
    lock_take(&lock);
    bool good = flush_all(flush);
    lock_drop(&lock);
    return good ? HV_OK : HV_UNSUPPORTED;
}

static void vtd_faults(void (*emit)(pci_bdf_t f, uint64_t at, bool write, uint32_t reason))
{
    for (unsigned i = 0; i < nunits; i++) {
        struct unit *u = &units[i];
        uint8_t *record = u->regs + CAP_FRO(u->cap);

        for (unsigned n = 0; n < CAP_NFR(u->cap); n++, record += 16) {
            uint64_t hi = mmio_read(record + 8, 8), lo = mmio_read(record, 8);
            if (!(hi >> 63))
                continue;
            emit((pci_bdf_t)hi, lo & ~PAGE_MASK, !(hi >> 62 & 1), (uint32_t)(hi >> 32) & 0xff);
            mmio_write32(record + 12, 0x80000000u); /* write 1 to clear */
        }
        mmio_write32(u->regs + FSTS, mmio_read32(u->regs + FSTS) & 0x7f);
    }
}

/* The block of f's entries in the interrupt remapping table. */
static unsigned block_of(pci_bdf_t f)
{
    for (unsigned i = 1; i < irt_blocks; i++)
        if (irt_owner[i] == f)
            return i;
    if (irt_blocks == ARRAY_SIZE(irt_owner))
        return 0;
    irt_owner[irt_blocks] = f;
    return irt_blocks++;
}

static void irte_write(uint32_t index, uint8_t vector, uint32_t apic_id, uint64_t source)
{
    uint64_t lo = ENTRY_P | (uint64_t)vector << IRTE_VECTOR_SHIFT |
                  (uint64_t)apic_id << (eime ? IRTE_X2APIC_SHIFT : IRTE_XAPIC_SHIFT);

    if (irt[index * 2] == lo && irt[index * 2 + 1] == source)
        return;
    irt[index * 2 + 1] = source;
    __atomic_store_n(&irt[index * 2], lo, __ATOMIC_SEQ_CST);
    if (!coherent)
        cpu_clflush(&irt[index * 2]); /* both halves: 16 bytes do not cross a line */
    (void)flush_all(flush_interrupts);
}

/* 5.1.5.2 "Programming in MSI and MSI-X": the index is in the address, the data is 0. */
static bool vtd_message(pci_bdf_t f, uint8_t vector, uint32_t apic_id, uint64_t *address,
                        uint32_t *data)
{
    if (!irt || (!eime && apic_id > APIC_MSI_ID_MAX))
        return false;
    lock_take(&lock);
    unsigned block = block_of(f);
    uint32_t index = block * IRTE_PER_FUNCTION + vector;
    if (block)
        irte_write(index, vector, apic_id, f | IRTE_VERIFY);
    lock_drop(&lock);
    *address = APIC_MSI_BASE | REMAPPED_FORMAT | (index & 0x7fff) << 5 | (index >> 15) << 2;
    *data = 0;
    return block != 0;
}

/* Who may send what is that I/O APIC's. Where firmware does not say, everybody. */
static uint64_t ioapic_source(uint8_t id)
{
    static bool said;

    for (unsigned i = 0; i < firmware->nioapics; i++)
        if (firmware->ioapic[i].id == id)
            return firmware->ioapic[i].as | IRTE_VERIFY;
    if (!said)
        log_warn("iommu",
                 "the firmware does not say what I/O APIC %u's interrupts are tagged with: "
                 "who owns a device can send them as well",
                 id);
    said = true;
    return 0;
}

/* 5.1.5.1 "Programming in I/O xAPIC": the upper half of a redirection entry. */
bool vtd_ioapic_entry(uint8_t ioapic, uint8_t vector, uint32_t apic_id, uint32_t *high)
{
    if (!irt)
        return false;
    lock_take(&lock);
    irte_write(vector, vector, apic_id, ioapic_source(ioapic));
    lock_drop(&lock);
    *high = (uint32_t)vector << 17 | 1u << 16;
    return true;
}

static bool vtd_remaps(void)
{
    return irt != NULL;
}

const struct iommu_ops vtd_ops = {
    .name = "VT-d",
    .start = vtd_start,
    .format = vtd_format,
    .set = vtd_set,
    .faults = vtd_faults,
    .message = vtd_message,
    .remaps = vtd_remaps,
};
