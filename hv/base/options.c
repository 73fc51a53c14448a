/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's command line: the one table of options, its parser and its description.
 * Tested by tools/tests/test_options.c and tools/tests/fuzz_options.c. */
#include "hv/base/options.h"
#include "hv/base/console_spec.h"
#include "hv/base/log.h"
#include "hv/base/string.h"

#define CMDLINE_MAX 4096u
#define WORD_LEN 80u
#define NAME_MAX_LEN 16u

struct hv_options hv_opt;

enum kind { KIND_CHOICE, KIND_SWITCH, KIND_NUMBER, KIND_PAGES, KIND_MIB, KIND_CONSOLE, KIND_SET };

struct option {
    const char *name;
    enum kind kind;
    uint32_t offset, bytes; /* the field */
    const char *values;     /* CHOICE, SWITCH: "a|b|c"; value is the position (SWITCH: a is true) */
    uint64_t initial, max;
    const char *help;
};
#define FIELD(f)                                                                                   \
    (uint32_t)offsetof(struct hv_options, f), (uint32_t)sizeof(((struct hv_options *)0)->f)
#define ON_OFF "on|off"

/* clang-format off */
static const struct option table[] = {
    {"console", KIND_CONSOLE, FIELD(console), CONSOLE_GRAMMAR, 0, 0,
     "console to use; up to 8 may be given; auto, the default: SPCR, COM1, PCI serial, and the screen"},
    {"loglvl", KIND_CHOICE, FIELD(loglvl), "err|warn|info|debug", LOG_INFO, 0,
     "least important messages shown"},
    {"smp", KIND_NUMBER, FIELD(smp), NULL, 0, HV_MAX_CPUS,
     "processors given to the guest; 0: all"},
    {"mem", KIND_MIB, FIELD(mem_mib), NULL, 0, 1ull << 24,
     "guest RAM; 0: what the machine has"},
    {"coherency", KIND_CHOICE, FIELD(coherency), "matrix|locked|shootdown", COHERENCY_MATRIX, 0,
     "how CPUs learn of page-table changes: patch channel matrix, one locked channel, or synchronously"},
    {"overflow", KIND_CHOICE, FIELD(overflow), "lazy|shootdown", OVERFLOW_LAZY, 0,
     "a full channel: the consumer recovers at its next event, or the producer waits for it"},
    {"consumers", KIND_SWITCH, FIELD(consumers_traced), "traced|all", 1, 0,
     "post to the CPUs that trace the page, or to all"},
    {"interest", KIND_SWITCH, FIELD(interest), ON_OFF, 1, 0,
     "skip patches for entries that nobody can have cached"},
    {"derived", KIND_SWITCH, FIELD(derived), ON_OFF, 0, 0,
     "carry derived values in patches"},
    {"unsync", KIND_SWITCH, FIELD(unsync), ON_OFF, 1, 0,
     "let hot leaf tables be written without exits"},
    {"postpone", KIND_SWITCH, FIELD(postpone), ON_OFF, 1, 0,
     "leave patches that an event does not cover in their channel"},
    {"batch", KIND_SWITCH, FIELD(batch), ON_OFF, 1, 0,
     "fill neighbouring shadow entries with the faulting one"},
    {"large", KIND_SWITCH, FIELD(large), ON_OFF, 1, 0,
     "use 2 MiB shadow entries"},
    {"reload", KIND_SWITCH, FIELD(reload), ON_OFF, 1, 0,
     "take a MOV from CR3 and straight back, a TLB flush, as one exit"},
    {"iopair", KIND_SWITCH, FIELD(iopair), ON_OFF, 1, 0,
     "take port accesses that follow each other as one exit: index and data register, polling loops"},
    {"fresh", KIND_SWITCH, FIELD(fresh), ON_OFF, 1, 0,
     "let a leaf table that only this CPU writes go without exits from its first use (with unsync=on)"},
    {"upper", KIND_SWITCH, FIELD(upper), ON_OFF, 1, 0,
     "let tables of tables be written without exits as well (with unsync=on, directpf=off)"},
    {"directpf", KIND_SWITCH, FIELD(directpf), ON_OFF, 0, 0,
     "on Intel: faults of pages that a 64-bit guest has not present reach it without an exit"},
    {"dying", KIND_SWITCH, FIELD(dying), ON_OFF, 1, 0,
     "give up all tables of an address space that has no page left"},
    {"shortcuts", KIND_SWITCH, FIELD(shortcuts), ON_OFF, 1, 0,
     "keep from one exit to the next what need not be found out again"},
    {"mmu", KIND_CHOICE, FIELD(mmu), "shadow|ref", MMU_SHADOW, 0,
     "the shadow pager, or the small slow reference pager"},
    {"pool", KIND_PAGES, FIELD(pool_pages), NULL, 0, 1u << 24,
     "shadow pages a CPU; 0: computed from the guest's RAM"},
    {"audit", KIND_NUMBER, FIELD(audit), NULL, 0, 3,
     "checks of shadow tables against the guest's: 0 none .. 3 all the time"},
    {"hvsig", KIND_CHOICE, FIELD(hvsig), "kvm|own|hyperv", HVSIG_KVM, 0,
     "hypervisor signature and interface in CPUID"},
    {"pveoi", KIND_SWITCH, FIELD(pveoi), ON_OFF, 1, 0,
     "interrupts without an exit for their EOI (with hvsig=kvm or hyperv)"},
    {"pvipi", KIND_SWITCH, FIELD(pvipi), ON_OFF, 1, 0,
     "interrupts to several CPUs by one hypercall (with hvsig=kvm or hyperv)"},
    {"pvflush", KIND_SWITCH, FIELD(pvflush), ON_OFF, 1, 0,
     "flushes of other CPUs' TLBs by hypercall (hvsig=hyperv), or left to their waking (hvsig=kvm)"},
    {"pcid", KIND_SWITCH, FIELD(pcid), ON_OFF, 1, 0,
     "show process-context identifiers to the guest, whether or not the processor has them"},
    {"invpcid", KIND_SWITCH, FIELD(invpcid), ON_OFF, 1, 0,
     "the same for the INVPCID instruction"},
    {"x2apic", KIND_SWITCH, FIELD(x2apic_host), ON_OFF, 1, 0,
     "use the processor's x2APIC where it has one"},
    {"iommu", KIND_CHOICE, FIELD(iommu), "auto|off|force", IOMMU_AUTO, 0,
     "what keeps the DMA of a guest's devices in its memory; force: no devices without one"},
    {"intremap", KIND_SWITCH, FIELD(intremap), ON_OFF, 1, 0,
     "interrupts of a guest's devices checked and led by the IOMMU where it can; off: for chipsets that fail at it"},
    {"rmrr", KIND_SWITCH, FIELD(rmrr_ignore), "ignore|refuse", 0, 0,
     "devices for whose DMA the firmware keeps memory: given without it, or not given"},
    {"acs", KIND_SWITCH, FIELD(acs_ignore), "ignore|refuse", 0, 0,
     "functions of two VMs that reach each other past the IOMMU: given all the same, or not given"},
    {"verw", KIND_SWITCH, FIELD(verw), ON_OFF, 0, 0,
     "on Intel: overwrite the processor's buffers before each entry (MDS), which costs hundreds of cycles"},
    {"panic", KIND_NUMBER, FIELD(panic_s), NULL, 3, 3600,
     "seconds a panic stays on the screen before the reset; 0: for ever"},
    {"reset", KIND_CHOICE, FIELD(reset), "auto|acpi|cf9|kbd|triple", RESET_AUTO, 0,
     "how the machine is reset; auto: one after the other"},
    {"escape", KIND_CHOICE, FIELD(escape), OPT_ESCAPE_KEYS, 0, 0,
     "key that, pressed twice, opens the monitor"},
    {"virtio", KIND_SET, FIELD(virtio), OPT_VIRTIO_WORDS, 0, 0,
     "virtio devices of the guest, a list with commas; disks come by modules with role=disk"},
    {"trace", KIND_SWITCH, FIELD(trace), "1|0", 0, 0,
     "print the event rings when the guest powers off or resets, for tools/trace.py"},
    {"noreboot", KIND_SWITCH, FIELD(noreboot), "1|0", 0, 0,
     "a panic or a guest's reset halts the machine instead of resetting it"},
    {"test", KIND_SWITCH, FIELD(test), "1|0", 0, 0,
     "for test kernels: the debug-exit port ends the emulator, ports E0 and 2000 drive interrupt lines"},
    {"help", KIND_SWITCH, FIELD(help), "1|0", 0, 0,
     "print this table at boot; the word alone suffices"},
};
/* clang-format on */
_Static_assert(sizeof(enum coherency_mode) == 4, "options are written as 1, 4 or 8 bytes");

