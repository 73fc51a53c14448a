/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of the machine's functions a VM gets: the words of pci=, and what cannot be given away.
 * Tested by tools/tests/test_pass_config.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/pass/state.h"

#define LOW_END 0xfec00000ull /* the I/O APIC; BARs below 4 GiB lie before it */
/* Below are the ports of the chipset, Patchbay's own among them; firmware places no BAR there. */
#define PORTS_BEGIN 0x1000u
#define FOUR_GIB 0x100000000ull
#define FIRST_DEVICE 2u /* 0 is the host bridge, 1 the DSDT's ISA bridge */

size_t pass_sizeof(void)
{
    return sizeof(struct pass);
}

static bool hex(const char *s, size_t n, unsigned *out)
{
    unsigned v = 0;

    if (n == 0 || n > 2)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                            : 16;
        if (d > 15)
            return false;
        v = v << 4 | d;
    }
    *out = v;
    return true;
}

static size_t until(const char *s, size_t n, char c)
{
    size_t i = 0;

    while (i < n && s[i] != c)
        i++;
    return i;
}

/* [0000:]BB:DD.F, numbers in hexadecimal as lspci prints them. */
static bool bdf_parse(const char *s, size_t n, pci_bdf_t *out)
{
    unsigned bus, dev, fn;

    if (n > 5 && strncmp(s, "0000:", 5) == 0) {
        s += 5;
        n -= 5;
    }
    size_t colon = until(s, n, ':'), dot = until(s, n, '.');
    if (colon >= dot || dot >= n || !hex(s, colon, &bus) ||
        !hex(s + colon + 1, dot - colon - 1, &dev) || !hex(s + dot + 1, n - dot - 1, &fn) ||
        dev > 31 || fn > 7)
        return false;
    *out = (pci_bdf_t)(bus << 8 | dev << 3 | fn);
    return true;
}

static const struct port_pci *machine_find(pci_bdf_t f)
{
    for (unsigned i = 0; i < port_pci_count(); i++)
        if (port_pci_at(i)->bdf == f)
            return port_pci_at(i);
    return NULL;
}

/* Is the BAR somewhere a guest can be shown it, and can it be reached? */
static bool bar_placed(const struct port_pci_bar *b)
{
    if (!b->size)
        return true;
    if (b->io)
        return b->base >= PORTS_BEGIN && b->base + b->size <= 0x10000;
    if (!b->base || b->base & (b->size - 1) || b->base + b->size < b->base)
        return false;
    return b->base >= FOUR_GIB || (b->base >= 0x100000 && b->base + b->size <= LOW_END);
}

/* A register that nobody set, of a function that does not decode, may name what is RAM: a guest
 * that had it mapped would have that memory. */
static bool bar_in_ram(const struct port_pci_bar *b)
{
    hpa_t at;
    uint64_t len;

    for (unsigned i = 0; b->size && !b->io && phys_range(i, &at, &len); i++)
        if ((b->base & ~PAGE_MASK) < at.v + len && at.v < b->base + b->size)
            return true;
    return false;
}

/* Two functions at one address, as where firmware set up one of them only: who has one would have
 * the other. */
static bool bar_anothers(const struct port_pci_bar *b, pci_bdf_t f)
{
    for (unsigned i = 0; b->size && i < port_pci_count(); i++) {
        const struct port_pci *m = port_pci_at(i);
        for (unsigned j = 0; m->bdf != f && j < PORT_PCI_BARS; j++) {
            const struct port_pci_bar *o = &m->bar[j];
            if (o->size && o->io == b->io && o->base < b->base + b->size &&
                b->base < o->base + o->size)
                return true;
        }
    }
    return false;
}

/* Why the function cannot be given; NULL: it can. */
static const char *refusal(const struct pass_fn *f, const struct port_pci *m)
{
    uint32_t base = m->class_code >> 16;

    if (m->ours)
        return "is Patchbay's own console";
    if (m->layout != PCI_LAYOUT_DEVICE || base == PCI_BASE_BRIDGE)
        return "is a bridge, which stays Patchbay's";
    if (m->class_code >> 8 == PCI_CLASS_IOMMU)
        return "is the IOMMU";
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        if (!bar_placed(&m->bar[i]))
            return "has a BAR that the firmware placed nowhere, or among the chipset's ports";
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        if (bar_in_ram(&m->bar[i]))
            return "has a BAR where the machine's memory is";
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        if (bar_anothers(&m->bar[i], m->bdf))
            return "has a BAR where another function's is";
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        if (m->bar[i].size && port_pci_kept(m->bar[i].base, m->bar[i].size, m->bar[i].io))
            return "has a BAR where Patchbay's own console or the chipset is";
    if (!f->msi && !f->msix)
        return "has neither MSI nor MSI-X, and a guest gets no INTx";
    return NULL;
}

