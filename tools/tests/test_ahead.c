/* SPDX-License-Identifier: BSD-2-Clause */
/* From one port access to the next without an entry: hv/emulate/ahead.c, hv/mmu/reach.c and where
 * hv/subvmm/loop.c asks for it. What is carried out, compared with what it means; and when not. */
#include "arch-x86/defs/pc.h"
#include "hv/base/stats.h"
#include "tools/tests/exits_rig.h"

#define TABLES 0x100000ull /* of rig_new(..., true) */
#define STACK 0x6000ull
#define DATA 0x7000ull
#define CMOS 0x71 /* a port that answers */

static struct vcpu_ops ops;

static void run_and_look(struct vcpu *v, struct vmexit *x)
{
    fv_run(v, x);
    atomic_store(&fake_cpu[v->cpu].irq_off, false); /* as after VMRUN and STGI */
}

static uint64_t *entry(unsigned table, unsigned i)
{
    return (uint64_t *)port_ptr(hpa(TABLES + table * PAGE_SIZE)) + i;
}

static uint64_t *at(uint64_t gpa)
{
    return port_ptr(hpa(gpa));
}

static struct vcpu *cpu(void)
{
    return &bsp()->vcpu;
}

static void touch(uint64_t va, uint32_t pfec)
{
    struct mmu_fault_out out;

    if (mmu_fault(&bsp()->mmu, gva(va), pfec, false, &out) != MMU_RESUME)
        tap_ok(false, "%llx is mapped", (unsigned long long)va);
}

/* 64-bit code at RIG_CODE, the first 2 MiB mapped one to one; the guest stands behind OUT 70h, AL,
 * a byte long here, for the third time, and has touched code, stack and data. */
