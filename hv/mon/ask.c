/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to the owners of private state. A CPU's shadow tables and VCPU are in no other CPU's
 * map (hv/README "Private and public memory"): the monitor leaves a question in public memory,
 * posts ACTION_MONITOR, and the owner writes its answer as text. Tested by tools/tests/test_mon.c.
 */
#include "arch-x86/defs/x86.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/coherency/actions.h"
#include "hv/mon/internal.h"
#include "hv/vcpu/rules.h"
#include "hv/port/cpu.h"

#define ANSWER_BYTES 8192u
#define WAIT_S 2
#define WAIT_AUDIT_S 30 /* every spte of a CPU, on a slow emulator */
#define EVENTS_OF_SILENT 6u

/* FREE -> ASKED by the monitor; ASKED -> BUSY -> DONE by the owner; ASKED -> FREE by the monitor
 * that waited long enough, DONE -> FREE by the monitor that printed. An owner that comes late finds
 * FREE and does nothing, or is BUSY and stays so until it is done. */
enum ask_state { ASK_FREE, ASK_ASKED, ASK_BUSY, ASK_DONE };
struct ask {
    _Alignas(64) _Atomic uint32_t state;
    enum ask_kind kind; /* written in FREE by the monitor */
    uint64_t arg;
    size_t len; /* written in BUSY by the owner */
    bool cut;
    char text[ANSWER_BYTES];
};
static struct ask *asks; /* [CPU of the machine] */

size_t mon_bytes(uint32_t ncpus)
{
    return ncpus * sizeof(struct ask);
}

void mon_place(void *zeroed)
{
    asks = zeroed;
}

/* --- the owner's side --- */

static void answer_emit(const char *line)
{
    struct ask *a = &asks[port_cpu()];
    size_t n = strlen(line);

    if (n + 1 > ANSWER_BYTES - a->len) {
        a->cut = true;
        return;
    }
    memcpy(a->text + a->len, line, n);
    a->text[a->len + n] = '\n';
    a->len += n + 1;
}

static const char *paging(const struct vcpu_ctl *c)
{
    if (!(c->cr0 & CR0_PG))
        return "unpaged";
    if (c->efer & EFER_LMA)
        return "4-level";
    return c->cr4 & CR4_PAE ? "PAE" : "2-level";
}

static void answer_state(struct subvmm *s)
{
    static const char *const state[] = {
        [VCPU_WAIT_SIPI] = "waits for SIPI",
        [VCPU_RUNNING] = "running",
        [VCPU_HALTED] = "halted",
        [VCPU_PARKED] = "PARKED",
        [VCPU_STOPPED] = "stopped",
    };
    const struct vcpu *v = &s->vcpu;
    char line[MON_LINE];

    hv_snprintf(line, sizeof(line),
                "cpu%-2u %-14s%9s  %s cpl %u %s, rip %016lx cr3 %-9lx rflags %-6lx entries %lu",
                s->cpu, state[v->state], s->paused ? "(PAUSED)" : "", vcpu_mode_name(s),
                vcpu_cpl(s), paging(&v->ctl), v->regs.rip, v->ctl.cr3, v->regs.rflags, s->entries);
    answer_emit(line);
}

