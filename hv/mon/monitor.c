/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor: the escape among the console's keys, a key table, a line editor for arguments. It
 * holds nothing up: between two keys everything goes on. Only the CPU that reads the console comes
 * here. Tested by tools/tests/test_mon.c. */
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/ring.h"
#include "hv/base/string.h"
#include "hv/mon/internal.h"
#include "hv/port/machine.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/virtio/virtio.h"

#define ARGUMENT_LEN 40u
#define EVENTS_ALL 8u  /* of each CPU */
#define EVENTS_ONE 40u /* of one */
#define KEY_BACKSPACE 0x08
#define KEY_ESC 0x1b
#define KEY_DELETE 0x7f

struct words { /* an argument line in pieces; missing ones are 0 */
    const char *text;
    unsigned n;
    bool good; /* every piece is a number */
    uint64_t v[2];
};
struct key {
    char key;
    bool cpu_first;     /* the first word is a CPU number, decimal; else hexadecimal, the second */
    unsigned needs;     /* words without which it does nothing */
    const char *prompt; /* NULL: acts at once */
    const char *help;
    void (*run)(struct subvmm *s, const struct words *w);
};

static enum { CLOSED, HELD, OPEN, ARGUMENT } state; /* HELD: one escape came, nobody has it yet */
static const struct key *asking;                    /* in ARGUMENT: whose */
static char argument[ARGUMENT_LEN];
static size_t argument_len;

/* escape=: the position in the list of the option table. */
static const uint8_t escape_key[] = {OPT_ESCAPE_BYTES};

static uint8_t escape_of(const struct hv_options *o)
{
    return o->escape < ARRAY_SIZE(escape_key) ? escape_key[o->escape] : 0;
}

static void write_text(const char *text)
{
    log_raw(text, strlen(text));
}

/* --- what the keys do --- */

static cpuset_t cpus_all(const struct vm *vm)
{
    return (cpuset_t)(BIT(vm->ncpus) - 1);
}

static cpuset_t cpus_word(const struct vm *vm, uint64_t v)
{
    if (v < vm->ncpus)
        return (cpuset_t)BIT(v);
    mon_say("CPUs are 0 to %u", vm->ncpus - 1);
    return 0;
}

static void run_cpus(struct subvmm *s, const struct words *w)
{
    char line[MON_LINE];
    int n = hv_snprintf(line, sizeof(line), "now:");

    (void)w;
    for (uint32_t c = 0; c < mon_vm(s)->ncpus && n < MON_LINE; c++) {
        uint32_t mode = atomic_load_explicit(&mon_vm(s)->co->cpu[c].mode, memory_order_relaxed);
        n += hv_snprintf(line + n, sizeof(line) - (size_t)n, " %u:%s", c, mon_mode_name(mode));
    }
    mon_emit(line);
    (void)mon_ask(s, mon_vm(s), cpus_all(mon_vm(s)), ASK_STATE, 0);
}

static void run_regs(struct subvmm *s, const struct words *w)
{
    (void)mon_ask(s, mon_vm(s), cpus_word(mon_vm(s), w->v[0]), ASK_REGS, 0);
}

static void run_walk(struct subvmm *s, const struct words *w)
{
    (void)mon_ask(s, mon_vm(s), cpus_word(mon_vm(s), w->v[1]), ASK_WALK, w->v[0]);
}

static void run_matrix(struct subvmm *s, const struct words *w)
{
    (void)w;
    for (uint32_t i = 0; vm_count > 1 && i < vm_count; i++) {
        mon_say("VM %s:", vm_table[i].name);
        mon_show_matrix(&vm_table[i]);
    }
    if (vm_count <= 1)
        mon_show_matrix(s->vm);
}

static void run_frame(struct subvmm *s, const struct words *w)
{
    mon_show_frame(mon_vm(s), gfn(w->v[0]));
}

static void run_stats(struct subvmm *s, const struct words *w)
{
    (void)w;
    mon_show_stats(mon_vm(s));
}

static void run_events(struct subvmm *s, const struct words *w)
{
    if (w->n && cpus_word(mon_vm(s), w->v[0]))
        mon_show_events(mon_vm(s), (uint32_t)w->v[0], EVENTS_ONE);
    for (uint32_t c = 0; !w->n && c < mon_vm(s)->ncpus; c++)
        mon_show_events(mon_vm(s), c, EVENTS_ALL);
}

static void run_rings(struct subvmm *s, const struct words *w)
{
    (void)w;
    mon_trace_block(mon_vm(s));
}