static void new_machine(const char *code, size_t n)
{
    rig_new(2, true);
    *entry(0, 0) = (TABLES + 1 * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    *entry(1, 0) = (TABLES + 2 * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    *entry(2, 0) = (TABLES + 3 * PAGE_SIZE) | PTE_P | PTE_W | PTE_A;
    for (unsigned i = 0; i < 512; i++)
        *entry(3, i) = (uint64_t)i << PAGE_SHIFT | PTE_P | PTE_W | PTE_A | PTE_D;
    ops = fake_ops;
    ops.run = run_and_look;
    vcpu_ops = &ops;
    memset(at(RIG_CODE), 0x0f, 256); /* not carried out */
    rig_code(code, n);
    vendor[0].next.kind = EXIT_CPUID;
    vendor[0].next.next_rip = RIG_CODE;
    cpu()->regs.gpr[RSP] = STACK + 0x800;
    cpu()->regs.rflags |= RFLAGS_IF;
    touch(RIG_CODE, PFEC_I);
    touch(STACK, PFEC_W);
    touch(DATA, PFEC_W);
    subvmm_round(bsp());
    subvmm_round(bsp());
}

static unsigned runs;
static uint64_t aheads;

/* One round from where the guest stands behind a port access. */
static void round_behind(void)
{
    bsp()->calm = false;
    bsp()->ahead.due = true;
    subvmm_round(bsp());
}

/* Behind that access for the second time, with RAX = 1234h: is another one reached without an
 * entry? */
static bool goes_ahead(void)
{
    bsp()->ahead.place[(RIG_CODE ^ RIG_CODE >> 6) % AHEAD_PLACES] =
        (struct ahead_place){.rip = RIG_CODE};
    cpu()->regs.rip = RIG_CODE;
    runs = vendor[0].runs;
    aheads = hv_stats[0].n[STAT_io_ahead];
    round_behind();
    return vendor[0].runs == runs && hv_stats[0].n[STAT_io_ahead] == aheads + 1;
}

#define CODE(text) (text), sizeof(text) - 1

static void test_reached(void)
{
    new_machine(CODE("\xe4\x71")); /* in al, 71h */
    uint64_t io = hv_stats[0].exits[EXIT_IO];
    tap_ok(goes_ahead(), "an access right behind another needs no entry");
    tap_eq(cpu()->regs.rip, RIG_CODE + 2, "RIP is behind it");
    tap_eq(hv_stats[0].exits[EXIT_IO], io, "no exit is counted");
    tap_ok(bsp()->ahead.due, "from there it goes on");
    tap_eq(atomic_load(&co.cpu[0].mode), MODE_HOST, "others see a CPU that left its guest");
    tap_ok(!atomic_load(&fake_cpu[0].irq_off), "interrupts are on again");

    /* mov dx, 71h; mov cl, 5; 1: dec cl; jnz 1; call 2f; 3: in al, dx; 2: ret */
    new_machine(CODE("\x66\xba\x71\x00\xb1\x05\xfe\xc9\x75\xfc\xe8\x01\x00\x00\x00\xec\xc3"));
    tap_ok(goes_ahead(), "through a loop, a call and a return");
    tap_eq(cpu()->regs.rip, RIG_CODE + 16, "to the access");
    tap_eq(cpu()->regs.gpr[RCX] & 0xff, 0, "the loop ran to its end");
    tap_eq(*at(STACK + 0x7f8), RIG_CODE + 15, "the return address was stored");
    tap_eq(cpu()->regs.gpr[RSP], STACK + 0x800, "and taken from the stack again");
}

/* Is what `code`, followed by IN AL, 71h, does to register `reg` this, and to these flags? */
static void is(const char *code, size_t n, unsigned reg, uint64_t want, uint64_t flags,
               const char *what)
{
    const uint64_t known = RFLAGS_CF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF;
    char all[64];

    memcpy(all, code, n);
    memcpy(all + n, "\xe4\x71", 2);
    new_machine(all, n + 2);
    uint64_t *g = cpu()->regs.gpr;
    g[RBX] = 0x8000000080000001;
    g[RCX] = 4;
    g[RSI] = DATA;
    g[RDI] = 0x1122334455667788;
    cpu()->regs.rflags |= RFLAGS_CF;
    at(DATA)[0] = 0xfedcba9876543210;
    at(DATA)[1] = DATA;
    tap_ok(goes_ahead(), "carried out: %s", what);
    tap_eq(reg < 16 ? g[reg] : at(DATA)[reg - 16], want, "... its result");
    if (flags != ~0ull)
        tap_eq(cpu()->regs.rflags & known, flags, "... its flags");
}

static void test_means(void)
{
    const uint64_t none = RFLAGS_CF; /* as before */

    is(CODE("\x48\x8b\x1e"), RBX, 0xfedcba9876543210, none, "mov rbx, [rsi]");
    is(CODE("\x8b\x5e\x04"), RBX, 0xfedcba98, none, "mov ebx, [rsi + 4]");
    is(CODE("\x66\x8b\x1e"), RBX, 0x8000000080003210, none, "mov bx, [rsi]");
    is(CODE("\x8a\x3e"), RBX, 0x8000000080001001, none, "mov bh, [rsi]");
    is(CODE("\x0f\xb6\x5e\x07"), RBX, 0xfe, none, "movzx ebx, byte [rsi + 7]");
    is(CODE("\x48\x0f\xbe\x5e\x07"), RBX, ~1ull, none, "movsx rbx, byte [rsi + 7]");
    is(CODE("\x89\x1e"), 16, 0xfedcba9880000001, none, "mov [rsi], ebx");
    is(CODE("\x48\xc7\x06\xff\xff\xff\xff"), 16, ~0ull, none, "mov qword [rsi], -1");
    is(CODE("\x48\x01\xdb"), RBX, 0x0000000100000002, RFLAGS_CF | RFLAGS_OF, "add rbx, rbx");
    is(CODE("\xff\x06"), 16, 0xfedcba9876543211, RFLAGS_CF, "inc dword [rsi]");
    is(CODE("\x48\x39\xdb"), RBX, 0x8000000080000001, RFLAGS_ZF, "cmp rbx, rbx");
    is(CODE("\xc1\xe3\x1f"), RBX, 0x80000000, RFLAGS_SF | RFLAGS_OF, "shl ebx, 31");
    is(CODE("\xd1\xe3"), RBX, 2, RFLAGS_CF | RFLAGS_OF, "shl ebx, 1");
    is(CODE("\xd1\xeb"), RBX, 0x40000000, RFLAGS_CF | RFLAGS_OF, "shr ebx, 1");
    is(CODE("\xd3\xfb"), RBX, 0xf8000000, RFLAGS_SF, "sar ebx, cl");
    is(CODE("\xc1\xe3\x20"), RBX, 0x80000001, none, "shl ebx, 32: nothing but the upper half");
    is(CODE("\x48\x8d\x5c\x8e\x10"), RBX, DATA + 0x20, none, "lea rbx, [rsi + 4 * rcx + 16]");
    is(CODE("\x0f\x92\xc3"), RBX, 0x8000000080000001, none, "setc bl");
    is(CODE("\x0f\x42\xdf"), RBX, 0x55667788, none, "cmovc ebx, edi");
    is(CODE("\x0f\x43\xdf"), RBX, 0x80000001, none, "cmovnc ebx, edi: clears the upper half");
    is(CODE("\x53\x5a"), RDX, 0x8000000080000001, none, "push rbx; pop rdx");
    is(CODE("\x54\x5a"), RDX, STACK + 0x800, none, "push rsp: as it was");
    is(CODE("\x72\x02\x31\xdb"), RBX, 0x8000000080000001, none, "jc over xor ebx, ebx");
    is(CODE("\x73\x02\x31\xdb"), RBX, 0, RFLAGS_ZF, "jnc not taken");
    is(CODE("\x0f\x82\x02\x00\x00\x00\x31\xdb"), RBX, 0x8000000080000001, none, "jc near");
    is(CODE("\xeb\x02\x31\xdb\x0f\x1f\x00\x90\x0f\xae\xe8"), RBX, 0x8000000080000001, none,
       "jmp, long and short nop, lfence");
    is(CODE("\x48\x8d\x1d\x02\x00\x00\x00\xff\xe3"), RBX, RIG_CODE + 9, none, "jmp rbx");
}

static bool no_stack;

/* Not carried out: the guest is entered in front of it, and nothing of it was done. */
static void is_not(const char *code, size_t n, const char *what)
{
    char all[64];

    memcpy(all, "\xff\xc2", 2); /* inc edx */
    memcpy(all + 2, code, n);
    memcpy(all + 2 + n, "\xe4\x71", 2);
    new_machine(all, n + 4);
    if (no_stack)
        cpu()->regs.gpr[RSP] = 0x40000000;
    struct vcpu_regs before = cpu()->regs;
    before.gpr[RDX]++;
    cpu()->regs.gpr[RSI] = before.gpr[RSI] = DATA;
    cpu()->regs.gpr[RBX] = before.gpr[RBX] = 0x40000000; /* no RAM */
    vendor[0].next.kind = EXIT_INTR;
    tap_ok(!goes_ahead() && vendor[0].runs == runs + 1, "the processor's: %s", what);
    tap_eq(cpu()->regs.rip, RIG_CODE + 2, "... entered in front of it");
    tap_ok(!memcmp(before.gpr, cpu()->regs.gpr, sizeof(before.gpr)), "... with nothing done");
}

static void test_left_alone(void)
{
    no_stack = true;
    is_not(CODE("\xe8\x00\x00\x00\x00"), "a call without a stack");
    is_not(CODE("\x53"), "a push");
    is_not(CODE("\x5b"), "a pop");
    is_not(CODE("\xc3"), "a return");
    no_stack = false;
    is_not(CODE("\xf0\xff\x06"), "lock inc [rsi]");
    is_not(CODE("\xf3\x90"), "pause");
    is_not(CODE("\x0f\xa2"), "cpuid");
    is_not(CODE("\xf4"), "hlt");
    is_not(CODE("\xfb"), "sti");
    is_not(CODE("\x9d"), "popf");
    is_not(CODE("\x0f\x31"), "rdtsc");
    is_not(CODE("\x6e"), "outsb");
    is_not(CODE("\xf3\xa4"), "rep movsb");
    is_not(CODE("\x8b\x03"), "a load where nothing is mapped");
    is_not(CODE("\x89\x03"), "a store there");
    is_not(CODE("\x8b\x46\x01"), "a load that is not aligned");
    is_not(CODE("\x65\x8b\x06"), "a load by gs");
    is_not(CODE("\x67\x8b\x06"), "a load with a 32-bit address");
    is_not(CODE("\x66\xc3"), "ret with a prefix");
    is_not(CODE("\xc5\xf8\x77"), "vzeroupper");
}

/* An entry of the page of the data, as the pager makes it, and whether it is reached. */
static bool reached(uint64_t gpte, bool write)
{
    struct mmu_fault_out out;
    enum mmu_verdict verdict;

    new_machine(CODE("\x90"));
    *entry(3, DATA >> PAGE_SHIFT) = DATA | gpte;
    mmu_idle(&bsp()->mmu, true); /* made anew from the tables */
    verdict = mmu_fault(&bsp()->mmu, gva(DATA), write ? PFEC_W : 0, false, &out);
    tap_note("the pager: %u", (unsigned)verdict);
    return mmu_reach(&bsp()->mmu, gva(DATA), write ? PFEC_W : 0) == at(DATA);
}

static void test_rights(void)
{
    const uint64_t rw = PTE_P | PTE_W | PTE_A;

    tap_ok(reached(rw | PTE_D, true) && reached(rw | PTE_D, false), "RAM is reached");
    tap_ok(reached(PTE_P | PTE_A, false) && !reached(PTE_P | PTE_A, true),
           "what is not writable is read");
    memcpy(at(RIG_CODE), "\x39\x1e\xe4\x71", 4); /* cmp [rsi], ebx; in al, 71h */
    touch(RIG_CODE, PFEC_I);
    touch(DATA, 0);
    cpu()->regs.gpr[RSI] = DATA;
    subvmm_round(bsp());
    subvmm_round(bsp());
    tap_ok(goes_ahead(), "what is compared need not be writable");
    tap_ok(reached(rw, false) && !mmu_reach(&bsp()->mmu, gva(DATA), PFEC_W),
           "a store that would set D is the processor's");
    tap_ok(!reached(0, false), "nothing there, nothing reached");
    touch(RIG_CODE, PFEC_I);
    tap_ok(!mmu_reach(&bsp()->mmu, gva(RIG_CODE | BIT(60)), 0) &&
               mmu_reach(&bsp()->mmu, gva(RIG_CODE), 0),
           "nor by another address of its bits");
    new_machine(CODE("\x90"));
    tap_ok(!mmu_reach(&bsp()->mmu, gva(TABLES + 3 * PAGE_SIZE), PFEC_W), "no store to a table");
    for (unsigned t = 0; t < 3; t++)
        *entry(t, 0) |= PTE_U;
    *entry(3, DATA >> PAGE_SHIFT) |= PTE_U;
    mmu_idle(&bsp()->mmu, true);
    touch(DATA, PFEC_W);
    touch(RIG_CODE, PFEC_I);
    tap_ok(!mmu_reach(&bsp()->mmu, gva(DATA), 0), "a user's page is not");
    tap_ok(mmu_reach(&bsp()->mmu, gva(RIG_CODE), PFEC_I) != NULL, "the supervisor's beside it is");
}

/* Something forbids it; the guest is entered instead. */
#define NOT(what, ...)                                                                             \
    do {                                                                                           \
        new_machine(CODE("\xe4\x71"));                                                             \
        __VA_ARGS__;                                                                               \
        tap_ok(!goes_ahead() && hv_stats[0].n[STAT_io_ahead] == aheads, "not %s", (what));         \
    } while (0)

static void interrupt(void)
{
    struct vio svr = {.addr = VPC_LAPIC_BASE + 0xf0, .size = 4, .write = true, .value = 0x1ff};

    vbus_mmio(vpc_bus(vm.pc), &svr);
    vlapic_set_irr(vm.pc, 1, 0, 0x51, false);
}

static void test_closed(void)
{
    new_machine(CODE("\xe4\x71\xf4")); /* in al, 71h; hlt */
    interrupt();
    cpu()->regs.rflags &= ~RFLAGS_IF;
    tap_ok(goes_ahead(), "with an interrupt that waits for IF");
    tap_ok(vlapic_pending(vm.pc, 0) == 0x51 && cpu()->pending.type == EVENT_NONE,
           "which is asked for again");
    vendor[0].next.kind = EXIT_INTR;
    subvmm_round(bsp());
    tap_eq(vendor[0].injected.vector, 0x51, "and offered to the processor with the next entry");
}

static void test_when(void)
{
    NOT("with iopair=off", opt.iopair = false);
    NOT("with shortcuts=off", opt.shortcuts = false);
    NOT("for a program", vendor[0].segs.cpl = 3);
    NOT("in 32-bit code", vendor[0].segs.seg[SEG_CS].attr &= ~BIT(9));
    NOT("with a breakpoint", vendor[0].debug.dr7 |= 1);
    NOT("single-stepped", cpu()->regs.rflags |= RFLAGS_TF);
    NOT("with a breakpoint passed over", cpu()->regs.rflags |= RFLAGS_RF);
    NOT("in the shadow of STI", cpu()->int_shadow = true);
    NOT("with ports of the VM's own", cpu()->io_map = hpa(0x1000));
    NOT("where another root is entered", bsp()->root_set = false);
    NOT("with a flush due", bsp()->mmu.downgrades++);
    NOT("while an NMI waits", cpu()->nmi_pending = true);
    NOT("nor with IF=0", cpu()->nmi_pending = true; cpu()->regs.rflags &= ~RFLAGS_IF);
    NOT("while an interrupt can be taken", interrupt());
    NOT("with an exception and IF=0", vcpu_inject_gp0(bsp()); cpu()->regs.rflags &= ~RFLAGS_IF);
    NOT("behind an IRET that is watched", cpu()->iret_rip = 0x1234);
    NOT("with an exception to be injected", vcpu_inject_gp0(bsp()));
    NOT("when something was asked", action_post(&co, 1, 0, ACTION_PAUSE));
    NOT("out of code that must not run", *entry(3, RIG_CODE >> PAGE_SHIFT) |= PTE_NX;
        cpu()->ctl.efer |= EFER_NXE; vcpu_ctl_commit(bsp());
        struct mmu_regs regs = vcpu_mmu_regs(cpu()); mmu_event_mode(&bsp()->mmu, &regs);
        touch(RIG_CODE, 0); subvmm_round(bsp()); subvmm_round(bsp()));
}

static void test_worth(void)
{
    new_machine(CODE("\xf4")); /* hlt */
    vendor[0].next.kind = EXIT_INTR;
    struct ahead_place *p = &bsp()->ahead.place[(RIG_CODE ^ RIG_CODE >> 6) % AHEAD_PLACES];
    cpu()->regs.rip = RIG_CODE;
    round_behind();
    tap_ok(p->rip == RIG_CODE && !p->fails, "the first time it is only noted");
    (void)goes_ahead();
    tap_ok(p->fails == 1 && p->skip == 2, "in vain: twice not again");
    round_behind();
    round_behind();
    tap_ok(p->fails == 1 && !p->skip, "those pass");
    round_behind();
    tap_ok(p->fails == 2 && p->skip == 4, "and the next try counts double");
    for (unsigned i = 0; i < 4000; i++)
        round_behind();
    tap_ok(p->fails == 10 && p->skip <= 1024, "up to a bound");
    memcpy(at(RIG_CODE), "\xe4\x71", 2);
    tap_ok(goes_ahead() && !p->fails, "reached, it is worth it again");

    new_machine(CODE("\xeb\xfe")); /* jmp to itself */
    tap_ok(!goes_ahead() && vendor[0].runs == runs + 1, "a loop without an access ends");
}

/* A CPU whose guest polls for long is not taken for one that hangs. */
static void test_watched(void)
{
    new_machine(CODE("\xe4\x71"));
    watch_start(&sub[0]);
    fake_set_cpu(1);
    watch_start(&sub[1]);
    fake_console_clear();
    for (unsigned i = 1; i < 20; i++) {
        fake_set_cpu(0);
        if (!goes_ahead())
            tap_ok(false, "it polls");
        fake_set_cpu(1);
        fake_set_tsc(i * 5000000000ull, 10);
        watch_look(&sub[1]);
    }
    fake_set_cpu(0);
    tap_ok(!strstr(fake_console(), "watch"), "who polls for minutes does not hang");
}

int main(void)
{
    test_reached();
    test_means();
    test_left_alone();
    test_rights();
    test_closed();
    test_when();
    test_worth();
    test_watched();
    return tap_done();
}
