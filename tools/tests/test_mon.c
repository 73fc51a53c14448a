/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor on the fake machine: the escape, every key, arguments, CPUs that answer late or
 * never, keys typed ahead of a guest that takes none, and the dump of the event rings. */
#include "tools/tests/exits_rig.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/coherency/channel.h"
#include "hv/coherency/trace.h"
#include "hv/mon/mon.h"

#define CPUS 3
static cpuset_t deaf; /* CPUs whose loop does not come round */

/* The other CPUs run while CPU 0 waits for them. */
static void others_run(uint32_t cpu)
{
    static bool inside;
    if (cpu != 0 || inside)
        return;
    inside = true;
    for (uint32_t c = 1; c < CPUS; c++) {
        if (deaf & BIT(c))
            continue;
        fake_set_cpu(c);
        subvmm_round(&sub[c]);
    }
    fake_set_cpu(0);
    inside = false;
}

static void start(const char *cmdline)
{
    rig_new(CPUS, true);
    options_parse(&opt, cmdline, NULL);
    fake_set_tsc(1000000, 1000); /* a microsecond a look */
    fake_on_relax = others_run;
    rig_code("\xeb\xfe", 2); /* a guest that goes round and round */
    subvmm_key_hook = mon_key;
    subvmm_monitor_hook = mon_answer;
    deaf = 0;
    fake_answers_nmi = true;
    fake_console_clear();
}

/* What the monitor says to these keys. */
static const char *type(const char *keys)
{
    fake_console_clear();
    fake_console_input(keys);
    action_post(&co, 0, 0, ACTION_INPUT);
    subvmm_round(bsp());
    return fake_console();
}

static bool says(const char *keys, const char *what)
{
    const char *got = type(keys);
    bool found = strstr(got, what) != NULL;
    tap_ok(found, "keys '%s': %s", keys[0] < ' ' ? "..." : keys, what);
    if (!found)
        tap_note("got: %s", got);
    return found;
}

/* What the guest finds in its UART. */
static const char *guest_reads(void)
{
    static char text[2048];
    size_t n = 0;
    for (unsigned i = 0; i < sizeof(text) - 1; i++) {
        struct vio io = {.addr = 0x3fd, .size = 1};
        subvmm_round(bsp());
        vbus_pio(vpc_bus(vm.pc), &io);
        if (!(io.value & 1))
            break;
        io.addr = 0x3f8;
        vbus_pio(vpc_bus(vm.pc), &io);
        text[n++] = (char)io.value;
    }
    text[n] = 0;
    return text;
}

static void uart_fifo(void)
{
    struct vio io = {.addr = 0x3fa, .size = 1, .write = true, .value = 1};
    vbus_pio(vpc_bus(vm.pc), &io);
}

static void test_escape(void)
{
    start("");
    uart_fifo();
    type("ab");
    tap_str(guest_reads(), "ab", "keys go to the guest");
    tap_str(type("\x14"), "", "one escape: nothing yet");
    tap_str(guest_reads(), "", "... for nobody");
    type("x");
    tap_str(guest_reads(), "\x14x", "... then both go to the guest");
    says("\x14\x14", "patchbay monitor");
    says("z", "no such key");
    tap_str(guest_reads(), "", "the guest gets none of it");
    says("q", "left");
    type("c");
    tap_str(guest_reads(), "c", "and all of it after q");
    says("\x14\x14\x14", "left");
    tap_str(guest_reads(), "\x14", "a third escape leaves and is passed on");
    start("escape=^]");
    uart_fifo();
    type("\x14\x14");
    tap_str(guest_reads(), "\x14\x14", "escape=^]: Ctrl-T is a key like others");
    says("\x1d\x1d", "patchbay monitor");
    says("q", "left");
    start("escape=off");
    uart_fifo();
    type("\x14\x14");
    tap_str(guest_reads(), "\x14\x14", "escape=off: no monitor");
}

/* Each word of the option's list stands for the control byte it names. */
static void test_escape_list(void)
{
    static const uint8_t byte[] = {OPT_ESCAPE_BYTES};
    char list[] = OPT_ESCAPE_KEYS, option[32];
    unsigned n = 0;
    for (char *w = strtok(list, "|"); w; w = strtok(NULL, "|"), n++) {
        snprintf(option, sizeof(option), "escape=%s", w);
        options_parse(&opt, option, NULL);
        tap_ok(opt.escape == n && byte[n] == (w[0] == '^' ? w[1] & 0x1f : 0), "%s", option);
    }
    tap_eq(n, ARRAY_SIZE(byte), "a byte a word");
}

