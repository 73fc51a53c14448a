/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory and string functions a freestanding build needs. On the host the C library has them,
 * so there they carry a prefix and are only tested. Tested by tools/tests/test_base.c. */
#ifdef HV_HOST
#define memcpy hv_test_memcpy
#define memmove hv_test_memmove
#define memset hv_test_memset
#define memcmp hv_test_memcmp
#define strlen hv_test_strlen
#define strcmp hv_test_strcmp
#define strncmp hv_test_strncmp
#define strchr hv_test_strchr
#define strstr hv_test_strstr
#endif
#include "hv/base/string.h"
#ifndef HV_HOST
#undef memcpy
#undef memset
#endif
#include <stdint.h>

/* Without this gcc would turn the loops below into calls of the functions they implement. clang
 * does not under -ffreestanding. */
#ifdef __clang__
#define NO_IDIOM
#else
#define NO_IDIOM __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* The compiler calls these where the source does not. Link-time optimisation makes such calls after
 * it has dropped what nobody called. */
#define CALLED_BY_COMPILER __attribute__((used))

/* Unaligned 8-byte accesses are cheap on every processor this runs on. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word_t;

CALLED_BY_COMPILER NO_IDIOM void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;
    for (; n >= 32; n -= 32, d += 32, s += 32) {
        word_t a = ((const word_t *)s)[0], b = ((const word_t *)s)[1];
        word_t c = ((const word_t *)s)[2], e = ((const word_t *)s)[3];
        ((word_t *)d)[0] = a;
        ((word_t *)d)[1] = b;
        ((word_t *)d)[2] = c;
        ((word_t *)d)[3] = e;
    }
    for (; n >= 8; n -= 8, d += 8, s += 8)
        *(word_t *)d = *(const word_t *)s;
    while (n--)
        *d++ = *s++;
    return dst;
}

CALLED_BY_COMPILER NO_IDIOM void *memmove(void *dst, const void *src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;
    if ((uintptr_t)d <= (uintptr_t)s) {
        for (; n >= 8; n -= 8, d += 8, s += 8)
            *(word_t *)d = *(const word_t *)s;
        while (n--)
            *d++ = *s++;
        return dst;
    }
    d += n;
    s += n;
    for (; n >= 8; n -= 8) {
        d -= 8;
        s -= 8;
        *(word_t *)d = *(const word_t *)s;
    }
    while (n--)
        *--d = *--s;
    return dst;
}

CALLED_BY_COMPILER NO_IDIOM void *memset(void *dst, int c, size_t n)
{
    unsigned char *d = dst;
    uint64_t w = (uint8_t)c * 0x0101010101010101ull;
    for (; n >= 64; n -= 64, d += 64)
        for (unsigned i = 0; i < 8; i++)
            ((word_t *)d)[i] = w;
    for (; n >= 8; n -= 8, d += 8)
        *(word_t *)d = w;
    while (n--)
        *d++ = (unsigned char)c;
    return dst;
}

CALLED_BY_COMPILER int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

CALLED_BY_COMPILER NO_IDIOM size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n; n--, a++, b++) {
        if (*a != *b)
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        if (!*a)
            break;
    }
    return 0;
}

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c)
            return (char *)(uintptr_t)s;
        if (!*s)
            return NULL;
    }
}

char *strstr(const char *hay, const char *needle)
{
    size_t n = strlen(needle);
    for (;; hay++) {
        if (strncmp(hay, needle, n) == 0)
            return (char *)(uintptr_t)hay;
        if (!*hay)
            return NULL;
    }
}
