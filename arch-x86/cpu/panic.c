/* SPDX-License-Identifier: BSD-2-Clause */
/* hv_panic: takes no lock, allocates nothing, survives a second panic, prints the most useful line
 * first. Tested by `make check` (a provoked panic) and by hand. */
#include "arch-x86/cpu/panic.h"
#include "arch-x86/cpu/mce.h"
#include <stdatomic.h>
#include "arch-x86/cpu/apic.h"
#include "arch-x86/cpu/asm.h"
#include "arch-x86/cpu/backtrace.h"
#include "arch-x86/cpu/crash.h"
#include "arch-x86/cpu/percpu.h"
#include "arch-x86/cpu/tsc.h"
#include "arch-x86/cpu/version.h"
#include "arch-x86/defs/apic.h"
#include "arch-x86/defs/x86.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/options.h"
#include "hv/base/ring.h"
#include "hv/base/string.h"
#include "arch-x86/dev/console.h"
#include "hv/port/machine.h"

#define EVENTS 32
#define NMI_WAIT_MS 2000
#define MAX_DEPTH 4 /* panics inside panics: two bad consoles, and the dump itself twice */
#define NOBODY UINT32_MAX

void (*panic_dump_hook)(void (*emit)(const char *line));

static _Atomic uint32_t owner = NOBODY;          /* CPU that panics */
static _Atomic uint32_t target = NOBODY;         /* CPU asked to dump and stop */
static _Atomic uint32_t dumped = NOBODY;         /* its answer */
static unsigned depth;                           /* of the owner: second panics */
static char text[512];                           /* of whoever dumps: one at a time */
static const char *late_reason[HV_MACHINE_CPUS]; /* CPUs that panicked while another did */

static void emit(const char *line)
{
    console_panic_write(line, strlen(line));
    console_panic_write("\n", 1);
    crash_add(line);
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)hv_vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    emit(text);
}

static void wait_ms(uint64_t ms)
{
    if (tsc_hz)
        tsc_delay_us(ms * 1000);
}

/* exact: rip is an instruction; return addresses, which may lie in the next line or function, name
 * the call before them. */
static void dump_trace(uint64_t rip, uint64_t rbp, bool exact)
{
    uint64_t at[BACKTRACE_MAX + 1];
    char name[96], line[32 * (BACKTRACE_MAX + 2)];
    unsigned n = 1 + backtrace(rbp, at + 1);
    size_t len;

    at[0] = rip;
    for (unsigned i = 0; i < n; i++) {
        at[i] -= i > 0 || !exact;
        symbol_format(at[i], name, sizeof(name));
        say("  #%u 0x%016llx %s", i, (unsigned long long)at[i], name);
    }
    /* First an address that nobody asks for: binutils 2.44 does not find the line of the first. */
    len = (size_t)hv_snprintf(line, sizeof(line), "addr2line -e build/patchbay.elf -fip 0x%llx",
                              (unsigned long long)(uintptr_t)hv_panic);
    for (unsigned i = 0; i < n && len < sizeof(line); i++)
        len += (size_t)hv_snprintf(line + len, sizeof(line) - len, " 0x%llx",
                                   (unsigned long long)at[i]);
    emit(line);
}

static void dump_frame(const struct trap_frame *f)
{
#define Q(x) ((unsigned long long)(x))
    say("rip %016llx  rflags %08llx  rsp %016llx  cs %04llx ss %04llx", Q(f->rip), Q(f->rflags),
        Q(f->rsp), Q(f->cs), Q(f->ss));
    say("rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx", Q(f->rax), Q(f->rbx), Q(f->rcx),
        Q(f->rdx));
    say("rsi %016llx  rdi %016llx  rbp %016llx  r8  %016llx", Q(f->rsi), Q(f->rdi), Q(f->rbp),
        Q(f->r8));
    say("r9  %016llx  r10 %016llx  r11 %016llx  r12 %016llx", Q(f->r9), Q(f->r10), Q(f->r11),
        Q(f->r12));
    say("r13 %016llx  r14 %016llx  r15 %016llx", Q(f->r13), Q(f->r14), Q(f->r15));
}

static void dump_control(void)
{
    say("cr0 %08llx  cr2 %016llx  cr3 %012llx  cr4 %08llx  efer %05llx", Q(read_cr0()),
        Q(read_cr2()), Q(read_cr3()), Q(read_cr4()), Q(rdmsr(MSR_EFER)));
}

/* Everything this CPU knows about itself. f: NULL when called from C. */
static void dump_self(const struct trap_frame *f, uint64_t rip, uint64_t rbp)
{
    if (f)
        dump_frame(f);
    dump_control();
    dump_trace(rip, rbp, f != NULL);
    if (panic_dump_hook)
        panic_dump_hook(emit);
    say("last events of CPU %u:", percpu_self()->cpu);
    ring_dump(percpu_self()->cpu, EVENTS, emit);
}

