/* SPDX-License-Identifier: BSD-2-Clause */
/* Dividing the modules and the CPUs of the machine among the VMs that the boot loader describes.
 * Tested by tools/tests/test_plan.c. */
#include "hv/vm/load/plan.h"
#include "hv/base/log.h"
#include "hv/base/string.h"
#include "hv/vm/load/loader.h"

#define LIST_LEN 160

/* What cpus= asked for, until plan_cpus. */
static uint64_t asked[VM_MAX][2];

static struct vm_plan *named(struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (strcmp(p->vm[i].name, name) == 0)
            return &p->vm[i];
    if (p->n == VM_MAX) {
        log_err("vm", "VM %s: there are %u already: its modules are ignored", name, VM_MAX);
        return NULL;
    }
    struct vm_plan *v = &p->vm[p->n++];
    memset(v, 0, sizeof(*v));
    memcpy(v->name, name, strlen(name));
    return v;
}

static void take_words(struct plan *p, struct vm_plan *v, const struct module_words *w)
{
    uint64_t *set = asked[v - p->vm];

    if (w->has_cpus) {
        set[0] = w->cpus[0];
        set[1] = w->cpus[1];
    }
    if (w->mem_mib)
        v->mem_mib = w->mem_mib;
    if (w->onend)
        v->onend = w->onend;
    if (w->console[0])
        memcpy(v->console, w->console, sizeof(v->console));
}

void plan_modules(struct plan *p, const struct vm_module *mods, unsigned nmods)
{
    static struct module_words w; /* large; boot CPU only */
    struct vm_plan *v;

    memset(p, 0, sizeof(*p));
    memset(asked, 0, sizeof(asked));
    for (unsigned i = 0; i < nmods; i++) {
        bool cut = module_string_parse(mods[i].string, &w) != HV_OK;
        (void)cut;      /* too long: the loader says so; whose it is was read */
        if (w.bad_vm) { /* as the first VM's it might keep that one from starting */
            log_err("vm", "module %u: '%s': the module is ignored: %s", i, w.bad,
                    vm_word_form(w.bad));
            continue;
        }
        v = w.vm[0] ? named(p, w.vm) : p->n ? &p->vm[0] : named(p, "vm0");
        if (!v)
            continue;
        take_words(p, v, &w);
        if (v->nmods == VM_MAX_MODULES) {
            log_err("vm", "VM %s has more than %u modules: one is ignored", v->name,
                    VM_MAX_MODULES);
            continue;
        }
        v->mod[v->nmods++] = mods[i];
    }
    if (!p->n)
        (void)named(p, "vm0"); /* without a kernel: the loader says so */
}

/* --- CPUs --- */

static bool wants(unsigned vm, uint32_t c)
{
    return asked[vm][c / 64] >> (c % 64) & 1;
}

struct vm_plan *plan_of(struct plan *p, uint32_t pcpu)
{
    for (uint32_t i = 0; i < p->n; i++)
        for (uint32_t c = 0; c < p->vm[i].ncpus; c++)
            if (p->vm[i].pcpu[c] == pcpu)
                return &p->vm[i];
    return NULL;
}

/* A VM gets the CPUs it asked for, or none of them. */
static void give_asked(struct plan *p, uint32_t i, uint32_t ncpus)
{
    struct vm_plan *v = &p->vm[i];

    for (uint32_t c = 0; c < HV_MACHINE_CPUS && !v->out; c++) {
        if (!wants(i, c))
            continue;
        const struct vm_plan *other = plan_of(p, c);
        v->out = c >= ncpus || other || v->ncpus == HV_MAX_CPUS;
        if (c >= ncpus)
            log_err("vm",
                    "VM %s is left out: cpus= names CPU %u, this machine has 0 to %u: correct it",
                    v->name, c, ncpus - 1);
        else if (other)
            log_err("vm", "VM %s is left out: CPU %u is VM %s's already: correct one of the cpus=",
                    v->name, c, other->name);
        else if (v->out)
            log_err("vm", "VM %s is left out: a VM has at most %u CPUs: shorten its cpus=", v->name,
                    HV_MAX_CPUS);
        else
            v->pcpu[v->ncpus++] = c;
    }
    if (v->out)
        v->ncpus = 0;
}

static bool has_asked(unsigned i)
{
    return asked[i][0] || asked[i][1];
}

/* "0-3,6" */
static void list_text(const struct vm_plan *v, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = 0;
    for (uint32_t c = 0, last; c < v->ncpus && n < size; c = last + 1) {
        for (last = c; last + 1 < v->ncpus && v->pcpu[last + 1] == v->pcpu[last] + 1;)
            last++;
        n += (size_t)hv_snprintf(buf + n, size - n, last > c ? "%s%u-%u" : "%s%u", c ? "," : "",
                                 v->pcpu[c], v->pcpu[last]);
    }
}

static void say(const struct plan *p)
{
    for (uint32_t i = 0; i < p->n && p->n > 1; i++) {
        const struct vm_plan *v = &p->vm[i];
        char list[LIST_LEN];
        list_text(v, list, sizeof(list));
        if (!v->out)
            log_info("vm", "VM %s: CPUs %s%s", v->name, list,
                     has_asked(i) ? "" : " (of what was left over)");
    }
}

void plan_cpus(struct plan *p, uint32_t ncpus)
{
    uint32_t left = ncpus, sharers = 0, next = 0;

    for (uint32_t i = 0; i < p->n; i++) {
        if (has_asked(i))
            give_asked(p, i, ncpus);
        left -= p->vm[i].ncpus;
        sharers += !has_asked(i);
    }
    for (uint32_t i = 0; i < p->n && sharers; i++) {
        struct vm_plan *v = &p->vm[i];
        if (has_asked(i))
            continue;
        uint32_t share = (left + sharers - 1) / sharers; /* the first ones get one more */
        sharers--;
        share = share < HV_MAX_CPUS ? share : HV_MAX_CPUS;
        for (; v->ncpus < share; next++)
            if (!plan_of(p, next))
                v->pcpu[v->ncpus++] = next;
        left -= share;
        v->out = !v->ncpus;
        if (v->out)
            log_err("vm",
                    "VM %s is left out: no CPU is left over for it: give the machine more, or "
                    "others fewer by cpus=",
                    v->name);
    }
    if (left)
        log_warn("vm",
                 "%u of %u CPUs are no VM's (one has at most %u): give them to another by vm=NAME "
                 "on its modules",
                 left, ncpus, HV_MAX_CPUS);
    say(p);
}

void plan_cpus_lost(struct plan *p, uint32_t ncpus)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct vm_plan *v = &p->vm[i];
        uint32_t n = 0;
        for (uint32_t c = 0; c < v->ncpus; c++)
            if (v->pcpu[c] < ncpus)
                v->pcpu[n++] = v->pcpu[c];
        if (n < v->ncpus && p->n > 1)
            log_err("vm", "VM %s has %u CPUs: %u of its own did not start", v->name, n,
                    v->ncpus - n);
        v->ncpus = n;
        v->out = v->out || !n;
    }
}
