/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw images: role=raw addr=ADDRESS puts a file into guest RAM as it is. The first one is the
 * kernel: entered at entry= (default: addr=) in flat 32-bit protected mode, real mode or 64-bit
 * mode (mode=). Further ones are data. Tested by tools/tests/test_loader_kinds.c. */
#include "hv/base/log.h"
#include "hv/vm/load/loader.h"

#define REAL_END 0x100000ull
#define REAL_STACK 0x7000ull
#define LONG_TABLES 0x30000ull /* the identity map, and above it the first stack */
#define LONG_STACK 0x48000ull

/* Adds a module as a part of the whole. */
static enum hv_err raw_add(struct guest_image *g, const struct vm_module *m,
                           const struct module_words *w)
{
    if (w->role != ROLE_RAW || !w->has_addr) {
        log_err("vm", "a module (%lu bytes) lacks its place: give it role=raw addr=ADDRESS",
                m->len);
        return HV_INVALID;
    }
    if (w->addr > UINT64_MAX - m->len) {
        log_err("vm", "addr=0x%lx lies beyond the end of the address space", w->addr);
        return HV_INVALID;
    }
    g->part[g->nparts++] = (struct guest_part){w->addr, 0, m->len, 0};
    return HV_OK;
}

/* Do the files collide with each other, or with what a 64-bit entry needs? */
static enum hv_err raw_check(struct guest_image g, bool wide)
{
    const char *why;

    if (wide)
        g.part[g.nparts++] = (struct guest_part){LONG_TABLES, 0, 0, LONG_STACK - LONG_TABLES};
    if (guest_image_check(&g, &why) == HV_OK)
        return HV_OK;
    log_err("vm",
            "raw images collide with each other, or, in 64-bit mode, with the page tables and the "
            "stack at 0x%llx-0x%llx: give other addresses",
            LONG_TABLES, LONG_STACK);
    return HV_INVALID;
}

static enum hv_err raw_put(struct vm *vm, const struct guest_part *p, const struct vm_module *m)
{
    struct guest_image g = {{*p}, 1, p->gpa};
    return guest_image_load(vm, &g, port_ptr(m->base));
}

enum hv_err guest_raw_load(struct vm *vm, const struct vm_files *f)
{
    static const char *const names[] = {"32-bit protected", "real", "64-bit"};
    const struct module_words *w = &f->kernel_words;
    uint64_t entry = w->has_entry ? w->entry : w->addr;
    struct guest_image g = {.nparts = 0, .entry = entry};

    TRY(raw_add(&g, f->kernel, w));
    for (unsigned i = 0; i < f->nmods; i++)
        TRY(raw_add(&g, f->mod[i], &f->mod_words[i]));
    if (entry < w->addr || entry >= w->addr + f->kernel->len) {
        log_err("vm", "entry=0x%lx lies outside of the raw image at 0x%lx-0x%lx", entry, w->addr,
                w->addr + f->kernel->len);
        return HV_INVALID;
    }
    if (w->mode == RAW_REAL && entry >= REAL_END) {
        log_err("vm", "entry=0x%lx cannot be reached in real mode: give one below 1 MiB", entry);
        return HV_INVALID;
    }
    TRY(raw_check(g, w->mode == RAW_LONG));
    TRY(raw_put(vm, &g.part[0], f->kernel));
    for (unsigned i = 0; i < f->nmods; i++)
        TRY(raw_put(vm, &g.part[i + 1], f->mod[i]));
    TRY(guest_finish(vm, entry, 0, 0));
    vm->entry_real = w->mode == RAW_REAL;
    vm->entry_rsp = w->mode == RAW_REAL ? REAL_STACK : 0;
    if (w->mode == RAW_LONG) {
        TRY(tables_build(vm));
        vm->entry_long = true;
        vm->entry_rsp = LONG_STACK;
    }
    log_info("vm", "raw image at 0x%lx (%lu bytes), entry 0x%lx in %s mode", w->addr,
             f->kernel->len, entry, names[w->mode]);
    return HV_OK;
}
