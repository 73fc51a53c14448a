/* SPDX-License-Identifier: BSD-2-Clause */
/* PCID and INVPCID on a processor that has neither: what CPUID shows, the rules of CR3, CR4 and the
 * descriptor, how a refused instruction becomes an executed one, and coherency across MOV CR3 that
 * flushes nothing. */
#include "tools/tests/tap.h"
#include "tools/tests/exits_rig.h"
#include "hv/mmu/internal.h"

#define ALL (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)
#define ROOT_A 0x100000ull
#define ROOT_B 0x110000ull
#define PT 0x103000ull
#define VA 0x1800000ull /* the page whose entry changes: PT[0] */
#define DESC 0x9000ull
#define NOFLUSH BIT(63)

static uint64_t *at(uint64_t gpa_v)
{
    return port_ptr(hpa(gpa_v));
}

/* 64-bit guest, 32 MiB one to one; both roots lead to the same directory. */
static void fresh(const char *options)
{
    rig_new(1, true);
    options_parse(&opt, options, NULL);
    vcpu_power_on(bsp());
    memset(at(ROOT_A), 0, 0x20000);
    *at(ROOT_A) = *at(ROOT_B) = 0x101000 | ALL;
    *at(0x101000) = 0x102000 | ALL;
    for (uint64_t i = 0; i < 16; i++)
        at(0x102000)[i] = i << REGION_SHIFT | ALL | PTE_PS;
    at(0x102000)[12] = PT | ALL;
    *at(PT) = 0x200000 | ALL;
}

static bool pcide(void)
{
    return cr_write(bsp(), 4, CR4_PAE | CR4_PCIDE);
}

static void test_shown(void)
{
    uint32_t r[4];
    fresh("");
    cpuid_answer(bsp(), 1, 0, r);
    tap_ok(r[2] & BIT(17), "PCID is shown");
    cpuid_answer(bsp(), 7, 0, r);
    tap_ok(r[1] & BIT(10), "INVPCID is shown");
    fresh("pcid=off invpcid=off");
    cpuid_answer(bsp(), 1, 0, r);
    tap_ok(!(r[2] & BIT(17)), "pcid=off hides it");
    cpuid_answer(bsp(), 7, 0, r);
    tap_ok(!(r[1] & BIT(10)), "invpcid=off hides it");
    tap_ok(!pcide() && !cr_write(bsp(), 3, ROOT_A | NOFLUSH), "then the bits are reserved");
}

static void test_rules(void)
{
    struct vcpu_ctl *c = &bsp()->vcpu.ctl;
    fresh("");
    tap_ok(cr_write(bsp(), 3, ROOT_A | 8) && !pcide(), "PCIDE needs CR3[11:0] = 0");
    tap_ok(!cr_write(bsp(), 3, ROOT_A | NOFLUSH), "bit 63 without PCIDE");
    tap_ok(cr_write(bsp(), 3, ROOT_A) && pcide(), "PCIDE in long mode");
    tap_ok(cr_write(bsp(), 3, ROOT_A | 0xabc | NOFLUSH), "PCID and bit 63");
    tap_eq(c->cr3, ROOT_A | 0xabc, "bit 63 is not stored");
    tap_ok(!cr_write(bsp(), 3, ROOT_A | BIT(62)), "other high bits are reserved");
    rig_code("\x0f\x20\xdb", 3); /* mov rbx, cr3 */
    rig_exit(EXIT_CR_READ);
    tap_eq(*gpr(RBX), ROOT_A | 0xabc, "CR3 reads with its PCID");
    rig_code("\x0f\x20\xe3", 3); /* mov rbx, cr4 */
    rig_exit(EXIT_CR_READ);
    tap_eq(*gpr(RBX), CR4_PAE | CR4_PCIDE, "CR4 reads with PCIDE");
    vendor[0].segs.seg[SEG_CS].attr &= ~BIT(9); /* compatibility mode */
    tap_ok(!cr_write(bsp(), 0, CR0_PE), "PG cannot go while PCIDE is set");
    tap_ok(cr_write(bsp(), 4, CR4_PAE), "PCIDE can, whatever the PCID");
    tap_ok(cr_write(bsp(), 0, CR0_PE), "then PG");
    tap_ok(!pcide(), "no PCIDE outside long mode");
    rig_new(1, false);
    tap_ok(!pcide(), "nor in protected mode");
}

