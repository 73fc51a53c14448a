/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop of a sub-VMM: serve requests, take actions, run timers, then enter the guest, halt, or
 * wait, as the VCPU's state says (README "Waiting and waking"). Tested by
 * tools/tests/test_exits.c and test_loop.c.
 *
 * Rules of the quick round, which goes straight back into the guest.
 * 1. What other CPUs and interrupt handlers want is in the action word, which mode_enter reads last
 *    of all, or in the pending word. Both are 0, or the round is a whole one.
 * 2. What this CPU itself may have changed: a handler that touches nothing but registers of the
 *    VCPU and the shadow says so (calm) when it is done; whoever touches a device, the local APIC,
 *    a timer or the VCPU's state does not, or takes it back. Without the word the round is a whole
 *    one; so a forgotten one costs time, and one said wrongly is a bug.
 * 3. Nothing waited to be injected when events_prepare looked last (quiet). What a handler raised
 *    is injected as in any round. The end of an interrupt without an exit (pveoi.c) holds nothing
 *    back: what comes while one is offered comes with an action, and the offer is taken back.
 * 4. Requests count as looked at (mmu_quick), and an audit asked for is done in every round.
 * In rounds of both kinds the root is left as it is where mmu_enter would say the same again
 * (mmu_same) and the vendor was given no other since (root_set). */
#include "arch-x86/defs/x86.h"
#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "hv/base/profile.h"
#include "hv/base/stats.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/port/cpu.h"
#include "hv/port/iommu.h"
#include "hv/emulate/emulate.h"
#include "hv/exit/exit.h"
#include "hv/subvmm/life.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

#define INPUT_POLL_HZ 10
/* So soon devices go on with what was more than a turn's work: the guest runs meanwhile. */
#define DEVICES_HZ 50000

static bool serve(void *ctx)
{
    struct subvmm *s = ctx;

    return mmu_serve(&s->mmu);
}

/* --- actions --- */

static void action_init(struct subvmm *s)
{
    if (s->vcpu.state == VCPU_PARKED || s->vcpu.state == VCPU_STOPPED)
        return;
    vlapic_reset(s->vm->pc, s->cpu);
    vcpu_init_reset(s);
    if (s->vcpu.is_bsp)
        vcpu_restart(s);
}

static void take_actions(struct subvmm *s)
{
    uint64_t a;

    if (!(action_peek(&s->coh) & ~ACTION_REQUESTS))
        return;
    a = action_take(&s->coh, ~ACTION_REQUESTS);
    if (a & ACTION_TIMER) {
        s->timer_armed = UINT64_MAX;
        mmu_age(&s->mmu);
        if (port_tsc() >= s->watch_at)
            guestwatch_look(s);
    }
    if (s->dead && (a & (ACTION_INIT | ACTION_SIPI)))
        guestwatch_alive(s);
    if (a & ACTION_INIT)
        action_init(s);
    if ((a & ACTION_SIPI) && s->vcpu.state == VCPU_WAIT_SIPI)
        vcpu_start_real(s, (uint16_t)(vlapic_sipi_vector(s->vm->pc, s->cpu) << 8), 0);
    if (a & ACTION_NMI)
        s->vcpu.nmi_pending = true;
    if (a & ACTION_PAUSE)
        s->paused = !s->paused;
    if (a & ACTION_AUDIT)
        (void)mmu_audit(&s->mmu, 3);
    if (a & ACTION_MSI)
        devices_arrived(s);
    if (a & ACTION_DEVICE)
        s->devices_called = true;
    if (a & ACTION_INPUT)
        s->input.ready = true;
    if ((a & ACTION_MONITOR) && subvmm_monitor_hook)
        subvmm_monitor_hook(s);
    if (a & ACTION_STOP)
        s->vcpu.state = VCPU_STOPPED;
}

/* One physical timer carries all virtual ones. An earlier deadline than needed is left standing: it
 * costs one round, re-arming costs more. One that has passed is not waited for: its interrupt may
 * have been taken for another's. */
