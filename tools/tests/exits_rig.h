/* SPDX-License-Identifier: BSD-2-Clause */
/* A sub-VMM on the fake machine with a fake vendor: real pager, devices and handlers, and exits
 * made by hand. Included by tools/tests/test_exits.c, which tests it. */
#pragma once
#include "tools/tests/fake/fake.h"
#include "tools/tests/tap.h"
#include "arch-x86/defs/x86.h"
#include "hv/mon/mon.h"
#include "hv/coherency/actions.h"
#include "hv/mmu/gmem.h"
#include "hv/exit/exit.h"
#include "hv/subvmm/life.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

#define RIG_GRANULES 16
#define RIG_RAM ((uint64_t)RIG_GRANULES << REGION_SHIFT)
#define RIG_CODE 0x8000ull
#define RIG_POOL_BYTES (8ull << 20)
#define RIG_POOL_HPA 0x40000000ull
#define RIG_CPUS 4

static struct hv_options opt;
static struct coherency co;
static struct channel matrix[HV_MAX_CPUS][HV_MAX_CPUS];
static struct vm vm;
static uint32_t granules[RIG_GRANULES];
static struct subvmm sub[RIG_CPUS];
static void *pool[RIG_CPUS], *words;

/* --- the vendor --- */

static struct fake_vendor {
    struct vcpu_segs segs;
    struct vcpu_msrs msrs;
    struct vcpu_debug debug;
    struct vcpu_ctl ctl;
    struct vcpu_event injected;
    bool window, shadow, nmi_mask;
    bool step, stepped;   /* asked for; and so in the last run() */
    uint64_t run_rflags;  /* at its entry */
    uint64_t exit_rflags; /* at the exit, UINT64_MAX: unchanged */
    uint64_t exit_dr6;    /* bits that the guest sets in it */
    unsigned runs;
    struct vmexit next; /* what run() reports */
    uint64_t run_rip;   /* RIP at the exit, UINT64_MAX: unchanged */
} vendor[RIG_CPUS];

