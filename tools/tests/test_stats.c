/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters, the statistics line (parsed as JSON here) and the dump of public state. */
#include "tools/tests/tap.h"
#include "tools/tests/fake/fake.h"
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/mon/mon.h"
#include "hv/vcpu/vmexit.h"

/* Stand-ins: the devices and the exit table have their own tests. */
const char *const vmexit_name[EXIT_KIND_COUNT] = {
#define X(name) [EXIT_##name] = #name,
    EXIT_LIST(X)
#undef X
};
void vpc_dump(struct vpc *pc, void (*emit)(const char *line))
{
    (void)pc;
    emit("devices");
}

static struct channel matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct coherency co;
static struct hv_options opt;
static struct vm vm;

/* --- a strict little JSON reader: where it stops, or NULL --- */
static const char *json(const char *s, unsigned depth);
static const char *json_string(const char *s)
{
    if (*s++ != '"')
        return NULL;
    for (; *s != '"'; s++)
        if ((unsigned char)*s < ' ' || *s == '\\')
            return NULL;
    return s + 1;
}
static const char *json_members(const char *s, char close, bool object, unsigned depth)
{
    if (*s == close)
        return s + 1;
    for (;;) {
        if (object) {
            s = json_string(s);
            if (!s || *s++ != ':')
                return NULL;
        }
        s = json(s, depth + 1);
        if (!s)
            return NULL;
        if (*s == close)
            return s + 1;
        if (*s++ != ',')
            return NULL;
    }
}
static const char *json(const char *s, unsigned depth)
{
    if (depth > 10)
        return NULL;
    if (*s == '{')
        return json_members(s + 1, '}', true, depth);
    if (*s == '[')
        return json_members(s + 1, ']', false, depth);
    if (*s == '"')
        return json_string(s);
    if (!strncmp(s, "true", 4))
        return s + 4;
    if (!strncmp(s, "false", 5))
        return s + 5;
    size_t n = strspn(s, "0123456789");
    return n ? s + n : NULL;
}

/* The number behind "name": from `from` on; UINT64_MAX if it is not there. */
static uint64_t number(const char *from, const char *name)
{
    char key[80];
    snprintf(key, sizeof(key), "\"%s\":", name);
    const char *p = from ? strstr(from, key) : NULL;
    return p ? strtoull(p + strlen(key), NULL, 10) : UINT64_MAX;
}

static void setup(uint32_t ncpus)
{
    fake_reset();
    memset(matrix, 0, sizeof(matrix));
    memset(&co, 0, sizeof(co));
    memset(hv_stats, 0, sizeof(hv_stats));
    memset(&vm, 0, sizeof(vm));
    co.ncpus = vm.ncpus = ncpus;
    co.matrix = matrix;
    vm.co = &co;
    for (uint32_t c = 0; c < ncpus; c++)
        co.pcpu[c] = c;
    vm.opt = &opt;
    vm.ram_bytes = 512ull << 20;
    opt = (struct hv_options){.interest = true, .consumers_traced = true};
}

static const char *stats_text(void)
{
    fake_console_clear();
    mon_stats_line(&vm);
    return fake_console();
}

/* One line, the prefix, one JSON object, nothing else. */
static bool line_is_json(const char *text)
{
    static const char prefix[] = "patchbay-stats: ";
    if (strncmp(text, prefix, sizeof(prefix) - 1))
        return false;
    const char *end = json(text + sizeof(prefix) - 1, 0);
    return end && !strcmp(end, "\n");
}

static void test_counters(void)
{
    setup(4);
    stat_inc(1, STAT_posts);
    stat_add(1, STAT_posts, 4);
    tap_eq(hv_stats[1].n[STAT_posts], 5, "add and inc");
    stat_max(1, STAT_rmap_high, 10);
    stat_max(1, STAT_rmap_high, 7);
    tap_eq(hv_stats[1].n[STAT_rmap_high], 10, "max");
    stat_set(1, STAT_shadow_pages, 3);
    tap_eq(hv_stats[1].n[STAT_shadow_pages], 3, "set");
    unsigned named = 0;
    for (unsigned i = 0; i < STAT_COUNT; i++)
        named += stat_name[i] != NULL && stat_name[i][0] != 0;
    tap_eq(named, STAT_COUNT, "every counter has a name");
}

