/* SPDX-License-Identifier: BSD-2-Clause */
/* Group task, 32-bit images: hardware task switches by CALL, JMP and IRET, to other page tables,
 * and by the task gate of an exception with an error code, each CPU with tasks of its own;
 * virtual-8086 mode. Tested by running it bare. */
#include "guest/guest.h"

#define SEL_MISSING (SEL_SPARE + 8) /* a segment that is not present */
#define STACK_WORDS 256
#define EFLAGS_NT (1u << 14)
#define TASK_GATE 0x85ull
#define TSS_FREE 0x89ull

/* The whole 32-bit TSS (SDM vol. 3 7.2.1). */
struct task {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, iomap;
};
_Static_assert(sizeof(struct task) == sizeof(struct tss), "one format");

static struct {
    struct task tss;
    uint32_t stack[STACK_WORDS];
    uint32_t runs, eflags, cr3, seen, error;
    struct task *caller; /* whose EIP the handler of an exception moves on */
    const volatile uint32_t *look;
} task[MAX_CPUS];

static struct task *own(void)
{
    return (struct task *)&this_cpu()->tss;
}

static void note(void)
{
    unsigned me = this_cpu()->index;
    uint32_t flags;

    asm volatile("pushfl; popl %0" : "=r"(flags));
    asm volatile("clts"); /* every switch sets CR0.TS */
    task[me].runs++;
    task[me].eflags = flags;
    task[me].cr3 = (uint32_t)read_cr3();
    task[me].seen = task[me].look ? *task[me].look : 0;
}

/* Bodies of a task: what is behind the switch is where it goes on the next time. */
static void body_iret(void)
{
    for (;;) {
        note();
        asm volatile("iretl" : : : "memory");
    }
}
static void body_jmp(void)
{
    for (;;) {
        note();
        asm volatile("ljmp %0, $0" : : "i"(SEL_TSS) : "memory");
    }
}
/* #NP: its error code is on the stack; the instruction has two bytes. */
__attribute__((naked)) static void body_fault(void)
{
    asm volatile("1: popl %%eax\n"
                 "call task_fault\n"
                 "iretl\n"
                 "jmp 1b" ::
                     : "memory");
}
__attribute__((regparm(1), used)) void task_fault(uint32_t error) asm("task_fault");
__attribute__((regparm(1), used)) void task_fault(uint32_t error)
{
    unsigned me = this_cpu()->index;

    note();
    task[me].error = error;
    task[me].caller->eip += 2;
}

/* A fresh task in GDT slot SEL_SPARE; the running one's TSS can be come back to. */
static void task_new(void (*body)(void), uint64_t cr3)
{
    unsigned me = this_cpu()->index;
    uint64_t base = (uintptr_t)&task[me].tss;

    memset(&task[me], 0, sizeof(task[me]));
    task[me].tss = (struct task){.cr3 = (uint32_t)cr3,
                                 .eip = (uint32_t)(uintptr_t)body,
                                 .eflags = 2,
                                 .esp = (uint32_t)(uintptr_t)&task[me].stack[STACK_WORDS],
                                 .es = SEL_KDATA,
                                 .cs = SEL_KCODE,
                                 .ss = SEL_KDATA,
                                 .ds = SEL_KDATA,
                                 .gs = SEL_PERCPU,
                                 .iomap = sizeof(struct task)};
    asm volatile("mov %0, %%fs" : : "r"(0)); /* a switch back loads what was there */
    own()->cr3 = (uint32_t)read_cr3();       /* the processor loads it, and never stores it */
    task[me].caller = own();
    this_cpu()->gdt[SEL_SPARE / 8] =
        (sizeof(struct task) - 1) | (base & 0xffffff) << 16 | TSS_FREE << 40 | (base >> 24) << 56;
}
static unsigned type_of(unsigned sel)
{
    return this_cpu()->gdt[sel / 8] >> 40 & 0xff;
}

