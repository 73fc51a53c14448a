/* SPDX-License-Identifier: BSD-2-Clause */
/* The contract of one entry: enter.S and entry.c run here as they are, on a processor that is a few
 * macros. Every register arrives and comes back, the host's own survive, GIF, IF, VMLOAD, VMRUN and
 * VMSAVE come in their order, and nothing that lives for one entry is left behind. */
#include "tools/tests/tap.h"
#include "arch-x86/svm/entry.c"

struct svm_features svm_features;
struct quirks quirks;

static unsigned looks_again, repairs;

void quirks_after_virq(void)
{
    looks_again++;
}
bool quirks_after_exit(struct vmcb *b)
{
    (void)b;
    repairs++;
    return false;
}

void svm_translate(const struct svm_vcpu *a, const struct svm_features *f, struct vmexit *x)
{
    (void)a, (void)f;
    x->kind = EXIT_CPUID;
}
static uint64_t entry_rip, events;
void svm_translate_event(const struct svm_vcpu *a, uint64_t rip, struct vmexit *x)
{
    (void)a, (void)x;
    entry_rip = rip;
    events++;
}

/* --- the processor: instructions that a process may not execute are macros that note themselves
 * --- */

#define STEPS 64
uint64_t fake_count, fake_rax[STEPS], fake_host[8], fake_rsp;
char fake_step[STEPS];
struct vcpu_regs fake_seen, fake_leave;
static struct vmcb block, entered;

/* Called by VMRUN with all registers saved: what the control block holds at that moment. */
void fake_vmrun(void);
void fake_vmrun(void)
{
    entered = block;
}
int fake_call(struct vcpu *v, struct vmexit *x);

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
#define OFFSET(reg) ".set VCPU_REGS_" #reg ", " TEXT(VCPU_REGS_##reg) "\n"
__asm__(".set VCPU_REGS, " TEXT(VCPU_REGS) "\n"
                                           ".set SVM_BLOCK_HOST, " TEXT(SVM_BLOCK_HOST) "\n");
