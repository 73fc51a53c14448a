/* SPDX-License-Identifier: BSD-2-Clause */
/* Exit handlers, register rules, events and the loop of hv/vcpu, on the fake machine with a fake
 * vendor. */
#include "tools/tests/exits_rig.h"

/* --- start states --- */

static void test_entry(void)
{
    rig_new(2, true);
    struct vcpu *v = &bsp()->vcpu;
    tap_ok(v->state == VCPU_RUNNING && v->regs.rip == RIG_CODE, "BSP runs at the entry");
    tap_eq(v->regs.gpr[RSI], 0x90000, "entry RSI");
    tap_eq(v->ctl.efer, EFER_LME | EFER_LMA, "64-bit entry: long mode active");
    tap_eq(v->ctl.cr3, 0x100000, "entry CR3");
    tap_eq(vcpu_code_size(bsp()), 8, "64-bit code");
    tap_eq(sub[1].vcpu.state, VCPU_WAIT_SIPI, "AP waits");
    rig_new(1, false);
    tap_eq(v->ctl.cr0 & (CR0_PE | CR0_PG), CR0_PE, "32-bit entry: protected, unpaged");
    tap_eq(vcpu_code_size(bsp()), 4, "32-bit code");
    tap_eq(v->regs.rflags, RFLAGS_FIXED1, "interrupts off");
}

static void test_sipi(void)
{
    rig_new(2, false);
    struct subvmm *ap = &sub[1];
    fake_set_cpu(1);
    vcpu_start_real(ap, 0x9a00, 0);
    tap_eq(ap->vcpu.state, VCPU_RUNNING, "SIPI starts the AP");
    const struct segment *cs = &vendor[1].segs.seg[SEG_CS];
    tap_ok(cs->base == 0x9a000 && cs->sel == 0x9a00, "CS is the vector");
    tap_eq(ap->vcpu.regs.rip, 0, "IP 0");
    tap_eq(ap->vcpu.ctl.cr0 & CR0_PE, 0, "real mode");
    tap_eq(vcpu_code_size(ap), 2, "16-bit code");
    ap->vcpu.nmi_pending = true;
    action_post(&co, 0, 1, ACTION_INIT);
    subvmm_round(ap);
    tap_eq(ap->vcpu.state, VCPU_WAIT_SIPI, "INIT stops it");
    tap_ok(!ap->vcpu.nmi_pending, "INIT drops a pending NMI");
    action_post(&co, 0, 1, ACTION_SIPI);
    subvmm_round(ap);
    tap_eq(ap->vcpu.state, VCPU_RUNNING, "SIPI starts it again");
    ap->vcpu.regs.rip = 0x1234;
    action_post(&co, 0, 1, ACTION_SIPI);
    subvmm_round(ap);
    tap_eq(ap->vcpu.regs.rip, 0x1234, "a second SIPI does nothing");
}

/* --- control registers --- */