static void test_typed_ahead(void)
{
    char many[INPUT_QUEUE + 200];
    start("");
    uart_fifo();
    memset(many, 'm', sizeof(many) - 1);
    many[300] = 0;
    type(many);
    tap_eq(strlen(guest_reads()), 300, "300 keys wait for a slow guest");
    many[300] = 'm';
    many[sizeof(many) - 1] = 0;
    type(many);
    tap_eq(strlen(guest_reads()), sizeof(many) - 1, "a full queue holds the rest in the console");
    strcpy(many + sizeof(many) - 3, "\x14\x14");
    type(many);
    tap_ok(!strstr(fake_console(), "monitor"), "the escape is behind what the guest has not taken");
    fake_set_tsc(5000000000ull, 1000);
    subvmm_round(bsp());
    tap_ok(!strstr(fake_console(), "monitor"), "... for seconds");
    fake_set_tsc(15000000000ull, 1000);
    subvmm_round(bsp());
    tap_ok(strstr(fake_console(), "patchbay monitor") != NULL,
           "... a guest that takes nothing loses what has no place, the monitor opens");
    type("q");
}

static void test_own_cpus(void)
{
    start("");
    says("\x14\x14"
         "c",
         "cpu0  running                  64-bit");
    tap_ok(strstr(fake_console(), "cpu1  waits for SIPI") && strstr(fake_console(), "cpu2  "),
           "c: every CPU answers");
    tap_ok(strstr(fake_console(), "now: 0:host 1:host 2:host") != NULL, "c: and what it was doing");
    sub[1].vcpu.regs.gpr[R9] = 0xabcdef987;
    says("r1\r", "r9  0000000abcdef987");
    tap_ok(strstr(fake_console(), "fake vendor") && strstr(fake_console(), "mmu: pages"),
           "r: control block and pool");
    says("r\r", "cpu0  running");
    says("r9\r", "CPUs are 0 to 2");
    says("r1x\r", "expected: CPU");
    says("r1\b2\r", "cpu2  waits");
    says("r1\x1b", "dropped");
    says("p2\r", "cpu2  paused");
    tap_ok(sub[2].paused, "p: it is");
    says("c", "(PAUSED)");
    says("p2\r", "cpu2  resumed");
    says("p\r", "expected: CPU");
    says("a", "cpu2  audit: 0 findings");
    says("d", "lapic 0");
    says("h", "page walk");
    tap_ok(co.cpu[1].action == 0 && co.cpu[2].action == 0, "no question is left over");
    type("q");
}

static void test_silent_cpu(void)
{
    start("");
    deaf = BIT(2);
    co.cpu[2].mode = MODE_GUEST;
    ring_add(2, RING_NOTE, 0x77, 0x88);
    says("\x14\x14"
         "c",
         "cpu2  DOES NOT ANSWER (waited 2 s)");
    const char *t = fake_console();
    tap_ok(strstr(t, "cpu1  waits"), "the others' answers are there");
    tap_ok(strstr(t, "an NMI finds it in fake"), "where it is");
    tap_ok(strstr(t, "cpu2: guest action 0x") && strstr(t, "note   0x77 0x88"), "what is public");
    tap_ok(fake_cpu[2].doorbells == 1, "it was rung");
    fake_answers_nmi = false;
    says("r2\r", "not even to an NMI");
    /* It comes late: the question was withdrawn, the next one is answered. */
    deaf = 0;
    says("r2\r", "cpu2  waits for SIPI");
    tap_ok(!strstr(fake_console(), "DOES NOT"), "it answers again");
    type("q");
}

static void guest_table(uint64_t at, unsigned index, uint64_t entry)
{
    ((uint64_t *)port_ptr(hpa(at)))[index] = entry;
}

