/* SPDX-License-Identifier: BSD-2-Clause */
/* The record of the last panic. Below 640 KiB, where neither GRUB nor firmware loads anything
 * between a warm reset and our start; whether it is still whole its checksum tells. Tested by the
 * console group of `make check`. */
#include "arch-x86/cpu/crash.h"
#include "arch-x86/cpu/asm.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/mem/phys.h"
#include "hv/port/machine.h"

#define RECORD_MAGIC 0x31485341524342ull /* "BCRASH1" */
#define RECORD_BELOW 0x97000             /* BIOSes keep their extended data area above */
#define LINES 16u                        /* reported: reason, registers, backtrace */
#define SUM_START 0xcbf29ce484222325ull  /* FNV-1a, 64 bits */
#define SUM_PRIME 0x100000001b3ull

struct record {
    uint64_t magic, sum, len;
    char text[PAGE_SIZE - 24];
};
_Static_assert(sizeof(struct record) == PAGE_SIZE, "one page");

static hpa_t page; /* 0: none */

static uint64_t sum_of(uint64_t sum, const char *text, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        sum = (sum ^ (uint8_t)text[i]) * SUM_PRIME;
    return sum;
}

static void report(const struct record *r)
{
    uint64_t from = 0;

    log_warn("crash", "the last run ended in a panic:");
    for (unsigned n = 0; n < LINES && from < r->len; n++) {
        char line[200];
        size_t len = 0;
        while (from < r->len && r->text[from] != '\n' && len < sizeof(line) - 1)
            line[len++] = r->text[from++];
        line[len] = 0;
        while (from < r->len && r->text[from] != '\n')
            from++;
        from++; /* the newline, or past the end */
        log_warn("crash", "| %s", line);
    }
}

void crash_init(void)
{
    if (phys_alloc(PAGE_SIZE, PAGE_SIZE, RECORD_BELOW, &page) != HV_OK) {
        page = hpa(0);
        return;
    }
    struct record *r = port_ptr(page);
    if (r->magic == RECORD_MAGIC && r->len <= sizeof(r->text) &&
        r->sum == sum_of(SUM_START, r->text, r->len))
        report(r);
    r->magic = r->len = 0;
    r->sum = SUM_START;
}

void crash_add(const char *line)
{
    size_t n = strlen(line);

    if (page.v == 0)
        return;
    struct record *r = port_ptr(page);
    if (r->len > sizeof(r->text) || n + 1 > sizeof(r->text) - r->len)
        return;
    memcpy(r->text + r->len, line, n);
    r->text[r->len + n] = '\n';
    r->sum = sum_of(r->sum, r->text + r->len, n + 1);
    r->len += n + 1;
    r->magic = RECORD_MAGIC;
}

void crash_flush(void)
{
    if (page.v)
        cpu_wbinvd();
}