static void test_cr_rules(void)
{
    struct subvmm *s = bsp();
    struct vcpu_ctl *c = &s->vcpu.ctl;

    rig_new(1, false);
    tap_ok(!cr_write(s, 0, CR0_PG), "PG without PE");
    tap_ok(!cr_write(s, 0, CR0_PE | CR0_NW), "NW without CD");
    tap_ok(!cr_write(s, 0, BIT(32) | CR0_PE), "upper half of CR0");
    tap_eq(c->cr0, CR0_PE | CR0_ET | CR0_NE, "refused writes change nothing");
    tap_ok(cr_write(s, 0, CR0_PE | BIT(6)), "undefined CR0 bits are ignored");
    tap_eq(c->cr0, CR0_PE | CR0_ET, "... and read 0; ET reads 1");
    tap_ok(!cr_write(s, 4, CR4_PCIDE), "PCIDE outside long mode");
    tap_ok(!cr_write(s, 4, CR4_LA57), "LA57 is hidden");
    tap_ok(!cr_write(s, 4, BIT(31)), "reserved CR4 bit");
    tap_ok(cr_write(s, 4, CR4_PAE | CR4_SMEP | CR4_SMAP), "PAE, SMEP, SMAP");
    tap_ok(cr_write_efer(s, EFER_LME), "LME while unpaged");
    tap_ok(!cr_write_efer(s, EFER_SVME), "SVME is hidden");
    tap_ok(cr_write(s, 4, 0), "PAE off again");
    tap_ok(!cr_write(s, 0, CR0_PE | CR0_PG), "LME and PG without PAE");
    tap_ok(cr_write(s, 4, CR4_PAE), "PAE on");
    tap_ok(cr_write(s, 0, CR0_PE | CR0_PG), "long mode");
    tap_eq(c->efer, EFER_LME | EFER_LMA, "LMA is set by PG");
    tap_ok(!cr_write(s, 4, 0), "PAE cannot go in long mode");
    tap_ok(!cr_write_efer(s, 0), "LME cannot go while paged");
    tap_ok(cr_write_efer(s, EFER_LME | EFER_NXE | EFER_SCE), "NXE and SCE; LMA ignored");
    tap_eq(c->efer, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE, "... LMA stays");
    tap_ok(!cr_write(s, 3, BIT(40)), "CR3 above MAXPHYADDR");
    tap_ok(!cr_write(s, 3, BIT(63)), "CR3 bit 63 without PCID");
    tap_ok(cr_write(s, 3, 0x101018), "CR3 with PWT and PCD");
    tap_eq(c->cr3, 0x101018, "... reads back");
    tap_ok(!cr_write(s, 8, 16), "CR8 above 15");
    tap_ok(cr_write(s, 8, 15), "CR8");
    tap_eq(vlapic_get_cr8(vm.pc, 0), 15, "... is the TPR");
    tap_ok(cr_write(s, 0, CR0_PE), "compatibility mode leaves long mode");
    tap_eq(c->efer & EFER_LMA, 0, "... LMA is cleared");
}

static void test_pg_off_in_64bit(void)
{
    rig_new(1, true);
    tap_ok(!cr_write(bsp(), 0, CR0_PE), "PG cannot be cleared from 64-bit code");
    tap_eq(fake_cpu[0].guest_cr4 & CR4_PGE, CR4_PGE, "the host keeps PGE");
}

static void test_cr_instructions(void)
{
    rig_new(1, false);
    rig_code("\x0f\x20\xc3", 3); /* mov ebx, cr0 */
    rig_exit(EXIT_CR_READ);
    tap_eq(*gpr(RBX), CR0_PE | CR0_ET | CR0_NE, "MOV from CR0");
    tap_eq(bsp()->vcpu.regs.rip, RIG_CODE + 3, "RIP behind it");
    *gpr(RAX) = CR0_PE | CR0_TS | CR0_NE;
    rig_code("\x0f\x22\xc0", 3); /* mov cr0, eax */
    rig_exit(EXIT_CR_WRITE);
    tap_eq(bsp()->vcpu.ctl.cr0, CR0_PE | CR0_TS | CR0_NE | CR0_ET, "MOV to CR0");
    rig_code("\x0f\x06", 2); /* clts */
    rig_exit(EXIT_CR_WRITE);
    tap_eq(bsp()->vcpu.ctl.cr0 & CR0_TS, 0, "CLTS");
    *gpr(RAX) = CR0_MP;
    rig_code("\x0f\x01\xf0", 3); /* lmsw ax */
    rig_exit(EXIT_CR_WRITE);
    tap_eq(bsp()->vcpu.ctl.cr0 & (CR0_PE | CR0_MP), CR0_PE | CR0_MP, "LMSW cannot clear PE");
    *gpr(RCX) = 0xffffffffffffffff;
    rig_code("\x66\x0f\x01\xe1", 4); /* smsw cx */
    rig_exit(EXIT_CR_READ);
    tap_eq(*gpr(RCX), 0xffffffffffff0000 | (uint16_t)bsp()->vcpu.ctl.cr0, "SMSW CX");
    rig_code("\x0f\x01\x25\x00\x90\x00\x00", 7); /* smsw [0x9000] */
    rig_exit(EXIT_CR_READ);
    tap_eq(*(uint16_t *)port_ptr(hpa(0x9000)), (uint16_t)bsp()->vcpu.ctl.cr0, "SMSW to memory");
    *gpr(RAX) = CR0_PG;
    rig_code("\x0f\x22\xc0", 3);
    rig_exit(EXIT_CR_WRITE);
    tap_ok(took(VEC_GP) && bsp()->vcpu.regs.rip == RIG_CODE, "a bad value gives #GP");
    struct vmexit x = {.kind = EXIT_CR_READ, .cr = 4, .gpr = R9, .next_rip = 0x5555};
    bsp()->vcpu.ctl.cr4 = CR4_DE;
    exit_dispatch(bsp(), &x);
    tap_eq(*gpr(R9), CR4_DE, "decode assist names the register");
    tap_eq(bsp()->vcpu.regs.rip, 0x5555, "... and the next RIP");
}

