/* SPDX-License-Identifier: BSD-2-Clause */
/* What a kernel is told about the machine: the one page-sized structure that multiboot and PVH
 * kernels are given. Tested by tools/tests/test_loader_multiboot.c. */
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

static struct {
    uint8_t page[INFO_ROOM];
    uint32_t used;
} info;

void info_start(uint32_t used)
{
    memset(&info, 0, sizeof(info));
    info.used = used;
}

void info_put(uint32_t at, uint64_t v, unsigned bytes)
{
    memcpy(info.page + at, &v, bytes);
}

uint32_t info_used(void)
{
    return info.used;
}

uint32_t info_take(uint32_t n)
{
    uint32_t at = (info.used + 7) & ~7u;
    if (at > INFO_ROOM || n > INFO_ROOM - at)
        return 0;
    info.used = at + n;
    return at;
}

uint32_t info_string(const char *first, const char *s, size_t n)
{
    size_t head = strlen(first);
    uint32_t at = info_take((uint32_t)(head + n + 2 < INFO_ROOM ? head + n + 2 : INFO_ROOM));
    if (!at)
        return 0;
    memcpy(info.page + at, first, head);
    if (head && n)
        info.page[at + head++] = ' ';
    memcpy(info.page + at + head, s, n);
    return at;
}

enum hv_err info_commit(struct vm *vm)
{
    return vm_copy_in(vm, gpa(INFO_GPA), info.page, sizeof(info.page));
}