static void run_timers(struct subvmm *s)
{
    uint64_t now = port_tsc();
    uint64_t next = vpc_timers(s->vm->pc, s->cpu, now);

    /* Keys that found no room are looked at again although the guest may never exit by itself. */
    if (s->input.ready && next > now + port_tsc_hz() / INPUT_POLL_HZ)
        next = now + port_tsc_hz() / INPUT_POLL_HZ;
    if (s->pcpu == 0)
        port_iommu_late();
    if (s->vm->pass) {
        uint64_t again = pass_timers(s->vm->pass, s->cpu, now);
        next = again < next ? again : next;
    }
    if (s->devices_more && next > now + port_tsc_hz() / DEVICES_HZ)
        next = now + port_tsc_hz() / DEVICES_HZ;
    if (next > s->watch_at)
        next = s->watch_at;
    if (next < s->timer_armed || (s->timer_armed <= now && next != UINT64_MAX)) {
        s->timer_armed = next;
        port_timer_arm(next);
    }
}

/* --- guest --- */

static HV_RARE void audit(struct subvmm *s)
{
    static const uint32_t every[] = {0, 4096, 512, 1};
    uint32_t level = s->audit > 3 ? 3 : s->audit;

    if (level && s->entries - s->last_audit >= every[level]) {
        s->last_audit = s->entries;
        (void)mmu_audit(&s->mmu, level);
    }
}

/* The frame of a fault has RF set, so that the instruction's breakpoint does not hit again when it
 * is repeated; traps and aborts leave it (APM volume 2, 3.1.6 "RFLAGS Register", "Resume Flag").
 * What an entry injects is pushed with RFLAGS as they are. */
static bool pushes_rf(const struct vcpu_event *e)
{
    static const uint32_t not_faults =
        1u << VEC_DB | 1u << VEC_BP | 1u << VEC_OF | 1u << VEC_DF | 1u << VEC_MC;

    return e->type == EVENT_EXCEPTION && !(not_faults >> (e->vector & 31) & 1);
}

/* The event decided on goes to the hardware only when the entry is certain. */
static HV_APART void inject_event(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;

    s->injected = v->pending;
    v->pending.type = EVENT_NONE;
    if (!(v->ctl.cr0 & CR0_PE)) /* real mode pushes no error code */
        s->injected.has_error = false;
    if (pushes_rf(&s->injected))
        v->regs.rflags |= RFLAGS_RF;
    v->int_shadow = false;
    vcpu_ops->inject(v, &s->injected);
    v->intr = s->injected.type == EVENT_INTR;
}

static void inject_pending(struct subvmm *s)
{
    if (s->vcpu.pending.type != EVENT_NONE)
        inject_event(s);
    else
        s->injected.type = EVENT_NONE;
}

/* Before anything looks at the local APIC. */
static HV_APART void settle(struct subvmm *s, struct vmexit *x)
{
    struct vcpu *v = &s->vcpu;

    /* The shadow of STI or MOV SS lasts until an instruction ran, whatever the processor kept of
     * it. */
    if (x->window_shadow || v->int_shadow) {
        v->int_shadow = x->window_shadow || v->regs.rip == v->shadow_rip;
        v->shadow_rip = v->regs.rip;
    }
    events_settle(s, x);
    pveoi_sync(s);
}

/* In the guest and back, interrupts off: what follows an exit whatever its kind. */
static HV_INLINE void run_guest(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    struct vmexit x;

    s->entered_tsc = port_tsc();
    profile_border(s->pcpu, PROFILE_BEFORE);
    vcpu_ops->run(v, &x);
    profile_exit(s->pcpu, x.kind);
    mode_leave(&s->coh);
    s->entries++;
    xstate_sync(s);
    if (v->unsettled | x.window_shadow)
        settle(s, &x);
    profile_border(s->pcpu, PROFILE_AFTER);
    s->calm = false;
    exit_dispatch(s, &x);
    profile_border(s->pcpu, PROFILE_HANDLER);
    if (s->audit)
        audit(s);
}

/* Right behind a port access: the guest's next one, if it was reached without an entry. It is
 * handled as an exit, and not counted as one. Entered as for the guest; left as after an exit. */
static HV_APART bool went_ahead(struct subvmm *s)
{
    struct vmexit x;

    s->ahead.due = false;
    if (!ahead_run(s, &x))
        return false;
    mode_leave(&s->coh);
    port_irq_on();
    events_put_off(s); /* an interrupt that waits for IF is decided on anew */
    if (s->vcpu.pveoi_armed)
        pveoi_sync(s);
    s->calm = false;
    watch_beat(s); /* a guest that polls leaves no events */
    exit_io(s, &x);
    if (s->audit)
        audit(s);
    return true;
}

