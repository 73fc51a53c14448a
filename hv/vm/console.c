/* SPDX-License-Identifier: BSD-2-Clause */
/* One console for several VMs: lines of all with their names until somebody types; then the one in
 * front as it is, and a ring for each of the others. The log's own lock keeps lines together.
 * Tested by tools/tests/test_console.c. */
#include "hv/vm/console.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/port/machine.h"

#define LINE_BYTES 256u

/* Guarded by log_hold, which a panic may break: then lines may tear. */
static struct kept {
    char line[LINE_BYTES]; /* not yet ended, while all are shown */
    size_t line_len;
    char text[VM_KEEP_BYTES]; /* what was said behind the one in front */
    uint64_t total;           /* bytes ever put there since it was last shown */
    int port;                 /* its own, -1 none */
} kept[VM_MAX];
static _Atomic uint32_t front;
static _Atomic bool typed;

void vm_console_start(void)
{
    memset(kept, 0, sizeof(kept));
    for (unsigned i = 0; i < VM_MAX; i++)
        kept[i].port = -1;
    atomic_store(&front, 0);
    atomic_store(&typed, false);
}

struct vm *vm_console_front(void)
{
    return &vm_table[atomic_load_explicit(&front, memory_order_relaxed)];
}

/* Width of the longest name. */
static int name_width(void)
{
    size_t w = 0;

    for (uint32_t i = 0; i < vm_count; i++)
        w = strlen(vm_table[i].name) > w ? strlen(vm_table[i].name) : w;
    return (int)w;
}

static void line_out(const struct vm *vm, struct kept *k)
{
    char prefix[VM_NAME_LEN + 8];
    int pad = name_width() - (int)strlen(vm->name);
    int n = hv_snprintf(prefix, sizeof(prefix), "%s", vm->name);

    while (pad-- > 0 && n < VM_NAME_LEN)
        prefix[n++] = ' ';
    prefix[n++] = '|';
    prefix[n++] = ' ';
    k->line[k->line_len++] = '\n';
    log_raw(prefix, (size_t)n);
    log_raw(k->line, k->line_len);
    k->line_len = 0;
}

static void out_together(const struct vm *vm, struct kept *k, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r')
            continue;
        if (text[i] == '\n' || k->line_len == LINE_BYTES - 1)
            line_out(vm, k);
        if (text[i] != '\n')
            k->line[k->line_len++] = text[i];
    }
}

static void keep(struct kept *k, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        k->text[k->total++ % VM_KEEP_BYTES] = text[i];
}

void vm_console_out(struct vm *vm, const char *text, size_t n)
{
    struct kept *k = &kept[vm->id];

    if (vm_count <= 1 && k->port < 0) {
        log_guest(text, n);
        return;
    }
    if (k->port >= 0) {
        port_console_own_write((unsigned)k->port, text, n);
        return;
    }
    bool held = log_hold();
    if (!atomic_load_explicit(&typed, memory_order_relaxed))
        out_together(vm, k, text, n);
    else if (vm_console_front() == vm)
        log_guest(text, n);
    else
        keep(k, text, n);
    log_release(held);
}

/* What is kept of the VM, oldest first, from the beginning of a line if some was lost. */
static void show(struct kept *k)
{
    uint64_t at = k->total > VM_KEEP_BYTES ? k->total - VM_KEEP_BYTES : 0;

    if (at) {
        while (at < k->total && k->text[at % VM_KEEP_BYTES] != '\n')
            at++;
        at += at < k->total; /* the end of the line itself */
    }
    while (at < k->total) {
        uint64_t from = at % VM_KEEP_BYTES, n = VM_KEEP_BYTES - from;
        n = n < k->total - at ? n : k->total - at;
        log_guest(k->text + from, (size_t)n);
        at += n;
    }
    k->total = 0;
}

/* The line that each was at becomes what is kept of it. */
static void part(void)
{
    atomic_store_explicit(&typed, true, memory_order_relaxed);
    for (uint32_t i = 0; i < vm_count; i++) {
        keep(&kept[i], kept[i].line, kept[i].line_len);
        kept[i].line_len = 0;
    }
}

void vm_console_typed(void)
{
    if (vm_count <= 1 || atomic_load_explicit(&typed, memory_order_relaxed))
        return;
    bool held = log_hold();
    part();
    show(&kept[vm_console_front()->id]);
    log_release(held);
}

void vm_console_to_front(struct vm *vm)
{
    char text[64];

    if (vm_count <= 1 || kept[vm->id].port >= 0)
        return;
    bool held = log_hold();
    if (!atomic_load_explicit(&typed, memory_order_relaxed))
        part();
    atomic_store_explicit(&front, vm->id, memory_order_relaxed);
    int n = hv_snprintf(text, sizeof(text), "patchbay: VM %s is in front\n", vm->name);
    log_raw(text, (size_t)n);
    show(&kept[vm->id]);
    log_release(held);
}

void vm_console_own(struct vm *vm, const char *spec)
{
    struct kept *k = &kept[vm->id];

    if (!spec[0])
        return;
    k->port = port_console_own(spec);
    if (k->port < 0)
        log_warn("vm",
                 "VM %s: console=%s is no free serial port (com1 to com4, and not Patchbay's own): "
                 "it shares the console; correct it on the VM's module",
                 vm->name, spec);
    else
        log_info("vm", "VM %s: its console is %s", vm->name, spec);
}

int vm_console_read(const struct vm *vm)
{
    return kept[vm->id].port < 0 ? -1 : port_console_own_read((unsigned)kept[vm->id].port);
}