__asm__(".pushsection .text\n" OFFSET(RAX) OFFSET(RCX) OFFSET(RDX) OFFSET(RBX) OFFSET(RSP)
            OFFSET(RBP) OFFSET(RSI) OFFSET(RDI) OFFSET(R8) OFFSET(R9) OFFSET(R10) OFFSET(R11)
                OFFSET(R12) OFFSET(R13) OFFSET(R14) OFFSET(R15) OFFSET(CR2)
        /* what: a letter; RAX is noted with it */
        ".macro note what\n"
        "  pushfq\n  pushq %rbx\n  pushq %rcx\n"
        "  movq fake_count(%rip), %rcx\n"
        "  leaq fake_step(%rip), %rbx\n  movb $\\what, (%rbx,%rcx)\n"
        "  leaq fake_rax(%rip), %rbx\n  movq %rax, (%rbx,%rcx,8)\n"
        "  incq fake_count(%rip)\n"
        "  popq %rcx\n  popq %rbx\n  popfq\n"
        ".endm\n"
        ".macro clgi\n  note 'c'\n.endm\n"
        ".macro stgi\n  note 'g'\n.endm\n"
        ".macro sti\n  note 's'\n.endm\n"
        ".macro cli\n  note 'i'\n.endm\n"
        ".macro nop\n  note 'n'\n.endm\n"
        ".macro vmload reg\n  note 'l'\n.endm\n"
        ".macro vmsave reg\n  note 'v'\n.endm\n"
        /* registers but RAX and RSP: out to fake_seen, in from fake_leave */
        ".macro vmrun reg\n"
        "  note 'r'\n"
        "  movq %rcx, fake_seen+VCPU_REGS_RCX(%rip)\n  movq %rdx, fake_seen+VCPU_REGS_RDX(%rip)\n"
        "  movq %rbx, fake_seen+VCPU_REGS_RBX(%rip)\n  movq %rbp, fake_seen+VCPU_REGS_RBP(%rip)\n"
        "  movq %rsi, fake_seen+VCPU_REGS_RSI(%rip)\n  movq %rdi, fake_seen+VCPU_REGS_RDI(%rip)\n"
        "  .irp r, 8,9,10,11,12,13,14,15\n  movq %r\\r, fake_seen+VCPU_REGS_R\\r(%rip)\n  .endr\n"
        "  movq %rax, fake_seen+VCPU_REGS_RAX(%rip)\n"
        "  movq %rsp, fake_rsp(%rip)\n  andq $-16, %rsp\n  call fake_vmrun\n  movq fake_rsp(%rip), "
        "%rsp\n"
        "  movq fake_leave+VCPU_REGS_RCX(%rip), %rcx\n  movq fake_leave+VCPU_REGS_RDX(%rip), %rdx\n"
        "  movq fake_leave+VCPU_REGS_RBX(%rip), %rbx\n  movq fake_leave+VCPU_REGS_RBP(%rip), %rbp\n"
        "  movq fake_leave+VCPU_REGS_RSI(%rip), %rsi\n  movq fake_leave+VCPU_REGS_RDI(%rip), %rdi\n"
        "  .irp r, 8,9,10,11,12,13,14,15\n  movq fake_leave+VCPU_REGS_R\\r(%rip), %r\\r\n  .endr\n"
        "  movq fake_seen+VCPU_REGS_RAX(%rip), %rax\n" /* the host's, from its save area */
        ".endm\n"
        /* CR2 is noted and kept in fake_seen on the way in, comes from fake_leave on the way out */
        ".macro mov src, dst\n"
        "  .ifc \\dst,%cr2\n"
        "    note 'w'\n    movq \\src, fake_seen+VCPU_REGS_CR2(%rip)\n"
        "  .else\n  .ifc \\src,%cr2\n"
        "    movq fake_leave+VCPU_REGS_CR2(%rip), \\dst\n    note 'd'\n"
        "  .else\n    movq \\src, \\dst\n    note 'm'\n  .endif\n  .endif\n"
        ".endm\n"
        ".include \"arch-x86/svm/enter.S\"\n"
        ".purgem mov\n.purgem vmrun\n.purgem vmsave\n.purgem vmload\n.purgem nop\n.purgem cli\n"
        ".purgem sti\n.purgem stgi\n.purgem clgi\n"
        ".text\n"
        /* calls svm_run with marked callee-saved registers; how many came back changed, RSP too */
        ".globl fake_call\n"
        "fake_call:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, fake_host(%rip)\n"
        "  movq $0x1b1, %rbx\n  movq $0x1b2, %rbp\n  movq $0x1b3, %r12\n  movq $0x1b4, %r13\n"
        "  movq $0x1b5, %r14\n  movq $0x1b6, %r15\n"
        "  call svm_run\n"
        "  xorl %eax, %eax\n"
        "  cmpq $0x1b1, %rbx\n  setne %cl\n  addb %cl, %al\n"
        "  cmpq $0x1b2, %rbp\n  setne %cl\n  addb %cl, %al\n"
        "  cmpq $0x1b3, %r12\n  setne %cl\n  addb %cl, %al\n"
        "  cmpq $0x1b4, %r13\n  setne %cl\n  addb %cl, %al\n"
        "  cmpq $0x1b5, %r14\n  setne %cl\n  addb %cl, %al\n"
        "  cmpq $0x1b6, %r15\n  setne %cl\n  addb %cl, %al\n"
        "  cmpq fake_host(%rip), %rsp\n  setne %cl\n  addb %cl, %al\n"
        "  movq fake_host(%rip), %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
        ".popsection\n");

/* --- registers and order --- */

#define GUEST_HPA 0x111000u
#define HOST_HPA 0x112000u

static struct svm_vcpu arch = {.vmcb = &block, .block_hpa = GUEST_HPA};
static struct vcpu vcpu = {.arch = &arch};

static void fill(struct vcpu_regs *r, uint64_t mark)
{
    for (unsigned i = 0; i < 16; i++)
        r->gpr[i] = mark | i;
    r->cr2 = mark | 0x20;
}

static void test_registers(void)
{
    struct vcpu_regs *r = &vcpu.regs;
    struct vmexit x = {0};
    unsigned in = 0, out = 0;

    fake_count = 0;
    *r = (struct vcpu_regs){.rip = 0x77, .rflags = 0x88};
    fill(r, 0xaaaa000000000000);
    fill(&fake_leave, 0xbbbb000000000000);
    tap_eq(fake_call(&vcpu, &x), 0, "the host's callee-saved registers and stack survive");
    for (unsigned i = 0; i < 16; i++) {
        if (i == RAX || i == RSP)
            continue;
        in += fake_seen.gpr[i] == (0xaaaa000000000000 | i);
        out += r->gpr[i] == (0xbbbb000000000000 | i);
    }
    tap_eq(in, 14, "every register but RAX and RSP arrives in the guest");
    tap_eq(out, 14, "every register but RAX and RSP comes back");
    tap_eq(fake_seen.cr2, 0xaaaa000000000020, "CR2 arrives");
    tap_eq(r->cr2, 0xbbbb000000000020, "CR2 comes back");
    tap_ok(r->gpr[RAX] == (0xaaaa000000000000 | RAX) && r->gpr[RSP] == (0xaaaa000000000000 | RSP) &&
               r->rip == 0x77 && r->rflags == 0x88,
           "what the control block holds comes from there");
    tap_eq(x.kind, EXIT_CPUID, "the exit is translated into the caller's record");
}

