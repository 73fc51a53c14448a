/* SPDX-License-Identifier: BSD-2-Clause */
/* Choosing what the boot modules are, by their words and their content.
 * Tested by tools/tests/test_loader.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

static enum hv_err module_words_get(const struct vm_module *m, unsigned i, struct module_words *w)
{
    if (module_string_parse(m->string, w) != HV_OK) {
        log_err("vm", "module %u: its string is longer than %u bytes: shorten it", i,
                MODULE_STRING_MAX - 1);
        return HV_INVALID;
    }
    if (w->role == ROLE_UNKNOWN) {
        log_err("vm",
                "module %u: role=%s is not known: use role=linux, role=kernel, role=initrd, "
                "role=raw or role=disk",
                i, w->bad);
        return HV_INVALID;
    }
    if (m->len == 0) {
        log_err("vm", "module %u is empty: check the file the boot loader read", i);
        return HV_INVALID;
    }
    return HV_OK;
}

/* The kernel: role=linux, kernel or raw, else the first module without a role. */
static unsigned kernel_index(const struct module_words *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (w[i].role == ROLE_LINUX || w[i].role == ROLE_RAW)
            return i;
    for (unsigned i = 0; i < n; i++)
        if (w[i].role == ROLE_NONE)
            return i;
    return n;
}

/* Sorts the modules into f. name: the VM's. */
static enum hv_err files_choose(const char *name, const struct vm_module *mods,
                                const struct module_words *w, unsigned n, struct vm_files *f)
{
    unsigned kernel = kernel_index(w, n);

    if (kernel == n) {
        log_err("vm", "no module is a kernel: give one role=linux");
        return HV_INVALID;
    }
    f->kernel = &mods[kernel];
    f->kernel_words = w[kernel];
    f->nmods = 0;
    for (unsigned i = 0; i < n; i++) {
        if (w[i].bad[0])
            log_warn("vm", "VM %s, module %u: '%s' is not understood and ignored: %s", name, i,
                     w[i].bad, vm_word_form(w[i].bad));
        if (i == kernel || w[i].role == ROLE_DISK)
            continue;
        if (w[i].role == ROLE_LINUX) {
            log_err("vm", "module %u: a second role=linux module: give one kernel", i);
            return HV_INVALID;
        }
        f->mod[f->nmods] = &mods[i];
        f->mod_words[f->nmods++] = w[i];
    }
    return HV_OK;
}

/* Linux takes one other module, its initrd. */
static enum hv_err load_linux(struct vm *vm, const struct vm_files *f)
{
    const struct vm_module *initrd = NULL;

    for (unsigned i = 0; i < f->nmods; i++) {
        const struct module_words *w = &f->mod_words[i];
        if (initrd || w->role == ROLE_RAW) {
            log_warn("vm", "a module (%lu bytes) is not used: one kernel and one initrd are",
                     f->mod[i]->len);
            continue;
        }
        initrd = f->mod[i];
        if (w->cmdline_len)
            log_warn("vm", "an initrd takes no command line; '%.40s' ignored", w->cmdline);
    }
    return linux_load(vm, f->kernel, &f->kernel_words, initrd);
}

/* By what the file is. A kernel with several headers is taken by the first that leads anywhere. */
static enum hv_err load_by_kind(struct vm *vm, const struct vm_files *f)
{
    const void *image = port_ptr(f->kernel->base);
    uint64_t len = f->kernel->len;
    struct guest_image g;
    struct bzimage bz;
    const char *why;

    if (f->kernel_words.role == ROLE_RAW)
        return guest_raw_load(vm, f);
    if (bzimage_parse(image, len, &bz, &why) == HV_OK)
        return load_linux(vm, f);
    bool mb1 = guest_multiboot_is(image, len), mb2 = guest_multiboot2_is(image, len);
    if (mb1 && guest_multiboot_parse(image, len, &g, &why) != HV_OK && mb2)
        return guest_multiboot2_load(vm, f);
    if (mb1)
        return guest_multiboot_load(vm, f);
    if (mb2)
        return guest_multiboot2_load(vm, f);
    if (guest_pvh_is(image, len))
        return guest_pvh_load(vm, f);
    if (bzimage_is(image, len))
        return load_linux(vm, f); /* which says what is wrong with it */
    log_err("vm", "kernel module (%lu bytes): %s", len, guest_kind_unknown(image, len));
    return HV_INVALID;
}

/* Too large for the stack; vm_load runs once, on the boot processor. */
static struct module_words all_words[VM_MAX_MODULES];
static struct vm_files all_files;

enum hv_err vm_load(struct vm *vm, const struct vm_module *mods, unsigned nmods)
{
    if (nmods == 0) {
        log_err("vm", "no boot module: add 'module2 VMLINUZ role=linux -- console=ttyS0' and "
                      "'module2 INITRD role=initrd' to the boot loader's entry");
        return HV_INVALID;
    }
    if (nmods > VM_MAX_MODULES)
        nmods = VM_MAX_MODULES;
    for (unsigned i = 0; i < nmods; i++)
        TRY(module_words_get(&mods[i], i, &all_words[i]));
    TRY(files_choose(vm->name, mods, all_words, nmods, &all_files));
    return load_by_kind(vm, &all_files);
}

bool vm_pci_words(const struct vm_module *mods, unsigned nmods, const char **words, size_t *len)
{
    for (unsigned i = 0; i < nmods; i++) {
        struct module_words w;
        if (module_string_parse(mods[i].string, &w) != HV_OK || !w.pci)
            continue;
        *words = w.pci;
        *len = w.pci_len;
        return true;
    }
    return false;
}

bool vm_screen_asked(const struct vm_module *mods, unsigned nmods)
{
    for (unsigned i = 0; i < nmods; i++) {
        struct module_words w;
        if (module_string_parse(mods[i].string, &w) == HV_OK && w.display)
            return true;
    }
    return false;
}
