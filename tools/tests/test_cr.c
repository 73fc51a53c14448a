/* SPDX-License-Identifier: BSD-2-Clause */
/* What of paging modes is decided outside the pager: when PDPTEs are loaded and refused, SMSW under
 * UMIP, whose accesses RFLAGS.AC excuses from SMAP. */
#include "tools/tests/exits_rig.h"

static void test_pdptes(void)
{
    rig_new(1, false);
    uint64_t *pdpt = port_ptr(hpa(0x200000));
    pdpt[0] = 0x201000 | PTE_P;
    pdpt[1] = 0x202000 | PTE_P | PTE_W;
    tap_ok(cr_write(bsp(), 4, CR4_PAE) && cr_write(bsp(), 3, 0x200000), "unpaged: nothing loaded");
    tap_ok(!cr_write(bsp(), 0, CR0_PE | CR0_PG), "a PDPTE with R/W set is refused");
    pdpt[1] = PTE_W; /* not present: ignored */
    tap_ok(cr_write(bsp(), 0, CR0_PE | CR0_PG), "not-present PDPTEs may hold anything");
    pdpt[2] = BIT(45) | PTE_P;
    tap_ok(!cr_write(bsp(), 3, 0x200000), "CR3: a PDPTE above MAXPHYADDR is refused");
    tap_ok(!cr_write(bsp(), 4, CR4_PAE | CR4_PGE), "CR4.PGE loads them too");
    tap_ok(!cr_write(bsp(), 4, CR4_PAE | CR4_PSE), "and CR4.PSE");
    tap_ok(!cr_write(bsp(), 4, CR4_PAE | CR4_SMEP), "and CR4.SMEP");
    tap_ok(cr_write(bsp(), 4, CR4_PAE | CR4_SMAP), "not CR4.SMAP");
    tap_ok(!cr_write(bsp(), 0, CR0_PE | CR0_PG | CR0_CD), "and CR0.CD");
    pdpt[2] = 0;
    tap_ok(cr_write(bsp(), 0, CR0_PE | CR0_PG | CR0_CD | CR0_NW), "valid ones are loaded");
    pdpt[2] = BIT(45) | PTE_P;
    tap_ok(cr_write(bsp(), 0, CR0_PE | CR0_PG | CR0_CD | CR0_NW | CR0_TS), "not by CR0.TS");
    tap_ok(!cr_write(bsp(), 0, CR0_PE | CR0_PG | CR0_CD), "but by CR0.NW");
    tap_eq(bsp()->vcpu.ctl.cr0 & CR0_NW, CR0_NW, "what is refused changes nothing");
}

static void test_umip(void)
{
    rig_new(1, false);
    tap_ok(cr_write(bsp(), 4, CR4_UMIP), "UMIP");
    rig_code("\x0f\x01\xe0", 3); /* smsw eax */
    rig_exit(EXIT_CR_READ);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 3, "SMSW at CPL 0");
    rig_code("\x0f\x01\xe0", 3);
    vendor[0].segs.cpl = 3;
    rig_exit(EXIT_CR_READ);
    tap_ok(took(VEC_GP) && bsp()->vcpu.regs.rip == RIG_CODE, "at CPL 3 it gives #GP");
    tap_ok(cr_write(bsp(), 4, 0), "without UMIP");
    rig_exit(EXIT_CR_READ);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 3, "it does not");
}

/* A supervisor's read of a user page under SMAP with AC set, as reported at this CPL. */
static bool excused(uint8_t cpl)
{
    struct vmexit x = {.kind = EXIT_PF, .gpr = VMEXIT_GPR_NONE, .have_gva = true};
    uint64_t *pd = port_ptr(hpa(0x201000));

    rig_new(1, false);
    memset(port_ptr(hpa(0x200000)), 0, 0x2000);
    *(uint64_t *)port_ptr(hpa(0x200000)) = 0x201000 | PTE_P;
    pd[3] = 4ull << REGION_SHIFT | PTE_P | PTE_W | PTE_U | PTE_PS;
    tap_ok(cr_write(bsp(), 4, CR4_PAE | CR4_SMAP) && cr_write(bsp(), 3, 0x200000) &&
               cr_write(bsp(), 0, CR0_PE | CR0_PG),
           "PAE with SMAP");
    bsp()->vcpu.regs.rflags |= RFLAGS_AC;
    vendor[0].segs.cpl = cpl;
    x.gva = gva(3ull << REGION_SHIFT);
    exit_dispatch(bsp(), &x);
    return !took(VEC_PF);
}

static void test_implicit(void)
{
    tap_ok(excused(0), "the kernel's own access is excused by AC");
    tap_ok(!excused(3), "the processor's, of a descriptor at CPL 3, is not");
}

/* RIP after an exit for MOV EAX,CR3 at `at`, followed by `next`. */
static uint64_t after_read(uint64_t at, const char *next, size_t n)
{
    struct mmu_fault_out out;

    memcpy(port_ptr(hpa(at)), "\x0f\x20\xd8", 3); /* mov eax, cr3 */
    memcpy(port_ptr(hpa(at + 3)), next, n);
    tap_eq(mmu_fault(&bsp()->mmu, gva(at), PFEC_I, false, &out), MMU_RESUME, "code is mapped");
    bsp()->vcpu.regs.rip = at;
    rig_exit(EXIT_CR_READ);
    return bsp()->vcpu.regs.rip - at;
}

static void test_reload(void)
{
    const char back[] = "\x0f\x22\xd8", other[] = "\x0f\x22\xd9"; /* mov cr3, eax; ..., ecx */
    struct vcpu *v;

    rig_new(1, false);
    v = &bsp()->vcpu;
    v->ctl.cr3 = 0x123000;
    tap_eq(after_read(RIG_CODE, back, 3), 6, "CR3 read and written back: one exit");
    tap_ok(v->regs.gpr[RAX] == 0x123000 && v->ctl.cr3 == 0x123000, "with CR3 in the register");
    tap_eq(after_read(RIG_CODE, other, 3), 3, "not from another register");
    tap_eq(after_read(RIG_CODE, "\x0f\x22\xe0", 3), 3, "nor to CR4");
    tap_eq(after_read(RIG_CODE + PAGE_SIZE - 3, back, 3), 3, "nor across a page");
    vendor[0].debug.dr7 |= 1;
    tap_eq(after_read(RIG_CODE, back, 3), 3, "nor where a breakpoint may lie");
    vendor[0].debug.dr7 &= ~1ull;
    v->regs.rflags |= RFLAGS_TF;
    tap_eq(after_read(RIG_CODE, back, 3), 3, "nor when single-stepping");
    tap_ok(took(VEC_DB), "which traps after the read");
    v->regs.rflags &= ~RFLAGS_TF;
    opt.reload = false;
    tap_eq(after_read(RIG_CODE, back, 3), 3, "reload=off: two exits");
}

int main(void)
{
    test_reload();
    test_pdptes();
    test_umip();
    test_implicit();
    return tap_done();
}
