/* SPDX-License-Identifier: BSD-2-Clause */
/* Every intercept that is ever set: its exit is translated and handled, and the boot-time probe
 * tries it, or it is said here why not. */
#include "tools/tests/tap.h"
#include "arch-x86/cpu/asm.h"

/* Stand-ins for instructions; the vendor folder is compiled here, and the table of handlers once
 * more, to look into it. */
#define read_cr4() 0ull
#define read_dr0() 0ull
#define read_dr1() 0ull
#define read_dr2() 0ull
#define read_dr3() 0ull
#define write_dr0(v) (void)(v)
#define write_dr1(v) (void)(v)
#define write_dr2(v) (void)(v)
#define write_dr3(v) (void)(v)
#include "arch-x86/svm/asid.c"
#include "arch-x86/svm/entry.c"
#include "arch-x86/svm/init.c"
#include "arch-x86/svm/probe.c"
#include "arch-x86/svm/state.c"
#include "arch-x86/svm/translate.c"
#define exit_dispatch dispatch_again
#define vmexit_name name_again
#include "hv/exit/dispatch.c"
#undef exit_dispatch
#undef vmexit_name

struct quirks quirks;
struct vendor_pages vendor_pages[HV_MACHINE_CPUS];
static struct vmcb block;
static struct svm_vcpu arch = {.vmcb = &block};
static struct vcpu vcpu = {.arch = &arch};

void svm_enter(struct vcpu *v, struct vmexit *x, uint64_t block_hpa)
{
    (void)v, (void)x, (void)block_hpa;
}
void svm_cr2_load(uint64_t cr2)
{
    (void)cr2;
}
void xsavec_filter(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    (void)leaf, (void)subleaf, (void)r;
}
void quirks_after_virq(void)
{
}
bool quirks_after_exit(struct vmcb *b)
{
    return !b;
}
void svm_dump(struct vcpu *v, void (*emit)(const char *line))
{
    (void)v, (void)emit;
}
void svm_perm_build(void)
{
}
uint64_t svm_msrpm(void)
{
    return 0;
}
uint64_t svm_iopm(void)
{
    return 0;
}
bool probe_rdmsr(uint32_t msr, uint64_t *out)
{
    (void)msr, (void)out;
    return false;
}

static bool set[256]; /* by exit code */

static void note(uint32_t bits, uint32_t code)
{
    for (uint32_t i = 0; i < 32; i++)
        set[(code + i) & 255] |= bits >> i & 1;
}

static void note_all(bool exceptions)
{
    const struct vmcb_control *c = &block.ctl;

    note(c->intercept_cr_read, SVM_EXIT_CR_READ);
    note(c->intercept_cr_write, SVM_EXIT_CR_WRITE);
    note(c->intercept_dr_read, SVM_EXIT_DR_READ);
    note(c->intercept_dr_write, SVM_EXIT_DR_WRITE);
    if (exceptions)
        note(c->intercept_exceptions, SVM_EXIT_EXCEPTION);
    note(c->intercept1, SVM_EXIT_INTR);
    note(c->intercept2, SVM_EXIT_VMRUN);
    note(c->intercept3, SVM_EXIT_INVLPGB);
}

/* Whatever the hypervisor does to the vectors. */
static void collect(void)
{
    const struct vcpu_event df = {.type = EVENT_EXCEPTION, .vector = VEC_DF, .has_error = true};

    svm_intercepts_set(&block.ctl);
    note_all(true);
    for (unsigned i = 0; i < 32; i++) {
        struct vcpu_ctl c = {.cr0 = CR0_PE | (i & 1 ? CR0_NE : 0), .cr4 = i & 2 ? CR4_PAE : 0};
        vcpu.pcid = i & 4;
        vcpu.invpcid = i & 8;
        quirks.cr_reads = i & 16 ? 0xffff : 0;
        svm_put(&vcpu, VCPU_CTL, &c);
        note_all(true);
    }
    svm_window(&vcpu, true);
    svm_nmi_mask(&vcpu, true);
    svm_inject(&vcpu, &df); /* all exceptions, each a shutdown: test_svm */
    note_all(false);
}

static enum vmexit_kind kind_of(uint32_t code)
{
    const struct svm_features none = {0};
    struct vmexit x;

    memset(&block, 0, sizeof(block));
    block.ctl.exitcode = code;
    block.ctl.exitinfo1 = 1 << IOIO_SIZE_SHIFT;
    arch.injecting_df = false;
    arch.injected = 0;
    svm_translate(&arch, &none, &x);
    return x.kind;
}

static void test_handled(void)
{
    unsigned n = 0, wrong = 0;

    for (uint32_t code = 0; code < 256; code++) {
        enum vmexit_kind kind = kind_of(code);
        bool handled = kind != EXIT_UNKNOWN && exit_table[kind] && exit_table[kind] != exit_unknown;
        n += set[code];
        wrong += set[code] && !handled;
        if (set[code] && !handled)
            printf("# exit code 0x%x is intercepted and unhandled\n", code);
    }
    tap_ok(n > 70, "%u intercepts are set at some time", n);
    tap_eq(wrong, 0, "each has a handler");
}

/* Not tried by the probe: nothing in a guest can bring it about, or it is another one's relative.
 */
static const struct {
    uint32_t code;
    const char *why;
} untried[] = {
    {SVM_EXIT_EXCEPTION + VEC_DF, "comes by shutdown, which is tried"},
    {SVM_EXIT_EXCEPTION + VEC_MC, "needs a broken machine"},
    {SVM_EXIT_EXCEPTION + VEC_MF, "costs nothing if it stays away: the guest's IDT has it"},
    {SVM_EXIT_SMI, "firmware's"},
    {SVM_EXIT_INIT, "would reset the processor if it did not fire"},
    {SVM_EXIT_FERR_FREEZE, "with NE=0 only, which never is"},
    {SVM_EXIT_MWAIT_ARMED, "MWAIT's"},
};

static bool tried(uint32_t code)
{
    if (code < SVM_EXIT_CR_WRITE + 16) { /* registers that do not exist raise #UD first */
        uint32_t cr = code & 15;
        if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8)
            return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(untried); i++)
        if (untried[i].code == code)
            return true;
    for (enum probe_id id = 0; id < PROBE_COUNT; id++)
        if (probe_table[id].code == code || probe_table[id].also == code)
            return true;
    return false;
}

static void test_probed(void)
{
    unsigned wrong = 0;

    for (uint32_t code = 0; code < 256; code++)
        if (set[code] && !tried(code)) {
            wrong++;
            printf("# exit code 0x%x is never tried\n", code);
        }
    tap_eq(wrong, 0, "each is tried at boot, or there is a reason");
}

int main(void)
{
    collect();
    test_handled();
    test_probed();
    return tap_done();
}