/* Least value beside 0, which leaves the choice to Patchbay. */
static uint64_t least(const struct option *t)
{
    return t->kind == KIND_MIB ? OPT_MEM_MIN_MIB : t->kind == KIND_PAGES ? OPT_POOL_MIN : 0;
}

static void field_set(struct hv_options *o, const struct option *t, uint64_t v)
{
    unsigned char *p = (unsigned char *)o + t->offset;
    if (t->bytes == 8) {
        memcpy(p, &v, 8);
    } else if (t->bytes == 4) {
        uint32_t w = (uint32_t)v;
        memcpy(p, &w, 4);
    } else {
        bool b = v != 0;
        memcpy(p, &b, sizeof(b));
    }
}

/* Position of `word` in "a|b|c", -1 if it is not there. */
static int choice_find(const char *values, const char *word)
{
    size_t n = strlen(word);
    for (int i = 0;; i++) {
        const char *end = strchr(values, '|');
        size_t len = end ? (size_t)(end - values) : strlen(values);
        if (len == n && strncmp(values, word, n) == 0)
            return i;
        if (!end)
            return -1;
        values = end + 1;
    }
}

static bool mib_parse(const char *s, uint64_t *out)
{
    const char *end;
    uint64_t v;
    if (!number_parse(s, &v, &end))
        return false;
    unsigned shift = 0;
    if ((*end | 0x20) == 'g')
        shift = 10;
    else if ((*end | 0x20) == 't')
        shift = 20;
    else if (*end && (*end | 0x20) != 'm')
        return false;
    if ((*end && end[1]) || v > UINT64_MAX >> shift)
        return false;
    *out = v << shift;
    return true;
}