/* 4-level tables at 1 MiB: gva 0x400000 -> gpa 0x200000, writable, user. */
static void test_walk(void)
{
    start("");
    uint64_t cr3 = vm.entry_cr3;
    guest_table(cr3, 0, 0x101000 | PTE_P | PTE_W | PTE_U | PTE_A);
    guest_table(0x101000, 0, 0x102000 | PTE_P | PTE_W | PTE_U | PTE_A);
    guest_table(0x102000, 2, 0x103000 | PTE_P | PTE_W | PTE_U | PTE_A);
    guest_table(0x103000, 0, 0x200000 | PTE_P | PTE_W | PTE_U);
    says("\x14\x14w400000\r", "level 1 index   0  guest 0x0000000000200007  shadow "
                              "0x0000000000000000");
    tap_ok(strstr(fake_console(), "the shadow has no entry") != NULL, "not filled yet");
    says("w800000\r", "neither maps");
    struct mmu_fault_out out;
    tap_eq(mmu_fault(&bsp()->mmu, gva(0x400000), PFEC_W, false, &out), MMU_RESUME, "a write fault");
    says("w0x400000 0\r", "difference: none (guest wux, shadow wux)");
    guest_table(0x103000, 0, 0x201000 | PTE_P | PTE_U | PTE_A);
    says("w400000\r", "ANOTHER PAGE the shadow grants more");
    guest_table(0x103000, 0, 0);
    says("w400000\r", "the shadow maps what the guest does not");
    says("w\r", "expected: address");
    says("w400000 7\r", "CPUs are 0 to 2");
    says("wxyz\r", "expected: address");
    type("q");
}

static void test_public(void)
{
    struct patch_payload none = {0};
    start("");
    says("\x14\x14m", "used slots (of 128) / posts");
    tap_ok(channel_post(&matrix[1][2], 0x5008, &none) == POST_PUBLISHED, "a patch");
    matrix[1][2].posts = 41;
    matrix[0][1].overflow = 1;
    matrix[0][1].posts = 7;
    says("m", "cpu1                   .             .          1/41");
    tap_ok(strstr(fake_console(), "0/7!") != NULL, "m: overflow");
    uint64_t old;
    tap_eq(trace_fill_writable(&sub[0].coh, gfn(0x30), &old), TRACE_FILL_RW, "a writable page");
    says("t30\r", "not traced, writers 0, consumers -");
    cpuset_t ask;
    bool drop;
    (void)trace_install(&sub[1].coh, gfn(0x30), &ask, &drop);
    says("t30\r", "traced, writers 0, consumers 1");
    says("tffffff\r", "not RAM");
    type("s");
    stat_add(1, STAT_walks, 5);
    const char *t = type("s");
    const char *walks = strstr(t, "walks");
    tap_ok(walks && strtoul(walks + 37, NULL, 10) == 5, "s: since the last look");
    says("ld\r", "log level d");
    says("lx\r", "e, w, i or d");
    says("li\r", "log level i");
    ring_add(2, RING_EXIT, EXIT_HLT, 0xfff0);
    says("e2\r", "us ago  exit   HLT        rip 0xfff0");
    says("e\r", "cpu2 ");
    says("Pno\r", "not done");
    says("Rno\r", "not done");
    type("q");
    opt.coherency = COHERENCY_LOCKED;
    co.mode = COHERENCY_LOCKED;
    says("\x14\x14m", "one channel for all");
    type("q");
}

static void keys_typed(void *keys)
{
    type(keys);
}

/* A second of the deputy's: its timer tells it to look. */
static void deputy_second(void)
{
    static uint64_t now = 1000000000;

    now += 1000000000;
    fake_set_tsc(now, 1000);
    fake_set_cpu(1);
    action_post(&co, 1, 1, ACTION_INPUT);
    subvmm_round(&sub[1]);
    fake_set_cpu(0);
}

