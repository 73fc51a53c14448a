/* SPDX-License-Identifier: BSD-2-Clause */
/* Fuzzer of the bzImage header and the module string: what is accepted is consistent with the
 * input's size. The first byte chooses which of the two. */
#include "hv/vm/tables/bootparams.h"
#include "hv/vm/load/loader.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void image(const uint8_t *data, size_t size)
{
    struct bzimage b;
    const char *why;
    if (bzimage_parse(data, size, &b, &why) != HV_OK) {
        check(why[0] != 0);
        return;
    }
    check(b.setup_bytes < size && b.setup_bytes + b.kernel_bytes == size);
    check(b.header_end <= size && b.header_end <= HDR_END_MAX && b.header_end > HDR_START);
    check(b.align >= PAGE_SIZE && (b.align & (b.align - 1)) == 0);
    check(b.init_size >= b.kernel_bytes && b.init_size <= 1ull << 31);
    check(!b.entry_long || b.kernel_bytes > ENTRY64_OFFSET);
}

static void string(const uint8_t *data, size_t size)
{
    struct module_words w;
    char *s = malloc(size + 1);
    if (!s)
        return;
    memcpy(s, data, size);
    s[size] = 0;
    if (module_string_parse(s, &w) == HV_OK) {
        check(memchr(w.bad, 0, sizeof(w.bad)) != NULL);
        check(w.cmdline_len <= strlen(w.cmdline));
        check(w.cmdline_len == 0 || (w.cmdline >= s && w.cmdline + w.cmdline_len <= s + size));
    } else {
        check(strlen(s) >= MODULE_STRING_MAX);
    }
    free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        image(data + 1, size - 1);
    else
        string(data + 1, size - 1);
    return 0;
}
