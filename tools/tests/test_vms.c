/* SPDX-License-Identifier: BSD-2-Clause */
/* Two VMs on one machine: each its own square of the matrix, trace words and CPUs; nothing of one
 * reaches the other; and a VM that is made anew is as at boot. */
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include "hv/base/options.h"
#include "hv/coherency/actions.h"
#include "hv/coherency/channel.h"
#include "hv/coherency/producer.h"
#include "hv/coherency/trace.h"
#include "hv/main.h"
#include "hv/mem/phys.h"
#include "hv/vms.h"

#define MIB (1ull << 20)
#define MACHINE (512 * MIB)
#define CODE_HPA (500 * MIB)

/* Stand in for the builders that have their own tests. */
enum hv_err vm_acpi_build(struct vm *v, gpa_t *rsdp)
{
    *rsdp = gpa(0xe0000);
    return vm_copy_in(v, *rsdp, "RSD PTR ", 8);
}

static struct boot_info bi;
static struct coh_cpu coh[2][2];

/* VM a has CPUs 2 and 3, VM b 0 and 1: VCPU 0 of b is CPU 0. */
static void machine(void)
{
    static const uint8_t code[] = {0xf4, 0xeb, 0xfd};
    fake_reset();
    fake_set_ncpus(4);
    fake_set_tsc_hz(1000000000);
    fake_set_tsc(1000, 10);
    phys_reset();
    fake_arena(0, MACHINE);
    if (phys_add(hpa(MIB), MACHINE - MIB) != HV_OK || phys_reserve(hpa(CODE_HPA), 2 * MIB) != HV_OK)
        exit(2);
    memcpy(port_ptr(hpa(CODE_HPA)), code, sizeof(code));
    options_parse(&hv_opt, "test=1", NULL);
    memset(&bi, 0, sizeof(bi));
    bi.nmodules = 2;
    bi.module[0] =
        (struct vm_module){hpa(CODE_HPA), 3, "vm=a cpus=2-3 mem=64 role=raw addr=0x8000"};
    bi.module[1] =
        (struct vm_module){hpa(CODE_HPA), 3, "vm=b cpus=0-1 mem=64 role=raw addr=0x8000"};
    hv_plan(&bi, 4, phys_free_bytes());
    hv_main(4);
    for (unsigned v = 0; v < 2; v++)
        for (uint32_t c = 0; c < 2; c++) {
            coh_cpu_init(&coh[v][c], vm_table[v].co, c, NULL, NULL);
            action_online(&coh[v][c]);
        }
}

static uint64_t doorbells(uint32_t first, uint32_t last)
{
    uint64_t n = 0;
    for (uint32_t c = first; c <= last; c++)
        n += atomic_load(&fake_cpu[c].doorbells);
    return n;
}

static uint64_t posts(const struct vm *vm)
{
    uint64_t n = 0;
    for (uint32_t p = 0; p < vm->ncpus; p++)
        for (uint32_t c = 0; c < vm->ncpus; c++)
            n += vm->co->matrix[p][c].posts;
    return n;
}

static bool apart(const void *a, size_t an, const void *b, size_t bn)
{
    return (const char *)a + an <= (const char *)b || (const char *)b + bn <= (const char *)a;
}

static void test_places(void)
{
    const struct vm *a = &vm_table[0], *b = &vm_table[1];
    uint32_t vcpu;
    unsigned shared = 0;

    tap_ok(vm_count == 2 && strcmp(a->name, "a") == 0 && a->ncpus == 2, "two VMs");
    tap_ok(vm_of(0, &vcpu) == b && vcpu == 0 && vm_of(3, &vcpu) == a && vcpu == 1,
           "a CPU of the machine knows its VM and VCPU");
    tap_ok(!vm_of(4, &vcpu) && !vm_of(1000, &vcpu), "others have none");
    tap_ok(a->co != b->co &&
               apart(a->co->matrix, 2 * sizeof(*a->matrix), b->co->matrix, 2 * sizeof(*b->matrix)),
           "each its own square of the matrix");
    tap_ok(
        apart(a->words, coherency_bytes(a->co->nframes), b->words, coherency_bytes(b->co->nframes)),
        "each its own trace words");
    for (uint64_t i = 0; i < a->p2m.ngranules; i++)
        for (uint64_t k = 0; k < b->p2m.ngranules; k++)
            shared += a->p2m.granule[i] != P2M_NONE && a->p2m.granule[i] == b->p2m.granule[k];
    tap_eq(shared, 0, "no granule is in both maps");
    unsigned beside = 0; /* with test=1 a granule of poison lies between */
    for (uint64_t i = 0; i < a->p2m.ngranules; i++)
        for (uint64_t k = 0; k < b->p2m.ngranules; k++)
            beside += a->p2m.granule[i] + 1 == b->p2m.granule[k];
    tap_eq(beside, 0, "nor do they touch: poison lies between");
    tap_eq(vm_poison_damage(), 0, "which is whole");
}