static void test_dr(void)
{
    rig_new(1, false);
    *gpr(RDX) = 0xdead0000beefull & 0xffffffff;
    rig_code("\x0f\x23\xd2", 3); /* mov dr2, edx */
    rig_exit(EXIT_DR_WRITE);
    tap_eq(vendor[0].debug.dr[2], 0x0000beef, "MOV to DR2");
    *gpr(RDX) = 0;
    rig_code("\x0f\x23\xfa", 3); /* mov dr7, edx */
    rig_exit(EXIT_DR_WRITE);
    tap_eq(vendor[0].debug.dr7, 0x400, "DR7 bit 10 reads 1");
    bsp()->vcpu.ctl.cr4 = CR4_DE;
    rig_code("\x0f\x21\xe0", 3); /* mov eax, dr4 */
    rig_exit(EXIT_DR_READ);
    tap_ok(took(VEC_UD), "DR4 with CR4.DE");
}

/* --- MSRs and CPUID --- */

#define MTRR_WC 1
#define MTRR_ON BIT(11)
static const uint64_t mtrr_16m = 0xffff000000ull | MTRR_ON;

static bool mtrr_set(unsigned n, uint64_t base, uint64_t mask)
{
    return msr_write(bsp(), MSR_MTRR_PHYS_BASE0 + 2 * n, base) &&
           msr_write(bsp(), MSR_MTRR_PHYS_BASE0 + 2 * n + 1, mask);
}

/* What of the MTRRs makes device memory write-combining: uncached wins where ranges overlap. */
static void test_mtrr_types(void)
{
    rig_new(1, false);
    tap_ok(mtrr_set(1, 0xe0000000 | MTRR_WC, mtrr_16m) && !bsp()->mmu.wc.mask[1],
           "a WC range within the uncached hole is uncached");
    tap_ok(mtrr_set(2, 0x4000000000 | MTRR_WC, mtrr_16m) && bsp()->mmu.wc.mask[2] &&
               bsp()->mmu.wc.base[2] == 0x4000000000,
           "one elsewhere is not");
    tap_ok(mtrr_set(0, 0, 0) && bsp()->mmu.wc.base[1] == 0xe0000000,
           "nor is the first without the hole");
    tap_ok(msr_write(bsp(), MSR_MTRR_DEF, 0) && !bsp()->mmu.wc.mask[1],
           "without MTRRs there is none");
}

