/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel half for the rig of mmu_rig.h: where a kernel writes its tables. Tested by the tests
 * that use it: test_mmu_saving.c, test_mmu_foresight.c. */
#pragma once
#include "tools/tests/mmu_rig.h"

#define UPPER 300u /* an entry of the kernel's half of a root */
#define ROOT2 40ull
#define PDPT_K 41ull
#define PD_K 42ull
#define PT_K 43ull
#define VA(t, i) ((uint64_t)(t) << 21 | (uint64_t)(i) << 12)
#define WINDOW(i) gva(0xffff000000000000ull | (uint64_t)UPPER << 39 | (uint64_t)(i) << 12)

/* A kernel half: entry UPPER of the root leads to 16 pages that map frames 16..31, the tables, and
 * 40..55 behind them. */
static void kernel_up(const char *options)
{
    rig_up(options, 128);
    *entry(ROOT, UPPER) = PDPT_K << 12 | PTE_P | PTE_W | PTE_A;
    *entry(PDPT_K, 0) = PD_K << 12 | PTE_P | PTE_W | PTE_A;
    *entry(PD_K, 0) = PT_K << 12 | PTE_P | PTE_W | PTE_A;
    for (unsigned i = 0; i < 16; i++) {
        *entry(PT_K, i) = (ROOT + i) << 12 | PTE_P | PTE_W | PTE_A | PTE_D;
        *entry(PT_K, 16 + i) = (ROOT2 + i) << 12 | PTE_P | PTE_W | PTE_A | PTE_D;
    }
}
__attribute__((unused)) static uint64_t spte_at(unsigned c, gva_t va)
{
    unsigned level;
    uint64_t e = spte_of(c, va.v, &level);
    return level == 1 ? e : 0;
}