static void test_line(void)
{
    setup(4);
    stat_add(0, STAT_posts, 5);
    stat_add(3, STAT_posts, 6);
    stat_max(0, STAT_shadow_pages_high, 100);
    stat_max(2, STAT_shadow_pages_high, 70);
    hv_stats[0].exits[EXIT_PF] = 11;
    hv_stats[1].exits[EXIT_PF] = 1;
    hv_stats[1].exits[EXIT_HLT] = 2;
    matrix[2][1].posts = 9;
    matrix[2][1].drained = 8;
    stat_add(4, STAT_posts, 1000); /* not one of the VM's CPUs */
    const char *t = stats_text(), *total = strstr(t, "\"total\":"), *cpus = strstr(t, "\"cpus\":[");
    tap_ok(line_is_json(t), "one line of JSON");
    tap_eq(number(total, "posts"), 11, "totals are sums");
    tap_eq(number(total, "shadow_pages_high"), 100, "... of high-water marks the largest");
    tap_eq(number(total, "PF"), 12, "exits by name");
    tap_eq(number(total, "CPUID"), UINT64_MAX, "... only those that happened");
    tap_eq(number(cpus, "posts"), 5, "per CPU");
    const char *ch = strstr(t, "\"channels\":[");
    tap_ok(ch && strstr(ch, "[{\"producer\":2,\"consumer\":1,\"posts\":9,\"coalesces\":0,"
                            "\"overflows\":0,\"drained\":8}]"),
           "the one channel in use");
    tap_ok(strstr(t, "\"coherency\":\"matrix\"") && strstr(t, "\"interest\":true") &&
               strstr(t, "\"unsync\":false"),
           "modes");
    tap_eq(number(t, "ncpus"), 4, "number of CPUs");
    for (unsigned i = 0; i < STAT_COUNT; i++)
        if (number(total, stat_name[i]) == UINT64_MAX)
            tap_ok(false, "counter %s is in the line", stat_name[i]);
}

static void test_modes(void)
{
    setup(1);
    opt.coherency = COHERENCY_LOCKED;
    opt.overflow = OVERFLOW_SHOOTDOWN;
    opt.consumers_traced = false;
    opt.mmu = MMU_REF;
    const char *t = stats_text();
    tap_ok(line_is_json(t) && strstr(t, "\"coherency\":\"locked\"") &&
               strstr(t, "\"overflow\":\"shootdown\"") && strstr(t, "\"consumers\":\"all\"") &&
               strstr(t, "\"mmu\":\"ref\""),
           "other mode names");
    vm.co = NULL;
    tap_ok(line_is_json(stats_text()), "before there is a matrix");
}

static void *other_cpu(void *arg)
{
    fake_set_cpu((uint32_t)(uintptr_t)arg);
    for (unsigned i = 0; i < 50; i++)
        log_raw("noise\n", 6);
    return NULL;
}
static void test_large(void)
{
    setup(HV_MAX_CPUS);
    for (unsigned c = 0; c < HV_MAX_CPUS; c++) {
        for (unsigned s = 0; s < STAT_COUNT; s++)
            hv_stats[c].n[s] = UINT64_MAX / 64;
        for (unsigned k = 0; k < EXIT_KIND_COUNT; k++)
            hv_stats[c].exits[k] = UINT64_MAX / 64;
        for (unsigned p = 0; p < HV_MAX_CPUS; p++)
            matrix[p][c].posts = matrix[p][c].overflows = UINT64_MAX;
    }
    pthread_t t[3];
    fake_console_clear();
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, other_cpu, (void *)(i + 1));
    mon_stats_line(&vm);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    static char line[1 << 20];
    const char *p = strstr(fake_console(), "patchbay-stats: "), *nl = p ? strchr(p, '\n') : NULL;
    snprintf(line, sizeof(line), "%.*s", nl ? (int)(nl + 1 - p) : 0, p ? p : "");
    tap_ok(line_is_json(line), "31 CPUs, all counters large, others writing: still one line");
    unsigned noise = 0;
    for (p = fake_console(); (p = strstr(p, "noise\n")) != NULL; p++)
        noise++;
    tap_eq(noise, 150, "... and theirs is not lost");
    tap_note("%zu bytes", strlen(line));
}

static char dumped[1 << 16];
static void emit(const char *line)
{
    strncat(dumped, line, sizeof(dumped) - strlen(dumped) - 2);
    strcat(dumped, "\n");
}
static void test_dump(void)
{
    setup(2);
    fake_set_tsc(77, 0);
    co.cpu[0].mode = MODE_GUEST;
    co.cpu[1].mode = MODE_HALTED;
    co.cpu[1].action = ACTION_IRQ;
    co.cpu[1].mailbox[0].request = REQUEST_DROP | 0x123ull << 8;
    co.cpu[1].mailbox[0].seq = 4;
    co.cpu[1].mailbox[0].ack = 3;
    matrix[0][1].slot[5] = 0x1000 | SLOT_USED;
    matrix[0][1].overflow = 1;
    ring_add(1, RING_DRAIN, 3, 4);
    vm.pc = (struct vpc *)&vm;
    mon_dump_all(&vm, emit);
    tap_ok(strstr(dumped, "cpu0: guest") && strstr(dumped, "cpu1: halted action 0x100000000"),
           "modes and words");
    tap_ok(strstr(dumped, "waits for cpu1: request 1 of gfn 0x123, seq 4 ack 3") != NULL,
           "who waits for whom");
    tap_ok(strstr(dumped, "channel from cpu0: 1 of 128 slots used, overflow") != NULL,
           "channels in use");
    tap_ok(strstr(dumped, "77 cpu1 drain  0x3 0x4") != NULL, "recent events");
    tap_ok(strstr(dumped, "devices") != NULL, "devices");
    co.cpu[0].mode = 1234;
    mon_dump_all(&vm, emit);
    tap_ok(strstr(dumped, "cpu0: ? ") != NULL, "a mode word gone bad is survived");
}

int main(void)
{
    test_counters();
    test_line();
    test_modes();
    test_large();
    test_dump();
    return tap_done();
}