static void test_msrs(void)
{
    static const uint32_t readable[] = {0x10,       0x1b,       0x3b,       0x8b,       0xfe,
                                        0x179,      0x17a,      0x1a0,      0x1d9,      0x200,
                                        0x20f,      0x250,      0x26f,      0x277,      0x2ff,
                                        0x6e0,      0xc0000080, 0xc0010000, 0xc0010010, 0xc0010015,
                                        0xc001001a, 0xc001001d, 0xc001001f, 0xc0010055, 0xc0010058,
                                        0xc0010114, 0xc0011029, 0x4b564d00, 0x4b564d01};
    static const uint32_t refused[] = {0x0,   0x17,  0x3a,       0x48,       0x49,       0x210,
                                       0x251, 0x480, 0xc0000104, 0xc0010117, 0xdeadbeef, 0x400};
    uint64_t v;

    rig_new(1, false);
    for (size_t i = 0; i < ARRAY_SIZE(readable); i++)
        tap_ok(msr_read(bsp(), readable[i], &v), "read of 0x%x", readable[i]);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        tap_ok(!msr_read(bsp(), refused[i], &v) && !msr_write(bsp(), refused[i], 0),
               "0x%x is refused", refused[i]);
    tap_ok(!msr_write(bsp(), 0x277, 0x0707070707070702), "PAT type 2");
    tap_ok(msr_write(bsp(), 0x277, 0x0007010600070106), "PAT");
    tap_ok(msr_read(bsp(), 0x277, &v) && v == 0x0007010600070106, "... reads back");
    tap_ok(!msr_write(bsp(), 0x2ff, 0xc02), "MTRR type 2");
    tap_ok(!msr_write(bsp(), 0xfe, 0), "MTRRCAP is read-only");
    tap_ok(!msr_write(bsp(), 0x200, BIT(40) | 6), "MTRR base above MAXPHYADDR");
    tap_ok(msr_read(bsp(), 0xc0010015, &v) && (v & BIT(24)), "HWCR: the TSC is invariant");
    tap_ok(msr_write(bsp(), 0x3b, 5000), "TSC_ADJUST");
    tap_ok(msr_read(bsp(), 0x10, &v) && v > 6000 && v < 100000, "... moves the TSC");
    tap_ok(msr_write(bsp(), 0x10, 0) && msr_read(bsp(), 0x10, &v) && v < 1000, "TSC written");
    *gpr(RCX) = 0xdeadbeef;
    rig_code("\x0f\x32", 2);
    rig_exit(EXIT_RDMSR);
    tap_ok(took(VEC_GP), "RDMSR of an unknown register");
    *gpr(RCX) = 0xc0000080;
    *gpr(RAX) = ~0ull;
    rig_exit(EXIT_RDMSR);
    tap_eq(*gpr(RAX), 0, "RDMSR clears the upper halves");
    tap_eq(bsp()->vcpu.regs.rip, RIG_CODE + 2, "RIP behind it");
}

static void test_cpuid(void)
{
    uint32_t r[4];

    rig_new(4, false);
    cpuid_answer(bsp(), 1, 0, r);
    tap_eq(r[2] & (BIT(3) | BIT(5)), 0, "MONITOR and VMX are hidden");
    tap_eq(r[2] & (BIT(21) | BIT(24) | BIT(31)), BIT(21) | BIT(24) | BIT(31),
           "x2APIC, TSC-deadline, hypervisor are shown");
    tap_eq(r[1] >> 16 & 0xff, 4, "four logical processors");
    tap_ok(r[3] & BIT(9), "APIC enabled");
    cpuid_answer(bsp(), 7, 0, r);
    tap_eq(r[2] & (BIT(3) | BIT(4) | BIT(7) | BIT(16)), 0, "PKU, CET, LA57 are hidden");
    tap_eq(r[3] & BIT(20), 0, "IBT is hidden");
    cpuid_answer(bsp(), 0x80000001, 0, r);
    tap_eq(r[2] & (BIT(2) | BIT(10) | BIT(22)), 0, "SVM, IBS, topology extensions are hidden");
    cpuid_answer(bsp(), 0x80000008, 0, r);
    tap_eq(r[1], 0, "INVLPGB and the speculation controls are hidden");
    tap_eq(r[0], 0x3028, "address widths");
    cpuid_answer(bsp(), 0x8000000a, 0, r);
    tap_eq(r[0] | r[1] | r[2] | r[3], 0, "no SVM leaf");
    cpuid_answer(bsp(), 0x40000000, 0, r);
    tap_ok(!memcmp(&r[1], "KVMKVMKVM\0\0\0", 12), "hvsig=kvm");
    opt.hvsig = HVSIG_OWN;
    cpuid_answer(bsp(), 0x40000000, 0, r);
    tap_ok(!memcmp(&r[1], "PatchbayHV__", 12), "hvsig=own");
}

