/* SPDX-License-Identifier: BSD-2-Clause */
/* The runtime under the guest tests: CPUs, traps, interrupts, page tables, output and the test
 * registry. Tested by every run of the image. */
#pragma once
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arch-x86/defs/x86.h"
#include "guest/asm.h"
#include "guest/layout.h"
#include "guest/word.h"

/* --- output: KTAP and diagnostics (console.c) --- */
void console_init(void);
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line "# ..." of explanation. */
void diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vdiag(const char *prefix, const char *fmt, va_list ap);

/* --- the command line (options.c) --- */
struct options {
    char test[64];     /* globs over test names, with | between them */
    unsigned scale;    /* multiplies operation counts */
    unsigned watchdog; /* seconds a test may take, at 2.5 GHz */
    unsigned cpus;     /* CPUs expected; 0: as ACPI says */
    unsigned keys;     /* to be typed for each step of console.echo; 0: nobody does */
    unsigned aim_mib;  /* from there to 512 MiB and beyond pci.dma_aimed writes; 0: nowhere */
    bool com1;         /* output goes to COM1 */
    bool bochs;        /* bare on Bochs, a real processor as far as CPUID tells */
    bool hosted;       /* runs under Patchbay: no allowance for known deviations of bare QEMU */
    bool tasks;        /* hosted where task switches can be intercepted: not QEMU */
    bool idle_spin;    /* idle CPUs spin instead of halting */
};
extern struct options options;
void options_init(const uint8_t *boot_params);
/* Patchbay is under the test, not an emulator: for what only that does. */
static inline bool on_patchbay(void)
{
    return options.hosted && !options.bochs;
}
bool glob_match(const char *globs, const char *s);
/* n operations, scaled. */
static inline unsigned ops(unsigned n)
{
    return n * options.scale;
}

/* --- ACPI (acpi.c) --- */
/* Finds the tables. Returns the number of enabled CPUs of the MADT, 0 if there is none. */
unsigned acpi_init(const uint8_t *boot_params);
/* End of the RAM above 4 GiB, 0: none, or nobody said so. */
uint64_t ram_high_end(const uint8_t *boot_params);
extern uint64_t high_end; /* that, as found at the start */
/* Ends the machine: debug-exit port, then ACPI S5, then halt. */
void machine_exit(bool passed) __attribute__((noreturn));

/* --- CPUs and traps --- */
struct catch_ctx {
    struct catch_ctx *prev; /* offsets known to trap.S and trap32.S */
    uint64_t rsp;
    uint64_t rflags;
};
struct trap { /* the last trap caught on a CPU */
    uint64_t vector, error, cr2, rip, rflags;
};
enum cpu_state { CPU_OFF, CPU_IDLE, CPU_READY, CPU_RUNNING };
/* Returns true: the trap is dealt with, continue at frame->rip. */
typedef bool (*trap_hook)(struct trapframe *f, uint64_t cr2);
struct cpu {
    struct cpu *self; /* at GS:0 */
    unsigned index, apic_id;
    struct catch_ctx *catcher; /* innermost expected trap */
    struct catch_ctx *job;     /* where a job of this CPU is abandoned to */
    struct trap trap;
    trap_hook hook;
    void *hook_arg;
    _Atomic uint32_t state; /* enum cpu_state; pairs with cpu_start and cpu_idle */
    void (*fn)(void *);
    void *arg;
    _Atomic uint64_t irqs[256]; /* interrupts and traps taken, by vector */
    uint64_t gdt[10];
    struct tss tss;
    uint64_t intr_stack[512] __attribute__((aligned(16))); /* RSP0 */
    uint64_t ist_stack[2][512] __attribute__((aligned(16)));
};
extern struct cpu cpus[MAX_CPUS];
extern unsigned ncpus; /* running */

