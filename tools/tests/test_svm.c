/* SPDX-License-Identifier: BSD-2-Clause */
/* Raw SVM exits as neutral records: kinds, operands, decode assists, and when an event is
 * redelivered. */
#include "tools/tests/tap.h"
/* Pure and without instructions: compiled here, since the vendor folder is not in the host library.
 */
#include "arch-x86/svm/asid.c"
#include "arch-x86/svm/translate.c"

struct svm_features svm_features;

static struct vmcb block;
static struct svm_vcpu arch = {.vmcb = &block, .root = 0x5000};

static struct vmexit raw(uint64_t code, uint64_t info1, uint64_t info2, struct svm_features f)
{
    struct vmexit x;

    block.ctl.exitcode = code;
    block.ctl.exitinfo1 = info1;
    block.ctl.exitinfo2 = info2;
    block.ctl.nrip = 0x7777;
    block.save.cr3 = 0x5000;
    svm_translate(&arch, &f, &x);
    svm_translate_event(&arch, 0x1000, &x);
    return x;
}

static void test_task(void)
{
    const struct svm_features none = {0};
    struct vmexit x;

    arch.injected = 0;
    memset(&block, 0, sizeof(block));
    x = raw(0x7d, 0x28, 0, none);
    tap_ok(x.kind == EXIT_TASK_SWITCH && x.task.selector == 0x28 && x.task.source == TASK_CALL &&
               !x.task.external && !x.task.has_error,
           "task switch by CALL");
    x = raw(0x7d, 0x28, BIT(36), none);
    tap_eq(x.task.source, TASK_IRET, "by IRET");
    x = raw(0x7d, 0x28, BIT(38) | BIT(48), none);
    tap_ok(x.task.source == TASK_JMP && x.task.rf, "by JMP");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_TS;
    x = raw(0x7d, 0x28, BIT(44) | 0x1234, none);
    tap_ok(x.task.source == TASK_EVENT && x.task.external && x.task.has_error &&
               x.task.error == 0x1234,
           "by an exception with an error code");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_BP;
    tap_eq(raw(0x7d, 0x28, 0, none).task.source, TASK_CALL, "by INT3");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_SOFT | 0x80;
    tap_eq(raw(0x7d, 0x28, 0, none).task.source, TASK_CALL, "by INT n");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_INTR | 0x80;
    tap_eq(raw(0x7d, 0x28, 0, none).task.source, TASK_EVENT, "by an interrupt");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_NP;
    x = raw(0x4d, 0x18, 0, none);
    tap_eq(x.delivering, VEC_NP + 1, "#GP while the guest's own #NP is delivered");
    arch.injected = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_NP;
    tap_eq(raw(0x4d, 0x18, 0, none).delivering, 0, "not while what we injected is");
    arch.injected = 0;
    block.ctl.exitintinfo = 0;
}

