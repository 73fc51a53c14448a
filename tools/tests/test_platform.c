/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest learns about its processors and what they refuse: CPUID for every number of CPUs and
 * against the control registers, canonical addresses in MSRs, the local APIC's page over RAM, INIT
 * of the boot processor. */
#include "tools/tests/exits_rig.h"

#define APIC_EN BIT(11)
#define APIC_BSP BIT(8)

static bool write_msr(uint32_t msr, uint64_t value)
{
    return msr_write(bsp(), msr, value);
}
static uint64_t read_msr(uint32_t msr)
{
    uint64_t v = 0;
    return msr_read(bsp(), msr, &v) ? v : 0xdead;
}

/* --- CPUID --- */

static uint32_t leaf(struct subvmm *s, uint32_t n, uint32_t sub_leaf, unsigned reg)
{
    uint32_t r[4];
    cpuid_answer(s, n, sub_leaf, r);
    return r[reg];
}

/* All leaves that a system looks at to find out how CPUs hang together, as one processor of n. */
static bool topology_agrees(struct subvmm *s, uint32_t n)
{
    uint32_t shift = leaf(s, 0xb, 1, 0);
    bool good = (1u << shift) >= n && (!shift || 1u << (shift - 1) < n);

    good = good && leaf(s, 0xb, 0, 0) == 0 && (leaf(s, 0xb, 0, 1) & 0xffff) == 1;
    good = good && leaf(s, 0xb, 0, 2) == 0x100 && leaf(s, 0xb, 1, 2) == 0x201;
    good = good && (leaf(s, 0xb, 1, 1) & 0xffff) == n;
    good = good && !leaf(s, 0xb, 2, 0) && !leaf(s, 0xb, 2, 1) && leaf(s, 0xb, 2, 2) == 2;
    good = good && leaf(s, 0xb, 0, 3) == s->cpu && leaf(s, 0xb, 1, 3) == s->cpu &&
           leaf(s, 0xb, 2, 3) == s->cpu;
    good = good && leaf(s, 1, 0, 1) >> 24 == s->cpu;
    good = good && (leaf(s, 1, 0, 1) >> 16 & 0xff) == n;
    good = good && !!(leaf(s, 1, 0, 3) & BIT(28)) == (n > 1);                /* HTT */
    good = good && !!(leaf(s, 0x80000001, 0, 2) & BIT(1)) == (n > 1);        /* CmpLegacy */
    good = good && (leaf(s, 0x80000008, 0, 2) & 0xff) == n - 1;              /* NC */
    good = good && (leaf(s, 0x80000008, 0, 2) >> 12 & 0xf) == shift;         /* ApicIdSize */
    good = good && !(leaf(s, 0x80000001, 0, 2) & BIT(22));                   /* no TOPOEXT: */
    good = good && !leaf(s, 0x8000001d, 0, 0) && !leaf(s, 0x8000001e, 0, 0); /* nor its leaves */
    good = good && !leaf(s, 4, 0, 0);                                        /* nor Intel's */
    return good && s->cpu < 1u << shift;
}

static void test_topology(void)
{
    rig_new(1, false);
    for (uint32_t n = 1; n <= HV_MAX_CPUS; n++) {
        bool good = true;
        vm.ncpus = n;
        for (uint32_t c = 0; c < n; c++) {
            bsp()->cpu = c;
            cpuid_power_on(bsp());
            good = good && topology_agrees(bsp(), n);
        }
        bsp()->cpu = 0;
        tap_ok(good, "every CPU of %u tells the same", n);
    }
    vm.ncpus = 1;
}