static void test_post(void)
{
    struct vm *a = &vm_table[0], *b = &vm_table[1];
    uint64_t old;
    cpuset_t ask;
    bool self_drop;
    const gfn_t f = gfn(0x10);

    old = trace_install(&coh[0][1], f, &ask, &self_drop);
    tap_ok(!(old & TRACE_TRACED) && (trace_word(&coh[0][0], f) & TRACE_TRACED), "traced in a");
    tap_eq(trace_word(&coh[1][0], f), 0, "and nothing of it in b");
    uint64_t *host = p2m_ptr(&a->p2m, gfn_gpa(f));
    *host = 0x67; /* present and accessed: of interest */
    (void)producer_exchange(&coh[0][0], gfn_gpa(f), host, 8, 0x1067);
    tap_ok(posts(a) == 1 && posts(b) == 0, "a patch stays in its VM's matrix");
    tap_ok(atomic_load(&a->co->cpu[1].pending) == 1 && !atomic_load(&b->co->cpu[1].pending),
           "so does its pending bit");
}

static void test_doorbells(void)
{
    struct vm *a = &vm_table[0], *b = &vm_table[1];
    fake_set_cpu(2);
    uint64_t low = doorbells(0, 1), high = doorbells(2, 3);
    (void)mode_enter(&coh[0][1], MODE_HALTED);
    (void)mode_enter(&coh[1][1], MODE_HALTED);
    action_post(a->co, 0, 1, ACTION_IRQ);
    tap_ok(doorbells(0, 1) == low && doorbells(2, 3) == high + 1, "VCPU 1 of a is CPU 3");
    action_post(b->co, 0, 1, ACTION_IRQ);
    tap_ok(doorbells(0, 1) == low + 1 && doorbells(2, 3) == high + 1, "VCPU 1 of b is CPU 1");
    tap_ok(action_take(&coh[0][1], ~0ull) == ACTION_IRQ, "a's action");
    tap_ok(action_take(&coh[1][1], ~0ull) == ACTION_IRQ, "b's action");
    action_manage(&coh[0][0], 0, ACTION_MONITOR);
    tap_ok(action_take(&coh[1][0], ~0ull) == ACTION_MONITOR, "the monitor reaches any CPU");
}

static void bad_post(void *ctx)
{
    (void)ctx;
    action_post(vm_table[0].co, 0, 2, ACTION_IRQ);
}

static void bad_bell(void *ctx)
{
    (void)ctx;
    vm_table[0].co->pcpu[1] = 1; /* what an error might make of it: VM b's */
    atomic_store(&vm_table[0].co->cpu[1].mode, MODE_HALTED);
    action_post(vm_table[0].co, 0, 1, ACTION_NMI);
}

static void twice(void *ctx)
{
    (void)ctx;
    coherency_give(vm_table[0].co);
}

static void test_impossible(void)
{
    uint64_t low = doorbells(0, 1);
    tap_eq(fake_run(bad_post, NULL), FAKE_PANIC, "a VCPU that the VM has not");
    tap_eq(fake_run(bad_bell, NULL), FAKE_PANIC, "a doorbell to another VM's CPU");
    tap_eq(doorbells(0, 1), low, "... is not rung");
    tap_eq(fake_run(twice, NULL), FAKE_PANIC, "a CPU of two VMs");
    vm_table[0].co->pcpu[1] = 3;
    atomic_store(&vm_table[0].co->cpu[1].action, 0);
}

