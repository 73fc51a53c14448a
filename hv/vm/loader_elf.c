/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF images of multiboot guests, 32 and 64 bits: headers checked, segments copied to their
 * physical addresses. The file is hostile: every number is checked before it is used. Tested by
 * tools/tests/test_loader_multiboot.c . */
#include "hv/base/string.h"
#include "hv/vm/loader.h"

#define EM_386 3
#define EM_X86_64 62
#define PT_LOAD 1
#define SEGMENTS_MAX 64

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes); /* little-endian, as every x86 */
    return v;
}

struct phdr {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz;
};

/* System V ABI, "Program Header": the two classes order their fields differently. */
static struct phdr phdr_get(const uint8_t *p, bool wide)
{
    if (wide)
        return (struct phdr){(uint32_t)get(p, 4), get(p + 8, 8),  get(p + 16, 8),
                             get(p + 24, 8),      get(p + 32, 8), get(p + 40, 8)};
    return (struct phdr){(uint32_t)get(p, 4), get(p + 4, 4),  get(p + 8, 4),
                         get(p + 12, 4),      get(p + 16, 4), get(p + 20, 4)};
}

bool elf_is(const void *image, uint64_t len)
{
    return len >= 64 && memcmp(image, "\177ELF", 4) == 0;
}

static const char *segment_check(const struct phdr *h, uint64_t len)
{
    uint64_t end;
    if (__builtin_add_overflow(h->offset, h->filesz, &end) || end > len)
        return "a segment lies beyond the end of the file: it is truncated, copy it again";
    if (h->filesz > h->memsz)
        return "a segment is larger in the file than in memory: the file is damaged";
    if (__builtin_add_overflow(h->paddr, h->memsz, &end) || end > BIT(32))
        return "a segment lies above 4 GiB, where multiboot loads nothing: link it lower";
    return NULL;
}

enum hv_err elf_parse(const void *image, uint64_t len, struct guest_image *out, const char **why)
{
    const uint8_t *p = image;
    bool wide = p[4] == 2;
    uint64_t phoff = wide ? get(p + 32, 8) : get(p + 28, 4);
    uint64_t size = wide ? get(p + 54, 2) : get(p + 42, 2);
    uint64_t n = wide ? get(p + 56, 2) : get(p + 44, 2);
    uint64_t entry = wide ? get(p + 24, 8) : get(p + 24, 4);
    uint64_t machine = get(p + 18, 2), end;

    out->entry = entry;
    *why = "it is no little-endian x86 executable: give one for i386 or x86-64";
    if ((p[4] != 1 && p[4] != 2) || p[5] != 1 || (machine != EM_386 && machine != EM_X86_64))
        return HV_UNSUPPORTED;
    *why = "its program headers lie beyond the end of the file: it is damaged, copy it again";
    if (size < (wide ? 56u : 32u) || n == 0 || n > SEGMENTS_MAX ||
        __builtin_add_overflow(phoff, size * n, &end) || end > len)
        return HV_INVALID;
    for (uint64_t i = 0; i < n; i++) {
        struct phdr h = phdr_get(p + phoff + i * size, wide);
        if (h.type != PT_LOAD || h.memsz == 0)
            continue;
        if ((*why = segment_check(&h, len)))
            return HV_INVALID;
        if (out->nparts == GUEST_PARTS_MAX) {
            *why = "it has more segments than are supported (16)";
            return HV_UNSUPPORTED;
        }
        out->part[out->nparts++] =
            (struct guest_part){h.paddr, h.offset, h.filesz, h.memsz - h.filesz};
        /* The entry of an image linked high is a virtual address of one of its segments. */
        if (entry >= h.vaddr && entry - h.vaddr < h.memsz)
            out->entry = h.paddr + (entry - h.vaddr);
    }
    *why = "it has nothing to load: the file is damaged";
    return out->nparts ? HV_OK : HV_INVALID;
}
