/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF images of multiboot and PVH guests, 32 and 64 bits: headers checked, segments copied to their
 * physical addresses. The file is hostile: every number is checked before it is used. Tested by
 * tools/tests/test_loader_multiboot.c and tools/tests/fuzz_kernel.c. */
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

#define ET_REL 1
#define ET_EXEC 2
#define ET_DYN 3
#define EM_386 3
#define EM_X86_64 62
#define PT_LOAD 1
#define PT_NOTE 4
#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY of "Xen": xen/include/public/elfnote.h */
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

struct elf {
    const uint8_t *p;
    bool wide;
    uint64_t phoff, phsize, phnum, entry;
};

static enum hv_err header_parse(const uint8_t *p, uint64_t len, struct elf *e, const char **why)
{
    uint64_t machine, type, end;

    *why = "it is no ELF file";
    if (!elf_is(p, len))
        return HV_INVALID;
    machine = get(p + 18, 2);
    type = get(p + 16, 2);
    *why = "it is no little-endian x86 executable: give one for i386 or x86-64";
    if ((p[4] != 1 && p[4] != 2) || p[5] != 1 || (machine != EM_386 && machine != EM_X86_64))
        return HV_UNSUPPORTED;
    *why = "it is an object file that was not linked: give the linked kernel";
    if (type == ET_REL)
        return HV_UNSUPPORTED;
    *why = "it is neither an executable nor a shared ELF file: give the linked kernel";
    if (type != ET_EXEC && type != ET_DYN)
        return HV_UNSUPPORTED;
    e->p = p;
    e->wide = p[4] == 2;
    e->entry = e->wide ? get(p + 24, 8) : get(p + 24, 4);
    e->phoff = e->wide ? get(p + 32, 8) : get(p + 28, 4);
    e->phsize = e->wide ? get(p + 54, 2) : get(p + 42, 2);
    e->phnum = e->wide ? get(p + 56, 2) : get(p + 44, 2);
    *why = "its program headers lie beyond the end of the file: it is damaged, copy it again";
    if (e->phsize < (e->wide ? 56u : 32u) || e->phnum == 0 || e->phnum > SEGMENTS_MAX ||
        __builtin_add_overflow(e->phoff, e->phsize * e->phnum, &end) || end > len)
        return HV_INVALID;
    return HV_OK;
}

enum hv_err elf_parse(const void *image, uint64_t len, struct guest_image *out, const char **why)
{
    struct elf e;

    TRY(header_parse(image, len, &e, why));
    out->entry = e.entry;
    for (uint64_t i = 0; i < e.phnum; i++) {
        struct phdr h = phdr_get(e.p + e.phoff + i * e.phsize, e.wide);
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
        if (e.entry >= h.vaddr && e.entry - h.vaddr < h.memsz)
            out->entry = h.paddr + (e.entry - h.vaddr);
    }
    *why = "it has nothing to load: the file is damaged";
    return out->nparts ? HV_OK : HV_INVALID;
}

/* Looks through the notes at n..end (System V ABI, "Note Section"): names and descriptors are
 * padded to 4 bytes. */
static bool note_find(const uint8_t *n, const uint8_t *end, uint64_t *entry)
{
    while (end - n >= 12) {
        uint64_t name = get(n, 4), desc = get(n + 4, 4), type = get(n + 8, 4);
        uint64_t at = 12 + ((name + 3) & ~3ull), next = at + ((desc + 3) & ~3ull);
        if (next > (uint64_t)(end - n))
            return false;
        if (type == NOTE_PHYS32_ENTRY && name == 4 && memcmp(n + 12, "Xen", 4) == 0 &&
            (desc == 4 || desc == 8)) {
            *entry = get(n + at, (unsigned)desc);
            return true;
        }
        n += next;
    }
    return false;
}

bool elf_pvh_entry(const void *image, uint64_t len, uint64_t *entry)
{
    struct elf e;
    const char *why;

    if (header_parse(image, len, &e, &why) != HV_OK)
        return false;
    for (uint64_t i = 0; i < e.phnum; i++) {
        struct phdr h = phdr_get(e.p + e.phoff + i * e.phsize, e.wide);
        if (h.type == PT_NOTE && h.offset <= len && h.filesz <= len - h.offset &&
            note_find(e.p + h.offset, e.p + h.offset + h.filesz, entry))
            return true;
    }
    return false;
}