static void answer_regs(struct subvmm *s)
{
    static const char name[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct vcpu *v = &s->vcpu;
    char line[MON_LINE];

    answer_state(s);
    for (unsigned i = 0; i < 16; i += 4) {
        const uint64_t *g = &v->regs.gpr[i];
        hv_snprintf(line, sizeof(line), "  %-3s %016lx  %-3s %016lx  %-3s %016lx  %-3s %016lx",
                    name[i], g[0], name[i + 1], g[1], name[i + 2], g[2], name[i + 3], g[3]);
        answer_emit(line);
    }
    hv_snprintf(line, sizeof(line), "  guest cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx cr8 %x",
                v->ctl.cr0, v->regs.cr2, v->ctl.cr3, v->ctl.cr4, v->ctl.efer, v->ctl.cr8);
    answer_emit(line);
    hv_snprintf(line, sizeof(line), "  pending event type %u vector %u, nmi %s%s, window %s",
                v->pending.type, v->pending.vector, v->nmi_pending ? "pending" : "none",
                v->nmi_blocked ? " blocked" : "", v->window_armed ? "armed" : "off");
    answer_emit(line);
    vcpu_ops->dump(&s->vcpu, answer_emit);
    mmu_dump(&s->mmu, answer_emit);
}

static void answer_audit(struct subvmm *s)
{
    char line[MON_LINE];
    unsigned found = mmu_audit(&s->mmu, 3);

    hv_snprintf(line, sizeof(line), "cpu%u  audit: %u finding%s", s->cpu, found,
                found == 1 ? "" : "s");
    answer_emit(line);
}

static void answer_pause(struct subvmm *s, uint64_t how)
{
    char line[MON_LINE];

    s->paused = how == PAUSE_TOGGLE ? !s->paused : how == PAUSE_ON;
    hv_snprintf(line, sizeof(line), "cpu%u  %s", s->cpu,
                s->paused ? "paused: it serves requests and enters no guest" : "resumed");
    answer_emit(line);
}

static void answer(struct subvmm *s, const struct ask *a)
{
    switch (a->kind) {
    case ASK_STATE:
        answer_state(s);
        break;
    case ASK_REGS:
        answer_regs(s);
        break;
    case ASK_WALK:
        mmu_dump_walk(&s->mmu, gva(a->arg), answer_emit);
        break;
    case ASK_AUDIT:
        answer_audit(s);
        break;
    case ASK_PAUSE:
        answer_pause(s, a->arg);
        break;
    }
}

void mon_answer(struct subvmm *s)
{
    struct ask *a = &asks[s->pcpu];
    uint32_t asked = ASK_ASKED;

    /* acquire: pairs with the release in ask_one; the question is complete */
    if (!atomic_compare_exchange_strong_explicit(&a->state, &asked, ASK_BUSY, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    a->len = 0;
    a->cut = false;
    answer(s, a);
    /* release: pairs with the acquire in mon_ask; the text is complete */
    atomic_store_explicit(&a->state, ASK_DONE, memory_order_release);
}

/* --- the monitor's side --- */

/* false: the CPU is still at an earlier question. */
static bool ask_one(struct subvmm *s, uint32_t pcpu, enum ask_kind kind, uint64_t arg)
{
    struct ask *a = &asks[pcpu];
    uint32_t state = atomic_load_explicit(&a->state, memory_order_acquire);

    if (state == ASK_BUSY)
        return false;
    a->kind = kind; /* FREE, or a late answer that nobody waited for: the owner looks elsewhere */
    a->arg = arg;
    atomic_store_explicit(&a->state, ASK_ASKED, memory_order_release);
    if (pcpu == s->pcpu)
        mon_answer(s);
    else
        action_manage(&s->coh, pcpu, ACTION_MONITOR);
    return true;
}

static void print_answer(const struct ask *a)
{
    log_raw(a->text, a->len);
    if (a->cut)
        mon_say("  ... (cut at %u bytes)", ANSWER_BYTES);
}

static void print_silence(const struct vm *vm, uint32_t cpu, unsigned seconds, bool busy)
{
    char where[MON_LINE - 40];

    mon_say("cpu%u  DOES NOT ANSWER (waited %u s)%s", cpu, seconds,
            busy ? "; it is at the question" : "");
    if (port_where(vm_pcpu(vm, cpu), where, sizeof(where)))
        mon_say("  an NMI finds it in %s", where);
    else
        mon_say("  not even to an NMI");
    mon_dump_cpu(vm, cpu, EVENTS_OF_SILENT, mon_emit);
}

/* Those of `to` whose answer is there. */
static cpuset_t done_set(const struct vm *vm, cpuset_t to)
{
    cpuset_t done = 0;

    for (uint32_t c = 0; c < vm->ncpus; c++)
        /* acquire: pairs with the release in mon_answer */
        if ((to & (cpuset_t)BIT(c)) &&
            atomic_load_explicit(&asks[vm_pcpu(vm, c)].state, memory_order_acquire) == ASK_DONE)
            done |= (cpuset_t)BIT(c);
    return done;
}

cpuset_t mon_ask(struct subvmm *s, const struct vm *vm, cpuset_t to, enum ask_kind kind,
                 uint64_t arg)
{
    unsigned seconds = kind == ASK_AUDIT ? WAIT_AUDIT_S : WAIT_S;
    uint64_t until = port_tsc() + seconds * port_tsc_hz();
    cpuset_t asked = 0, done;

    for (uint32_t c = 0; c < vm->ncpus; c++)
        if ((to & (cpuset_t)BIT(c)) && ask_one(s, vm_pcpu(vm, c), kind, arg))
            asked |= (cpuset_t)BIT(c);
    while ((done = done_set(vm, asked)) != asked && port_tsc() < until) {
        mmu_between(&s->mmu); /* who is to answer may be waiting for this CPU */
        port_relax();
    }
    for (uint32_t c = 0; c < vm->ncpus; c++) {
        uint32_t state = ASK_ASKED;
        if (!(to & (cpuset_t)BIT(c)))
            continue;
        if (done & (cpuset_t)BIT(c)) {
            print_answer(&asks[vm_pcpu(vm, c)]);
            atomic_store_explicit(&asks[vm_pcpu(vm, c)].state, ASK_FREE, memory_order_relaxed);
            continue;
        }
        /* Withdrawn, unless the owner has just begun. */
        bool busy =
            !atomic_compare_exchange_strong_explicit(&asks[vm_pcpu(vm, c)].state, &state, ASK_FREE,
                                                     memory_order_relaxed, memory_order_relaxed);
        print_silence(vm, c, seconds, busy);
    }
    return done;
}
