/* SPDX-License-Identifier: BSD-2-Clause */
/* Hardware task switches: CALL, JMP, IRET, exceptions by task gates, 16- and 32-bit TSSs, vm86
 * tasks, paging, and each fault of the outgoing and of the incoming task. */
#include "tools/tests/exits_rig.h"

#define GDT 0x10000ull
#define LDT 0x11000ull
#define TSS_A 0x12000ull /* outgoing */
#define TSS_B 0x13000ull
#define STACK_B 0x14800u
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_A 0x18
#define SEL_B 0x20
#define SEL_LDT 0x28
#define SEL_USER_CODE 0x33
#define SEL_USER_DATA 0x3b
#define SEL_LDT_DATA 0x0c /* entry 1 of the LDT */
#define WIDE_FREE 0x89
#define WIDE_BUSY 0x8b
#define NARROW_FREE 0x81
#define NARROW_BUSY 0x83
#define NT BIT(14)

static void *at(uint64_t gpa_v)
{
    return port_ptr(hpa(gpa_v));
}
static void descriptor(uint64_t table, unsigned sel, uint32_t base, uint32_t limit, unsigned type,
                       unsigned flags)
{
    uint64_t d = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
                 (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
                 (uint64_t)(base >> 24) << 56;
    memcpy(at(table + (sel & ~7u)), &d, 8);
}
static unsigned type_of(unsigned sel)
{
    return *(uint8_t *)at(GDT + (sel & ~7u) + 5);
}
static uint32_t *wide(uint64_t tss, unsigned offset)
{
    return at(tss + offset);
}
static uint16_t *narrow(uint64_t tss, unsigned offset)
{
    return at(tss + offset);
}

/* An incoming 32-bit task whose registers are all different. */
static void incoming_wide(void)
{
    static const uint16_t sel[] = {SEL_DATA, SEL_CODE, SEL_DATA, SEL_DATA, 0, SEL_LDT_DATA};
    *wide(TSS_B, 32) = 0x5000;
    *wide(TSS_B, 36) = 0x202;
    for (unsigned i = 0; i < 8; i++)
        *wide(TSS_B, 40 + i * 4) = 0xb0000000 + i;
    *wide(TSS_B, 40 + 4 * RSP) = STACK_B;
    for (unsigned i = 0; i < 6; i++)
        *wide(TSS_B, 72 + i * 4) = sel[i];
    *wide(TSS_B, 96) = SEL_LDT;
}

static void fresh(unsigned type_b)
{
    struct vcpu_segs *g = &vendor[0].segs;
    rig_new(1, false);
    memset(at(GDT), 0, 0x5000);
    descriptor(GDT, SEL_CODE, 0, 0xfffff, 0x9b, 0xc);
    descriptor(GDT, SEL_DATA, 0, 0xfffff, 0x92, 0xc); /* not accessed */
    descriptor(GDT, SEL_A, TSS_A, 103, WIDE_BUSY, 0);
    descriptor(GDT, SEL_B, TSS_B, type_b & 8 ? 103 : 43, type_b, 0);
    descriptor(GDT, SEL_LDT, LDT, 31, 0x82, 0);
    descriptor(GDT, SEL_USER_CODE, 0, 0xfffff, 0xfb, 0xc);
    descriptor(GDT, SEL_USER_DATA, 0, 0xfffff, 0xf3, 0xc);
    descriptor(LDT, 8, 0x1000, 0xfff, 0x93, 0x4);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        g->seg[i].sel = i == SEG_CS ? SEL_CODE : SEL_DATA;
    g->gdtr = (struct dtable){GDT, 0x3f};
    g->seg[SEG_TR] = (struct segment){SEL_A, WIDE_BUSY, 103, TSS_A};
    for (unsigned i = 0; i < 8; i++)
        *gpr(i) = 0xa0000000 + i;
    bsp()->vcpu.regs.rflags = 0x246;
    vendor[0].debug.dr7 = 0x755;
    incoming_wide();
    rig_code("\x9a\x00\x00\x00\x00\x20\x00", 7); /* call 20:0 */
}

static struct vmexit by(enum task_source source)
{
    return (struct vmexit){
        .kind = EXIT_TASK_SWITCH,
        .gpr = VMEXIT_GPR_NONE,
        .task = {.selector = SEL_B, .source = source, .external = source == TASK_EVENT}};
}
static void run(struct vmexit x)
{
    exit_dispatch(bsp(), &x);
}
static const struct segment *seg(enum seg i)
{
    return &vendor[0].segs.seg[i];
}

static void test_call(void)
{
    struct vcpu_regs *r = &bsp()->vcpu.regs;
    bool saved = true, loaded = true;
    fresh(WIDE_FREE);
    run(by(TASK_CALL));
    for (unsigned i = 0; i < 8; i++)
        saved &= *wide(TSS_A, 40 + i * 4) == 0xa0000000 + i;
    for (unsigned i = 0; i < 8; i++)
        loaded &= *gpr(i) == (i == RSP ? STACK_B : 0xb0000000 + i);
    tap_ok(quiet() && r->rip == 0x5000 && loaded, "CALL: the incoming task's registers");
    tap_eq(*wide(TSS_A, 32), RIG_CODE + 7, "the outgoing task goes on behind the instruction");
    tap_eq(*wide(TSS_A, 36), 0x246, "its flags");
    tap_ok(saved && *wide(TSS_A, 76) == SEL_CODE, "its registers and selectors");
    tap_eq(r->rflags, 0x202 | NT, "the incoming one is nested");
    tap_eq(*narrow(TSS_B, 0), SEL_A, "its link leads back");
    tap_ok(type_of(SEL_A) == WIDE_BUSY && type_of(SEL_B) == WIDE_BUSY, "both are busy");
    tap_ok(seg(SEG_TR)->sel == SEL_B && seg(SEG_TR)->attr == WIDE_BUSY &&
               seg(SEG_TR)->base == TSS_B,
           "TR");
    tap_ok(seg(SEG_CS)->sel == SEL_CODE && seg(SEG_CS)->limit == 0xffffffff &&
               seg(SEG_CS)->attr == 0xc9b,
           "CS with its descriptor");
    tap_ok(seg(SEG_FS)->sel == 0 && !(seg(SEG_FS)->attr & BIT(7)), "a null selector is nothing");
    tap_ok(seg(SEG_GS)->base == 0x1000 && seg(SEG_LDTR)->base == LDT, "GS, from the new LDT");
    tap_eq(type_of(SEL_DATA), 0x93, "the accessed bit is set in memory");
    tap_ok(bsp()->vcpu.ctl.cr0 & CR0_TS, "CR0.TS");
    tap_eq(vendor[0].debug.dr7, 0x600, "local breakpoints are off");
}

static void test_jmp_iret(void)
{
    struct vcpu_regs *r = &bsp()->vcpu.regs;
    struct vmexit x;
    fresh(WIDE_FREE);
    rig_code("\xea\x00\x00\x00\x00\x20\x00", 7);
    x = by(TASK_JMP);
    x.task.rf = true;
    run(x);
    tap_ok(quiet() && r->rip == 0x5000 && !(r->rflags & NT), "JMP does not nest");
    tap_ok(type_of(SEL_A) == WIDE_FREE && type_of(SEL_B) == WIDE_BUSY, "only one is busy");
    tap_eq(*wide(TSS_A, 36), 0x246 | RFLAGS_RF, "RF as the processor would save it");
    tap_eq(*narrow(TSS_B, 0), 0, "no link");
    fresh(WIDE_BUSY);
    rig_code("\xcf", 1);
    r->rflags |= NT;
    run(by(TASK_IRET));
    tap_ok(quiet() && r->rip == 0x5000 && *wide(TSS_A, 32) == RIG_CODE + 1, "IRET");
    tap_eq(*wide(TSS_A, 36), 0x246, "clears NT of the outgoing task");
    tap_ok(type_of(SEL_A) == WIDE_FREE && type_of(SEL_B) == WIDE_BUSY, "which is busy no more");
    fresh(WIDE_FREE);
    *wide(TSS_B, 100) = 1;
    run(by(TASK_CALL));
    tap_ok(took(VEC_DB) && (vendor[0].debug.dr6 & BIT(15)), "the T bit: #DB before it runs");
}

static void test_narrow(void)
{
    struct vcpu_regs *r = &bsp()->vcpu.regs;
    fresh(NARROW_FREE);
    memset(at(TSS_B), 0, 104);
    *narrow(TSS_B, 14) = 0x5000;
    *narrow(TSS_B, 16) = 0x202;
    for (unsigned i = 0; i < 8; i++)
        *narrow(TSS_B, 18 + i * 2) = (uint16_t)(0xb000 + i);
    *narrow(TSS_B, 34) = *narrow(TSS_B, 38) = *narrow(TSS_B, 40) = SEL_DATA;
    *narrow(TSS_B, 36) = SEL_CODE;
    run(by(TASK_CALL));
    tap_ok(quiet() && r->rip == 0x5000 && *gpr(RBX) == 0xffffb003, "to a 16-bit TSS");
    tap_ok(seg(SEG_TR)->attr == NARROW_BUSY && type_of(SEL_B) == NARROW_BUSY, "busy");
    tap_eq(seg(SEG_GS)->sel, 0, "no FS and GS there");
    *gpr(RCX) = 0x12345678;
    bsp()->vcpu.regs.rip = RIG_CODE;
    struct vmexit x = by(TASK_JMP);
    x.task.selector = SEL_A;
    descriptor(GDT, SEL_A, TSS_A, 103, WIDE_FREE, 0);
    run(x);
    tap_ok(quiet() && *narrow(TSS_B, 14) == RIG_CODE + 7 && *narrow(TSS_B, 20) == 0x5678,
           "and from one");
    tap_eq(*narrow(TSS_B, 42), 0, "LDT and what is behind it stay");
}

static void test_event(void)
{
    struct vmexit x = by(TASK_EVENT);
    fresh(WIDE_FREE);
    x.task.has_error = true;
    x.task.error = 0xabcd;
    bsp()->injected = (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_PF};
    x.redeliver = true;
    run(x);
    tap_ok(quiet() && *wide(TSS_A, 32) == RIG_CODE, "an exception's task gate: RIP is the fault's");
    tap_ok(*gpr(RSP) == STACK_B - 4 && *(uint32_t *)at(STACK_B - 4) == 0xabcd,
           "its error code is on the new stack");
    fresh(WIDE_FREE);
    descriptor(GDT, SEL_B, TSS_B, 102, WIDE_FREE, 0);
    bsp()->injected = (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_PF};
    run(x);
    tap_ok(took(VEC_DF), "an invalid TSS behind the gate of #PF: #DF");
    bsp()->injected.vector = VEC_DF;
    run(x);
    tap_eq(bsp()->vcpu.state, VCPU_STOPPED, "behind the gate of #DF: shutdown");
    fresh(WIDE_FREE);
    x.redeliver = false;
    *wide(TSS_B, 76) = 0;
    run(x);
    tap_eq(bsp()->vcpu.pending.error, 1, "EXT is set in an error code");
    tap_ok(took(VEC_TS), "of #TS");
}

static void test_vm86(void)
{
    fresh(WIDE_FREE);
    *wide(TSS_B, 36) = RFLAGS_VM | 0x202;
    *wide(TSS_B, 76) = 0x1234;
    run(by(TASK_CALL));
    tap_ok(quiet() && vendor[0].segs.cpl == 3 && seg(SEG_CS)->base == 0x12340 &&
               seg(SEG_CS)->limit == 0xffff,
           "a vm86 task");
}

/* --- faults --- */

/* #vector(error) of the outgoing task: nothing has changed. */
static bool refused(uint8_t vector, uint32_t error)
{
    bool same = bsp()->vcpu.regs.rip == RIG_CODE && seg(SEG_TR)->sel == SEL_A &&
                bsp()->vcpu.pending.error == error;
    return took(vector) && same;
}
/* The same of the incoming one, which the registers are already of. */
static bool entered(uint8_t vector, uint32_t error)
{
    bool there = bsp()->vcpu.regs.rip == 0x5000 && seg(SEG_TR)->sel == SEL_B &&
                 bsp()->vcpu.pending.error == error;
    return took(vector) && there;
}

static void test_outgoing_faults(void)
{
    struct vmexit x;
    fresh(WIDE_BUSY);
    run(by(TASK_CALL));
    tap_ok(refused(VEC_GP, SEL_B), "CALL of a busy task");
    fresh(WIDE_FREE);
    run(by(TASK_IRET));
    tap_ok(refused(VEC_TS, SEL_B), "IRET to one that is not");
    fresh(0x09);
    run(by(TASK_CALL));
    tap_ok(refused(VEC_NP, SEL_B), "a TSS that is not present");
    fresh(WIDE_FREE);
    descriptor(GDT, SEL_B, TSS_B, 102, WIDE_FREE, 0);
    run(by(TASK_CALL));
    tap_ok(refused(VEC_TS, SEL_B), "one that is too short");
    fresh(WIDE_FREE);
    x = by(TASK_CALL);
    x.task.selector = 0x40;
    run(x);
    tap_ok(refused(VEC_GP, 0x40), "beyond the GDT's limit");
    fresh(0x92);
    run(by(TASK_CALL));
    tap_ok(refused(VEC_GP, SEL_B), "no TSS at all");
    fresh(WIDE_FREE);
    bsp()->vcpu.ctl.cr0 &= ~CR0_PE;
    run(by(TASK_CALL));
    tap_eq(bsp()->vcpu.state, VCPU_PARKED, "none in real mode");
    fresh(WIDE_FREE);
    descriptor(GDT, SEL_B, 0xf0000000, 103, WIDE_FREE, 0);
    run(by(TASK_CALL));
    tap_eq(bsp()->vcpu.state, VCPU_PARKED, "a TSS that is not in memory");
}

static void bad(unsigned offset, uint16_t sel, uint8_t vector, const char *what)
{
    fresh(WIDE_FREE);
    *wide(TSS_B, offset) = sel;
    run(by(TASK_CALL));
    tap_ok(entered(vector, sel & ~3u), "%s", what);
}

static void test_incoming_faults(void)
{
    bad(76, 0, VEC_TS, "CS null");
    bad(76, SEL_DATA, VEC_TS, "CS data");
    bad(76, SEL_CODE | 3, VEC_TS, "CS of another privilege");
    bad(80, 0, VEC_TS, "SS null");
    bad(80, SEL_CODE, VEC_TS, "SS code");
    bad(80, SEL_USER_DATA, VEC_TS, "SS of another privilege");
    bad(72, SEL_B, VEC_TS, "ES a system segment");
    bad(84, 0x48, VEC_TS, "DS beyond the limit");
    bad(96, SEL_DATA, VEC_TS, "LDTR of another type");
    bad(96, SEL_LDT | 4, VEC_TS, "LDTR in the LDT");
    fresh(WIDE_FREE);
    *wide(TSS_B, 76) = SEL_USER_CODE;
    *wide(TSS_B, 80) = SEL_USER_DATA;
    run(by(TASK_CALL));
    tap_ok(entered(VEC_TS, SEL_DATA) && vendor[0].segs.cpl == 3,
           "a user task's ES of the supervisor; CPL is 3 already");
    fresh(WIDE_FREE);
    descriptor(GDT, SEL_DATA, 0, 0xfffff, 0x12, 0xc);
    run(by(TASK_CALL));
    tap_ok(entered(VEC_SS, SEL_DATA), "SS not present");
    fresh(WIDE_FREE);
    descriptor(LDT, 8, 0x1000, 0xfff, 0x13, 0x4);
    run(by(TASK_CALL));
    tap_ok(entered(VEC_NP, SEL_LDT_DATA), "GS not present");
}

static void test_paging(void)
{
    uint64_t *pdpt = at(0x200000), *pd = at(0x201000);
    struct vmexit x = by(TASK_CALL);
    for (unsigned broken = 0; broken < 3; broken++) {
        fresh(WIDE_FREE);
        memset(pdpt, 0, 0x2000);
        pdpt[0] = pdpt[4] = 0x201000 | PTE_P; /* a second table at 0x200020 */
        for (uint64_t i = 0; i < 16; i++)
            pd[i] = i << REGION_SHIFT | PTE_P | PTE_W | PTE_PS;
        tap_ok(cr_write(bsp(), 4, CR4_PAE) && cr_write(bsp(), 3, 0x200000) &&
                   cr_write(bsp(), 0, CR0_PE | CR0_PG),
               "PAE paging");
        *wide(TSS_B, 28) = 0x200020;
        pdpt[5] = broken == 1 ? PTE_P | PTE_W : 0;
        if (broken == 2)
            descriptor(GDT, SEL_B, 0x3000000, 103, WIDE_FREE, 0);
        run(x);
        if (broken == 0)
            tap_ok(quiet() && bsp()->vcpu.ctl.cr3 == 0x200020, "CR3 is loaded");
        else if (broken == 1)
            tap_ok(entered(VEC_GP, 0), "a PDPTE with reserved bits: #GP");
        else
            tap_ok(refused(VEC_PF, 0), "a TSS that is not mapped: #PF");
    }
}

static void test_foreign(void)
{
    fresh(WIDE_FREE);
    run((struct vmexit){.kind = EXIT_FOREIGN_CR3, .gpr = VMEXIT_GPR_NONE});
    tap_ok(bsp()->vcpu.state == VCPU_PARKED && atomic_load(&vm.ended) == 3,
           "a CR3 that is not ours ends the VM");
    tap_ok(strstr(fake_console(), "task switch"), "and the message names the cause");
}

int main(void)
{
    test_call();
    test_jmp_iret();
    test_narrow();
    test_event();
    test_vm86();
    test_outgoing_faults();
    test_incoming_faults();
    test_paging();
    test_foreign();
    return tap_done();
}
