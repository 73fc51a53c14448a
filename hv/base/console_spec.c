/* SPDX-License-Identifier: BSD-2-Clause */
/* Parses one value of console=, so that a malformed one is reported with the other options.
 * Tested by tools/tests/test_options.c and tools/tests/fuzz_options.c. */
#include "hv/base/console_spec.h"
#include "hv/base/string.h"

#define BAUD_MIN 50u
#define BAUD_MAX 4000000u
#define CLOCK_MIN 1843200u /* what a PC's UART has: 16 times 115200 */
#define CLOCK_MAX 1000000000u

bool number_parse(const char *s, uint64_t *out, const char **end)
{
    uint64_t v = 0, base = 10;
    const char *start = s;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
        base = 16;
        start = s += 2;
    }
    for (;; s++) {
        uint64_t digit;
        if (*s >= '0' && *s <= '9')
            digit = (uint64_t)*s - '0';
        else if (base == 16 && (*s | 0x20) >= 'a' && (*s | 0x20) <= 'f')
            digit = (uint64_t)(*s | 0x20) - 'a' + 10;
        else
            break;
        v = v * base + digit;
        if (v > 1ull << 60)
            return false;
    }
    *out = v;
    *end = s;
    return s != start;
}

/* [,BAUD[n8]][,clk=HZ] to the end of the text. */
static bool line_parse(const char *s, bool clock_allowed, struct console_spec *o)
{
    uint64_t v;
    if (*s == ',' && strncmp(s, ",clk=", 5) != 0) {
        if (!number_parse(s + 1, &v, &s) || v < BAUD_MIN || v > BAUD_MAX)
            return false;
        o->baud = (uint32_t)v;
        if (s[0] == 'n' && s[1] == '8')
            s += 2;
    }
    if (clock_allowed && strncmp(s, ",clk=", 5) == 0) {
        if (!number_parse(s + 5, &v, &s) || v < CLOCK_MIN || v > CLOCK_MAX)
            return false;
        o->clock_hz = (uint32_t)v;
    }
    return *s == 0;
}

/* One or two hexadecimal digits, at most max, then `after`. */
static bool hex_field(const char **s, uint32_t max, char after, uint32_t *out)
{
    uint32_t v = 0;
    unsigned n = 0;
    for (; n < 2; n++, ++*s) {
        char c = **s, low = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        else
            break;
    }
    *out = v;
    if (after && *(*s)++ != after)
        return false;
    return n > 0 && v <= max;
}

static bool pci_parse(const char *s, struct console_spec *o)
{
    o->kind = CONSOLE_PCI;
    return hex_field(&s, 0xff, ':', &o->bus) && hex_field(&s, 0x1f, '.', &o->dev) &&
           hex_field(&s, 7, 0, &o->fn) && line_parse(s, true, o);
}

static bool base_parse(const char *s, enum console_kind kind, uint64_t max, uint64_t align,
                       struct console_spec *o)
{
    const char *end;
    o->kind = kind;
    return number_parse(s, &o->base, &end) && o->base != 0 && o->base <= max &&
           o->base % align == 0 && line_parse(end, true, o);
}

bool console_spec_parse(const char *s, struct console_spec *o)
{
    static const struct {
        const char *word;
        enum console_kind kind;
    } words[] = {{"auto", CONSOLE_AUTO}, {"none", CONSOLE_NONE}, {"spcr", CONSOLE_SPCR},
                 {"fb", CONSOLE_FB},     {"vga", CONSOLE_VGA},   {"debugcon", CONSOLE_DEBUGCON}};
    memset(o, 0, sizeof(*o));
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(s, words[i].word) == 0) {
            o->kind = words[i].kind;
            return true;
        }
    if (strncmp(s, "com", 3) == 0 && s[3] >= '1' && s[3] <= '4') {
        o->kind = CONSOLE_COM;
        o->com = (unsigned)(s[3] - '0');
        return line_parse(s + 4, false, o);
    }
    if (strncmp(s, "pio:", 4) == 0)
        return base_parse(s + 4, CONSOLE_PIO, 0xfff8, 1, o);
    if (strncmp(s, "mmio32:", 7) == 0)
        return base_parse(s + 7, CONSOLE_MMIO32, (1ull << 48) - 1, 4, o);
    if (strncmp(s, "pci:", 4) == 0)
        return pci_parse(s + 4, o);
    return false;
}
