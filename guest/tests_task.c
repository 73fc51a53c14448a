/* SPDX-License-Identifier: BSD-2-Clause */
/* Group task, 32-bit images: hardware task switches by CALL, JMP and IRET, to other page tables,
 * and by the task gate of an exception with an error code. Each CPU has tasks of its own. Tested by
 * running it bare. */
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
};
const struct test_group tests_task = GROUP(tests);