/* Interrupts off, and this CPU in the guest for all others. Nobody is served until the exit: a
 * request now makes the guest exit. false: something came in at the last moment. */
static HV_INLINE bool to_guest(struct subvmm *s)
{
    port_irq_off();
    if (mode_enter(&s->coh, MODE_GUEST))
        return true;
    port_irq_on();
    return false;
}

/* The same where the root or the flushes are not those of the last entry. */
static HV_APART bool to_guest_anew(struct subvmm *s)
{
    struct mmu_root root;

    mmu_enter(&s->mmu, &root); /* may make the root and so wait: before interrupts go off */
    if (!to_guest(s))
        return false;
    vcpu_ops->set_root(&s->vcpu, root.root, root.asid, root.flush, root.flush_all);
    mmu_entered(&s->mmu, &root);
    return true;
}

/* false: the guest was not entered. */
static HV_APART bool enter_anew(struct subvmm *s)
{
    bool same = s->root_set && mmu_same(&s->mmu);

    if (!(same ? to_guest(s) : to_guest_anew(s)))
        return false;
    s->root_set = true;
    if (s->ahead.due && same && went_ahead(s))
        return true;
    if (same)
        mmu_entered_same(&s->mmu);
    inject_pending(s);
    if (!s->quiet)
        events_kick(s);
    run_guest(s);
    return true;
}

static void enter(struct subvmm *s)
{
    events_prepare(s);
    if (s->vcpu.state == VCPU_RUNNING && !enter_anew(s))
        events_put_off(s);
}

/* The quick round, where all words for it are given; false: nothing is done yet and the round is a
 * whole one. */
static HV_INLINE bool enter_again(struct subvmm *s)
{
    if (s->vcpu.state != VCPU_RUNNING || !mmu_quick(&s->mmu))
        return false;
    if (!mmu_same(&s->mmu)) {
        if (!to_guest_anew(s))
            return false;
    } else {
        if (!to_guest(s))
            return false;
        mmu_entered_same(&s->mmu);
    }
    inject_pending(s);
    run_guest(s);
    return true;
}

/* --- waiting --- */

static void halt(struct subvmm *s)
{
    watch_beat(s);
    port_irq_off();
    if (mode_enter(&s->coh, MODE_HALTED)) {
        port_halt();
        mode_leave(&s->coh);
        profile_restart(s->pcpu);
    } else {
        port_irq_on();
    }
    mmu_woken(&s->mmu); /* also where the mode was MODE_HALTED for a moment only */
}

static void halted(struct subvmm *s)
{
    struct vcpu *v = &s->vcpu;
    bool irq = (v->regs.rflags & RFLAGS_IF) && vlapic_pending(s->vm->pc, s->cpu) >= 0;

    if (irq || (v->nmi_pending && !v->nmi_blocked) || v->pending.type != EVENT_NONE) {
        v->state = VCPU_RUNNING;
        steal_wake(s);
        if (s->dead)
            guestwatch_alive(s);
        return;
    }
    if (!s->dead && !(v->regs.rflags & RFLAGS_IF))
        guestwatch_dead(s);
    mmu_idle(&s->mmu, false);
    steal_halt(s);
    halt(s);
}

static HV_APART void whole_round(struct subvmm *s)
{
    s->calm = false;
    take_actions(s);
    mmu_between(&s->mmu);
    if (vm_is_finisher(s->vm, s->cpu) && !s->finished) {
        subvmm_finish(s);
        return;
    }
    if (s->vcpu.state != VCPU_STOPPED) {
        if (input_waits(s))
            input_pump(s);
        devices_run(s);
        run_timers(s);
    }
    switch (s->vcpu.state) {
    case VCPU_RUNNING:
        if (s->paused) {
            halt(s);
            break;
        }
        mmu_drain(&s->mmu);
        enter(s);
        break;
    case VCPU_HALTED:
        mmu_drain(&s->mmu);
        halted(s);
        break;
    case VCPU_STOPPED: /* once: from here on the VM may be made anew under this CPU */
        /* It runs no guest and answers no more: nobody may wait for it. */
        action_offline(&s->coh);
        vm_mark_stopped(s->vm, s->cpu);
        break;
    case VCPU_WAIT_SIPI:
    case VCPU_PARKED:
        halt(s);
        break;
    }
}

