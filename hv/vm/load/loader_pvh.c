/* SPDX-License-Identifier: BSD-2-Clause */
/* PVH guests: ELF kernels that name a 32-bit entry in a note, started with struct hvm_start_info
 * (Xen, xen/include/public/arch-x86/hvm/start_info.h and docs/misc/pvh.pandoc: flat protected mode,
 * paging off, EBX = the structure). Linux's vmlinux and many unikernels are such. Tested by
 * tools/tests/test_loader_kinds.c and tools/tests/fuzz_kernel.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"

#define PVH_MAGIC 0x336ec578u
#define PVH_VERSION 1u
#define PVH_BYTES 56u
#define PVH_MODULE_BYTES 32u
#define PVH_MAP_BYTES 24u

bool guest_pvh_is(const void *image, uint64_t len)
{
    uint64_t entry;
    return elf_pvh_entry(image, len, &entry);
}

enum hv_err guest_pvh_parse(const void *image, uint64_t len, struct guest_image *out,
                            const char **why)
{
    uint64_t entry;

    memset(out, 0, sizeof(*out));
    *why = "it has no PVH note";
    if (!elf_pvh_entry(image, len, &entry))
        return HV_INVALID;
    TRY(elf_parse(image, len, out, why));
    out->entry = entry;
    return guest_image_check(out, why);
}

static bool map_build(const struct vm *vm)
{
    struct guest_range r[GUEST_RANGES_MAX];
    unsigned n = guest_ranges(vm, INFO_GPA, r);
    uint32_t at = info_take(PVH_MAP_BYTES * n);

    for (unsigned i = 0; at && i < n; i++) {
        uint32_t e = at + PVH_MAP_BYTES * i;
        info_put(e, r[i].base, 8);
        info_put(e + 8, r[i].end - r[i].base, 8);
        info_put(e + 16, r[i].type, 4);
    }
    info_put(40, INFO_GPA + at, 8);
    info_put(48, n, 4);
    return at != 0;
}

static bool modules_build(const struct vm_files *f, const uint64_t *at)
{
    uint32_t list = info_take(PVH_MODULE_BYTES * f->nmods);

    info_put(12, f->nmods, 4);
    info_put(16, f->nmods ? INFO_GPA + list : 0, 8);
    for (unsigned i = 0; list && i < f->nmods; i++) {
        uint32_t e = list + PVH_MODULE_BYTES * i;
        uint32_t s = info_string("", f->mod_words[i].cmdline, f->mod_words[i].cmdline_len);
        if (!s)
            return false;
        info_put(e, at[i], 8);
        info_put(e + 8, f->mod[i]->len, 8);
        info_put(e + 16, INFO_GPA + s, 8);
    }
    return list != 0;
}

static enum hv_err info_build(struct vm *vm, const struct vm_files *f, const uint64_t *at)
{
    uint32_t line;

    info_start(PVH_BYTES);
    line = info_string("", f->kernel_words.cmdline, f->kernel_words.cmdline_len);
    if (!line || !map_build(vm) || !modules_build(f, at)) {
        log_err("vm", "the command lines of the guest's kernel and modules are too long together: "
                      "shorten them");
        return HV_INVALID;
    }
    info_put(0, PVH_MAGIC, 4);
    info_put(4, PVH_VERSION, 4);
    info_put(24, INFO_GPA + line, 8);
    info_put(32, ACPI_GPA, 8);
    return info_commit(vm);
}

enum hv_err guest_pvh_load(struct vm *vm, const struct vm_files *f)
{
    const uint8_t *image = port_ptr(f->kernel->base);
    uint64_t at[VM_MAX_MODULES];
    struct guest_image g;
    const char *why;
    enum hv_err err = guest_pvh_parse(image, f->kernel->len, &g, &why);

    if (err != HV_OK) {
        log_err("vm", "kernel module (%lu bytes): %s", f->kernel->len, why);
        return err;
    }
    TRY(guest_image_load(vm, &g, image));
    TRY(guest_modules_load(vm, &g, f, at));
    TRY(info_build(vm, f, at));
    TRY(guest_finish(vm, g.entry, 0, INFO_GPA));
    log_info("vm", "PVH kernel, %u parts, entry 0x%lx, %u modules", g.nparts, g.entry, f->nmods);
    return HV_OK;
}
