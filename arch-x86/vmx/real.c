/* SPDX-License-Identifier: BSD-2-Clause */
/* Real mode. The processor is in virtual-8086 mode on the identity shadow, with CR4.VME, IOPL 3 and
 * a task state segment whose maps are zero: INT n, CLI, STI, PUSHF, IRET and I/O are as in real
 * mode (SDM volume 3, 20.3 "Interrupt and Exception Handling in Virtual-8086 Mode"). What is
 * privileged there raises #GP, which exits (EXIT_REAL_GP). No EPT, no second format of shadow
 * tables: writes to traced pages fault in this mode as in any other. Tested by
 * tools/tests/test_vmx.c and the guest tests of modes. */
#include "arch-x86/defs/x86.h"
#include "arch-x86/vmx/internal.h"

#define AR_V86 0xf3u /* data, writable, accessed, DPL 3, present: all six */
#define AR_TSS 0x8bu
#define AR_LDT 0x82u
#define LIMIT_V86 0xffffu
#define ATTR_CODE16 0x9b
#define ATTR_DATA16 0x93
#define TSS_PAGES 3
#define PD_ENTRIES 512

struct real_tables {
    _Alignas(32) uint64_t pdpt[4];
    _Alignas(4096) uint64_t pd[PD_ENTRIES];
    _Alignas(4096) uint64_t pt[PD_ENTRIES];
};
/* In the image, below 4 GiB, virtual = physical. One of each CPU: the pager's root is its own. */
static struct real_tables tables[HV_MACHINE_CPUS];
/* The processor writes nothing into it: task switches exit. */
static _Alignas(4096) struct {
    uint32_t words[26]; /* 104 bytes; the last has the offset of the I/O map */
    uint8_t interrupts[32], io[8192], end[TSS_PAGES * 4096 - 104 - 32 - 8192];
} real_tss;
_Static_assert(sizeof(real_tss) == TSS_PAGES * 4096, "whole pages");

#define TSS_IO_MAP_WORD 25
#define TSS_IO_MAP ((104u + 32) << 16)

/* The guest's own addresses end at 10FFEFh, so that the fourth gibibyte is free for the processor's
 * own accesses; the others are the pager's, read anew for each entry as the processor does. */
uint64_t vmx_real_root(uint32_t cpu, uint64_t root)
{
    struct real_tables *t = &tables[cpu];
    const uint64_t *pdpt = (const uint64_t *)(uintptr_t)root;
    uint64_t page = (uintptr_t)&real_tss;

    real_tss.words[TSS_IO_MAP_WORD] = TSS_IO_MAP;
    for (unsigned i = 0; i < 3; i++)
        t->pdpt[i] = pdpt[i];
    t->pdpt[3] = (uintptr_t)t->pd | PTE_P;
    t->pd[REAL_TSS_LINEAR >> 21 & (PD_ENTRIES - 1)] = (uintptr_t)t->pt | PTE_P | PTE_W | PTE_A;
    for (unsigned i = 0; i < TSS_PAGES; i++) /* supervisor's, not writable */
        t->pt[(REAL_TSS_LINEAR >> 12 & (PD_ENTRIES - 1)) + i] =
            (page + i * 4096) | PTE_P | PTE_A | PTE_NX;
    return (uintptr_t)t->pdpt;
}

static void field_write(unsigned i, uint16_t sel, uint32_t limit, uint32_t ar, uint64_t base)
{
    vmcs_write(VMCS_GUEST_ES_SEL + 2 * i, sel);
    vmcs_write(VMCS_GUEST_ES_LIMIT + 2 * i, limit);
    vmcs_write(VMCS_GUEST_ES_AR + 2 * i, ar);
    vmcs_write(VMCS_GUEST_ES_BASE + 2 * i, base);
}

/* A base that is no selector times 16 cannot be had; the nearest below is taken. */
void vmx_real_segs_put(struct vmx_vcpu *a, const struct vcpu_segs *in)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        a->kept[i] = in->seg[i];
        if (i > SEG_GS)
            continue;
        uint16_t sel = in->seg[i].sel;
        if (in->seg[i].base != (uint64_t)sel << 4)
            sel = (uint16_t)(in->seg[i].base >> 4);
        a->loaded[i] = sel;
        field_write(i, sel, LIMIT_V86, AR_V86, (uint64_t)sel << 4);
    }
    field_write(SEG_LDTR, 0, 0, AR_LDT | AR_UNUSABLE, 0);
    field_write(SEG_TR, 0, REAL_TSS_LIMIT, AR_TSS, REAL_TSS_LINEAR);
}

/* A selector that is still what was loaded stands for the segment kept; another one was loaded by
 * the guest, which in real mode changes selector and base only. */
void vmx_real_segs_get(struct vmx_vcpu *a, struct vcpu_segs *out)
{
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        out->seg[i] = a->kept[i];
        if (i > SEG_GS)
            continue;
        uint16_t sel = (uint16_t)vmcs_read(VMCS_GUEST_ES_SEL + 2 * i);
        if (sel == a->loaded[i])
            continue;
        out->seg[i].sel = sel;
        out->seg[i].base = (uint64_t)sel << 4;
        out->seg[i].attr = i == SEG_CS ? ATTR_CODE16 : ATTR_DATA16;
    }
    out->cpl = 0;
}
