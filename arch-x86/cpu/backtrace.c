/* SPDX-License-Identifier: BSD-2-Clause */
/* Symbols of the image (table made by tools/symtab.py in a second link) and frame-pointer walks.
 * Tested by every panic. */
#include "arch-x86/cpu/backtrace.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/defs/layout.h"
#include "hv/base/log.h"

struct symbol {
    uint32_t at, name; /* address; offset into the strings */
};
extern const struct symbol symtab_hv_start[], symtab_hv_end[];
extern const char symstr_hv_end[];
extern char image_text_start[], image_text_end[], image_data_start[], image_data_end[];

void symbol_format(uint64_t at, char *buf, size_t size)
{
    const char *strings = (const char *)symtab_hv_end;
    size_t lo = 0, hi = (size_t)(symtab_hv_end - symtab_hv_start);

    if (at < (uint64_t)(uintptr_t)image_text_start || at >= (uint64_t)(uintptr_t)image_text_end ||
        hi == 0 || at < symtab_hv_start[0].at) {
        hv_snprintf(buf, size, "?");
        return;
    }
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (symtab_hv_start[mid].at <= at)
            lo = mid;
        else
            hi = mid;
    }
    hv_snprintf(buf, size, "%s+0x%llx", strings + symtab_hv_start[lo].name,
                (unsigned long long)(at - symtab_hv_start[lo].at));
}

/* Is the 16-byte frame at `at` on a stack that is mapped? */
static bool on_stack(uint64_t at)
{
    uint64_t data = (uint64_t)(uintptr_t)image_data_start;
    uint64_t data_end = (uint64_t)(uintptr_t)image_data_end;

    if (at & 7)
        return false;
    if (at >= data && at + 16 <= data_end)
        return true; /* the boot stack */
    for (uint32_t c = 0; c < cpu_count; c++) {
        uint64_t top = percpu_stack_main_top(c);
        if (at >= top - LAYOUT_STACK_MAIN_BYTES && at + 16 <= top)
            return true;
        for (unsigned i = 0; i < LAYOUT_STACK_ISTS; i++) {
            top = percpu_stack_ist_top(c, i);
            if (at >= top - LAYOUT_STACK_IST_BYTES && at + 16 <= top)
                return true;
        }
    }
    return false;
}

unsigned backtrace(uint64_t rbp, uint64_t out[BACKTRACE_MAX])
{
    unsigned n = 0;
    while (n < BACKTRACE_MAX && on_stack(rbp)) {
        const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp;
        if (frame[1] == 0)
            break;
        out[n++] = frame[1];
        if (frame[0] <= rbp) /* frames only rise: a loop ends here */
            break;
        rbp = frame[0];
    }
    return n;
}
