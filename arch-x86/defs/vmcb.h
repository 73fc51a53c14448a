/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine control block in memory (APM volume 2, appendix B "VMCB Layout").
 * Tested by the assertions below. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct vmcb_segment {
    uint16_t selector, attrib;
    uint32_t limit;
    uint64_t base;
};

struct vmcb_control {
    uint16_t intercept_cr_read, intercept_cr_write;
    uint16_t intercept_dr_read, intercept_dr_write;
    uint32_t intercept_exceptions;
    uint32_t intercept1, intercept2, intercept3;
    uint8_t reserved_018[0x3c - 0x18];
    uint16_t pause_threshold, pause_count;
    uint64_t iopm_base, msrpm_base, tsc_offset;
    uint32_t asid;
    uint8_t tlb_control, reserved_05d[3];
    uint64_t vintr, int_shadow;
    uint64_t exitcode, exitinfo1, exitinfo2, exitintinfo;
    uint64_t np_enable;
    uint8_t reserved_098[0xa8 - 0x98];
    uint64_t eventinj, n_cr3, lbr;
    uint32_t clean, reserved_0c4;
    uint64_t nrip;
    uint8_t insn_len, insn[15];
    uint8_t reserved_0e0[0x400 - 0xe0];
};

struct vmcb_save {
    struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_0a0[0xcb - 0xa0];
    uint8_t cpl;
    uint32_t reserved_0cc;
    uint64_t efer;
    uint8_t reserved_0d8[0x148 - 0xd8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_180[0x1d8 - 0x180];
    uint64_t rsp;
    uint8_t reserved_1e0[0x1f8 - 0x1e0];
    uint64_t rax, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    uint8_t reserved_248[0x268 - 0x248];
    uint64_t g_pat;
    uint8_t reserved_270[0xc00 - 0x270];
};

struct vmcb {
    _Alignas(4096) struct vmcb_control ctl;
    struct vmcb_save save;
};

#define VMCB_AT(field, offset)                                                                     \
    _Static_assert(offsetof(struct vmcb, field) == (offset), "VMCB layout: " #field)
VMCB_AT(ctl.intercept_cr_read, 0x000);
VMCB_AT(ctl.intercept_cr_write, 0x002);
VMCB_AT(ctl.intercept_dr_read, 0x004);
VMCB_AT(ctl.intercept_dr_write, 0x006);
VMCB_AT(ctl.intercept_exceptions, 0x008);
VMCB_AT(ctl.intercept1, 0x00c);
VMCB_AT(ctl.intercept2, 0x010);
VMCB_AT(ctl.intercept3, 0x014);
VMCB_AT(ctl.pause_threshold, 0x03c);
VMCB_AT(ctl.pause_count, 0x03e);
VMCB_AT(ctl.iopm_base, 0x040);
VMCB_AT(ctl.msrpm_base, 0x048);
VMCB_AT(ctl.tsc_offset, 0x050);
VMCB_AT(ctl.asid, 0x058);
VMCB_AT(ctl.tlb_control, 0x05c);
VMCB_AT(ctl.vintr, 0x060);
VMCB_AT(ctl.int_shadow, 0x068);
VMCB_AT(ctl.exitcode, 0x070);
VMCB_AT(ctl.exitinfo1, 0x078);
VMCB_AT(ctl.exitinfo2, 0x080);
VMCB_AT(ctl.exitintinfo, 0x088);
VMCB_AT(ctl.np_enable, 0x090);
VMCB_AT(ctl.eventinj, 0x0a8);
VMCB_AT(ctl.n_cr3, 0x0b0);
VMCB_AT(ctl.lbr, 0x0b8);
VMCB_AT(ctl.clean, 0x0c0);
VMCB_AT(ctl.nrip, 0x0c8);
VMCB_AT(ctl.insn_len, 0x0d0);
VMCB_AT(ctl.insn, 0x0d1);
VMCB_AT(save.es, 0x400);
VMCB_AT(save.cs, 0x410);
VMCB_AT(save.ss, 0x420);
VMCB_AT(save.ds, 0x430);
VMCB_AT(save.fs, 0x440);
VMCB_AT(save.gs, 0x450);
VMCB_AT(save.gdtr, 0x460);
VMCB_AT(save.ldtr, 0x470);
VMCB_AT(save.idtr, 0x480);
VMCB_AT(save.tr, 0x490);
VMCB_AT(save.cpl, 0x4cb);
VMCB_AT(save.efer, 0x4d0);
VMCB_AT(save.cr4, 0x548);
VMCB_AT(save.cr3, 0x550);
VMCB_AT(save.cr0, 0x558);
VMCB_AT(save.dr7, 0x560);
VMCB_AT(save.dr6, 0x568);
VMCB_AT(save.rflags, 0x570);
VMCB_AT(save.rip, 0x578);
VMCB_AT(save.rsp, 0x5d8);
VMCB_AT(save.rax, 0x5f8);
VMCB_AT(save.star, 0x600);
VMCB_AT(save.lstar, 0x608);
VMCB_AT(save.cstar, 0x610);
VMCB_AT(save.sfmask, 0x618);
VMCB_AT(save.kernel_gs_base, 0x620);
VMCB_AT(save.sysenter_cs, 0x628);
VMCB_AT(save.sysenter_esp, 0x630);
VMCB_AT(save.sysenter_eip, 0x638);
VMCB_AT(save.cr2, 0x640);
VMCB_AT(save.g_pat, 0x668);
_Static_assert(sizeof(struct vmcb_segment) == 16, "VMCB segment");
_Static_assert(sizeof(struct vmcb) == 4096, "VMCB size");
