/* SPDX-License-Identifier: BSD-2-Clause */
/* Which IOMMU is used, and hv/port/iommu.h. Tested by tools/tests/test_iommu_maps.c and
 * the steps of tools/steps/devices.py. */
#include "arch-x86/iommu/iommu.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/pci.h"
#include "arch-x86/plat/acpi.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/mem/phys.h"
#include "hv/port/cpu.h"

#define MAX_MAPS 8 /* VMs that own devices */
/* So often in a hundredth of a second CPU 0 looks what was blocked, which may not be its own VM's
 * doing. What it leaves in the unit raises no other interrupt. */
#define LOOKS_MOST 20u
#define WINDOW_HZ 100u

static struct iommu_tables tables;
static const struct iommu_ops *ops, *candidate;
static bool running;
/* Told apart by what they map: the place of a VM that could not start is another's. */
static struct {
    const uint32_t *granule;
    hpa_t root;
} map[MAX_MAPS];
static unsigned nmaps;
/* Functions that were given once, and whose map they have. */
static struct {
    pci_bdf_t f;
    unsigned map;
} given[MAX_MAPS * 32];
static unsigned ngiven;

static bool bridge_buses(pci_bdf_t f, uint8_t *secondary, uint8_t *subordinate)
{
    if ((port_pci_read(f, PCI_HEADER_TYPE, 1) & PCI_HEADER_LAYOUT) != PCI_LAYOUT_BRIDGE)
        return false;
    *secondary = (uint8_t)port_pci_read(f, PCI_BUS_SECONDARY, 1);
    *subordinate = (uint8_t)port_pci_read(f, PCI_BUS_SUBORDINATE, 1);
    return *secondary && *secondary <= *subordinate;
}

void iommu_find(hpa_t rsdp, bool uefi)
{
    uint32_t len;
    const char *t;

    if (hv_opt.iommu == IOMMU_OFF)
        return;
    if ((t = acpi_find(rsdp, uefi, "DMAR", &len)) != NULL &&
        dmar_parse((const uint8_t *)t, len, bridge_buses, &tables))
        candidate = &vtd_ops;
    else if ((t = acpi_find(rsdp, uefi, "IVRS", &len)) != NULL &&
             ivrs_parse((const uint8_t *)t, len, &tables))
        candidate = &amdvi_ops;
    if (candidate && tables.truncated)
        log_warn("iommu",
                 "the firmware's table is damaged or too long: what could be read of it is "
                 "used (iommu=off does without)");
}

bool iommu_wants_xapic(void)
{
    if (candidate != &vtd_ops || !hv_opt.intremap)
        return false;
    for (unsigned i = 0; i < acpi_info.ncpus; i++)
        if (acpi_info.apic_id[i] > APIC_MSI_ID_MAX)
            return false;
    return vtd_wants_xapic(&tables);
}

void iommu_init(void)
{
    if (!candidate) {
        log_info("iommu", "%s",
                 hv_opt.iommu == IOMMU_OFF
                     ? "off by iommu=off"
                     : "none (the firmware setup may have a switch: VT-d, AMD-Vi, "
                       "IOMMU)");
        return;
    }
    ops = candidate;
    running = ops->start(&tables) == HV_OK;
    if (running)
        acs_enable();
}

bool port_iommu_found(void)
{
    return candidate != NULL;
}

bool port_iommu_isolates(void)
{
    return running;
}

bool port_iommu_remaps(void)
{
    return running && ops->remaps();
}

/* The tables for that map, made at its first use; *index is the tag of caches, less one. */
static enum hv_err tables_for(const struct p2m *p2m, hpa_t *root, unsigned *index)
{
    for (unsigned i = 0; i < nmaps; i++)
        if (map[i].granule == p2m->granule) {
            *root = map[i].root;
            *index = i;
            return HV_OK;
        }
    if (nmaps == MAX_MAPS)
        return HV_NOMEM;
    TRY(iommu_tables_build(p2m, ops->format(), root));
    map[nmaps].granule = p2m->granule;
    map[nmaps].root = *root;
    *index = nmaps++;
    return HV_OK;
}

/* Requests tagged alike cannot be told apart: such functions have one owner. */
static bool tag_is_anothers(pci_bdf_t f, unsigned index)
{
    pci_bdf_t as = iommu_alias_of(&tables, f);

    for (unsigned i = 0; i < ngiven; i++) {
        pci_bdf_t g = given[i].f, g_as = iommu_alias_of(&tables, g);
        if (g == f || given[i].map == index || (g_as != as && g_as != f && g != as))
            continue;
        log_warn("iommu",
                 "%02x:%02x.%u and %02x:%02x.%u, another VM's, look alike to the IOMMU: "
                 "give both to one VM",
                 f >> 8, f >> 3 & 31u, f & 7u, g >> 8, g >> 3 & 31u, g & 7u);
        return true;
    }
    return false;
}