/* What is in the table and what is put in at each answer. */
static void test_cpuid_table(void)
{
    uint32_t r[4], x[4];

    rig_new(2, false);
    cpuid_answer(bsp(), 1, 0, r);
    tap_eq(r[2] & BIT(27), 0, "no OSXSAVE while CR4 has none");
    bsp()->vcpu.ctl.cr4 |= CR4_OSXSAVE;
    cpuid_answer(bsp(), 1, 0, r);
    tap_ok(r[2] & BIT(27), "... which follows CR4");
    tap_eq(vlapic_wrmsr(vm.pc, 0, MSR_APIC_BASE, VPC_LAPIC_BASE | 0x100), HV_OK, "the APIC off");
    cpuid_answer(bsp(), 1, 0, r);
    cpuid_answer(bsp(), 0x80000001, 0, x);
    tap_eq((r[3] | x[3]) & BIT(9), 0, "... is off in both leaves");
    bool empty = true;
    for (uint32_t leaf = 0x7ffffff0; leaf < 0x80000000; leaf++) {
        cpuid_answer(bsp(), leaf, 0, r);
        empty &= !(r[0] | r[1] | r[2] | r[3]);
    }
    for (uint32_t leaf = 2; leaf < 0x20; leaf++) {
        bool listed = leaf == 6 || leaf == 7 || leaf == 0xb || leaf == 0xd;
        cpuid_answer(bsp(), leaf, 0, r);
        empty &= listed || !(r[0] | r[1] | r[2] | r[3]);
    }
    tap_ok(empty, "what is not listed is zero, next to the ends of the table too");
    cpuid_answer(bsp(), 0x80000008, 5, r);
    tap_eq(r[0], 0x3028, "the last leaf");
    cpuid_answer(bsp(), 0x80000009, 0, r);
    tap_eq(r[0] | r[1] | r[2] | r[3], 0, "... and the one behind it");
    cpuid_answer(bsp(), 0xb, 1, r);
    tap_eq(r[2], 2u << 8 | 1, "sub-leaves have answers of their own");
}

static void test_topology(void)
{
    uint32_t r[4];

    rig_new(1, false);
    for (uint32_t n = 1; n <= HV_MAX_CPUS; n++) {
        vm.ncpus = n;
        cpuid_power_on(bsp());
        cpuid_answer(bsp(), 0xb, 1, r);
        uint32_t shift = r[0];
        bool good = r[1] == n && (1u << shift) >= n && (shift == 0 || (1u << (shift - 1)) < n);
        cpuid_answer(bsp(), 0xb, 0, r);
        good = good && r[0] == 0 && r[1] == 1;
        cpuid_answer(bsp(), 0x80000008, 0, r);
        good = good && (r[2] & 0xff) == n - 1 && r[2] >> 12 == shift;
        cpuid_answer(bsp(), 1, 0, r);
        good = good && (r[1] >> 16 & 0xff) == n && !!(r[3] & BIT(28)) == (n > 1);
        tap_ok(good, "topology leaves agree for %u CPUs", n);
    }
}

/* --- instructions --- */

