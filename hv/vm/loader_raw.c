/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw images: role=raw addr=ADDRESS puts a file into guest RAM as it is. The first one is the
 * kernel: entered at entry= (default: addr=) in flat 32-bit protected mode, real mode or 64-bit
 * mode (mode=). Further ones are data. Tested by tools/tests/test_loader_kinds.c. */
#include "hv/base/log.h"
#include "hv/vm/loader.h"

#define REAL_END 0x100000ull
#define REAL_STACK 0x7000ull
#define LONG_STACK 0x48000ull /* above the identity map's tables, which lie at 30000 */

static enum hv_err raw_put(struct vm *vm, const struct vm_module *m, const struct module_words *w)
{
    struct guest_image g = {{{w->addr, 0, m->len, 0}}, 1, w->addr};

    if (w->role != ROLE_RAW || !w->has_addr) {
        log_err("vm", "a module (%lu bytes) lacks its place: give it role=raw addr=ADDRESS",
                m->len);
        return HV_INVALID;
    }
    if (w->addr > UINT64_MAX - m->len) {
        log_err("vm", "addr=0x%lx lies beyond the end of the address space", w->addr);
        return HV_INVALID;
    }
    return guest_image_load(vm, &g, port_ptr(m->base));
}

enum hv_err guest_raw_load(struct vm *vm, const struct vm_files *f)
{
    static const char *const names[] = {"32-bit protected", "real", "64-bit"};
    const struct module_words *w = &f->kernel_words;
    uint64_t entry = w->has_entry ? w->entry : w->addr;

    TRY(raw_put(vm, f->kernel, w));
    if (entry < w->addr || entry >= w->addr + f->kernel->len) {
        log_err("vm", "entry=0x%lx lies outside of the raw image at 0x%lx-0x%lx", entry, w->addr,
                w->addr + f->kernel->len);
        return HV_INVALID;
    }
    if (w->mode == RAW_REAL && entry >= REAL_END) {
        log_err("vm", "entry=0x%lx cannot be reached in real mode: give one below 1 MiB", entry);
        return HV_INVALID;
    }
    for (unsigned i = 0; i < f->nmods; i++)
        TRY(raw_put(vm, f->mod[i], &f->mod_words[i]));
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
