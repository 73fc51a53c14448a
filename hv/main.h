/* SPDX-License-Identifier: BSD-2-Clause */
/* From boot to the sub-VMMs. */
#pragma once
#include "hv/vm/vm.h"

#define HV_MAX_MODULES 32
struct boot_info { /* filled by boot/ from multiboot 1 or 2, neutral */
    const char *loader;
    const char *cmdline;
    unsigned nmodules;
    struct vm_module module[HV_MAX_MODULES];
    hpa_t rsdp; /* 0: none given */
    bool uefi;
    uint64_t fb_addr; /* framebuffer, 0 none */
    uint32_t fb_pitch, fb_width, fb_height, fb_bpp, fb_type;
    uint8_t fb_colour[6]; /* as vm_screen.colour */
};
extern struct boot_info boot_info;

/* Bytes of private memory one CPU needs (struct subvmm, shadow pool) for that much guest RAM
 * (hv/vm/share.h). Multiple of 2 MiB. */
uint64_t hv_private_bytes(uint64_t guest_ram_bytes);
/* The same for a machine with so much free memory and n CPUs: by what is left for the guest, or by
 * mem=, and less where memory is short, down to the least that runs a guest. Multiple of 2 MiB, of
 * 4 KiB where that is much. */
uint64_t hv_private_share(uint64_t free_bytes, uint32_t ncpus);
/* BSP, once, before private memory is taken out: how CPUs 0..ncpus-1, of which some may not come up,
 * and so much memory are divided among the VMs of the boot modules. */
void hv_plan(const struct boot_info *bi, uint32_t ncpus, uint64_t free_bytes);
/* Bytes of private memory for that CPU; 0: no VM has it. */
uint64_t hv_private_of(uint32_t cpu);
/* BSP, once, after arch bring-up of `ncpus` CPUs, phys_* complete and private memory taken out: for
 * each VM its memory, coherency, devices, image. Stops with a remedy in the text if the machine
 * cannot run a guest. */
void hv_main(uint32_t ncpus);
/* Every CPU that came up, on its own page tables: priv is the private window. Never returns. */
_Noreturn void hv_cpu_main(uint32_t cpu, void *priv, hpa_t priv_hpa, uint64_t priv_bytes);