static void test_refused(void)
{
    static const enum vmexit_kind ud[] = {EXIT_INVLPGA, EXIT_MONITOR, EXIT_MWAIT,  EXIT_RDPRU,
                                          EXIT_XSETBV,  EXIT_RSM,     EXIT_HV_INSN};

    rig_new(1, false);
    rig_code("\x90", 1);
    for (size_t i = 0; i < ARRAY_SIZE(ud); i++) {
        rig_exit(ud[i]);
        tap_ok(took(VEC_UD) && bsp()->vcpu.regs.rip == RIG_CODE, "%s gives #UD",
               vmexit_name[ud[i]]);
    }
    rig_exit(EXIT_RDPMC);
    tap_ok(took(VEC_GP), "RDPMC gives #GP");
    rig_code("\x0f\x01\xd9", 3);
    rig_exit(EXIT_VMMCALL);
    tap_eq(*gpr(RAX), (uint32_t)-1000, "VMMCALL: no such hypercall");
    opt.hvsig = HVSIG_OWN;
    rig_exit(EXIT_VMMCALL);
    tap_ok(took(VEC_UD), "VMMCALL with hvsig=own");
    rig_code("\x0f\x09", 2);
    rig_exit(EXIT_WBINVD);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 2, "WBINVD is skipped");
}

static void test_skip(void)
{
    struct vcpu *v = &bsp()->vcpu;
    struct vmexit x = {.kind = EXIT_PAUSE};

    rig_new(1, false);
    v->regs.rip = 0xfffffffe;
    v->regs.rflags |= RFLAGS_RF;
    v->int_shadow = true;
    vcpu_skip(bsp(), &x, 4);
    tap_eq(v->regs.rip, 2, "EIP wraps");
    tap_ok(!v->int_shadow && !(v->regs.rflags & RFLAGS_RF), "shadow and RF end");
    v->regs.rflags |= RFLAGS_TF;
    vcpu_skip(bsp(), &x, 1);
    tap_ok((vendor[0].debug.dr6 & BIT(14)) && took(VEC_DB), "single step: DR6.BS and #DB");
}

static void test_io(void)
{
    struct vmexit x = {.kind = EXIT_IO, .io_port = 0x2f9, .io_in = true, .next_rip = 0x8002};

    rig_new(1, false);
    for (unsigned size = 1; size <= 4; size *= 2) {
        *gpr(RAX) = 0x1122334455667788;
        x.io_size = (uint8_t)size;
        exit_dispatch(bsp(), &x);
        uint64_t want = size == 4   ? 0xffffffff
                        : size == 2 ? 0x112233445566ffff
                                    : 0x11223344556677ff;
        tap_eq(*gpr(RAX), want, "IN of an empty port");
    }
    tap_eq(bsp()->vcpu.regs.rip, 0x8002, "RIP behind it");
    struct vmexit out = {.kind = EXIT_IO, .io_port = 0x3ff, .io_size = 1, .next_rip = 0x8003};
    *gpr(RAX) = 0xabcd5a;
    exit_dispatch(bsp(), &out);
    x.io_port = 0x3ff; /* the UART's scratch register */
    x.io_size = 1;
    *gpr(RAX) = 0;
    exit_dispatch(bsp(), &x);
    tap_eq(*gpr(RAX), 0x5a, "OUT, then IN of the same register");
}

static void test_mmio(void)
{
    struct vmexit x = {.kind = EXIT_PF, .have_gva = true, .gva = {VPC_LAPIC_BASE + 0x30}};

    rig_new(1, false);
    rig_code("\xa1\x30\x00\xe0\xfe", 5); /* mov eax, [fee00030] */
    x.gpr = VMEXIT_GPR_NONE;
    exit_dispatch(bsp(), &x);
    tap_eq(*gpr(RAX) & 0xff, 0x14, "the APIC's version register is read");
    tap_ok(quiet() && bsp()->vcpu.state == VCPU_RUNNING, "no exception, not parked");
    tap_eq(bsp()->vcpu.regs.rip, RIG_CODE + 5, "RIP behind it");
    rig_code("\x0f\xb4\x05\x80\x03\xe0\xfe", 7); /* lfs eax, [fee00380] */
    x.gva.v = VPC_LAPIC_BASE + 0x380;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_UD) && bsp()->vcpu.state == VCPU_RUNNING,
           "what has no emulation is an undefined opcode");
    tap_eq(bsp()->vcpu.regs.rip, RIG_CODE, "... of the instruction");
    bsp()->vcpu.regs.rip = VPC_LAPIC_BASE + 0x380;
    x.pfec = PFEC_I;
    exit_dispatch(bsp(), &x);
    tap_ok(took(VEC_UD) && bsp()->vcpu.state == VCPU_RUNNING, "so is code in a device");
}

