/* SPDX-License-Identifier: BSD-2-Clause */
/* Group events: what the processor does around the delivery of events: NMIs that come while one is
 * handled, RFLAGS.RF in the frame, instructions that do not exist for a user. Tested by running it
 * bare; where bare QEMU is known to deviate, the check is for hypervisors. */
#include "guest/platform.h"

/* --- nested NMIs --- */

#define NMI_SEEN 8
static struct {
    unsigned n, depth, more; /* taken; handlers active; NMIs the first one sends */
    bool nested;
    uint64_t rip[NMI_SEEN], rflags[NMI_SEEN];
} nmis;

static void nmi_self(void)
{
    ipi_send(this_cpu()->index, ICR_ASSERT | ICR_NMI);
}

static bool nmi_hook(struct trapframe *f, uint64_t cr2)
{
    (void)cr2;
    if (f->vector != VEC_NMI)
        return false;
    if (nmis.depth++ != 0)
        nmis.nested = true;
    if (nmis.n < NMI_SEEN) {
        nmis.rip[nmis.n] = f->rip;
        nmis.rflags[nmis.n] = f->rflags;
    }
    if (nmis.n++ == 0) {
        for (unsigned i = 0; i < nmis.more; i++)
            nmi_self();
        (void)cpuid(0, 0); /* time for all of them to arrive */
        outb(0x80, 0);
    }
    nmis.depth--;
    return true;
}

static void nested(unsigned more)
{
    memset(&nmis, 0, sizeof(nmis));
    nmis.more = more;
    this_cpu()->hook = nmi_hook;
    nmi_self();
    while (*(volatile unsigned *)&nmis.n == 0)
        wait_pause();
    (void)cpuid(0, 0);
    outb(0x80, 0);
    this_cpu()->hook = NULL;
    CHECK_EQ(nmis.n, more != 0 ? 2 : 1, "NMIs taken");
    CHECK(!nmis.nested, "an NMI inside the handler of another");
    if (more != 0) /* not one instruction of what was interrupted came between */
        CHECK_EQ(nmis.rip[1], nmis.rip[0], "where the second was taken");
    for (unsigned i = 0; i < nmis.n; i++)
        CHECK_EQ(nmis.rflags[i] & RFLAGS_TF, 0, "RFLAGS.TF");
}

static void test_nmi_nested(void)
{
    for (unsigned i = 0; i < ops(50); i++) {
        cli();
        nested(i % 4);
        sti();
        nested(i % 4);
    }
}

/* What was interrupted waits for the second and does nothing else. */
static void test_nmi_waited(void)
{
    for (unsigned i = 0; i < ops(20); i++) {
        memset(&nmis, 0, sizeof(nmis));
        nmis.more = 1;
        cli();
        this_cpu()->hook = nmi_hook;
        nmi_self();
        while (*(volatile unsigned *)&nmis.n < 2)
            wait_pause();
        this_cpu()->hook = NULL;
        sti();
        CHECK_EQ(nmis.n, 2, "NMIs taken");
    }
}

/* A guest that single-steps the interrupted code gets one trap for each instruction, no more and no
 * fewer, whatever becomes of TF in between. */
static unsigned steps, wrong_steps;
static bool step_hook(struct trapframe *f, uint64_t cr2)
{
    if (f->vector == VEC_DB) {
        steps++;
        if ((read_dr6() & 0x4000) == 0)
            wrong_steps++;
        write_dr6(0xffff0ff0);
        return true;
    }
    return nmi_hook(f, cr2);
}

/* POPF sets TF; the store, eight NOPs, PUSHF, AND and the last POPF are stepped. */
#define STEPPED 12
static void stepped_store(uint32_t reg, uint32_t value)
{
    steps = wrong_steps = 0;
    write_dr6(0xffff0ff0);
    this_cpu()->hook = step_hook;
    asm volatile("pushf; orl $0x100, (%%rsp); popf;"
                 "movl %1, (%0);"
                 "nop; nop; nop; nop; nop; nop; nop; nop;"
                 "pushf; andl $~0x100, (%%rsp); popf"
                 :
                 : "r"(APIC_BASE_PA + reg), "r"(value)
                 : "memory", "cc");
    this_cpu()->hook = NULL;
}

