/* SPDX-License-Identifier: BSD-2-Clause */
/* Formatted text: the printf subset of hv/base/log.h. Tested by tools/tests/test_base.c. */
#include "hv/base/log.h"
#include "hv/base/string.h"

struct out {
    char *buf;
    size_t size, len; /* len: what an unlimited buffer would hold */
};
struct spec {
    bool left, zero, alt, upper, negative;
    int width, precision; /* precision -1: none */
    char sign;
};

static void out_char(struct out *o, char c)
{
    if (o->len + 1 < o->size)
        o->buf[o->len] = c;
    o->len++;
}

static void out_pad(struct out *o, char c, int n)
{
    while (n-- > 0)
        out_char(o, c);
}

static void out_string(struct out *o, const struct spec *s, const char *text)
{
    int n = 0;
    if (!text)
        text = "(null)";
    while ((s->precision < 0 || n < s->precision) && text[n])
        n++;
    if (!s->left)
        out_pad(o, ' ', s->width - n);
    for (int i = 0; i < n; i++)
        out_char(o, text[i]);
    if (s->left)
        out_pad(o, ' ', s->width - n);
}

static void out_number(struct out *o, const struct spec *s, uint64_t v, bool hex)
{
    char digits[24];
    int n = 0;
    const char *set = s->upper ? "0123456789ABCDEF" : "0123456789abcdef";
    bool prefix = s->alt && hex && v != 0;
    while (v) {
        digits[n++] = set[hex ? v & 15 : v % 10];
        v = hex ? v >> 4 : v / 10;
    }
    if (n == 0 && s->precision != 0)
        digits[n++] = '0';
    int zeros = s->precision > n ? s->precision - n : 0;
    int used = n + zeros + (s->negative ? 1 : 0) + (prefix ? 2 : 0);
    if (s->zero && !s->left && s->precision < 0 && s->width > used) {
        zeros += s->width - used;
        used = s->width;
    }
    if (!s->left)
        out_pad(o, ' ', s->width - used);
    if (s->negative)
        out_char(o, '-');
    if (prefix) {
        out_char(o, '0');
        out_char(o, s->upper ? 'X' : 'x');
    }
    out_pad(o, '0', zeros);
    while (n)
        out_char(o, digits[--n]);
    if (s->left)
        out_pad(o, ' ', s->width - used);
}

/* Numbers in a format are the programmer's, but stay bounded: a width beyond this is clipped. */
#define WIDTH_MAX 1024

static const char *parse_number(const char *f, int *out)
{
    int v = 0;
    for (; *f >= '0' && *f <= '9'; f++)
        if (v < WIDTH_MAX)
            v = v * 10 + (*f - '0');
    *out = v < WIDTH_MAX ? v : WIDTH_MAX;
    return f;
}

static const char *parse_flags(const char *f, struct spec *s)
{
    for (;; f++) {
        if (*f == '-')
            s->left = true;
        else if (*f == '0')
            s->zero = true;
        else if (*f == '#')
            s->alt = true;
        else
            return f;
    }
}

/* A va_list inside a structure can be passed on by pointer whatever its type. */
struct args {
    va_list ap;
};

static void out_integer(struct out *o, struct spec *s, char conv, int longs, struct args *a)
{
    uint64_t v;
    if (conv == 'd' || conv == 'i') {
        int64_t d = longs > 0 ? va_arg(a->ap, long) : va_arg(a->ap, int);
        if (longs == -1)
            d = (short)d;
        if (longs <= -2)
            d = (int64_t)((uint64_t)d << 56) >> 56;
        s->negative = d < 0;
        v = d < 0 ? 0 - (uint64_t)d : (uint64_t)d;
        out_number(o, s, v, false);
        return;
    }
    v = longs > 0 ? va_arg(a->ap, unsigned long) : va_arg(a->ap, unsigned int);
    if (longs == -1)
        v = (unsigned short)v;
    if (longs <= -2)
        v = (unsigned char)v;
    s->upper = conv == 'X';
    out_number(o, s, v, conv != 'u');
}

static void out_conversion(struct out *o, struct spec *s, char conv, int longs, struct args *a)
{
    switch (conv) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
        out_integer(o, s, conv, longs, a);
        break;
    case 'p':
        s->alt = true;
        out_number(o, s, (uintptr_t)va_arg(a->ap, void *), true);
        break;
    case 'c': {
        char c[2] = {(char)va_arg(a->ap, int), 0};
        s->precision = -1;
        out_string(o, s, c);
        break;
    }
    case 's':
        out_string(o, s, va_arg(a->ap, const char *));
        break;
    case '%':
        out_char(o, '%');
        break;
    default: /* unknown: shown as written */
        out_char(o, '%');
        out_char(o, conv);
    }
}

static const char *parse_star_or_number(const char *f, int *out, struct args *a)
{
    if (*f != '*')
        return parse_number(f, out);
    *out = va_arg(a->ap, int);
    if (*out > WIDTH_MAX)
        *out = WIDTH_MAX;
    return f + 1;
}

int hv_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct out o = {buf, size, 0};
    struct args a;
    va_copy(a.ap, ap);
    for (const char *f = fmt; *f; f++) {
        struct spec s = {.precision = -1};
        int longs = 0;
        if (*f != '%') {
            out_char(&o, *f);
            continue;
        }
        f = parse_flags(f + 1, &s);
        f = parse_star_or_number(f, &s.width, &a);
        if (s.width < 0) {
            s.left = true;
            s.width = s.width > -WIDTH_MAX ? -s.width : WIDTH_MAX;
        }
        if (*f == '.')
            f = parse_star_or_number(f + 1, &s.precision, &a);
        for (; *f == 'l' || *f == 'z' || *f == 'j' || *f == 't' || *f == 'h'; f++)
            longs += *f == 'h' ? -1 : 1;
        if (!*f)
            break;
        out_conversion(&o, &s, *f, longs, &a);
    }
    va_end(a.ap);
    if (size)
        buf[o.len < size ? o.len : size - 1] = 0;
    return (int)o.len;
}

int hv_snprintf(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = hv_vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n;
}