static void run_devices(struct subvmm *s, const struct words *w)
{
    (void)w;
    uint32_t waiting;
    uint64_t lost;

    if (vm_use_begin(mon_vm(s))) {
        vpc_dump(mon_vm(s)->pc, mon_emit);
        if (mon_vm(s)->virtio)
            virtio_dump(mon_vm(s)->virtio, mon_emit);
        vm_use_end(mon_vm(s));
    }
    input_counts(mon_vm(s), &waiting, &lost);
    mon_say("  console input: %u keys wait for the uart, %llu lost", waiting,
            (unsigned long long)lost);
}

static void run_audit(struct subvmm *s, const struct words *w)
{
    (void)w;
    if (mon_vm(s)->opt->mmu == MMU_REF)
        mon_say("mmu=ref: the reference pager has no audit");
    else
        (void)mon_ask(s, mon_vm(s), cpus_all(mon_vm(s)), ASK_AUDIT, 0);
}

static void run_pause(struct subvmm *s, const struct words *w)
{
    (void)mon_ask(s, mon_vm(s), cpus_word(mon_vm(s), w->v[0]), ASK_PAUSE, 0);
}

static void run_vm(struct subvmm *s, const struct words *w)
{
    mon_vm_choose(s, w->text);
}

static void run_order(struct subvmm *s, const struct words *w)
{
    mon_vm_order(s, w->text);
}

static void run_level(struct subvmm *s, const struct words *w)
{
    static const char letters[] = "ewid";
    const char *at = w->text[0] ? strchr(letters, w->text[0]) : NULL;

    (void)s;
    if (!at || w->text[1]) {
        mon_say("e, w, i or d");
        return;
    }
    log_set_level((enum log_level)(at - letters));
    mon_say("log level %c", *at);
}

static bool yes(const struct words *w)
{
    if (strcmp(w->text, "yes") == 0)
        return true;
    mon_say("not done");
    return false;
}

static void run_panic(struct subvmm *s, const struct words *w)
{
    (void)s;
    if (yes(w))
        PANIC("asked for in the monitor");
}

static void run_reset(struct subvmm *s, const struct words *w)
{
    (void)s;
    if (yes(w))
        port_reset();
}

static void monitor_close(void)
{
    state = CLOSED;
    write_text("patchbay monitor left\n");
}

static void run_quit(struct subvmm *s, const struct words *w)
{
    (void)s;
    (void)w;
    monitor_close();
}

static void run_help(struct subvmm *s, const struct words *w);

static const struct key keys[] = {
    {'h', false, 0, NULL, "this list", run_help},
    {'c', false, 0, NULL, "CPUs and their VCPUs: state, mode, RIP, CR3", run_cpus},
    {'r', true, 0, "CPU (Enter: 0)", "registers of a VCPU, its control block, its shadow pool",
     run_regs},
    {'w', false, 1, "address in hex [CPU]",
     "page walk: the guest's tables beside the shadow tables, and how they differ", run_walk},
    {'m', false, 0, NULL, "matrix of patch channels, producers by consumers", run_matrix},
    {'t', false, 1, "frame number (gpa >> 12) in hex", "trace word of a guest frame", run_frame},
    {'s', false, 0, NULL, "statistics since boot and since the last look", run_stats},
    {'e', true, 0, "CPU (Enter: all, the last few)", "recent events", run_events},
    {'E', false, 0, NULL, "all events, for tools/trace.py", run_rings},
    {'d', false, 0, NULL, "virtual devices", run_devices},
    {'a', false, 0, NULL, "audit every shadow entry of every CPU now", run_audit},
    {'p', true, 1, "CPU", "pause or resume a VCPU (changes state)", run_pause},
    {'v', false, 0, "VM (Enter: list)", "which VM this is about, and puts it in front", run_vm},
    {'o', false, 0, "start, stop, reset, pause or resume [VM]", "an order to a VM (changes state)",
     run_order},
    {'l', false, 0, "e, w, i or d", "log level: errors, warnings, information, debug", run_level},
    {'P', false, 0, "yes to panic", "panic test: ends everything (asks first)", run_panic},
    {'R', false, 0, "yes to reset", "reset the machine (asks first)", run_reset},
    {'q', false, 0, NULL, "leave", run_quit},
};

/* Of several VMs, which one the answer is about. */
static void say_whose(const struct subvmm *s, const struct key *k)
{
    static const char of_one_vm[] = "crwtsedap";

    if (vm_count > 1 && strchr(of_one_vm, k->key))
        mon_say("VM %s:", mon_vm(s)->name);
}

