/* SPDX-License-Identifier: BSD-2-Clause */
/* gpa -> hpa of one VM in 2 MiB granules, fixed at boot. Everything a VM may reach is in here;
 * every spte is checked against it. Tested by tools/tests/test_p2m.c. */
#pragma once
#include "hv/base/types.h"
#include "hv/port/machine.h"

#define P2M_NONE UINT32_MAX
/* Device memory that belongs to the VM, in pages: BARs of functions it owns. */
struct p2m_device {
    gfn_t gfn;
    pfn_t pfn;
    uint64_t frames;
};
struct p2m {
    uint32_t *granule;  /* [gpa >> 21] -> hpa >> 21, or P2M_NONE */
    uint64_t ngranules; /* end of the table; gpas at or above ngranules << 21 are no RAM */
    uint64_t hole;      /* gpa | 1 of one page over which a CPU moved its APIC; 0: none */
    const struct p2m_device *device; /* none of them in a granule of RAM */
    unsigned ndevices;
    struct p2m_device screen; /* the boot framebuffer (display=guest); no frames: none */
};

/* Has this CPU moved its APIC over the page of `a`? The one thing in which the maps of the CPUs of
 * a VM differ: what another CPU derived from its own map must not be believed there. */
static inline bool p2m_covered(const struct p2m *p, gpa_t a)
{
    return ((a.v & ~PAGE_MASK) | 1) == p->hole;
}
/* true and *out set if `a` is guest RAM. The first MiB's legacy hole A0000-FFFFF is RAM here too
 * (plain memory; ROM area and text buffer). */
static inline bool p2m_lookup(const struct p2m *p, gpa_t a, hpa_t *out)
{
    uint64_t g = a.v >> REGION_SHIFT;
    if (g >= p->ngranules || p->granule[g] == P2M_NONE || p2m_covered(p, a))
        return false;
    *out = hpa(((uint64_t)p->granule[g] << REGION_SHIFT) | (a.v & REGION_MASK));
    return true;
}
/* true if the 2 MiB from `a` are RAM throughout. */
static inline bool p2m_region(const struct p2m *p, gpa_t a, hpa_t *out)
{
    return (!p->hole || (a.v ^ p->hole) >> REGION_SHIFT) && p2m_lookup(p, a, out);
}
/* Host pointer to guest RAM at `a`, valid to the end of its 2 MiB granule or to a hole; NULL if it
 * is no RAM. */
static inline void *p2m_ptr(const struct p2m *p, gpa_t a)
{
    hpa_t h;
    return p2m_lookup(p, a, &h) ? port_ptr(h) : NULL;
}
/* true and *out set if `a` lies in device memory of the VM. */
static inline bool p2m_device(const struct p2m *p, gpa_t a, hpa_t *out)
{
    uint64_t g = a.v >> PAGE_SHIFT;

    for (unsigned i = 0; i <= p->ndevices; i++) {
        const struct p2m_device *d = i < p->ndevices ? &p->device[i] : &p->screen;
        if (g - d->gfn.v < d->frames && !p2m_covered(p, a)) {
            *out = hpa((d->pfn.v + g - d->gfn.v) << PAGE_SHIFT | (a.v & PAGE_MASK));
            return true;
        }
    }
    return false;
}
/* true if host frame `f` belongs to this VM (for the assertion in mmu/set.c): `f` is the frame of
 * gfn. */
static inline bool p2m_owns(const struct p2m *p, gfn_t g, pfn_t f)
{
    hpa_t h;
    return p2m_lookup(p, gfn_gpa(g), &h) && hpa_pfn(h).v == f.v;
}
/* The same for device memory. */
static inline bool p2m_owns_device(const struct p2m *p, gfn_t g, pfn_t f)
{
    hpa_t h;
    return p2m_device(p, gfn_gpa(g), &h) && hpa_pfn(h).v == f.v;
}
