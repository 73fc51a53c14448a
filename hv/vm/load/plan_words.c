/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of a module string that say which VM it is for and what that VM gets.
 * Tested by tools/tests/test_plan.c. */
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

static bool starts(const char *s, size_t n, const char *key, const char **value, size_t *len)
{
    size_t k = strlen(key);

    if (n <= k || strncmp(s, key, k) != 0)
        return false;
    *value = s + k;
    *len = n - k;
    return true;
}

static bool copy(char *to, size_t room, const char *s, size_t n)
{
    if (n > room)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool good = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                    (s[i] >= '0' && s[i] <= '9') || s[i] == '-' || s[i] == '_';
        if (!good)
            return false;
    }
    memcpy(to, s, n);
    to[n] = 0;
    return true;
}

/* A decimal number below HV_MACHINE_CPUS at *at. */
static bool cpu_number(const char *s, size_t n, size_t *at, uint32_t *out)
{
    size_t first = *at;
    uint32_t v = 0;

    for (; *at < n && s[*at] >= '0' && s[*at] <= '9' && v < HV_MACHINE_CPUS; ++*at)
        v = v * 10 + (uint32_t)(s[*at] - '0');
    *out = v;
    return *at > first && v < HV_MACHINE_CPUS;
}

/* "0-3", "0,2,4-5", or with + for the comma. */
static bool cpus_get(const char *s, size_t n, uint64_t set[2])
{
    set[0] = set[1] = 0;
    for (size_t at = 0;; at++) {
        uint32_t first, last;
        if (!cpu_number(s, n, &at, &first))
            return false;
        last = first;
        if (at < n && s[at] == '-') {
            at++;
            if (!cpu_number(s, n, &at, &last) || last < first)
                return false;
        }
        for (uint32_t c = first; c <= last; c++)
            set[c / 64] |= BIT(c % 64);
        if (at == n)
            return true;
        if (s[at] != ',' && s[at] != '+')
            return false;
    }
}

/* MiB, or with M or G. */
static bool mib_get(const char *s, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;

    for (; i < n && s[i] >= '0' && s[i] <= '9' && v < BIT(32); i++)
        v = v * 10 + (uint64_t)(s[i] - '0');
    if (i == 0 || i + 1 < n)
        return false;
    if (i < n && (s[i] | 0x20) == 'g')
        v <<= 10;
    else if (i < n && (s[i] | 0x20) != 'm')
        return false;
    if (v >= OPT_MEM_MIN_MIB)
        *out = v;
    return v >= OPT_MEM_MIN_MIB;
}

static bool onend_get(const char *s, size_t n, enum vm_onend *out)
{
    static const char *const name[] = {[ONEND_AUTO] = "auto",
                                       [ONEND_STOP] = "stop",
                                       [ONEND_RESTART] = "restart",
                                       [ONEND_MACHINE] = "machine"};

    for (unsigned i = 0; i < ARRAY_SIZE(name); i++)
        if (strlen(name[i]) == n && strncmp(name[i], s, n) == 0) {
            *out = (enum vm_onend)i;
            return true;
        }
    return false;
}

const char *vm_word_form(const char *bad)
{
    static const struct {
        const char *key, *form;
    } word[] = {
        {"vm=", "a VM's name has up to 15 letters, digits, - and _"},
        {"cpus=", "cpus= is a list of CPUs below 128, like 0-3,6"},
        {"mem=", "mem= is a size from 64M on, like 512M or 2G"},
        {"onend=", "onend= is stop, restart or machine"},
        {"console=", "console= is com1 to com4, and a guest's goes behind ' -- '"},
        {"virtio=", "virtio= is a list of rng, console, net and net2"},
        {"cow=", "cow= is a size, like 64M"},
        {"addr=", "addr= is a number, decimal or with 0x"},
        {"entry=", "entry= is a number, decimal or with 0x"},
        {"mode=", "mode= is real, prot or long"},
        {"display=", "display= is guest"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(word); i++)
        if (strncmp(bad, word[i].key, strlen(word[i].key)) == 0)
            return word[i].form;
    return "a guest's options go behind ' -- '";
}

bool vm_word(struct module_words *out, const char *s, size_t n)
{
    const char *v;
    size_t len;

    if (starts(s, n, "vm=", &v, &len))
        return copy(out->vm, VM_NAME_LEN, v, len);
    if (starts(s, n, "cpus=", &v, &len))
        return out->has_cpus = cpus_get(v, len, out->cpus);
    if (starts(s, n, "mem=", &v, &len))
        return mib_get(v, len, &out->mem_mib);
    if (starts(s, n, "onend=", &v, &len))
        return onend_get(v, len, &out->onend);
    if (starts(s, n, "console=", &v, &len))
        return len > 3 && strncmp(v, "com", 3) == 0 && /* not a guest's that lacks its " -- " */
               copy(out->console, VM_CONSOLE_LEN, v, len);
    return false;
}