static unsigned at(char step, unsigned from)
{
    for (unsigned i = from; i < fake_count; i++)
        if (fake_step[i] == step)
            return i;
    return STEPS;
}

static unsigned number_of(char step)
{
    unsigned n = 0;
    for (unsigned i = 0; i < fake_count; i++)
        n += fake_step[i] == step;
    return n;
}

static void test_order(void)
{
    unsigned run = at('r', 0), load = at('l', 0), save = at('v', 0), host = at('l', load + 1);
    unsigned clear = at('c', 0), allow = at('s', 0), set = at('g', 0);

    tap_note("steps: %.*s", (int)fake_count, fake_step);
    tap_ok(number_of('r') == 1 && number_of('l') == 2 && number_of('v') == 1 &&
               number_of('c') == 1 && number_of('g') == 1 && number_of('s') == 1 &&
               number_of('i') == 0,
           "one entry, each step once, VMLOAD twice");
    tap_ok(at('w', 0) == 0 && clear == 1,
           "GIF is cleared before anything of the guest is loaded but CR2");
    tap_ok(clear < allow && allow < run, "IF is set with GIF clear, before the entry");
    tap_ok(allow + 1 < load && fake_step[allow + 1] != 'r' && fake_step[allow + 1] != 'l',
           "an instruction ends the shadow of STI before the guest's state is loaded");
    tap_ok(load + 1 == run && fake_rax[load] == GUEST_HPA && fake_rax[run] == GUEST_HPA,
           "VMLOAD of the guest's block, then at once VMRUN");
    tap_ok(save == run + 1 && fake_rax[save] == GUEST_HPA,
           "VMSAVE of the guest's block comes first");
    tap_ok(host > save && fake_rax[host] == HOST_HPA, "then VMLOAD of the host's");
    tap_ok(set > host, "GIF is set only with the host's state in place");
    tap_ok(at('w', 0) < run && at('d', 0) > run && at('d', 0) < set,
           "CR2 is the guest's for the entry and saved before an interrupt can be taken");
}

/* --- what lives for one entry --- */

static void fresh(void)
{
    memset(&block, 0, sizeof(block));
    memset(&entered, 0, sizeof(entered));
    arch.injected = arch.offered = 0;
    arch.exceptions = block.ctl.intercept_exceptions = 0x4000;
    vcpu.regs.rip = 0x1000;
    vcpu.regs.rflags = 0x202;
    fake_count = 0;
}

static void run(void)
{
    struct vmexit x;
    fake_count = 0;
    svm_run(&vcpu, &x);
}

static void test_registers_in_block(void)
{
    fresh();
    vcpu.regs.gpr[RAX] = 0xa;
    vcpu.regs.gpr[RSP] = 0xb;
    run();
    tap_ok(entered.save.rip == 0x1000 && entered.save.rflags == 0x202 && entered.save.rax == 0xa &&
               entered.save.rsp == 0xb,
           "RIP, RFLAGS, RAX and RSP enter through the control block");
    block.save.rip = 0; /* a new one is put there by each entry */
    run();
    tap_eq(entered.save.rip, 0x1000, "RIP is written for every entry");
}

static void test_once(void)
{
    struct vcpu_event e = {
        .type = EVENT_EXCEPTION, .vector = 14, .has_error = true, .error = 2, .cr2 = 0x5000};

    fresh();
    block.ctl.tlb_control = 3;
    block.ctl.int_shadow = 1;
    svm_inject(&vcpu, &e);
    run();
    tap_ok((entered.ctl.eventinj & EVENT_V) && (entered.ctl.eventinj & 0xff) == 14,
           "an exception is injected");
    tap_eq(entered.ctl.eventinj >> 32, 2, "with its error code");
    tap_eq(fake_seen.cr2, 0x5000, "and its address in CR2");
    tap_eq(entered.ctl.int_shadow, 0, "delivery leaves no interrupt shadow");
    tap_eq(entered.ctl.tlb_control, 3, "the flush asked for is in force");
    run();
    tap_ok(!entered.ctl.eventinj && !entered.ctl.tlb_control,
           "neither is there for the entry after it");
}