/* Leaves behind the last of each range, and those nobody shows, are zero. */
static void test_leaves(void)
{
    uint32_t r[4], wrong = 0;

    rig_new(2, false);
    uint32_t basic = leaf(bsp(), 0, 0, 0), extended = leaf(bsp(), 0x80000000, 0, 0);
    tap_ok(basic >= 0xb && basic < 0x20, "last basic leaf 0x%x", basic);
    tap_ok(extended >= 0x80000008, "last extended leaf 0x%x", extended);
    for (uint32_t i = 0; i < 0x40; i++) {
        cpuid_answer(bsp(), basic + 1 + i, 0, r);
        wrong += r[0] || r[1] || r[2] || r[3];
        cpuid_answer(bsp(), extended + 1 + i, 0, r);
        wrong += r[0] || r[1] || r[2] || r[3];
        cpuid_answer(bsp(), 0x20000000 + i, 0, r);
        wrong += r[0] || r[1] || r[2] || r[3];
    }
    tap_eq(wrong, 0, "leaves that do not exist");
    for (uint32_t i = 2; i < 16; i++) {
        cpuid_answer(bsp(), 7, i, r);
        wrong += r[0] || r[1] || r[2] || r[3];
    }
    tap_eq(wrong, 0, "subleaves of 7");
}

/* A feature whose control bit is refused must not be shown, nor the other way round. */
static void test_features(void)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
        uint64_t cr4;
        const char *what;
    } f[] = {
        {1, 3, 1, CR4_VME, "VME"},         {1, 3, 2, CR4_DE, "DE"},
        {1, 3, 3, CR4_PSE, "PSE"},         {1, 3, 4, CR4_TSD, "TSC"},
        {1, 3, 6, CR4_PAE, "PAE"},         {1, 3, 7, CR4_MCE, "MCE"},
        {1, 3, 13, CR4_PGE, "PGE"},        {1, 3, 24, CR4_OSFXSR, "FXSR"},
        {1, 3, 25, CR4_OSXMMEXCPT, "SSE"}, {7, 1, 0, CR4_FSGSBASE, "FSGSBASE"},
        {7, 1, 7, CR4_SMEP, "SMEP"},       {7, 1, 20, CR4_SMAP, "SMAP"},
        {7, 2, 2, CR4_UMIP, "UMIP"},       {7, 2, 3, CR4_PKE, "PKU"},
        {7, 2, 7, CR4_CET, "CET_SS"},      {7, 3, 20, CR4_CET, "CET_IBT"},
        {7, 2, 16, CR4_LA57, "LA57"},      {1, 2, 17, CR4_PCIDE, "PCID"},
        {1, 2, 26, CR4_OSXSAVE, "XSAVE"},
    };
    rig_new(1, true);
    for (size_t i = 0; i < ARRAY_SIZE(f); i++) {
        bool shown = leaf(bsp(), f[i].leaf, 0, f[i].reg) & BIT(f[i].bit);
        tap_eq(!!(bsp()->vcpu.cr4_allowed & f[i].cr4), shown, f[i].what);
    }
    tap_eq(!!(bsp()->vcpu.efer_allowed & EFER_NXE), !!(leaf(bsp(), 0x80000001, 0, 3) & BIT(20)),
           "NX");
    tap_eq(!!(bsp()->vcpu.efer_allowed & EFER_LME), !!(leaf(bsp(), 0x80000001, 0, 3) & BIT(29)),
           "long mode");
    tap_eq(!!(bsp()->vcpu.efer_allowed & EFER_SVME), !!(leaf(bsp(), 0x80000001, 0, 2) & BIT(2)),
           "SVM");
    tap_eq(leaf(bsp(), 0x80000008, 0, 0) & 0xff, bsp()->vcpu.phys_bits, "address bits");
    tap_ok(write_msr(MSR_APIC_BASE, VPC_LAPIC_BASE | APIC_BSP), "APIC off");
    tap_eq(leaf(bsp(), 1, 0, 3) & BIT(9), 0, "leaf 1 says so");
    tap_eq(leaf(bsp(), 0x80000001, 0, 3) & BIT(9), 0, "and its copy");
    tap_ok(write_msr(MSR_APIC_BASE, VPC_LAPIC_BASE | APIC_BSP | APIC_EN), "on again");
    tap_ok((leaf(bsp(), 1, 0, 3) & BIT(9)) && (leaf(bsp(), 0x80000001, 0, 3) & BIT(9)), "both");
}

/* --- MSRs --- */

