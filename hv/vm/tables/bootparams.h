/* SPDX-License-Identifier: BSD-2-Clause */
/* Offsets of Linux's setup header and zero page ("The Linux/x86 Boot Protocol", chapters "The
 * Real-Mode Kernel Header" and "64-bit Boot Protocol"; "Zero Page"). Numbers only. Tested by
 * tools/tests/test_loader.c. */
#pragma once

/* setup header, the same offsets in the file and in the zero page */
#define HDR_START 0x1f1u
#define HDR_SETUP_SECTS 0x1f1u
#define HDR_SYSSIZE 0x1f4u
#define HDR_VID_MODE 0x1fau
#define HDR_BOOT_FLAG 0x1feu
#define HDR_JUMP 0x200u /* EB xx: the header ends at 0x202 + xx */
#define HDR_MAGIC 0x202u
#define HDR_MAGIC_VALUE 0x53726448u /* "HdrS" */
#define HDR_VERSION 0x206u
#define HDR_TYPE_OF_LOADER 0x210u
#define HDR_LOADFLAGS 0x211u
#define HDR_LOADED_HIGH 0x01u
#define HDR_CODE32_START 0x214u
#define HDR_RAMDISK_IMAGE 0x218u
#define HDR_RAMDISK_SIZE 0x21cu
#define HDR_CMD_LINE_PTR 0x228u
#define HDR_INITRD_ADDR_MAX 0x22cu
#define HDR_KERNEL_ALIGNMENT 0x230u
#define HDR_RELOCATABLE 0x234u
#define HDR_XLOADFLAGS 0x236u
#define HDR_XLF_KERNEL_64 0x0001u
#define HDR_CMDLINE_SIZE 0x238u
#define HDR_PREF_ADDRESS 0x258u
#define HDR_INIT_SIZE 0x260u
#define HDR_BYTES_MIN 0x264u /* as far as this loader reads */
#define HDR_END_MAX 0x290u   /* the zero page has other data from here on */
#define ENTRY64_OFFSET 0x200u

/* zero page (struct boot_params) beside the header */
#define BP_BYTES 4096u
/* struct screen_info at its start */
#define BP_SCREEN_KIND 0x00fu
#define BP_SCREEN_VLFB 0x23u /* a linear framebuffer, size in 64 KiB */
#define BP_SCREEN_EFI 0x70u  /* the same, size in bytes: one above 4 GiB is only known so */
#define BP_SCREEN_WIDTH 0x012u
#define BP_SCREEN_HEIGHT 0x014u
#define BP_SCREEN_DEPTH 0x016u
#define BP_SCREEN_BASE 0x018u
#define BP_SCREEN_BYTES 0x01cu
#define BP_SCREEN_PITCH 0x024u
#define BP_SCREEN_COLOUR 0x026u /* bits and lowest bit of red, green, blue */
#define BP_SCREEN_CAPABILITIES 0x036u
#define BP_SCREEN_64BIT_BASE BIT(1)
#define BP_SCREEN_BASE_HIGH 0x03au
#define BP_ACPI_RSDP 0x070u
#define BP_E820_ENTRIES 0x1e8u
#define BP_E820_TABLE 0x2d0u
#define BP_E820_BYTES 20u
#define BP_E820_MAX 128u
#define E820_RAM 1u
#define E820_RESERVED 2u