static enum hv_err fv_init(struct vcpu *v)
{
    v->arch = &vendor[v->cpu];
    return HV_OK;
}
static void fv_run(struct vcpu *v, struct vmexit *x)
{
    struct fake_vendor *f = v->arch;
    f->runs++;
    *x = f->next;
    f->stepped = f->step;
    f->step = false;
    f->run_rflags = v->regs.rflags;
    f->debug.dr6 |= f->exit_dr6;
    if (f->exit_rflags != UINT64_MAX)
        v->regs.rflags = f->exit_rflags;
    if (f->run_rip != UINT64_MAX)
        v->regs.rip = f->run_rip;
}
static void fv_get(struct vcpu *v, enum vcpu_group g, void *out)
{
    const struct fake_vendor *f = v->arch;
    if (g == VCPU_SEGS)
        memcpy(out, &f->segs, sizeof(f->segs));
    else if (g == VCPU_MSRS)
        memcpy(out, &f->msrs, sizeof(f->msrs));
    else if (g == VCPU_DEBUG)
        memcpy(out, &f->debug, sizeof(f->debug));
    else
        memcpy(out, &v->ctl, sizeof(v->ctl));
}
static void fv_put(struct vcpu *v, enum vcpu_group g, const void *in)
{
    struct fake_vendor *f = v->arch;
    if (g == VCPU_SEGS)
        memcpy(&f->segs, in, sizeof(f->segs));
    else if (g == VCPU_MSRS)
        memcpy(&f->msrs, in, sizeof(f->msrs));
    else if (g == VCPU_DEBUG)
        memcpy(&f->debug, in, sizeof(f->debug));
    else
        memcpy(&f->ctl, in, sizeof(f->ctl));
}
static void fv_code(const struct vcpu *v, struct vcpu_code *out)
{
    const struct fake_vendor *f = v->arch;
    const struct segment *cs = &f->segs.seg[SEG_CS];
    *out = (struct vcpu_code){cs->base, cs->limit, cs->attr, f->segs.cpl, f->debug.dr7 & 0xff};
}
static uint32_t fv_mode(const struct vcpu *v)
{
    const struct fake_vendor *f = v->arch;
    return f->segs.seg[SEG_CS].attr | (uint32_t)f->segs.cpl << 16;
}
static void fv_inject(struct vcpu *v, const struct vcpu_event *e)
{
    ((struct fake_vendor *)v->arch)->injected = *e;
}
static void fv_root(struct vcpu *v, hpa_t root, uint32_t asid, bool one, bool all)
{
    (void)v, (void)root, (void)asid, (void)one, (void)all;
}
static void fv_window(struct vcpu *v, bool on)
{
    ((struct fake_vendor *)v->arch)->window = on;
}
static void fv_isolate(struct vcpu *v, bool on)
{
    (void)v, (void)on;
}
static bool fv_no_wait;
static bool fv_waits(void)
{
    return !fv_no_wait;
}
static void fv_shadow(struct vcpu *v, bool on)
{
    ((struct fake_vendor *)v->arch)->shadow = on;
}
static void fv_nmi(struct vcpu *v, bool on)
{
    ((struct fake_vendor *)v->arch)->nmi_mask = on;
}
static void fv_step(struct vcpu *v)
{
    ((struct fake_vendor *)v->arch)->step = true;
}
static uint32_t fv_nasids(void)
{
    return 16;
}
static void fv_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    static const uint32_t component[][3] = {
        [0] = {0x602e7, 0, 0xa88}, [1] = {0xf, 0x340, 0x1800}, [2] = {256, 576, 0},
        [5] = {64, 1088, 0},       [6] = {512, 1152, 0},       [7] = {1024, 1664, 0},
        [9] = {8, 2688, 0},        [17] = {64, 2752, 2}};
    memset(out, 0, 16);
    if (leaf == 0xd && subleaf < ARRAY_SIZE(component))
        memcpy(out, component[subleaf], 12);
    /* Everything a processor could have, so that what is hidden is hidden by us. */
    if (leaf == 1 || leaf == 7 || leaf == 0x80000001)
        memset(out, 0xff, 16);
    if (leaf == 0 || leaf == 0x80000000)
        out[0] = leaf ? 0x80000021 : 0x20;
    if (leaf == 0)
        memcpy(&out[1], "AuthcAMDenti", 12);
    if (leaf == 0x80000008)
        out[0] = 0x3028;
}
static void fv_dump(struct vcpu *v, void (*emit)(const char *line))
{
    (void)v;
    emit("fake vendor");
}
static const struct vcpu_ops fake_ops = {
    .name = "fake",
    .hypercall = {0x0f, 0x01, 0xc1},
    .init = fv_init,
    .run = fv_run,
    .get = fv_get,
    .put = fv_put,
    .code = fv_code,
    .mode = fv_mode,
    .inject = fv_inject,
    .set_root = fv_root,
    .isolate = fv_isolate,
    .window = fv_window,
    .waits = fv_waits,
    .set_int_shadow = fv_shadow,
    .nmi_mask = fv_nmi,
    .step = fv_step,
    .nasids = fv_nasids,
    .cpuid = fv_cpuid,
    .dump = fv_dump,
};

/* --- the machine --- */

static unsigned poweroffs, resets;
static void on_poweroff(void *ctx)
{
    (void)ctx;
    poweroffs++;
}
static void on_reset(void *ctx)
{
    (void)ctx;
    resets++;
}