static void test_canonical(void)
{
    static const uint32_t checked[] = {MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_LSTAR,
                                       MSR_CSTAR};
    rig_new(1, true);
    for (size_t i = 0; i < ARRAY_SIZE(checked); i++) {
        uint64_t good = 0xffff800000001000 + i;
        tap_ok(write_msr(checked[i], 0x00007fffffffffff), "%x: last of the lower half", checked[i]);
        tap_ok(write_msr(checked[i], good), "%x: upper half", checked[i]);
        tap_ok(!write_msr(checked[i], 0x0000800000000000), "%x: first that is not", checked[i]);
        tap_ok(!write_msr(checked[i], 0xffff7fffffffffff), "%x: last that is not", checked[i]);
        tap_ok(!write_msr(checked[i], BIT(63)), "%x: bit 63 alone", checked[i]);
        tap_eq(read_msr(checked[i]), good, "it keeps its value");
    }
    const struct fake_vendor *f = &vendor[0];
    tap_eq(f->segs.seg[SEG_FS].base, 0xffff800000001000, "FS base");
    tap_eq(f->segs.seg[SEG_GS].base, 0xffff800000001001, "GS base");
    tap_eq(f->msrs.kernel_gs_base, 0xffff800000001002, "KERNEL_GS base");
    tap_eq(f->msrs.lstar, 0xffff800000001003, "LSTAR");
    tap_eq(f->msrs.cstar, 0xffff800000001004, "CSTAR");
}

static void test_efer(void)
{
    rig_new(1, true);
    uint64_t efer = read_msr(MSR_EFER);
    tap_ok(!write_msr(MSR_EFER, efer | BIT(1)), "reserved bit 1");
    tap_ok(!write_msr(MSR_EFER, efer | BIT(16)), "reserved bit 16");
    tap_ok(!write_msr(MSR_EFER, efer | EFER_SVME), "SVME, which is not shown");
    tap_ok(!write_msr(MSR_EFER, efer & ~EFER_LME), "LME cannot change under paging");
    tap_ok(write_msr(MSR_EFER, efer & ~EFER_LMA), "LMA is not the guest's");
    tap_eq(read_msr(MSR_EFER), efer, "and stays");
    rig_new(1, false);
    tap_ok(write_msr(MSR_EFER, EFER_LME), "LME unpaged");
    tap_ok(!cr_write(bsp(), 0, bsp()->vcpu.ctl.cr0 | CR0_PG), "PG with LME, without PAE");
    tap_ok(cr_write(bsp(), 4, CR4_PAE), "PAE");
    vendor[0].segs.seg[SEG_CS].attr |= BIT(9);
    tap_ok(!cr_write(bsp(), 0, bsp()->vcpu.ctl.cr0 | CR0_PG), "PG with CS.L");
    vendor[0].segs.seg[SEG_CS].attr &= (uint16_t)~BIT(9);
    tap_ok(cr_write(bsp(), 0, bsp()->vcpu.ctl.cr0 | CR0_PG), "PG");
    tap_ok(read_msr(MSR_EFER) & EFER_LMA, "long mode is active");
}

/* --- local APIC --- */

static uint32_t load32(uint64_t at)
{
    uint32_t v = 0;
    return gmem_read_gpa(&bsp()->mmu, gpa(at), &v, sizeof(v)) == HV_OK ? v : 0xdead;
}

/* One read of device memory, or what is in RAM, by the guest's MOV EAX, [RBX]. */
static uint32_t guest_load(uint64_t at)
{
    struct vmexit x = {.kind = EXIT_PF, .gpr = VMEXIT_GPR_NONE, .have_gva = true, .gva = gva(at)};
    *gpr(RBX) = at;
    *gpr(RAX) = 0;
    rig_code("\x8b\x03", 2);
    exit_dispatch(bsp(), &x);
    return bsp()->vcpu.regs.rip == RIG_CODE ? load32(at) : (uint32_t)*gpr(RAX);
}