/* Asks every other CPU in turn to dump itself and stop. Context: panic owner. */
static void stop_others(uint32_t self)
{
    for (uint32_t c = 0; c < cpu_count; c++) {
        if (c == self)
            continue;
        if (late_reason[c])
            say("CPU %u panicked too: %s", c, late_reason[c]);
        atomic_store_explicit(&target, c, memory_order_seq_cst); /* pairs with panic_nmi */
        apic_ipi(percpus[c].apic_id, APIC_ICR_NMI | APIC_ICR_ASSERT);
        for (unsigned ms = 0; ms < NMI_WAIT_MS; ms++) {
            if (atomic_load_explicit(&dumped, memory_order_acquire) == c)
                break;
            wait_ms(1);
        }
        if (atomic_load_explicit(&dumped, memory_order_acquire) != c)
            say("CPU %u does not answer an NMI", c);
    }
    atomic_store_explicit(&target, NOBODY, memory_order_seq_cst);
}

void panic_nmi(const struct trap_frame *f)
{
    uint32_t cpu = percpu_self()->cpu;
    /* Pairs with the store in stop_others. */
    if (atomic_load_explicit(&target, memory_order_seq_cst) != cpu)
        return;
    if (atomic_load_explicit(&owner, memory_order_relaxed) == cpu)
        return;
    say("--- CPU %u, stopped by NMI", cpu);
    dump_self(f, f->rip, f->rbp);
    atomic_store_explicit(&dumped, cpu, memory_order_release);
    port_stop();
}

static _Noreturn void finish(void)
{
    crash_flush();
    if (hv_opt.noreboot || hv_opt.panic_s == 0) {
        emit(hv_opt.noreboot ? "patchbay: halted (noreboot)" : "patchbay: halted (panic=0)");
        port_stop();
    }
    say("patchbay: reset in %u s", hv_opt.panic_s);
    wait_ms(hv_opt.panic_s * 1000ull);
    port_reset();
}

/* Claims the panic for this CPU. A CPU that comes second waits for the NMI; the owner coming again
 * has panicked while panicking. Returns false in the latter case. */
static bool claim(uint32_t cpu, const char *reason)
{
    uint32_t none = NOBODY;
    cpu_cli();
    if (atomic_compare_exchange_strong_explicit(&owner, &none, cpu, memory_order_seq_cst,
                                                memory_order_seq_cst)) {
        console_panic_begin();
        return true;
    }
    if (none == cpu)
        return false;
    late_reason[cpu] = reason;
    for (;;)
        cpu_hlt(); /* NMIs still come */
}

static _Noreturn void second(const char *what)
{
    if (++depth > MAX_DEPTH)
        port_stop();
    console_panic_again();
    emit("patchbay: panic: again while panicking:");
    emit(what);
    finish();
}

_Noreturn void hv_panic(const char *file, int line, const char *fmt, ...)
{
    uint32_t cpu = percpu_self()->cpu;
    uint64_t rip = (uint64_t)(uintptr_t)__builtin_return_address(0);
    uint64_t rbp = *(const uint64_t *)__builtin_frame_address(0);
    char reason[256];
    va_list ap;

    va_start(ap, fmt);
    (void)hv_vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    if (!claim(cpu, fmt))
        second(reason);
    say("patchbay: panic: %s (Patchbay %s, CPU %u, %s:%d)", reason, PATCHBAY_VERSION, cpu, file,
        line);
    dump_self(NULL, rip, rbp);
    stop_others(cpu);
    finish();
}

_Noreturn void hv_stop(const char *fmt, ...)
{
    char reason[384], line[448];
    va_list ap;

    va_start(ap, fmt);
    (void)hv_vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    (void)hv_snprintf(line, sizeof(line), "patchbay: stopped: %s\n", reason);
    log_raw(line, strlen(line));
    port_stop();
}

static const char *const exception_name[32] = {"#DE divide error",
                                               "#DB debug",
                                               "NMI",
                                               "#BP breakpoint",
                                               "#OF overflow",
                                               "#BR bound",
                                               "#UD undefined",
                                               "#NM no FPU",
                                               "#DF double fault",
                                               "coprocessor",
                                               "#TS TSS",
                                               "#NP not present",
                                               "#SS stack",
                                               "#GP protection",
                                               "#PF page fault",
                                               "reserved",
                                               "#MF x87",
                                               "#AC alignment",
                                               "#MC machine check",
                                               "#XF SIMD",
                                               "#VE",
                                               "#CP control flow",
                                               "reserved",
                                               "reserved",
                                               "reserved",
                                               "reserved",
                                               "reserved",
                                               "reserved",
                                               "#HV",
                                               "#VC",
                                               "#SX security",
                                               "reserved"};

static void say_line(const char *line)
{
    say("%s", line);
}

_Noreturn void panic_trap(const struct trap_frame *f)
{
    uint32_t cpu = percpu_self()->cpu;
    const char *name = exception_name[f->vector & 31];

    if (!claim(cpu, name))
        second(name);
    say("patchbay: panic: %s, error 0x%llx, rip 0x%llx, cr2 0x%llx (Patchbay %s, CPU %u)", name,
        Q(f->error), Q(f->rip), Q(read_cr2()), PATCHBAY_VERSION, cpu);
    if (f->vector == VEC_MC)
        (void)mce_collect(&cpu_probe_self, say_line);
    dump_self(f, f->rip, f->rbp);
    stop_others(cpu);
    finish();
}
