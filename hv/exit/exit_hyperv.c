/* SPDX-License-Identifier: BSD-2-Clause */
/* Hyper-V's hypercalls: flushes of translations on any CPUs, and interrupts to them. Source:
 * Hypervisor Top Level Functional Specification 6.0b, 3 "Hypercall Interface", 9.4 "Virtual MMU
 * Hypercalls", 10.5 "Hypercalls for Interprocessor Interrupts". Tested by
 * tools/tests/test_hyperv.c. */
#include "hv/base/options.h"
#include "hv/base/string.h"
#include "hv/coherency/flush.h"
#include "hv/exit/exit.h"
#include "hv/mmu/gmem.h"
#include "hv/vcpu/rules.h"
#include "hv/vdev/pc/vpc.h"
#include "hv/vm/vm.h"

enum {
    FLUSH_SPACE = 2,
    FLUSH_LIST = 3,
    NOTIFY_SPIN = 8,
    SEND_IPI = 0xb,
    FLUSH_SPACE_EX = 0x13,
    FLUSH_LIST_EX = 0x14,
    SEND_IPI_EX = 0x15
};
enum {
    STATUS_OK = 0,
    STATUS_CODE = 2,
    STATUS_INPUT = 3,
    STATUS_ALIGNMENT = 4,
    STATUS_PARAMETER = 5
};

#define CONTROL_CODE(c) ((c) & 0xffff)
#define CONTROL_FAST BIT(16)
#define CONTROL_BANKS(c) ((c) >> 17 & 0x3ff) /* variable header, of 8 bytes */
#define CONTROL_REPS(c) ((c) >> 32 & 0xfff)
#define CONTROL_START(c) ((c) >> 48 & 0xfff)
#define RESULT_REPS_SHIFT 32

#define FLUSH_ALL_PROCESSORS BIT(0)
#define SET_SPARSE 0u /* formats of a set of processors */
#define SET_ALL 1u
#define FIXED_VECTOR_FIRST 0x10u
#define FIXED_VECTOR_LAST 0xffu

struct flush_head {
    uint64_t space, flags, mask; /* mask: of CPUs, or the format of a set */
};
struct call {
    uint64_t control;
    uint64_t in[2]; /* input address, output address; of a fast call the input itself */
};

static cpuset_t everyone(const struct subvmm *s)
{
    return (cpuset_t)(BIT(s->vm->ncpus) - 1);
}

static bool fetch(struct subvmm *s, uint64_t at, void *buf, size_t n)
{
    return gmem_read_gpa(&s->mmu, gpa(at), buf, n) == HV_OK;
}

/* A set of CPUs at `at`, its format read already: CPUs 0 to 63 are bank 0, there are no others. */
static unsigned read_set(struct subvmm *s, uint64_t format, uint64_t at, unsigned banks,
                         cpuset_t *to)
{
    uint64_t set[2] = {0};

    if (format == SET_ALL) {
        *to = everyone(s);
        return STATUS_OK;
    }
    if (format != SET_SPARSE)
        return STATUS_PARAMETER;
    if (!fetch(s, at, set, banks ? 16 : 8))
        return STATUS_PARAMETER;
    *to = banks && (set[0] & 1) ? (cpuset_t)set[1] & everyone(s) : 0;
    return STATUS_OK;
}

/* A list is one range if it has one element that is short enough, else everything: the flush of
 * more is not dearer. */
static unsigned read_list(struct subvmm *s, const struct call *c, uint64_t at, struct flush_what *w)
{
    uint64_t element;

    w->everything = true;
    if (CONTROL_REPS(c->control) != 1)
        return STATUS_OK;
    if (!fetch(s, at, &element, sizeof(element)))
        return STATUS_PARAMETER;
    w->everything = (element & PAGE_MASK) > FLUSH_MORE_MAX;
    w->page = element >> PAGE_SHIFT & MASK(35, 0);
    w->more = element & FLUSH_MORE_MAX;
    return STATUS_OK;
}

