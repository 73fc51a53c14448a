/* SPDX-License-Identifier: BSD-2-Clause */
/* Which functions reach each other past the IOMMU: root ports, switches with and without access
 * control, devices of several functions, conventional buses. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/fake/pci.h"
#include "tools/tests/tap.h"
#include "arch-x86/iommu/acs.c"

#define EXPRESS 0x40u
#define ACS 0x140u /* behind another extended capability */

static struct fake_pci *function(pci_bdf_t f, unsigned acs)
{
    struct fake_pci *d = fake_pci_add(f, 0x11111234, 0x020000, 0);
    const uint32_t first = 0x0003u | 1u << 16 | ACS << 20, second = 0x000du | 1u << 16;

    fake_pci_express(d, EXPRESS, 0, false);
    if (!acs)
        return d;
    memcpy(d->config + 0x100, &first, 4);
    memcpy(d->config + ACS, &second, 4);
    d->config[ACS + 4] = (uint8_t)acs;
    d->writable[ACS + 6] = 0x7f;
    return d;
}

/* type: PCI Express 4.0, 7.5.3.2 "PCI Express Capabilities Register", 7:4. */
static struct fake_pci *bridge(pci_bdf_t f, unsigned type, uint8_t secondary, unsigned acs)
{
    struct fake_pci *d = function(f, acs);

    d->id.layout = PCI_LAYOUT_BRIDGE;
    d->config[PCI_HEADER_TYPE] = PCI_LAYOUT_BRIDGE;
    d->config[PCI_BUS_SECONDARY] = d->config[PCI_BUS_SUBORDINATE] = secondary;
    d->config[EXPRESS + 2] = (uint8_t)(type << 4 | 2);
    return d;
}

int main(void)
{
    fake_reset();
    fake_pci_clear();
    (void)function(0x0010, 0); /* 00:02.0, 00:03.0, 00:03.1 */
    (void)function(0x0018, 0);
    (void)function(0x0019, 0);
    (void)bridge(0x00e0, 4, 1, 0); /* a root port without, a card of two functions */
    (void)function(0x0100, 0);
    (void)function(0x0101, 0);
    (void)bridge(0x00e8, 4, 2, 0); /* ... one with */
    (void)function(0x0200, 0x0c);
    (void)function(0x0201, 0x0c);
    (void)bridge(0x00f0, 4, 3, 0); /* a switch: two ports with, one without */
    (void)bridge(0x0300, 5, 4, 0);
    struct fake_pci *port = bridge(0x0400, 6, 5, 0x7f);
    (void)bridge(0x0408, 6, 6, 0x1d);
    (void)bridge(0x0410, 6, 7, 0);
    (void)function(0x0500, 0);
    (void)function(0x0600, 0);
    (void)function(0x0700, 0);
    struct fake_pci *old = bridge(0x00f8, 7, 8, 0); /* a conventional bus */
    (void)function(0x0800, 0);
    (void)function(0x0808, 0);
    tap_ok(!acs_apart(0x0500, 0x0600), "ports of a switch, before access control is on");
    acs_enable();
    tap_eq(port->config[ACS + 6], 0x1d, "it is: no more of it than keeps them apart");
    tap_ok(acs_apart(0x0010, 0x0018), "devices of the root complex");
    tap_ok(!acs_apart(0x0018, 0x0019), "two functions of one of them");
    tap_ok(acs_apart(0x0010, 0x0100) && acs_apart(0x0100, 0x0200), "below root ports");
    tap_ok(!acs_apart(0x0100, 0x0101), "functions of a card without access control");
    tap_ok(acs_apart(0x0200, 0x0201), "... and of one with");
    tap_ok(acs_apart(0x0500, 0x0600), "ports of a switch");
    tap_ok(!acs_apart(0x0500, 0x0700) && !acs_apart(0x0700, 0x0600),
           "one of them without access control: either way");
    tap_ok(acs_apart(0x0700, 0x0100), "... but apart from what is elsewhere");
    tap_ok(!acs_apart(0x0800, 0x0808), "a conventional bus");
    tap_ok(!acs_apart(0x0300, 0x0500), "a bridge and what is behind it");
    old->config[PCI_BUS_SECONDARY] = 0;
    struct fake_pci *circle = bridge(0x0900, 5, 9, 0);
    tap_ok(!acs_apart(0x0908, 0x0910), "a bridge behind itself ends");
    (void)circle;
    return tap_done();
}