static void test_double_fault(void)
{
    struct vcpu_event e = {.type = EVENT_EXCEPTION, .vector = 8, .has_error = true};

    fresh();
    svm_inject(&vcpu, &e);
    run();
    tap_eq(entered.ctl.intercept_exceptions, 0xffffffff,
           "a #DF goes in with every exception intercepted");
    run();
    tap_eq(entered.ctl.intercept_exceptions, 0x4000, "for that entry only");
}

/* A step injects nothing, and ends with its entry all the same. */
static void test_step(void)
{
    fresh();
    svm_step(&vcpu);
    run();
    tap_eq(entered.ctl.intercept_exceptions, 0xffffffff, "every exception exits in a step");
    run();
    tap_eq(entered.ctl.intercept_exceptions, 0x4000, "... and behind it those of before");
}

static void test_offer(void)
{
    struct vcpu_event e = {.type = EVENT_INTR, .vector = 0x31};

    fresh();
    quirks.virq_needs_if_rise = false;
    svm_inject(&vcpu, &e);
    run();
    tap_ok((entered.ctl.vintr & VINTR_V_IRQ) &&
               (entered.ctl.vintr >> VINTR_VECTOR_SHIFT & 0xff) == 0x31,
           "an interrupt waits in the guest as a virtual one");
    run();
    tap_ok(!(entered.ctl.vintr & VINTR_V_IRQ) && !(entered.ctl.vintr >> VINTR_VECTOR_SHIFT & 0xff),
           "and no longer at the next entry");
    svm_window(&vcpu, true);
    run();
    tap_ok((entered.ctl.intercept1 & ICPT1_VINTR) && (entered.ctl.vintr & VINTR_V_IRQ),
           "a window is armed");
    svm_window(&vcpu, false);
    run();
    tap_ok(!(entered.ctl.intercept1 & ICPT1_VINTR) && !(entered.ctl.vintr & VINTR_V_IRQ),
           "and disarmed");
}

/* Where #DB leaves DR6 as it was, every exit is looked at, and where it does not, none. */
static void test_repair(void)
{
    struct vcpu_event e = {.type = EVENT_NMI};

    fresh();
    repairs = 0;
    events = 0;
    run();
    tap_ok(!repairs && !events, "an exit with nothing of its entry's own is not looked at again");
    svm_inject(&vcpu, &e);
    run();
    tap_ok(events == 1 && entry_rip == 0x1000,
           "what became of an event is asked once, with RIP before");
    run();
    tap_eq(events, 1, "... and not of none");
    quirks.dr6_lost = true;
    arch.once = true; /* as svm_init */
    run();
    run();
    tap_eq(repairs, 2, "a processor that loses DR6 is repaired after every exit");
    quirks.dr6_lost = arch.once = false;
}

/* CR2 is the guest's from its last exit on, until another is written for it. */
static void test_cr2(void)
{
    struct vcpu_event e = {.type = EVENT_EXCEPTION, .vector = 14, .has_error = true, .cr2 = 0x7000};

    fresh();
    fake_leave.cr2 = 0x6000;
    run();
    block.save.cr2 = 0x6000; /* as #VMEXIT leaves it */
    run();
    tap_eq(number_of('w'), 0, "CR2 that nobody wrote is not loaded");
    svm_inject(&vcpu, &e);
    run();
    tap_ok(number_of('w') == 1 && fake_seen.cr2 == 0x7000 && entered.save.cr2 == 0x7000,
           "the address of an injected fault is");
    /* The processor did not write it at #VMEXIT: it is 6000, and 7000 in the block. */
    svm_inject(&vcpu, &e);
    run();
    tap_ok(number_of('w') == 1 && fake_seen.cr2 == 0x7000,
           "... also where the block has kept the same from before");
}

/* Where an entry with V_IRQ may forget a physical interrupt, the APIC looks again behind it. */
static void test_forgotten(void)
{
    struct vcpu_event e = {.type = EVENT_INTR, .vector = 0x31};

    tap_eq(looks_again, 0, "a processor that forgets nothing is not asked");
    fresh();
    quirks.irq_forgotten = true;
    run();
    tap_eq(looks_again, 0, "nor where nothing was offered");
    svm_inject(&vcpu, &e);
    run();
    tap_eq(looks_again, 1, "after a virtual interrupt it is");
    svm_window(&vcpu, true);
    run();
    svm_window(&vcpu, false);
    tap_eq(looks_again, 2, "and after a window");
    quirks.irq_forgotten = false;
}

int main(void)
{
    test_registers();
    test_order();
    test_registers_in_block();
    test_once();
    test_double_fault();
    test_step();
    test_offer();
    test_repair();
    test_cr2();
    test_forgotten();
    return tap_done();
}
