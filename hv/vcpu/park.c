/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that did something unsupported is parked with everything known about it printed; a triple
 * fault resets the VM. Tested by tools/tests/test_exits.c. */
#include "hv/base/log.h"
#include "hv/base/ring.h"
#include "hv/base/stats.h"
#include "hv/base/string.h"
#include "hv/vcpu/rules.h"
#include "hv/vm/vm.h"

#define PARK_EVENTS 32
#define PARK_LINE 256

static void emit_raw(const char *line)
{
    char text[PARK_LINE];
    int n = hv_snprintf(text, sizeof(text), "  %s\n", line);

    log_raw(text, n < PARK_LINE ? (size_t)n : PARK_LINE - 1);
}

static void headline(uint32_t cpu, const char *what, const char *why)
{
    char text[PARK_LINE];
    int n = hv_snprintf(text, sizeof(text), "\npatchbay: %s: CPU %u: %s\n", what, cpu, why);

    log_raw(text, n < PARK_LINE ? (size_t)n : PARK_LINE - 1);
}

static void dump_registers(const struct vcpu *v, void (*emit)(const char *line))
{
    static const char name[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    char line[160];

    for (unsigned i = 0; i < 16; i += 4) {
        hv_snprintf(line, sizeof(line), "%s %016llx %s %016llx %s %016llx %s %016llx", name[i],
                    (unsigned long long)v->regs.gpr[i], name[i + 1],
                    (unsigned long long)v->regs.gpr[i + 1], name[i + 2],
                    (unsigned long long)v->regs.gpr[i + 2], name[i + 3],
                    (unsigned long long)v->regs.gpr[i + 3]);
        emit(line);
    }
    hv_snprintf(line, sizeof(line), "rip %016llx rflags %llx cr2 %llx state %u",
                (unsigned long long)v->regs.rip, (unsigned long long)v->regs.rflags,
                (unsigned long long)v->regs.cr2, v->state);
    emit(line);
    hv_snprintf(line, sizeof(line), "guest cr0 %llx cr3 %llx cr4 %llx efer %llx",
                (unsigned long long)v->ctl.cr0, (unsigned long long)v->ctl.cr3,
                (unsigned long long)v->ctl.cr4, (unsigned long long)v->ctl.efer);
    emit(line);
}

static void dump_code(struct subvmm *s, uint64_t linear, void (*emit)(const char *line))
{
    uint8_t byte[15];
    char line[80];
    gpa_t at;
    size_t n = 0;

    for (size_t i = 0; i < sizeof(byte); i++) {
        struct guest_fault f;
        if (mmu_translate(&s->mmu, gva(linear + i), PFEC_I, &at, &f) != HV_OK)
            break;
        const uint8_t *p = p2m_ptr(&s->vm->p2m, at);
        if (!p)
            break;
        byte[i] = *p;
        n = i + 1;
    }
    int used = hv_snprintf(line, sizeof(line), "code:");
    for (size_t i = 0; i < n; i++)
        used += hv_snprintf(line + used, sizeof(line) - (size_t)used, " %02x", byte[i]);
    emit(line);
}

void subvmm_dump(struct subvmm *s, const struct vmexit *x, void (*emit)(const char *line))
{
    struct vcpu_segs segs;
    uint64_t linear;

    vcpu_ops->get(&s->vcpu, VCPU_SEGS, &segs);
    linear = s->vcpu.regs.rip + (vcpu_code_size(s) == 8 ? 0 : segs.seg[SEG_CS].base);
    if (x) {
        char line[120];
        hv_snprintf(line, sizeof(line), "exit %s code %llx", vmexit_name[x->kind],
                    (unsigned long long)x->code);
        emit(line);
    }
    dump_registers(&s->vcpu, emit);
    vcpu_ops->dump(&s->vcpu, emit);
    dump_code(s, linear, emit);
    mmu_dump_walk(&s->mmu, gva(linear), emit);
    mmu_dump(&s->mmu, emit);
    ring_dump(s->pcpu, PARK_EVENTS, emit);
}

void subvmm_park(struct subvmm *s, const char *why)
{
    if (s->vcpu.state == VCPU_PARKED)
        return;
    headline(s->cpu, "parked", why);
    subvmm_dump(s, NULL, emit_raw);
    s->vcpu.state = VCPU_PARKED;
    s->vcpu.pending.type = EVENT_NONE;
    stat_inc(s->pcpu, STAT_parked);
    mmu_idle(&s->mmu, true);
    vm_set_active(s->vm, s->cpu, false);
    if (s->vm->opt->test || !vm_any_active(s->vm))
        vm_end(s->vm, s->cpu, 3);
}

void subvmm_reset(struct subvmm *s, const char *what)
{
    headline(s->cpu, what, "the VM is reset");
    s->vcpu.state = VCPU_STOPPED;
    s->vcpu.pending.type = EVENT_NONE;
    vm_set_active(s->vm, s->cpu, false);
    vm_end(s->vm, s->cpu, 2);
}

void subvmm_triple_fault(struct subvmm *s)
{
    /* A shutdown makes the chipset pulse INIT, and that is how a 286 left protected mode. It may be
     * a crash all the same, while processors are being started. */
    if (vpc_warm_init(s->vm->pc, s->cpu)) {
        s->vcpu.pending.type = EVENT_NONE;
        if (!atomic_exchange_explicit(&s->vm->warm_said, true, memory_order_relaxed))
            log_warn("vm",
                     "a triple fault of cpu%u at RIP 0x%llx is INIT for all: the guest goes on as "
                     "CMOS 0F says (told once)",
                     s->cpu, (unsigned long long)s->vcpu.regs.rip);
        return;
    }
    headline(s->cpu, "guest triple fault", "the VM is reset");
    subvmm_dump(s, NULL, emit_raw);
    s->vcpu.state = VCPU_STOPPED;
    s->vcpu.pending.type = EVENT_NONE;
    vm_end(s->vm, s->cpu, 2);
}
