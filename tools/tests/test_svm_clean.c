/* SPDX-License-Identifier: BSD-2-Clause */
/* A processor that keeps every part of the VMCB that its clean bits allow it to keep, and the
 * PDPTEs with the control registers (APM volume 2, 15.15.3 "VMCB Clean Field"): whatever the vendor
 * folder does between two entries, the state that is entered with is the one in memory. */
#include "tools/tests/tap.h"
#include "arch-x86/cpu/asm.h"

/* Stand-ins for instructions; the files under test are compiled here, without the rest. */
static uint64_t host_cr4 = 1ull << 6 | 1ull << 7, fake_dr[4];
#define read_cr4() host_cr4
#define read_dr0() fake_dr[0]
#define read_dr1() fake_dr[1]
#define read_dr2() fake_dr[2]
#define read_dr3() fake_dr[3]
#define write_dr0(v) (fake_dr[0] = (v))
#define write_dr1(v) (fake_dr[1] = (v))
#define write_dr2(v) (fake_dr[2] = (v))
#define write_dr3(v) (fake_dr[3] = (v))
#include "arch-x86/svm/asid.c"
#include "arch-x86/svm/entry.c"
#include "arch-x86/svm/state.c"
#include "arch-x86/svm/translate.c"

struct svm_features svm_features;
struct quirks quirks;

static struct vmcb block;
static struct svm_vcpu arch;
static struct vcpu vcpu = {.arch = &arch};
static uint64_t pdpte[2][4]; /* of the two roots, 0x5000 and 0x6000 */
static uint64_t seed = 1;

static uint64_t rnd(uint64_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (seed >> 33) % n;
}

/* --- the processor --- */

struct span {
    uint32_t bit; /* of the clean field; 0: read at every entry */
    size_t at, bytes;
};
#define SPAN(bit, first, last)                                                                     \
    {bit, offsetof(struct vmcb, first),                                                            \
     offsetof(struct vmcb, last) + sizeof(((struct vmcb *)0)->last) -                              \
         offsetof(struct vmcb, first)}
static const struct span spans[] = {
    SPAN(CLEAN_I, ctl.intercept_cr_read, ctl.intercept3),
    SPAN(CLEAN_I, ctl.pause_threshold, ctl.pause_count),
    SPAN(CLEAN_I, ctl.tsc_offset, ctl.tsc_offset),
    SPAN(CLEAN_IOPM, ctl.iopm_base, ctl.msrpm_base),
    SPAN(CLEAN_ASID, ctl.asid, ctl.asid),
    SPAN(CLEAN_TPR, ctl.vintr, ctl.vintr),
    SPAN(1u << 4, ctl.np_enable, ctl.np_enable),
    SPAN(1u << 4, ctl.n_cr3, ctl.n_cr3),
    SPAN(1u << 4, save.g_pat, save.g_pat),
    SPAN(CLEAN_CRX, save.cr4, save.cr0),
    SPAN(CLEAN_CRX, save.efer, save.efer),
    SPAN(CLEAN_DRX, save.dr7, save.dr6),
    SPAN(CLEAN_DT, save.gdtr, save.gdtr),
    SPAN(CLEAN_DT, save.idtr, save.idtr),
    SPAN(CLEAN_SEG, save.es, save.ds),
    SPAN(CLEAN_SEG, save.cpl, save.cpl),
    SPAN(CLEAN_CR2, save.cr2, save.cr2),
};

static uint8_t kept[sizeof(struct vmcb)];
static uint64_t kept_pdpte[4];
static uint32_t stale; /* clean bits behind which something old was entered with */
static unsigned used[ARRAY_SIZE(spans)];
static uint64_t exit_next = SVM_EXIT_INTR;

static bool legacy_pae(void)
{
    return !(block.save.efer & EFER_LMA);
}

void svm_enter(struct vcpu *v, struct vmexit *x, uint64_t block_hpa)
{
    const uint64_t *table = pdpte[block.save.cr3 == 0x6000];

    (void)block_hpa;
    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        const uint8_t *now = (uint8_t *)&block + spans[i].at;
        if (!(block.ctl.clean & spans[i].bit))
            memcpy(kept + spans[i].at, now, spans[i].bytes);
        else if (memcmp(kept + spans[i].at, now, spans[i].bytes))
            stale |= spans[i].bit;
        else
            used[i]++;
    }
    if (!(block.ctl.clean & CLEAN_CRX))
        memcpy(kept_pdpte, table, sizeof(kept_pdpte));
    else if (legacy_pae() && memcmp(kept_pdpte, table, sizeof(kept_pdpte)))
        stale |= CLEAN_CRX;
    /* What the guest did goes to memory and stays in the processor. */
    block.save.dr6 = rnd(2) ? 0xffff0ff0 : 0xffff0ff1;
    block.save.cs.base = rnd(4) << 12;
    block.save.idtr.limit = (uint32_t)rnd(0x1000);
    if (block.ctl.vintr & VINTR_V_IRQ && rnd(2))
        block.ctl.vintr &= ~VINTR_V_IRQ;
    memcpy(kept, &block, sizeof(kept));
    block.ctl.exitcode = exit_next;
    svm_exited(v, x);
}

void svm_cr2_load(uint64_t cr2)
{
    (void)cr2;
}

void quirks_after_virq(void)
{
}

/* As quirks.c does where DR6 is lost. */
bool quirks_after_exit(struct vmcb *b)
{
    if (quirks.dr6_lost)
        b->save.dr6 ^= 1;
    return quirks.dr6_lost;
}

/* --- the hypervisor --- */