static void call_task(void)
{
    asm volatile("lcall %0, $0; clts" : : "i"(SEL_SPARE) : "memory", "cc");
}
static void jump_task(void)
{
    asm volatile("ljmp %0, $0; clts" : : "i"(SEL_SPARE) : "memory", "cc");
}

static void call_job(void *arg)
{
    unsigned me = this_cpu()->index, n = ops(20);

    (void)arg;
    cli();
    task_new(body_iret, read_cr3());
    for (unsigned i = 0; i < n; i++)
        call_task();
    CHECK_EQ(task[me].runs, n, "runs by CALL, each back by IRET");
    CHECK(task[me].eflags & EFLAGS_NT, "the task is nested");
    CHECK_EQ(task[me].tss.link & 0xffff, SEL_TSS, "and its link leads back");
    CHECK(type_of(SEL_SPARE) == 0x89 && type_of(SEL_TSS) == 0x8b, "which of the two is busy");
    task_new(body_jmp, read_cr3());
    for (unsigned i = 0; i < n; i++)
        jump_task();
    CHECK_EQ(task[me].runs, n, "runs by JMP, each back by JMP");
    CHECK(!(task[me].eflags & EFLAGS_NT), "not nested");
    CHECK(type_of(SEL_SPARE) == 0x89 && type_of(SEL_TSS) == 0x8b, "which of the two is busy");
    sti();
}

/* The same address in two address spaces; the switch changes them. */
static void space_job(void *arg)
{
    unsigned me = this_cpu()->index;
    uint64_t va = TEST_VA + me * LARGE_PAGE;
    pte_t *root = root_new();

    (void)arg;
    *pte_at(root, va, 1, true) = (pte_t)(pa_of(tagged_page(0x7a0 + me)) | PTE_RW);
    cli();
    task_new(body_iret, pa_of(root));
    task[me].look = (const volatile uint32_t *)(uintptr_t)va;
    uint32_t before = (uint32_t)read_cr3();
    call_task();
    CHECK_EQ(task[me].seen, 0x7a0 + me, "the task's own memory");
    CHECK_EQ(task[me].cr3, pa_of(root), "its CR3");
    CHECK_EQ(read_cr3(), before, "and the caller's");
    sti();
}

/* #NP by a task gate: one IDT for all, so one CPU. */
static void test_gate(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) idtr;
    uint16_t sel = SEL_MISSING;

    asm volatile("sidt %0" : "=m"(idtr));
    uint64_t *gate = (uint64_t *)(uintptr_t)idtr.base + VEC_NP, old = *gate;
    cli();
    task_new(body_fault, read_cr3());
    this_cpu()->gdt[SEL_MISSING / 8] = 0x00cf13000000ffff; /* data, not present */
    *gate = (uint64_t)SEL_SPARE << 16 | TASK_GATE << 40;
    asm volatile("movw %0, %%fs; clts" : : "a"(sel) : "memory"); /* 8e e0 */
    *gate = old;
    sti();
    CHECK_EQ(task[0].runs, 1, "runs");
    CHECK_EQ(task[0].error, SEL_MISSING, "the error code on the task's stack");
    CHECK(type_of(SEL_SPARE) == 0x89 && type_of(SEL_TSS) == 0x8b, "which of the two is busy");
}

/* --- virtual-8086 mode --- */

struct vm86 {
    uint32_t iopl;
    uint16_t ip;
};
/* Enters the code at REAL_MODE_PA; DS leads there too. Comes back only by a trap. */
static void do_vm86(void *arg)
{
    const struct vm86 *v = arg;
    uint32_t flags = (uint32_t)RFLAGS_VM | (uint32_t)RFLAGS_IF | v->iopl << 12 | 2;

    asm volatile("pushl $0\n" /* GS FS */
                 "pushl $0\n"
                 "pushl %0\n" /* DS ES SS */
                 "pushl %0\n"
                 "pushl %0\n"
                 "pushl $0x800\n"
                 "pushl %1\n"
                 "pushl %0\n"
                 "pushl %2\n"
                 "iretl" ::"r"(REAL_MODE_PA >> 4),
                 "r"(flags), "r"((uint32_t)v->ip)
                 : "memory");
}

