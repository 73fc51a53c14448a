/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside hv/vm: what the parts of the loader share. Tested by tools/tests/test_loader.c and
 * tools/tests/fuzz_bzimage.c. */
#pragma once
#include "hv/vm/vm.h"

/* --- module strings (loader_string.c) --- */
#define MODULE_STRING_MAX 4096u
enum module_role { ROLE_NONE, ROLE_LINUX, ROLE_INITRD, ROLE_UNKNOWN };
struct module_words {
    enum module_role role;
    const char *cmdline; /* behind " -- ", leading blanks skipped; "" if there is none */
    size_t cmdline_len;  /* trailing blanks not counted */
    char bad[48];        /* first word not understood, or the unknown role; "" if none */
};
/* HV_INVALID: not terminated within MODULE_STRING_MAX bytes. s may be NULL (empty). */
enum hv_err module_string_parse(const char *s, struct module_words *out) HV_MUST_CHECK;

/* --- multiboot guests (loader_multiboot.c, loader_elf.c) --- */
#define GUEST_PARTS_MAX 16
struct guest_part { /* file_bytes of the file at offset go to gpa, zero_bytes of zeros follow */
    uint64_t gpa, offset, file_bytes, zero_bytes;
};
struct guest_image {
    struct guest_part part[GUEST_PARTS_MAX];
    unsigned nparts;
    uint64_t entry; /* physical */
};
bool elf_is(const void *image, uint64_t len);
/* Parts are within the file and below 4 GiB; *why: what is wrong and what to do. Adds to *out. */
enum hv_err elf_parse(const void *image, uint64_t len, struct guest_image *out,
                      const char **why) HV_MUST_CHECK;
bool guest_multiboot_is(const void *image, uint64_t len); /* is there a version 1 header? */
enum hv_err guest_multiboot_parse(const void *image, uint64_t len, struct guest_image *out,
                                  const char **why) HV_MUST_CHECK;
enum hv_err guest_multiboot_load(struct vm *vm, const struct vm_module *kernel,
                                 const struct module_words *words, const struct vm_module *mods,
                                 const struct module_words *mod_words,
                                 unsigned nmods) HV_MUST_CHECK;

/* --- bzImage (loader_bzimage.c) --- */
struct bzimage {
    uint16_t version;     /* of the boot protocol, 0x20a.. */
    uint64_t setup_bytes; /* boot sector and real-mode part; the kernel proper follows */
    uint64_t kernel_bytes;
    uint32_t header_end; /* of the setup header, which starts at 0x1f1 */
    bool entry_long;     /* has the 64-bit entry at +0x200 */
    bool relocatable;
    uint64_t align; /* power of two */
    uint64_t pref_address;
    uint64_t init_size;   /* memory it needs from its load address on */
    uint64_t initrd_max;  /* highest byte an initrd may have */
    uint32_t cmdline_max; /* without the terminator */
};
/* Checks everything it reports. *why: what is wrong and what to do, on HV_INVALID and
 * HV_UNSUPPORTED. */
enum hv_err bzimage_parse(const void *image, uint64_t len, struct bzimage *out,
                          const char **why) HV_MUST_CHECK;

/* What a BIOS leaves in its data area and guests read (loader_linux.c). */
enum hv_err bda_build(struct vm *vm) HV_MUST_CHECK;

/* --- Linux's boot data (loader_linux.c) --- */
enum hv_err linux_load(struct vm *vm, const struct vm_module *kernel,
                       const struct module_words *words,
                       const struct vm_module *initrd) HV_MUST_CHECK;
