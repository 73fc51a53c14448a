/* SPDX-License-Identifier: BSD-2-Clause */
/* The string of a boot module: "key=value words -- guest command line".
 * Tested by tools/tests/test_loader.c. */
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool word_is(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && strncmp(s, word, n) == 0;
}

/* Remembers the first word that made no sense, printable and cut to size. */
static void bad_word(struct module_words *out, const char *s, size_t n)
{
    if (out->bad[0])
        return;
    if (n > sizeof(out->bad) - 1)
        n = sizeof(out->bad) - 1;
    for (size_t i = 0; i < n; i++)
        out->bad[i] = s[i] > ' ' && s[i] < 0x7f ? s[i] : '?';
    out->bad[n] = 0;
}

/* A number, decimal or 0x; false if it is none. */
static bool number_get(const char *s, size_t n, uint64_t *out)
{
    bool hex = n > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    uint64_t v = 0;
    size_t i = hex ? 2 : 0;

    if (n == 0)
        return false;
    for (; i < n; i++) {
        unsigned digit = s[i] >= '0' && s[i] <= '9'   ? (unsigned)(s[i] - '0')
                         : s[i] >= 'a' && s[i] <= 'f' ? (unsigned)(s[i] - 'a') + 10
                         : s[i] >= 'A' && s[i] <= 'F' ? (unsigned)(s[i] - 'A') + 10
                                                      : 99;
        if (digit >= (hex ? 16u : 10u) || __builtin_mul_overflow(v, hex ? 16u : 10u, &v) ||
            __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

/* addr=, entry= and mode= of a raw image. */
static bool raw_word(struct module_words *out, const char *s, size_t n)
{
    if (n > 5 && strncmp(s, "addr=", 5) == 0)
        return out->has_addr = number_get(s + 5, n - 5, &out->addr);
    if (n > 6 && strncmp(s, "entry=", 6) == 0)
        return out->has_entry = number_get(s + 6, n - 6, &out->entry);
    if (word_is(s, n, "mode=real"))
        out->mode = RAW_REAL;
    else if (word_is(s, n, "mode=long"))
        out->mode = RAW_LONG;
    else if (!word_is(s, n, "mode=prot"))
        return false;
    return true;
}

/* A size in bytes: a number with K, M or G. */
static bool size_get(const char *s, size_t n, uint64_t *out)
{
    unsigned shift = 0;
    uint64_t v;
    if (n && (s[n - 1] | 0x20) >= 'a') {
        char unit = (char)(s[--n] | 0x20);
        shift = unit == 'k' ? 10 : unit == 'm' ? 20 : unit == 'g' ? 30 : 64;
    }
    if (shift > 30 || !number_get(s, n, &v) || v > UINT64_MAX >> shift)
        return false;
    *out = v << shift;
    return true;
}

/* ro and cow= of a disk, virtio= of a kernel. */
static bool device_word(struct module_words *out, const char *s, size_t n)
{
    if (word_is(s, n, "ro"))
        return out->read_only = true;
    if (n > 4 && strncmp(s, "cow=", 4) == 0)
        return out->has_cow = size_get(s + 4, n - 4, &out->cow_bytes);
    if (n > 7 && strncmp(s, "virtio=", 7) == 0)
        return out->has_virtio = options_set_parse(OPT_VIRTIO_WORDS, s + 7, n - 7, &out->virtio);
    return false;
}

static void word_parse(struct module_words *out, const char *s, size_t n, bool first)
{
    if (raw_word(out, s, n) || vm_word(out, s, n) || device_word(out, s, n))
        return;
    if (n > 4 && strncmp(s, "pci=", 4) == 0) {
        out->pci = s + 4;
        out->pci_len = n - 4;
        return;
    }
    if (word_is(s, n, "display=guest")) {
        out->display = true;
        return;
    }
    if (n > 5 && strncmp(s, "role=", 5) == 0) {
        if (word_is(s + 5, n - 5, "linux") || word_is(s + 5, n - 5, "kernel")) {
            out->role = ROLE_LINUX;
        } else if (word_is(s + 5, n - 5, "initrd")) {
            out->role = ROLE_INITRD;
        } else if (word_is(s + 5, n - 5, "raw")) {
            out->role = ROLE_RAW;
        } else if (word_is(s + 5, n - 5, "disk")) {
            out->role = ROLE_DISK;
        } else {
            out->role = ROLE_UNKNOWN;
            out->bad[0] = 0;
            bad_word(out, s + 5, n - 5);
        }
        return;
    }
    if (n >= 3 && strncmp(s, "vm=", 3) == 0) {
        out->bad_vm = true;
        out->bad[0] = 0;
    }
    /* the module's file name, which some boot loaders put first */
    for (size_t i = 0; first && i <= n; i++)
        if (i == n)
            return;
        else if (s[i] == '=')
            break;
    bad_word(out, s, n);
}

enum hv_err module_string_parse(const char *s, struct module_words *out)
{
    memset(out, 0, sizeof(*out));
    out->cmdline = "";
    size_t len = 0, at = 0;
    if (!s)
        return HV_OK;
    while (len < MODULE_STRING_MAX && s[len])
        len++;
    bool whole = len < MODULE_STRING_MAX;
    for (bool first = true;; first = false) {
        while (at < len && is_space(s[at]))
            at++;
        size_t start = at;
        while (at < len && !is_space(s[at]))
            at++;
        if (at == start)
            return whole ? HV_OK : HV_INVALID;
        if (word_is(s + start, at - start, "--"))
            break;
        word_parse(out, s + start, at - start, first);
    }
    while (at < len && is_space(s[at]))
        at++;
    while (len > at && is_space(s[len - 1]))
        len--;
    out->cmdline = s + at;
    out->cmdline_len = len - at;
    return whole ? HV_OK : HV_INVALID;
}