/* CLTS and LMSW of which the processor says everything: no byte of code is looked at. */
static void test_known_msw(void)
{
    struct vmexit x = {.kind = EXIT_CR_WRITE, .gpr = VMEXIT_GPR_NONE, .known = true};
    struct vcpu_ctl *c = &bsp()->vcpu.ctl;

    rig_new(1, false);
    rig_code("\x90", 1);
    x.next_rip = RIG_CODE + 2;
    c->cr0 |= CR0_TS | CR0_MP;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && !(c->cr0 & CR0_TS) && (c->cr0 & CR0_MP) &&
               bsp()->vcpu.regs.rip == RIG_CODE + 2,
           "CLTS");
    x.msw.lmsw = true;
    x.msw.msw = 0xfff0 | CR0_EM | CR0_TS;
    uint64_t high = c->cr0 & ~0xfull;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && c->cr0 == (high | CR0_EM | CR0_TS | CR0_PE),
           "LMSW: four bits, of which PE is not cleared");
    x.msw.msw = CR0_PE;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && c->cr0 == (high | CR0_PE), "... the others are");
}

static void test_invlpg(void)
{
    rig_new(1, false);
    rig_code("\x0f\x01\x38", 3); /* invlpg [eax] */
    *gpr(RAX) = 0x123000;
    rig_exit(EXIT_INVLPG);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == RIG_CODE + 3, "INVLPG");
    rig_new(1, true);
    bsp()->vcpu.regs.rip = 0x1000;
    struct vmexit x = {.kind = EXIT_INVLPG, .insn = {0x0f, 0x01, 0x38}, .insn_len = 3};
    *gpr(RAX) = 0x8000000000000000;
    exit_dispatch(bsp(), &x);
    tap_ok(quiet() && bsp()->vcpu.regs.rip == 0x1003, "a non-canonical address is no fault");
}

/* --- clock --- */

static void test_kvmclock(void)
{
    static const uint64_t hz[] = {100000000, 999998240, 1000000000, 2596113000, 4000000000};
    struct {
        uint32_t version, pad;
        uint64_t tsc, system;
        uint32_t mul;
        int8_t shift;
        uint8_t flags, pad1[2];
    } t;

    for (size_t i = 0; i < ARRAY_SIZE(hz); i++) {
        rig_new(1, false);
        fake_set_tsc_hz(hz[i]);
        tap_ok(msr_write(bsp(), 0x4b564d01, 0x3000 | 1), "kvm-clock at %llu Hz",
               (unsigned long long)hz[i]);
        memcpy(&t, port_ptr(hpa(0x3000)), sizeof(t));
        uint64_t d = hz[i] * 1000; /* a thousand seconds */
        d = t.shift < 0 ? d >> -t.shift : d << t.shift;
        uint64_t ns = (uint64_t)(((unsigned __int128)d * t.mul) >> 32);
        uint64_t error = ns > 1000000000000ull ? ns - 1000000000000ull : 1000000000000ull - ns;
        tap_ok(error < 1000, "... is off by %llu ns in 1000 s", (unsigned long long)error);
        tap_ok(!(t.version & 1) && (t.flags & 1), "... consistent and stable");
    }
    tap_ok(!msr_write(bsp(), 0x4b564d01, RIG_RAM | 1), "outside of RAM: #GP");
    tap_ok(msr_write(bsp(), 0x4b564d00, 0x4000), "wall clock");
    tap_eq(((uint32_t *)port_ptr(hpa(0x4000)))[1], 1700000000, "... is the boot time");
    rig_new(1, false);
    fake_set_tsc(20000000000ull, 0);
    fake_set_boot_time_tsc(20000000000ull - 7500000000ull);
    kvmclock_init(&vm);
    tap_ok(msr_write(bsp(), 0x4b564d00, 0x4000), "wall clock, read 7.5 s before");
    tap_eq(((uint32_t *)port_ptr(hpa(0x4000)))[1], 1700000007, "... has gone on");
    tap_eq(((uint32_t *)port_ptr(hpa(0x4000)))[2], 500000000, "... to the nanosecond");
}

