/* SPDX-License-Identifier: BSD-2-Clause */
/* Traps: caught where a test expects them, reported where not.
 * Tested by basic.exceptions and every run of the image. */
#include "guest/guest.h"

struct cpu cpus[MAX_CPUS] __attribute__((aligned(64)));
static void interrupt(struct trapframe *f)
{
    struct cpu *c = this_cpu();

    apic_write(APIC_EOI, 0);
    if (c->hook != NULL && c->hook(f, 0))
        return;
    if (f->vector == VEC_TIMER)
        watchdog_check(f);
    if (test_abandoned() && c->job != NULL)
        trap_continue_at(f, c->job);
}

static void nmi(const struct trapframe *f)
{
    struct cpu *c = this_cpu();

    if (c->hook != NULL && c->hook((struct trapframe *)(uintptr_t)f, 0))
        return;
    trap_report(f, read_cr2()); /* somebody wants to know where this CPU is */
}

void trap_entry(struct trapframe *f)
{
    struct cpu *c = this_cpu();
    uint64_t cr2 = f->vector == VEC_PF ? read_cr2() : 0;

    /* pairs with waits in tests */
    atomic_fetch_add_explicit(&c->irqs[f->vector], 1, memory_order_release);
    if (f->vector == VEC_CALL) {
        apic_write(APIC_EOI, 0);
        ipi_call_entry();
        return;
    }
    if (f->vector == VEC_SPURIOUS)
        return;
    if (f->vector > VEC_USER_RETURN) {
        interrupt(f);
        return;
    }
    if (f->vector == VEC_NMI) {
        nmi(f);
        return;
    }
    if (c->hook != NULL && c->hook(f, cr2))
        return;
    c->trap = (struct trap){f->vector, f->error, cr2, f->rip, f->rflags};
    if (c->catcher != NULL) {
        trap_continue_at(f, c->catcher);
        return;
    }
    test_fail(__FILE__, __LINE__, "unexpected trap %lu", (uint64_t)f->vector);
    trap_report(f, cr2);
    test_abandon();
    if (c->job == NULL) {
        print("Bail out! trap outside a test\n");
        machine_exit(false);
    }
    trap_continue_at(f, c->job);
}

bool caught(void (*fn)(void *), void *arg)
{
    struct catch_ctx ctx = {this_cpu()->catcher, 0, save_flags()};
    bool r;

    this_cpu()->catcher = &ctx;
    r = catch_call(&ctx, fn, arg);
    this_cpu()->catcher = ctx.prev;
    return r;
}

struct access {
    uint64_t va, value;
};

static void do_read(void *arg)
{
    struct access *a = arg;
    a->value = load64(a->va);
}

static void do_write(void *arg)
{
    const struct access *a = arg;
    store64(a->va, a->value);
}

static void do_exec(void *arg)
{
    const struct access *a = arg;
    ((void (*)(void))(uintptr_t)a->va)();
}

bool try_read64(uint64_t va, uint64_t *value)
{
    struct access a = {va, 0};
    bool ok = !caught(do_read, &a);

    *value = a.value;
    return ok;
}

bool try_write64(uint64_t va, uint64_t value)
{
    struct access a = {va, value};

    return !caught(do_write, &a);
}

bool try_exec(uint64_t va)
{
    struct access a = {va, 0};

    return !caught(do_exec, &a);
}

bool trapped(uint64_t vector, uint64_t error)
{
    const struct trap *t = &this_cpu()->trap;

    if (t->vector == vector && t->error == error)
        return true;
    diag("trap %lu error %lx cr2 %lx rip %lx", t->vector, t->error, t->cr2, t->rip);
    return false;
}

bool faulted_at(uint64_t error, uint64_t va)
{
    const struct trap *t = &this_cpu()->trap;

    if (t->vector == VEC_PF && t->error == error && t->cr2 == va)
        return true;
    diag("trap %lu error %lx cr2 %lx rip %lx, want #PF error %lx cr2 %lx", t->vector, t->error,
         t->cr2, t->rip, error, va);
    return false;
}

struct user_args {
    uint64_t rip, rsp, arg;
};

static void do_user(void *arg)
{
    const struct user_args *u = arg;
    user_enter(u->rip, u->rsp, u->arg);
}

void user_run(uint64_t rip, uint64_t rsp, uint64_t arg)
{
    struct user_args u = {rip, rsp, arg};

    (void)caught(do_user, &u);
}
