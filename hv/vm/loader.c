/* SPDX-License-Identifier: BSD-2-Clause */
/* Choosing what the boot modules are and copying into guest RAM. Tested by
 * tools/tests/test_loader.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/loader.h"

enum hv_err vm_copy_in(struct vm *vm, gpa_t at, const void *src, size_t n)
{
    uint64_t end;
    const uint8_t *s = src;
    if (__builtin_add_overflow(at.v, n, &end))
        return HV_RANGE;
    for (uint64_t a = at.v; a < end; a = (a & ~REGION_MASK) + REGION_SIZE)
        if (!p2m_ptr(&vm->p2m, gpa(a)))
            return HV_RANGE;
    while (at.v < end) {
        uint64_t part = REGION_SIZE - (at.v & REGION_MASK);
        if (part > end - at.v)
            part = end - at.v;
        memcpy(p2m_ptr(&vm->p2m, at), s, (size_t)part);
        s += part;
        at.v += part;
    }
    return HV_OK;
}

struct choice {
    const struct vm_module *kernel, *initrd;
    struct module_words words; /* the kernel's */
};

/* Puts module i in its place: by its role, else the first free one. */
static enum hv_err module_choose(struct choice *c, const struct vm_module *m, unsigned i,
                                 const struct module_words *w, bool kernel_named)
{
    enum module_role role = w->role;
    if (role == ROLE_NONE)
        role = !c->kernel && !kernel_named ? ROLE_LINUX : ROLE_INITRD;
    if (role == ROLE_LINUX && !c->kernel) {
        c->kernel = m;
        c->words = *w;
        return HV_OK;
    }
    if (role == ROLE_INITRD && !c->initrd) {
        c->initrd = m;
        if (w->cmdline_len)
            log_warn("vm", "module %u: an initrd takes no command line; ignored", i);
        return HV_OK;
    }
    if (w->role == ROLE_LINUX) {
        log_err("vm", "module %u: a second role=linux module: give one kernel", i);
        return HV_INVALID;
    }
    log_warn("vm", "module %u is not used: one kernel and one initrd are", i);
    return HV_OK;
}

static enum hv_err module_words_get(const struct vm_module *m, unsigned i, struct module_words *w)
{
    if (module_string_parse(m->string, w) != HV_OK) {
        log_err("vm", "module %u: its string is longer than %u bytes: shorten it", i,
                MODULE_STRING_MAX - 1);
        return HV_INVALID;
    }
    if (w->role == ROLE_UNKNOWN) {
        log_err("vm", "module %u: role=%s is not known: use role=linux or role=initrd", i, w->bad);
        return HV_INVALID;
    }
    if (m->len == 0) {
        log_err("vm", "module %u is empty: check the file the boot loader read", i);
        return HV_INVALID;
    }
    return HV_OK;
}

/* Bochs's and QEMU's test kernels, unikernels, Xen: anything with a multiboot header that is no
 * bzImage. */
static bool is_multiboot(const struct vm_module *m)
{
    const char *why;
    struct bzimage bz;
    const void *image = port_ptr(m->base);
    return bzimage_parse(image, m->len, &bz, &why) != HV_OK && guest_multiboot_is(image, m->len);
}

/* The kernel: role=linux (or kernel), else the first module without a role. */
static unsigned kernel_index(const struct module_words *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (w[i].role == ROLE_LINUX)
            return i;
    for (unsigned i = 0; i < n; i++)
        if (w[i].role == ROLE_NONE)
            return i;
    return n;
}

static enum hv_err load_multiboot(struct vm *vm, const struct vm_module *mods,
                                  const struct module_words *w, unsigned n, unsigned kernel)
{
    struct vm_module rest[VM_MAX_MODULES];
    struct module_words words[VM_MAX_MODULES];
    unsigned count = 0;

    for (unsigned i = 0; i < n; i++) {
        if (i == kernel)
            continue;
        rest[count] = mods[i];
        words[count++] = w[i];
    }
    return guest_multiboot_load(vm, &mods[kernel], &w[kernel], rest, words, count);
}

static enum hv_err load_linux(struct vm *vm, const struct vm_module *mods,
                              const struct module_words *w, unsigned n)
{
    struct choice c = {.kernel = NULL};
    bool named = w[kernel_index(w, n)].role == ROLE_LINUX;

    for (unsigned i = 0; i < n; i++) {
        if (w[i].bad[0])
            log_warn("vm", "module %u: '%s' is not understood; a guest's options go behind ' -- '",
                     i, w[i].bad);
        TRY(module_choose(&c, &mods[i], i, &w[i], named));
    }
    return linux_load(vm, c.kernel, &c.words, c.initrd);
}

enum hv_err vm_load(struct vm *vm, const struct vm_module *mods, unsigned nmods)
{
    struct module_words w[VM_MAX_MODULES];

    if (nmods == 0) {
        log_err("vm", "no boot module: add 'module2 VMLINUZ role=linux -- console=ttyS0' and "
                      "'module2 INITRD role=initrd' to the boot loader's entry");
        return HV_INVALID;
    }
    if (nmods > VM_MAX_MODULES)
        nmods = VM_MAX_MODULES;
    for (unsigned i = 0; i < nmods; i++)
        TRY(module_words_get(&mods[i], i, &w[i]));
    unsigned kernel = kernel_index(w, nmods);
    if (kernel == nmods) {
        log_err("vm", "no module is a kernel: give one role=linux");
        return HV_INVALID;
    }
    if (is_multiboot(&mods[kernel]))
        return load_multiboot(vm, mods, w, nmods, kernel);
    return load_linux(vm, mods, w, nmods);
}