/* Everything of a VM that a life leaves traces in. */
static bool is_fresh(const struct vm *vm)
{
    const uint64_t *w = vm->words;
    uint64_t any = 0;
    for (size_t i = 0; i < coherency_bytes(vm->co->nframes) / 8; i++)
        any |= w[i];
    for (uint32_t c = 0; c < vm->ncpus; c++)
        any |= vm->co->cpu[c].pending | vm->co->cpu[c].action | vm->co->cpu[c].storing |
               vm->co->cpu[c].mailbox[0].seq | vm->co->cpu[c].mailbox[0].ack |
               vm->co->cpu[c].flush_owed;
    return !any && !posts(vm) && !vm->active && !vm->stopped && !vm->finisher;
}

static void test_again(void)
{
    struct vm *a = &vm_table[0], *b = &vm_table[1];
    uint64_t free_bytes = phys_free_bytes(), bells = doorbells(0, 1);
    uint8_t *at = p2m_ptr(&a->p2m, gpa(0x8000)), *other = p2m_ptr(&b->p2m, gpa(0x123456));

    for (unsigned i = 0; i < 20; i++) {
        cpuset_t ask;
        bool self_drop;
        memset(p2m_ptr(&a->p2m, gpa(0x100000)), 0xee, 100000);
        at[0] = 0x90;
        *other = 0x55;
        for (uint64_t f = 0; f < 200; f++)
            (void)trace_install(&coh[0][i & 1], gfn(f * 7), &ask, &self_drop);
        (void)producer_exchange(&coh[0][0], gpa(7 << 12), p2m_ptr(&a->p2m, gpa(7 << 12)), 8, i);
        atomic_store(&a->co->cpu[1].mailbox[0].seq, 3);
        atomic_store(&a->co->cpu[1].mailbox[0].ack, 3);
        atomic_store(&a->co->cpu[1].flush_owed, 1);
        vm_set_active(a, 1, true);
        vm_mark_stopped(a, 0);
        vm_end(a, 0, VM_RESET);
        if (!vm_make_again(a) || !is_fresh(a))
            break;
        vm_go_on(a);
        if (i == 19)
            tap_ok(true, "made anew: trace words, channels, action words and life as at boot");
    }
    tap_ok(is_fresh(a), "20 times");
    tap_eq(at[0], 0xf4, "the image is what the boot loader gave");
    tap_eq(*(uint8_t *)p2m_ptr(&a->p2m, gpa(0x100010)), 0, "RAM is zeroed");
    tap_eq(*other, 0x55, "the other VM's is not");
    tap_eq(phys_free_bytes(), free_bytes, "no page was taken");
    tap_eq(doorbells(0, 1), bells, "the other VM heard nothing");
    tap_eq(atomic_load(&a->ended), 0, "it is running");
    tap_eq(vm_poison_damage(), 0, "nothing outside changed");
}

static int64_t held = -1; /* a granule that another CPU has taken and not zeroed yet */

static void takes(uint32_t cpu)
{
    (void)cpu;
    held = atomic_fetch_sub(&vm_table[0].clear_left, 1) - 1;
}

static void zeroes(uint32_t cpu)
{
    struct vm *a = &vm_table[0];
    (void)cpu;
    if (held < 0)
        return;
    memset(p2m_ptr(&a->p2m, gpa((uint64_t)held << REGION_SHIFT)), 0, REGION_SIZE);
    held = -1;
    atomic_fetch_sub(&a->clear_open, 1);
}

/* RAM is zeroed by all CPUs of the VM. */
static void test_clear(void)
{
    struct vm *a = &vm_table[0];
    uint64_t last = a->p2m.ngranules - 1;
    uint8_t *at = p2m_ptr(&a->p2m, gpa(last << REGION_SHIFT));
    *at = 0x55;
    fake_set_cpu(2);
    fake_on_doorbell = takes;
    fake_on_relax = zeroes;
    vm_clear(a);
    fake_on_doorbell = fake_on_relax = NULL;
    tap_ok(*at == 0 && held < 0, "who makes it waits for what another CPU has taken");
    tap_ok(!vm_clear_help(a), "and hands out no more");
}

static void orders(uint32_t cpu)
{
    (void)cpu;
    fake_on_doorbell = NULL; /* once */
    vm_end_from(&coh[0][0], &vm_table[1], VM_ORDER_STOP);
}