static void take(struct pass *p, const struct port_pci *m, bool named)
{
    struct pass_fn *f = &p->store[p->nfns];
    const char *why;

    if (p->nfns == PASS_FUNCTIONS) {
        log_warn("pass", "%02x:%02x.%u left out: a VM has %u functions at most", m->bdf >> 8,
                 m->bdf >> 3 & 31u, m->bdf & 7u, PASS_FUNCTIONS);
        return;
    }
    memset(f, 0, sizeof(*f));
    f->pass = p;
    f->lock.level = LOCK_PASS;
    f->host = m->bdf;
    f->vendor = m->vendor;
    f->device = m->device;
    memcpy(f->bar, m->bar, sizeof(f->bar));
    pass_rules(f);
    pass_extended_rules(f);
    why = refusal(f, m);
    if (why) {
        if (named)
            log_warn("pass", "%02x:%02x.%u cannot be given to a guest: it %s", m->bdf >> 8,
                     m->bdf >> 3 & 31u, m->bdf & 7u, why);
        else if (m->class_code >> 16 != PCI_BASE_BRIDGE)
            log_info("pass", "%02x:%02x.%u (%04x:%04x) left out: it %s", m->bdf >> 8,
                     m->bdf >> 3 & 31u, m->bdf & 7u, m->vendor, m->device, why);
        return;
    }
    f->devfn = (uint8_t)((FIRST_DEVICE + p->nfns) << 3);
    p->fn[p->nfns++] = f;
}

static void take_word(struct pass *p, const char *s, size_t n, bool (*taken)(pci_bdf_t f))
{
    const struct port_pci *m;
    pci_bdf_t f;

    if (!bdf_parse(s, n, &f)) {
        log_warn("pass",
                 "pci=: '%.*s' is not a function: give all, none, or numbers such as "
                 "00:1f.2,03:00.0",
                 (int)(n < 20 ? n : 20), s);
        return;
    }
    m = machine_find(f);
    if (!m)
        log_warn("pass", "pci=: there is no function %02x:%02x.%u in this machine", f >> 8,
                 f >> 3 & 31u, f & 7u);
    else if (pass_has(p, f) || (taken && taken(f)))
        log_warn("pass", "pci=: %02x:%02x.%u is given already", f >> 8, f >> 3 & 31u, f & 7u);
    else
        take(p, m, true);
}

unsigned pass_choose(struct pass *p, const char *words, size_t len, bool (*taken)(pci_bdf_t f))
{
    if (len == 3 && strncmp(words, "all", 3) == 0) {
        for (unsigned i = 0; i < port_pci_count(); i++)
            if (!taken || !taken(port_pci_at(i)->bdf))
                take(p, port_pci_at(i), false);
    } else if (!(len == 4 && strncmp(words, "none", 4) == 0)) {
        for (size_t at = 0; at < len; at++) {
            size_t n = until(words + at, len - at, ',');
            take_word(p, words + at, n, taken);
            at += n;
        }
    }
    return p->nfns;
}

bool pass_has(const struct pass *p, pci_bdf_t f)
{
    for (unsigned i = 0; i < p->nfns; i++)
        if (p->fn[i]->host == f)
            return true;
    return false;
}

unsigned pass_count(const struct pass *p)
{
    return p->nfns;
}

/* The lowest memory BAR at or above `floor` and below `end`, else `end`. */
static uint64_t lowest(const struct pass *p, uint64_t floor, uint64_t end)
{
    for (unsigned i = 0; i < p->nfns; i++)
        for (unsigned b = 0; b < PCI_BAR_COUNT; b++) {
            const struct port_pci_bar *bar = &p->fn[i]->bar[b];
            if (bar->size && !bar->io && bar->base >= floor && bar->base < end)
                end = bar->base;
        }
    return end;
}

uint64_t pass_low_end(const struct pass *p)
{
    return lowest(p, 0, FOUR_GIB);
}

uint64_t pass_high_end(const struct pass *p)
{
    return lowest(p, FOUR_GIB, UINT64_MAX);
}