static inline struct cpu *this_cpu(void)
{
    struct cpu *c;
    asm("mov %%gs:0, %0" : "=r"(c));
    return c;
}
/* GDT, TSS, IDT, GS and the control registers of this CPU. */
void cpu_init(unsigned index);
/* Control registers and kernel address space as a test expects to find them. */
void cpu_baseline(void);
/* What differs between the two instruction sets (cpu64.c, cpu32.c). */
void trap_report(const struct trapframe *f, uint64_t cr2);
void trap_continue_at(struct trapframe *f, struct catch_ctx *ctx);
void trap_entry(struct trapframe *f);
/* Runs fn(arg); true if a trap ended it, then this_cpu()->trap tells which. */
bool caught(void (*fn)(void *), void *arg);
bool catch_call(struct catch_ctx *ctx, void (*fn)(void *), void *arg);
void catch_land(struct catch_ctx *ctx) __attribute__((noreturn));
void user_enter(uint64_t rip, uint64_t rsp, uint64_t arg);
/* Runs ring-3 code until it traps (INT 0x80 included); the trap is in this_cpu()->trap. */
void user_run(uint64_t rip, uint64_t rsp, uint64_t arg);
#define VEC_USER_RETURN 0x80

/* One access each; true: it went through. false: it trapped. */
bool try_read64(uint64_t va, uint64_t *value);
bool try_write64(uint64_t va, uint64_t value);
bool try_exec(uint64_t va); /* calls va, which must return */
/* The access trapped with exactly this vector and error code (and, for #PF, address). */
bool trapped(uint64_t vector, uint64_t error);
bool faulted_at(uint64_t error, uint64_t va);

/* --- jobs on CPUs (smp.c) --- */
void smp_init(unsigned expected);
/* INIT and STARTUP at page `vector` for one CPU. */
void smp_init_sipi(unsigned cpu, uint8_t vector);
/* Calls `init`, which sends this CPU an INIT; returns when firmware started it again at the
 * trampoline. Boot processor, interrupts off; all but memory is lost (entry.S). */
void warm_restart(void (*init)(void));
/* Takes a CPU back from whatever it runs (tests_smp.c). */
void smp_restart(unsigned cpu);
void cpu_start(unsigned cpu, void (*fn)(void *), void *arg);
void cpu_join(unsigned cpu);
/* All but CPU 0: needed before what their jobs point to goes out of scope. */
void cpu_join_all(void);
/* fn on every CPU at once (n CPUs, this one included if it is 0), until all have returned. */
void run_on(unsigned n, void (*fn)(void *), void *arg);
void cpu_idle(void) __attribute__((noreturn));
bool job_run(void (*fn)(void *), void *arg);
/* Leaves the current job. */
void job_abort(void) __attribute__((noreturn));
/* Every wait loop calls it: gives up if the test was abandoned or takes too long. */
void wait_pause(void);
struct barrier {
    _Atomic uint32_t arrived, phase;
};
void barrier_wait(struct barrier *b, unsigned n);
struct spinlock {
    _Atomic uint32_t taken;
};
void spin_lock(struct spinlock *l);
void spin_unlock(struct spinlock *l);
/* Synchronous call by interrupt on every CPU of mask but this one. */
void ipi_call(uint32_t mask, void (*fn)(void *), void *arg);
void ipi_call_entry(void); /* the receiving side, from the interrupt */
#define ALL_CPUS 0xffffffffu
/* INVLPG of va on every CPU, this one included, and wait. */
void tlb_shootdown(uint64_t va);
/* Everything, global translations too, on every CPU. */
void tlb_shootdown_all(void);
void flush_all_local(void);

/* --- local APIC --- */
#define VEC_CALL 0xf0
#define VEC_WAKE 0xf1
#define VEC_TIMER 0xf2
#define VEC_TEST 0xe0
#define VEC_SPURIOUS 0xff
#define APIC_ID 0x20
#define APIC_TPR 0x80
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ICR 0x300
#define APIC_ICR2 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_TIMER_ICT 0x380
#define APIC_TIMER_CCT 0x390
#define APIC_TIMER_DCR 0x3e0
#define ICR_NMI 0x400
#define ICR_INIT 0x500
#define ICR_STARTUP 0x600
#define ICR_ASSERT 0x4000
#define ICR_SELF 0x40000
#define ICR_ALL 0x80000
#define ICR_OTHERS 0xc0000
uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
void ipi_send(unsigned cpu, uint32_t icr);
void ipi_send_to(uint8_t dest, uint32_t icr);
void ipi_shorthand(uint32_t icr);
/* Registers as every CPU starts with them. */
void apic_setup(void);
void timer_periodic(void); /* the watchdog's tick on this CPU */

