/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose tables a function's requests go through: of VMs whose places in memory are used again, and
 * of functions that the IOMMU cannot tell apart. */
#include "hv/base/options.h"
#include "tools/tests/fake/fake.h"
#include "tools/tests/fake/pci.h"
#include "tools/tests/tap.h"
/* The fake has these as well. */
#define port_iommu_found the_found
#define port_iommu_isolates the_isolates
#define port_iommu_remaps the_remaps
#define port_iommu_give the_give
#define port_iommu_take the_take
#define port_iommu_faults the_faults
#define port_iommu_late the_late
#include "arch-x86/iommu/acs.c"
#include "arch-x86/iommu/dmar.c"
#include "arch-x86/iommu/iommu.c"
#include "arch-x86/iommu/tables.c"

struct acpi_info acpi_info;

static hpa_t root_of[65536];
static uint32_t messages[65536];

const char *acpi_find(hpa_t rsdp, bool uefi, const char *sig, uint32_t *len)
{
    (void)rsdp, (void)uefi, (void)sig, (void)len;
    return NULL;
}
bool vtd_wants_xapic(const struct iommu_tables *t)
{
    (void)t;
    return false;
}
bool ivrs_parse(const uint8_t *table, uint32_t len, struct iommu_tables *out)
{
    (void)table, (void)len, (void)out;
    return false;
}

static enum hv_err start(const struct iommu_tables *t)
{
    (void)t;
    return HV_OK;
}
static uint64_t leaf(uint64_t h, unsigned level)
{
    return h | 1 | level << 1;
}
static const struct iommu_format *format(void)
{
    static const struct iommu_format f = {4, true, leaf, leaf};
    return &f;
}
static enum hv_err set(pci_bdf_t f, hpa_t root, uint32_t domain)
{
    (void)domain;
    root_of[f] = root;
    return HV_OK;
}
static bool message(pci_bdf_t f, uint8_t vector, uint32_t apic_id, uint64_t *address,
                    uint32_t *data)
{
    (void)apic_id;
    messages[f]++;
    *address = 0xfee00000;
    *data = vector;
    return true;
}
static unsigned looked;
static void faults(void (*emit)(pci_bdf_t f, uint64_t at, bool write, uint32_t reason))
{
    (void)emit;
    looked++;
}
const struct iommu_ops vtd_ops = {.name = "none"};
const struct iommu_ops amdvi_ops = {.name = "fake",
                                    .start = start,
                                    .format = format,
                                    .set = set,
                                    .message = message,
                                    .faults = faults};

int main(void)
{
    static uint32_t granule[2][16];
    struct p2m place = {.granule = granule[0], .ngranules = 16}, other = place;

    fake_reset();
    fake_arena(0x1000000, 16 << 20);
    phys_reset();
    tap_ok(phys_add(hpa(0x1000000), 16 << 20) == HV_OK, "memory");
    fake_pci_clear();
    candidate = &amdvi_ops;
    tables = (struct iommu_tables){
        .nunits = 1, .unit = {{.all = true}}, .naliases = 1, .alias = {{0x0508, 0x050f, 0x0400}}};
    iommu_init();
    other.granule = granule[1];
    tap_eq(the_give(0x0010, &place), HV_OK, "a function of the first VM");
    tap_eq(the_give(0x0018, &place), HV_OK, "and one more");
    tap_ok(root_of[0x0010].v && root_of[0x0010].v == root_of[0x0018].v, "... by the same tables");
    /* it could not start: its place is the next one's, with RAM of its own */
    hpa_t before = root_of[0x0010];
    place.granule = granule[1];
    tap_eq(the_give(0x0018, &place), HV_OK, "a function of who comes into its place");
    tap_ok(root_of[0x0018].v && root_of[0x0018].v != before.v, "... by tables of its own RAM");
    place.granule = granule[0];

    tap_eq(the_give(0x0508, &place), HV_OK, "a function behind an old bridge");
    tap_ok(root_of[0x0400].v == before.v, "... what it is tagged with goes the same way");
    tap_ok(the_give(0x0509, &other) != HV_OK, "its neighbour is not another VM's");
    tap_ok(the_give(0x0400, &other) != HV_OK, "nor is the bridge");
    tap_ok(root_of[0x0400].v == before.v, "... whose tables stay");
    tap_eq(the_give(0x0509, &place), HV_OK, "the same VM's it may be");
    the_take(0x0508);
    tap_eq(the_give(0x0508, &place), HV_OK, "and again, when the VM begins anew");

    struct fake_pci *left = fake_pci_add(0x0020, 0x11111234, 0x020000, 0);
    (void)fake_pci_add(0x0021, 0x11111234, 0x020000, 0);
    tap_ok(left && the_give(0x0020, &place) == HV_OK, "a function of a device with two");
    tap_ok(the_give(0x0021, &other) != HV_OK, "the other one, which reaches it, not another VM's");
    hv_opt.acs_ignore = true;
    tap_eq(the_give(0x0021, &other), HV_OK, "... but by acs=ignore");
    hv_opt.acs_ignore = false;

    uint64_t address;
    uint32_t data;
    tap_ok(iommu_message(0x0508, 0x50, 1, &address, &data) && messages[0x0508] == 1 &&
               messages[0x0400] == 1,
           "its messages are known by the tag as well");
    fake_set_tsc(10ull * port_tsc_hz(), 1);
    for (unsigned i = 0; i < 1000; i++)
        the_faults();
    tap_ok(looked >= 1 && looked <= 1000 / 2,
           "a storm of blocked requests is looked at now and then");
    unsigned before_late = looked;
    fake_set_tsc(20ull * port_tsc_hz(), 0);
    the_late();
    tap_eq(looked, before_late + 1, "... and what it left, when it is over");
    the_late();
    tap_eq(looked, before_late + 1, "... once");
    fake_reset();
    return tap_done();
}
