/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors and segment registers of a task switch: SDM volume 3 7.3 "Task Switching", table 7-1
 * "Exception Conditions Checked During a Task Switch". Tested by tools/tests/test_task.c. */
#include "hv/vcpu/task.h"
#include "arch-x86/defs/x86.h"
#include "hv/mmu/gmem.h"

#define DESC_ACCESSED BIT(40)
#define DESC_RW BIT(41) /* data: writable; code: readable */
#define DESC_CONFORMING BIT(42)
#define DESC_CODE BIT(43)
#define DESC_S BIT(44)
#define DESC_P BIT(47)
#define DESC_G BIT(55)
#define DESC_DPL(d) ((unsigned)((d) >> 45) & 3)
#define DESC_TYPE(d) ((unsigned)((d) >> 40) & 15)
#define TYPE_LDT 2
#define SEL_RPL 3u
#define SEL_TI 4u
#define ATTR_VM86 0xf3 /* present, DPL 3, writable, accessed */
#define TRIES 64       /* too much concurrent change */

enum hv_err task_raise(struct task *t, uint8_t vector, uint32_t error)
{
    vcpu_inject_exception(t->s, vector, true, error | t->ext);
    return HV_FAULT;
}

static enum hv_err access_end(struct task *t, enum hv_err err, const struct guest_fault *f)
{
    if (err == HV_FAULT)
        vcpu_inject_pf(t->s, f);
    return err == HV_OK || err == HV_FAULT ? err : HV_UNSUPPORTED;
}

enum hv_err task_read(struct task *t, uint64_t lin, void *buf, size_t n)
{
    struct guest_fault f = {0};
    enum hv_err err = HV_AGAIN;
    gpa_t at;

    for (unsigned i = 0; i < TRIES && err == HV_AGAIN; i++)
        err = gmem_read(&t->s->mmu, gva((uint32_t)lin), buf, n, 0, &f, &at);
    return access_end(t, err, &f);
}

enum hv_err task_write(struct task *t, uint64_t lin, const void *buf, size_t n, uint32_t access)
{
    struct guest_fault f = {0};
    enum hv_err err = HV_AGAIN;
    gpa_t at;

    for (unsigned i = 0; i < TRIES && err == HV_AGAIN; i++)
        err = gmem_write(&t->s->mmu, gva((uint32_t)lin), buf, n, access, &f, &at);
    return access_end(t, err, &f);
}

enum hv_err task_descriptor(struct task *t, uint16_t sel, uint64_t *lin, uint64_t *desc,
                            bool *present)
{
    const struct segment *ldt = &t->segs.seg[SEG_LDTR];
    uint64_t base = t->segs.gdtr.base, limit = t->segs.gdtr.limit;

    if (sel & SEL_TI) {
        base = ldt->base;
        limit = ldt->limit;
    }
    *desc = 0;
    *lin = base + (sel & ~7u);
    *present = (sel | 7u) <= limit && (!(sel & SEL_TI) || (ldt->attr & BIT(7)));
    return *present ? task_read(t, *lin, desc, sizeof(*desc)) : HV_OK;
}

struct segment task_segment(uint16_t sel, uint64_t desc)
{
    struct segment g = {.sel = sel};
    uint32_t limit = (uint32_t)((desc & 0xffff) | (desc >> 32 & 0xf0000));

    g.attr = (uint16_t)((desc >> 40 & 0xff) | (desc >> 52 & 0xf) << 8);
    g.limit = desc & DESC_G ? limit << 12 | 0xfff : limit;
    g.base = (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24;
    return g;
}

/* Before any descriptor is read: every selector, and caches that nothing can be accessed by. CS
 * keeps its own until it is loaded, so that a fault can be delivered from here. */
static void selectors_only(struct task *t)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
        struct segment *g = &t->segs.seg[i];
        if (i == SEG_CS)
            g->sel = t->in.sel[i];
        else
            *g = (struct segment){.sel = t->in.sel[i]};
    }
    t->segs.seg[SEG_LDTR] = (struct segment){.sel = t->in.ldt};
    t->segs.cpl = t->in.sel[SEG_CS] & SEL_RPL;
}

static void load_vm86(struct task *t)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        t->segs.seg[i] = (struct segment){.sel = t->in.sel[i],
                                          .attr = ATTR_VM86,
                                          .limit = 0xffff,
                                          .base = (uint64_t)t->in.sel[i] << 4};
    t->segs.cpl = 3;
}

static enum hv_err load_ldt(struct task *t)
{
    uint16_t sel = t->in.ldt;
    uint64_t lin, desc;
    bool present;

    if (!(sel & ~SEL_RPL))
        return HV_OK;
    if (sel & SEL_TI)
        return task_raise(t, VEC_TS, sel & ~SEL_RPL);
    TRY(task_descriptor(t, sel, &lin, &desc, &present));
    if (!present || (desc & DESC_S) || DESC_TYPE(desc) != TYPE_LDT || !(desc & DESC_P))
        return task_raise(t, VEC_TS, sel & ~SEL_RPL);
    t->segs.seg[SEG_LDTR] = task_segment(sel, desc);
    return HV_OK;
}

static bool segment_ok(enum seg seg, uint16_t sel, unsigned cpl, uint64_t d)
{
    unsigned rpl = sel & SEL_RPL, dpl = DESC_DPL(d);
    bool code = d & DESC_CODE, conforming = code && (d & DESC_CONFORMING);

    if (!(d & DESC_S))
        return false;
    if (seg == SEG_CS)
        return code && (conforming ? dpl <= rpl : dpl == rpl);
    if (seg == SEG_SS)
        return !code && (d & DESC_RW) && dpl == cpl && rpl == cpl;
    if (code && !(d & DESC_RW))
        return false;
    return conforming || (dpl >= cpl && dpl >= rpl);
}

static enum hv_err load_segment(struct task *t, enum seg seg)
{
    uint16_t sel = t->in.sel[seg];
    uint32_t error = sel & ~SEL_RPL;
    uint64_t lin, desc;
    bool present;

    if (!error) /* a null selector */
        return seg == SEG_CS || seg == SEG_SS ? task_raise(t, VEC_TS, 0) : HV_OK;
    TRY(task_descriptor(t, sel, &lin, &desc, &present));
    if (!present || !segment_ok(seg, sel, t->segs.cpl, desc))
        return task_raise(t, VEC_TS, error);
    if (!(desc & DESC_P))
        return task_raise(t, seg == SEG_SS ? VEC_SS : VEC_NP, error);
    if (!(desc & DESC_ACCESSED)) {
        uint8_t type = (uint8_t)((desc | DESC_ACCESSED) >> 40);
        desc |= DESC_ACCESSED;
        TRY(task_write(t, lin + 5, &type, 1, 0));
    }
    t->segs.seg[seg] = task_segment(sel, desc);
    return HV_OK;
}

enum hv_err task_load_segments(struct task *t)
{
    static const enum seg order[] = {SEG_CS, SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};

    selectors_only(t);
    TRY(load_ldt(t));
    if (t->in.flags & RFLAGS_VM) {
        load_vm86(t);
        return HV_OK;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        TRY(load_segment(t, order[i]));
    return HV_OK;
}
