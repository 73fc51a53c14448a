/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of kernel files in parts: multiboot 1 and 2, PVH, ELF of both classes. What a parser
 * accepts lies within the file and below 4 GiB, in parts that do not overlap, with the entry in
 * one. */
#include "hv/vm/load/loader.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_image(const struct guest_image *g, size_t size)
{
    unsigned inside = 0;

    check(g->nparts >= 1 && g->nparts <= GUEST_PARTS_MAX);
    for (unsigned i = 0; i < g->nparts; i++) {
        const struct guest_part *a = &g->part[i];
        uint64_t end = a->gpa + a->file_bytes + a->zero_bytes;
        check(a->offset <= size && a->file_bytes <= size - a->offset);
        check(end >= a->gpa && end <= 1ull << 32);
        inside += g->entry >= a->gpa && g->entry < end;
        for (unsigned k = 0; k < i; k++) {
            const struct guest_part *b = &g->part[k];
            check(end <= b->gpa || b->gpa + b->file_bytes + b->zero_bytes <= a->gpa);
        }
    }
    check(inside == 1);
}

/* A checksum is hard to guess: mend that of a header at the place the first byte names. */
static void mend(uint8_t *p, size_t size, uint8_t kind)
{
    size_t at = (kind >> 2) * 8u;
    uint32_t w[4];

    if (at + sizeof(w) > size || !(kind & 2))
        return;
    memcpy(w, p + at, sizeof(w));
    if (kind & 1) {
        w[0] = 0x1badb002;
        w[2] = 0u - w[0] - w[1];
    } else {
        w[0] = 0xe85250d6;
        w[1] = 0;
        w[3] = 0u - w[0] - w[2];
    }
    memcpy(p + at, w, sizeof(w));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static enum hv_err (*const parse[])(const void *, uint64_t, struct guest_image *,
                                        const char **) = {guest_multiboot_parse,
                                                          guest_multiboot2_parse, guest_pvh_parse};
    struct guest_image g;
    const char *why;
    uint8_t *p;

    if (size < 2 || !(p = malloc(size - 1)))
        return 0;
    memcpy(p, data + 1, size - 1);
    mend(p, size - 1, data[0]);
    for (unsigned i = 0; i < 3; i++) {
        why = "";
        if (parse[i](p, size - 1, &g, &why) == HV_OK)
            check_image(&g, size - 1);
        else
            check(why && why[0]);
    }
    check(guest_kind_unknown(p, size - 1)[0] != 0);
    free(p);
    return 0;
}
