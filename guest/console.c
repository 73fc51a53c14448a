/* SPDX-License-Identifier: BSD-2-Clause */
/* Formatted output to the debug console port (0xE9), or COM1 where that port does not answer; and
 * the memory functions the compiler may call. Tested by every run of the image. */
#include "guest/guest.h"

static bool use_com1;
static struct spinlock console_lock;

struct sink {
    char *buf;
    unsigned n, max;
};

static void put(struct sink *s, char c)
{
    if (s->n < s->max)
        s->buf[s->n++] = c;
}

static void put_number(struct sink *s, uint64_t v, unsigned base, unsigned width, char pad)
{
    char digits[24];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v != 0);
    for (unsigned i = n; i < width; i++)
        put(s, pad);
    while (n != 0)
        put(s, digits[--n]);
}

static const char *format_one(struct sink *s, const char *p, va_list *ap)
{
    unsigned width = 0;
    char pad = ' ';
    bool wide = false;

    if (*p == '0') {
        pad = '0';
        p++;
    }
    while (*p >= '0' && *p <= '9')
        width = width * 10 + (unsigned)(*p++ - '0');
    while (*p == 'l' || *p == 'z') {
        wide = true;
        p++;
    }
    if (*p == 's') {
        const char *str = va_arg(*ap, const char *);
        while (*str != '\0')
            put(s, *str++);
    } else if (*p == 'c') {
        put(s, (char)va_arg(*ap, int));
    } else if (*p == 'd') {
        int64_t v = wide ? va_arg(*ap, int64_t) : va_arg(*ap, int);
        if (v < 0)
            put(s, '-');
        put_number(s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, width, pad);
    } else if (*p == 'u' || *p == 'x') {
        uint64_t v = wide ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned);
        put_number(s, v, *p == 'x' ? 16 : 10, width, pad);
    } else {
        put(s, *p);
    }
    return p + 1;
}

static void format(struct sink *s, const char *p, va_list ap)
{
    va_list copy;

    va_copy(copy, ap);
    while (*p != '\0') {
        if (*p != '%')
            put(s, *p++);
        else
            p = format_one(s, p + 1, &copy);
    }
    va_end(copy);
}

static void emit(const char *buf, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!use_com1) {
            outb(0xe9, (uint8_t)buf[i]);
            continue;
        }
        while ((inb(0x3fd) & 0x20) == 0)
            pause();
        outb(0x3f8, (uint8_t)buf[i]);
    }
}

static void emit_locked(const char *buf, unsigned n)
{
    /* bounded: a CPU that died inside must not silence the others */
    for (unsigned i = 0; i < 10000000; i++) {
        if (atomic_exchange_explicit(&console_lock.taken, 1, memory_order_acquire) == 0)
            break;
        pause();
    }
    emit(buf, n);
    spin_unlock(&console_lock);
}

void print(const char *fmt, ...)
{
    char line[256];
    struct sink s = {line, 0, sizeof(line)};
    va_list ap;

    va_start(ap, fmt);
    format(&s, fmt, ap);
    va_end(ap);
    emit_locked(line, s.n);
}

void vdiag(const char *prefix, const char *fmt, va_list ap)
{
    char line[256];
    struct sink s = {line, 0, sizeof(line) - 1};

    put(&s, '#');
    put(&s, ' ');
    while (*prefix != '\0')
        put(&s, *prefix++);
    format(&s, fmt, ap);
    line[s.n++] = '\n';
    emit_locked(line, s.n);
}

void diag(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vdiag("", fmt, ap);
    va_end(ap);
}

void console_init(void)
{
    use_com1 = options.com1 ||
               inb(0xe9) != 0xe9; /* QEMU's and Bochs's debug console reads back its own number */
}

void *memset(void *d, int c, size_t n)
{
    void *p = d;
    asm volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
    return d;
}

void *memcpy(void *d, const void *s, size_t n)
{
    void *p = d;
    asm volatile("rep movsb" : "+D"(p), "+S"(s), "+c"(n) : : "memory");
    return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}