/* --- the end; last, since the end of a VM is for good --- */

static void one_round(void *s)
{
    subvmm_round(s);
}

static void hook(struct vm *v, uint32_t how)
{
    (void)v;
    tap_eq(how, 3, "the hook is told why");
    port_poweroff();
}

static void test_park(void)
{
    rig_new(2, false);
    subvmm_end_hook = hook;
    fake_set_cpu(1);
    vcpu_start_real(&sub[1], 0x800, 0);
    subvmm_round(&sub[1]);
    subvmm_park(&sub[1], "a test");
    tap_ok(strstr(fake_console(), "patchbay: parked: CPU 1: a test") != NULL,
           "the console says so");
    tap_eq(atomic_load(&vm.ended), 0, "the other VCPU goes on");
    unsigned runs = vendor[1].runs;
    subvmm_round(&sub[1]);
    tap_eq(vendor[1].runs, runs, "a parked VCPU does not enter");
    fake_set_cpu(0);
    rig_exit(EXIT_UNKNOWN);
    tap_eq(bsp()->vcpu.state, VCPU_PARKED, "an unknown exit parks");
    tap_eq(atomic_load(&vm.ended), 3, "nothing runs: the VM ends");
    fake_set_cpu(1);
    subvmm_round(&sub[1]);
    subvmm_round(&sub[1]);
    tap_eq(sub[1].vcpu.state, VCPU_STOPPED, "the other CPU stops");
    fake_set_cpu(0);
    tap_eq(fake_run(one_round, bsp()), FAKE_POWEROFF, "the first one ends the machine");
}

static cpuset_t stopped_at_end;

static void end_hook(struct vm *v, uint32_t how)
{
    (void)how;
    stopped_at_end = vm_stopped_set(v);
}

static void late(uint32_t cpu)
{
    (void)cpu;
    if (port_tsc() > 10 * port_tsc_hz())
        vm_mark_stopped(&vm, 1);
}

/* CPU 1 needs 10 s to stop. */
static cpuset_t finish(uint32_t vms)
{
    rig_new(2, false);
    vm_count = vms;
    atomic_store(&vm.up, 3);
    subvmm_end_hook = end_hook;
    fake_on_relax = late;
    fake_set_cpu(0);
    fake_set_tsc_hz(1000);
    fake_set_tsc(0, 100);
    subvmm_finish(bsp());
    fake_on_relax = NULL;
    vm_count = 0;
    return stopped_at_end;
}

static void test_slow_stop(void)
{
    tap_eq(finish(1), 1, "a slow CPU does not keep the machine on");
    tap_eq(finish(2), 3, "one of several VMs waits for it");
}

int main(void)
{
    test_entry();
    test_sipi();
    test_cr_rules();
    test_pg_off_in_64bit();
    test_cr_instructions();
    test_dr();
    test_msrs();
    test_mtrr_types();
    test_cpuid();
    test_cpuid_table();
    test_topology();
    test_refused();
    test_skip();
    test_io();
    test_mmio();
    test_known_msw();
    test_invlpg();
    test_kvmclock();
    test_park();
    test_slow_stop();
    return tap_done();
}