static void test_nmi_stepped(void)
{
    cli();
    stepped_store(APIC_TPR, 0);
    sti();
    if (wrong_steps != 0) {
        test_skip("Bochs 2.7 does not single-step exactly over exits");
        return;
    }
    CHECK_EQ(steps, STEPPED, "single-step traps without an NMI");
    for (unsigned i = 0; i < ops(20); i++) {
        memset(&nmis, 0, sizeof(nmis));
        nmis.more = i % 2 + 1;
        cli();
        apic_write(APIC_ICR2, this_cpu()->apic_id << 24);
        stepped_store(APIC_ICR, ICR_ASSERT | ICR_NMI);
        sti();
        CHECK_EQ(nmis.n, 2, "NMIs taken");
        CHECK_EQ(steps, STEPPED, "single-step traps");
        CHECK_EQ(wrong_steps, 0, "traps without DR6.BS");
    }
}

/* --- RFLAGS.RF in frames --- */

static void fault_gp(void *arg)
{
    (void)arg;
    wrmsr(0xdeadbeef, 0);
}

static void fault_ud(void *arg)
{
    (void)arg;
    asm volatile("ud2");
}

static void fault_pf(void *arg)
{
    (void)load64(*(uint64_t *)arg);
}

static void fault_monitor(void *arg)
{
    (void)arg;
    asm volatile("vmrun");
}

static void trap_step(void *arg)
{
    (void)arg;
    asm volatile("pushf; orl $0x100, (%%rsp); popf; cpuid" : : : "eax", "ebx", "ecx", "edx");
}

static uint64_t frame_rf(void (*fn)(void *), void *arg, uint64_t vector)
{
    CHECK(caught(fn, arg) && this_cpu()->trap.vector == vector, "vector %lu, want %lu",
          this_cpu()->trap.vector, vector);
    return this_cpu()->trap.rflags & RFLAGS_RF;
}

static void test_rf(void)
{
    uint64_t nowhere = TEST_VA;

    if (!options.hosted) {
        test_skip("bare QEMU 7.2 does not set it");
        return;
    }
    CHECK_EQ(frame_rf(fault_pf, &nowhere, VEC_PF), RFLAGS_RF, "#PF");
    CHECK_EQ(frame_rf(fault_gp, NULL, VEC_GP), RFLAGS_RF, "#GP");
    CHECK_EQ(frame_rf(fault_monitor, NULL, VEC_UD), RFLAGS_RF, "#UD of a hidden instruction");
    CHECK_EQ(frame_rf(fault_ud, NULL, VEC_UD), RFLAGS_RF, "#UD");
    CHECK_EQ(frame_rf(trap_step, NULL, VEC_DB), 0, "#DB of a single step");
}

/* --- instructions of a processor with SVM, which this is not --- */

static void test_user_svm(void)
{
    static const uint8_t modrm[] = {0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf};
    uint64_t code = pa_of(page_alloc());

    map(TEST_VA, code, PTE_P | PTE_U);
    map(TEST_VA + PAGE, pa_of(page_alloc()), PTE_RW | PTE_U | PTE_NX);
    for (unsigned i = 0; i < sizeof(modrm); i++) {
        const uint8_t insn[] = {0x0f, 0x01, modrm[i], 0xcd, 0x80};
        const uint8_t prefixed[] = {0x66, 0x48, 0x0f, 0x01, modrm[i], 0xcd, 0x80};
        memcpy((void *)code, insn, sizeof(insn));
        user_run(TEST_VA, TEST_VA + 2 * PAGE, 0);
        CHECK(trapped(VEC_UD, 0), "0F 01 %x", modrm[i]);
        CHECK_EQ(this_cpu()->trap.rip, TEST_VA, "RIP");
        memcpy((void *)code, prefixed, sizeof(prefixed));
        user_run(TEST_VA, TEST_VA + 2 * PAGE, 0);
        CHECK(trapped(VEC_UD, 0), "66 48 0F 01 %x", modrm[i]);
        CHECK(caught(fault_monitor, NULL) && trapped(VEC_UD, 0), "VMRUN in the kernel");
    }
    memcpy((void *)code, "\xf4\xcd\x80", 3);
    user_run(TEST_VA, TEST_VA + 2 * PAGE, 0);
    CHECK(trapped(VEC_GP, 0), "HLT is still #GP");
    memcpy((void *)code, "\x0f\x22\xc0\xcd\x80", 5);
    user_run(TEST_VA, TEST_VA + 2 * PAGE, 0);
    CHECK(trapped(VEC_GP, 0), "so is MOV CR0");
}

static const struct test tests[] = {
    {"events.nmi_nested", test_nmi_nested, 1},   {"events.nmi_waited", test_nmi_waited, 1},
    {"events.nmi_stepped", test_nmi_stepped, 1}, {"events.rf", test_rf, 1},
    {"events.user_svm", test_user_svm, 1},
};
const struct test_group tests_events = GROUP(tests);