static void test_translate(void)
{
    const struct svm_features none = {0}, all = {.nrips = true, .assists = true};
    const struct svm_features lost = {.nrips = true, .assists = true, .cr_number_lost = true};
    struct vmexit x;

    memset(&block, 0, sizeof(block));
    x = raw(0x4e, 2, 0xabc000, all);
    tap_ok(x.kind == EXIT_PF && x.gva.v == 0xabc000 && x.pfec == 2 && !x.next_rip, "#PF");
    x = raw(0x7b, 0x3f80041, 0x8001, none);
    tap_ok(x.kind == EXIT_IO && x.io_in && x.io_port == 0x3f8 && x.io_size == 4, "IN DX, 32 bits");
    tap_ok(x.next_rip == 0x8001 && !x.io_have_addrsize, "... next RIP from EXITINFO2");
    x = raw(0x7b, 0x3f8001c | 0x200, 0x8001, all);
    tap_ok(!x.io_in && x.io_string && x.io_rep && x.io_size == 1 && x.io_addrsize == 8,
           "REP OUTSB with 64-bit addresses");
    x = raw(0x7c, 1, 0, none);
    tap_ok(x.kind == EXIT_WRMSR && !x.next_rip, "WRMSR without next RIP");
    x = raw(0x72, 0, 0, all);
    tap_ok(x.kind == EXIT_CPUID && x.next_rip == 0x7777, "CPUID with next RIP");
    x = raw(0x13, BIT(63) | 5, 0, all);
    tap_ok(x.kind == EXIT_CR_WRITE && x.cr == 3 && x.gpr == 5, "MOV CR3 with assists");
    x = raw(0x03, BIT(63) | 5, 0, all);
    tap_ok(x.kind == EXIT_CR_READ && x.gpr == 5, "MOV from CR3 with assists");
    x = raw(0x00, BIT(63) | 5, 0, lost);
    tap_ok(x.kind == EXIT_CR_READ && x.gpr == VMEXIT_GPR_NONE,
           "... whose code may be another register's: the instruction decides");
    x = raw(0x10, 0, 0, all);
    tap_ok(x.kind == EXIT_CR_WRITE && x.gpr == VMEXIT_GPR_NONE, "LMSW has no register");
    x = raw(0x00000000ffffffff, 0, 0, none);
    tap_eq(x.kind, EXIT_INVALID, "INVALID as 32 bits");
    x = raw(~0ull, 0, 0, none);
    tap_eq(x.kind, EXIT_INVALID, "INVALID as 64 bits");
    x = raw(0x46, 0x5a5a, 0, none);
    tap_ok(x.kind == EXIT_EXCEPTION && x.vector == VEC_UD && !x.error_valid && !x.error,
           "#UD has no error code, whatever the field holds");
    x = raw(0x400, 0, 0, none);
    tap_eq(x.kind, EXIT_UNKNOWN, "nested paging exits are unknown");
    arch.root = 0x6000;
    x = raw(0x60, 0, 0, none);
    tap_eq(x.kind, EXIT_FOREIGN_CR3, "CR3 that is not ours");
    arch.root = 0x5000;

    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_PF;
    block.save.rip = 0x1000;
    x = raw(0x4e, 0, 0, none);
    tap_ok(!x.redeliver, "an event of the guest is not redelivered");
    arch.injected = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_PF;
    x = raw(0x4e, 0, 0, none);
    tap_ok(x.redeliver, "ours is");
    arch.injected = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_GP;
    tap_ok(!raw(0x4e, 0, 0, none).redeliver, "... unless another one was delivered meanwhile,");
    arch.injected = EVENT_V | EVENT_TYPE_INTR | VEC_PF;
    tap_ok(!raw(0x4e, 0, 0, none).redeliver, "... or one of the same vector and another type");
    arch.injected = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_PF;
    block.ctl.exitintinfo &= ~EVENT_V;
    tap_ok(!raw(0x4e, 0, 0, none).redeliver, "... or what is left there is not valid");
    block.ctl.exitintinfo |= EVENT_V;
    block.save.rip = 0x1004;
    x = raw(0x4e, 0, 0, none);
    tap_ok(!x.redeliver, "... unless it was delivered");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_DF;
    block.save.rip = 0x1000;
    arch.injected = EVENT_V | EVENT_TYPE_EXCEPTION | EVENT_EV | VEC_DF;
    arch.injecting_df = true;
    x = raw(0x4d, 0, 0, none);
    tap_eq(x.kind, EXIT_SHUTDOWN, "a fault in the delivery of #DF");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_SOFT | VEC_DF;
    x = raw(0x4d, 0, 0, none);
    tap_eq(x.kind, EXIT_EXCEPTION, "... but not in that of the guest's own INT 8");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_EXCEPTION | VEC_DF;
    block.save.rip = 0x2000;
    x = raw(0x4d, 0, 0, none);
    tap_eq(x.kind, EXIT_EXCEPTION, "... nor behind its delivery");
}