/* A fresh VM of `ncpus` CPUs whose BSP starts flat and unpaged at RIG_CODE. */
static void rig_new(uint32_t ncpus, bool entry_long)
{
    static _Alignas(PAGE_SIZE) char answers[HV_MAX_CPUS * 16384];
    ASSERT(mon_bytes(HV_MAX_CPUS) <= sizeof(answers));
    mon_place(memset(answers, 0, sizeof(answers)));
    fake_reset();
    fake_set_ncpus(ncpus);
    fake_set_tsc_hz(1000000000);
    fake_set_tsc(1000, 10);
    fake_set_boot_time(1700000000);
    fake_arena(0, RIG_RAM);
    vcpu_ops = &fake_ops;
    options_parse(&opt, "", NULL);
    free(words);
    free(vm.pc);
    memset(&vm, 0, sizeof(vm));
    memset(&co, 0, sizeof(co));
    memset(vendor, 0, sizeof(vendor));
    for (unsigned i = 0; i < RIG_GRANULES; i++)
        granules[i] = i;
    uint64_t nframes = RIG_RAM >> PAGE_SHIFT;
    words = calloc(1, coherency_bytes(nframes));
    uint32_t pcpu[HV_MAX_CPUS];
    for (uint32_t c = 0; c < ncpus; c++)
        pcpu[c] = c;
    coherency_place(&co, pcpu, ncpus);
    coherency_init(&co, ncpus, nframes, words, matrix, &opt);
    coherency_give(&co);
    vm.ncpus = ncpus;
    vm.p2m = (struct p2m){.granule = granules, .ngranules = RIG_GRANULES};
    vm.ram_bytes = vm.ram_low_end = RIG_RAM;
    vm.co = &co;
    vm.opt = &opt;
    vm.pc = calloc(1, vpc_sizeof());
    vpc_init(vm.pc, &(struct vpc_config){.ncpus = ncpus,
                                         .co = &co,
                                         .tsc_hz = 1000000000,
                                         .ram_top_low = RIG_RAM,
                                         .poweroff = on_poweroff,
                                         .reset = on_reset});
    vm.entry_rip = RIG_CODE;
    vm.entry_rsi = 0x90000;
    vm.entry_cr3 = 0x100000;
    vm.entry_long = entry_long;
    kvmclock_init(&vm);
    for (uint32_t c = 0; c < ncpus && c < RIG_CPUS; c++) {
        if (!pool[c])
            pool[c] = aligned_alloc(PAGE_SIZE, RIG_POOL_BYTES);
        memset(pool[c], 0, RIG_POOL_BYTES);
        fake_set_cpu(c);
        vendor[c].run_rip = vendor[c].exit_rflags = UINT64_MAX;
        vendor[c].next = (struct vmexit){.kind = EXIT_INTR, .gpr = VMEXIT_GPR_NONE};
        if (subvmm_init(&sub[c], &vm, pool[c], hpa(RIG_POOL_HPA + c * RIG_POOL_BYTES),
                        RIG_POOL_BYTES) != HV_OK) {
            fprintf(stderr, "subvmm_init failed\n");
            exit(2);
        }
        action_online(&sub[c].coh);
    }
    fake_set_cpu(0);
}

static struct subvmm *bsp(void)
{
    return &sub[0];
}

/* Puts code at RIP of the BSP (unpaged: linear = physical). */
__attribute__((unused)) static void rig_code(const void *bytes, size_t n)
{
    memcpy(port_ptr(hpa(RIG_CODE)), bytes, n);
    sub[0].vcpu.regs.rip = RIG_CODE;
}

/* One exit of that kind on the BSP, as if run() had returned it. */
__attribute__((unused)) static void rig_exit(enum vmexit_kind kind)
{
    struct vmexit x = {.kind = kind, .gpr = VMEXIT_GPR_NONE};
    exit_dispatch(bsp(), &x);
}

__attribute__((unused)) static uint64_t *gpr(unsigned r)
{
    return &sub[0].vcpu.regs.gpr[r];
}

/* Is exactly this exception pending on the BSP? Clears it. */
__attribute__((unused)) static bool took(uint8_t vector)
{
    struct vcpu_event *p = &sub[0].vcpu.pending;
    bool yes = p->type == EVENT_EXCEPTION && p->vector == vector;
    p->type = EVENT_NONE;
    return yes;
}

__attribute__((unused)) static bool quiet(void)
{
    return sub[0].vcpu.pending.type == EVENT_NONE;
}
