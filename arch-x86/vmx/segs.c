/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments between the neutral form, whose attributes are laid out as in AMD's VMCB, and the VMCS.
 * Tested by tools/tests/test_vmx.c. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"

#define ATTR_P BIT(7)
#define ATTR_S BIT(4)
#define ATTR_G BIT(11)
#define ATTR_DPL(attr) ((attr) >> 5 & 3)
#define RPL(sel) ((sel) & 3)
#define MAX_DT_LIMIT 0xffffu

uint32_t vmx_ar(uint16_t attr)
{
    uint32_t ar = (attr & 0xffu) | (attr & 0xf00u) << 4;

    return attr & ATTR_P ? ar : ar | AR_UNUSABLE;
}

uint16_t vmx_attr(uint32_t ar)
{
    uint16_t attr = (uint16_t)((ar & 0xff) | (ar >> 4 & 0xf00));

    return ar & AR_UNUSABLE ? attr & (uint16_t)~ATTR_P : attr;
}

/* The fields of a segment register are 2 apart, in the order of enum seg. */
static void seg_write(unsigned i, const struct segment *g)
{
    uint32_t limit = g->limit;
    uint16_t attr = g->attr;

    /* 26.3.1.2 "Checks on Guest Segment Registers": G follows from the limit where it can have one
     * value only, and real mode leaves others behind. */
    if (limit > 0xfffff) {
        limit |= 0xfff;
        attr |= ATTR_G;
    } else if ((limit & 0xfff) != 0xfff) {
        attr &= (uint16_t)~ATTR_G;
    }
    vmcs_write(VMCS_GUEST_ES_SEL + 2 * i, g->sel);
    vmcs_write(VMCS_GUEST_ES_LIMIT + 2 * i, limit);
    vmcs_write(VMCS_GUEST_ES_AR + 2 * i, vmx_ar(attr));
    vmcs_write(VMCS_GUEST_ES_BASE + 2 * i, g->base);
}

/* What real mode left in a segment register has an RPL that means nothing, and the processor checks
 * it: SS.RPL is SS.DPL and CS.RPL, and no other is above its DPL. */
static uint16_t selector_fit(const struct vcpu_segs *in, unsigned i)
{
    const struct segment *g = &in->seg[i];
    uint16_t sel = g->sel;

    if (i == SEG_CS || i == SEG_SS)
        return (uint16_t)((sel & ~3u) | in->cpl);
    if (i <= SEG_GS && (g->attr & ATTR_P) && RPL(sel) > ATTR_DPL(g->attr) && (g->attr & 0xc) != 0xc)
        return (uint16_t)((sel & ~3u) | ATTR_DPL(g->attr));
    return sel;
}

void vmx_segs_put(struct vmx_vcpu *a, const struct vcpu_segs *in)
{
    if (a->real) {
        vmx_real_segs_put(a, in);
    } else {
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            struct segment g = in->seg[i];
            g.sel = selector_fit(in, i);
            if (i == SEG_SS) /* its DPL is the CPL, also of an unusable one */
                g.attr = (uint16_t)((g.attr & ~(3u << 5)) | (unsigned)in->cpl << 5);
            if (i <= SEG_GS && (g.attr & ATTR_P))
                g.attr |= 1; /* accessed: a segment that is loaded has been */
            seg_write(i, &g);
        }
    }
    vmcs_write(VMCS_GUEST_GDTR_BASE, in->gdtr.base);
    vmcs_write(VMCS_GUEST_GDTR_LIMIT, in->gdtr.limit & MAX_DT_LIMIT);
    vmcs_write(VMCS_GUEST_IDTR_BASE, in->idtr.base);
    vmcs_write(VMCS_GUEST_IDTR_LIMIT, in->idtr.limit & MAX_DT_LIMIT);
}

void vmx_segs_get(struct vmx_vcpu *a, struct vcpu_segs *out)
{
    if (a->real) {
        vmx_real_segs_get(a, out);
    } else {
        for (unsigned i = 0; i < SEG_COUNT; i++)
            out->seg[i] = (struct segment){
                .sel = (uint16_t)vmcs_read(VMCS_GUEST_ES_SEL + 2 * i),
                .attr = vmx_attr((uint32_t)vmcs_read(VMCS_GUEST_ES_AR + 2 * i)),
                .limit = (uint32_t)vmcs_read(VMCS_GUEST_ES_LIMIT + 2 * i),
                .base = vmcs_read(VMCS_GUEST_ES_BASE + 2 * i),
            };
        out->cpl = (uint8_t)ATTR_DPL((uint32_t)vmcs_read(VMCS_GUEST_SS_AR));
    }
    out->gdtr = (struct dtable){vmcs_read(VMCS_GUEST_GDTR_BASE),
                                (uint32_t)vmcs_read(VMCS_GUEST_GDTR_LIMIT)};
    out->idtr = (struct dtable){vmcs_read(VMCS_GUEST_IDTR_BASE),
                                (uint32_t)vmcs_read(VMCS_GUEST_IDTR_LIMIT)};
}
