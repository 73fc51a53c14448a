/* SPDX-License-Identifier: BSD-2-Clause */
/* The fake machine: host definitions of hv/port/cpu.h, hv/port/machine.h and hv_panic.
 * Tested by tools/tests/test_base.c. */
#define _GNU_SOURCE
#include "tools/tests/fake/fake.h"
#include "hv/base/ring.h"
#include "hv/base/assert.h"
#include "hv/port/cpu.h"
#include "hv/port/machine.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <time.h>

#define CONSOLE_MAX (1u << 20)
#define GUARD REGION_SIZE

uintptr_t port_direct_base;
struct fake_cpu fake_cpu[HV_MACHINE_CPUS];
/* The event rings' memory, which the machine takes from its page allocator. */
static _Alignas(64) unsigned char ring_memory[HV_MACHINE_CPUS][RING_BYTES];

__attribute__((constructor)) static void rings(void)
{
    for (uint32_t c = 0; c < HV_MACHINE_CPUS; c++)
        ring_place(c, ring_memory[c]);
}

bool fake_answers_nmi = true;
enum port_mc fake_mc;
uint32_t fake_x87[X87_ENV_WORDS];
bool fake_lfence;
void (*fake_on_doorbell)(uint32_t cpu);
void (*fake_on_halt)(uint32_t cpu);
void (*fake_on_relax)(uint32_t cpu);

static _Thread_local uint32_t this_cpu;
static uint32_t ncpus = 1;
static _Atomic uint64_t clock_tsc, clock_step;
static _Atomic bool clock_virtual;
static uint64_t clock_hz = 1000000000ull;
static bool tsc_constant = true;
static uint64_t boot_time = 1700000000ull, boot_time_tsc;
static bool boot_time_old; /* read at boot_time_tsc, not just now */

static uint8_t *arena_map;
static size_t arena_map_bytes;

static pthread_mutex_t console_mutex = PTHREAD_MUTEX_INITIALIZER;
static char console[CONSOLE_MAX + 1];
static size_t console_len;
static uint64_t console_writes;
static bool console_echo;
static const char *console_input = "";
static size_t console_input_len;
static unsigned console_breaks; /* before the next byte */
static uint64_t console_raw_bytes;
static char debugcon[CONSOLE_MAX + 1];
static size_t debugcon_len;
static char own_text[4096];
static size_t own_len;
bool fake_no_debugcon;
static _Atomic uint64_t debug_exit = UINT64_MAX;

static _Thread_local jmp_buf *end_jmp;
static _Thread_local enum fake_end end_kind;
static char panic_text[1024];

static void arena_free(void)
{
    if (arena_map)
        munmap(arena_map, arena_map_bytes);
    arena_map = NULL;
    port_direct_base = 0;
}

void *fake_arena(uint64_t base, uint64_t bytes)
{
    arena_free();
    bytes = (bytes + PAGE_MASK) & ~PAGE_MASK;
    arena_map_bytes = bytes + 3 * GUARD;
    arena_map =
        mmap(NULL, arena_map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena_map == MAP_FAILED) {
        perror("fake_arena");
        abort();
    }
    /* the same offset in a 2 MiB region as `base` has */
    uintptr_t at = ((uintptr_t)arena_map + GUARD + REGION_MASK) & ~REGION_MASK;
    at += base & REGION_MASK & ~PAGE_MASK;
    if (bytes && mprotect((void *)at, bytes, PROT_READ | PROT_WRITE)) {
        perror("fake_arena");
        abort();
    }
    port_direct_base = at - (uintptr_t)base;
    return (void *)at;
}

static char own_text[4096];
static size_t own_len;

void fake_reset(void)
{
    arena_free();
    memset(fake_cpu, 0, sizeof(fake_cpu));
    for (unsigned i = 0; i < HV_MACHINE_CPUS; i++)
        atomic_store(&fake_cpu[i].timer, UINT64_MAX);
    this_cpu = 0;
    ncpus = 1;
    clock_virtual = false;
    clock_hz = 1000000000ull;
    tsc_constant = true;
    fake_lfence = false;
    boot_time_old = false;
    fake_on_doorbell = fake_on_halt = fake_on_relax = NULL;
    fake_console_clear();
    console_input = "";
    console_input_len = console_breaks = 0;
    debugcon_len = own_len = 0;
    fake_no_debugcon = false;
    debugcon[0] = 0;
    debug_exit = UINT64_MAX;
    panic_text[0] = 0;
}
__attribute__((constructor)) static void fake_start(void)
{
    fake_reset();
}