bool options_set_parse(const char *values, const char *list, size_t n, uint32_t *out)
{
    char word[NAME_MAX_LEN];
    uint32_t set = 0;
    for (size_t at = 0, end; at <= n; at = end + 1) {
        for (end = at; end < n && list[end] != ','; end++)
            ;
        if (end - at >= sizeof(word))
            return false;
        memcpy(word, list + at, end - at);
        word[end - at] = 0;
        int i = choice_find(values, word);
        if (i < 0)
            return false;
        set |= 1u << i;
    }
    *out = set;
    return true;
}

static bool set_parse(const struct option *t, const char *value, uint64_t *out)
{
    uint32_t set;
    bool good = options_set_parse(t->values, value, strlen(value), &set);
    *out = good ? set : 0;
    return good;
}

static bool switch_parse(const struct option *t, const char *value, uint64_t *out)
{
    int i = choice_find(t->values, value);
    if (i < 0) /* words everybody tries */
        i = choice_find("on|off", value);
    if (i < 0)
        i = choice_find("1|0", value);
    *out = i == 0;
    return i >= 0;
}

static bool console_add(struct hv_options *o, const char *value)
{
    size_t n = strlen(value);
    struct console_spec spec;
    if (!console_spec_parse(value, &spec) || n >= OPT_CONSOLE_LEN ||
        o->nconsoles >= OPT_MAX_CONSOLES)
        return false;
    memcpy(o->console[o->nconsoles++], value, n + 1);
    return true;
}

