/* SPDX-License-Identifier: BSD-2-Clause */
/* Extended configuration space, PCI Express 4.0, 7.6 "PCI Express Extended Capabilities": an
 * allow-list again. What it names is read and not written; everything else, SR-IOV, ATS, PRI,
 * PASID, ACS, AER, resizable BARs among it, is passed over in the guest's list and reads 0.
 * Tested by tools/tests/test_pass_config.c. */
#include "hv/pass/state.h"

#define FIRST PCI_SPACE
#define HEADERS_MAX 64
#define VENDOR_LENGTH_SHIFT 20 /* of the register at 4, in bytes */
#define ID(header) ((header) & 0xffffu)
#define VERSIONED_ID(header) ((header) & 0xfffffu)
#define NEXT(header) ((header) >> 20 & 0xffcu)
#define NEXT_SHIFT 20

/* Bytes of the capability, 0: it is not on the list. */
static uint32_t ext_bytes(const struct pass_fn *f, uint32_t at, uint32_t id)
{
    switch (id) {
    case PCI_XCAP_SERIAL:
        return 12;
    case PCI_XCAP_VENDOR: /* what vendors' drivers look for; structures in the function's BARs */
    case PCI_XCAP_DVSEC:
        return port_pci_read(f->host, at + 4, 4) >> VENDOR_LENGTH_SHIFT;
    default:
        return 0;
    }
}

/* A length that lies must not show what follows. */
static void clip(struct pass_ext *e, const uint32_t *at, unsigned n)
{
    uint32_t end = PCI_SPACE_X;

    for (unsigned i = 0; i < n; i++)
        if (at[i] > e->at && at[i] < end)
            end = at[i];
    if (e->bytes > end - e->at)
        e->bytes = end - e->at;
}

static bool is_in(const uint32_t *at, unsigned n, uint32_t what)
{
    while (n > 0)
        if (at[--n] == what)
            return true;
    return false;
}

void pass_extended_rules(struct pass_fn *f)
{
    uint32_t seen[HEADERS_MAX] = {0}, at = FIRST;
    unsigned n = 0;

    f->ext_count = 0;
    if (!f->express)
        return;
    while (at >= FIRST && n < HEADERS_MAX && !is_in(seen, n, at)) { /* a circle ends */
        uint32_t header = port_pci_read(f->host, at, 4);
        if (header == ~0u || !header)
            break;
        uint32_t bytes = ext_bytes(f, at, ID(header));
        if (bytes >= 8 && f->ext_count < PASS_EXT)
            f->ext[f->ext_count++] = (struct pass_ext){at, bytes, VERSIONED_ID(header)};
        seen[n++] = at;
        at = NEXT(header);
    }
    for (unsigned i = 0; i < f->ext_count; i++)
        clip(&f->ext[i], seen, n);
}

/* The guest's header of capability i: the next one shown follows. */
static uint32_t header_of(const struct pass_fn *f, unsigned i)
{
    return f->ext[i].id | (i + 1 < f->ext_count ? f->ext[i + 1].at << NEXT_SHIFT : 0);
}

static uint32_t dword(const struct pass_fn *f, uint32_t at)
{
    for (unsigned i = 0; i < f->ext_count; i++) {
        const struct pass_ext *e = &f->ext[i];
        if (at == e->at)
            return header_of(f, i);
        if (at > e->at && at < e->at + e->bytes)
            return port_pci_read(f->host, at, 4);
    }
    /* 7.6.3: the list begins here; one without an identifier leads on */
    return at == FIRST && f->ext_count ? f->ext[0].at << NEXT_SHIFT : 0;
}

uint32_t pass_extended_read(const struct pass_fn *f, unsigned reg, unsigned size)
{
    uint32_t v = dword(f, reg & ~3u) >> 8 * (reg & 3);

    return size == 4 ? v : v & ((1u << 8 * size) - 1);
}