void fake_set_cpu(uint32_t cpu)
{
    this_cpu = cpu;
}
void fake_set_ncpus(uint32_t n)
{
    ncpus = n;
}
void fake_set_tsc(uint64_t tsc, uint64_t step)
{
    clock_tsc = tsc;
    clock_step = step;
    clock_virtual = true;
}
void fake_set_tsc_hz(uint64_t hz)
{
    clock_hz = hz;
}
void fake_set_boot_time_tsc(uint64_t tsc)
{
    boot_time_tsc = tsc;
    boot_time_old = true;
}
void fake_set_boot_time(uint64_t seconds)
{
    boot_time = seconds;
}

/* --- hv/port/cpu.h --- */
uint32_t port_cpu(void)
{
    return this_cpu;
}
uint32_t port_ncpus(void)
{
    return ncpus;
}
bool fake_has_random;
bool port_random(uint64_t *out)
{
    static _Atomic uint64_t state;
    *out = 0x9e3779b97f4a7c15ull * ++state;
    return fake_has_random;
}

/* Without threads it would give the CPU to strangers alone: a wait of a virtual second is a million
 * of them, for hours on a busy machine. */
static void yield(void)
{
    if (!__libc_single_threaded)
        sched_yield();
}

void port_relax(void)
{
    atomic_fetch_add_explicit(&fake_cpu[this_cpu].relaxes, 1, memory_order_relaxed);
    if (fake_on_relax)
        fake_on_relax(this_cpu);
    yield();
}
uint64_t port_tsc(void)
{
    if (clock_virtual)
        return atomic_fetch_add(&clock_tsc, clock_step);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
void fake_set_tsc_constant(bool constant)
{
    tsc_constant = constant;
}

bool port_tsc_constant(void)
{
    return tsc_constant;
}

uint64_t port_tsc_hz(void)
{
    return clock_hz;
}
void port_doorbell(uint32_t cpu)
{
    ASSERT(cpu < HV_MACHINE_CPUS && (cpu != this_cpu || atomic_load(&fake_cpu[cpu].irq_off)));
    atomic_fetch_add(&fake_cpu[cpu].doorbells, 1);
    if (fake_on_doorbell)
        fake_on_doorbell(cpu);
}
bool port_where(uint32_t cpu, char *buf, size_t size)
{
    ASSERT(cpu < HV_MACHINE_CPUS && cpu != this_cpu);
    snprintf(buf, size, "fake");
    return fake_answers_nmi;
}
void port_x87_env(uint32_t env[X87_ENV_WORDS])
{
    memcpy(env, fake_x87, sizeof(fake_x87));
}
void port_x87_clear(void)
{
    fake_x87[1] &= ~0x80ffu;
}
enum port_mc port_machine_check(void)
{
    return fake_mc;
}
void port_irq_off(void)
{
    fake_cpu[this_cpu].irq_off = true;
}
void port_irq_on(void)
{
    fake_cpu[this_cpu].irq_off = false;
}
void port_halt(void)
{
    ASSERT(fake_cpu[this_cpu].irq_off);
    atomic_fetch_add(&fake_cpu[this_cpu].halts, 1);
    if (fake_on_halt)
        fake_on_halt(this_cpu);
    else
        yield();
    fake_cpu[this_cpu].irq_off = false;
}
void port_timer_arm(uint64_t tsc)
{
    fake_cpu[this_cpu].timer = tsc;
    atomic_fetch_add(&fake_cpu[this_cpu].timer_arms, 1);
}
void port_host_cr4_follow(uint64_t guest_cr4)
{
    fake_cpu[this_cpu].guest_cr4 = guest_cr4;
}
bool port_lfence_serialise(void)
{
    return fake_lfence;
}
uint64_t port_xcr0(void)
{
    return fake_cpu[this_cpu].xcr0;
}
void port_xcr0_set(uint64_t value)
{
    fake_cpu[this_cpu].xcr0 = value;
}
void port_xstate_reset(uint64_t components)
{
    fake_cpu[this_cpu].xstate_reset = components;
    fake_cpu[this_cpu].xcr0 = 1;
}

/* --- hv/port/machine.h --- */
void port_console_write(const char *text, size_t len)
{
    pthread_mutex_lock(&console_mutex);
    size_t room = CONSOLE_MAX - console_len;
    size_t n = len < room ? len : room;
    memcpy(console + console_len, text, n);
    console_len += n;
    console[console_len] = 0;
    console_writes++;
    if (console_echo)
        fwrite(text, 1, len, stderr);
    pthread_mutex_unlock(&console_mutex);
}
void port_console_raw(const char *text, size_t len)
{
    port_console_write(text, len);
    console_raw_bytes += len;
}
int port_console_own(const char *spec)
{
    return strcmp(spec, "com2") == 0 ? 0 : -1;
}
void port_console_own_write(unsigned port, const char *text, size_t len)
{
    ASSERT(port == 0 && own_len + len < sizeof(own_text));
    memcpy(own_text + own_len, text, len);
    own_len += len;
    own_text[own_len] = 0;
}
int port_console_own_read(unsigned port)
{
    ASSERT(port == 0);
    return -1;
}
const char *fake_console_own(void)
{
    return own_text;
}
int port_console_read(void)
{
    if (console_breaks) {
        console_breaks--;
        return PORT_CONSOLE_BREAK;
    }
    if (!console_input_len)
        return -1;
    console_input_len--;
    return (uint8_t)*console_input++;
}
void port_screen_yield(void)
{
}
void port_console_poll(uint64_t us)
{
    fake_cpu[this_cpu].poll_us = us;
}
void port_debugcon(uint8_t byte)
{
    pthread_mutex_lock(&console_mutex);
    if (debugcon_len < CONSOLE_MAX) {
        debugcon[debugcon_len++] = (char)byte;
        debugcon[debugcon_len] = 0;
    }
    pthread_mutex_unlock(&console_mutex);
}
bool port_debugcon_found(void)
{
    return !fake_no_debugcon;
}
void port_debug_exit(uint32_t value)
{
    debug_exit = value;
}
void *port_low_memory(uint32_t cpu, hpa_t *at)
{
    static _Alignas(PORT_LOW_BYTES) uint8_t low[HV_MACHINE_CPUS][PORT_LOW_BYTES];
    *at = hpa(0x1000 + (uint64_t)cpu * PORT_LOW_BYTES);
    return low[cpu];
}

uint64_t port_boot_time_s(uint64_t *tsc)
{
    *tsc = boot_time_old ? boot_time_tsc : port_tsc();
    return boot_time;
}

const char *fake_console(void)
{
    return console;
}
size_t fake_console_len(void)
{
    return console_len;
}
uint64_t fake_console_writes(void)
{
    return console_writes;
}
void fake_console_clear(void)
{
    pthread_mutex_lock(&console_mutex);
    console_len = 0;
    console[0] = 0;
    console_writes = console_raw_bytes = 0;
    pthread_mutex_unlock(&console_mutex);
}
void fake_console_echo(bool on)
{
    console_echo = on;
}
void fake_console_input(const char *text)
{
    fake_console_input_bytes(text, strlen(text));
}
void fake_console_input_bytes(const char *bytes, size_t n)
{
    console_input = bytes;
    console_input_len = n;
}
size_t fake_console_input_left(void)
{
    return console_input_len;
}
void fake_console_break(void)
{
    console_breaks++;
}
uint64_t fake_console_raw_bytes(void)
{
    return console_raw_bytes;
}
const char *fake_debugcon(void)
{
    return debugcon;
}
uint64_t fake_debug_exit(void)
{
    return debug_exit;
}

/* --- ends --- */
enum fake_end fake_run(void (*fn)(void *arg), void *arg)
{
    jmp_buf env, *outer = end_jmp;
    end_kind = FAKE_RETURNED;
    if (setjmp(env) == 0) {
        end_jmp = &env;
        fn(arg);
    }
    end_jmp = outer;
    return end_kind;
}
const char *fake_panic_text(void)
{
    return panic_text;
}
static _Noreturn void end_with(enum fake_end kind)
{
    if (end_jmp) {
        end_kind = kind;
        longjmp(*end_jmp, 1);
    }
    if (kind == FAKE_PANIC)
        abort();
    fprintf(stderr, "fake machine: %s\n",
            kind == FAKE_POWEROFF ? "power-off"
            : kind == FAKE_RESET  ? "reset"
                                  : "stop");
    exit(70 + (int)kind - (int)FAKE_POWEROFF);
}
_Noreturn void port_poweroff(void)
{
    end_with(FAKE_POWEROFF);
}
_Noreturn void port_reset(void)
{
    end_with(FAKE_RESET);
}
_Noreturn void port_stop(void)
{
    end_with(FAKE_STOP);
}
_Noreturn void hv_panic(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    char text[900];
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(panic_text, sizeof(panic_text), "%s:%d: %s", file, line, text);
    if (!end_jmp)
        fprintf(stderr, "patchbay: panic: %s\n", panic_text);
    end_with(FAKE_PANIC);
}

_Noreturn void hv_stop(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(panic_text, sizeof(panic_text), fmt, ap);
    va_end(ap);
    end_with(FAKE_STOP);
}