static HV_INLINE bool went_again(struct subvmm *s)
{
    static const union {
        bool given[4];
        uint32_t all;
    } words = {{true, true, true}};

    return s->quick == words.all && enter_again(s);
}

void subvmm_round(struct subvmm *s)
{
    if (!went_again(s))
        whole_round(s);
}

/* The VCPU of that VM which this CPU hosts. */
static uint32_t vcpu_here(const struct vm *vm)
{
    uint32_t c = 0;

    while (c < vm->ncpus && vm_pcpu(vm, c) != port_cpu())
        c++;
    ASSERT(c < vm->ncpus);
    return c;
}

enum hv_err subvmm_init(struct subvmm *s, struct vm *vm, void *pool, hpa_t pool_hpa,
                        uint64_t pool_bytes)
{
    uint32_t nasids = vcpu_ops->nasids();
    struct mmu_config cfg;

    memset(s, 0, sizeof(*s));
    s->pcpu = s->vcpu.cpu = port_cpu();
    s->cpu = vcpu_here(vm);
    s->vm = vm;
    /* pairs with the release of vm_go_on: all of the new life is seen */
    s->epoch = atomic_load_explicit(&vm->epoch, memory_order_acquire);
    s->p2m = vm->p2m;
    s->timer_armed = s->watch_at = UINT64_MAX;
    if (s->pcpu == 0 && !s->epoch) /* else nothing was typed yet, or it is kept */
        input_start();
    atomic_fetch_or(&vm->up, 1u << s->cpu);
    coh_cpu_init(&s->coh, vm->co, s->cpu, serve, s);
    s->vcpu.io_map = vm->pass ? pass_ports(vm->pass) : hpa(0);
    TRY(vcpu_ops->init(&s->vcpu));
    s->vcpu.directpf = vm->holders != NULL;
    s->audit = vm->opt->audit;
    cpuid_power_on(s);
    native_init(&s->native, &pool, &pool_hpa, &pool_bytes, &nasids);
    cfg = (struct mmu_config){
        .coh = &s->coh,
        .p2m = &s->p2m,
        .opt = vm->opt,
        .cpu = s->cpu,
        .pool = pool,
        .pool_hpa = pool_hpa,
        .pool_bytes = pool_bytes,
        .nasids = nasids,
        .phys_bits = s->vcpu.phys_bits,
        .absent = s->vcpu.directpf ? vcpu_ops->absent() : 0,
    };
    TRY(mmu_init(&s->mmu, &cfg));
    vcpu_power_on(s);
    return HV_OK;
}

static void begin(struct subvmm *s, struct vm *vm, void *pool, hpa_t pool_hpa, uint64_t pool_bytes)
{
    enum hv_err err = subvmm_init(s, vm, pool, pool_hpa, pool_bytes);
    if (err == HV_RANGE)
        PANIC("CPU %u: the processor has no ASIDs", port_cpu());
    if (err != HV_OK)
        PANIC(
            "CPU %u: shadow pool of %llu KiB is too small: give less guest RAM (mem=) or set pool=",
            port_cpu(), (unsigned long long)(pool_bytes >> 10));
    watch_start(s);
    s->input.ready = s->epoch > 1; /* keys may have come meanwhile */
    action_online(&s->coh);
}

HV_ANCHOR _Noreturn void subvmm_run(struct subvmm *s, struct vm *vm, void *pool, hpa_t pool_hpa,
                                    uint64_t pool_bytes)
{
    /* The address is a constant of the image, and a register holds it at less cost. */
    struct subvmm *volatile somewhere = s;
    s = somewhere;
    for (;;) {
        begin(s, vm, pool, pool_hpa, pool_bytes);
        for (;;) {
            while (went_again(s)) /* of a VCPU that runs, and so is not over */
                ;
            if (subvmm_over(s))
                break;
            whole_round(s);
        }
        subvmm_off(s);
    }
}
