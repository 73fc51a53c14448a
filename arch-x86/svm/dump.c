/* SPDX-License-Identifier: BSD-2-Clause */
/* The control block as text, for park dumps and panics. Tested by reading a parked guest's dump. */
#include "arch-x86/svm/internal.h"
#include "hv/base/log.h"

static void dump_seg(const char *name, const struct vmcb_segment *g, void (*emit)(const char *line))
{
    char line[96];

    hv_snprintf(line, sizeof(line), "vmcb: %s %04x attr %03x limit %08x base %016llx", name,
                g->selector, g->attrib, g->limit, (unsigned long long)g->base);
    emit(line);
}

struct dump_value {
    const char *name;
    uint64_t value;
};

static void dump_values(const struct dump_value v[3], void (*emit)(const char *line))
{
    char line[128];

    hv_snprintf(line, sizeof(line), "vmcb: %s %llx %s %llx %s %llx", v[0].name,
                (unsigned long long)v[0].value, v[1].name, (unsigned long long)v[1].value,
                v[2].name, (unsigned long long)v[2].value);
    emit(line);
}

void svm_dump(struct vcpu *v, void (*emit)(const char *line))
{
    const struct vmcb *b = svm_of(v)->vmcb;
    const struct vmcb_control *c = &b->ctl;
    const struct vmcb_save *s = &b->save;
    const struct dump_value values[] = {
        {"exit", c->exitcode},
        {"info1", c->exitinfo1},
        {"info2", c->exitinfo2},
        {"exitintinfo", c->exitintinfo},
        {"eventinj", c->eventinj},
        {"shadow", c->int_shadow},
        {"vintr", c->vintr},
        {"asid", c->asid},
        {"tlb", c->tlb_control},
        {"icpt1", c->intercept1},
        {"icpt2", c->intercept2},
        {"exceptions", c->intercept_exceptions},
        {"rip", s->rip},
        {"rflags", s->rflags},
        {"rsp", s->rsp},
        {"cr0", s->cr0},
        {"cr3", s->cr3},
        {"cr4", s->cr4},
        {"efer", s->efer},
        {"cr2", s->cr2},
        {"rax", s->rax},
        {"dr6", s->dr6},
        {"dr7", s->dr7},
        {"cpl", s->cpl},
        {"root expected", svm_of(v)->root},
        {"nrip", c->nrip},
        {"tsc offset", c->tsc_offset},
    };

    for (size_t i = 0; i + 3 <= ARRAY_SIZE(values); i += 3)
        dump_values(&values[i], emit);
    dump_seg("cs", &s->cs, emit);
    dump_seg("ss", &s->ss, emit);
    dump_seg("ds", &s->ds, emit);
    dump_seg("es", &s->es, emit);
    dump_seg("fs", &s->fs, emit);
    dump_seg("gs", &s->gs, emit);
    dump_seg("ldtr", &s->ldtr, emit);
    dump_seg("tr", &s->tr, emit);
    dump_seg("gdtr", &s->gdtr, emit);
    dump_seg("idtr", &s->idtr, emit);
}