static void run_help(struct subvmm *s, const struct words *w)
{
    (void)s;
    (void)w;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        mon_say("  %c  %s", keys[i].key, keys[i].help);
    mon_say(
        "  The escape key here: leave, and pass one to the guest. The guest goes on meanwhile.");
}

/* --- arguments --- */

/* A number at *text, which moves behind it and behind blanks. */
static bool word_number(const char **text, unsigned base, uint64_t *out)
{
    const char *s = *text;
    uint64_t v = 0;
    unsigned digits = 0;

    if (base == 16 && s[0] == '0' && (s[1] | 0x20) == 'x')
        s += 2;
    for (; *s && *s != ' '; s++, digits++) {
        char low = (char)(*s | 0x20);
        unsigned d = *s >= '0' && *s <= '9'     ? (unsigned)(*s - '0')
                     : low >= 'a' && low <= 'f' ? (unsigned)(low - 'a' + 10)
                                                : 16;
        if (d >= base || digits == 16)
            return false;
        v = v * base + d;
    }
    while (*s == ' ')
        s++;
    *text = s;
    *out = v;
    return digits != 0;
}

static void argument_done(struct subvmm *s)
{
    const struct key *k = asking;
    const char *at = argument;
    struct words w = {.text = argument, .good = true};

    state = OPEN;
    argument[argument_len] = 0;
    while (*at == ' ')
        at++;
    while (*at && w.n < ARRAY_SIZE(w.v) && w.good) {
        w.good = word_number(&at, (w.n == 0) == k->cpu_first ? 10 : 16, &w.v[w.n]);
        w.n++;
    }
    /* Keys that need letters look at the text. */
    if (k->needs && (!w.good || w.n < k->needs || *at))
        mon_say("expected: %s", k->prompt);
    else if (k->cpu_first && (!w.good || *at))
        mon_say("expected: %s", k->prompt);
    else {
        say_whose(s, k);
        k->run(s, &w);
    }
}

static void argument_key(struct subvmm *s, uint8_t byte)
{
    char echo[2] = {(char)byte, 0};

    if (byte == '\r' || byte == '\n') {
        write_text("\n");
        argument_done(s);
    } else if (byte == KEY_ESC) {
        write_text(" (dropped)\n");
        state = OPEN;
    } else if (byte == KEY_BACKSPACE || byte == KEY_DELETE) {
        if (argument_len) {
            argument_len--;
            write_text("\b \b");
        }
    } else if (byte >= ' ' && byte < KEY_DELETE && argument_len < ARGUMENT_LEN - 1) {
        argument[argument_len++] = (char)byte;
        write_text(echo);
    }
}

static void open_key(struct subvmm *s, uint8_t byte)
{
    static const struct words none = {.text = "", .good = true};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if ((uint8_t)keys[i].key != byte)
            continue;
        mon_say("%c", keys[i].key);
        if (!keys[i].prompt) {
            say_whose(s, &keys[i]);
            keys[i].run(s, &none);
            return;
        }
        asking = &keys[i];
        argument_len = 0;
        state = ARGUMENT;
        write_text(asking->prompt);
        write_text(": ");
        return;
    }
    if (byte != '\r' && byte != '\n')
        mon_say("\nno such key; h for help");
}

static void monitor_open(struct subvmm *s)
{
    state = OPEN;
    if (vm_use_begin(mon_vm(s))) {
        vpc_flush(mon_vm(s)->pc);
        vm_use_end(mon_vm(s));
    }
    write_text("\npatchbay monitor: h for help, q to leave; the guest goes on\n");
}

unsigned mon_key(struct subvmm *s, unsigned key, unsigned pass[2])
{
    uint8_t escape = escape_of(s->vm->opt);
    bool is_escape = escape && key == escape;

    pass[0] = key;
    if (state == CLOSED && !is_escape)
        return 1;
    if (state == CLOSED) {
        state = HELD;
        return 0;
    }
    if (state == HELD && !is_escape) {
        state = CLOSED;
        pass[0] = escape;
        pass[1] = key;
        return 2;
    }
    if (state == HELD) {
        monitor_open(s);
    } else if (is_escape) {
        monitor_close();
        return 1;
    } else if (key > UINT8_MAX) {
        return 0; /* a BREAK is no key of the monitor */
    } else if (state == OPEN) {
        open_key(s, (uint8_t)key);
    } else {
        argument_key(s, (uint8_t)key);
    }
    if (state == OPEN)
        write_text("patchbay> ");
    return 0;
}