/* INVPCID RCX, [DESC] as the processor refuses it: #UD. */
static void refused(uint64_t type, uint64_t pcid, uint64_t va)
{
    /* #UD has no error code: the field holds what was there before. */
    struct vmexit x = {
        .kind = EXIT_EXCEPTION, .vector = VEC_UD, .gpr = VMEXIT_GPR_NONE, .error = 0x5a5a};
    rig_code("\x66\x0f\x38\x82\x0c\x25\x00\x90\x00\x00", 10);
    *gpr(RCX) = type;
    at(DESC)[0] = pcid;
    at(DESC)[1] = va;
    exit_dispatch(bsp(), &x);
}
static bool done(uint64_t type, uint64_t pcid, uint64_t va)
{
    refused(type, pcid, va);
    return quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 10;
}
static bool gp(uint64_t type, uint64_t pcid, uint64_t va)
{
    refused(type, pcid, va);
    return took(VEC_GP) && bsp()->vcpu.regs.rip == RIG_CODE;
}

static void test_invpcid_rules(void)
{
    fresh("");
    tap_ok(done(0, 0, VA) && done(1, 0, 0) && done(2, 0, 0) && done(3, 0, 0), "types 0 to 3");
    tap_ok(gp(4, 0, 0) && gp(BIT(32), 0, 0), "no other, of all 64 bits");
    tap_ok(gp(0, 1, VA) && gp(1, 1, 0), "a PCID without PCIDE");
    tap_ok(done(2, 1, 0) && done(3, 1, 0), "which types 2 and 3 do not look at");
    tap_ok(pcide() && done(0, 0xfff, VA) && done(1, 0xfff, 0), "with PCIDE any PCID");
    tap_ok(gp(0, BIT(12), VA) && gp(2, BIT(63), 0), "reserved bits of the descriptor");
    tap_ok(gp(0, 0, 1ull << 47) && done(1, 0, 1ull << 47), "a non-canonical address, in type 0");
    vendor[0].segs.cpl = 3;
    tap_ok(gp(2, 0, 0), "not for users");
    vendor[0].segs.cpl = 0;
    at(0x102000)[0] &= ~PTE_A;
    bsp()->vcpu.regs.rip = RIG_CODE;
    at(0x102000)[5] = 0;
    rig_code("\x66\x0f\x38\x82\x0b", 5); /* invpcid rcx, [rbx] */
    *gpr(RBX) = 5ull << REGION_SHIFT;
    rig_exit(EXIT_INVPCID);
    tap_ok(took(VEC_PF) && bsp()->vcpu.regs.rip == RIG_CODE, "a descriptor that is not mapped");
    at(0x102000)[5] = 0x3000ull << PAGE_SHIFT | ALL | PTE_PS;
    rig_exit(EXIT_INVPCID);
    tap_ok(took(VEC_GP), "a descriptor outside RAM reads all ones");
    *gpr(RBX) = 1ull << 47;
    rig_exit(EXIT_INVPCID);
    tap_ok(took(VEC_GP), "a non-canonical operand");
    fresh("invpcid=off");
    refused(2, 0, 0);
    tap_ok(took(VEC_UD), "invpcid=off: #UD");
    rig_exit(EXIT_INVPCID);
    tap_ok(took(VEC_UD), "also where the processor has it");
}