/* --- page tables (page.c) --- */
#define PAGE 4096ull
#define PTES (PAGE / sizeof(pte_t))
#define TABLE_BYTES (PAGE * PTES) /* what one table of the lowest level maps */
#define PAGE_2M 0x200000ull
#define PTE_TABLE (PTE_P | PTE_W | PTE_U)
#define PTE_RW (PTE_P | PTE_W)
#define PTE_RWAD (PTE_P | PTE_W | PTE_A | PTE_D)
void *page_alloc(void); /* zeroed; physical address = pointer. Any CPU. */
void page_free(void *page);
void page_pool_reset(void);
/* A root that maps what the kernel needs, and nothing else. */
pte_t *root_new(void);
/* Takes everything out of the kernel's tables but what the kernel needs; flush afterwards. */
void test_space_clear(void);
/* The entry of `level` (1 = PTE) that maps va below root; builds tables on the way if asked, else
 * NULL. */
pte_t *pte_at(pte_t *root, uint64_t va, int level, bool build);
/* Maps one 4 KiB page in the kernel's tables; returns its entry. */
pte_t *map(uint64_t va, uint64_t pa, uint64_t flags);
/* Maps one large page: LARGE_PAGE bytes. */
pte_t *map_2m(uint64_t va, uint64_t pa, uint64_t flags);
/* A page filled with a tag, to be recognised when read through some mapping. */
uint64_t *tagged_page(uint64_t tag);
static inline uint64_t pa_of(const void *p)
{
    return (uintptr_t)p;
}
static inline uint64_t pte_read(const pte_t *pte)
{
    return __atomic_load_n(pte, __ATOMIC_SEQ_CST);
}
/* One MOV, or two where an entry is wider than a register. */
static inline void pte_write(pte_t *pte, uint64_t v)
{
    pte_store(pte, (pte_t)v);
}
static inline uint64_t pte_xchg(pte_t *pte, uint64_t v)
{
    return __atomic_exchange_n(pte, (pte_t)v, __ATOMIC_SEQ_CST);
}
/* Clears bits atomically. */
static inline void pte_clear(pte_t *pte, uint64_t bits)
{
    __atomic_fetch_and(pte, (pte_t)~bits, __ATOMIC_SEQ_CST);
}
/* Compares what this CPU reads at n pages from va with what its tables say: the frame's first word
 * must be read through a present entry, #PF through any other. Flush first. Returns the number of
 * differences. */
unsigned verify_range(pte_t *root, uint64_t va, unsigned n);

/* --- tests (main.c) --- */
struct test {
    const char *name; /* group.what */
    void (*fn)(void);
    unsigned min_cpus;
};
struct test_group {
    const struct test *tests;
    unsigned n;
};
extern const struct test_group tests_basic, tests_cpu, tests_smp, tests_trans, tests_flush,
    tests_prot, tests_table, tests_store, tests_race, tests_hostile, tests_platform, tests_apic,
    tests_devices, tests_modes, tests_memory, tests_task, tests_pcid, tests_hostile32, tests_x87,
    tests_xsave, tests_events, tests_native, tests_console, tests_pit, tests_pci;
void test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void test_skip(const char *why);
/* A line about this machine that is no failure. */
void test_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Marks the test as failed and makes every CPU leave it. */
void test_abandon(void);
bool test_abandoned(void);
void watchdog_check(struct trapframe *f); /* from the timer interrupt; f may be changed */
extern _Atomic uint64_t test_deadline;

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond))                                                                               \
            test_fail(__FILE__, __LINE__, __VA_ARGS__);                                            \
    } while (0)
/* What the manual says and QEMU's devices are known not to do: said of a bare QEMU, a failure
 * anywhere else. */
#define CHECK_DEVICE(cond, ...)                                                                    \
    do {                                                                                           \
        if (!(cond) && (on_patchbay() || options.bochs))                                           \
            test_fail(__FILE__, __LINE__, __VA_ARGS__);                                            \
        else if (!(cond))                                                                          \
            test_note(__VA_ARGS__);                                                                \
    } while (0)
#define CHECK_EQ(got, want, what)                                                                  \
    do {                                                                                           \
        uint64_t got_ = (got), want_ = (want);                                                     \
        if (got_ != want_)                                                                         \
            test_fail(__FILE__, __LINE__, "%s: got %lx, want %lx", what, got_, want_);             \
    } while (0)
#define GROUP(table) {table, sizeof(table) / sizeof((table)[0])}

void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
