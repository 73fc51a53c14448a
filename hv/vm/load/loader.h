/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside hv/vm/load: what the parts of the loader share. Tested by tools/tests/test_loader.c and
 * tools/tests/fuzz_bzimage.c and tools/tests/fuzz_kernel.c. */
#pragma once
#include "hv/vm/load/load.h"
#include "hv/vm/tables/tables.h"

/* --- module strings (loader_string.c) --- */
#define MODULE_STRING_MAX 4096u
enum module_role { ROLE_NONE, ROLE_LINUX, ROLE_INITRD, ROLE_RAW, ROLE_DISK, ROLE_UNKNOWN };
enum raw_mode { RAW_PROT, RAW_REAL, RAW_LONG }; /* how a raw image is entered */
struct module_words {
    enum module_role role;
    const char *pci; /* value of pci=, NULL: not given */
    size_t pci_len;
    bool display;        /* display=guest */
    const char *cmdline; /* behind " -- ", leading blanks skipped; "" if there is none */
    size_t cmdline_len;  /* trailing blanks not counted */
    char bad[48];        /* first word not understood, or the unknown role; "" if none */
    bool bad_vm;         /* bad is a vm= that is no name: nobody knows whose module it is */
    bool has_addr, has_entry;
    uint64_t addr, entry; /* of role=raw: addr=, entry= */
    enum raw_mode mode;   /* of role=raw: mode= */
    /* which VM, and what it gets (plan_words.c); 0 and "": not said */
    char vm[VM_NAME_LEN + 1], console[VM_CONSOLE_LEN + 1];
    bool has_cpus;
    uint64_t cpus[2]; /* bit c: CPU c of the machine */
    uint64_t mem_mib;
    enum vm_onend onend;
    bool read_only, has_cow;
    uint64_t cow_bytes; /* of role=disk: ro, cow= */
    bool has_virtio;
    uint32_t virtio; /* of a kernel: virtio=, as the option (hv/base/options.h) */
};
/* One of vm=, cpus=, mem=, onend=, console=. false: none of them, or what follows is malformed. */
bool vm_word(struct module_words *out, const char *s, size_t n);
/* What has to stand there instead of a word that was not understood, for people. */
const char *vm_word_form(const char *bad);
/* HV_INVALID: not terminated within MODULE_STRING_MAX bytes; the words up to there are parsed. s
 * may be NULL (empty). */
enum hv_err module_string_parse(const char *s, struct module_words *out) HV_MUST_CHECK;

/* What vm_load has chosen: the kernel and the other modules in their order. */
struct vm_files {
    const struct vm_module *kernel, *mod[VM_MAX_MODULES];
    struct module_words kernel_words, mod_words[VM_MAX_MODULES];
    unsigned nmods;
};

/* --- images in parts (loader_image.c, loader_elf.c) --- */
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
/* The 32-bit entry that a PVH kernel names in an ELF note. */
bool elf_pvh_entry(const void *image, uint64_t len, uint64_t *entry);
/* Parts do not overlap, and the entry lies in one. */
enum hv_err guest_image_check(const struct guest_image *g, const char **why) HV_MUST_CHECK;
/* Copies the parts into guest RAM. Logs what does not fit. */
enum hv_err guest_image_load(struct vm *vm, const struct guest_image *g,
                             const uint8_t *image) HV_MUST_CHECK;
/* Copies the other modules behind the image or where else there is room, page-aligned, and sets
 * at[]. */
enum hv_err guest_modules_load(struct vm *vm, const struct guest_image *g, const struct vm_files *f,
                               uint64_t *at) HV_MUST_CHECK;
/* Low memory, ACPI and MP tables, and the state a 32-bit entry is made in. */
enum hv_err guest_finish(struct vm *vm, uint64_t entry, uint64_t rax, uint64_t rbx) HV_MUST_CHECK;

/* --- what a kernel is told about the machine (loader_info.c) --- */
#define INFO_GPA 0x9d000ull /* below the extended BIOS data area; reserved in the memory map */
#define INFO_ROOM 0x2000u
/* The one structure under construction; `used` bytes are its fixed head. */
void info_start(uint32_t used);
void info_put(uint32_t at, uint64_t v, unsigned bytes);
uint32_t info_used(void);
/* Room for n bytes, 8-aligned; 0 if there is none. */
uint32_t info_take(uint32_t n);
/* "first words" as a string in the structure; its offset, 0 if it does not fit. */
uint32_t info_string(const char *first, const char *s, size_t n);
enum hv_err info_commit(struct vm *vm) HV_MUST_CHECK;

/* The framebuffer's address and form, 22 bytes that both versions of multiboot have in common, at
 * offset `at`, and six of its colours: the guest's screen, else text mode. */
void guest_framebuffer(const struct vm_screen *s, uint32_t at, uint32_t colours);

/* --- kinds of kernels --- */
bool guest_multiboot_is(const void *image, uint64_t len); /* is there a version 1 header? */
enum hv_err guest_multiboot_parse(const void *image, uint64_t len, struct guest_image *out,
                                  const char **why) HV_MUST_CHECK;
enum hv_err guest_multiboot_load(struct vm *vm, const struct vm_files *f) HV_MUST_CHECK;
bool guest_multiboot2_is(const void *image, uint64_t len);
enum hv_err guest_multiboot2_parse(const void *image, uint64_t len, struct guest_image *out,
                                   const char **why) HV_MUST_CHECK;
enum hv_err guest_multiboot2_load(struct vm *vm, const struct vm_files *f) HV_MUST_CHECK;
bool guest_pvh_is(const void *image, uint64_t len); /* has it the ELF note? */
enum hv_err guest_pvh_parse(const void *image, uint64_t len, struct guest_image *out,
                            const char **why) HV_MUST_CHECK;
enum hv_err guest_pvh_load(struct vm *vm, const struct vm_files *f) HV_MUST_CHECK;
enum hv_err guest_raw_load(struct vm *vm, const struct vm_files *f) HV_MUST_CHECK;
/* What a file is that none of them knows, and what to do. */
const char *guest_kind_unknown(const void *image, uint64_t len);

/* --- bzImage (loader_bzimage.c) --- */
struct bzimage {
    uint16_t version;     /* of the boot protocol, 0x202.. */
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
bool bzimage_is(const void *image, uint64_t len); /* has it the setup header's magic? */
/* Checks everything it reports. *why: what is wrong and what to do, on HV_INVALID and
 * HV_UNSUPPORTED. */
enum hv_err bzimage_parse(const void *image, uint64_t len, struct bzimage *out,
                          const char **why) HV_MUST_CHECK;

/* Identity map of the first 4 GiB; sets entry_cr3 (loader_linux.c). */
enum hv_err tables_build(struct vm *vm) HV_MUST_CHECK;

/* --- Linux's boot data (loader_linux.c) --- */
/* The screen in the zero page `page`. */
void linux_screen_fill(const struct vm_screen *s, uint8_t *page);
enum hv_err linux_load(struct vm *vm, const struct vm_module *kernel,
                       const struct module_words *words,
                       const struct vm_module *initrd) HV_MUST_CHECK;