/* Which address space is meant does not matter: what is forgotten is so in all of them. */
static uint64_t flush(struct subvmm *s, const struct call *c, bool list, bool ex)
{
    struct flush_what what = {.everything = true};
    struct flush_head h;
    uint64_t at = c->in[0], reps = CONTROL_REPS(c->control);
    unsigned banks = CONTROL_BANKS(c->control), status = STATUS_OK;
    cpuset_t to = 0;

    if ((c->control & CONTROL_FAST) || (list ? !reps || CONTROL_START(c->control) >= reps : reps))
        return STATUS_INPUT;
    if (at & 7)
        return STATUS_ALIGNMENT;
    if (!fetch(s, at, &h, sizeof(h)))
        return STATUS_PARAMETER;
    at += sizeof(h);
    if (ex) {
        status = read_set(s, h.mask, at, banks, &to);
        at += 8 + 8ull * banks;
    } else {
        to = (cpuset_t)(h.mask & everyone(s));
    }
    if (h.flags & FLUSH_ALL_PROCESSORS)
        to = everyone(s);
    if (status == STATUS_OK && list)
        status = read_list(s, c, at, &what);
    if (status != STATUS_OK)
        return status;
    if (to & (cpuset_t)BIT(s->cpu))
        mmu_flush_self(&s->mmu, &what);
    mmu_flush_others(&s->mmu, to & ~(cpuset_t)BIT(s->cpu), &what);
    return STATUS_OK | reps << RESULT_REPS_SHIFT;
}

static uint64_t ipi(struct subvmm *s, const struct call *c, bool ex)
{
    uint64_t in[3] = {c->in[0], c->in[1], 0};
    unsigned status = STATUS_OK;
    cpuset_t to;

    if (CONTROL_REPS(c->control) || (ex && (c->control & CONTROL_FAST)))
        return STATUS_INPUT;
    if (!(c->control & CONTROL_FAST) && (c->in[0] & 7))
        return STATUS_ALIGNMENT;
    if (!(c->control & CONTROL_FAST) && !fetch(s, c->in[0], in, 16))
        return STATUS_PARAMETER;
    to = (cpuset_t)(in[1] & everyone(s));
    if (ex)
        status = read_set(s, in[1], c->in[0] + 16, CONTROL_BANKS(c->control), &to);
    if (status != STATUS_OK)
        return status;
    uint32_t vector = (uint32_t)in[0];
    if (vector < FIXED_VECTOR_FIRST || vector > FIXED_VECTOR_LAST || (in[0] >> 32 & 0xff) ||
        !vlapic_ipi(s->vm->pc, s->cpu, to, vector))
        return STATUS_PARAMETER;
    return STATUS_OK;
}

uint64_t hyperv_call(struct subvmm *s, bool wide)
{
    const uint64_t *g = s->vcpu.regs.gpr;
    struct call c = {g[RCX], {g[RDX], g[R8]}};
    bool flushes = s->vm->opt->pvflush, ipis = s->vm->opt->pvipi;

    if (!wide)
        c = (struct call){vcpu_edx_eax(&s->vcpu),
                          {g[RBX] << 32 | (uint32_t)g[RCX], g[RDI] << 32 | (uint32_t)g[RSI]}};
    unsigned code = CONTROL_CODE(c.control);
    if (code == NOTIFY_SPIN)
        return STATUS_OK;
    if (flushes && (code == FLUSH_SPACE || code == FLUSH_SPACE_EX))
        return flush(s, &c, false, code == FLUSH_SPACE_EX);
    if (flushes && (code == FLUSH_LIST || code == FLUSH_LIST_EX))
        return flush(s, &c, true, code == FLUSH_LIST_EX);
    if (ipis && (code == SEND_IPI || code == SEND_IPI_EX))
        return ipi(s, &c, code == SEND_IPI_EX);
    return STATUS_CODE;
}
