/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels that come in parts with addresses of their own: checking the parts against each other and
 * the guest's RAM, copying them, and finding room for the other modules. Tested by
 * tools/tests/test_loader_multiboot.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

#define LOW_BEGIN 0x500ull /* behind the interrupt vectors and the BIOS data area */
#define LOW_END INFO_GPA   /* images keep below this, or above 1 MiB */
#define HIGH_GPA 0x100000ull

static uint64_t part_end(const struct guest_part *p)
{
    return p->gpa + p->file_bytes + p->zero_bytes;
}

enum hv_err guest_image_check(const struct guest_image *g, const char **why)
{
    bool inside = false;

    for (unsigned i = 0; i < g->nparts; i++) {
        const struct guest_part *a = &g->part[i];
        inside |= g->entry >= a->gpa && g->entry < part_end(a);
        for (unsigned k = 0; k < i; k++) {
            const struct guest_part *b = &g->part[k];
            if (a->gpa < part_end(b) && b->gpa < part_end(a)) {
                *why = "two of its segments overlap in memory: it is damaged or was linked wrongly";
                return HV_INVALID;
            }
        }
    }
    if (inside)
        return HV_OK;
    *why = "its entry point lies in none of its segments: it is damaged or was linked wrongly";
    return HV_INVALID;
}

static bool part_fits(const struct vm *vm, const struct guest_part *p)
{
    uint64_t end = part_end(p);
    return (end <= LOW_END && p->gpa >= LOW_BEGIN) ||
           (p->gpa >= HIGH_GPA && end <= vm->ram_low_end);
}

static enum hv_err zero(struct vm *vm, uint64_t at, uint64_t n)
{
    static const uint8_t zeros[PAGE_SIZE];
    while (n) {
        uint64_t step = n < sizeof(zeros) ? n : sizeof(zeros);
        TRY(vm_copy_in(vm, gpa(at), zeros, (size_t)step));
        at += step;
        n -= step;
    }
    return HV_OK;
}

enum hv_err guest_image_load(struct vm *vm, const struct guest_image *g, const uint8_t *image)
{
    for (unsigned i = 0; i < g->nparts; i++) {
        const struct guest_part *p = &g->part[i];
        if (!part_fits(vm, p)) {
            log_err("vm",
                    "kernel module: it wants 0x%lx bytes at 0x%lx, where the guest has no free "
                    "RAM (0x%llx-0x%llx and 0x%llx-0x%lx): give it more with mem=, or link it "
                    "elsewhere",
                    p->file_bytes + p->zero_bytes, p->gpa, LOW_BEGIN, LOW_END, HIGH_GPA,
                    vm->ram_low_end);
            return HV_NOMEM;
        }
        TRY(vm_copy_in(vm, gpa(p->gpa), image + p->offset, (size_t)p->file_bytes));
        TRY(zero(vm, p->gpa + p->file_bytes, p->zero_bytes));
    }
    return HV_OK;
}

/* What is taken above 1 MiB: the image's parts, then the modules placed so far. */
struct taken {
    struct {
        uint64_t base, end;
    } range[GUEST_PARTS_MAX + VM_MAX_MODULES];
    unsigned n;
};

static void take(struct taken *t, uint64_t base, uint64_t end)
{
    if (t->n < ARRAY_SIZE(t->range)) {
        t->range[t->n].base = base;
        t->range[t->n++].end = end;
    }
}

static bool room_at(const struct vm *vm, const struct taken *t, uint64_t at, uint64_t len)
{
    if (at < HIGH_GPA || at > vm->ram_low_end || len > vm->ram_low_end - at)
        return false;
    for (unsigned i = 0; i < t->n; i++)
        if (at < t->range[i].end && at + len > t->range[i].base)
            return false;
    return true;
}

/* Behind everything, else behind any of them, else at 1 MiB; 0: nowhere. */
static uint64_t room_find(const struct vm *vm, const struct taken *t, uint64_t len)
{
    uint64_t top = HIGH_GPA;

    for (unsigned i = 0; i < t->n; i++)
        top = t->range[i].end > top ? t->range[i].end : top;
    top = (top + PAGE_MASK) & ~PAGE_MASK;
    if (room_at(vm, t, top, len))
        return top;
    for (unsigned i = 0; i < t->n; i++) {
        uint64_t at = (t->range[i].end + PAGE_MASK) & ~PAGE_MASK;
        if (room_at(vm, t, at, len))
            return at;
    }
    return room_at(vm, t, HIGH_GPA, len) ? HIGH_GPA : 0;
}

enum hv_err guest_modules_load(struct vm *vm, const struct guest_image *g, const struct vm_files *f,
                               uint64_t *at)
{
    struct taken t = {.n = 0};

    for (unsigned i = 0; i < g->nparts; i++)
        take(&t, g->part[i].gpa, part_end(&g->part[i]));
    for (unsigned i = 0; i < f->nmods; i++) {
        const struct vm_module *m = f->mod[i];
        at[i] = room_find(vm, &t, m->len);
        if (!at[i]) {
            log_err("vm", "module %u (%lu KiB) does not fit: give the guest more RAM with mem=", i,
                    m->len / 1024);
            return HV_NOMEM;
        }
        take(&t, at[i], at[i] + m->len);
        TRY(vm_copy_in(vm, gpa(at[i]), port_ptr(m->base), (size_t)m->len));
    }
    return HV_OK;
}

enum hv_err guest_finish(struct vm *vm, uint64_t entry, uint64_t rax, uint64_t rbx)
{
    gpa_t rsdp;

    TRY(vm_bios_build(vm));
    TRY(vm_acpi_build(vm, &rsdp));
    TRY(vm_mptable_build(vm));
    vm->entry_long = vm->entry_real = false;
    vm->entry_rip = entry;
    vm->entry_rsi = 0;
    vm->entry_rsp = 0;
    vm->entry_cr3 = 0;
    vm->entry_rax = rax;
    vm->entry_rbx = rbx;
    return HV_OK;
}

const char *guest_kind_unknown(const void *image, uint64_t len)
{
    const uint8_t *p = image;
    static const struct {
        const char *magic;
        uint8_t n;
        const char *text;
    } known[] = {
        {"\x1f\x8b", 2, "it is compressed by gzip: decompress it first (make run does)"},
        {"\xfd"
         "7zXZ",
         5, "it is compressed by xz: decompress it first (make run does)"},
        {"\x28\xb5\x2f\xfd", 4, "it is compressed by zstd: decompress it first"},
        {"BZh", 3, "it is compressed by bzip2: decompress it first"},
        {"\x7f"
         "ELF",
         4,
         "it is an ELF file without a multiboot header or a PVH note, so nothing says how to start "
         "it: give a bzImage, a multiboot or a PVH kernel"},
        {"MZ", 2, "it is an EFI program: give a bzImage, a multiboot or a PVH kernel"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (len >= known[i].n && memcmp(p, known[i].magic, known[i].n) == 0)
            return known[i].text;
    return "it is no Linux bzImage (no HdrS), has no multiboot header (or one with a wrong "
           "checksum) and no PVH note: give a bzImage such as Debian's /boot/vmlinuz, a multiboot "
           "or a PVH kernel; or say role=raw addr=ADDRESS";
}
