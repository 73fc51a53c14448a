/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O memory management units: what the two vendors' drivers share. The firmware's tables are read
 * by pure parsers (dmar.c, ivrs.c). Tested by tools/tests/test_iommu.c and the steps of
 * tools/steps/devices.py. */
#pragma once
#include "hv/mem/p2m.h"
#include "hv/port/iommu.h"

#define IOMMU_UNITS 16
#define IOMMU_SCOPES 128
#define IOMMU_RESERVED 32
#define IOMMU_IOAPICS 16

/* Functions that a unit covers, or that memory is reserved for. */
struct iommu_scope {
    uint8_t unit;  /* index in unit[] or reserved[] */
    bool reserved; /* ... the latter */
    bool bridge;   /* all that is behind this bridge, too */
    pci_bdf_t first, last;
};
struct iommu_unit {
    uint64_t base;  /* of its registers */
    bool all;       /* it covers what no other unit names */
    pci_bdf_t self; /* AMD: its own function, and the capability there */
    uint16_t cap;
    uint8_t flags; /* AMD: of the IVHD block */
};
struct iommu_reserved { /* memory that firmware wants devices to reach: RMRR, IVMD */
    uint64_t base, end;
    bool all; /* of every function */
};
struct iommu_alias { /* requests of first..last are tagged as `as` */
    pci_bdf_t first, last, as;
};
struct iommu_ioapic { /* what an I/O APIC's messages are tagged with */
    uint8_t id;
    pci_bdf_t as;
};
struct iommu_tables {
    unsigned nunits, nscopes, nreserved, naliases, nioapics;
    struct iommu_unit unit[IOMMU_UNITS];
    struct iommu_scope scope[IOMMU_SCOPES];
    struct iommu_reserved reserved[IOMMU_RESERVED];
    struct iommu_alias alias[IOMMU_SCOPES];
    struct iommu_ioapic ioapic[IOMMU_IOAPICS];
    bool x2apic_opt_out, intr_remap; /* DMAR's flags; AMD: remapping is always there */
    bool truncated;                  /* there was more than fits, or it was damaged */
};
/* Parse a table of `len` bytes, header included. Pure, bounded by len. `bridge`: the buses behind a
 * bridge, false: it is none. false: no unit is usable. */
typedef bool (*iommu_bridge)(pci_bdf_t f, uint8_t *secondary, uint8_t *subordinate);
bool dmar_parse(const uint8_t *table, uint32_t len, iommu_bridge bridge, struct iommu_tables *out);
bool ivrs_parse(const uint8_t *table, uint32_t len, struct iommu_tables *out);
/* Would interrupts be remapped for APICs in xAPIC mode alone, or does firmware want that mode?
 * ecap: the extended capabilities of each unit (VT-d 4.1, 11.4.3). */
#define VTD_ECAP_IR BIT(3)
#define VTD_ECAP_EIM BIT(4)
bool dmar_wants_xapic(const struct iommu_tables *t, const uint64_t *ecap);
/* Is `f` covered by a unit? */
bool iommu_covers(const struct iommu_tables *t, pci_bdf_t f);
/* Memory that firmware reserved for f, NULL: none. */
const struct iommu_reserved *iommu_reserved_for(const struct iommu_tables *t, pci_bdf_t f);
/* What f's requests are tagged with. */
pci_bdf_t iommu_alias_of(const struct iommu_tables *t, pci_bdf_t f);

/* --- acs.c --- */
/* Switches that can send requests of one function to another upwards do so from now on. Boot. */
void acs_enable(void);
/* Do requests of f and of g to each other pass the IOMMU? */
bool acs_apart(pci_bdf_t f, pci_bdf_t g);

/* --- tables.c: I/O page tables --- */
struct iommu_format {
    unsigned levels; /* 3, 4 */
    bool large;      /* 2 MiB pages */
    uint64_t (*leaf)(uint64_t hpa, unsigned level);
    uint64_t (*link)(uint64_t hpa, unsigned level); /* level: of the table it leads to */
};
/* All RAM of p2m, readable and writable, nothing else. HV_RANGE: it does not fit the levels. */
enum hv_err iommu_tables_build(const struct p2m *p2m, const struct iommu_format *f,
                               hpa_t *root) HV_MUST_CHECK;

/* --- the vendors' drivers --- */
struct iommu_ops {
    const char *name;
    /* Registers mapped, everything blocked, translation on. HV_UNSUPPORTED: said why. */
    enum hv_err (*start)(const struct iommu_tables *t);
    const struct iommu_format *(*format)(void);
    /* Requests tagged f go through `root`, tag of caches `domain`; root 0: nowhere. */
    enum hv_err (*set)(pci_bdf_t f, hpa_t root, uint32_t domain);
    void (*faults)(void (*emit)(pci_bdf_t f, uint64_t at, bool write, uint32_t reason));
    /* Interrupt remapping: function f may send `vector` to `apic_id`. NULL: there is none. */
    bool (*message)(pci_bdf_t f, uint8_t vector, uint32_t apic_id, uint64_t *address,
                    uint32_t *data);
    bool (*remaps)(void);
};
extern const struct iommu_ops vtd_ops, amdvi_ops;
/* VT-d remaps what I/O APICs send as well: the upper half of a redirection entry that leads to
 * `vector` at `apic_id`; false: nothing is remapped. Bits 11:8 and 15 of the lower half: 0. ioapic:
 * its identifier in MADT; others' messages are not taken for its. */
bool vtd_ioapic_entry(uint8_t ioapic, uint8_t vector, uint32_t apic_id, uint32_t *high);
/* The same of the units that `t` names. Boot, own page tables. */
bool vtd_wants_xapic(const struct iommu_tables *t);
/* Does the IOMMU remap interrupts only while x2APIC mode is off, which every processor can do
 * without? Boot, own page tables, before apic_init. */
bool iommu_wants_xapic(void);
/* Boot, own page tables, after pci_scan: finds tables, starts the units. */
void iommu_init(void);
/* Before own page tables: where the tables are. */
void iommu_find(hpa_t rsdp, bool uefi);
/* The message for a function, by remapping if there is any; false: it cannot be addressed. */
bool iommu_message(pci_bdf_t f, uint8_t vector, uint32_t apic_id, uint64_t *address,
                   uint32_t *data);
#define IOMMU_WAIT_MS 1000u
