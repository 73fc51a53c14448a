/* SPDX-License-Identifier: BSD-2-Clause */
/* The few C library functions a freestanding build needs (gcc emits calls to the mem* ones).
 * On the host the C library provides them. Tested by tools/tests/test_base.c. */
#pragma once
#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
char *strstr(const char *hay, const char *needle);

#ifndef HV_HOST
/* Small sizes become plain moves, where the call would cost more than they do. */
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#endif
