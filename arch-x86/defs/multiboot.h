/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot 0.6.96 and Multiboot2 2.0: magic numbers and layouts of what the loader hands over.
 * Tested by every boot, through GRUB and through qemu -kernel. */
#pragma once
#ifndef __ASSEMBLER__
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#endif

#define MB1_HEADER_MAGIC 0x1badb002
#define MB1_LOADER_MAGIC 0x2badb002
#define MB1_HEADER_ALIGN (1 << 0)
#define MB1_HEADER_MEMINFO (1 << 1)

#define MB2_HEADER_MAGIC 0xe85250d6
#define MB2_LOADER_MAGIC 0x36d76289
#define MB2_HEADER_END 0
#define MB2_HEADER_INFO_REQUEST 1
#define MB2_HEADER_FRAMEBUFFER 5
#define MB2_HEADER_MODULE_ALIGN 6
#define MB2_HEADER_OPTIONAL 1 /* flag */

#define MB2_TAG_END 0
#define MB2_TAG_CMDLINE 1
#define MB2_TAG_LOADER 2
#define MB2_TAG_MODULE 3
#define MB2_TAG_MMAP 6
#define MB2_TAG_FRAMEBUFFER 8
#define MB2_TAG_EFI32 11
#define MB2_TAG_EFI64 12
#define MB2_TAG_ACPI_OLD 14
#define MB2_TAG_ACPI_NEW 15
#define MB2_TAG_EFI_MMAP 17

#define MB_MEMORY_AVAILABLE 1

#ifndef __ASSEMBLER__
#define MB1_INFO_MEMORY (1u << 0)
#define MB1_INFO_CMDLINE (1u << 2)
#define MB1_INFO_MODS (1u << 3)
#define MB1_INFO_MMAP (1u << 6)
#define MB1_INFO_LOADER (1u << 9)

struct mb1_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
};
_Static_assert(offsetof(struct mb1_info, mmap_length) == 44, "mb1_info");
_Static_assert(offsetof(struct mb1_info, loader_name) == 64, "mb1_info");
struct mb1_module {
    uint32_t start, end, string, reserved;
};
struct mb1_mmap { /* `size` counts from base_low on */
    uint32_t size, base_low, base_high, len_low, len_high, type;
};

struct mb2_info {
    uint32_t total_size, reserved;
};
struct mb2_tag {
    uint32_t type, size;
};
struct mb2_module {
    struct mb2_tag tag;
    uint32_t start, end;
    char string[];
};
struct mb2_mmap {
    struct mb2_tag tag;
    uint32_t entry_size, entry_version;
};
struct mb2_mmap_entry {
    uint64_t base, len;
    uint32_t type, reserved;
};
struct mb2_framebuffer {
    struct mb2_tag tag;
    uint64_t addr;
    uint32_t pitch, width, height;
    uint8_t bpp, type;
    uint16_t reserved;
};
_Static_assert(offsetof(struct mb2_framebuffer, bpp) == 28, "mb2_framebuffer");
#define MB2_FRAMEBUFFER_RGB 1
#define MB2_FRAMEBUFFER_COLOUR 32 /* lowest bit and number of bits of red, green, blue */
struct mb2_efi_mmap {
    struct mb2_tag tag;
    uint32_t desc_size, desc_version;
};
/* UEFI 2.10, section 7.2.3 "EFI_BOOT_SERVICES.GetMemoryMap()". */
struct efi_memory_desc {
    uint32_t type, pad;
    uint64_t base, virt, npages, attribute;
};
_Static_assert(offsetof(struct efi_memory_desc, npages) == 24, "efi_memory_desc");
#define EFI_LOADER_CODE 1
#define EFI_LOADER_DATA 2
#define EFI_BS_CODE 3
#define EFI_BS_DATA 4
#define EFI_CONVENTIONAL 7
#endif