static void some_ctl(void)
{
    struct vcpu_ctl c = {.cr0 = CR0_PE | CR0_ET | CR0_NE | (rnd(2) ? CR0_PG | CR0_WP : 0),
                         .cr4 = rnd(2) ? CR4_PAE : CR4_PAE | CR4_SMEP,
                         .efer = rnd(2) ? EFER_LME : 0};

    vcpu.tsc_adjust = rnd(3);
    vcpu.invpcid = rnd(2);
    svm_put(&vcpu, VCPU_CTL, &c);
}

static void some_inject(void)
{
    static const uint8_t vectors[] = {VEC_PF, VEC_DF, VEC_GP};
    struct vcpu_event e = {.type = (enum event_type)rnd(4), .vector = (uint8_t)(0x20 + rnd(200))};

    if (e.type == EVENT_EXCEPTION) {
        e.vector = vectors[rnd(3)];
        e.has_error = true;
    }
    svm_inject(&vcpu, &e);
}

static void step(void)
{
    struct vcpu_segs segs;
    struct vcpu_debug d = {.dr6 = 0xffff0ff0 | rnd(16), .dr7 = 0x400 | rnd(256)};

    switch (rnd(9)) {
    case 0:
        some_ctl();
        break;
    case 1:
        svm_get(&vcpu, VCPU_SEGS, &segs);
        segs.seg[rnd(SEG_COUNT)].base = rnd(1u << 20);
        segs.gdtr.limit = (uint32_t)rnd(0x1000);
        segs.cpl = (uint8_t)rnd(4);
        svm_put(&vcpu, VCPU_SEGS, &segs);
        break;
    case 2:
        svm_put(&vcpu, VCPU_DEBUG, &d);
        break;
    case 3:
        some_inject();
        break;
    case 4:
        svm_window(&vcpu, rnd(2));
        break;
    case 5:
        svm_nmi_mask(&vcpu, rnd(2));
        break;
    case 6: /* the pager writes a PDPTE under the same root */
        pdpte[rnd(2)][rnd(4)] = rnd(8) << 12 | PTE_P;
        break;
    case 7:
        svm_set_int_shadow(&vcpu, rnd(2));
        break;
    default:
        vcpu.regs.cr2 = rnd(1u << 30);
        break;
    }
}

static void walk(unsigned rounds, bool legacy_only)
{
    struct vmexit x;

    memset(&block, 0, sizeof(block));
    memset(kept, 0xa5, sizeof(kept));
    arch = (struct svm_vcpu){.vmcb = &block, .once = quirks.dr6_lost}; /* as svm_init */
    stale = 0;
    for (unsigned i = 0; i < rounds; i++) {
        for (uint64_t n = rnd(4); n; n--)
            step();
        if (legacy_only && i == 0)
            some_ctl();
        svm_set_root(&vcpu, hpa(rnd(2) ? 0x5000 : 0x6000), (uint32_t)(1 + rnd(3)), rnd(2), !rnd(8));
        vcpu.regs.rip += rnd(3);
        exit_next = rnd(2) ? SVM_EXIT_INTR : SVM_EXIT_EXCEPTION + VEC_DB;
        svm_run(&vcpu, &x);
    }
}

static void test_random(void)
{
    unsigned idle = 0;

    for (unsigned by_asid = 0; by_asid < 2; by_asid++)
        for (unsigned quirk = 0; quirk < 2; quirk++) {
            svm_features = (struct svm_features){
                .clean = CLEAN_ALL, .flush_by_asid = by_asid, .nasids = 16, .nx = true};
            quirks = (struct quirks){.dr6_lost = quirk, .virq_needs_if_rise = by_asid};
            walk(20000, false);
            tap_eq(stale, 0, "what is kept by clean bits is what is in memory");
        }
    for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
        idle += !used[i] && (spans[i].bit & CLEAN_ALL & ~CLEAN_CR2);
    tap_eq(idle, 0, "... and every part was kept over some entry");
}

/* Under the same CR3 the PDPTEs are other ones: they come with the control registers. */
static void test_pdptes(void)
{
    struct vmexit x;

    svm_features = (struct svm_features){.clean = CLEAN_ALL, .flush_by_asid = true, .nasids = 16};
    quirks = (struct quirks){0};
    memset(&block, 0, sizeof(block));
    arch = (struct svm_vcpu){.vmcb = &block};
    stale = 0;
    for (unsigned i = 0; i < 4; i++) {
        svm_set_root(&vcpu, hpa(0x5000), 1, false, false);
        svm_run(&vcpu, &x);
        pdpte[0][0] += 0x1000;
    }
    tap_eq(stale, 0, "a PDPTE that changed is loaded at the next entry");
    block.save.efer = EFER_LME | EFER_LMA;
    svm_set_root(&vcpu, hpa(0x5000), 1, false, false);
    tap_ok(block.ctl.clean & CLEAN_CRX, "in long mode there are none, and nothing is loaded again");
}

/* Bits of the control registers that are the host's, whatever the guest has. */
static void test_host_bits(void)
{
    struct vcpu_ctl c = {.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG | CR0_WP, .cr4 = CR4_PAE};

    svm_put(&vcpu, VCPU_CTL, &c);
    tap_ok(block.save.cr4 & CR4_MCE,
           "an error of the machine never shuts a guest's processor down");
    tap_ok(block.ctl.intercept_cr_read & BIT(4), "... and the guest reads its own CR4");
    c.cr4 = block.save.cr4;
    svm_put(&vcpu, VCPU_CTL, &c);
    tap_ok(!(block.ctl.intercept_cr_read & BIT(4)), "equal ones are read without an exit");
}

int main(void)
{
    test_random();
    test_pdptes();
    test_host_bits();
    return tap_done();
}