static void ends(void *how)
{
    struct vm *vm = &vm_table[1];
    fake_set_cpu(0);
    vm_mark_stopped(vm, 0);
    vm_mark_stopped(vm, 1);
    vm_ended(vm, *(uint32_t *)how);
}

static void test_policy(void)
{
    uint32_t how = VM_RESET;
    uint32_t lives = vm_table[1].epoch;
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "a reset of one of two VMs");
    tap_ok(vm_table[1].epoch == lives + 1 && vm_state(&vm_table[1]) == VM_ON, "starts it again");
    vm_table[1].onend = ONEND_MACHINE;
    tap_eq(fake_run(ends, &how), FAKE_RESET, "onend=machine: the machine's");
    vm_table[1].onend = ONEND_RESTART;
    how = VM_POWEROFF;
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "onend=restart:");
    tap_ok(vm_table[1].epoch == lives + 2 && vm_state(&vm_table[1]) == VM_ON,
           "power-off starts it");
    vm_table[1].onend = ONEND_AUTO;
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "power-off of one of two:");
    tap_ok(vm_state(&vm_table[1]) == VM_OFF && !vm_use_begin(&vm_table[1]), "it is off");
    tap_ok(strstr(fake_console(), "patchbay: VM b: guest powered off") != NULL, "and said to be");
    lives = vm_table[1].epoch;
    atomic_store(&vm_table[1].stopped, 1);
    vm_start_again(&vm_table[1]);
    tap_ok(vm_state(&vm_table[1]) == VM_OFF && vm_table[1].epoch == lives,
           "not started while a CPU has not stopped");
    vm_mark_stopped(&vm_table[1], 1);
    vm_start_again(&vm_table[1]);
    tap_ok(vm_state(&vm_table[1]) == VM_ON && vm_use_begin(&vm_table[1]), "started by the monitor");
    vm_use_end(&vm_table[1]);
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "off again");
    for (uint32_t c = 0; c < 2; c++)
        vm_mark_stopped(&vm_table[0], c);
    vm_table[0].onend = ONEND_STOP;
    vm_table[1] = vm_table[0]; /* ends() is for [1] */
    tap_eq(fake_run(ends, &how), FAKE_POWEROFF, "with the last VM the machine");
}

/* A VM that resets all the time can be stopped: an order that comes while it is ending or being
 * made is not lost. */
static void test_orders(void)
{
    struct vm *b = &vm_table[1];
    uint32_t how = VM_RESET;
    vm_end(b, 0, VM_RESET);
    orders(0);
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "a reset, and an order to stop while it ends:");
    tap_ok(vm_state(b) == VM_OFF, "it is off");
    orders(0);
    vm_start_again(b);
    tap_ok(vm_state(b) == VM_ON && !atomic_load(&b->ended), "an order to one that is off is none");
    vm_end(b, 0, VM_RESET);
    fake_on_doorbell = orders; /* while its RAM is zeroed */
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "a reset, and an order to stop while it is made:");
    tap_eq(atomic_load(&b->ended), VM_ORDER_STOP, "it ends at once");
    tap_ok(vm_is_finisher(b, 0) && (atomic_load(&b->co->cpu[1].action) & ACTION_STOP),
           "its CPUs are told");
    how = VM_ORDER_STOP;
    tap_eq(fake_run(ends, &how), FAKE_RETURNED, "and is over");
    vm_start_again(b);
    tap_ok(vm_state(b) == VM_ON && !atomic_load(&b->ended), "nothing is kept for the next time");
}

/* One that was off, and was not made again: it is off still, and the other one runs. */
static void test_off_twice(void)
{
    static struct vm a, b;
    uint32_t before;

    vm_go_on(&a);
    vm_go_on(&b);
    before = vm_go_off(&a);
    vm_making(&a);
    tap_eq(vm_go_off(&a), before, "a VM is off once, however often it fails to start");
    tap_eq(vm_go_off(&b), before - 1, "... and the other one is counted");
}

int main(void)
{
    machine();
    test_off_twice();
    test_places();
    test_post();
    test_doorbells();
    test_impossible();
    test_again();
    test_clear();
    test_orders();
    test_policy();
    return tap_done();
}