/* INVPCID of which the processor says everything: no byte of code is looked at. */
static void test_invpcid_known(void)
{
    struct vmexit x = {
        .kind = EXIT_INVPCID,
        .gpr = R9,
        .known = true,
        .mem = {
            .segment = SEG_DS, .base = RBX, .index = RSI, .scale = 4, .addrsize = 8, .disp = -8}};

    fresh("");
    rig_code("\x90", 1);
    x.next_rip = RIG_CODE + 7;
    *gpr(R9) = 2;
    *gpr(RBX) = DESC;
    *gpr(RSI) = 2;
    at(DESC)[0] = 0;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 7, "INVPCID whose operands are known");
    at(DESC)[0] = BIT(12);
    bsp()->vcpu.regs.rip = RIG_CODE;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP) && bsp()->vcpu.regs.rip == RIG_CODE, "... its descriptor is read");
    *gpr(R9) = 4;
    at(DESC)[0] = 0;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP), "... and its type");
    *gpr(R9) = 2;
    *gpr(RBX) = 1ull << 47;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP), "... and whether its address is canonical");
    x.mem.index = x.mem.base = 0xff;
    x.mem.disp = DESC;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 7, "... without base and index");
}

static void test_refused_moves(void)
{
    struct vmexit x = {
        .kind = EXIT_EXCEPTION, .vector = VEC_GP, .gpr = VMEXIT_GPR_NONE, .error_valid = true};
    struct vcpu *v = &bsp()->vcpu;
    fresh("");
    rig_code("\x0f\x22\xe0", 3); /* mov cr4, rax */
    *gpr(RAX) = CR4_PAE | CR4_PCIDE;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && (v->ctl.cr4 & CR4_PCIDE) && v->regs.rip == RIG_CODE + 3,
           "PCIDE set by an instruction that was refused");
    rig_code("\x0f\x22\xd8", 3); /* mov cr3, rax */
    *gpr(RAX) = ROOT_B | 5 | NOFLUSH;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && v->ctl.cr3 == (ROOT_B | 5), "so is bit 63 of CR3");
    *gpr(RAX) = BIT(60);
    bsp()->vcpu.regs.rip = RIG_CODE;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP) && v->regs.rip == RIG_CODE, "what is wrong stays wrong");
    rig_code("\x0f\x30", 2); /* wrmsr */
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP), "other instructions get their #GP");
    x.error = 0x18;
    exit_dispatch(bsp(), &x);
    tap_eq(v->pending.error, 0x18, "with its error code");
    (void)took(VEC_GP);
    x.delivering = VEC_NP + 1;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_DF), "#GP while the guest's own #NP is delivered: #DF");
    x.delivering = VEC_UD + 1;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP), "while #UD is: #GP");
    x = (struct vmexit){.kind = EXIT_EXCEPTION, .vector = VEC_UD, .gpr = VMEXIT_GPR_NONE};
    rig_code("\x0f\x0b", 2); /* ud2 */
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_UD), "UD2 is #UD");
    rig_code("\x0f\x22\xd8", 3);
    *gpr(RAX) = ROOT_A;
    vendor[0].segs.cpl = 3;
    x.vector = VEC_GP;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_GP) && v->ctl.cr3 != ROOT_A, "a user's MOV CR3 too");
    x.redeliver = true;
    vendor[0].segs.cpl = 0;
    bsp()->injected = (struct vcpu_event){.type = EVENT_EXCEPTION, .vector = VEC_PF};
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_DF) && v->ctl.cr3 != ROOT_A, "#GP in the delivery of #PF is no instruction's");
}

/* --- coherency --- */

/* Where VA leads now, 0 if nowhere; enters and faults as the guest's access would; drains
 * nothing, which a loop may do as well. */
static uint64_t reach(void)
{
    struct mmu *m = &bsp()->mmu;
    struct mmu_fault_out out;
    struct mmu_root r;
    for (unsigned tries = 0; tries < 4; tries++) {
        mmu_enter(m, &r);
        mmu_entered(m, &r);
        uint32_t page = m->roots[m->root].sp;
        for (unsigned l = 4;; l--) {
            uint64_t e = *sp_spte(m, page, va_index(gva(VA), l));
            if (!(e & PTE_P))
                break;
            if (l == 1)
                return e & PTE_ADDR;
            page = spte_child(m, e);
        }
        if (mmu_fault(m, gva(VA), 0, false, &out) != MMU_RESUME)
            return 0;
    }
    return 1;
}