/* An interrupt offered as a virtual one: waiting, taken, or cut short in its delivery. */
static void test_offered(void)
{
    const struct svm_features none = {0};
    struct vmexit x;

    memset(&block, 0, sizeof(block));
    arch.injected = 0;
    arch.injecting_df = false;
    block.save.cr3 = arch.root;
    block.ctl.vintr = VINTR_V_IRQ | 0x51ull << VINTR_VECTOR_SHIFT;
    x = raw(0x60, 0, 0, none);
    tap_ok(!x.untaken, "a window's V_IRQ is no interrupt");
    arch.offered = EVENT_V | EVENT_TYPE_INTR | 0x51;
    x = raw(0x60, 0, 0, none);
    tap_ok(x.untaken && !x.redeliver, "V_IRQ still set: it waits");
    block.ctl.vintr = 0;
    x = raw(0x60, 0, 0, none);
    tap_ok(!x.untaken && !x.redeliver, "V_IRQ gone: taken");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_INTR | 0x51;
    block.save.rip = 0x2222; /* far from where the guest was entered */
    x = raw(0x4e, 2, 0xabc000, none);
    tap_ok(x.kind == EXIT_PF && x.untaken && x.redeliver, "its delivery faulted");
    block.ctl.vintr = VINTR_V_IRQ;
    x = raw(0x4e, 2, 0xabc000, none);
    tap_ok(x.untaken && x.redeliver, "... also where V_IRQ stays set then");
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_SOFT | 0x51;
    x = raw(0x4e, 2, 0xabc000, none);
    tap_ok(x.untaken && !x.redeliver, "the guest's own INT 51 is another event");
    block.ctl.vintr = 0;
    block.ctl.exitintinfo = EVENT_V | EVENT_TYPE_INTR | 0x51;
    x = raw(0x7d, 0x28, 0, none);
    tap_ok(x.kind == EXIT_TASK_SWITCH && !x.untaken, "a task switch for it completes it");
    arch.offered = 0;
}

/* The ASID that an entry runs with, and whether everything is flushed. */
static uint32_t entered(struct svm_vcpu *a, uint32_t asid, bool flush, bool *all)
{
    struct vcpu v = {.arch = a};

    block.ctl.tlb_control = TLB_KEEP;
    svm_set_root(&v, hpa(0x5000), asid, flush, false);
    *all = block.ctl.tlb_control == TLB_FLUSH_ALL;
    return block.ctl.asid;
}

static void test_asids(void)
{
    struct svm_vcpu a = {.vmcb = &block};
    bool all, used[8] = {0}, twice = false;

    memset(&block, 0, sizeof(block));
    svm_features = (struct svm_features){.nasids = 8};
    uint32_t first = entered(&a, 1, true, &all);
    tap_ok(all && first > 0 && first < 8, "the first ASID: whatever was there is flushed");
    tap_ok(entered(&a, 1, false, &all) == first && !all, "no flush: the same again");
    used[first] = true;
    for (int i = 0; i < 6; i++) {
        uint32_t n = entered(&a, 1 + (uint32_t)i % 2, true, &all);
        twice |= n == 0 || n > 7 || used[n] || all;
        used[n & 7] = true;
    }
    tap_ok(!twice, "each flush takes an ASID not used yet, and flushes nothing");
    uint32_t two = entered(&a, 2, true, &all);
    tap_ok(all && two > 0 && two < 8, "when none is left all are flushed");
    uint32_t one = entered(&a, 1, false, &all);
    for (int i = 0; i < 5; i++)
        twice |= entered(&a, 2, true, &all) == one || all;
    tap_ok(one != two && !twice, "and another root's is new, being whose turn it is now");
    svm_features.flush_by_asid = true;
    tap_ok(entered(&a, 5, true, &all) == 5 && !all && block.ctl.tlb_control == TLB_FLUSH_ASID,
           "with flush by ASID it is the pager's, flushed alone");
    tap_ok(entered(&a, 5, false, &all) == 5 && block.ctl.tlb_control == TLB_KEEP, "or kept");
}

int main(void)
{
    test_asids();
    test_translate();
    test_offered();
    test_task();
    return tap_done();
}