/* Stores the value; false if it is malformed (nothing stored). */
static bool option_set(struct hv_options *o, const struct option *t, const char *value)
{
    uint64_t v = 0;
    const char *end;
    int i;
    switch (t->kind) {
    case KIND_CHOICE:
        i = choice_find(t->values, value);
        if (i < 0)
            return false;
        v = (uint64_t)i;
        break;
    case KIND_SWITCH:
        if (!switch_parse(t, value, &v))
            return false;
        break;
    case KIND_NUMBER:
    case KIND_PAGES:
        if (!number_parse(value, &v, &end) || *end || v > t->max || (v && v < least(t)))
            return false;
        break;
    case KIND_MIB:
        if (!mib_parse(value, &v) || v > t->max || (v && v < least(t)))
            return false;
        break;
    case KIND_CONSOLE:
        return console_add(o, value);
    case KIND_SET:
        if (!set_parse(t, value, &v))
            return false;
        break;
    }
    field_set(o, t, v);
    return true;
}

/* Edit distance between two names, at most NAME_MAX_LEN characters of each. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_LEN + 1];
    size_t na = strlen(a), nb = strlen(b);
    na = na < NAME_MAX_LEN ? na : NAME_MAX_LEN;
    nb = nb < NAME_MAX_LEN ? nb : NAME_MAX_LEN;
    for (unsigned j = 0; j <= nb; j++)
        row[j] = j;
    for (unsigned i = 1; i <= na; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= nb; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

static const char *nearest(const char *name)
{
    const char *best = table[0].name;
    unsigned least = UINT32_MAX;
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        unsigned d = distance(name, table[i].name);
        if (d < least) {
            least = d;
            best = table[i].name;
        }
    }
    return best;
}

/* What may follow "name=", for people. */
static void values_text(const struct option *t, char *buf, size_t size)
{
    if (t->kind == KIND_PAGES)
        hv_snprintf(buf, size, "0|%lu..%lu", least(t), t->max);
    else if (t->kind == KIND_NUMBER)
        hv_snprintf(buf, size, "0..%lu", t->max);
    else if (t->kind == KIND_MIB)
        hv_snprintf(buf, size, "N[M|G], at least %luM", least(t));
    else
        hv_snprintf(buf, size, "%s", t->values);
}

static void word_parse(struct hv_options *o, char *word, void (*warn)(const char *line))
{
    char line[384], values[192];
    char *eq = strchr(word, '=');
    if (eq)
        *eq = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        const struct option *t = &table[i];
        if (strcmp(t->name, word) != 0)
            continue;
        /* a switch alone means its first value */
        if (eq ? option_set(o, t, eq + 1) : t->kind == KIND_SWITCH && option_set(o, t, "1"))
            return;
        values_text(t, values, sizeof(values));
        hv_snprintf(line, sizeof(line), "option %s=%s is not %s; ignored", word, eq ? eq + 1 : "",
                    values);
        warn(line);
        return;
    }
    hv_snprintf(line, sizeof(line), "unknown option '%s'; did you mean '%s'?", word, nearest(word));
    warn(line);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void options_parse(struct hv_options *out, const char *cmdline, void (*warn)(const char *line))
{
    struct hv_options o;
    memset(&o, 0, sizeof(o));
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].kind != KIND_CONSOLE)
            field_set(&o, &table[i], table[i].initial);
    size_t at = 0, end = 0;
    while (end < CMDLINE_MAX && cmdline[end])
        end++;
    if (end == CMDLINE_MAX)
        warn("command line longer than 4095 bytes; the rest is ignored");
    while (at < end) {
        char word[WORD_LEN];
        size_t n = 0, start;
        while (at < end && is_space(cmdline[at]))
            at++;
        for (start = at; at < end && !is_space(cmdline[at]); at++)
            if (n < sizeof(word) - 1)
                word[n++] = cmdline[at] > ' ' && cmdline[at] < 0x7f ? cmdline[at] : '?';
        word[n] = 0;
        /* the image's path, as QEMU passes it, and the end marker some loaders add */
        if (n == 0 || word[0] == '/' || strcmp(word, "--") == 0)
            continue;
        if (at - start >= sizeof(word))
            warn("an option longer than 79 characters was cut");
        word_parse(&o, word, warn);
    }
    *out = o;
}

void options_describe(void (*emit)(const char *line))
{
    char line[384], values[192];
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        const struct option *t = &table[i];
        values_text(t, values, sizeof(values));
        hv_snprintf(line, sizeof(line), "%s=%s", t->name, values);
        emit(line);
        hv_snprintf(line, sizeof(line), "    %s", t->help);
        emit(line);
    }
}