/* Through PCID 1 and PCID 2 the page is used; then its table is written as `how` says. */
static void change(bool unsync, uint64_t value)
{
    struct mmu *m = &bsp()->mmu;
    fresh("");
    (void)pcide();
    (void)cr_write(bsp(), 3, ROOT_A | 1);
    tap_eq(reach(), 0x200000, "PCID 1 uses the page");
    (void)cr_write(bsp(), 3, ROOT_B | 2 | NOFLUSH);
    tap_eq(reach(), 0x200000, "PCID 2 too");
    if (unsync) { /* no exit, no patch */
        mmu_write_fallback(m, gva(PT), gpa(PT));
        *at(PT) = value;
    } else {
        struct guest_fault f;
        gpa_t where;
        tap_eq(gmem_write(m, gva(PT), &value, 8, 0, &f, &where), HV_OK, "stored");
    }
}

static void test_coherency(void)
{
    struct guest_fault f;
    gpa_t g;
    for (unsigned unsync = 0; unsync < 2; unsync++) {
        const char *how = unsync ? "unsync" : "posted";
        change(unsync, 0x400000 | ALL);
        mmu_event_invpcid(&bsp()->mmu, 0, 1, gva(VA)); /* fetching the instruction would drain */
        (void)cr_write(bsp(), 3, ROOT_A | 1 | NOFLUSH);
        tap_ok(reach() == 0x400000, "%s: INVPCID of the address, of another PCID", how);
        change(unsync, 0x400000 | ALL);
        mmu_event_invpcid(&bsp()->mmu, 1, 1, gva(0));
        tap_ok(!consumer_pending(&bsp()->coh), "%s: nothing is left in the channels", how);
        (void)cr_write(bsp(), 3, ROOT_A | 1 | NOFLUSH);
        tap_ok(mmu_translate(&bsp()->mmu, gva(DESC), 0, &g, &f) == HV_OK,
               "%s: the emulator is the first in the new space", how);
        tap_ok(reach() == 0x400000, "%s: INVPCID of another PCID", how);
        change(unsync, 0);
        mmu_event_invpcid(&bsp()->mmu, 3, 0, gva(0));
        tap_ok(reach() == 0, "%s: INVPCID of all, gone here", how);
        (void)cr_write(bsp(), 3, ROOT_A | 1 | NOFLUSH);
        tap_ok(reach() == 0, "%s: and there", how);
        change(unsync, 0x400000 | ALL);
        (void)cr_write(bsp(), 3, ROOT_B | 1);
        tap_ok(reach() == 0x400000, "%s: a flushing MOV CR3, of a PCID that had another root", how);
        change(unsync, 0x400000 | ALL);
        (void)cr_write(bsp(), 4, CR4_PAE);
        tap_ok(reach() == 0x400000, "%s: clearing PCIDE flushes", how);
        tap_ok(mmu_audit(&bsp()->mmu, 3) == 0, "%s: the audit agrees", how);
    }
    /* The emulator's cache of translations belongs to an address space. */
    fresh("");
    (void)pcide();
    *at(ROOT_B) = 0x111000 | ALL;
    *at(0x111000) = 0x112000 | ALL;
    at(0x112000)[12] = 0x113000 | ALL;
    *at(0x113000) = 0x600000 | ALL;
    tap_ok(mmu_translate(&bsp()->mmu, gva(VA), 0, &g, &f) == HV_OK && g.v == 0x200000,
           "translated in one");
    (void)cr_write(bsp(), 3, ROOT_B | 7 | NOFLUSH);
    tap_ok(mmu_translate(&bsp()->mmu, gva(VA), 0, &g, &f) == HV_OK && g.v == 0x600000,
           "and in the next, without a flush between");
}

int main(void)
{
    test_shown();
    test_rules();
    test_invpcid_rules();
    test_invpcid_known();
    test_refused_moves();
    test_coherency();
    return tap_done();
}