static void test_apic_page(void)
{
    const uint64_t over = 0x405000, bits = APIC_BSP | APIC_EN;
    const uint32_t value = 0x600dda7a;
    uint8_t two_pages[2 * PAGE_SIZE];

    rig_new(1, false);
    memcpy(port_ptr(hpa(over + 0x30)), &value, sizeof(value));
    tap_eq(guest_load(over + 0x30), value, "RAM at first");
    tap_ok(!write_msr(MSR_APIC_BASE, BIT(bsp()->vcpu.phys_bits) | VPC_LAPIC_BASE | bits),
           "address bits beyond MAXPHYADDR");
    tap_ok(write_msr(MSR_APIC_BASE, over | bits), "over RAM");
    tap_eq(guest_load(over + 0x30), 0x50014, "the APIC answers");
    tap_eq(load32(over + 0x30), 0xdead, "this CPU has no RAM there");
    tap_eq(gmem_read_gpa(&bsp()->mmu, gpa(over - PAGE_SIZE), two_pages, sizeof(two_pages)),
           HV_RANGE, "nor in the middle of something longer");
    tap_eq(guest_load(over + PAGE_SIZE), 0, "RAM behind it");
    tap_eq(mmu_audit(&bsp()->mmu, 3), 0, "audit");
    tap_ok(write_msr(MSR_APIC_BASE, over | APIC_BSP), "off");
    tap_eq(guest_load(over + 0x30), value, "RAM again");
    tap_ok(write_msr(MSR_APIC_BASE, over | bits), "on");
    tap_eq(guest_load(over + 0x30), 0x50014, "APIC again");
    tap_ok(write_msr(MSR_APIC_BASE, VPC_LAPIC_BASE | bits), "home");
    tap_eq(guest_load(over + 0x30), value, "RAM again");
    tap_eq(guest_load(VPC_LAPIC_BASE + 0x30), 0x50014, "the APIC is there");
    tap_eq(mmu_audit(&bsp()->mmu, 3), 0, "audit");
}

/* --- INIT --- */

static void cmos(uint8_t index, uint8_t value)
{
    struct vio i = {.addr = 0x70, .size = 1, .write = true, .value = index};
    struct vio d = {.addr = 0x71, .size = 1, .write = true, .value = value};
    (void)vbus_pio(vpc_bus(vm.pc), &i);
    (void)vbus_pio(vpc_bus(vm.pc), &d);
}

static uint32_t ended;
static void on_end(struct vm *v, uint32_t how)
{
    (void)v;
    ended = how;
    port_poweroff();
}

static void one_round(void *ctx)
{
    subvmm_round(ctx);
}

static void test_init(void)
{
    static const uint16_t vector[2] = {0x1234, 0x8765}; /* IP, CS */

    rig_new(1, true);
    memcpy(port_ptr(hpa(0x467)), vector, sizeof(vector));
    cmos(0x0f, 0x0a);
    action_post(&co, 0, 0, ACTION_INIT);
    subvmm_round(bsp());
    tap_eq(bsp()->vcpu.state, VCPU_RUNNING, "status 0A: runs on");
    tap_eq(bsp()->vcpu.regs.rip, 0x1234, "at the IP of 40:67");
    tap_eq(vendor[0].segs.seg[SEG_CS].base, 0x87650, "in its segment");
    tap_eq(bsp()->vcpu.ctl.cr0, CR0_ET, "in real mode, the caches still on");
    tap_eq(bsp()->vcpu.ctl.efer, 0, "EFER is clear");
    tap_eq(atomic_load(&vm.ended), 0, "the VM goes on");
    cmos(0x0f, 0x05);
    action_post(&co, 0, 0, ACTION_INIT);
    subvmm_round(bsp());
    tap_eq(bsp()->vcpu.state, VCPU_RUNNING, "status 05: too");
    subvmm_end_hook = on_end;
    action_post(&co, 0, 0, ACTION_INIT);
    tap_eq(fake_run(one_round, bsp()), FAKE_POWEROFF, "the status counts once");
    tap_eq(ended, 2, "now it is a reset of the VM");
    tap_eq(bsp()->vcpu.state, VCPU_STOPPED, "the boot processor does not go on");
    tap_ok(strstr(fake_console(), "INIT of the boot processor") != NULL, "the console says so");
    rig_new(2, false);
    tap_eq(sub[1].vcpu.ctl.cr0, CR0_CD | CR0_NW | CR0_ET, "power-on: caches off");
}

int main(void)
{
    test_topology();
    test_leaves();
    test_features();
    test_canonical();
    test_efer();
    test_apic_page();
    test_init();
    return tap_done();
}
