/* SPDX-License-Identifier: BSD-2-Clause */
/* Words of the kernel command line. Tested by every run of the image. */
#include "guest/guest.h"

#define BOOT_PARAMS_CMD_LINE_PTR 0x228 /* Linux boot protocol */

struct options options = {.test = "*", .scale = 1, .watchdog = 120};

/* Up to the end of the glob, which another one may follow. */
static bool one_matches(const char *glob, const char *s)
{
    const char *star = NULL, *resume = NULL;

    while (*s != '\0') {
        if (*glob == '*') {
            star = ++glob;
            resume = s;
        } else if (*glob == *s || *glob == '?') {
            glob++;
            s++;
        } else if (star != NULL) {
            glob = star;
            s = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0' || *glob == '|';
}

bool glob_match(const char *globs, const char *s)
{
    while (!one_matches(globs, s)) {
        while (*globs != '\0' && *globs != '|')
            globs++;
        if (*globs++ == '\0')
            return false;
    }
    return true;
}

/* If the word at p begins with key, returns what follows. */
static const char *value_of(const char *p, const char *key)
{
    while (*key != '\0') {
        if (*p++ != *key++)
            return NULL;
    }
    return p;
}

static unsigned number(const char *p)
{
    unsigned v = 0;

    while (*p >= '0' && *p <= '9' && v < 100000)
        v = v * 10 + (unsigned)(*p++ - '0');
    return v;
}

static void take_word(const char *p)
{
    const char *v;

    if ((v = value_of(p, "test=")) != NULL) {
        unsigned i = 0;
        for (; v[i] > ' ' && i < sizeof(options.test) - 1; i++)
            options.test[i] = v[i];
        options.test[i] = '\0';
    } else if ((v = value_of(p, "scale=")) != NULL) {
        options.scale = number(v) == 0 ? 1 : number(v);
    } else if ((v = value_of(p, "watchdog=")) != NULL) {
        options.watchdog = number(v);
    } else if ((v = value_of(p, "cpus=")) != NULL) {
        options.cpus = number(v);
    } else if ((v = value_of(p, "keys=")) != NULL) {
        options.keys = number(v);
    } else if ((v = value_of(p, "aim=")) != NULL) {
        options.aim_mib = number(v);
    } else if (value_of(p, "console=com1") != NULL) {
        options.com1 = true;
    } else if (value_of(p, "idle=spin") != NULL) {
        options.idle_spin = true;
    } else if ((v = value_of(p, "bochs=")) != NULL) {
        options.bochs = number(v) != 0;
    } else if ((v = value_of(p, "tasks=")) != NULL) {
        options.tasks = number(v) != 0;
    } else if ((v = value_of(p, "hosted=")) != NULL) {
        options.hosted = number(v) != 0;
    }
}

void options_init(const uint8_t *boot_params)
{
    struct cpuid_regs r = cpuid(0x40000000, 0);
    uint32_t ptr;
    bool in_word = false;

    options.hosted = r.ebx != 0x54474354; /* "TCGT": QEMU itself */
    memcpy(&ptr, boot_params + BOOT_PARAMS_CMD_LINE_PTR, sizeof(ptr));
    if (ptr == 0)
        return;
    for (const char *p = (const char *)(uintptr_t)ptr; *p != '\0'; p++) {
        if (*p > ' ' && !in_word)
            take_word(p);
        in_word = *p > ' ';
    }
}
