/* SPDX-License-Identifier: BSD-2-Clause */
/* Which functions can reach each other without passing an IOMMU: requests that a switch, a bridge
 * or a device of several functions turns round inside. Access Control Services send them upwards:
 * PCI Express 4.0, 6.12 "Access Control Services (ACS)", 7.7.7 "ACS Extended Capability". What
 * passes from one device of the root complex to another is translated first (README.md "IOMMUs").
 * Tested by tools/tests/test_acs.c. */
#include "arch-x86/defs/pci.h"
#include "arch-x86/iommu/iommu.h"

#define HEADERS_MAX 64
#define LEVELS_MAX 16 /* of bridges; more are a circle */
#define EXP_TYPE(flags) ((flags) >> 4 & 15u)
enum { EXP_ROOT_PORT = 4, EXP_UPSTREAM, EXP_DOWNSTREAM };
#define ACS_CAP 4u
#define ACS_CONTROL 6u
#define ACS_SOURCE 0x01u   /* a request names who sent it, or is not forwarded */
#define ACS_FUNCTION 0x0cu /* requests and completions are redirected */
#define ACS_PORT 0x1cu     /* and forwarded upstream, if they come back down for their own port */

static unsigned capability(pci_bdf_t f, uint8_t id)
{
    unsigned at = port_pci_read(f, PCI_CAPABILITIES, 1) & 0xfc;

    if (!(port_pci_read(f, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES))
        return 0;
    for (unsigned n = 0; at >= 0x40 && n < HEADERS_MAX; n++) {
        if (port_pci_read(f, at, 1) == id)
            return at;
        at = port_pci_read(f, at + 1, 1) & 0xfc;
    }
    return 0;
}

static unsigned extended(pci_bdf_t f, uint16_t id)
{
    unsigned at = PCI_SPACE;

    for (unsigned n = 0; at >= PCI_SPACE && n < HEADERS_MAX; n++) {
        uint32_t header = port_pci_read(f, at, 4);
        if (!header || header == ~0u)
            return 0;
        if ((header & 0xffff) == id)
            return at;
        at = header >> 20 & 0xffc;
    }
    return 0;
}

static unsigned acs_of(pci_bdf_t f)
{
    return capability(f, PCI_CAP_EXPRESS) ? extended(f, PCI_XCAP_ACS) : 0;
}

void acs_enable(void)
{
    for (unsigned i = 0; i < port_pci_count(); i++) {
        pci_bdf_t f = port_pci_at(i)->bdf;
        unsigned at = acs_of(f);
        if (at)
            port_pci_write(f, at + ACS_CONTROL, 2,
                           port_pci_read(f, at + ACS_CAP, 2) & (ACS_SOURCE | ACS_PORT));
    }
}

/* Does it send what is meant for its neighbours upwards? */
static bool redirects(pci_bdf_t f, uint32_t needed)
{
    unsigned at = acs_of(f);

    return at && (port_pci_read(f, at + ACS_CONTROL, 2) & needed) == needed;
}

/* The bridge that f lies behind. */
static bool bridge_above(pci_bdf_t f, pci_bdf_t *out)
{
    for (unsigned i = 0; i < port_pci_count(); i++) {
        const struct port_pci *b = port_pci_at(i);
        if (b->layout == PCI_LAYOUT_BRIDGE && f >> 8 &&
            port_pci_read(b->bdf, PCI_BUS_SECONDARY, 1) == f >> 8) {
            *out = b->bdf;
            return true;
        }
    }
    return false;
}

/* The function and the bridges above it, from below; how many. */
static unsigned path(pci_bdf_t f, pci_bdf_t *out)
{
    unsigned n = 0;

    out[n++] = f;
    while (n < LEVELS_MAX && bridge_above(out[n - 1], &out[n]))
        n++;
    return n;
}

/* a and b lie on the bus behind `bridge`. */
static bool apart_behind(pci_bdf_t bridge, pci_bdf_t a, pci_bdf_t b)
{
    unsigned at = capability(bridge, PCI_CAP_EXPRESS);
    uint32_t type = at ? EXP_TYPE(port_pci_read(bridge, at + 2, 2)) : 0;

    switch (type) {
    case EXP_UPSTREAM: /* the bus inside a switch, whose ports they are */
        return redirects(a, ACS_PORT) && redirects(b, ACS_PORT);
    case EXP_ROOT_PORT:
    case EXP_DOWNSTREAM: /* two functions of the one device there */
        return redirects(a, ACS_FUNCTION) && redirects(b, ACS_FUNCTION);
    default: /* a conventional bus, where each hears all */
        return false;
    }
}

bool acs_apart(pci_bdf_t f, pci_bdf_t g)
{
    pci_bdf_t a[LEVELS_MAX] = {0}, b[LEVELS_MAX] = {0};
    unsigned n = path(f, a), m = path(g, b);

    if (a[n - 1] != b[m - 1]) /* devices of the root complex, or below its ports */
        return (a[n - 1] ^ b[m - 1]) >> 3 != 0 ||
               (redirects(a[n - 1], ACS_FUNCTION) && redirects(b[m - 1], ACS_FUNCTION));
    while (n > 0 && m > 0 && a[n - 1] == b[m - 1]) {
        n--;
        m--;
    }
    /* one of them is a bridge above the other: no guest's */
    return n > 0 && m > 0 && apart_behind(a[n], a[n - 1], b[m - 1]);
}