static void test_watch(void)
{
    start("");
    watch_start(&sub[0]);
    fake_set_cpu(1);
    watch_start(&sub[1]);
    fake_set_cpu(0);
    tap_eq(fake_cpu[1].poll_us, 1000000, "the deputy looks once a second");
    atomic_store(&co.cpu[0].mode, MODE_GUEST);
    for (unsigned i = 0; i < 20; i++)
        deputy_second();
    tap_ok(!strstr(fake_console(), "watch"), "a CPU that is long in its guest is well");
    atomic_store(&co.cpu[0].mode, MODE_HOST);
    for (unsigned i = 0; i < 100; i++) { /* many timers within one second */
        action_post(&co, 1, 1, ACTION_INPUT);
        fake_set_cpu(1);
        subvmm_round(&sub[1]);
        fake_set_cpu(0);
    }
    tap_ok(!strstr(fake_console(), "watch"), "and one that only just left it");
    for (unsigned i = 0; i < 20; i++) {
        ring_add(0, RING_EXIT, EXIT_HLT, 0xfff0);
        deputy_second();
    }
    tap_ok(!strstr(fake_console(), "watch"), "so is one with events");
    bsp()->vcpu.state = VCPU_HALTED;
    bsp()->vcpu.regs.rflags = 2;
    for (unsigned i = 0; i < 20; i++) {
        subvmm_round(bsp());
        deputy_second();
    }
    tap_ok(!strstr(fake_console(), "watch"), "and one that comes out of HLT, though it has none");
    bsp()->vcpu.state = VCPU_RUNNING;
    char many[100];
    memset(many, 'k', sizeof(many) - 1);
    many[99] = 0;
    type(many); /* more than the guest's UART holds: they wait in the first CPU's queue */
    deputy_second();
    fake_console_clear();
    fake_console_input("\x14\x14");
    tap_ok(watch_read_begin(&sub[0]), "the first CPU is at a key");
    for (unsigned i = 0; i < 120; i++)
        deputy_second();
    tap_ok(strstr(fake_console(), "for 60 s; an NMI finds it in fake; it is at a key") != NULL,
           "... and stays there: that is said");
    tap_ok(strstr(strstr(fake_console(), "it is at a key") + 1, "it is at a key") == NULL,
           "... once");
    tap_ok(!strstr(fake_console(), "patchbay monitor"), "two CPUs never read");
    watch_read_end(&sub[0]);
    for (unsigned i = 0; i < 4; i++)
        deputy_second();
    tap_ok(!strstr(fake_console(), "reads the consoles"), "it is given time");
    deputy_second();
    deputy_second();
    tap_ok(strstr(fake_console(), "an NMI finds it in fake; cpu1 reads the consoles") != NULL,
           "then it is said where it hangs");
    tap_eq(fake_cpu[1].poll_us, 20000, "the deputy polls");
    deputy_second();
    tap_ok(strstr(fake_console(), "patchbay monitor") != NULL, "and opens the monitor");
}

/* After test_watch: the first CPU hangs, and the second reads the consoles. */
static void test_deputy(void)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < 150; i++) {
        struct vio io = {.cpu = 2, .addr = 0x3f8, .size = 1};
        vbus_pio(vpc_bus(vm.pc), &io);
        kept += io.value == 'k';
        deputy_second();
    }
    tap_ok(kept >= 99, "the guest gets the keys that waited when the first CPU hung: %u", kept);
    deaf = BIT(0);
    fake_console_input("c");
    deputy_second();
    tap_ok(strstr(fake_console(), "cpu0  DOES NOT ANSWER") != NULL, "which says who hangs");
    tap_ok(strstr(fake_console(), "cpu1  waits for SIPI") != NULL, "and what the others do");
    fake_console_input("h");
    action_post(&co, 0, 0, ACTION_INPUT);
    fake_console_clear();
    subvmm_round(bsp());
    tap_eq(fake_console_len(), 0, "the first CPU, if it comes back, leaves the keys alone");
    tap_ok(!input_waits(bsp()), "and does not come again for them");
    fake_console_input("q");
    deputy_second();
    watch_start(&sub[0]);
}

static void test_ends(void)
{
    char panic[] = "\x14\x14Pyes\r", reset[] = "Ryes\r";
    start("");
    tap_eq(fake_run(keys_typed, panic), FAKE_PANIC, "P panics");
    tap_ok(strstr(fake_panic_text(), "asked for") != NULL, "... and says why");
    tap_eq(fake_run(keys_typed, reset), FAKE_RESET, "R resets");
    type("q");
}

/* The dump: what begins, what ends, one line an event, each exit named. */
static void test_trace_block(void)
{
    unsigned lines = 0;
    start("");
    ring_add(1, RING_POST, 0x1234008, 6);
    ring_add(2, RING_PATCH, 0x1234008, 1);
    says("\x14\x14"
         "E",
         "patchbay-trace: begin version 1 ncpus 3 tsc_hz 3b9aca00");
    const char *t = fake_console();
    for (const char *p = t; (p = strstr(p, "\npbt ")) != NULL; p++)
        lines++;
    const char *end = strstr(t, "patchbay-trace: end events ");
    uint64_t events = end ? strtoul(end + 27, NULL, 16) : 0;
    tap_ok(events > 2, "events, and how many");
    tap_eq(lines, events, "a line an event");
    tap_ok(strstr(t, " post 1234008 6\n") && strstr(t, " patch 1234008 1\n"), "post and patch");
    tap_ok(strstr(t, "patchbay-trace: exit 6 PF\n") != NULL, "exits by name");
    type("q");
}

int main(void)
{
    test_escape();
    test_escape_list();
    test_typed_ahead();
    test_own_cpus();
    test_silent_cpu();
    test_walk();
    test_public();
    test_watch();
    test_deputy();
    test_ends();
    test_trace_block();
    return tap_done();
}