/* Runs code in vm86 mode: it ends with this exception, whose instruction is the last `tail` bytes.
 */
static bool vm86_ends(uint32_t iopl, const char *code, size_t n, size_t tail, uint64_t vector,
                      uint64_t error)
{
    struct vm86 v = {iopl, 0x10};
    uint8_t *at = (uint8_t *)(uintptr_t)REAL_MODE_PA;

    memset(at, 0, 0x200);
    memcpy(at + v.ip, code, n);
    return caught(do_vm86, &v) && trapped(vector, error) && (this_cpu()->trap.rflags & RFLAGS_VM) &&
           this_cpu()->trap.rip == v.ip + n - tail;
}
#define VM86(iopl, code, tail, vector, error)                                                      \
    vm86_ends(iopl, code, sizeof(code) - 1, tail, vector, error)

/* Bochs's SVM ends when a guest leaves virtual-8086 mode by an exit. */
static bool vm86_possible(void)
{
    bool yes = !on_patchbay() || cpuid(0x80000002, 0).eax == 0x554d4551 || /* "QEMU" */
               cpuid(0, 0).ebx == 0x756e6547;                              /* "Genu", Intel's */
    if (!yes)
        test_skip("the emulator ends at exits from virtual-8086 mode");
    return yes;
}

static void test_vm86(void)
{
    pte_t *low = pte_at(kernel_root, REAL_MODE_PA, 2, false);
    uint64_t old = pte_read(low);
    const volatile uint16_t *seen = (const uint16_t *)(uintptr_t)(REAL_MODE_PA + 0x100);

    if (!vm86_possible())
        return;
    pte_write(low, old | PTE_U);
    flush_all_local();
    CHECK(VM86(0, "\xb8\x34\x12\xa3\x00\x01\x0f\x0b", 2, VEC_UD, 0) && *seen == 0x1234,
          "stores by its own DS, then UD2");
    CHECK(VM86(0, "\xcd\x21", 2, VEC_GP, 0), "INT n with IOPL 0");
    CHECK(VM86(3, "\xcd\x80", 0, VEC_USER_RETURN, 0), "INT n with IOPL 3, by a gate of DPL 3");
    CHECK(VM86(0, "\xfa", 1, VEC_GP, 0), "CLI with IOPL 0");
    CHECK(VM86(3, "\xfa\xfb\x9c\x9d\x0f\x0b", 2, VEC_UD, 0), "CLI STI PUSHF POPF with IOPL 3");
    CHECK(VM86(3, "\xf4", 1, VEC_GP, 0), "HLT");
    CHECK(VM86(3, "\xe6\x80", 2, VEC_GP, 0), "OUT without an I/O map");
    CHECK(VM86(3, "\x0f\x22\xd8", 3, VEC_GP, 0), "MOV to CR3");
    CHECK(VM86(3, "\x0f\xa2\x0f\x20\xe0", 3, VEC_GP, 0), "CPUID, MOV from CR4");
    pte_write(low, old);
    flush_all_local();
    CHECK(VM86(0, "\x90", 1, VEC_PF, PTE_P | PTE_U | (NX_LEVEL ? 0x10 : 0)),
          "a fetch from the supervisor's page");
}

/* QEMU's processor does not let Patchbay intercept what these tests do, and Patchbay ends the VM.
 */
static bool possible(void)
{
    if (on_patchbay() && !options.tasks)
        test_skip("task switches cannot be intercepted everywhere: tasks=1");
    return !on_patchbay() || options.tasks;
}
static void test_switch(void)
{
    if (possible())
        run_on(ncpus, call_job, NULL);
}
static void test_space(void)
{
    if (possible())
        run_on(ncpus, space_job, NULL);
}
static void test_exception(void)
{
    if (possible())
        test_gate();
}

static const struct test tests[] = {
    {"task.switch", test_switch, 1},
    {"task.space", test_space, 1},
    {"task.exception", test_exception, 1},
    {"task.vm86", test_vm86, 1},
};
const struct test_group tests_task = GROUP(tests);