/* Functions that reach each other's registers without passing the IOMMU have one owner, too. */
static bool reaches_anothers(pci_bdf_t f, unsigned index)
{
    for (unsigned i = 0; i < ngiven && !hv_opt.acs_ignore; i++) {
        pci_bdf_t g = given[i].f;
        if (g == f || given[i].map == index || acs_apart(f, g))
            continue;
        log_warn("iommu",
                 "%02x:%02x.%u and %02x:%02x.%u, another VM's, reach each other's registers "
                 "without passing the IOMMU: give both to one VM, use another slot, or acs=ignore "
                 "if it may be",
                 f >> 8, f >> 3 & 31u, f & 7u, g >> 8, g >> 3 & 31u, g & 7u);
        return true;
    }
    return false;
}

static enum hv_err given_note(pci_bdf_t f, unsigned index)
{
    unsigned i = 0;

    while (i < ngiven && given[i].f != f)
        i++;
    if (i == ARRAY_SIZE(given))
        return HV_NOMEM;
    given[i].f = f;
    given[i].map = index;
    ngiven += i == ngiven;
    return HV_OK;
}

enum hv_err port_iommu_give(pci_bdf_t f, const struct p2m *p2m)
{
    const struct iommu_reserved *r = iommu_reserved_for(&tables, f);
    bool usb = port_pci_read(f, PCI_CLASS, 4) >> 16 == PCI_CLASS_USB;
    unsigned index;
    hpa_t root;

    if (!running || !iommu_covers(&tables, f)) {
        log_warn("iommu", "%02x:%02x.%u lies behind no IOMMU that the firmware names", f >> 8,
                 f >> 3 & 31u, f & 7u);
        return HV_UNSUPPORTED;
    }
    /* A USB controller's is for the keyboard that firmware emulated until it gave it up. */
    if (r && !usb && !hv_opt.rmrr_ignore) {
        log_warn("iommu",
                 "%02x:%02x.%u: the firmware keeps 0x%llx-0x%llx for its DMA, which a guest cannot "
                 "be given: rmrr=ignore if it does not need them",
                 f >> 8, f >> 3 & 31u, f & 7u, (unsigned long long)r->base,
                 (unsigned long long)r->end - 1);
        return HV_UNSUPPORTED;
    }
    TRY(tables_for(p2m, &root, &index));
    if (tag_is_anothers(f, index) || reaches_anothers(f, index))
        return HV_UNSUPPORTED;
    TRY(given_note(f, index));
    TRY(ops->set(f, root, index + 1));
    pci_bdf_t alias = iommu_alias_of(&tables, f);
    return alias == f ? HV_OK : ops->set(alias, root, index + 1);
}

void port_iommu_take(pci_bdf_t f)
{
    if (!running)
        return;
    (void)ops->set(f, hpa(0), 0);
    if (iommu_alias_of(&tables, f) != f)
        (void)ops->set(iommu_alias_of(&tables, f), hpa(0), 0);
}

bool iommu_message(pci_bdf_t f, uint8_t vector, uint32_t apic_id, uint64_t *address, uint32_t *data)
{
    pci_bdf_t as = iommu_alias_of(&tables, f);

    /* what is tagged otherwise is looked up otherwise, too */
    if (running && as != f && !ops->message(as, vector, apic_id, address, data))
        return false;
    return running && ops->message(f, vector, apic_id, address, data);
}

static void blocked(pci_bdf_t f, uint64_t at, bool write, uint32_t reason)
{
    static uint64_t lines;

    if (log_ratelimit(&lines))
        log_warn("iommu", "blocked: %02x:%02x.%u %s 0x%llx (reason 0x%x)", f >> 8, f >> 3 & 31u,
                 f & 7u, write ? "writes" : "reads", (unsigned long long)at, reason);
}

static uint64_t window;
static unsigned looks;
static bool late;

static uint64_t window_now(void)
{
    return port_tsc() / (port_tsc_hz() / WINDOW_HZ);
}

void port_iommu_faults(void)
{
    uint64_t now = window_now();

    if (!running)
        return;
    looks = now == window ? looks + 1 : 1;
    window = now;
    late = looks > LOOKS_MOST;
    if (!late)
        ops->faults(blocked);
}

void port_iommu_late(void)
{
    if (late && window_now() != window)
        port_iommu_faults();
}
